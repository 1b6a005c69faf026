//! Turns paths into handlers, one file per endpoint, within the layers that hold for all.

mod absent;
mod app_calls;
mod app_chats;
mod app_data;
mod app_engine;
mod app_exchange;
mod app_features;
mod app_files;
mod app_keys;
mod app_library;
mod app_messages;
mod app_models;
mod app_search;
mod app_shares;
mod app_tools;
mod app_usage;
mod batches;
mod chat;
mod compact;
mod completions;
mod conversations;
mod decisions;
pub(crate) mod documents;
mod embeddings;
mod files;
mod health;
mod invitations;
mod judge;
mod kept_responses;
mod messages;
mod metrics;
mod models;
mod moderations;
mod oidc;
mod ollama;
mod ollama_models;
mod ollama_pull;
pub mod openapi;
mod password;
mod past;
mod prompt;
mod render;
mod rerank;
mod responses;
mod root;
mod session;
mod setup;
mod stored_chats;
pub mod table;
#[cfg(test)]
mod tests;
mod tokenize;
mod uploads;
mod users;
mod version;
mod votes;
pub(crate) mod web;

use std::sync::Arc;

use axum::Router;
use axum::http::{Method, Uri};
use axum::middleware::{from_fn, from_fn_with_state};

use crate::app::App;
use crate::errors::ApiError;
use crate::layers::{dialect, journal, key, origin};
use crate::openapi::Components;

/// All routes with all layers.
pub fn router(app: Arc<App>) -> Router {
    endpoints()
        // The last one is the outermost.
        .layer(from_fn_with_state(Arc::clone(&app), key::ask))
        .layer(from_fn_with_state(Arc::clone(&app), origin::check))
        .layer(from_fn(dialect::translate))
        .layer(from_fn_with_state(Arc::clone(&app), journal::keep))
        .with_state(app)
}

/// All routes for requests of the server's own, which bring their owner with them.
pub fn inside(app: Arc<App>) -> Router {
    let journal = from_fn_with_state(Arc::clone(&app), journal::keep);
    endpoints().layer(journal).with_state(app)
}

fn endpoints() -> Router<Arc<App>> {
    let routes = table::table(&mut Components::default());
    routes
        .into_iter()
        .fold(web::files(), |router, route| router.route(route.path, route.handler))
        .method_not_allowed_fallback(wrong_method)
        .fallback(unknown_path)
}

async fn unknown_path(method: Method, uri: Uri) -> ApiError {
    absent::error(method.as_str(), &uri)
}

async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    ApiError::wrong_method(method.as_str(), uri.path())
}
