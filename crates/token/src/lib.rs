//! Turns text and chats into token ids, and token ids into text.

#![allow(missing_docs, unused)]

mod spec;
mod stream;
mod template;
mod tokenizer;

pub use spec::{TokenType, VocabSpec};
pub use stream::{StopMatcher, StopOutput, StreamDecoder};
pub use template::{ChatTemplate, Message, RenderOptions, TemplateError};
pub use tokenizer::{Specials, Tokenizer, TokenizerError};
