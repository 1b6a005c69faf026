//! Turns `/app/users` into accounts, for administrators: made, changed, locked out, deleted.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use myriad_store::{NewUser, Role, StoreError, User, UserState};
use serde_json::{Value, json};

use super::documents::{Ids, is_id};
use crate::app::{App, unix_seconds};
use crate::errors::ApiError;
use crate::layers::upload::Upload;
use crate::people::Caller;
use crate::storage::Storage;
use crate::wire::fields::Fields;
use crate::wire::people::{self, ChangedUser, UserList, UserObject};

const WHAT: &str = "user";

/// All accounts.
pub async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<UserList>, ApiError> {
    caller.check_admin()?;
    let users = app.accounts()?.users.list().await?;
    Ok(Json(UserList { object: "list", data: users.iter().map(UserObject::from).collect() }))
}

/// Makes an account with a password, or without one: then with a link that sets it.
pub async fn create(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(upload): Extension<Upload>,
) -> Result<Json<ChangedUser>, ApiError> {
    let admin = administrator(&caller)?;
    let body = upload.read(&app.large_bodies).await?;
    let mut fields = Fields::of_body(&body)?;
    let name = people::name(&mut fields)?;
    let display_name = people::display_name(&mut fields, &name)?;
    let role = people::role(&mut fields)?.unwrap_or(Role::User);
    let password = people::optional_password(&mut fields, "password")?;
    fields.none_left()?;
    let hash = match password {
        Some(password) => Some(app.people.passwords.hash(password).await?),
        None => None,
    };
    let (display_name, password) = (display_name.as_str(), hash.as_deref());
    let new = NewUser { name: &name, display_name, password, role, subject: None };
    let (users, now) = (&app.accounts()?.users, unix_seconds() as i64);
    let user = users.create(new, now).await.map_err(name_taken)?;
    let token = match &hash {
        Some(_) => None,
        None => Some(users.reset_password(&user, &admin.id, now).await?.1),
    };
    Ok(Json(ChangedUser { user: UserObject::from(&user), token }))
}

/// Changes an account's role or state, or takes its password away for a link that sets a new one.
pub async fn update(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(upload): Extension<Upload>,
    Ids(id): Ids<String>,
) -> Result<Json<ChangedUser>, ApiError> {
    let admin = administrator(&caller)?;
    let body = upload.read(&app.large_bodies).await?;
    let mut fields = Fields::of_body(&body)?;
    let role = people::role(&mut fields)?;
    let right = "'active' or 'disabled'";
    let state = people::choice(&mut fields, "state", UserState::of, right)?;
    let reset = fields.boolean("reset_password")?.unwrap_or(false);
    fields.none_left()?;
    let storage = app.accounts()?;
    let user = find(storage, &id).await?;
    if reset && user.id == admin.id {
        // The link would be shown to a browser that it has just signed out.
        let message = "One's own password is changed by POST /app/password.";
        return Err(ApiError::invalid("reset_password", message));
    }
    if role.is_some() || state.is_some() {
        let (role, state) = (role.unwrap_or(user.role), state.unwrap_or(user.state));
        storage.users.set(&user.id, role, state).await.map_err(last_admin)?;
    }
    let token = match reset {
        true => {
            let now = unix_seconds() as i64;
            Some(storage.users.reset_password(&user, &admin.id, now).await?.1)
        }
        false => None,
    };
    let user = find(storage, &id).await?;
    Ok(Json(ChangedUser { user: UserObject::from(&user), token }))
}

/// Deletes an account with all documents, files, keys and sessions of its own.
pub async fn delete(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Ids(id): Ids<String>,
) -> Result<Json<Value>, ApiError> {
    administrator(&caller)?;
    let storage = app.accounts()?;
    let user = find(storage, &id).await?;
    storage.delete_user(&user.id).await.map_err(last_admin)?;
    Ok(Json(json!({ "id": id, "object": "user.deleted", "deleted": true })))
}

/// The administrator's own account: accounts are changed by people who can be named.
///
/// # Errors
/// 403.
pub fn administrator(caller: &Caller) -> Result<&User, ApiError> {
    caller.check_admin()?;
    caller.account()
}

async fn find(storage: &Storage, id: &str) -> Result<User, ApiError> {
    let none = || ApiError::not_found(WHAT, id);
    if !is_id(id) {
        return Err(none());
    }
    storage.users.find(id).await?.ok_or_else(none)
}

/// A conflict of a new account is one of names.
pub fn name_taken(error: StoreError) -> ApiError {
    match error {
        StoreError::Conflict(name) => {
            let message = format!("The name '{name}' is taken.");
            let error = ApiError::conflict("name_taken", message);
            ApiError { param: Some("name".into()), ..error }
        }
        error => error.into(),
    }
}

fn last_admin(error: StoreError) -> ApiError {
    match error {
        StoreError::Conflict(_) => {
            let message = "This is the last active administrator: make another one first.";
            ApiError::conflict("last_admin", message)
        }
        error => error.into(),
    }
}
