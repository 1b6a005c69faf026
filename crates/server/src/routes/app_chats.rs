//! Turns `/app/chats` into the conversations of the chat in the browser: lists, trees, changes.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use myriad_store::{Kind, Query};
use serde_json::{Value, json};

use super::documents::{Ids, body};
use super::files::reserve;
use crate::app::App;
use crate::chats::{records, rows};
use crate::errors::ApiError;
use crate::layers::upload::Upload;
use crate::quota::Reservation;
use crate::storage::{Owner, Storage};
use crate::wire::app_chats::{AppChat, ChatChange, is_id};
use crate::wire::fields::Fields;
use crate::wire::query::{Paging, Parameters, Sizes, list as page_of, no_cursor};

/// What is asked of the storage.
pub const WHAT: &str = "chats";

/// A sidebar shows them all, and they are small.
const SIZES: Sizes = Sizes { usual: 100, max: 1000 };

/// A page of all conversations, without messages: those that changed last come first.
pub async fn list(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    mut parameters: Parameters,
) -> Result<Json<Value>, ApiError> {
    let Paging { after, limit, .. } = Paging::latest(&mut parameters, SIZES)?;
    let since = parameters.integer("updated_since", 0..=i64::MAX / 1000)?;
    parameters.none_left()?;
    let storage = app.storage(WHAT)?;
    let none = || no_cursor(after.as_deref().unwrap_or_default());
    if !after.as_deref().is_none_or(is_id) {
        return Err(none());
    }
    let after = after.as_deref().map(|after| rows::chat_row(&owner, after));
    let query = Query::of(Kind::AppChat, owner.as_str());
    let query = Query { after: after.as_deref(), limit, descending: true, ..query };
    let mut page = storage.store.list(&query).await?.ok_or_else(none)?;
    if let Some(since) = since {
        // Places in the list are times of changes, in microseconds.
        let found = page.documents.len();
        page.documents.retain(|document| document.position / 1000 >= since);
        page.more &= page.documents.len() == found;
    }
    let data: Result<Vec<Value>, _> = page.documents.iter().map(body).collect();
    Ok(Json(page_of(data?, page.more, json!(""))))
}

/// A conversation with its whole tree; for exports with the texts of its files.
pub async fn show(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    Ids(id): Ids<String>,
    mut parameters: Parameters,
) -> Result<Response, ApiError> {
    let with_files = parameters.boolean("files")?.unwrap_or(false);
    parameters.none_left()?;
    let storage = app.storage(WHAT)?;
    let (document, _) = rows::chat(storage, &owner, &id).await?;
    let record = records::record(Arc::clone(storage), document, with_files);
    let json = HeaderValue::from_static("application/json");
    Ok(([(header::CONTENT_TYPE, json)], Body::from_stream(record)).into_response())
}

/// Makes a conversation, or changes what the body names of it.
pub async fn put(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    Extension(upload): Extension<Upload>,
    Ids(id): Ids<String>,
) -> Result<Json<AppChat>, ApiError> {
    let storage = app.storage(WHAT)?;
    if !is_id(&id) {
        return Err(ApiError::bad_request(
            "The path ends in no id. Right would be up to 128 ASCII letters, digits, '-' and '_'.",
        ));
    }
    let sent = upload.read(&app.large_bodies).await?;
    let wish = ChatChange::parse(Fields::of_body(&sent)?, Some(&id))?;
    let _room = room(&app, storage, &owner, sent.len()).await?;
    Ok(Json(rows::write(&app, &owner, &id, &wish, &[], true).await?))
}

/// Deletes a conversation with its messages, links and files, and stops its answers.
pub async fn delete(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    Ids(id): Ids<String>,
) -> Result<Json<Value>, ApiError> {
    let storage = app.storage(WHAT)?;
    let (document, _) = rows::chat(storage, &owner, &id).await?;
    rows::remove(&app, storage, &owner, &document).await?;
    Ok(Json(json!({ "id": id, "object": "chat.deleted", "deleted": true })))
}

/// Reserves room for bytes of an owner's conversations.
///
/// # Errors
/// 400 where there is none.
pub async fn room<'a>(
    app: &App,
    storage: &'a Storage,
    owner: &Owner,
    bytes: usize,
) -> Result<Reservation<'a>, ApiError> {
    let room = reserve(app, storage, owner, bytes as u64).await;
    // No single field is too large.
    room.map_err(|error| ApiError { param: None, ..error })
}
