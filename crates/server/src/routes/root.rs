//! Turns `GET /` into a list of what is there.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::app::App;

/// What a person sees who opens the server's address.
pub async fn list(State(app): State<Arc<App>>) -> Json<Value> {
    Json(json!({
        "name": "myriad",
        "version": env!("CARGO_PKG_VERSION"),
        "models": app.runtimes().flat_map(|runtime| runtime.names()).collect::<Vec<_>>(),
        "endpoints": [
            "POST /v1/chat/completions",
            "POST /v1/chat/completions/render",
            "POST /v1/completions",
            "POST /v1/decisions",
            "POST /v1/moderations",
            "GET /v1/files",
            "POST /v1/files",
            "GET /v1/files/{id}",
            "DELETE /v1/files/{id}",
            "GET /v1/files/{id}/content",
            "POST /v1/uploads",
            "POST /v1/uploads/{id}/parts",
            "POST /v1/uploads/{id}/complete",
            "POST /v1/uploads/{id}/cancel",
            "GET /v1/batches",
            "POST /v1/batches",
            "GET /v1/batches/{id}",
            "POST /v1/batches/{id}/cancel",
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
