//! Turns an old password and a new one into the new one, and all other sessions into none.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;

use super::session;
use crate::app::{App, unix_seconds};
use crate::errors::ApiError;
use crate::layers::upload::Upload;
use crate::people::{Caller, Visit};
use crate::wire::fields::Fields;
use crate::wire::people;

/// Changes one's own password.
pub async fn change(
    State(app): State<Arc<App>>,
    visit: Visit,
    Extension(caller): Extension<Caller>,
    Extension(upload): Extension<Upload>,
) -> Result<Response, ApiError> {
    let body = upload.read(&app.large_bodies).await?;
    let mut fields = Fields::of_body(&body)?;
    let old = people::text(&mut fields, "old_password")?;
    let new = people::password(&mut fields, "new_password")?;
    fields.none_left()?;
    let storage = app.accounts()?;
    // As it stands now, not as it was when the session was looked up.
    let user = storage.users.named(&caller.account()?.name).await?;
    let user = user.ok_or_else(|| ApiError::not_allowed("The account is gone."))?;
    if !session::check(&app, &visit, &user.name, old, user.password.clone()).await? {
        // No 401: the session is right, and stays.
        let message = "'old_password' is not the password of this account.";
        return Err(ApiError::invalid("old_password", message));
    }
    let hash = app.people.passwords.hash(new).await?;
    let token = storage.users.change_password(&user, &hash, unix_seconds() as i64).await?;
    session::enter(&app, &visit, user, &token).await
}
