//! Turns Ollama's questions about models (`/api/tags`, `show`, `ps`, `version`) into answers.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use serde_json::{Map, Value, json};

use super::ollama::untagged;
use crate::app::{App, timestamp_of};
use crate::errors::ApiError;
use crate::layers::upload::Upload;
use crate::runtime::Runtime;
use crate::wire::fields::Fields;
use crate::wire::ollama::take_model;

/// All models.
pub async fn tags(State(app): State<Arc<App>>) -> Json<Value> {
    let cards = |runtime: &Arc<Runtime>| {
        let cards: Vec<_> = runtime.names().iter().map(|name| card(&app, runtime, name)).collect();
        cards
    };
    let models: Vec<_> = app.runtimes().flat_map(cards).collect();
    Json(json!({ "models": models }))
}

/// The models in memory, which are all.
pub async fn ps(State(app): State<Arc<App>>) -> Json<Value> {
    let cards = |runtime: &Arc<Runtime>| {
        let cards = runtime.names().iter().map(|name| {
            let mut card = card(&app, runtime, name);
            // It stays. Clients want a date.
            card["expires_at"] = "9999-12-31T23:59:59Z".into();
            card["size_vram"] = 0.into();
            card["context_length"] = runtime.context_max().into();
            card
        });
        cards.collect::<Vec<_>>()
    };
    let models: Vec<_> = app.runtimes().flat_map(cards).collect();
    Json(json!({ "models": models }))
}

/// One model.
pub async fn show(
    State(app): State<Arc<App>>,
    Extension(upload): Extension<Upload>,
) -> Result<Json<Value>, ApiError> {
    let body = upload.read(&app.large_bodies).await?;
    let mut fields = Fields::of_body(&body)?;
    let model = take_model(&mut fields)?;
    fields.boolean("verbose")?;
    fields.none_left()?;
    let runtime = app.serving(Some(untagged(&model)))?;
    let (manners, answers) = (runtime.manners(), !runtime.is_encoder());
    let has = [
        (answers, "completion"),
        (!answers, "embedding"),
        (manners.shows_tools, "tools"),
        (manners.reasons(), "thinking"),
    ];
    let capabilities: Vec<_> = has.iter().filter(|(has, _)| *has).map(|(_, name)| *name).collect();
    let family = family(runtime);
    let mut info = Map::new();
    info.insert("general.architecture".to_owned(), family.into());
    info.insert(format!("{family}.context_length"), runtime.context_max().into());
    Ok(Json(json!({
        "modelfile": "",
        "parameters": "",
        "template": "",
        "details": details(runtime),
        "model_info": info,
        "capabilities": capabilities,
        "modified_at": timestamp_of(app.created),
    })))
}

/// The server's version.
pub async fn version() -> Json<Value> {
    Json(json!({ "version": env!("CARGO_PKG_VERSION") }))
}

fn card(app: &App, runtime: &Runtime, name: &str) -> Value {
    json!({
        "name": name,
        "model": name,
        "modified_at": timestamp_of(app.created),
        "size": runtime.model().map_or(0, |model| model.weight_bytes()),
        // Files are not hashed at each start.
        "digest": "",
        "details": details(runtime),
    })
}

fn details(runtime: &Runtime) -> Value {
    let family = family(runtime);
    json!({
        "parent_model": "",
        "format": "",
        "family": family,
        "families": [family],
        "parameter_size": "",
        "quantization_level": "",
    })
}

fn family(runtime: &Runtime) -> &'static str {
    runtime.model().map_or("scripted", |model| model.config().family.name())
}
