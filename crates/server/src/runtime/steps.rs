//! Turns an engine into what the engine's thread needs of one, so that a test double can stand in.

use std::sync::Arc;
use std::time::Duration;

use myriad_engine::{
    Draft, Embedder, Engine, EngineConfig, EngineError, Event, Request, RequestId, Stats,
};
use myriad_kernels::{Compute, Kernels};
use myriad_model::Model;

/// Many requests, computed step by step.
pub trait Steps: Send {
    /// Tokens of prompt and answer together that a request may have.
    fn context_max(&self) -> usize;
    /// Takes a request.
    fn submit(&mut self, request: Request) -> Result<RequestId, EngineError>;
    /// Forgets a request; no further event names it.
    fn cancel(&mut self, id: RequestId);
    /// Whether any request is unfinished.
    fn has_work(&self) -> bool;
    /// What it holds.
    fn stats(&self) -> Stats;
    /// Computes one step.
    fn step(&mut self, events: &mut Vec<Event>);
    /// Does a little of what later requests would wait for; false where nothing is left to do.
    fn prepare(&mut self) -> bool {
        false
    }
    /// How long the next step would have nothing to do.
    fn pause(&self) -> Option<Duration> {
        None
    }
}

/// Makes an engine, the first one and those after failures.
pub trait Recipe: Send {
    /// A new engine.
    fn make(&self) -> Result<Box<dyn Steps>, EngineError>;
}

impl Steps for Engine {
    fn context_max(&self) -> usize {
        Engine::context_max(self)
    }

    fn submit(&mut self, request: Request) -> Result<RequestId, EngineError> {
        Engine::submit(self, request)
    }

    fn cancel(&mut self, id: RequestId) {
        Engine::cancel(self, id);
    }

    fn has_work(&self) -> bool {
        Engine::has_work(self)
    }

    fn stats(&self) -> Stats {
        Engine::stats(self)
    }

    fn step(&mut self, events: &mut Vec<Event>) {
        Engine::step(self, events);
    }

    fn prepare(&mut self) -> bool {
        Engine::prepare(self)
    }
}

impl Steps for Embedder {
    fn context_max(&self) -> usize {
        Embedder::context_max(self)
    }

    fn submit(&mut self, request: Request) -> Result<RequestId, EngineError> {
        Embedder::submit(self, request)
    }

    fn cancel(&mut self, id: RequestId) {
        Embedder::cancel(self, id);
    }

    fn has_work(&self) -> bool {
        Embedder::has_work(self)
    }

    fn stats(&self) -> Stats {
        Embedder::stats(self)
    }

    fn step(&mut self, events: &mut Vec<Event>) {
        Embedder::step(self, events);
    }
}

/// What an engine that computes a model is made of.
pub struct ModelRecipe {
    pub model: Arc<Model>,
    pub draft: Option<Draft>,
    pub kernels: &'static Kernels,
    pub threads: usize,
    pub config: EngineConfig,
}

impl ModelRecipe {
    /// The engine for a model of either kind.
    pub fn make_with(&self, compute: Compute) -> Result<Box<dyn Steps>, EngineError> {
        let (model, config) = (Arc::clone(&self.model), self.config.clone());
        if model.config().encoder.is_some() {
            return Ok(Box::new(Embedder::new(model, compute, config)?));
        }
        let engine = Engine::new(model, compute, config)?;
        Ok(match &self.draft {
            Some(draft) => Box::new(engine.with_draft(draft.clone())?),
            None => Box::new(engine),
        })
    }
}

impl Recipe for ModelRecipe {
    fn make(&self) -> Result<Box<dyn Steps>, EngineError> {
        self.make_with(Compute::new(self.kernels, self.threads))
    }
}
