//! Turns `GET /app/features` into what this server has for the chat in the browser.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;

/// What the chat asks before it shows anything.
#[derive(Serialize, ToSchema)]
pub struct Features {
    /// Whether conversations are kept here; else the browser keeps them.
    history: bool,
    /// Whether models may call tools here.
    tools: bool,
}

/// Open to everyone: a page without a key has to know where to look.
pub async fn show(State(app): State<Arc<App>>) -> Json<Features> {
    let history = app.storage("history").is_ok();
    // Calls are the server's, as answers are where it keeps them.
    Json(Features { history, tools: history && !app.config.tools.is_empty() })
}
