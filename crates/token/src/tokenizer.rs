//! Text into token ids and token ids into bytes, by the vocabulary of a model file.

use crate::spec::VocabSpec;

/// What the text of a control token (`<|im_end|>`, …) inside a text means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Specials {
    /// Nothing: it is text like any other.
    AsText,
    /// The token itself.
    Parse,
}

/// Why a vocabulary cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    #[error("unknown")]
    Todo,
}

/// A vocabulary and the rules by which text becomes its ids.
pub struct Tokenizer {}

impl Tokenizer {
    pub fn new(spec: &VocabSpec) -> Result<Tokenizer, TokenizerError> {
        todo!()
    }
    /// Ids of `text`; no token for its beginning is added.
    pub fn encode(&self, text: &str, specials: Specials) -> Vec<u32> {
        todo!()
    }
    /// Ids of `text`, with the token of the beginning where the model expects one.
    pub fn encode_prompt(&self, text: &str, specials: Specials) -> Vec<u32> {
        todo!()
    }
    pub fn decode(&self, ids: &[u32], specials: bool) -> Vec<u8> {
        todo!()
    }
    pub fn token_bytes(&self, id: u32) -> Option<&[u8]> {
        todo!()
    }
    pub fn token_text(&self, id: u32) -> Option<&str> {
        todo!()
    }
    pub fn is_control(&self, id: u32) -> bool {
        todo!()
    }
    pub fn vocab_size(&self) -> usize {
        todo!()
    }
    pub fn bos(&self) -> Option<u32> {
        todo!()
    }
    pub fn eos(&self) -> Option<u32> {
        todo!()
    }
    /// Every token that ends an answer.
    pub fn end_tokens(&self) -> &[u32] {
        todo!()
    }
    pub fn id_of(&self, piece: &str) -> Option<u32> {
        todo!()
    }
}
