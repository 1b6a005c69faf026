//! Turns `GET /v1/models` and `GET /v1/models/{id}` into the models that are served.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use serde_json::{Value, json};

use crate::app::{App, timestamp_of};
use crate::catalogue::Listed;
use crate::errors::ApiError;
use crate::wire::models::{ModelCard, ModelList};

/// All of them, in the shape of whose client asks: Anthropic's name their API's version.
///
/// Those of other servers are not offered to Anthropic's clients, as they take chats of OpenAI's
/// form alone.
pub async fn list(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    app.look().await?;
    let models = app.catalogue.list();
    let models = || models.iter().flat_map(|it| it.names.iter().map(move |name| (it, name)));
    if !headers.contains_key("anthropic-version") {
        let own = models().map(|(listed, name)| card(&app, listed, name));
        let others = app.config.upstreams.models();
        let others = others.iter().map(|(id, owner)| card_of_upstream(&app, id, owner));
        return Ok(Json(json!(ModelList { object: "list", data: own.chain(others).collect() })));
    }
    let data: Vec<_> = models().map(|(listed, name)| anthropic_card(&app, listed, name)).collect();
    let (first, last) = (models().next(), models().last());
    Ok(Json(json!({
        "data": data,
        "has_more": false,
        "first_id": first.map(|(_, name)| name),
        "last_id": last.map(|(_, name)| name),
    })))
}

/// One of them.
pub async fn show(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let anthropic = headers.contains_key("anthropic-version");
    if !app.has(&id) {
        app.look().await?;
    }
    if let Some(listed) = app.catalogue.show(&id) {
        return Ok(Json(match anthropic {
            true => anthropic_card(&app, &listed, &id),
            false => json!(card(&app, &listed, &id)),
        }));
    }
    match app.config.upstreams.find(&id)? {
        Some(target) if !anthropic => {
            Ok(Json(json!(card_of_upstream(&app, &id, &target.place.about.name))))
        }
        _ => Err(app.unknown(&id)?),
    }
}

fn anthropic_card(app: &App, listed: &Listed, name: &str) -> Value {
    let mut card = json!({
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": timestamp_of(app.created),
    });
    if let Some(context) = listed.about.context {
        card["max_input_tokens"] = context.into();
        card["max_tokens"] = context.into();
    }
    card
}

fn card(app: &App, listed: &Listed, name: &str) -> ModelCard {
    ModelCard {
        id: name.to_owned(),
        object: "model",
        created: app.created,
        owned_by: "myriad".to_owned(),
        max_model_len: listed.about.context,
        capabilities: vec![if listed.embeds { "embedding" } else { "completion" }],
    }
}

fn card_of_upstream(app: &App, id: &str, upstream: &str) -> ModelCard {
    ModelCard {
        id: id.to_owned(),
        object: "model",
        created: app.created,
        owned_by: upstream.to_owned(),
        max_model_len: None,
        capabilities: Vec::new(),
    }
}
