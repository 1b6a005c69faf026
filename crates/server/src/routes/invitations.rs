//! Turns `/app/invitations` into links that make an account, or set a password, once.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use axum::{Extension, Json};
use myriad_store::{NewInvitation, NewUser, Role, StoreError};
use serde_json::{Value, json};

use super::documents::{Ids, is_id};
use super::session;
use super::users::{administrator, name_taken};
use crate::app::{App, unix_seconds};
use crate::errors::ApiError;
use crate::layers::upload::Upload;
use crate::people::{Caller, Visit};
use crate::wire::fields::Fields;
use crate::wire::people::{self, InvitationList, InvitationObject, MadeInvitation};

/// Invitations whose time is not over, also used ones.
pub async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<InvitationList>, ApiError> {
    caller.check_admin()?;
    let found = app.accounts()?.users.invitations(unix_seconds() as i64).await?;
    let data = found.iter().map(InvitationObject::from).collect();
    Ok(Json(InvitationList { object: "list", data }))
}

/// Makes one; its token is shown once.
pub async fn create(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(upload): Extension<Upload>,
) -> Result<Json<MadeInvitation>, ApiError> {
    let admin = administrator(&caller)?;
    let body = upload.read(&app.large_bodies).await?;
    let mut fields = Fields::of_body(if body.is_empty() { b"{}" } else { &body })?;
    let role = people::role(&mut fields)?.unwrap_or(Role::User);
    fields.none_left()?;
    let new = NewInvitation { role, made_by: &admin.id };
    let (made, token) = app.accounts()?.users.invite(new, unix_seconds() as i64).await?;
    Ok(Json(MadeInvitation { about: InvitationObject::from(&made), token }))
}

/// Withdraws one that was not used.
pub async fn delete(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Ids(id): Ids<String>,
) -> Result<Json<Value>, ApiError> {
    caller.check_admin()?;
    if !is_id(&id) || !app.accounts()?.users.withdraw(&id).await? {
        return Err(ApiError::not_found("invitation", &id));
    }
    Ok(Json(json!({ "id": id, "object": "invitation.deleted", "deleted": true })))
}

/// Makes the account, or sets the password, that an invitation is for, and signs in.
pub async fn accept(
    State(app): State<Arc<App>>,
    visit: Visit,
    Extension(upload): Extension<Upload>,
) -> Result<Response, ApiError> {
    let body = upload.read(&app.large_bodies).await?;
    let mut fields = Fields::of_body(&body)?;
    let token = people::token(&mut fields)?;
    let password = people::password(&mut fields, "password")?;
    app.check_passwords()?;
    let (users, now) = (&app.accounts()?.users, unix_seconds() as i64);
    let invitation = users.invited(&token, now).await?.ok_or_else(over)?;
    let user = match &invitation.user {
        Some(id) => {
            fields.none_left()?;
            // Slow work is for those who are invited.
            let hash = app.people.passwords.hash(password).await?;
            let user = users.find(id).await?.ok_or_else(over)?;
            users.renew_password(&invitation, &user, &hash).await.map_err(used)?;
            user
        }
        None => {
            let name = people::name(&mut fields)?;
            let display_name = people::display_name(&mut fields, &name)?;
            fields.none_left()?;
            let hash = app.people.passwords.hash(password).await?;
            let new = NewUser {
                name: &name,
                display_name: &display_name,
                password: Some(&hash),
                role: invitation.role,
                subject: None,
            };
            users.accept(&invitation, new, now).await.map_err(|error| match error {
                StoreError::Conflict(what) if what == invitation.id => over(),
                error => name_taken(error),
            })?
        }
    };
    let token = users.begin_session(&user, visit.token.as_deref(), now).await.map_err(used)?;
    session::enter(&app, &visit, user, &token).await
}

/// What a link that opens nothing is told.
pub fn over() -> ApiError {
    let message = "This link is not valid: it was used, withdrawn, or its time is over. Ask an \
                   administrator for another one.";
    ApiError { code: Some("invitation_over"), ..ApiError::invalid("token", message) }
}

/// Someone was quicker with the same link, or the account is locked.
fn used(error: StoreError) -> ApiError {
    match error {
        StoreError::Conflict(_) => over(),
        error => error.into(),
    }
}
