//! Turns files that were added to a chat into what its model reads of them.
//!
//! In reading order: [`extraction`] makes text of a file, [`rows`] keeps it as long as a
//! conversation has it, [`prompt`] puts small ones into a question whole, and [`passages`] of large
//! ones what fits the question: [`chunks`] cuts a text, [`words`] and [`vectors`] say which pieces
//! are near to a question, by the letters and by the meaning.

mod chunks;
mod extraction;
mod passages;
pub mod prompt;
pub mod rows;
mod vectors;
mod words;

pub use extraction::{Extractions, Extractor};
pub use passages::Told;
