//! Turns `/app/models` into the models of this server with their states, and operators' wishes for
//! them into loads, unloads, downloads and deletions.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use myriad_store::Role;
use serde_json::{Value, json};

use super::documents::Ids;
use crate::app::App;
use crate::catalogue::{self, Loader};
use crate::errors::ApiError;
use crate::layers::upload::Upload;
use crate::limits::SMALL_TEXT_BYTES_MAX;
use crate::people::Caller;
use crate::wire::app_models::{AppModel, AppModels, AppPull};
use crate::wire::fields::Fields;

/// All models, with their states.
pub async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<AppModels>, ApiError> {
    app.look().await?;
    Ok(Json(AppModels::of(&app.catalogue, caller.role == Role::Admin)))
}

/// Begins to load one; it is there when its state says so.
pub async fn load(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Ids(name): Ids<String>,
) -> Result<Json<AppModel>, ApiError> {
    caller.check_admin()?;
    loader(&app)?;
    app.look().await?;
    Ok(Json(AppModel::of(&app.catalogue.load(&name)?, true)))
}

/// Unloads one, when the requests that use it have ended.
pub async fn unload(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Ids(name): Ids<String>,
) -> Result<Json<AppModel>, ApiError> {
    caller.check_admin()?;
    Ok(Json(AppModel::of(&app.catalogue.unload(&name)?, true)))
}

/// Deletes a model's file in the cache folder.
pub async fn delete(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Ids(name): Ids<String>,
) -> Result<Json<Value>, ApiError> {
    caller.check_admin()?;
    let loader = Arc::clone(loader(&app)?);
    app.look().await?;
    let Some(listed) = app.catalogue.show(&name) else { return Err(app.unknown(&name)?) };
    if !AppModel::of(&listed, true).deletable {
        let message = format!("'{name}' is not in the cache folder: its file stays.");
        return Err(ApiError::conflict("model_not_deletable", message));
    }
    if !matches!(listed.state, catalogue::State::Cold | catalogue::State::Failed(_)) {
        let message = format!("'{name}' is in use: unload it first.");
        return Err(ApiError::conflict("model_loaded", message));
    }
    let file = listed.about.name;
    app.blocking(move |app| {
        let deleted = loader.delete(&file);
        app.catalogue.forget_look();
        app.catalogue.look();
        deleted.map_err(|error| {
            tracing::error!(error, "a model's file cannot be deleted");
            ApiError::internal()
        })
    })
    .await?;
    Ok(Json(json!({ "id": name, "object": "model.deleted", "deleted": true })))
}

/// Begins a download.
pub async fn pull(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(upload): Extension<Upload>,
) -> Result<Json<AppPull>, ApiError> {
    caller.check_admin()?;
    let body = upload.read(&app.large_bodies).await?;
    let mut fields = Fields::of_body(&body)?;
    let source = fields.string("source", SMALL_TEXT_BYTES_MAX)?;
    let source = source.ok_or_else(|| ApiError::missing("source"))?;
    fields.none_left()?;
    Ok(Json(begin(&app, &source, "source")?))
}

/// Gives the download up.
pub async fn cancel(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<AppPull>, ApiError> {
    caller.check_admin()?;
    let none = || ApiError::conflict("no_pull", "Nothing is on its way.");
    app.catalogue.pulls.cancel().map(|pull| Json(AppPull::from(pull))).ok_or_else(none)
}

/// Begins a download of what `param` names.
///
/// # Errors
/// 400 where it names nothing that can be got, 409 while another is on its way.
pub fn begin(app: &Arc<App>, source: &str, param: &str) -> Result<AppPull, ApiError> {
    let loader = Arc::clone(loader(app)?);
    loader.check_source(source).map_err(|right| {
        let shown: String = source.chars().take(128).collect();
        ApiError::invalid(param, format!("'{shown}' names no model: {right}."))
    })?;
    let later = Arc::clone(app);
    let pull = app.catalogue.pulls.begin(loader, source, move || later.catalogue.forget_look())?;
    Ok(pull.into())
}

fn loader(app: &App) -> Result<&Arc<dyn Loader>, ApiError> {
    app.catalogue.loader().ok_or_else(|| {
        ApiError::bad_request("This server has the models that it was started with, and no others.")
    })
}
