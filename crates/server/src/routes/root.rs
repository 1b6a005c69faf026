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
            "GET /v1/chat/completions",
            "GET /v1/chat/completions/{id}",
            "POST /v1/chat/completions/{id}",
            "DELETE /v1/chat/completions/{id}",
            "GET /v1/chat/completions/{id}/messages",
            "POST /v1/completions",
            "POST /v1/decisions",
            "POST /v1/moderations",
            "POST /v1/responses",
            "POST /v1/responses/input_tokens",
            "GET /v1/responses/{id}",
            "DELETE /v1/responses/{id}",
            "POST /v1/responses/{id}/cancel",
            "GET /v1/responses/{id}/input_items",
            "POST /v1/conversations",
            "GET /v1/conversations/{id}",
            "POST /v1/conversations/{id}",
            "DELETE /v1/conversations/{id}",
            "GET /v1/conversations/{id}/items",
            "POST /v1/conversations/{id}/items",
            "GET /v1/conversations/{id}/items/{item}",
            "DELETE /v1/conversations/{id}/items/{item}",
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
