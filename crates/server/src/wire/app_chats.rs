//! Turns what the chat in the browser keeps, conversations and messages, into checked records.
//!
//! The fields are those of `web/src/lib/store/types.ts`, in its spelling.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::app_calls::{self, AppCall, CallState};
use super::app_files::{AppFile, AppPassage, take_files, take_sources};
use super::fields::{Fields, wrong_type};
use crate::errors::ApiError;
use crate::limits::{
    APP_FOLDER_BYTES_MAX, APP_SETTINGS_BYTES_MAX, APP_TEXT_BYTES_MAX, APP_TITLE_BYTES_MAX,
    ID_BYTES_MAX, SMALL_TEXT_BYTES_MAX,
};

/// Milliseconds since 1970, as all times of the chat: up to the year 10000.
const TIMES: std::ops::RangeInclusive<i64> = 0..=253_402_300_800_000;

/// A conversation, without its messages.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppChat {
    /// Its name, which the browser gave it.
    pub id: String,
    /// What lists show.
    pub title: String,
    /// Whether a person gave the title: then nothing else changes it.
    pub titled: bool,
    /// In milliseconds since 1970.
    pub created: i64,
    /// When something was last asked in it, in milliseconds since 1970.
    pub updated: i64,
    /// Whether it stands above the others.
    pub pinned: bool,
    /// Whether it is out of sight.
    pub archived: bool,
    /// The name of the folder it is in.
    pub folder: Option<String>,
    /// The model that it asks.
    pub model: Option<String>,
    /// Parameters by their names in the chat: numbers, texts, truths.
    #[schema(value_type = Object)]
    pub settings: Map<String, Value>,
    /// The message at which the shown path ends.
    pub leaf: Option<String>,
}

/// A node of a conversation's tree.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppMessage {
    /// Its name, unique in its conversation.
    pub id: String,
    /// The conversation's id.
    pub conversation: String,
    /// The message that it follows.
    pub parent: Option<String>,
    /// Who says it.
    pub role: Role,
    /// The text.
    pub content: String,
    /// Thoughts before it.
    pub reasoning: String,
    /// In milliseconds since 1970.
    pub created: i64,
    /// The model that answers.
    pub model: Option<String>,
    /// How far it is.
    pub status: Status,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// How it was made.
    pub measures: Option<Measures>,
    /// The seed that it was drawn with.
    pub seed: Option<i64>,
    /// The comparison that it is an answer of, until one of them is kept.
    #[serde(default)]
    pub comparison: Option<String>,
    /// The calls of tools in it, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<AppCall>,
    /// Files that came with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<AppFile>,
    /// Passages of large files that it was made with, as they were numbered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<AppPassage>,
}

/// Who says a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A person.
    User,
    /// A model.
    Assistant,
}

/// How far a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Its answer is on its way.
    Streaming,
    /// Whole.
    Done,
    /// A person stopped it.
    Stopped,
    /// It reached its limit of tokens.
    Length,
    /// It could not be made, or not to its end.
    Failed,
}

impl Status {
    /// As a row's state: only what is on its way is looked for by it.
    pub fn state(self) -> &'static str {
        match self {
            Status::Streaming => STREAMING,
            _ => "",
        }
    }
}

/// The state of rows whose answers are on their way.
pub const STREAMING: &str = "streaming";

/// Why an answer failed, told apart by what a person can do about it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// `unreachable`, `unauthorized`, `refused`, `server` or `broken`.
    pub kind: String,
    /// In words.
    pub message: String,
    /// The error's code.
    pub code: Option<String>,
}

/// How an answer was made and how long it took.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Measures {
    /// Tokens of the prompt.
    pub prompt_tokens: Option<u64>,
    /// Those of them that were found in the cache.
    pub cached_tokens: Option<u64>,
    /// Tokens of the answer.
    pub completion_tokens: Option<u64>,
    /// Time to the first token.
    pub first_token_ms: Option<f64>,
    /// Time spent on thoughts before the answer.
    pub thinking_ms: Option<f64>,
    /// Time of the whole answer.
    pub total_ms: Option<f64>,
}

/// What a request changes of a conversation: fields that are absent stay as they are, so that
/// devices which know different states do not undo each other's changes.
#[derive(Debug, Default, PartialEq)]
pub struct ChatChange {
    title: Option<String>,
    titled: Option<bool>,
    created: Option<i64>,
    updated: Option<i64>,
    pinned: Option<bool>,
    archived: Option<bool>,
    // Outer none: absent; inner none: null.
    folder: Option<Option<String>>,
    model: Option<Option<String>>,
    settings: Option<Map<String, Value>>,
    leaf: Option<Option<String>>,
}

impl ChatChange {
    /// Takes the fields of a conversation; its id must be that of the path, where there is one.
    ///
    /// # Errors
    /// 400 naming the field that is wrong or unknown.
    pub fn parse(mut fields: Fields<'_>, id: Option<&str>) -> Result<ChatChange, ApiError> {
        same(&mut fields, "id", id)?;
        let change = ChatChange {
            title: fields.string("title", APP_TITLE_BYTES_MAX)?,
            titled: fields.boolean("titled")?,
            created: fields.integer("created", TIMES)?,
            updated: fields.integer("updated", TIMES)?,
            pinned: fields.boolean("pinned")?,
            archived: fields.boolean("archived")?,
            folder: nullable(&mut fields, "folder", APP_FOLDER_BYTES_MAX)?,
            model: nullable(&mut fields, "model", SMALL_TEXT_BYTES_MAX)?,
            settings: settings(&mut fields)?,
            leaf: nullable(&mut fields, "leaf", ID_BYTES_MAX)?,
        };
        fields.none_left()?;
        Ok(change)
    }

    /// A title that no person gave.
    pub fn of_title(title: String) -> ChatChange {
        ChatChange { title: Some(title), ..ChatChange::default() }
    }

    /// The end of the shown path alone.
    pub fn of_leaf(leaf: Option<String>) -> ChatChange {
        ChatChange { leaf: leaf.map(Some), ..ChatChange::default() }
    }

    /// The message at which the shown path is to end, if that changes.
    pub fn leaf(&self) -> Option<&str> {
        self.leaf.as_ref()?.as_deref()
    }

    /// Writes the change on a conversation.
    pub fn apply(&self, chat: &mut AppChat) {
        fn put<T: Clone>(place: &mut T, value: &Option<T>) {
            if let Some(value) = value {
                place.clone_from(value);
            }
        }
        put(&mut chat.title, &self.title);
        put(&mut chat.titled, &self.titled);
        put(&mut chat.created, &self.created);
        put(&mut chat.pinned, &self.pinned);
        put(&mut chat.archived, &self.archived);
        put(&mut chat.folder, &self.folder);
        put(&mut chat.model, &self.model);
        put(&mut chat.settings, &self.settings);
        put(&mut chat.leaf, &self.leaf);
        // A device that slept does not make a conversation older than it is.
        chat.updated = chat.updated.max(self.updated.unwrap_or(0));
    }
}

impl AppMessage {
    /// A message of the conversation `chat`, or of one that gets its id later.
    ///
    /// # Errors
    /// 400 naming the field that is wrong, missing or unknown.
    pub fn parse(
        value: &RawValue,
        place: String,
        chat: Option<&str>,
    ) -> Result<AppMessage, ApiError> {
        let mut fields = Fields::of_value(value, place)?;
        same(&mut fields, "conversation", chat)?;
        let missing = |fields: &Fields<'_>, name: &str| ApiError::missing(&fields.name(name));
        let id = id(&mut fields, "id")?.ok_or_else(|| missing(&fields, "id"))?;
        let role = fields.take("role", "\"user\" or \"assistant\"")?;
        let status = fields
            .take("status", "\"streaming\", \"done\", \"stopped\", \"length\" or \"failed\"")?;
        let message = AppMessage {
            id,
            conversation: chat.unwrap_or_default().to_owned(),
            parent: self::id(&mut fields, "parent")?,
            role: role.ok_or_else(|| missing(&fields, "role"))?,
            content: fields.string("content", APP_TEXT_BYTES_MAX)?.unwrap_or_default(),
            reasoning: fields.string("reasoning", APP_TEXT_BYTES_MAX)?.unwrap_or_default(),
            created: fields
                .integer("created", TIMES)?
                .ok_or_else(|| missing(&fields, "created"))?,
            model: fields.string("model", SMALL_TEXT_BYTES_MAX)?,
            status: status.unwrap_or(Status::Done),
            failure: failure(&mut fields)?,
            measures: fields.take("measures", "an object of the chat's measures, or null")?,
            seed: fields.integer("seed", i64::MIN..=i64::MAX)?,
            comparison: self::id(&mut fields, "comparison")?,
            calls: app_calls::take(&mut fields)?,
            files: take_files(&mut fields)?,
            sources: take_sources(&mut fields)?,
        };
        if message.role == Role::User && message.status == Status::Streaming {
            let message = "A question is not on its way. Right would be \"done\".";
            return Err(ApiError::invalid(fields.name("status"), message));
        }
        fields.none_left()?;
        Ok(message)
    }

    /// Ends the calls that go on, as the answer does.
    pub fn stop_calls(&mut self) {
        for call in self.calls.iter_mut().filter(|call| !call.state.is_over()) {
            call.state = CallState::Stopped;
        }
    }
}

/// A text or null; absent is something else than null.
fn nullable(
    fields: &mut Fields<'_>,
    name: &str,
    bytes_max: usize,
) -> Result<Option<Option<String>>, ApiError> {
    match fields.peek(name) {
        None => Ok(None),
        Some(_) => fields.string(name, bytes_max).map(Some),
    }
}

/// A field that repeats what the path says.
fn same(fields: &mut Fields<'_>, name: &str, right: Option<&str>) -> Result<(), ApiError> {
    match (fields.string(name, ID_BYTES_MAX)?, right) {
        (Some(found), Some(right)) if found != right => {
            let name = fields.name(name);
            let message = format!("'{name}' is '{found}'. Right would be '{right}', as before it.");
            Err(ApiError::invalid(name, message))
        }
        _ => Ok(()),
    }
}

/// An id of letters that stand in every path.
pub fn id(fields: &mut Fields<'_>, name: &str) -> Result<Option<String>, ApiError> {
    let found = fields.string(name, ID_BYTES_MAX)?;
    match found {
        Some(text) if !is_id(&text) => {
            let name = fields.name(name);
            let message = format!(
                "'{name}' is no id. Right would be up to {ID_BYTES_MAX} ASCII letters, digits, '-' \
                 and '_'."
            );
            Err(ApiError::invalid(name, message))
        }
        found => Ok(found),
    }
}

/// Whether the chat could have given this id.
pub fn is_id(text: &str) -> bool {
    let right = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    (1..=ID_BYTES_MAX).contains(&text.len()) && text.bytes().all(right)
}

/// Parameters: the server keeps them for the chat and reads none.
fn settings(fields: &mut Fields<'_>) -> Result<Option<Map<String, Value>>, ApiError> {
    const NAME: &str = "settings";
    let Some(value) = fields.raw(NAME) else { return Ok(None) };
    let place = fields.name(NAME);
    if value.get().len() > APP_SETTINGS_BYTES_MAX {
        let message = format!(
            "'{place}' has {} bytes. Right would be at most {APP_SETTINGS_BYTES_MAX}.",
            value.get().len()
        );
        return Err(ApiError::invalid(place, message));
    }
    let map: Option<Map<String, Value>> = serde_json::from_str(value.get()).ok();
    let flat = |value: &Value| !value.is_object() && !value.is_array();
    match map {
        Some(map) if map.values().all(flat) => Ok(Some(map)),
        _ => Err(wrong_type(&place, "an object of numbers, texts and truths", value)),
    }
}

fn failure(fields: &mut Fields<'_>) -> Result<Option<Failure>, ApiError> {
    let failure: Option<Failure> =
        fields.take("failure", "an object of 'kind', 'message' and 'code', or null")?;
    let length =
        |it: &Failure| it.kind.len() + it.message.len() + it.code.as_ref().map_or(0, String::len);
    match failure {
        Some(failure) if length(&failure) > SMALL_TEXT_BYTES_MAX => {
            let name = fields.name("failure");
            let message = format!(
                "'{name}' has {} bytes. Right would be at most {SMALL_TEXT_BYTES_MAX}.",
                length(&failure)
            );
            Err(ApiError::invalid(name, message))
        }
        failure => Ok(failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(body: &str) -> Result<ChatChange, ApiError> {
        ChatChange::parse(Fields::of_body(body.as_bytes()).unwrap(), Some("c1"))
    }

    fn message(body: &str) -> Result<AppMessage, ApiError> {
        let value = RawValue::from_string(body.to_owned()).unwrap();
        AppMessage::parse(&value, "messages[0]".to_owned(), Some("c1"))
    }

    #[test]
    fn a_change_leaves_what_it_does_not_name() {
        let mut chat = AppChat {
            title: "old".into(),
            folder: Some("f".into()),
            updated: 9,
            ..AppChat::default()
        };
        change(r#"{"id":"c1","folder":null,"updated":5,"settings":{"seed":1}}"#)
            .unwrap()
            .apply(&mut chat);
        assert_eq!((chat.title.as_str(), chat.folder.clone(), chat.updated), ("old", None, 9));
        assert_eq!(chat.settings["seed"], 1);
        change(r#"{"title":"new"}"#).unwrap().apply(&mut chat);
        assert_eq!((chat.title.as_str(), chat.settings.len()), ("new", 1));
    }

    #[test]
    fn odd_fields_are_refused_by_name() {
        for (body, param) in [
            (r#"{"id":"c2"}"#.to_owned(), "id"),
            (r#"{"title":7}"#.to_owned(), "title"),
            (format!(r#"{{"title":"{}"}}"#, "x".repeat(APP_TITLE_BYTES_MAX + 1)), "title"),
            (r#"{"updated":-1}"#.to_owned(), "updated"),
            (r#"{"settings":{"a":[1]}}"#.to_owned(), "settings"),
            (r#"{"settings":[]}"#.to_owned(), "settings"),
            (r#"{"color":"red"}"#.to_owned(), "color"),
        ] {
            assert_eq!(change(&body).unwrap_err().param.as_deref(), Some(param), "{body}");
        }
        for (body, param) in [
            (r#"{"role":"user","created":1}"#, "messages[0].id"),
            (r#"{"id":"a b","role":"user","created":1}"#, "messages[0].id"),
            (r#"{"id":"a","role":"tool","created":1}"#, "messages[0].role"),
            (r#"{"id":"a","role":"user"}"#, "messages[0].created"),
            (
                r#"{"id":"a","role":"user","created":1,"conversation":"c2"}"#,
                "messages[0].conversation",
            ),
            (r#"{"id":"a","role":"user","created":1,"status":"gone"}"#, "messages[0].status"),
            (r#"{"id":"a","role":"user","created":1,"status":"streaming"}"#, "messages[0].status"),
            (r#"{"id":"a","role":"user","created":1,"measures":{"x":1}}"#, "messages[0].measures"),
            (r#"{"id":"a","role":"user","created":1,"failure":{"kind":1}}"#, "messages[0].failure"),
            (r#"{"id":"a","role":"user","created":1,"html":"x"}"#, "messages[0].html"),
        ] {
            assert_eq!(message(body).unwrap_err().param.as_deref(), Some(param), "{body}");
        }
        let least = message(r#"{"id":"a","role":"user","created":1}"#).unwrap();
        assert_eq!((least.status, least.conversation.as_str()), (Status::Done, "c1"));
    }
}
