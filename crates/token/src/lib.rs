//! Turns text and chats into token ids, and token ids into text.
//!
//! A question's way: [`ChatTemplate`] renders messages, [`Tokenizer`] turns the text into ids;
//! back: [`StreamDecoder`] turns ids into text, [`StopMatcher`] looks for its end and
//! [`AnswerParser`] tells reasoning, text and tool calls apart. A [`Grammar`] says which tokens may
//! come next in an answer that follows a schema.

mod answer;
mod bpe;
mod bytes;
mod check;
mod encoder;
mod ends;
mod error;
mod fim;
mod grammar;
mod guard;
mod index;
mod jinja;
mod json;
mod keep;
pub mod limits;
mod pretoken;
mod rules;
mod sentencepiece;
mod source;
mod specials;
mod stream;
mod template;
mod tokenizer;
mod unicode;
mod wordpiece;

pub use answer::{
    AnswerEvent, AnswerFormat, AnswerParser, AnswerTool, CallFormat, Opening, ReasoningFormat,
};
pub use error::TokenizerError;
pub use fim::FimTokens;
pub use grammar::{
    AnswerGrammar, CallGrammar, Grammar, GrammarCompiler, GrammarError, GrammarFailure,
    GrammarState, TextGrammar,
};
pub use myriad_formats::{TokenType, VocabSpec, WordRules};
pub use pretoken::{PreTokenizer, PreTokens};
pub use rules::{AnswerRules, AnswerState, ReasoningBudget};
pub use stream::{StopMatcher, StopOutput, StreamDecoder};
pub use template::{ChatTemplate, Message, RenderOptions, TemplateError};
pub use tokenizer::{Specials, Tokenizer};
