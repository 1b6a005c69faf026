//! Turns each command of the binary into one file.

pub mod bench;
pub mod chat;
pub mod convert;
pub mod extract;
pub mod inspect;
pub mod keys;
pub mod perplexity;
pub mod pull;
pub mod run;
pub mod serve;
pub mod tokenize;
pub mod users;
