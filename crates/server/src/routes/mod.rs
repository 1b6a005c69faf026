//! Turns paths into handlers, one file per endpoint, within the layers that hold for all.

mod absent;
mod chat;
mod completions;
mod conversations;
mod decisions;
mod documents;
mod embeddings;
mod health;
mod judge;
mod kept_responses;
mod messages;
mod metrics;
mod models;
mod moderations;
mod ollama;
mod ollama_models;
mod past;
mod prompt;
mod render;
mod rerank;
mod responses;
mod root;
mod stored_chats;
#[cfg(test)]
mod tests;
mod tokenize;
mod version;

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
        .route("/", get(root::list))
        .route("/health", get(health::show))
        .route("/metrics", get(metrics::show))
        .route("/version", get(version::show))
        .route("/v1/models", get(models::list))
        // Names of models contain slashes.
        .route("/v1/models/{*id}", get(models::show))
        .route("/v1/chat/completions", post(chat::create).get(stored_chats::list))
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
        .merge(kept())
        .method_not_allowed_fallback(wrong_method)
        .fallback(unknown_path)
        // The last one is the outermost.
        .layer(from_fn_with_state(Arc::clone(&app), key::ask))
        .layer(from_fn_with_state(Arc::clone(&app), origin::check))
        .layer(from_fn(dialect::translate))
        .layer(from_fn_with_state(Arc::clone(&app), journal::keep))
        .with_state(app)
}

/// What is kept, or outlives its request.
fn kept() -> Router<Arc<App>> {
    Router::new()
        .route(
            "/v1/chat/completions/{id}",
            get(stored_chats::show).post(stored_chats::update).delete(stored_chats::delete),
        )
        .route("/v1/chat/completions/{id}/messages", get(stored_chats::messages))
        .route("/v1/responses", post(responses::create))
        .route("/v1/responses/input_tokens", post(responses::count))
        .route("/v1/responses/compact", post(unknown_path))
        .route("/v1/responses/{id}", get(kept_responses::show).delete(kept_responses::delete))
        .route("/v1/responses/{id}/cancel", post(kept_responses::cancel))
        .route("/v1/responses/{id}/input_items", get(kept_responses::input_items))
        .route("/v1/conversations", post(conversations::create))
        .route(
            "/v1/conversations/{id}",
            get(conversations::show).post(conversations::update).delete(conversations::delete),
        )
        .route(
            "/v1/conversations/{id}/items",
            get(conversations::items).post(conversations::add_items),
        )
        .route(
            "/v1/conversations/{id}/items/{item}",
            get(conversations::show_item).delete(conversations::delete_item),
        )
}

async fn unknown_path(method: Method, uri: Uri) -> ApiError {
    absent::error(method.as_str(), &uri)
}

async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    ApiError::wrong_method(method.as_str(), uri.path())
}
