//! Turns Ollama's questions about models (`/api/tags`, `show`, `ps`, `version`) into answers.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use serde_json::{Map, Value, json};

use super::ollama::meant;
use crate::app::{App, timestamp_of};
use crate::catalogue::Listed;
use crate::errors::ApiError;
use crate::layers::upload::Upload;
use crate::wire::fields::Fields;
use crate::wire::ollama::take_model;

/// All models.
pub async fn tags(State(app): State<Arc<App>>) -> Result<Json<Value>, ApiError> {
    app.look().await?;
    let models = app.catalogue.list();
    let cards = |listed: &Listed| {
        listed.names.iter().map(|name| card(&app, listed, name)).collect::<Vec<_>>()
    };
    Ok(Json(json!({ "models": models.iter().flat_map(cards).collect::<Vec<_>>() })))
}

/// The models in memory.
pub async fn ps(State(app): State<Arc<App>>) -> Json<Value> {
    let models = app.catalogue.list();
    let cards = |listed: &Listed| {
        let cards = listed.names.iter().map(|name| {
            let mut card = card(&app, listed, name);
            // It stays until its memory is needed. Clients want a date.
            card["expires_at"] = "9999-12-31T23:59:59Z".into();
            card["size"] = listed.about.memory_bytes.into();
            card["size_vram"] = 0.into();
            card["context_length"] = listed.about.context.into();
            card
        });
        cards.collect::<Vec<_>>()
    };
    let loaded = models.iter().filter(|listed| listed.runtime.is_some());
    Json(json!({ "models": loaded.flat_map(cards).collect::<Vec<_>>() }))
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
    if !app.has(&meant(&app, model.clone())) {
        app.look().await?;
    }
    let name = meant(&app, model);
    let Some(listed) = app.catalogue.show(&name) else { return Err(app.unknown(&name)?) };
    // What a template can do is known when the model is loaded.
    let manners = listed.runtime.as_ref().map(|runtime| runtime.manners());
    let has = [
        (!listed.embeds, "completion"),
        (listed.embeds, "embedding"),
        (manners.is_some_and(|manners| manners.shows_tools), "tools"),
        (manners.is_some_and(|manners| manners.reasons()), "thinking"),
    ];
    let capabilities: Vec<_> = has.iter().filter(|(has, _)| *has).map(|(_, name)| *name).collect();
    let family = &listed.about.architecture;
    let mut info = Map::new();
    info.insert("general.architecture".to_owned(), family.as_str().into());
    info.insert(format!("{family}.context_length"), listed.about.context.into());
    Ok(Json(json!({
        "modelfile": "",
        "parameters": "",
        "template": "",
        "details": details(&listed),
        "model_info": info,
        "capabilities": capabilities,
        "modified_at": timestamp_of(app.created),
    })))
}

/// The server's version.
pub async fn version() -> Json<Value> {
    Json(json!({ "version": env!("CARGO_PKG_VERSION") }))
}

fn card(app: &App, listed: &Listed, name: &str) -> Value {
    json!({
        "name": name,
        "model": name,
        "modified_at": timestamp_of(app.created),
        "size": listed.about.file_bytes,
        // Files are not hashed at each start.
        "digest": "",
        "details": details(listed),
    })
}

fn details(listed: &Listed) -> Value {
    let about = &listed.about;
    json!({
        "parent_model": "",
        "format": "",
        "family": about.architecture,
        "families": [about.architecture],
        "parameter_size": about.parameters.map(size_of).unwrap_or_default(),
        "quantization_level": about.weights,
    })
}

/// A number of weights as Ollama writes it: `135M`, `7.2B`.
fn size_of(parameters: u64) -> String {
    match parameters {
        0..1_000_000_000 => format!("{}M", parameters.div_ceil(1_000_000)),
        _ => format!("{:.1}B", parameters as f64 / 1e9),
    }
}
