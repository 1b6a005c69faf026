//! Turns `/v1/conversations` into rows: a conversation, and its items as its parts.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use myriad_store::{Change, Document, Kind, Query, StoreError};
use serde_json::{Map, Value, json};

use super::documents::{Ids, body, find, page};
use super::past;
use crate::app::App;
use crate::errors::ApiError;
use crate::layers::upload::Upload;
use crate::limits::{APPEND_TRIES, CONVERSATION_ITEMS_MAX};
use crate::random;
use crate::storage::{Owner, Storage, created_at, position, positions};
use crate::wire::fields::Fields;
use crate::wire::metadata;
use crate::wire::query::{Paging, Parameters, SIZES, list};
use crate::wire::responses::items::{self, Item, Sent};

const WHAT: &str = "conversation";

/// Makes one, with items if there are any.
pub async fn create(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    Extension(upload): Extension<Upload>,
) -> Result<Json<Value>, ApiError> {
    app.storage(WHAT)?;
    let sent = upload.read(&app.large_bodies).await?;
    let mut fields = Fields::of_body(if sent.is_empty() { b"{}" } else { &sent })?;
    let metadata = metadata::take(&mut fields)?;
    let items = take_items(&mut fields)?;
    fields.none_left()?;
    let items = taken(&app, &owner, items.unwrap_or_default()).await?;
    let place = position();
    let document =
        Document::new(Kind::Conversation, owner.as_str(), random::identifier("conv_"), place);
    let document = Document { body: json!({ "metadata": metadata }).to_string(), ..document };
    let shown = shown(&document)?;
    let id = document.id.clone();
    app.keep(with_items(Change::new().insert(document), &owner, &id, &items)).await?;
    Ok(Json(shown))
}

/// One of them.
pub async fn show(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    Ids(id): Ids<String>,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(shown(&conversation(app.storage(WHAT)?, &owner, &id).await?)?))
}

/// Writes other metadata on one.
pub async fn update(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    Extension(upload): Extension<Upload>,
    Ids(id): Ids<String>,
) -> Result<Json<Value>, ApiError> {
    let metadata = metadata::of_body(&upload.read(&app.large_bodies).await?)?;
    let document = conversation(app.storage(WHAT)?, &owner, &id).await?;
    let document = Document { body: json!({ "metadata": metadata }).to_string(), ..document };
    let shown = shown(&document)?;
    app.keep(Change::new().update(document)).await?;
    Ok(Json(shown))
}

/// Deletes one with its items.
pub async fn delete(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    Ids(id): Ids<String>,
) -> Result<Json<Value>, ApiError> {
    let document = conversation(app.storage(WHAT)?, &owner, &id).await?;
    app.keep(Change::new().delete(&document)).await?;
    Ok(Json(json!({ "id": id, "object": "conversation.deleted", "deleted": true })))
}

/// Adds items at its end.
pub async fn add_items(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    Extension(upload): Extension<Upload>,
    Ids(id): Ids<String>,
    mut parameters: Parameters,
) -> Result<Json<Value>, ApiError> {
    parameters.texts("include");
    parameters.none_left()?;
    let sent = upload.read(&app.large_bodies).await?;
    let mut fields = Fields::of_body(&sent)?;
    let items = take_items(&mut fields)?.ok_or_else(|| ApiError::missing("items"))?;
    fields.none_left()?;
    conversation(app.storage(WHAT)?, &owner, &id).await?;
    let items = taken(&app, &owner, items).await?;
    let shown = items.iter().map(|item| json!(item)).collect();
    append(&app, &owner, &id, items).await?;
    Ok(Json(list(shown, false, json!(""))))
}

/// A page of its items.
pub async fn items(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    Ids(id): Ids<String>,
    mut parameters: Parameters,
) -> Result<Json<Value>, ApiError> {
    let mut paging = Paging::take(&mut parameters, SIZES, true)?;
    parameters.texts("include");
    parameters.none_left()?;
    let storage = app.storage(WHAT)?;
    conversation(storage, &owner, &id).await?;
    paging.after = paging.after.map(|after| row_of(&id, &after));
    let query = Query::parts(Kind::Item, owner.as_str(), &id);
    let (documents, more) = page(storage, query, &paging).await?;
    let data: Result<Vec<Value>, _> = documents.iter().map(body).collect();
    Ok(Json(list(data?, more, json!(""))))
}

/// One of its items.
pub async fn show_item(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    Ids((id, item)): Ids<(String, String)>,
    mut parameters: Parameters,
) -> Result<Json<Value>, ApiError> {
    parameters.texts("include");
    parameters.none_left()?;
    let storage = app.storage(WHAT)?;
    conversation(storage, &owner, &id).await?;
    Ok(Json(body(&item_of(storage, &owner, &id, &item).await?)?))
}

/// Deletes one of its items; what comes back is the conversation.
pub async fn delete_item(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    Ids((id, item)): Ids<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let storage = app.storage(WHAT)?;
    let document = conversation(storage, &owner, &id).await?;
    let item = item_of(storage, &owner, &id, &item).await?;
    app.keep(Change::new().delete(&item)).await?;
    Ok(Json(shown(&document)?))
}

/// Adds items at the end of a conversation that is there.
///
/// # Errors
/// 404 where it is not there any more.
pub async fn append(app: &App, owner: &Owner, id: &str, items: Vec<Item>) -> Result<(), ApiError> {
    let storage = app.storage(WHAT)?;
    let mut tries = 0;
    loop {
        // Written over with itself: a conversation that is deleted meanwhile gets no items.
        let document = conversation(storage, owner, id).await?;
        let change = with_items(Change::new().update(document), owner, id, &items);
        match storage.store.commit(change).await {
            Err(StoreError::Conflict(_)) if tries < APPEND_TRIES => tries += 1,
            done => return Ok(done?),
        }
    }
}

fn with_items(change: Change, owner: &Owner, id: &str, items: &[Item]) -> Change {
    items.iter().zip(positions(items.len())..).fold(change, |change, (item, position)| {
        let row = row_of(id, item.id());
        let document = Document::new(Kind::Item, owner.as_str(), row, position);
        let body = json!(item).to_string();
        change.insert(Document { parent: id.to_owned(), body, ..document })
    })
}

/// The name of an item's row: an item may stand in several conversations.
fn row_of(conversation: &str, item: &str) -> String {
    format!("{conversation}.{item}")
}

async fn conversation(storage: &Storage, owner: &Owner, id: &str) -> Result<Document, ApiError> {
    find(storage, Kind::Conversation, owner, id, WHAT).await
}

async fn item_of(
    storage: &Storage,
    owner: &Owner,
    id: &str,
    item: &str,
) -> Result<Document, ApiError> {
    let none = |_| ApiError::not_found("conversation item", item);
    find(storage, Kind::Item, owner, &row_of(id, item), "conversation item").await.map_err(none)
}

fn shown(document: &Document) -> Result<Value, ApiError> {
    let kept: Map<String, Value> = body(document)?;
    Ok(json!({
        "id": document.id,
        "object": "conversation",
        "created_at": created_at(document),
        "metadata": kept.get("metadata"),
    }))
}

fn take_items(fields: &mut Fields<'_>) -> Result<Option<Vec<Sent>>, ApiError> {
    const NAME: &str = "items";
    let Some(value) = fields.raw(NAME) else { return Ok(None) };
    let items = items::read(value, NAME)?;
    if items.len() > CONVERSATION_ITEMS_MAX {
        let message = format!(
            "'{NAME}' has {} items. Right would be at most {CONVERSATION_ITEMS_MAX} at a time.",
            items.len()
        );
        return Err(ApiError::invalid(NAME, message));
    }
    Ok(Some(items))
}

/// Items under names of their own.
async fn taken(app: &App, owner: &Owner, sent: Vec<Sent>) -> Result<Vec<Item>, ApiError> {
    let items = past::resolve(app, owner, sent, &[]).await?;
    Ok(items.into_iter().map(Item::renamed).collect())
}
