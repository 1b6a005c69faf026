//! Turns the person at this machine into the first account, who keeps all that was there.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use myriad_store::{NewUser, Role, StoreError};

use super::session;
use crate::app::{App, unix_seconds};
use crate::errors::ApiError;
use crate::layers::upload::Upload;
use crate::people::Visit;
use crate::wire::fields::Fields;
use crate::wire::people;

/// Makes the first account, an administrator, and signs in.
pub async fn create(
    State(app): State<Arc<App>>,
    visit: Visit,
    Extension(upload): Extension<Upload>,
) -> Result<Response, ApiError> {
    let body = upload.read(&app.large_bodies).await?;
    let mut fields = Fields::of_body(&body)?;
    let name = people::name(&mut fields)?;
    let display_name = people::display_name(&mut fields, &name)?;
    let password = people::password(&mut fields, "password")?;
    fields.none_left()?;
    app.check_passwords()?;
    let storage = app.accounts()?;
    if storage.users.any().await? {
        return Err(taken());
    }
    if !is_possible(&app, &visit).await? {
        return Err(ApiError::not_allowed(
            "The first account is made on the machine itself, under its own address \
             (http://127.0.0.1), with a key where there are keys; or by `myriad users create`.",
        ));
    }
    let hash = app.people.passwords.hash(password).await?;
    let new = NewUser {
        name: &name,
        display_name: &display_name,
        password: Some(&hash),
        role: Role::Admin,
        subject: None,
    };
    let user = storage.create_first(new).await.map_err(|error| match error {
        StoreError::Conflict(_) => taken(),
        error => error.into(),
    })?;
    let token = storage.users.begin_session(&user, None, unix_seconds() as i64).await?;
    session::enter(&app, &visit, user, &token).await
}

/// Whether whoever asks may make the first account: from this machine alone, as long as there is
/// none, and with a key where there are keys.
///
/// # Errors
/// Where the store fails.
pub async fn is_possible(app: &App, visit: &Visit) -> Result<bool, ApiError> {
    let Some(storage) = &app.config.storage else { return Ok(false) };
    let admin = visit.caller.as_ref().is_some_and(|caller| caller.role == Role::Admin);
    Ok(visit.local && admin && !storage.users.any().await?)
}

fn taken() -> ApiError {
    let message = "There is an account already. Its administrators invite others.";
    ApiError::conflict("account_exists", message)
}
