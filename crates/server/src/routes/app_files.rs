//! Turns `/app/files` into the text of files that someone adds to a chat.
//!
//! The file itself is not kept: what a model reads of it is.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::{Extension, Json};
use myriad_extract::{Kind, Text};
use myriad_store::{BlobWriter, StoreError};
use serde_json::{Value, json};

use super::documents::Ids;
use super::files::{receive, reserve_body, twice};
use crate::app::App;
use crate::attached::rows;
use crate::errors::ApiError;
use crate::layers::form::Form;
use crate::layers::upload::Upload;
use crate::limits::APP_FILE_BYTES_MAX;
use crate::random;
use crate::storage::{Owner, Storage};
use crate::wire::app_files::{AppFile, AppFileText};
use crate::wire::files::check_filename;
use crate::wire::query::Parameters;

/// The field with the file, and what refusals name where nothing is kept.
const FILE: &str = "file";

/// Reads a file; what comes back is what the chat shows of it.
pub async fn create(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    Extension(upload): Extension<Upload>,
    headers: HeaderMap,
) -> Result<Json<AppFile>, ApiError> {
    let storage = app.storage(FILE)?;
    let limit = APP_FILE_BYTES_MAX.min(app.config.file_bytes_max);
    let _reserved = reserve_body(&app, storage, &owner, &upload, limit).await?;
    let (name, content) = sent(storage, Form::of(upload, &headers)?, limit).await?;
    let (text, bytes) = text_of(&app, storage, &name, content).await?;
    let (text, tokens) = app
        .blocking(move |app| {
            let tokens = text.pages.iter().map(|page| app.tokens_of(page)).sum::<usize>();
            Ok((text, tokens as u64))
        })
        .await?;
    let about = AppFile {
        id: random::identifier("file-"),
        name,
        kind: text.kind,
        language: text.language.clone(),
        bytes,
        pages: (text.kind == Kind::Pdf).then_some(text.pages.len() as u32),
        tokens,
    };
    rows::keep(storage, &owner, &about, &text).await?;
    Ok(Json(about))
}

/// The one file of a form.
async fn sent(
    storage: &Storage,
    mut form: Form,
    limit: u64,
) -> Result<(String, BlobWriter), ApiError> {
    let mut file = None;
    while let Some(field) = form.field().await? {
        if field.name != FILE {
            return Err(ApiError::unknown_parameter(&field.name));
        }
        let name = field.filename.ok_or_else(|| {
            ApiError::wrong_type(FILE, "'file' must be a file: a field with a filename.")
        })?;
        // Browsers write a quote in a name so (WHATWG, "multipart/form-data encoding").
        let name = check_filename(FILE, &name.replace("%22", "\""))?;
        let content = receive(storage, &mut form, limit).await?;
        if file.replace((name, content)).is_some() {
            return Err(twice(FILE));
        }
    }
    file.ok_or_else(|| ApiError::missing(FILE))
}

/// The text of what was sent, and how many bytes it had; they are gone afterwards.
async fn text_of(
    app: &App,
    storage: &Storage,
    name: &str,
    content: BlobWriter,
) -> Result<(Text, u64), ApiError> {
    let blob = content.finish().await?;
    let file = storage.blobs.read(&blob.digest).await?;
    let text = app.extractions.run(&app.config.extractor, name, file).await;
    let (digest, bytes) = (blob.digest.clone(), blob.bytes);
    // What is held cannot be removed.
    drop(blob);
    storage.release(&[digest]).await?;
    Ok((text?, bytes))
}

/// What the chat shows of a file.
pub async fn show(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    Ids(id): Ids<String>,
) -> Result<Json<AppFile>, ApiError> {
    Ok(Json(rows::find(app.storage(FILE)?, &owner, &id).await?.1))
}

/// What a model reads of a file: one page.
pub async fn text(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    Ids(id): Ids<String>,
    mut parameters: Parameters,
) -> Result<Json<AppFileText>, ApiError> {
    let page = parameters.integer("page", 1..=i64::from(u32::MAX))?.unwrap_or(1);
    parameters.none_left()?;
    let loaded = rows::load(app.storage(FILE)?, &owner, &id).await?;
    let (page, pages) = (page as usize, loaded.text.pages.len());
    let Some(text) = loaded.text.pages.get(page - 1) else {
        let message = format!("'page' is {page}. Right would be 1 to {pages}.");
        return Err(ApiError::invalid("page", message));
    };
    Ok(Json(AppFileText { page, pages, text: text.clone() }))
}

/// Deletes a file; conversations that have it keep its name.
pub async fn delete(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    Ids(id): Ids<String>,
) -> Result<Json<Value>, ApiError> {
    let storage = app.storage(FILE)?;
    let (document, _) = rows::find(storage, &owner, &id).await?;
    match storage.delete(&document).await {
        Ok(()) => Ok(Json(json!({ "id": id, "object": "file.deleted", "deleted": true }))),
        Err(StoreError::Conflict(_)) => Err(ApiError::not_found("file", &id)),
        Err(error) => Err(error.into()),
    }
}
