//! Turns running generations into answers: [`choices`] merges them, [`stream`] makes events,
//! [`vectors`] collects what was wanted instead of text.

pub mod choices;
pub mod stream;
pub mod vectors;
