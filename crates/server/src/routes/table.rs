//! Turns each route into one row: its method and path, who handles it, and what goes in and out.
//!
//! The router, the list at `/` and `/openapi.json` are made of these rows, so that none of them can
//! know a route that another does not.

mod app;
mod console;
mod data;
mod people;

use std::sync::Arc;

use axum::http::Method;
use axum::routing::{MethodRouter, delete, get, post};
use utoipa::ToSchema;

use super::*;
use crate::errors::ErrorBody;
use crate::openapi::Components;
use crate::wire::policy::{
    CHAT_FIELDS, COMPACTION_FIELDS, COMPLETION_FIELDS, Field, RESPONSE_FIELDS,
};
use crate::wire::{batches as queued, files as kept, uploads as sent};
use crate::wire::{chat as chats, completions as texts, decisions as asked};
use crate::wire::{embeddings as vectors, rerank as ranked};
use crate::wire::{models as cards, moderations as judged, tokenize as tokens};

/// One method of one path.
pub struct Route {
    /// `GET` or another.
    pub method: Method,
    /// As axum has it; a parameter that may hold slashes is written `{*name}`.
    pub path: &'static str,
    /// What it is for, in a few words.
    pub summary: &'static str,
    /// What goes in.
    pub input: Input,
    /// Parameters of its query.
    pub query: &'static [&'static str],
    /// What comes out where all is well: a content type, and the name of a schema.
    pub output: Vec<(&'static str, String)>,
    pub(super) handler: MethodRouter<Arc<App>>,
}

/// What a request carries.
pub enum Input {
    /// No body.
    Nothing,
    /// JSON of these parameters.
    Fields(&'static [&'static [Field]]),
    /// JSON as the named schema says.
    Named(&'static str),
    /// Lines of JSON, each as the named schema says.
    Lines(&'static str),
    /// A form with files, as the named schema says.
    Form(&'static str),
}

/// Parameters of lists.
const PAGES: &[&str] = &["after", "limit", "order"];

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";
const LINES: &str = "application/x-ndjson";
const BYTES: &str = "application/octet-stream";
const PAGE: &str = "text/html";
const CSV: &str = "text/csv";
const METRICS: &str = "application/openmetrics-text";

impl Route {
    fn get(path: &'static str, summary: &'static str, handler: MethodRouter<Arc<App>>) -> Route {
        let (method, input) = (Method::GET, Input::Nothing);
        Route { method, path, summary, input, query: &[], output: Vec::new(), handler }
    }

    fn post(
        path: &'static str,
        summary: &'static str,
        input: Input,
        handler: MethodRouter<Arc<App>>,
    ) -> Route {
        let method = Method::POST;
        Route { method, path, summary, input, query: &[], output: Vec::new(), handler }
    }

    fn put(
        path: &'static str,
        summary: &'static str,
        input: Input,
        handler: MethodRouter<Arc<App>>,
    ) -> Route {
        Route { method: Method::PUT, ..Route::post(path, summary, input, handler) }
    }

    fn delete(path: &'static str, summary: &'static str, handler: MethodRouter<Arc<App>>) -> Route {
        Route { method: Method::DELETE, ..Route::get(path, summary, handler) }
    }
    fn asks(self, query: &'static [&'static str]) -> Route {
        Route { query, ..self }
    }

    /// Adds an answer whose type has a schema.
    fn gives<T: ToSchema>(self, components: &mut Components, content: &'static str) -> Route {
        let name = components.add::<T>();
        self.gives_named(content, name)
    }

    /// Adds an answer by the name of its schema in `openapi/schemas.json`.
    fn gives_named(mut self, content: &'static str, name: impl Into<String>) -> Route {
        self.output.push((content, name.into()));
        self
    }
}

/// All routes; what their answers are made of is added to `components`.
pub fn table(components: &mut Components) -> Vec<Route> {
    components.add::<ErrorBody>();
    components.add::<cards::ModelList>();
    let mut routes = of_the_server();
    routes.extend(of_openai(components));
    routes.extend(of_kept_chats());
    routes.extend(of_responses(components));
    routes.extend(of_conversations());
    routes.extend(of_files(components));
    routes.extend(of_batches(components));
    routes.extend(of_anthropic());
    routes.extend(of_ollama(components));
    routes.extend(of_app(components));
    routes.extend(of_others(components));
    routes.extend(app::of_app(components));
    routes.extend(data::rows(components));
    routes.extend(app::of_files(components));
    routes.extend(people::rows(components));
    routes.extend(console::rows(components));
    routes
}

fn of_the_server() -> Vec<Route> {
    vec![
        Route::get("/", "The chat for browsers, what is there for others", get(root::show))
            .gives_named(JSON, "Endpoints")
            .gives_named(PAGE, "Text"),
        Route::get("/health", "Whether requests are taken; needs no key", get(health::show))
            .gives_named(JSON, "Health"),
        Route::get("/metrics", "Counters for Prometheus", get(metrics::show))
            .gives_named(METRICS, "Text"),
        Route::get("/version", "The server's version", get(version::show))
            .gives_named(JSON, "Version"),
        Route::get("/openapi.json", "This document", get(openapi::show))
            .gives_named(JSON, "Document"),
    ]
}

fn of_openai(known: &mut Components) -> Vec<Route> {
    use Input::{Fields, Named};
    vec![
        Route::get("/v1/models", "The models that are served", get(models::list))
            .gives_named(JSON, "Models"),
        // Names of models contain slashes.
        Route::get("/v1/models/{*id}", "One model", get(models::show)).gives_named(JSON, "Model"),
        Route::post(
            "/v1/chat/completions",
            "Answers a chat, whole or streamed",
            Fields(CHAT_FIELDS),
            post(chat::create),
        )
        .gives::<chats::ChatCompletion>(known, JSON)
        .gives::<chats::ChatChunk>(known, EVENTS),
        Route::post(
            "/v1/chat/completions/render",
            "The prompt of a chat, as the model sees it",
            Fields(CHAT_FIELDS),
            post(render::create),
        )
        .gives::<render::Rendered>(known, JSON),
        Route::post(
            "/apply-template",
            "The prompt of a chat; llama.cpp's name",
            Fields(CHAT_FIELDS),
            post(render::create),
        )
        .gives::<render::Rendered>(known, JSON),
        Route::post(
            "/v1/completions",
            "Continues texts",
            Fields(COMPLETION_FIELDS),
            post(completions::create),
        )
        .gives::<texts::Completion>(known, JSON)
        .gives::<texts::Completion>(known, EVENTS),
        Route::post(
            "/v1/decisions",
            "Answers typed questions with probabilities",
            Named("DecisionRequest"),
            post(decisions::create),
        )
        .gives::<asked::Decision>(known, JSON),
        Route::post(
            "/v1/moderations",
            "Judges texts by categories of harm",
            Named("ModerationRequest"),
            post(moderations::create),
        )
        .gives::<judged::ModerationResponse>(known, JSON),
        Route::post(
            "/v1/embeddings",
            "Turns texts into vectors",
            Named("EmbeddingsRequest"),
            post(embeddings::create),
        )
        .gives::<vectors::Embeddings>(known, JSON),
    ]
}

fn of_kept_chats() -> Vec<Route> {
    let list = get(stored_chats::list);
    let update = post(stored_chats::update);
    let (one, all) = ("/v1/chat/completions/{id}", "/v1/chat/completions/{id}/messages");
    vec![
        Route::get("/v1/chat/completions", "Chats that were stored", list)
            .asks(&["after", "limit", "order", "model"])
            .gives_named(JSON, "StoredChats"),
        Route::get(one, "A stored chat", get(stored_chats::show)).gives_named(JSON, "StoredChat"),
        Route::post(one, "Changes a stored chat's metadata", Input::Named("Metadata"), update)
            .gives_named(JSON, "StoredChat"),
        Route::delete(one, "Deletes a stored chat", delete(stored_chats::delete))
            .gives_named(JSON, "Deleted"),
        Route::get(all, "A stored chat's messages", get(stored_chats::messages))
            .asks(PAGES)
            .gives_named(JSON, "StoredMessages"),
    ]
}

fn of_responses(known: &mut Components) -> Vec<Route> {
    use Input::{Fields, Nothing};
    let (one, items) = ("/v1/responses/{id}", "/v1/responses/{id}/input_items");
    vec![
        Route::post(
            "/v1/responses",
            "Answers items, whole, streamed or in the background",
            Fields(RESPONSE_FIELDS),
            post(responses::create),
        )
        .gives_named(JSON, "Response")
        .gives_named(EVENTS, "ResponseEvent"),
        Route::post(
            "/v1/responses/input_tokens",
            "How long a prompt is",
            Fields(RESPONSE_FIELDS),
            post(responses::count),
        )
        .gives_named(JSON, "InputTokens"),
        Route::post(
            "/v1/responses/compact",
            "A shorter dialogue: what was told the model, and a summary",
            Fields(COMPACTION_FIELDS),
            post(compact::create),
        )
        .gives::<compact::Compaction>(known, JSON),
        Route::get(one, "A response, or its stream from an event on", get(kept_responses::show))
            .asks(&["stream", "starting_after"])
            .gives_named(JSON, "Response")
            .gives_named(EVENTS, "ResponseEvent"),
        Route::delete(one, "Deletes a response", delete(kept_responses::delete))
            .gives_named(JSON, "Deleted"),
        Route::post(
            "/v1/responses/{id}/cancel",
            "Stops a response in the background",
            Nothing,
            post(kept_responses::cancel),
        )
        .gives_named(JSON, "Response"),
        Route::get(items, "What a response answers", get(kept_responses::input_items))
            .asks(PAGES)
            .gives_named(JSON, "Items"),
    ]
}

fn of_conversations() -> Vec<Route> {
    use Input::Named;
    let one = "/v1/conversations/{id}";
    let (items, item) = ("/v1/conversations/{id}/items", "/v1/conversations/{id}/items/{item}");
    let (create, update) = (post(conversations::create), post(conversations::update));
    vec![
        Route::post(
            "/v1/conversations",
            "Begins a conversation",
            Named("ConversationRequest"),
            create,
        )
        .gives_named(JSON, "Conversation"),
        Route::get(one, "A conversation", get(conversations::show))
            .gives_named(JSON, "Conversation"),
        Route::post(one, "Changes a conversation's metadata", Named("Metadata"), update)
            .gives_named(JSON, "Conversation"),
        Route::delete(one, "Deletes a conversation", delete(conversations::delete))
            .gives_named(JSON, "Deleted"),
        Route::get(items, "A conversation's items", get(conversations::items))
            .asks(PAGES)
            .gives_named(JSON, "Items"),
        Route::post(items, "Adds items", Named("ItemInput"), post(conversations::add_items))
            .gives_named(JSON, "Items"),
        Route::get(item, "An item", get(conversations::show_item)).gives_named(JSON, "Item"),
        Route::delete(item, "Deletes an item", delete(conversations::delete_item))
            .gives_named(JSON, "Conversation"),
    ]
}

fn of_files(known: &mut Components) -> Vec<Route> {
    use Input::{Form, Named};
    const QUERY: &[&str] = &["after", "limit", "order", "purpose"];
    vec![
        Route::get("/v1/files", "All files", get(files::list))
            .asks(QUERY)
            .gives_named(JSON, "Files"),
        Route::post("/v1/files", "Keeps a file", Form("FileForm"), post(files::create))
            .gives::<kept::FileObject>(known, JSON),
        Route::get("/v1/files/{id}", "One file", get(files::show))
            .gives::<kept::FileObject>(known, JSON),
        Route::delete("/v1/files/{id}", "Deletes a file", delete(files::delete))
            .gives_named(JSON, "Deleted"),
        Route::get("/v1/files/{id}/content", "What is in a file", get(files::content))
            .gives_named(BYTES, "Text"),
        Route::post(
            "/v1/uploads",
            "Begins a file that comes in parts",
            Named("UploadRequest"),
            post(uploads::create),
        )
        .gives::<sent::UploadObject>(known, JSON),
        Route::post(
            "/v1/uploads/{id}/parts",
            "Adds a part",
            Form("PartForm"),
            post(uploads::add_part),
        )
        .gives::<sent::PartObject>(known, JSON),
        Route::post(
            "/v1/uploads/{id}/complete",
            "Makes a file of the parts",
            Named("UploadCompletion"),
            post(uploads::complete),
        )
        .gives::<sent::UploadObject>(known, JSON),
        Route::post(
            "/v1/uploads/{id}/cancel",
            "Gives an upload up",
            Input::Nothing,
            post(uploads::cancel),
        )
        .gives::<sent::UploadObject>(known, JSON),
    ]
}

fn of_batches(known: &mut Components) -> Vec<Route> {
    vec![
        Route::get("/v1/batches", "All batches", get(batches::list))
            .asks(&["after", "limit"])
            .gives_named(JSON, "Batches"),
        Route::post(
            "/v1/batches",
            "Answers each line of a file",
            Input::Named("BatchRequest"),
            post(batches::create),
        )
        .gives::<queued::BatchObject>(known, JSON),
        Route::get("/v1/batches/{id}", "One batch", get(batches::show))
            .gives::<queued::BatchObject>(known, JSON),
        Route::post(
            "/v1/batches/{id}/cancel",
            "Stops a batch",
            Input::Nothing,
            post(batches::cancel),
        )
        .gives::<queued::BatchObject>(known, JSON),
    ]
}

fn of_anthropic() -> Vec<Route> {
    use Input::Named;
    vec![
        Route::post(
            "/v1/messages",
            "Anthropic's: answers a chat",
            Named("AnthropicRequest"),
            post(messages::create),
        )
        .gives_named(JSON, "AnthropicMessage")
        .gives_named(EVENTS, "AnthropicEvent"),
        Route::post(
            "/v1/messages/count_tokens",
            "Anthropic's: how long a prompt is",
            Named("AnthropicCountRequest"),
            post(messages::count),
        )
        .gives_named(JSON, "AnthropicCount"),
    ]
}

fn of_ollama(known: &mut Components) -> Vec<Route> {
    use Input::Named;
    vec![
        Route::post(
            "/api/chat",
            "Ollama's: answers a chat",
            Named("OllamaChatRequest"),
            post(ollama::chat),
        )
        .gives_named(JSON, "OllamaChat")
        .gives_named(LINES, "OllamaChat"),
        Route::post(
            "/api/generate",
            "Ollama's: answers a prompt",
            Named("OllamaGenerateRequest"),
            post(ollama::generate),
        )
        .gives_named(JSON, "OllamaGenerate")
        .gives_named(LINES, "OllamaGenerate"),
        Route::post(
            "/api/embed",
            "Ollama's: turns texts into vectors",
            Named("OllamaEmbedRequest"),
            post(embeddings::ollama),
        )
        .gives::<vectors::OllamaEmbeddings>(known, JSON),
        Route::post(
            "/api/embeddings",
            "Ollama's older: turns a text into a vector",
            Named("OllamaEmbeddingsRequest"),
            post(embeddings::ollama_single),
        )
        .gives::<vectors::OllamaEmbedding>(known, JSON),
        Route::get("/api/tags", "Ollama's: all models", get(ollama_models::tags))
            .gives_named(JSON, "OllamaModels"),
        Route::post(
            "/api/show",
            "Ollama's: one model",
            Named("OllamaShowRequest"),
            post(ollama_models::show),
        )
        .gives_named(JSON, "OllamaModel"),
        Route::get("/api/ps", "Ollama's: models in memory", get(ollama_models::ps))
            .gives_named(JSON, "OllamaModels"),
        Route::get("/api/version", "Ollama's: the version", get(ollama_models::version))
            .gives_named(JSON, "Version"),
    ]
}

/// What the chat alone uses.
fn of_app(known: &mut Components) -> Vec<Route> {
    use crate::wire::votes::{Leaderboard, Vote};
    use Input::Named;
    const BOARD: &str = "/app/leaderboard";
    vec![
        Route::post(
            "/app/votes",
            "Keeps which of several models' answers is better",
            Named("Vote"),
            post(votes::create),
        )
        .gives::<Vote>(known, JSON),
        Route::get(BOARD, "Models by kept votes", get(votes::leaderboard))
            .gives::<Leaderboard>(known, JSON),
        Route::post(BOARD, "Models by the votes sent", Named("Votes"), post(votes::count))
            .gives::<Leaderboard>(known, JSON),
    ]
}

/// vLLM's, and Cohere's and Jina's.
fn of_others(known: &mut Components) -> Vec<Route> {
    use Input::Named;
    let mut routes = Vec::new();
    for path in ["/v1/rerank", "/v2/rerank", "/rerank"] {
        let summary = "Cohere's and Jina's: sorts documents by a query";
        let route = Route::post(path, summary, Named("RerankRequest"), post(rerank::create));
        routes.push(route.gives::<ranked::Reranked>(known, JSON));
    }
    for path in ["/tokenize", "/v1/tokenize"] {
        let summary = "vLLM's: token ids of a text or a chat";
        let handler = post(tokenize::tokenize);
        let route = Route::post(path, summary, Named("TokenizeRequest"), handler);
        routes.push(route.gives::<tokens::TokenizeResponse>(known, JSON));
    }
    for path in ["/detokenize", "/v1/detokenize"] {
        let summary = "vLLM's: the text of token ids";
        let handler = post(tokenize::detokenize);
        let route = Route::post(path, summary, Named("DetokenizeRequest"), handler);
        routes.push(route.gives::<tokens::DetokenizeResponse>(known, JSON));
    }
    routes
}
