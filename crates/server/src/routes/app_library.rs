//! Turns `/app/library` into the presets and prompts of the chat in the browser.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use myriad_store::{Change, Document, Kind, Query, StoreError};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::app_chats::room;
use super::documents::{Ids, body};
use crate::app::App;
use crate::chats::rows::with_body;
use crate::errors::ApiError;
use crate::layers::upload::Upload;
use crate::limits::{APP_LIBRARY_MAX, APPEND_TRIES};
use crate::storage::{Owner, Storage, position};
use crate::wire::app_chats::is_id;
use crate::wire::app_library::{AppLibrary, AppPreset, AppPrompt};
use crate::wire::fields::Fields;

/// What is asked of the storage.
const WHAT: &str = "library";

/// All presets and prompts.
pub async fn list(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
) -> Result<Json<AppLibrary>, ApiError> {
    let storage = app.storage(WHAT)?;
    let presets = all(storage, &owner, Kind::Preset).await?;
    let prompts = all(storage, &owner, Kind::Prompt).await?;
    Ok(Json(AppLibrary { presets, prompts }))
}

/// Writes a preset, over an earlier one of its name where there is one.
pub async fn put_preset(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    Extension(upload): Extension<Upload>,
    Ids(id): Ids<String>,
) -> Result<Json<AppPreset>, ApiError> {
    let sent = upload.read(&app.large_bodies).await?;
    let preset = AppPreset::parse(Fields::of_body(&sent)?, checked(&id)?)?;
    put(&app, &owner, &id, Kind::Preset, |document| with_body(document, &preset)).await?;
    Ok(Json(preset))
}

/// Writes a prompt, in the same way.
pub async fn put_prompt(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    Extension(upload): Extension<Upload>,
    Ids(id): Ids<String>,
) -> Result<Json<AppPrompt>, ApiError> {
    let sent = upload.read(&app.large_bodies).await?;
    let prompt = AppPrompt::parse(Fields::of_body(&sent)?, checked(&id)?)?;
    put(&app, &owner, &id, Kind::Prompt, |document| with_body(document, &prompt)).await?;
    Ok(Json(prompt))
}

/// Deletes a preset.
pub async fn delete_preset(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    Ids(id): Ids<String>,
) -> Result<Json<Value>, ApiError> {
    delete(&app, &owner, &id, Kind::Preset).await
}

/// Deletes a prompt.
pub async fn delete_prompt(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    Ids(id): Ids<String>,
) -> Result<Json<Value>, ApiError> {
    delete(&app, &owner, &id, Kind::Prompt).await
}

async fn all<T: DeserializeOwned>(
    storage: &Storage,
    owner: &Owner,
    kind: Kind,
) -> Result<Vec<T>, ApiError> {
    let page = storage.store.list(&Query::of(kind, owner.as_str())).await?;
    page.map(|page| page.documents).unwrap_or_default().iter().map(body).collect()
}

/// The last one who writes an item wins: they are small, and whole.
async fn put(
    app: &App,
    owner: &Owner,
    id: &str,
    kind: Kind,
    filled: impl Fn(Document) -> Document,
) -> Result<(), ApiError> {
    let storage = app.storage(WHAT)?;
    let row = row(owner, kind, id);
    for _ in 0..APPEND_TRIES {
        let known = storage.store.document(kind, owner.as_str(), &row).await?;
        let change = match known {
            Some(document) => Change::new().update(filled(document)),
            None => {
                check_count(storage, owner, kind).await?;
                let fresh = Document::new(kind, owner.as_str(), &row, position());
                Change::new().insert(filled(fresh))
            }
        };
        let bytes = filled(Document::new(kind, owner.as_str(), "", 0)).body.len();
        let _room = room(app, storage, owner, bytes).await?;
        match storage.store.commit(change).await {
            Err(StoreError::Conflict(_)) => {}
            done => return Ok(done?),
        }
    }
    Err(StoreError::Conflict(id.to_owned()).into())
}

async fn check_count(storage: &Storage, owner: &Owner, kind: Kind) -> Result<(), ApiError> {
    let query = Query { limit: APP_LIBRARY_MAX, ..Query::of(kind, owner.as_str()) };
    let count = storage.store.list(&query).await?.map_or(0, |page| page.documents.len());
    if count < APP_LIBRARY_MAX {
        return Ok(());
    }
    let message = format!("There are {APP_LIBRARY_MAX} of them, which is the most: delete some.");
    Err(ApiError::bad_request(message))
}

async fn delete(app: &App, owner: &Owner, id: &str, kind: Kind) -> Result<Json<Value>, ApiError> {
    let storage = app.storage(WHAT)?;
    let none = || ApiError::not_found(kind.name(), id);
    if !is_id(id) {
        return Err(none());
    }
    let row = row(owner, kind, id);
    let document = storage.store.document(kind, owner.as_str(), &row).await?.ok_or_else(none)?;
    storage.delete(&document).await?;
    let object = format!("{}.deleted", kind.name());
    Ok(Json(json!({ "id": id, "object": object, "deleted": true })))
}

/// Ids come from browsers: a row's name begins with the owner's, as those of conversations do, and
/// no id of theirs has two colons before it.
fn row(owner: &Owner, kind: Kind, id: &str) -> String {
    format!("{}::{}:{id}", owner.as_str(), kind.name())
}

fn checked(id: &str) -> Result<&str, ApiError> {
    match is_id(id) {
        true => Ok(id),
        false => Err(ApiError::bad_request(
            "The path ends in no id. Right would be up to 128 ASCII letters, digits, '-' and '_'.",
        )),
    }
}
