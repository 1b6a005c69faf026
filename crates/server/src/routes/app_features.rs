//! Turns `GET /app/features` into what this server has for the chat in the browser.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::limits::APP_FILE_BYTES_MAX;

/// What the chat asks before it shows anything.
#[derive(Serialize, ToSchema)]
pub struct Features {
    /// Whether conversations are kept here; else the browser keeps them.
    history: bool,
    /// Whether models may call tools here.
    tools: bool,
    /// Whether files can be added to them: their text has to be kept.
    files: bool,
    /// Bytes that one may have.
    file_bytes_max: u64,
}

/// Open to everyone: a page without a key has to know where to look.
pub async fn show(State(app): State<Arc<App>>) -> Json<Features> {
    let history = app.storage("history").is_ok();
    let file_bytes_max = APP_FILE_BYTES_MAX.min(app.config.file_bytes_max);
    // Calls are the server's, as answers are where it keeps them.
    let tools = history && !app.config.tools.is_empty();
    Json(Features { history, tools, files: history, file_bytes_max })
}
