//! Turns `/v1/uploads` into parts on disk, and parts in their order into a file.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::{Extension, Json};
use md5::{Digest, Md5};
use myriad_store::{BlobWriter, Change, Document, Kind};
use tokio::io::AsyncReadExt;

use super::documents::Ids;
use super::files::{receive, reserve, reserve_body, twice};
use crate::app::{App, unix_seconds};
use crate::errors::ApiError;
use crate::layers::form::Form;
use crate::layers::upload::Upload;
use crate::limits::{FILE_PIECE_BYTES, UPLOAD_PART_BYTES_MAX, UPLOAD_PARTS_MAX, UPLOAD_SECONDS};
use crate::random;
use crate::storage::{Owner, Storage, created_at, position};
use crate::wire::files::{FileObject, FileRecord, seconds_kept};
use crate::wire::uploads::{
    CANCELLED, COMPLETED, CompleteRequest, PENDING, PartObject, UploadObject, UploadRecord,
};

/// What refusals name where nothing is kept.
const PARAM: &str = "upload";

/// Rows of parts that are read at once.
const PAGE: usize = 500;

/// `POST /v1/uploads`
pub async fn create(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    Extension(upload): Extension<Upload>,
) -> Result<Json<UploadObject>, ApiError> {
    let storage = app.storage(PARAM)?;
    let record = UploadRecord::parse(&upload.read(&app.large_bodies).await?)?;
    // Told before the parts are sent; each reserves its own room when it comes.
    drop(reserve(&app, storage, &owner, record.bytes).await?);
    let id = random::identifier("upload_");
    let document = Document::new(Kind::Upload, owner.as_str(), id, position());
    let document = Document {
        state: PENDING.into(),
        expires_at: Some(created_at(&document) + UPLOAD_SECONDS),
        body: record.body(),
        ..document
    };
    storage.store.commit(Change::new().insert(document.clone())).await?;
    Ok(Json(record.object(&document, None)))
}

/// `POST /v1/uploads/{id}/parts`
pub async fn add_part(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    Extension(upload): Extension<Upload>,
    Ids(id): Ids<String>,
    headers: HeaderMap,
) -> Result<Json<PartObject>, ApiError> {
    let storage = app.storage(PARAM)?;
    let parent = find_pending(storage, &owner, &id).await?;
    if storage.store.count_parts(Kind::UploadPart, &id).await? >= UPLOAD_PARTS_MAX as u64 {
        let message = format!("An upload may have {UPLOAD_PARTS_MAX} parts.");
        return Err(ApiError::invalid("data", message));
    }
    let limit = UPLOAD_PART_BYTES_MAX.min(UploadRecord::of(&parent)?.bytes);
    let _reserved = reserve_body(&app, storage, &owner, &upload, limit).await?;
    let mut form = Form::of(upload, &headers)?;
    let mut content: Option<BlobWriter> = None;
    while let Some(field) = form.field().await? {
        if field.name != "data" {
            return Err(ApiError::unknown_parameter(&field.name));
        }
        if content.replace(receive(storage, &mut form, limit).await?).is_some() {
            return Err(twice("data"));
        }
    }
    let content = content.ok_or_else(|| ApiError::missing("data"))?;
    // It may have been completed, given up or swept away while the part came.
    find_pending(storage, &owner, &id).await?;
    let blob = content.finish().await?;
    let part = random::identifier("part_");
    let part = Document {
        parent: id,
        blob: Some(blob.digest.clone()),
        bytes: blob.bytes as i64,
        ..Document::new(Kind::UploadPart, owner.as_str(), part, position())
    };
    storage.store.commit(Change::new().insert(part.clone())).await?;
    Ok(Json(PartObject::of(&part)))
}

/// `POST /v1/uploads/{id}/complete`
pub async fn complete(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    Extension(upload): Extension<Upload>,
    Ids(id): Ids<String>,
) -> Result<Json<UploadObject>, ApiError> {
    let storage = app.storage(PARAM)?;
    let request = CompleteRequest::parse(&upload.read(&app.large_bodies).await?)?;
    let document = find_pending(storage, &owner, &id).await?;
    let mut record = UploadRecord::of(&document)?;
    let parts = ordered(storage, &document, &request.part_ids).await?;
    let bytes: u64 = parts.iter().map(|part| part.bytes.unsigned_abs()).sum();
    if bytes != record.bytes {
        let message = format!(
            "The parts have {bytes} bytes together, but the upload was made for {}.",
            record.bytes
        );
        return Err(ApiError::invalid("part_ids", message));
    }
    // Until the parts are gone their bytes count, and those of the file too.
    let _reserved = reserve(&app, storage, &owner, bytes).await?;
    let (content, md5) = join(storage, &parts, bytes).await?;
    if let Some(wanted) = request.md5.filter(|wanted| !wanted.eq_ignore_ascii_case(&md5)) {
        let shown: String = wanted.chars().take(64).collect();
        let message = format!("The parts have the MD5 checksum {md5}, not '{shown}'.");
        return Err(ApiError::invalid("md5", message));
    }
    let file = FileRecord { filename: record.filename.clone(), purpose: record.purpose.clone() };
    let file = file.document(owner.as_str(), random::identifier("file-"), position());
    let seconds = seconds_kept(&record.purpose, record.seconds);
    let contents = storage.store.contents(&document).await?;
    let blob = content.finish().await?;
    let file = Document {
        expires_at: seconds.map(|seconds| created_at(&file) + seconds),
        blob: Some(blob.digest.clone()),
        bytes: blob.bytes as i64,
        ..file
    };
    record.file_id = Some(file.id.clone());
    let document = Document { state: COMPLETED.into(), body: record.body(), ..document };
    let change = Change::new().update(document.clone()).delete_parts(&document);
    storage.store.commit(change.insert(file.clone())).await?;
    drop(blob);
    storage.release(&contents).await?;
    Ok(Json(record.object(&document, Some(FileObject::of(&file)?))))
}

/// `POST /v1/uploads/{id}/cancel`
pub async fn cancel(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    Ids(id): Ids<String>,
) -> Result<Json<UploadObject>, ApiError> {
    let storage = app.storage(PARAM)?;
    let document = find_pending(storage, &owner, &id).await?;
    let record = UploadRecord::of(&document)?;
    let contents = storage.store.contents(&document).await?;
    let document = Document { state: CANCELLED.into(), ..document };
    let change = Change::new().update(document.clone()).delete_parts(&document);
    storage.store.commit(change).await?;
    storage.release(&contents).await?;
    Ok(Json(record.object(&document, None)))
}

/// The upload of this name, which takes parts.
async fn find_pending(storage: &Storage, owner: &Owner, id: &str) -> Result<Document, ApiError> {
    let found = storage.store.document(Kind::Upload, owner.as_str(), id).await?;
    let document = found.ok_or_else(|| ApiError::not_found("upload", id))?;
    let over = document.expires_at.is_some_and(|time| time <= unix_seconds() as i64);
    let state = if over { "expired" } else { document.state.as_str() };
    if state == PENDING {
        return Ok(document);
    }
    let message = format!("The upload is {state}: nothing more can be done with it.");
    Err(ApiError::invalid("upload_id", message))
}

/// The parts in the order that was asked for.
async fn ordered(
    storage: &Storage,
    upload: &Document,
    ids: &[String],
) -> Result<Vec<Document>, ApiError> {
    let mut known: HashMap<String, Document> = HashMap::new();
    let mut after: Option<String> = None;
    loop {
        let page = storage.parts(Kind::UploadPart, upload, after.as_deref(), PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.id.clone());
        known.extend(page.into_iter().map(|part| (part.id.clone(), part)));
    }
    let take = |(index, id): (usize, &String)| {
        known.remove(id).ok_or_else(|| {
            let shown: String = id.chars().take(64).collect();
            let message = format!("'part_ids[{index}]': the upload has no part '{shown}' left.");
            ApiError::invalid("part_ids", message)
        })
    };
    ids.iter().enumerate().map(take).collect()
}

/// One content of many, not yet finished, and its MD5 checksum.
async fn join(
    storage: &Storage,
    parts: &[Document],
    bytes: u64,
) -> Result<(BlobWriter, String), ApiError> {
    let mut content = storage.blobs.writer(bytes).await?;
    let mut md5 = Md5::new();
    let mut piece = vec![0; FILE_PIECE_BYTES];
    for part in parts {
        let mut file = storage.blobs.read(part.blob.as_deref().unwrap_or_default()).await?;
        loop {
            let length = file.read(&mut piece).await.map_err(|error| {
                tracing::error!(%error, "reading a part");
                ApiError::internal()
            })?;
            if length == 0 {
                break;
            }
            md5.update(&piece[..length]);
            content.write(&piece[..length]).await?;
        }
    }
    let digest = md5.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((content, digest))
}
