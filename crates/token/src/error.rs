//! Turns each rule that a vocabulary can break into an error that names what is wrong.

use crate::limits::{PIECE_BYTES_MAX, SPECIAL_BYTES_MAX, SPECIALS_MAX, TOKENS_MAX};
use crate::pretoken::PreTokenizer;

/// Why a vocabulary cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// A kind of tokenizer that is not implemented.
    #[error(
        "tokenizer.ggml.model is `{model}`; supported are `gpt2` (byte-level BPE), `llama` \
             (SentencePiece's BPE) and `bert` (WordPiece)"
    )]
    UnknownModel {
        /// What the file says.
        model: String,
    },
    /// A pre-tokenizer that is not implemented.
    #[error("tokenizer.ggml.pre is `{name}`; supported are {}", known_names())]
    UnknownPreTokenizer {
        /// What the file says.
        name: String,
    },
    /// More tokens than any real vocabulary has, or none.
    #[error("tokenizer.ggml.tokens has {count} tokens; right would be 1 to {TOKENS_MAX}")]
    TokenCount {
        /// How many there are.
        count: usize,
    },
    /// The types do not match the tokens.
    #[error("tokenizer.ggml.token_type has {types} entries for {tokens} tokens")]
    TypeCount {
        /// Entries of the type array.
        types: usize,
        /// Tokens.
        tokens: usize,
    },
    /// A merge that is not two pieces with a space between them.
    #[error("tokenizer.ggml.merges[{index}] is `{merge}`; right would be two pieces and a space")]
    BadMerge {
        /// Where in the list.
        index: usize,
        /// The merge.
        merge: String,
    },
    /// A merge of, or into, a piece that is not a token.
    #[error("tokenizer.ggml.merges[{index}] needs the token `{piece}`, which does not exist")]
    MergeWithoutToken {
        /// Where in the list.
        index: usize,
        /// The piece that no token has.
        piece: String,
    },
    /// A byte that every text uses has no token.
    #[error("the vocabulary has no token for the byte {byte:#04x} (`{piece}`)")]
    MissingByte {
        /// The byte.
        byte: u8,
        /// How the vocabulary would write it.
        piece: char,
    },
    /// SentencePiece's BPE without what it merges by.
    #[error("tokenizer.ggml.scores is missing; `llama` (SentencePiece's BPE) needs one per token")]
    NoScores,
    /// The scores do not match the tokens.
    #[error("tokenizer.ggml.scores has {scores} entries for {tokens} tokens")]
    ScoreCount {
        /// Entries of the score array.
        scores: usize,
        /// Tokens.
        tokens: usize,
    },
    /// A score that cannot be compared.
    #[error("tokenizer.ggml.scores[{id}] is not a number")]
    ScoreNotANumber {
        /// The token.
        id: u32,
    },
    /// A piece that is too long to look for at every place of a text.
    #[error("token {id} has {bytes} bytes; at most {PIECE_BYTES_MAX} are allowed")]
    PieceTooLong {
        /// The token.
        id: u32,
        /// Bytes of its text.
        bytes: usize,
    },
    /// Some bytes have tokens of their own, but not this one.
    #[error("the vocabulary has byte tokens, but none for {byte:#04x} (`<0x{byte:02X}>`)")]
    MissingByteToken {
        /// The byte.
        byte: u8,
    },
    /// Nothing stands for a character that no piece has.
    #[error("the vocabulary has neither byte tokens (`<0x41>`) nor an unknown token")]
    NoFallback,
    /// Nothing stands for a word that no pieces make.
    #[error("tokenizer.ggml.unknown_token_id is missing; `bert` (WordPiece) needs one")]
    NoUnknown,
    /// A byte token whose text is not `<0xNN>`.
    #[error("token {id} is a byte token but its text is `{piece}`; right would be `<0x41>`")]
    BadByteToken {
        /// The token.
        id: u32,
        /// Its text.
        piece: String,
    },
    /// A special token that is too long to search for.
    #[error("special token {id} has {bytes} bytes; at most {SPECIAL_BYTES_MAX} are allowed")]
    SpecialTooLong {
        /// The token.
        id: u32,
        /// Length of its text.
        bytes: usize,
    },
    /// Too many special tokens.
    #[error("the vocabulary has {count} special tokens; at most {SPECIALS_MAX} are allowed")]
    TooManySpecials {
        /// How many there are.
        count: usize,
    },
    /// A special token with a noncharacter that marks message text internally.
    #[error("the text of special token {id} holds a noncharacter (U+FDD0 to U+FDD2)")]
    SpecialWithMark {
        /// The token.
        id: u32,
    },
    /// A special id outside of the vocabulary.
    #[error("{field} is {id}, but there are only {tokens} tokens")]
    IdOutOfRange {
        /// The metadata key.
        field: &'static str,
        /// Its value.
        id: u32,
        /// Size of the vocabulary.
        tokens: usize,
    },
}

fn known_names() -> String {
    PreTokenizer::names().collect::<Vec<_>>().join(", ")
}
