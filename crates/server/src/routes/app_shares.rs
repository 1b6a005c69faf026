//! Turns a conversation's shown path into a copy that whoever has its link may read.
//!
//! A copy, so that what is said later is not shared with it; thoughts and parameters stay out.
//! It is a part of its conversation, and goes with it.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use myriad_store::secret_letters;
use myriad_store::{Change, Document, Kind};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::app_chats::{WHAT, room};
use super::documents::{Ids, body};
use crate::app::{App, unix_seconds};
use crate::chats::rows;
use crate::errors::ApiError;
use crate::limits::{APP_PATH_MAX, APP_SHARE_BYTES_MAX, APP_TOKEN_LETTERS};
use crate::storage::{Owner, Storage, position};
use crate::wire::app_chats::{AppChat, AppMessage, Role, Status};

const ROBOTS: HeaderName = HeaderName::from_static("x-robots-tag");

/// The link to a conversation; without one both are none.
#[derive(Serialize, ToSchema)]
pub struct AppShare {
    /// What the link ends in: who has it may read.
    token: Option<String>,
    /// When its copy was made, in milliseconds since 1970.
    created: Option<i64>,
}

/// What a link shows.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct Shared {
    title: String,
    /// When the copy was made, in milliseconds since 1970.
    created: i64,
    messages: Vec<SharedMessage>,
}

/// A message of it.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct SharedMessage {
    role: Role,
    content: String,
    model: Option<String>,
}

/// Makes a link to a conversation, or copies what it has become under the link that there is.
pub async fn create(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    Ids(id): Ids<String>,
) -> Result<Json<AppShare>, ApiError> {
    let storage = app.storage(WHAT)?;
    let (chat_document, chat) = rows::chat(storage, &owner, &id).await?;
    let shared = copied(storage, &owner, chat).await?;
    let known = shares(storage, &chat_document).await?.into_iter().next();
    let fresh = known.is_none();
    let document = known.unwrap_or_else(|| {
        let row = row_of(&secret_letters(APP_TOKEN_LETTERS));
        let document = Document::new(Kind::Share, owner.as_str(), row, position());
        Document { parent: chat_document.id.clone(), ..document }
    });
    let document = rows::with_body(document, &shared);
    if document.body.len() > APP_SHARE_BYTES_MAX {
        return Err(ApiError::too_large(APP_SHARE_BYTES_MAX as u64));
    }
    let _room = room(&app, storage, &owner, document.body.len()).await?;
    let share = AppShare { token: Some(token_of(&document)), created: Some(shared.created) };
    // Written over with itself: a conversation that is deleted meanwhile gets no link.
    let change = Change::new().update(chat_document);
    let change = if fresh { change.insert(document) } else { change.update(document) };
    storage.store.commit(change).await?;
    Ok(Json(share))
}

/// The link to a conversation, if there is one.
pub async fn show(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    Ids(id): Ids<String>,
) -> Result<Json<AppShare>, ApiError> {
    let storage = app.storage(WHAT)?;
    let (document, _) = rows::chat(storage, &owner, &id).await?;
    let Some(share) = shares(storage, &document).await?.into_iter().next() else {
        return Ok(Json(AppShare { token: None, created: None }));
    };
    let Shared { created, .. } = body(&share)?;
    Ok(Json(AppShare { token: Some(token_of(&share)), created: Some(created) }))
}

/// Takes the link back: it opens nothing from now on.
pub async fn delete(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    Ids(id): Ids<String>,
) -> Result<Json<Value>, ApiError> {
    let storage = app.storage(WHAT)?;
    let (document, _) = rows::chat(storage, &owner, &id).await?;
    let shares = shares(storage, &document).await?;
    if shares.is_empty() {
        return Err(ApiError::not_found("link", &id));
    }
    let change = shares.iter().fold(Change::new(), |change, share| change.delete(share));
    storage.store.commit(change).await?;
    Ok(Json(json!({ "id": id, "object": "link.deleted", "deleted": true })))
}

/// What a link shows, to whoever has it.
pub async fn open(
    State(app): State<Arc<App>>,
    Ids(token): Ids<String>,
) -> Result<Response, ApiError> {
    let storage = app.storage(WHAT)?;
    let none = || ApiError::not_found("link", &token);
    let right =
        token.len() == APP_TOKEN_LETTERS && token.bytes().all(|it| it.is_ascii_alphanumeric());
    if !right {
        return Err(none());
    }
    let found = storage.store.document_of_anyone(Kind::Share, &row_of(&token)).await?;
    let shared: Shared = body(&found.ok_or_else(none)?)?;
    let noindex = [(ROBOTS, HeaderValue::from_static("noindex"))];
    Ok((noindex, Json(shared)).into_response())
}

fn row_of(token: &str) -> String {
    format!("share:{token}")
}

fn token_of(share: &Document) -> String {
    share.id.trim_start_matches("share:").to_owned()
}

async fn shares(storage: &Storage, chat: &Document) -> Result<Vec<Document>, ApiError> {
    Ok(storage.parts(Kind::Share, chat, None, APP_TOKEN_LETTERS).await?)
}

/// The path from the first message to the leaf, as far as it is said.
async fn copied(storage: &Storage, owner: &Owner, chat: AppChat) -> Result<Shared, ApiError> {
    let mut messages = Vec::new();
    let (mut next, mut bytes) = (chat.leaf.clone(), 0);
    while let Some(id) = next {
        let (_, message) = rows::message(storage, owner, &chat.id, &id).await?;
        bytes += message.content.len();
        if messages.len() >= APP_PATH_MAX || bytes > APP_SHARE_BYTES_MAX {
            return Err(ApiError::too_large(APP_SHARE_BYTES_MAX as u64));
        }
        let AppMessage { parent, role, content, model, status, .. } = message;
        next = parent;
        if status != Status::Streaming && !content.is_empty() {
            messages.push(SharedMessage { role, content, model });
        }
    }
    messages.reverse();
    Ok(Shared { title: chat.title, created: unix_seconds() as i64 * 1000, messages })
}
