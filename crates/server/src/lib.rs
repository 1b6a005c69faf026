//! Turns HTTP into engine requests and token streams into events.
//!
//! In reading order: [`serve`] lays out the routes, `routes` holds one handler file per endpoint,
//! [`wire`] the JSON of each (lenient in, strict out), [`runtime`] runs the engine on its own thread
//! and is where text meets it. The only room that knows anyone's JSON, and the only async one.

pub mod errors;
pub mod limits;
pub mod metrics;
mod random;
pub mod runtime;
mod serve;
pub mod wire;

pub use runtime::{
    Finish, GenerateError, GenerateRequest, Generation, LoadedModel, OutputToken, Runtime,
    RuntimeConfig, StartError, TextEvent, Usage,
};
pub use serve::{ServeError, ServerConfig, bind, router, serve, serve_on};
