//! Turns JSON into typed requests and results into JSON, one file per endpoint.
//!
//! Lenient in, strict out: requests are read field by field ([`fields`]), so that every error names
//! its parameter; an explicit `null` is an absent field. Answers carry every field that OpenAI's
//! have.

pub mod anthropic;
pub mod app_calls;
pub mod app_chats;
pub mod app_data;
pub mod app_files;
pub mod app_library;
pub mod app_models;
pub mod batches;
pub mod chat;
pub mod completions;
pub mod decision_input;
pub mod decisions;
pub mod embeddings;
pub mod fields;
pub mod files;
pub mod generation;
pub mod logprobs;
pub mod messages;
pub mod metadata;
pub mod models;
pub mod moderation_policy;
pub mod moderations;
pub mod named;
pub mod ollama;
pub mod people;
pub mod policy;
pub mod prompts;
pub mod query;
pub mod rerank;
pub mod response_format;
pub mod responses;
pub mod stored_chats;
pub mod thinking;
pub mod tokenize;
pub mod tools;
pub mod uploads;
pub mod usage;
pub mod votes;
