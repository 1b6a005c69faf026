//! Turns paths into handlers, one file per endpoint, within the layers that hold for all.

mod absent;
mod chat;
mod completions;
mod decisions;
mod embeddings;
mod health;
mod judge;
mod messages;
mod metrics;
mod models;
mod moderations;
mod ollama;
mod ollama_models;
mod prompt;
mod render;
mod rerank;
mod root;
#[cfg(test)]
mod tests;
mod tokenize;
mod version;
pub(crate) mod web;

use std::sync::Arc;

use axum::Router;
use axum::http::{Method, Uri};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};

use crate::app::App;
use crate::errors::ApiError;
use crate::layers::{dialect, journal, key, origin};

/// All routes with all layers.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(root::show))
        .route("/health", get(health::show))
        .route("/metrics", get(metrics::show))
        .route("/version", get(version::show))
        .route("/v1/models", get(models::list))
        // Names of models contain slashes.
        .route("/v1/models/{*id}", get(models::show))
        .route("/v1/chat/completions", post(chat::create))
        .route("/v1/chat/completions/render", post(render::create))
        .route("/apply-template", post(render::create))
        .route("/v1/completions", post(completions::create))
        .route("/v1/decisions", post(decisions::create))
        .route("/v1/moderations", post(moderations::create))
        .route("/v1/embeddings", post(embeddings::create))
        .route("/v1/rerank", post(rerank::create))
        .route("/v2/rerank", post(rerank::create))
        .route("/rerank", post(rerank::create))
        .route("/v1/messages", post(messages::create))
        .route("/v1/messages/count_tokens", post(messages::count))
        .route("/api/chat", post(ollama::chat))
        .route("/api/generate", post(ollama::generate))
        .route("/api/embed", post(embeddings::ollama))
        .route("/api/embeddings", post(embeddings::ollama_single))
        .route("/api/tags", get(ollama_models::tags))
        .route("/api/show", post(ollama_models::show))
        .route("/api/ps", get(ollama_models::ps))
        .route("/api/version", get(ollama_models::version))
        .route("/tokenize", post(tokenize::tokenize))
        .route("/v1/tokenize", post(tokenize::tokenize))
        .route("/detokenize", post(tokenize::detokenize))
        .route("/v1/detokenize", post(tokenize::detokenize))
        .merge(web::files())
        .method_not_allowed_fallback(wrong_method)
        .fallback(unknown_path)
        // The last one is the outermost.
        .layer(from_fn_with_state(Arc::clone(&app), key::ask))
        .layer(from_fn_with_state(Arc::clone(&app), origin::check))
        .layer(from_fn(dialect::translate))
        .layer(from_fn_with_state(Arc::clone(&app), journal::keep))
        .with_state(app)
}

async fn unknown_path(method: Method, uri: Uri) -> ApiError {
    absent::error(method.as_str(), &uri)
}

async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    ApiError::wrong_method(method.as_str(), uri.path())
}
