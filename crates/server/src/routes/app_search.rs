//! Turns `GET /app/chats/search` into the conversations that have all words, with what was found.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use myriad_store::search::folded;
use myriad_store::{Found, Kind};
use serde::Serialize;
use utoipa::ToSchema;

use super::app_chats::WHAT;
use super::documents::body;
use crate::app::App;
use crate::errors::ApiError;
use crate::limits::{
    APP_EXCERPT_BEFORE_CHARS, APP_EXCERPT_CHARS, APP_HITS_MAX, APP_SEARCH_BYTES_MAX,
};
use crate::storage::{Owner, Storage};
use crate::wire::app_chats::{AppChat, AppMessage};
use crate::wire::query::Parameters;

/// What a search found.
#[derive(Serialize, ToSchema)]
pub struct AppHits {
    /// Those that changed last come first.
    data: Vec<AppHit>,
}

/// A conversation that has the words.
#[derive(Serialize, ToSchema)]
pub struct AppHit {
    conversation: AppChat,
    /// The first message that has them; none where the title has.
    message: Option<String>,
    /// The text around the first of them.
    excerpt: String,
}

/// The conversations that have all words of `q`, in one message or in the title.
pub async fn show(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    mut parameters: Parameters,
) -> Result<Json<AppHits>, ApiError> {
    let text = parameters.text("q").ok_or_else(|| ApiError::missing("q"))?;
    let limit = parameters.integer("limit", 1..=APP_HITS_MAX as i64)?;
    parameters.none_left()?;
    if text.len() > APP_SEARCH_BYTES_MAX {
        let message =
            format!("'q' has {} bytes. Right would be at most {APP_SEARCH_BYTES_MAX}.", text.len());
        return Err(ApiError::invalid("q", message));
    }
    let storage = app.storage(WHAT)?;
    let limit = limit.map_or(APP_HITS_MAX, |limit| limit as usize);
    let found = storage.store.search(owner.as_str(), &text, limit).await?;
    let word = folded(&text).split_whitespace().next().unwrap_or_default().to_owned();
    let mut data = Vec::new();
    for found in found {
        data.extend(hit(storage, &owner, found, &word).await?);
    }
    Ok(Json(AppHits { data }))
}

/// None where it was deleted in between.
async fn hit(
    storage: &Storage,
    owner: &Owner,
    found: Found,
    word: &str,
) -> Result<Option<AppHit>, ApiError> {
    let store = &storage.store;
    let chat = store.document(Kind::AppChat, owner.as_str(), &found.whole).await?;
    let Some(chat) = chat else { return Ok(None) };
    let conversation: AppChat = body(&chat)?;
    let part = match &found.part {
        Some(part) => store.document(Kind::AppMessage, owner.as_str(), part).await?,
        None => None,
    };
    let message: Option<AppMessage> = part.as_ref().map(body).transpose()?;
    let text = message.as_ref().map_or(&conversation.title, |message| &message.content);
    let excerpt = excerpt(text, word);
    Ok(Some(AppHit { message: message.map(|message| message.id), excerpt, conversation }))
}

/// One line of a text, around a word.
fn excerpt(text: &str, word: &str) -> String {
    // Folding keeps the number of words, so the word's number leads to its place in the text.
    let words: Vec<&str> = text.split_whitespace().collect();
    let found = words.iter().position(|part| folded(part).contains(word)).unwrap_or(0);
    let before = words[..found].iter().map(|word| word.chars().count() + 1).sum::<usize>();
    // Chinese has no spaces: the word may stand deep in what counts as one.
    let part = words.get(found).map(|part| folded(part)).unwrap_or_default();
    let inside = part.find(word).map_or(0, |at| part[..at].chars().count());
    let start = (before + inside).saturating_sub(APP_EXCERPT_BEFORE_CHARS);
    let line = words.join(" ");
    let mut letters = line.chars().skip(start);
    let excerpt: String = letters.by_ref().take(APP_EXCERPT_CHARS).collect();
    let (head, tail) =
        (if start > 0 { "…" } else { "" }, if letters.next().is_some() { "…" } else { "" });
    format!("{head}{excerpt}{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpts_stand_around_the_word() {
        assert_eq!(excerpt("Où est\n l'ÉTÉ ?", "ete"), "Où est l'ÉTÉ ?");
        let long = format!("{} 注意力机制 {}", "甲".repeat(200), "乙".repeat(200));
        let found = excerpt(&long, "机制");
        assert!(found.starts_with('…') && found.ends_with('…') && found.contains("注意力机制"));
        assert_eq!(found.chars().count(), APP_EXCERPT_CHARS + 2);
        assert_eq!(excerpt("", "a"), "");
    }
}
