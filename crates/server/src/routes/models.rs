//! Turns `GET /v1/models` and `GET /v1/models/{id}` into the models that are served.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use serde_json::{Value, json};

use crate::app::{App, timestamp_of};
use crate::errors::ApiError;
use crate::wire::models::{ModelCard, ModelList};

/// All of them, in the shape of whose client asks: Anthropic's name their API's version.
pub async fn list(State(app): State<Arc<App>>, headers: HeaderMap) -> Json<Value> {
    let names = app.runtime.names();
    if !headers.contains_key("anthropic-version") {
        let data = names.iter().map(|name| card(&app, name)).collect();
        return Json(json!(ModelList { object: "list", data }));
    }
    let data: Vec<_> = names.iter().map(|name| anthropic_card(&app, name)).collect();
    Json(json!({
        "data": data, "has_more": false, "first_id": names.first(), "last_id": names.last(),
    }))
}

/// One of them.
pub async fn show(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    app.check_model(Some(&id))?;
    Ok(Json(match headers.contains_key("anthropic-version") {
        true => anthropic_card(&app, &id),
        false => json!(card(&app, &id)),
    }))
}

fn anthropic_card(app: &App, name: &str) -> Value {
    json!({
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": timestamp_of(app.created),
        "max_input_tokens": app.runtime.context_max(),
        "max_tokens": app.runtime.context_max(),
    })
}

fn card(app: &App, name: &str) -> ModelCard {
    ModelCard {
        id: name.to_owned(),
        object: "model",
        created: app.created,
        owned_by: "myriad",
        max_model_len: app.runtime.context_max(),
    }
}
