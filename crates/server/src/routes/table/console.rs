//! Turns what the console does with models and engines into rows of the table.

use axum::routing::{delete, get, post};

use super::{Input, JSON, LINES, Route};
use crate::openapi::Components;
use crate::routes::{app_engine, app_models, ollama_pull};
use crate::wire::app_models::{AppEngines, AppModel, AppModels, AppPull};

pub(super) fn rows(known: &mut Components) -> Vec<Route> {
    use Input::{Named, Nothing};
    vec![
        Route::get("/app/models", "All models, with their states", get(app_models::list))
            .gives::<AppModels>(known, JSON),
        Route::post("/app/models/{name}/load", "Loads a model", Nothing, post(app_models::load))
            .gives::<AppModel>(known, JSON),
        Route::post(
            "/app/models/{name}/unload",
            "Unloads a model, when its requests have ended",
            Nothing,
            post(app_models::unload),
        )
        .gives::<AppModel>(known, JSON),
        Route::delete(
            "/app/models/{name}",
            "Deletes a model's file in the cache folder",
            delete(app_models::delete),
        )
        .gives_named(JSON, "Deleted"),
        Route::post(
            "/app/models/pull",
            "Begins to get a model",
            Named("PullRequest"),
            post(app_models::pull),
        )
        .gives::<AppPull>(known, JSON),
        Route::post(
            "/app/models/pull/cancel",
            "Gives the download up",
            Nothing,
            post(app_models::cancel),
        )
        .gives::<AppPull>(known, JSON),
        Route::get("/app/engine", "What the engines do now", get(app_engine::show))
            .gives::<AppEngines>(known, JSON),
        Route::post(
            "/api/pull",
            "Ollama's: gets a model",
            Named("OllamaPullRequest"),
            post(ollama_pull::create),
        )
        .gives::<ollama_pull::OllamaPull>(known, JSON)
        .gives::<ollama_pull::OllamaPull>(known, LINES),
    ]
}
