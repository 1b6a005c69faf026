//! Turns requests into events, one synchronous step at a time: plan, forward, sample, publish.

use std::sync::Arc;

use myriad_kernels::Compute;
use myriad_model::Model;

use crate::error::EngineError;
use crate::request::{Event, Request, RequestId};

/// Sizes of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// Most tokens of one request, prompt and answer together. More than the model's own context
    /// counts as that.
    pub context: usize,
    /// Requests computed together; more wait.
    pub parallel: usize,
    /// Tokens of one step: all running decodes, then pieces of prompts up to this.
    pub step_tokens: usize,
    /// Pages of KV cache that all requests share, of `PAGE_TOKENS` tokens each.
    pub pages: usize,
}

/// What an engine holds and has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Requests that are computed.
    pub running: usize,
    /// Requests that wait for a place.
    pub waiting: usize,
    /// Pages that running requests hold.
    pub pages_used: usize,
    /// Pages that there are.
    pub pages_total: usize,
    /// Prompt tokens looked up in the cache so far.
    pub prefix_queries: u64,
    /// Prompt tokens found there so far.
    pub prefix_hits: u64,
    /// Requests put back to wait, for want of pages, so far.
    pub preemptions: u64,
}

/// Many requests on one model.
pub struct Engine {
    _private: (),
}

impl Engine {
    /// Allots the KV cache.
    ///
    /// # Errors
    /// [`EngineError`] where a size cannot be, or the cache does not fit in memory.
    pub fn new(
        _model: Arc<Model>,
        _compute: Compute,
        _config: EngineConfig,
    ) -> Result<Engine, EngineError> {
        todo!()
    }

    /// Tokens that one request may have, prompt and answer together.
    pub fn context_max(&self) -> usize {
        todo!()
    }

    /// Takes a request; its events come out of [`Engine::step`].
    ///
    /// # Errors
    /// [`EngineError`] says what is wrong with the request; it is then forgotten.
    pub fn submit(&mut self, _request: Request) -> Result<RequestId, EngineError> {
        todo!()
    }

    /// Forgets a request at once: it gives back its pages and has no further events.
    pub fn cancel(&mut self, _id: RequestId) {
        todo!()
    }

    /// Whether a step would do anything.
    pub fn has_work(&self) -> bool {
        todo!()
    }

    /// Computes one batch and appends what came of it to `events`.
    pub fn step(&mut self, _events: &mut Vec<Event>) {
        todo!()
    }

    /// What the engine holds now.
    pub fn stats(&self) -> Stats {
        todo!()
    }
}
