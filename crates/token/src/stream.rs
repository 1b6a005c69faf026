//! A stream of token ids into text that is safe to show, and the search for stop strings in it.

use crate::Tokenizer;

/// Ids to text, one id at a time: bytes of an unfinished character are held back.
#[derive(Clone, Debug, Default)]
pub struct StreamDecoder {}

impl StreamDecoder {
    pub fn new() -> Self {
        todo!()
    }
    /// The text that became certain by `id`; empty while a character is unfinished.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> String {
        todo!()
    }
    /// What is still held back at the end, as U+FFFD.
    pub fn finish(&mut self) -> String {
        todo!()
    }
}

/// What [`StopMatcher::push`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopOutput {
    /// Text that is safe to emit.
    pub text: String,
    /// The stop string that was met, if any; what follows it is dropped.
    pub stopped: Option<String>,
}

/// Searches a stream of text for stop strings, holding back what may be the beginning of one.
#[derive(Clone, Debug)]
pub struct StopMatcher {}

impl StopMatcher {
    pub fn new(stops: &[String]) -> Self {
        todo!()
    }
    pub fn push(&mut self, text: &str) -> StopOutput {
        todo!()
    }
    pub fn finish(&mut self) -> String {
        todo!()
    }
}
