//! Turns chats that are to be kept into the JSON under which they are found again.

use myriad_token::Message;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::fields::Fields;
use super::metadata;
use crate::errors::ApiError;

/// What is kept of a chat besides its answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoredChat {
    /// What the client wrote on it.
    pub metadata: Map<String, Value>,
    /// The messages as they came, but for [`StoredChat::messages`].
    messages: Vec<Map<String, Value>>,
}

impl StoredChat {
    /// Takes `store`, and `metadata` with it; without a store it only informs the operator.
    ///
    /// # Errors
    /// 400 naming the field that is wrong.
    pub fn take(fields: &mut Fields<'_>) -> Result<Option<StoredChat>, ApiError> {
        if !fields.boolean("store")?.unwrap_or(false) {
            return Ok(None);
        }
        let metadata = metadata::take(fields)?;
        Ok(Some(StoredChat { metadata, messages: Vec::new() }))
    }

    /// Adds the messages: as they came, and as they were read.
    pub fn add(&mut self, raw: &RawValue, read: &[Message]) {
        let came: Vec<Map<String, Value>> = serde_json::from_str(raw.get()).unwrap_or_default();
        self.messages = came.into_iter().zip(read).map(|(came, read)| shown(came, read)).collect();
    }

    /// The messages with their ids, which follow from the chat's.
    pub fn messages(&self, chat: &str) -> Vec<(String, Value)> {
        let numbered = self.messages.iter().enumerate().map(|(at, message)| {
            let id = format!("{chat}-{at}");
            let mut shown = Map::from_iter([("id".to_owned(), Value::from(id.as_str()))]);
            shown.extend(message.clone());
            (id, shown.into())
        });
        numbered.collect()
    }
}

/// A message in the shape of answers: text is one text, and parts stand beside it.
fn shown(mut came: Map<String, Value>, read: &Message) -> Map<String, Value> {
    let content = came.remove("content").unwrap_or_default();
    let text = if content.is_null() { Value::Null } else { read.content.as_str().into() };
    let parts = if content.is_array() { content } else { Value::Null };
    let usual = json!({
        "role": read.role, "content": text, "refusal": null, "name": null, "content_parts": parts,
    });
    let mut message = Map::new();
    message.extend(usual.as_object().cloned().unwrap_or_default());
    message.extend(came);
    message
}
