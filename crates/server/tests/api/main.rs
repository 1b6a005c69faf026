//! Turns a small random model behind a live socket into answers, whole and streamed, and refusals.

mod anthropic;
mod batches;
mod chat;
mod completions;
mod contract;
mod embeddings;
mod endpoints;
mod families;
mod files;
mod gates;
mod harness;
mod hostile;
mod judge;
mod logs;
mod ollama;
mod reasoned;
mod shutdown;
mod structured;
mod tools;
mod uploads;
