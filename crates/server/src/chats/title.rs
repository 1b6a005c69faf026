//! Turns the first answer of a conversation into a title, when nobody else waits for the model.

use axum::body::to_bytes;
use axum::http::StatusCode;
use myriad_store::{Kind, StoreError};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::rows;
use super::runs::{Job, Maker};
use crate::batches::wait_for_room;
use crate::errors::ApiError;
use crate::limits::{APP_TITLE_CHARS_MAX, APP_TITLE_TIME_MAX, APP_TITLE_TOKENS_MAX};
use crate::wire::app_chats::{ChatChange, Status};

/// What the model is asked at the end of the conversation: its beginning is in the cache already.
const WISH: &str = "Give this conversation a short title of at most six words, in its own \
     language. Answer with the title alone.";

/// Bytes of the answer to it.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Questions and answers of a conversation with one answer.
const FIRST: u64 = 2;

/// Makes a title and keeps it; none where the conversation has one of a person's, where this was
/// not its first answer, or where what the model says is no title.
pub async fn make(maker: &Maker, job: &Job) -> Option<String> {
    if !matches!(job.message.status, Status::Done | Status::Length)
        || job.message.content.is_empty()
    {
        return None;
    }
    match timeout(APP_TITLE_TIME_MAX, named(maker, job)).await {
        Ok(Ok(title)) => title,
        // The first words of the question stay.
        Ok(Err(error)) => {
            tracing::warn!(message = error.message, "a conversation stays without a title");
            None
        }
        Err(_) => None,
    }
}

async fn named(maker: &Maker, job: &Job) -> Result<Option<String>, ApiError> {
    let owner = &job.run.owner;
    if !is_wanted(maker, job).await? {
        return Ok(None);
    }
    let model = job.request.get("model").and_then(Value::as_str);
    // Another server's model is not asked, and one that has gone is not loaded for a title.
    if maker.app.catalogue.loaded(model).is_none() {
        return Ok(None);
    }
    wait_for_room(&maker.app, model).await;
    let response = maker.ask(owner, &request(job)).await;
    if response.status() != StatusCode::OK {
        return Ok(None);
    }
    let body = to_bytes(response.into_body(), ANSWER_BYTES_MAX).await.unwrap_or_default();
    let Some(title) = read(&body) else { return Ok(None) };
    // A person may have given it a title meanwhile.
    if !is_wanted(maker, job).await? {
        return Ok(None);
    }
    let wish = ChatChange::of_title(title.clone());
    rows::write(&maker.app, owner, &job.chat, &wish, &[], false).await?;
    Ok(Some(title))
}

async fn is_wanted(maker: &Maker, job: &Job) -> Result<bool, ApiError> {
    let storage = &maker.storage;
    let found = rows::chat(storage, &job.run.owner, &job.chat).await;
    let Ok((document, chat)) = found else { return Ok(false) };
    let count = async |kind| -> Result<u64, StoreError> {
        storage.store.count_parts(kind, &document.id).await
    };
    Ok(!chat.titled && count(Kind::AppMessage).await? <= FIRST)
}

fn request(job: &Job) -> Map<String, Value> {
    let mut messages = match job.request.get("messages") {
        Some(Value::Array(messages)) => messages.clone(),
        _ => Vec::new(),
    };
    messages.push(json!({ "role": "assistant", "content": job.message.content }));
    messages.push(json!({ "role": "user", "content": WISH }));
    let mut request = Map::new();
    if let Some(model) = job.request.get("model") {
        request.insert("model".to_owned(), model.clone());
    }
    request.insert("messages".to_owned(), messages.into());
    request.insert("max_tokens".to_owned(), APP_TITLE_TOKENS_MAX.into());
    request.insert("temperature".to_owned(), 0.2.into());
    request.insert("reasoning_effort".to_owned(), "none".into());
    request
}

/// The title in the answer, if there is one.
fn read(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Completion {
        choices: Vec<Choice>,
    }
    #[derive(Deserialize)]
    struct Choice {
        message: Message,
    }
    #[derive(Deserialize)]
    struct Message {
        content: Option<String>,
    }
    let completion: Completion = serde_json::from_slice(body).ok()?;
    trimmed(&completion.choices.into_iter().next()?.message.content?)
}

/// A line without quotes, marks of emphasis and a full stop around it.
fn trimmed(text: &str) -> Option<String> {
    let around =
        |letter: char| letter.is_whitespace() || "\"'`*#_“”„‘’«»「」『』《》.。".contains(letter);
    let line = text.trim().lines().next()?;
    let title = line.trim_matches(around);
    let length = title.chars().count();
    (1..=APP_TITLE_CHARS_MAX).contains(&length).then(|| title.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_are_trimmed_and_nonsense_is_none() {
        for (text, right) in [
            ("\"Walks in Paris.\"\n\nEnjoy!", Some("Walks in Paris")),
            ("**注意力机制。**", Some("注意力机制")),
            ("« L'été »", Some("L'été")),
            ("", None),
            (" \"\" ", None),
            (&"x".repeat(APP_TITLE_CHARS_MAX + 1), None),
        ] {
            assert_eq!(trimmed(text).as_deref(), right, "{text}");
        }
    }
}
