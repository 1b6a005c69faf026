//! Turns `/app/data` into what is kept for whom, a file of all of it, and what is deleted for good.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use myriad_store::{Document, Holding, Key, Kind, Query, StoreError, User};
use serde_json::{Value, json};

use super::documents::Ids;
use crate::app::{App, unix_seconds};
use crate::chats::rows;
use crate::errors::ApiError;
use crate::limits::{DATA_DELETED_TOGETHER, DATA_PAGE, USAGE_DAYS_MAX};
use crate::people::Caller;
use crate::storage::{Owner, Storage, created_at};
use crate::wire::app_data::{DeletedData, Kept, KeptList, Sort, sorts};
use crate::wire::batches::is_at_work;
use crate::wire::query::Parameters;

/// What is asked of the storage.
const WHAT: &str = "data";

const DAY_SECONDS: i64 = 24 * 3600;

/// What one keeps here; with `all=true` an administrator sees everyone's.
pub async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    mut parameters: Parameters,
) -> Result<Json<KeptList>, ApiError> {
    let all = parameters.boolean("all")?.unwrap_or(false);
    parameters.none_left()?;
    let storage = app.accounts()?;
    let own = caller.owner.as_str();
    let (holdings, keys, users) = match all {
        true => {
            caller.check_admin()?;
            let store = &storage.store;
            (store.holdings(None).await?, storage.keys.list().await?, storage.users.list().await?)
        }
        false => {
            let users = caller.user.into_iter().collect();
            (storage.store.holdings(Some(own)).await?, storage.keys.list_of(own).await?, users)
        }
    };
    let data = put_together(own, &holdings, &keys, &users);
    Ok(Json(KeptList { object: "list", data }))
}

/// One entry for each owner, whoever asks first; accounts that keep nothing are told, too.
fn put_together(own: &str, holdings: &[Holding], keys: &[Key], users: &[User]) -> Vec<Kept> {
    let mut owners: Vec<&str> = vec![own];
    let others = users.iter().map(|user| user.id.as_str());
    let others = others.chain(holdings.iter().map(|it| it.owner.as_str()));
    let now = unix_seconds() as i64;
    let valid: Vec<&Key> = keys.iter().filter(|key| key.is_valid(now)).collect();
    for owner in others.chain(valid.iter().map(|key| key.owner.as_str())) {
        if !owners.contains(&owner) {
            owners.push(owner);
        }
    }
    let mut of_owner: HashMap<&str, Vec<Holding>> = HashMap::new();
    for holding in holdings {
        of_owner.entry(&holding.owner).or_default().push(holding.clone());
    }
    let kept = owners.into_iter().map(|owner| Kept {
        owner: owner.to_owned(),
        name: users.iter().find(|user| user.id == owner).map(|user| user.name.clone()),
        keys: valid.iter().filter(|key| key.owner == owner).count() as u64,
        sorts: sorts(of_owner.get(owner).map(Vec::as_slice).unwrap_or_default()),
    });
    kept.collect()
}

/// Deletes all of a sort, or what was not changed for so many days; of another owner where an
/// administrator says so.
pub async fn delete(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Ids(name): Ids<String>,
    mut parameters: Parameters,
) -> Result<Json<DeletedData>, ApiError> {
    let days = parameters.integer("older_than_days", 0..=USAGE_DAYS_MAX)?;
    let owner = match parameters.text("owner") {
        Some(owner) if owner != caller.owner.as_str() => {
            caller.check_admin()?;
            Owner::named(&owner)
        }
        _ => caller.owner.clone(),
    };
    parameters.none_left()?;
    let sort = Sort::of(&name).ok_or_else(|| ApiError::not_found("sort of data", &name))?;
    let storage = app.storage(WHAT)?;
    let before = days.map(|days| unix_seconds() as i64 - days * DAY_SECONDS);
    let mut deleted = 0;
    for kind in sort.wholes() {
        deleted += delete_kind(&app, storage, &owner, *kind, before).await?;
    }
    tracing::info!(owner = owner.as_str(), sort = name, deleted, "data is deleted");
    Ok(Json(DeletedData { object: "data.deleted", deleted }))
}

async fn delete_kind(
    app: &App,
    storage: &Storage,
    owner: &Owner,
    kind: Kind,
    before: Option<i64>,
) -> Result<u64, ApiError> {
    let mut deleted = 0;
    let mut after: Option<String> = None;
    loop {
        // The place in a list is when a document was made, or changed: the oldest come first.
        let query = Query::of(kind, owner.as_str());
        let query = Query { after: after.as_deref(), limit: DATA_PAGE, ..query };
        // A document that the page is to follow stays: one that is deleted leads nowhere.
        let Some(page) = storage.store.list(&query).await? else { return Ok(deleted) };
        let old = |it: &Document| before.is_none_or(|before| created_at(it) <= before);
        let reached = page.documents.iter().take_while(|it| old(it)).count();
        let done = !page.more || reached < page.documents.len();
        let (kept, gone): (Vec<_>, Vec<_>) =
            page.documents.into_iter().take(reached).partition(is_busy);
        after = kept.last().map(|it| it.id.clone()).or(after);
        deleted += gone.len() as u64;
        let tasks = gone.into_iter().map(|document| delete_one(app, storage, owner, document));
        // Together, so that they share the disk's delay.
        stream::iter(tasks).buffer_unordered(DATA_DELETED_TOGETHER).try_collect::<()>().await?;
        if done {
            return Ok(deleted);
        }
    }
}

/// Whether the server still works on it: who wants it gone cancels it first.
fn is_busy(document: &Document) -> bool {
    document.kind == Kind::Batch && is_at_work(&document.state)
}

async fn delete_one(
    app: &App,
    storage: &Storage,
    owner: &Owner,
    document: Document,
) -> Result<(), ApiError> {
    if document.kind == Kind::AppChat {
        return rows::remove(app, storage, owner, &document).await;
    }
    match storage.delete(&document).await {
        // Its owner was quicker.
        Ok(()) | Err(StoreError::Conflict(_)) => {}
        Err(error) => return Err(error.into()),
    }
    if document.kind == Kind::Response {
        // What is remembered of it goes, too.
        app.recent.remove(&document.id);
    }
    Ok(())
}

/// All that one keeps here, one document on a line; contents of files have paths of their own.
pub async fn export(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
) -> Result<Response, ApiError> {
    let storage = Arc::clone(app.storage(WHAT)?);
    let pages = stream::try_unfold(Some(String::new()), move |after| {
        let (storage, owner) = (Arc::clone(&storage), owner.clone());
        async move {
            let Some(after) = after else { return Ok::<_, StoreError>(None) };
            let page = storage.store.documents_of(owner.as_str(), &after, DATA_PAGE).await?;
            let next = page.last().filter(|_| page.len() == DATA_PAGE).map(|it| it.id.clone());
            let lines: String = page.iter().map(|it| format!("{}\n", line(it))).collect();
            Ok(Some((Bytes::from(lines), next)))
        }
    });
    let lines = HeaderValue::from_static("application/x-ndjson");
    let saved = HeaderValue::from_static("attachment; filename=\"myriad-data.jsonl\"");
    let headers = [(header::CONTENT_TYPE, lines), (header::CONTENT_DISPOSITION, saved)];
    Ok((headers, Body::from_stream(pages)).into_response())
}

/// A document as its owner may read it: what it is, when it was made, and what it says.
fn line(document: &Document) -> Value {
    let body = serde_json::from_str(&document.body).unwrap_or(Value::Null);
    json!({
        "kind": document.kind.name(),
        "id": document.id,
        "parent": document.parent,
        "position": document.position,
        "bytes": document.bytes,
        "sha256": document.blob,
        "body": body,
    })
}
