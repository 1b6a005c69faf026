//! Turns `GET /metrics` into the text that Prometheus scrapes.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::metrics::CONTENT_TYPE;

/// All metrics.
pub async fn show(State(app): State<Arc<App>>) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], app.runtime.metrics().encode()).into_response()
}
