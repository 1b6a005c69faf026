//! Turns rules about an answer's text into the constraint of an engine that knows no text.

use std::sync::Arc;

use myriad_engine::{Constraint, ConstraintError};
use myriad_token::{AnswerRules, AnswerState, GrammarFailure};

/// What an answer is held to as the engine takes it; none where that is nothing.
pub fn constraint(rules: AnswerRules) -> Option<Arc<dyn myriad_engine::Grammar>> {
    if rules.is_empty() { None } else { Some(Arc::new(Rules(rules))) }
}

#[derive(Debug)]
struct Rules(AnswerRules);

struct Place(AnswerState);

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

    fn is_free(&mut self) -> bool {
        self.0.is_free()
    }
}

fn told(failure: GrammarFailure) -> ConstraintError {
    match failure {
        GrammarFailure::TooComplex => ConstraintError::TooComplex,
        _ => ConstraintError::Broken,
    }
}
