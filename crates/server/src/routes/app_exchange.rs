//! Turns all conversations of an owner into lines of JSON, and such lines into conversations.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::app_chats::{WHAT, room};
use crate::app::App;
use crate::attached;
use crate::chats::records::{self, Imported};
use crate::errors::ApiError;
use crate::layers::upload::Upload;
use crate::limits::{APP_RECORD_BYTES_MAX, UPLOAD_SILENCE_MAX, UPLOAD_TIME_MAX};
use crate::storage::Owner;

/// All conversations with their messages, one on a line.
pub async fn export(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
) -> Result<Response, ApiError> {
    let storage = Arc::clone(app.storage(WHAT)?);
    let lines = HeaderValue::from_static("application/x-ndjson");
    let saved = HeaderValue::from_static("attachment; filename=\"conversations.jsonl\"");
    let headers = [(header::CONTENT_TYPE, lines), (header::CONTENT_DISPOSITION, saved)];
    Ok((headers, Body::from_stream(records::all(storage, owner))).into_response())
}

/// Adds the conversations of lines that an export wrote, under fresh ids.
pub async fn import(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    Extension(upload): Extension<Upload>,
) -> Result<Json<Value>, ApiError> {
    app.storage(WHAT)?;
    upload.check(app.config.owner_bytes_max)?;
    let import = Import { app: &app, owner: &owner, line: 0, added: 0 };
    let done = timeout(UPLOAD_TIME_MAX, import.all(&upload)).await;
    let added = done.map_err(|_| ApiError::slow_body())??;
    Ok(Json(json!({ "object": "chats.import", "imported": added })))
}

/// How far an import is.
struct Import<'a> {
    app: &'a App,
    owner: &'a Owner,
    line: usize,
    added: usize,
}

impl Import<'_> {
    async fn all(mut self, upload: &Upload) -> Result<usize, ApiError> {
        let mut rest = Vec::new();
        while let Some(piece) = upload.piece(UPLOAD_SILENCE_MAX).await? {
            let mut lines = piece.split(|byte| *byte == b'\n');
            // There is one at least.
            rest.extend_from_slice(lines.next().unwrap_or_default());
            for begun in lines {
                self.add(&rest).await?;
                rest.clear();
                rest.extend_from_slice(begun);
            }
            if rest.len() > APP_RECORD_BYTES_MAX {
                let message =
                    format!("it has more bytes than {APP_RECORD_BYTES_MAX}, the most of a line");
                self.line += 1;
                return Err(self.told(ApiError::bad_request(message)));
            }
        }
        self.add(&rest).await?;
        Ok(self.added)
    }

    async fn add(&mut self, line: &[u8]) -> Result<(), ApiError> {
        self.line += 1;
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let kept = self.keep(line).await;
        kept.map_err(|error| self.told(error))?;
        self.added += 1;
        Ok(())
    }

    async fn keep(&self, line: &[u8]) -> Result<(), ApiError> {
        let storage = self.app.storage(WHAT)?;
        let Imported { change, chat_row, files, bytes } = records::imported(line, self.owner)?;
        let _room = room(self.app, storage, self.owner, bytes).await?;
        for (about, text) in &files {
            attached::rows::keep(storage, self.owner, about, text).await?;
        }
        let names = files.iter().map(|(about, _)| about);
        let change =
            attached::rows::with_uses(storage, change, self.owner, &chat_row, names).await?;
        Ok(storage.store.commit(change).await?)
    }

    /// An error of a line says which, and what is kept all the same.
    fn told(&self, error: ApiError) -> ApiError {
        let message = format!(
            "Line {}: {} Kept are the {} conversations before it.",
            self.line, error.message, self.added
        );
        ApiError { message, ..error }
    }
}
