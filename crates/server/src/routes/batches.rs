//! Turns `/v1/batches` into wishes for batches, and what became of them.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use myriad_store::{Change, Document, Kind, Query};
use serde_json::{Value, json};

use super::documents::{Ids, page};
use super::{absent, files};
use crate::app::{App, unix_seconds};
use crate::errors::ApiError;
use crate::layers::upload::Upload;
use crate::limits::{BATCH_FILE_BYTES_MAX, BATCH_SECONDS};
use crate::random;
use crate::storage::{Owner, Storage, created_at, position};
use crate::wire::batches::{
    BatchObject, BatchRecord, BatchRequest, BatchUsage, CANCELLING, COMPLETED, FAILED, IN_PROGRESS,
    RequestCounts, VALIDATING,
};
use crate::wire::files::{FileRecord, unreadable};
use crate::wire::query::{Paging, Parameters, SIZES, list as pages};

/// What refusals name where nothing is kept.
const PARAM: &str = "batch";

/// What lines may ask, as far as it is there.
const ENDPOINTS: [&str; 5] = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/moderations",
    "/v1/responses",
];

/// `POST /v1/batches`
pub async fn create(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    Extension(upload): Extension<Upload>,
) -> Result<Json<BatchObject>, ApiError> {
    let storage = app.storage(PARAM)?;
    let body = upload.read(&app.large_bodies).await?;
    let there: Vec<&str> =
        ENDPOINTS.into_iter().filter(|path| absent::part(path).is_none()).collect();
    let request = BatchRequest::parse(&body, &there)?;
    let input = check_input(storage, &owner, &request.input_file_id).await?;
    let digest = input.blob.unwrap_or_default();
    let id = random::identifier("batch_");
    let document = Document::new(Kind::Batch, owner.as_str(), id, position());
    let record = begin(&document, request);
    let shown = record.batch.clone();
    // The batch has the content too: it stays until the last line is read, also without its file.
    let held = storage.blobs.hold(&digest).await?;
    let document = Document { blob: Some(digest), ..document };
    storage.store.commit(Change::new().insert(record.into_row(document))).await?;
    drop(held);
    app.batches.send_replace(());
    Ok(Json(shown))
}

/// The file of a new batch's lines.
async fn check_input(storage: &Storage, owner: &Owner, id: &str) -> Result<Document, ApiError> {
    const PARAM: &str = "input_file_id";
    let found = files::find(storage, owner, id).await;
    let document = found.map_err(|error| match error.param {
        Some(_) => ApiError { param: Some(PARAM.into()), ..error },
        None => error,
    })?;
    if FileRecord::of(&document)?.purpose != "batch" {
        let message = "The input file of a batch must have the purpose 'batch'.";
        return Err(ApiError::invalid(PARAM, message));
    }
    if document.bytes.unsigned_abs() > BATCH_FILE_BYTES_MAX {
        let message =
            format!("The input file of a batch may have {BATCH_FILE_BYTES_MAX} bytes at most.");
        return Err(ApiError::invalid(PARAM, message));
    }
    Ok(document)
}

fn begin(document: &Document, request: BatchRequest) -> BatchRecord {
    let created_at = created_at(document);
    BatchRecord {
        batch: BatchObject {
            id: document.id.clone(),
            object: "batch".into(),
            endpoint: request.endpoint,
            model: None,
            errors: None,
            input_file_id: request.input_file_id,
            completion_window: "24h".into(),
            status: VALIDATING.into(),
            output_file_id: None,
            error_file_id: None,
            created_at,
            in_progress_at: None,
            expires_at: Some(created_at + BATCH_SECONDS),
            finalizing_at: None,
            completed_at: None,
            failed_at: None,
            expired_at: None,
            cancelling_at: None,
            cancelled_at: None,
            request_counts: RequestCounts::default(),
            usage: BatchUsage::default(),
            metadata: request.metadata,
        },
        output_file: random::identifier("file-"),
        error_file: random::identifier("file-"),
        output_seconds: request.output_seconds,
    }
}

/// `GET /v1/batches`
pub async fn list(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    mut parameters: Parameters,
) -> Result<Json<Value>, ApiError> {
    let storage = app.storage(PARAM)?;
    let paging = Paging::latest(&mut parameters, SIZES)?;
    parameters.none_left()?;
    let query = Query::of(Kind::Batch, owner.as_str());
    let (documents, more) = page(storage, query, &paging).await?;
    let mut batches = Vec::with_capacity(documents.len());
    for document in &documents {
        batches.push(json!(object(storage, document).await?));
    }
    Ok(Json(pages(batches, more, Value::Null)))
}

/// `GET /v1/batches/{id}`
pub async fn show(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    Ids(id): Ids<String>,
) -> Result<Json<BatchObject>, ApiError> {
    let storage = app.storage(PARAM)?;
    Ok(Json(object(storage, &find(storage, &owner, &id).await?).await?))
}

/// `POST /v1/batches/{id}/cancel`
pub async fn cancel(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    Ids(id): Ids<String>,
) -> Result<Json<BatchObject>, ApiError> {
    let storage = app.storage(PARAM)?;
    let document = find(storage, &owner, &id).await?;
    let mut record = record(&document)?;
    match document.state.as_str() {
        CANCELLING => return Ok(Json(object(storage, &document).await?)),
        VALIDATING | IN_PROGRESS => {}
        state => {
            let message = format!("Cannot cancel a batch with status '{state}'.");
            return Err(ApiError::invalid("batch_id", message));
        }
    }
    record.batch.status = CANCELLING.into();
    record.batch.cancelling_at = Some(unix_seconds() as i64);
    let document = record.into_row(document);
    storage.store.commit(Change::new().update(document.clone())).await?;
    app.batches.send_replace(());
    Ok(Json(object(storage, &document).await?))
}

async fn find(storage: &Storage, owner: &Owner, id: &str) -> Result<Document, ApiError> {
    let found = storage.find(Kind::Batch, owner, id).await?;
    found.ok_or_else(|| ApiError::not_found("batch", id))
}

fn record(document: &Document) -> Result<BatchRecord, ApiError> {
    BatchRecord::of(document).map_err(|error| unreadable(document, &error))
}

/// A batch as it is now: while it is worked on its lines are counted.
async fn object(storage: &Storage, document: &Document) -> Result<BatchObject, ApiError> {
    let mut batch = record(document)?.batch;
    for (state, count) in storage.store.count_states(Kind::BatchLine, &document.id).await? {
        match state.as_str() {
            COMPLETED => batch.request_counts.completed = count,
            FAILED => batch.request_counts.failed = count,
            _ => {}
        }
    }
    Ok(batch)
}
