//! Turns text and chats into token ids, and token ids into text.
//!
//! A question's way: [`ChatTemplate`] renders messages, [`Tokenizer`] turns the text into ids;
//! back: [`StreamDecoder`] turns ids into text and [`StopMatcher`] looks for its end.

mod bpe;
mod bytes;
mod ends;
mod guard;
mod jinja;
mod json;
mod keep;
pub mod limits;
mod pretoken;
mod source;
mod specials;
mod stream;
mod template;
mod tokenizer;
mod unicode;

pub use myriad_formats::{TokenType, VocabSpec};
pub use pretoken::{PreTokenizer, PreTokens};
pub use stream::{StopMatcher, StopOutput, StreamDecoder};
pub use template::{ChatTemplate, Message, RenderOptions, TemplateError};
pub use tokenizer::{Specials, Tokenizer, TokenizerError};
