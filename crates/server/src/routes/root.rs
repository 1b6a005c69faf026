//! Turns `GET /` into the chat for browsers, and into a list of what is there for programs.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::web;
use crate::app::App;

/// What opens at the server's address.
pub async fn show(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    web::page(&headers).unwrap_or_else(|| list(&app).into_response())
}

fn list(app: &App) -> Json<Value> {
    let chat = match web::is_built() {
        true => "open this address in a browser",
        false => "not in this build: Node.js was missing when it was made",
    };
    Json(json!({
        "name": "myriad",
        "version": env!("CARGO_PKG_VERSION"),
        "chat": chat,
        "models": app.runtimes().flat_map(|runtime| runtime.names()).collect::<Vec<_>>(),
        "endpoints": [
            "POST /v1/chat/completions",
            "POST /v1/chat/completions/render",
            "POST /v1/completions",
            "POST /v1/decisions",
            "POST /v1/moderations",
            "POST /v1/messages",
            "POST /v1/messages/count_tokens",
            "POST /v1/embeddings",
            "POST /v1/rerank",
            "GET /v1/models",
            "GET /v1/models/{id}",
            "POST /api/chat",
            "POST /api/generate",
            "POST /api/embed",
            "GET /api/tags",
            "POST /api/show",
            "GET /api/ps",
            "GET /api/version",
            "POST /tokenize",
            "POST /detokenize",
            "POST /apply-template",
            "GET /version",
            "GET /health",
            "GET /metrics",
        ],
    }))
}
