//! Turns `GET /v1/models` and `GET /v1/models/{id}` into the models that are served.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use serde_json::{Value, json};

use crate::app::{App, timestamp_of};
use crate::errors::ApiError;
use crate::runtime::Runtime;
use crate::wire::models::{ModelCard, ModelList};

/// All of them, in the shape of whose client asks: Anthropic's name their API's version.
///
/// Those of other servers are not offered to Anthropic's clients, as they take chats of OpenAI's
/// form alone.
pub async fn list(State(app): State<Arc<App>>, headers: HeaderMap) -> Json<Value> {
    let models = || {
        let names = |runtime| Runtime::names(runtime).iter().map(move |name| (runtime, name));
        app.runtimes().map(|runtime| &**runtime).flat_map(names)
    };
    if !headers.contains_key("anthropic-version") {
        let own = models().map(|(runtime, name)| card(&app, runtime, name));
        let others = app.config.upstreams.models();
        let others = others.iter().map(|(id, owner)| card_of_upstream(&app, id, owner));
        return Json(json!(ModelList { object: "list", data: own.chain(others).collect() }));
    }
    let data: Vec<_> =
        models().map(|(runtime, name)| anthropic_card(&app, runtime, name)).collect();
    let (first, last) = (models().next(), models().last());
    Json(json!({
        "data": data,
        "has_more": false,
        "first_id": first.map(|(_, name)| name),
        "last_id": last.map(|(_, name)| name),
    }))
}

/// One of them.
pub async fn show(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let anthropic = headers.contains_key("anthropic-version");
    if !anthropic
        && !app.has(&id)
        && let Some(target) = app.config.upstreams.find(&id)?
    {
        return Ok(Json(json!(card_of_upstream(&app, &id, &target.place.about.name))));
    }
    let runtime = app.serving(Some(&id))?;
    Ok(Json(match anthropic {
        true => anthropic_card(&app, runtime, &id),
        false => json!(card(&app, runtime, &id)),
    }))
}

fn anthropic_card(app: &App, runtime: &Runtime, name: &str) -> Value {
    json!({
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": timestamp_of(app.created),
        "max_input_tokens": runtime.context_max(),
        "max_tokens": runtime.context_max(),
    })
}

fn card(app: &App, runtime: &Runtime, name: &str) -> ModelCard {
    ModelCard {
        id: name.to_owned(),
        object: "model",
        created: app.created,
        owned_by: "myriad".to_owned(),
        max_model_len: Some(runtime.context_max()),
    }
}

fn card_of_upstream(app: &App, id: &str, upstream: &str) -> ModelCard {
    ModelCard {
        id: id.to_owned(),
        object: "model",
        created: app.created,
        owned_by: upstream.to_owned(),
        max_model_len: None,
    }
}
