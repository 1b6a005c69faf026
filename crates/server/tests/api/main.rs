//! Turns a small random model behind a live socket into answers, whole and streamed, and refusals.

mod anthropic;
mod chat;
mod completions;
mod embeddings;
mod endpoints;
mod families;
mod gates;
mod harness;
mod hostile;
mod judge;
mod logs;
mod ollama;
mod shutdown;
mod structured;
mod tools;
mod web;
