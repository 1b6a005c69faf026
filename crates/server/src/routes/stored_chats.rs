//! Turns chats that were asked to be stored into rows, and rows into lists, chats and messages.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use myriad_store::{Change, Document, Kind, Query};
use serde_json::{Map, Value, json};

use super::documents::{Ids, body, find, page};
use crate::app::App;
use crate::errors::ApiError;
use crate::layers::upload::Upload;
use crate::limits::FILTERED_AT_ONCE;
use crate::storage::{Owner, Storage, position};
use crate::wire::chat::ChatCompletion;
use crate::wire::metadata;
use crate::wire::query::{Paging, Parameters, SIZES, list as page_of};
use crate::wire::stored_chats::StoredChat;

const WHAT: &str = "stored chat completion";

/// What keeps a chat: its answer is one row, its messages are parts of that.
pub fn change(owner: &Owner, completion: &ChatCompletion, stored: &StoredChat) -> Change {
    let id = &completion.id;
    let mut shown = json!(completion);
    shown["metadata"] = stored.metadata.clone().into();
    let chat = Document::new(Kind::Chat, owner.as_str(), id, position());
    let chat = Document { body: shown.to_string(), ..chat };
    let messages = stored.messages(id).into_iter().zip(0..);
    messages.fold(Change::new().insert(chat), |change, ((message, body), position)| {
        let row = Document::new(Kind::ChatMessage, owner.as_str(), message, position);
        change.insert(Document { parent: id.clone(), body: body.to_string(), ..row })
    })
}

/// A page of them, those that the filters let by.
pub async fn list(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    mut parameters: Parameters,
) -> Result<Json<Value>, ApiError> {
    let paging = Paging::take(&mut parameters, SIZES, false)?;
    let model = parameters.text("model");
    let metadata = parameters.pairs("metadata");
    parameters.none_left()?;
    let passes = |chat: &Value| {
        let same = |(key, value): &(String, String)| chat["metadata"][key] == json!(value);
        model.as_ref().is_none_or(|model| chat["model"] == json!(model))
            && metadata.iter().all(same)
    };
    let storage = app.storage("store")?;
    let query = Query::of(Kind::Chat, owner.as_str());
    let mut found: Vec<Value> = Vec::new();
    let mut next = Paging { limit: FILTERED_AT_ONCE, ..paging.clone() };
    loop {
        let (documents, more) = page(storage, query.clone(), &next).await?;
        next.after = documents.last().map(|last| last.id.clone());
        for document in &documents {
            let chat: Value = body(document)?;
            if passes(&chat) {
                found.push(chat);
            }
        }
        if !more || found.len() > paging.limit {
            break;
        }
    }
    let more = found.len() > paging.limit;
    found.truncate(paging.limit);
    Ok(Json(page_of(found, more, json!(""))))
}

/// One of them.
pub async fn show(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    Ids(id): Ids<String>,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(body(&chat(app.storage("store")?, &owner, &id).await?)?))
}

/// Writes other metadata on one.
pub async fn update(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    Extension(upload): Extension<Upload>,
    Ids(id): Ids<String>,
) -> Result<Json<Value>, ApiError> {
    let metadata = metadata::of_body(&upload.read(&app.large_bodies).await?)?;
    let storage = app.storage("store")?;
    let document = chat(storage, &owner, &id).await?;
    let mut shown: Map<String, Value> = body(&document)?;
    shown.insert("metadata".to_owned(), metadata.into());
    let shown = Value::from(shown);
    app.keep(Change::new().update(Document { body: shown.to_string(), ..document })).await?;
    Ok(Json(shown))
}

/// Deletes one with its messages.
pub async fn delete(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    Ids(id): Ids<String>,
) -> Result<Json<Value>, ApiError> {
    let document = chat(app.storage("store")?, &owner, &id).await?;
    app.keep(Change::new().delete(&document)).await?;
    Ok(Json(json!({ "object": "chat.completion.deleted", "id": id, "deleted": true })))
}

/// A page of the messages of one.
pub async fn messages(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    Ids(id): Ids<String>,
    mut parameters: Parameters,
) -> Result<Json<Value>, ApiError> {
    let paging = Paging::take(&mut parameters, SIZES, false)?;
    parameters.none_left()?;
    let storage = app.storage("store")?;
    chat(storage, &owner, &id).await?;
    let query = Query::parts(Kind::ChatMessage, owner.as_str(), &id);
    let (documents, more) = page(storage, query, &paging).await?;
    let messages: Result<Vec<Value>, _> = documents.iter().map(body).collect();
    Ok(Json(page_of(messages?, more, json!(""))))
}

async fn chat(storage: &Storage, owner: &Owner, id: &str) -> Result<Document, ApiError> {
    find(storage, Kind::Chat, owner, id, WHAT).await
}
