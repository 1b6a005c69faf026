//! Turns each rule that the files of a tokenizer can break into one variant and one sentence.

use crate::json::{JsonError, JsonFault};

/// Why `tokenizer.json` and its neighbours are no vocabulary that Myriad can use. Every message
/// names the file and the part, what is there, and what would have been right.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[allow(missing_docs)] // the fields are the words of the sentences
pub enum VocabError {
    /// `tokenizer.json` is not JSON of a bearable size.
    #[error("tokenizer.json: {0}")]
    Syntax(JsonFault),

    /// A file beside it does not say what is needed.
    #[error(transparent)]
    Json(#[from] JsonError),

    // The model.
    /// Not the tokenizer of a model.
    #[error("tokenizer.json: `{part}` is missing")]
    MissingPart { part: &'static str },

    /// A part that comes twice.
    #[error("tokenizer.json: `{part}` comes twice")]
    PartTwice { part: &'static str },

    /// A part of another type.
    #[error("tokenizer.json: `{part}` is {found}; {expected} is needed")]
    PartType { part: &'static str, found: &'static str, expected: &'static str },

    /// Another algorithm.
    #[error("tokenizer.json: `model.type` is `{found}`; `BPE` and `WordPiece` are supported")]
    ModelType { found: String },

    /// A variant of BPE that no supported model uses.
    #[error("tokenizer.json: `model.{setting}` is `{value}`, which is not supported")]
    ModelSetting { setting: &'static str, value: String },

    // Steps before the model.
    /// A normaliser that is not implemented.
    #[error("tokenizer.json: the normalizer {shown} is not supported")]
    Normalizer { shown: String },

    /// A pre-tokenizer that is not implemented.
    #[error("tokenizer.json: the pre_tokenizer {shown} is not supported; supported are {known}")]
    PreTokenizer { shown: String, known: String },

    // Tokens.
    /// No tokens, or too many.
    #[error("tokenizer.json has {count} tokens; a vocabulary has 1 to {max}")]
    TokenCount { count: usize, max: usize },

    /// An id beyond every vocabulary.
    #[error("tokenizer.json: the token `{token}` has the id {id}; ids are below {max}")]
    IdRange { token: String, id: u64, max: usize },

    /// Two tokens with one id.
    #[error("tokenizer.json: `{first}` and `{second}` both have the id {id}")]
    IdTwice { first: String, second: String, id: u32 },

    /// Two ids for one token.
    #[error("tokenizer.json: the token `{token}` has the ids {first} and {second}")]
    TokenTwice { token: String, first: u32, second: u32 },

    /// Ids without tokens.
    #[error("{count} ids below {end} have no token; at most {max} such ids are accepted")]
    UnusedIds { count: usize, end: usize, max: usize },

    /// Tokens that the model has no embedding for.
    #[error("tokenizer.json has tokens up to the id {last}, but `vocab_size` is {size}")]
    VocabSize { last: usize, size: u32 },

    /// A description of an added token that is not one.
    #[error("tokenizer.json: `added_tokens[{index}]` has no {expected}")]
    AddedToken { index: usize, expected: &'static str },

    // Merges.
    /// More merges than any vocabulary has.
    #[error("tokenizer.json has more than {max} merges")]
    MergeCount { max: usize },

    /// A merge that is not two pieces.
    #[error(
        "tokenizer.json: `model.merges[{index}]` is `{merge}`; two pieces without spaces are needed"
    )]
    Merge { index: usize, merge: String },

    /// A merge into what is no token.
    #[error("tokenizer.json: `model.merges[{index}]` makes `{token}`, which is no token")]
    MergeResult { index: usize, token: String },

    // Special tokens.
    /// A token that is named but not there.
    #[error("{file}: `{key}` is `{token}`, which tokenizer.json does not have")]
    SpecialToken { file: &'static str, key: &'static str, token: String },

    /// The id of a token that does not exist.
    #[error("{file}: `{key}` is {id}; ids are below {tokens}, the number of tokens")]
    TokenId { file: &'static str, key: &'static str, id: u32, tokens: usize },

    // Chat templates.
    /// A list of templates, none of which is for ordinary chats.
    #[error(
        "tokenizer_config.json: `chat_template` has no template of the name `default`: {names}"
    )]
    NoDefaultTemplate { names: String },

    /// A template that is neither text nor a list of named texts.
    #[error(
        "tokenizer_config.json: `chat_template` is {found}; a string or a list of objects with \
        name and template is needed"
    )]
    TemplateType { found: &'static str },

    /// A template beyond every limit.
    #[error("tokenizer_config.json: `chat_template` has {bytes} bytes; at most {max} are accepted")]
    TemplateSize { bytes: usize, max: usize },
}
