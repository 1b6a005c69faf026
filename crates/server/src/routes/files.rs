//! Turns `/v1/files` into contents on disk with their rows, lists of them, and contents again.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::Bytes;
use futures_util::stream;
use myriad_store::limits::PAGE_MAX;
use myriad_store::{BlobWriter, Change, Document, Kind, Query, StoreError};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use super::documents::{Ids, page};
use crate::app::{App, unix_seconds};
use crate::errors::ApiError;
use crate::layers::form::Form;
use crate::layers::upload::Upload;
use crate::limits::{FILE_PIECE_BYTES, FILES_PAGE_MAX, FORM_BYTES_MAX, SMALL_TEXT_BYTES_MAX};
use crate::quota::Reservation;
use crate::random;
use crate::storage::{Owner, Storage, created_at, position};
use crate::wire::files::{
    FileObject, FileRecord, check_filename, check_purpose, form_expiry, seconds_kept,
};
use crate::wire::query::{Paging, Parameters, Sizes, list as pages};

/// What refusals name where nothing is kept.
const PARAM: &str = "file";

const SIZES: Sizes = Sizes { usual: FILES_PAGE_MAX, max: FILES_PAGE_MAX };

/// `POST /v1/files`
pub async fn create(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    Extension(upload): Extension<Upload>,
    headers: HeaderMap,
) -> Result<Json<FileObject>, ApiError> {
    let storage = app.storage(PARAM)?;
    let limit = app.config.file_bytes_max;
    let _reserved = reserve_body(&app, storage, &owner, &upload, limit).await?;
    let new = NewFile::read(storage, Form::of(upload, &headers)?, limit).await?;
    let position = position();
    let document = new.record.document(owner.as_str(), random::identifier("file-"), position);
    let seconds = seconds_kept(&new.record.purpose, new.seconds);
    let blob = new.content.finish().await?;
    let document = Document {
        expires_at: seconds.map(|seconds| created_at(&document) + seconds),
        blob: Some(blob.digest.clone()),
        bytes: blob.bytes as i64,
        ..document
    };
    storage.store.commit(Change::new().insert(document.clone())).await?;
    Ok(Json(FileObject::of(&document)?))
}

/// Reserves room for a body whose content may have `limit` bytes.
///
/// # Errors
/// 413 where it is declared larger, 400 where the owner has no such room.
pub async fn reserve_body<'a>(
    app: &App,
    storage: &'a Storage,
    owner: &Owner,
    upload: &Upload,
    limit: u64,
) -> Result<Reservation<'a>, ApiError> {
    upload.check(limit.saturating_add(FORM_BYTES_MAX))?;
    let bytes = upload.declared().unwrap_or(limit).min(limit);
    reserve(app, storage, owner, bytes).await
}

/// Reserves room for bytes of an owner.
///
/// # Errors
/// 400 where there is none.
pub async fn reserve<'a>(
    app: &App,
    storage: &'a Storage,
    owner: &Owner,
    bytes: u64,
) -> Result<Reservation<'a>, ApiError> {
    let limit = app.config.owner_bytes_max;
    let room = storage.quota.reserve(&storage.store, owner.as_str(), bytes, limit).await?;
    room.ok_or_else(|| {
        let message = format!(
            "All files and conversations of one owner may have {limit} bytes together, and with \
             this one they would have more. Delete some that you do not need."
        );
        let error = ApiError::invalid(PARAM, message);
        ApiError { code: Some("storage_quota_exceeded"), ..error }
    })
}

/// A file as a form has it.
struct NewFile {
    record: FileRecord,
    seconds: Option<i64>,
    content: BlobWriter,
}

impl NewFile {
    /// Reads the form, the content to disk.
    async fn read(storage: &Storage, mut form: Form, limit: u64) -> Result<NewFile, ApiError> {
        let (mut file, mut purpose) = (None, None);
        let (mut anchor, mut seconds) = (None, None);
        while let Some(field) = form.field().await? {
            let text = match field.name.as_str() {
                "file" => {
                    let name = field.filename.ok_or_else(|| {
                        let message = "'file' must be a file: a field with a filename.";
                        ApiError::wrong_type("file", message)
                    })?;
                    let name = check_filename("file", &name)?;
                    let content = receive(storage, &mut form, limit).await?;
                    if file.replace((name, content)).is_some() {
                        return Err(twice("file"));
                    }
                    continue;
                }
                "purpose" => &mut purpose,
                "expires_after[anchor]" => &mut anchor,
                "expires_after[seconds]" => &mut seconds,
                unknown => return Err(ApiError::unknown_parameter(unknown)),
            };
            let value = form.text(&field.name, SMALL_TEXT_BYTES_MAX).await?;
            if text.replace(value).is_some() {
                return Err(twice(&field.name));
            }
        }
        let purpose = purpose.ok_or_else(|| ApiError::missing("purpose"))?;
        let purpose = check_purpose(purpose)?;
        let seconds = form_expiry(anchor.as_deref(), seconds.as_deref())?;
        let (filename, content) = file.ok_or_else(|| ApiError::missing("file"))?;
        Ok(NewFile { record: FileRecord { filename, purpose }, seconds, content })
    }
}

/// Writes a field's content to disk as it comes.
///
/// # Errors
/// 413 where it is larger than `limit`, and as [`Form::piece`].
pub async fn receive(
    storage: &Storage,
    form: &mut Form,
    limit: u64,
) -> Result<BlobWriter, ApiError> {
    let mut content = storage.blobs.writer(limit).await?;
    while let Some(piece) = form.piece().await? {
        content.write(&piece).await?;
    }
    Ok(content)
}

/// 400 for a field that came twice.
pub fn twice(name: &str) -> ApiError {
    ApiError::invalid(name, format!("'{name}' may be given once."))
}

/// `GET /v1/files`
pub async fn list(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    mut parameters: Parameters,
) -> Result<Json<Value>, ApiError> {
    let storage = app.storage(PARAM)?;
    let purpose = parameters.text("purpose");
    let mut paging = Paging::take(&mut parameters, SIZES, true)?;
    parameters.none_left()?;
    let (wanted, mut files) = (paging.limit, Vec::new());
    let now = unix_seconds() as i64;
    // The store knows of no purposes; a page of it may have few files of the one asked for.
    paging.limit = PAGE_MAX;
    loop {
        let query = Query::of(Kind::File, owner.as_str());
        let (documents, more) = page(storage, query, &paging).await?;
        paging.after = documents.last().map(|document| document.id.clone());
        for document in documents {
            let file = FileObject::of(&document)?;
            let right = purpose.as_ref().is_none_or(|purpose| *purpose == file.purpose);
            if right && file.expires_at.is_none_or(|time| time > now) {
                files.push(json!(file));
            }
        }
        if files.len() > wanted || !more {
            break;
        }
    }
    let more = files.len() > wanted;
    files.truncate(wanted);
    Ok(Json(pages(files, more, Value::Null)))
}

/// `GET /v1/files/{id}`
pub async fn show(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    Ids(id): Ids<String>,
) -> Result<Json<FileObject>, ApiError> {
    Ok(Json(FileObject::of(&find(app.storage(PARAM)?, &owner, &id).await?)?))
}

/// `DELETE /v1/files/{id}`
pub async fn delete(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    Ids(id): Ids<String>,
) -> Result<Json<Value>, ApiError> {
    let storage = app.storage(PARAM)?;
    let document = find(storage, &owner, &id).await?;
    match storage.delete(&document).await {
        Ok(()) => Ok(Json(json!({ "id": id, "object": "file", "deleted": true }))),
        Err(StoreError::Conflict(_)) => Err(ApiError::not_found("file", &id)),
        Err(error) => Err(error.into()),
    }
}

/// `GET /v1/files/{id}/content`
pub async fn content(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    Ids(id): Ids<String>,
) -> Result<Response, ApiError> {
    let storage = app.storage(PARAM)?;
    let document = find(storage, &owner, &id).await?;
    let file = FileObject::of(&document)?;
    let content = storage.blobs.read(document.blob.as_deref().unwrap_or_default()).await?;
    let pieces = stream::try_unfold(content, |mut content| async {
        let mut piece = vec![0; FILE_PIECE_BYTES];
        let length = content.read(&mut piece).await?;
        piece.truncate(length);
        let piece = (length > 0).then(|| (Bytes::from(piece), content));
        Ok::<_, std::io::Error>(piece)
    });
    let mut response = Body::from_stream(pieces).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(file.bytes));
    // It is what a stranger sent: a browser must save it, and show none of it.
    let octets = HeaderValue::from_static("application/octet-stream");
    headers.insert(header::CONTENT_TYPE, octets);
    headers.insert(header::CONTENT_DISPOSITION, attachment(&file.filename));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

/// The file of this name.
///
/// # Errors
/// 404 where its owner has none.
pub async fn find(storage: &Storage, owner: &Owner, id: &str) -> Result<Document, ApiError> {
    let found = storage.find(Kind::File, owner, id).await?;
    found.ok_or_else(|| ApiError::not_found("file", id))
}

/// A name as a header has it (RFC 6266): the bytes of its UTF-8 that are not plain as `%C3`.
fn attachment(name: &str) -> HeaderValue {
    let mut value = String::from("attachment; filename*=UTF-8''");
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => {
                value.push(char::from(byte));
            }
            _ => value.push_str(&format!("%{byte:02X}")),
        }
    }
    // ASCII without controls, as it was just made.
    HeaderValue::from_str(&value).unwrap_or_else(|_| HeaderValue::from_static("attachment"))
}
