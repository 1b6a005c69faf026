//! Turns `GET /openapi.json` into the description of all routes.

use std::sync::LazyLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::table::table;
use crate::openapi::{Components, document};

static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    let mut components = Components::default();
    let routes = table(&mut components);
    document(&routes, &components).to_string()
});

/// The OpenAPI document of all routes, as JSON.
pub fn text() -> &'static str {
    &DOCUMENT
}

/// The document.
pub async fn show() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text()).into_response()
}
