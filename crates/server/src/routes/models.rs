//! Turns `GET /v1/models` and `GET /v1/models/{id}` into the models that are served.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};

use crate::app::App;
use crate::errors::ApiError;
use crate::wire::models::{ModelCard, ModelList};

/// All of them.
pub async fn list(State(app): State<Arc<App>>) -> Json<ModelList> {
    let data = app.runtime.names().iter().map(|name| card(&app, name)).collect();
    Json(ModelList { object: "list", data })
}

/// One of them.
pub async fn show(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<ModelCard>, ApiError> {
    app.check_model(Some(&id))?;
    Ok(Json(card(&app, &id)))
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
