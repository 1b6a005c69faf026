//! Turns `/app/keys` into API keys of the one who asks, and for administrators into everyone's.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use myriad_store::{NewKey, Role};
use serde_json::{Value, json};

use super::documents::{Ids, is_id};
use crate::app::{App, unix_seconds};
use crate::errors::ApiError;
use crate::layers::upload::Upload;
use crate::people::Caller;
use crate::wire::fields::Fields;
use crate::wire::people::{self, KeyList, KeyObject, MadeKey};
use crate::wire::query::Parameters;

const WHAT: &str = "API key";

const DAY_SECONDS: i64 = 24 * 3600;

/// Days after which a key may open nothing: ten years are as good as never.
const DAYS_MAX: i64 = 3650;

/// One's own keys; with `all=true` an administrator sees everyone's.
pub async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    mut parameters: Parameters,
) -> Result<Json<KeyList>, ApiError> {
    let all = parameters.boolean("all")?.unwrap_or(false);
    parameters.none_left()?;
    let keys = &app.accounts()?.keys;
    let found = match all {
        true => {
            caller.check_admin()?;
            keys.list().await?
        }
        false => keys.list_of(caller.owner.as_str()).await?,
    };
    Ok(Json(KeyList { object: "list", data: found.iter().map(KeyObject::from).collect() }))
}

/// Makes one that reaches what its maker does.
pub async fn create(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(upload): Extension<Upload>,
) -> Result<Json<MadeKey>, ApiError> {
    let body = upload.read(&app.large_bodies).await?;
    let mut fields = Fields::of_body(&body)?;
    let name = people::label(&mut fields, "name")?.ok_or_else(|| ApiError::missing("name"))?;
    let days = fields.integer("days", 1..=DAYS_MAX)?;
    fields.none_left()?;
    let storage = app.accounts()?;
    if !app.locked().await {
        // The first key closes the door: the one who makes it would stand outside.
        let message = "Nobody needs a key here yet, and the first one would lock the chat. Make \
                       an account first: POST /app/setup. Or by `myriad keys create`.";
        return Err(ApiError::conflict("no_account", message));
    }
    let now = unix_seconds() as i64;
    let expires_at = days.map(|days| now + days * DAY_SECONDS);
    let new = NewKey { owner: caller.owner.as_str(), name: &name, expires_at };
    let (key, text) = storage.keys.create(new, now).await?;
    Ok(Json(MadeKey { about: KeyObject::from(&key), key: text }))
}

/// Revokes one's own, or as an administrator anyone's.
pub async fn delete(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Ids(id): Ids<String>,
) -> Result<Json<Value>, ApiError> {
    let keys = &app.accounts()?.keys;
    let found = match caller.role {
        Role::Admin => keys.list().await?,
        Role::User => keys.list_of(caller.owner.as_str()).await?,
    };
    let there = is_id(&id) && found.iter().any(|key| key.id == id);
    if !there || !keys.revoke(&id, unix_seconds() as i64).await? {
        return Err(ApiError::not_found(WHAT, &id));
    }
    Ok(Json(json!({ "id": id, "object": "api_key.deleted", "deleted": true })))
}
