//! Turns a grammar over a vocabulary's text into the constraint of an engine that knows no text.

use std::sync::Arc;

use myriad_engine::{Constraint, ConstraintError};
use myriad_token::{Grammar, GrammarFailure, GrammarState};

/// A grammar as the engine takes it.
pub fn constraint(grammar: Grammar) -> Arc<dyn myriad_engine::Grammar> {
    Arc::new(Rules(grammar))
}

#[derive(Debug)]
struct Rules(Grammar);

struct Place(GrammarState);

impl myriad_engine::Grammar for Rules {
    fn start(&self) -> Box<dyn Constraint> {
        Box::new(Place(self.0.start()))
    }
}

impl Constraint for Place {
    fn mask(&mut self, allowed: &mut [u32]) -> Result<(), ConstraintError> {
        self.0.mask(allowed).map_err(told)
    }

    fn accept(&mut self, token: u32) -> Result<(), ConstraintError> {
        self.0.accept(token).map_err(told)
    }

    fn may_end(&mut self) -> bool {
        self.0.may_end()
    }

    fn must_end(&mut self) -> bool {
        self.0.must_end()
    }
}

fn told(failure: GrammarFailure) -> ConstraintError {
    match failure {
        GrammarFailure::TooComplex => ConstraintError::TooComplex,
        _ => ConstraintError::Broken,
    }
}
