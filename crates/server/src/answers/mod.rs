//! Turns running generations into answers: [`choices`] merges them, [`stream`] makes events,
//! [`vectors`] collects what was wanted instead of text.
//!
//! Responses outlive their requests: [`response`] writes one, a [`run`] is what clients follow, and
//! [`recent`] is where runs are found again.

pub mod choices;
pub mod recent;
pub mod response;
pub mod run;
pub mod stream;
pub mod vectors;
pub mod waiting;
