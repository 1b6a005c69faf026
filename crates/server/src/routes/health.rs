//! Turns `GET /health` into 200 while requests are taken, and 503 after that.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::app::App;
use crate::errors::ApiError;

/// Needs no key: it tells nothing but whether the engine runs.
pub async fn show(State(app): State<Arc<App>>) -> Result<Json<Value>, ApiError> {
    if app.healthy() { Ok(Json(json!({ "status": "ok" }))) } else { Err(ApiError::unavailable()) }
}
