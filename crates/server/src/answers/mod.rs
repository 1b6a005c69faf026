//! Turns running generations into answers: [`choices`] merges them, [`stream`] makes events of them.

pub mod choices;
pub mod stream;
