//! Turns `GET /` into a list of what is there.

use std::sync::{Arc, LazyLock};

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::table::table;
use crate::app::App;
use crate::openapi::Components;

static ENDPOINTS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let routes = table(&mut Components::default());
    routes.iter().map(|it| format!("{} {}", it.method, it.path.replace("{*", "{"))).collect()
});

/// What a person sees who opens the server's address.
pub async fn list(State(app): State<Arc<App>>) -> Json<Value> {
    Json(json!({
        "name": "myriad",
        "version": env!("CARGO_PKG_VERSION"),
        "models": app.runtimes().flat_map(|runtime| runtime.names()).collect::<Vec<_>>(),
        "endpoints": *ENDPOINTS,
    }))
}
