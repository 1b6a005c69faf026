//! Turns the `tokenizer.*` keys into a vocabulary whose parts fit together.

use crate::error::GgufError;
use crate::metadata::Metadata;

/// Everything that a model file says about its tokens.
#[derive(Clone, Debug)]
pub struct VocabSpec {
    /// The algorithm, `tokenizer.ggml.model`: `gpt2` is byte-level BPE.
    pub model: String,
    /// The name of the pre-tokenizer, `tokenizer.ggml.pre`; `default` where the file has none.
    pub pre: String,
    /// The text of each token, by id.
    pub tokens: Vec<String>,
    /// What each token is for; as many as tokens.
    pub token_types: Vec<TokenType>,
    /// Merges of BPE, first rank first, each two pieces with a space between.
    pub merges: Vec<String>,
    /// The token that begins a text.
    pub bos: Option<u32>,
    /// The token that ends a text.
    pub eos: Option<u32>,
    /// The token that ends a turn.
    pub eot: Option<u32>,
    /// The token for what has none.
    pub unknown: Option<u32>,
    /// The token that fills up a batch.
    pub padding: Option<u32>,
    /// Whether prompts begin with `bos`.
    pub add_bos: bool,
    /// Whether prompts end with `eos`.
    pub add_eos: bool,
    /// The Jinja source that turns messages into a prompt.
    pub chat_template: Option<String>,
}

/// What a token is for. The numbers are those of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenType {
    /// Ordinary text.
    Normal = 1,
    /// Stands for what has no token.
    Unknown = 2,
    /// Structure, such as the end of a turn; never made from users' text.
    Control = 3,
    /// Added text that is never split.
    UserDefined = 4,
    /// A place without meaning.
    Unused = 5,
    /// One byte, written `<0x0A>`.
    Byte = 6,
}

impl VocabSpec {
    pub(crate) fn read(_metadata: &Metadata) -> Result<VocabSpec, GgufError> {
        todo!()
    }
}
