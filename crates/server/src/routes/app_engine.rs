//! Turns `GET /app/engine` into what the engines do at this moment, for who runs the server.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};

use crate::app::App;
use crate::errors::ApiError;
use crate::people::Caller;
use crate::wire::app_models::{AppEngine, AppEngines};

/// One for each model that is loaded, from the counters that `/metrics` has.
pub async fn show(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<AppEngines>, ApiError> {
    caller.check_admin()?;
    let models = app.catalogue.runtimes();
    let data = models.iter().map(|runtime| AppEngine::of(runtime)).collect();
    Ok(Json(AppEngines { object: "list", data }))
}
