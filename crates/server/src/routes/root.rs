//! Turns `GET /` into the chat for browsers, and into a list of what is there for programs.

use std::sync::{Arc, LazyLock};

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::table::table;
use super::web;
use crate::app::App;
use crate::openapi::Components;

static ENDPOINTS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let routes = table(&mut Components::default());
    routes.iter().map(|it| format!("{} {}", it.method, it.path.replace("{*", "{"))).collect()
});

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
        "models": app.catalogue.list().into_iter().flat_map(|it| it.names).collect::<Vec<_>>(),
        "endpoints": *ENDPOINTS,
    }))
}
