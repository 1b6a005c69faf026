//! Turns running generations into answers: [`choices`] merges them, [`stream`] makes events.

pub mod choices;
pub mod stream;
