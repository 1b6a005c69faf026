//! Turns `GET /version` into the version of the server.

use axum::Json;
use serde_json::{Value, json};

/// As vLLM has it.
pub async fn show() -> Json<Value> {
    Json(json!({ "version": env!("CARGO_PKG_VERSION") }))
}
