//! Turns many requests into streams of token ids: plan, forward, sample, publish.
//!
//! In reading order: [`request`] says what is asked and what comes back, [`engine`] holds the one
//! synchronous `step()`, `plan` decides which rows it computes, `pages` shares the KV cache among
//! all requests and `states` what recurrent layers keep, `sampler` chooses tokens among those that
//! a [`Constraint`] leaves; `lookup` and `draft` guess several at a time. [`Embedder`] is the same
//! for encoders, which make vectors. This room knows no text, no HTTP and no clock; randomness is
//! counted from the seeds that requests bring, so that an answer never depends on its company.

mod constraint;
mod draft;
mod embedder;
mod engine;
mod error;
mod lookup;
mod pages;
mod plan;
mod request;
mod sampler;
mod sequence;
mod states;

pub use constraint::{Constraint, ConstraintError, Grammar};
pub use draft::Draft;
pub use embedder::Embedder;
pub use engine::{Engine, EngineConfig, Stats};
pub use error::EngineError;
pub use request::{Event, FinishReason, Output, Request, RequestId, Sampling, TokenScore, Usage};
pub use sampler::log_probabilities;
