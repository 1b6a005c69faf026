//! Turns a small random model behind a live socket into answers, whole and streamed, and refusals.

mod anthropic;
mod batches;
mod chat;
mod completions;
mod contract;
mod conversations;
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
mod response_refusals;
mod response_state;
mod responses;
mod shutdown;
mod stored_chats;
mod structured;
mod tools;
mod uploads;
mod web;
