//! Turns HTTP into engine requests and token streams into events.
//!
//! In reading order: [`serve`] starts, `connections` accepts, `layers` lets requests in, `routes`
//! holds one handler file per endpoint, `answers` makes whole and streamed answers of generations,
//! [`wire`] is the JSON of each endpoint (lenient in, strict out), [`runtime`] runs the engine on
//! its own thread and is where text meets it. The only room that knows anyone's JSON, and the only
//! async one. What a stranger may ask for is bounded in [`limits`], who asks is told in
//! [`people`], what is kept goes to [`storage`]. `attached` is what a chat knows of its files.

mod answers;
mod app;
mod attached;
mod batches;
pub mod catalogue;
mod chats;
mod connections;
pub mod errors;
mod layers;
mod ledger;
pub mod limits;
pub mod metrics;
pub mod oidc;
mod openapi;
pub mod outbound;
pub mod people;
mod quota;
mod random;
mod rating;
mod routes;
pub mod runtime;
mod serve;
mod stalled;
pub mod storage;
mod sweeper;
mod tools;
mod upstreams;
pub mod wire;

pub use app::timestamp_of;
pub use attached::Extractor;
pub use catalogue::{Description, Download, Loader, Models, Others, Served};
pub use routes::openapi::text as openapi_document;
pub use routes::web::is_built as has_chat;
pub use runtime::{
    Finish, GenerateError, GenerateRequest, Generation, LabelRequest, LabelScores, LoadedModel,
    Manners, OutputToken, Parsing, Runtime, RuntimeConfig, StartError, TextEvent, Usage,
};
pub use serve::{ServeError, ServerConfig, bind, router, serve, serve_on};
pub use storage::Storage;
pub use tools::{Tools, ToolsError};
pub use upstreams::{Upstreams, UpstreamsError};
