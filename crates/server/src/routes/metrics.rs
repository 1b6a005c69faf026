//! Turns `GET /metrics` into the text that Prometheus scrapes.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::metrics::{self, CONTENT_TYPE};

/// All metrics.
pub async fn show(State(app): State<Arc<App>>) -> Response {
    let models = app.catalogue.runtimes();
    let texts = models.iter().map(|runtime| runtime.metrics().encode());
    let text = metrics::merge(texts.chain(app.config.upstreams.metrics()));
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response()
}
