//! Turns conversations with all their messages into streams of JSON, and lines of JSON back.
//!
//! No conversation is whole in memory on its way out: rows are joined as they are read. On its way
//! in one line is, which is checked before any of it is kept.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use myriad_extract::Text;
use myriad_store::{Change, Document, Kind, Query, StoreError};
use serde::Deserialize;
use serde_json::{Value, json};

use super::rows;
use crate::attached;
use crate::errors::ApiError;
use crate::limits::{APP_MESSAGES_PAGE, APP_RECORD_MESSAGES_MAX, FILE_NAME_BYTES_MAX};
use crate::random;
use crate::storage::{Owner, Storage, positions};
use crate::wire::app_chats::{AppChat, AppMessage, ChatChange, Status};
use crate::wire::app_files::AppFile;
use crate::wire::fields::Fields;

/// `{"conversation": …, "messages": […]}`, piece by piece; for other servers with the texts of its
/// files, too.
pub fn record(
    storage: Arc<Storage>,
    chat: Document,
    with_files: bool,
) -> impl Stream<Item = Result<Bytes, StoreError>> + Send {
    let head = format!("{{\"conversation\":{},\"messages\":[", chat.body);
    let files = stream::once(files(Arc::clone(&storage), chat.clone())).try_flatten();
    let files = stream::iter(with_files.then_some(files)).flatten();
    let first = Messages { storage, chat, after: None, begun: false };
    let messages = stream::try_unfold(Some(first), |state| async move {
        match state {
            Some(messages) => messages.page().await,
            None => Ok(None),
        }
    });
    let piece = |text: &'static [u8]| stream::iter([Ok(Bytes::from_static(text))]);
    let messages = stream::iter([Ok(Bytes::from(head))]).chain(messages).chain(piece(b"]"));
    messages.chain(files).chain(piece(b"}"))
}

/// `,"files":[…]`, one at a time; none where the conversation has none.
async fn files(
    storage: Arc<Storage>,
    chat: Document,
) -> Result<impl Stream<Item = Result<Bytes, StoreError>> + Send, StoreError> {
    let owner = Owner::from(&chat);
    let ids = attached::rows::of_chat(&storage, &owner, &chat.id).await?;
    let count = ids.len();
    Ok(stream::iter(ids.into_iter().enumerate()).then(move |(index, id)| {
        let (storage, owner) = (Arc::clone(&storage), owner.clone());
        async move {
            let before = if index == 0 { ",\"files\":[" } else { "," };
            // One that was deleted meanwhile, or cannot be read, stays a name.
            let file = match attached::rows::load(&storage, &owner, &id).await {
                Ok(loaded) => json!({ "about": loaded.about, "text": loaded.text.pages }),
                Err(_) => Value::Null,
            };
            let after = if index + 1 == count { "]" } else { "" };
            Ok(Bytes::from(format!("{before}{file}{after}")))
        }
    }))
}

/// Where the messages of a conversation have been read to.
struct Messages {
    storage: Arc<Storage>,
    chat: Document,
    after: Option<String>,
    begun: bool,
}

impl Messages {
    async fn page(mut self) -> Result<Option<(Bytes, Option<Messages>)>, StoreError> {
        let after = self.after.take();
        let kind = Kind::AppMessage;
        let page =
            self.storage.parts(kind, &self.chat, after.as_deref(), APP_MESSAGES_PAGE).await?;
        let Some(last) = page.last() else { return Ok(None) };
        self.after = Some(last.id.clone());
        let bodies: Vec<&str> = page.iter().map(|document| document.body.as_str()).collect();
        let comma = if self.begun { "," } else { "" };
        let piece = Bytes::from(format!("{comma}{}", bodies.join(",")));
        self.begun = true;
        let more = page.len() == APP_MESSAGES_PAGE;
        Ok(Some((piece, more.then_some(self))))
    }
}

/// All conversations of an owner, one on a line, those that were changed first first.
pub fn all(
    storage: Arc<Storage>,
    owner: Owner,
) -> impl Stream<Item = Result<Bytes, StoreError>> + Send {
    let pages = stream::try_unfold((storage, owner, Some(None)), |state| async move {
        let (storage, owner, after): (Arc<Storage>, Owner, Option<Option<String>>) = state;
        let Some(after) = after else { return Ok::<_, StoreError>(None) };
        let query = Query::of(Kind::AppChat, owner.as_str());
        let query = Query { after: after.as_deref(), limit: APP_MESSAGES_PAGE, ..query };
        let Some(page) = storage.store.list(&query).await? else { return Ok(None) };
        let last = page.documents.last().map(|document| document.id.clone());
        let next = last.filter(|_| page.more).map(Some);
        let chats = page.documents.into_iter().map(|chat| {
            let line = stream::iter([Ok(Bytes::from_static(b"\n"))]);
            record(Arc::clone(&storage), chat, true).chain(line)
        });
        let records = stream::iter(chats.collect::<Vec<_>>()).flatten();
        Ok(Some((records, (storage, owner, next))))
    });
    pages.try_flatten()
}

/// What an import adds.
pub struct Imported {
    /// Keeps the conversation and its messages.
    pub change: Change,
    /// The name of the conversation's row.
    pub chat_row: String,
    /// Files with their texts.
    pub files: Vec<(AppFile, Text)>,
    /// Bytes of all of it.
    pub bytes: usize,
}

/// A conversation as another server, or this one, wrote it: under fresh ids, so that none that is
/// there is written over.
///
/// # Errors
/// 400 naming the field that is wrong.
pub fn imported(line: &[u8], owner: &Owner) -> Result<Imported, ApiError> {
    let mut fields = Fields::of_body(line)?;
    let about = fields.raw("conversation").ok_or_else(|| ApiError::missing("conversation"))?;
    let sent = fields.list("messages", APP_RECORD_MESSAGES_MAX)?;
    let files = imported_files(&mut fields)?;
    fields.none_left()?;
    let wish = ChatChange::parse(Fields::of_value(about, "conversation".to_owned())?, None)?;
    let mut chat = AppChat::default();
    wish.apply(&mut chat);
    chat.id = random::identifier("");
    let mut ids = HashMap::new();
    let mut messages = Vec::new();
    for (index, value) in sent.unwrap_or_default().into_iter().enumerate() {
        let place = format!("messages[{index}]");
        let mut message = AppMessage::parse(value, place.clone(), None)?;
        message.conversation.clone_from(&chat.id);
        rename_files(&mut message, &files);
        if let Some(parent) = message.parent.take() {
            // Parents stand before their children, so that a tree has no circles.
            let known = ids.get(&parent).cloned();
            message.parent = Some(known.ok_or_else(|| no_parent(&place, &parent))?);
        }
        if message.status == Status::Streaming {
            message.status = Status::Stopped;
        }
        let fresh = random::identifier("");
        if ids.insert(std::mem::replace(&mut message.id, fresh.clone()), fresh).is_some() {
            let message = format!("'{place}.id' is there twice. Right would be an id of its own.");
            return Err(ApiError::invalid(format!("{place}.id"), message));
        }
        messages.push(message);
    }
    let last = messages.last().map(|message: &AppMessage| message.id.clone());
    chat.leaf = chat.leaf.and_then(|leaf| ids.get(&leaf).cloned()).or(last);
    let (change, messages_bytes) = kept(owner, &chat, &messages);
    let texts = files.values().flat_map(|(_, text)| &text.pages);
    let bytes = messages_bytes + texts.map(String::len).sum::<usize>();
    let chat_row = rows::chat_row(owner, &chat.id);
    Ok(Imported { change, chat_row, files: files.into_values().collect(), bytes })
}

/// Files by the ids that they had, under those that they get.
type Files = HashMap<String, (AppFile, Text)>;

fn imported_files(fields: &mut Fields<'_>) -> Result<Files, ApiError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sent {
        about: AppFile,
        text: Vec<String>,
    }
    let right = "a list of files: objects of 'about' and 'text', or nulls";
    let sent: Option<Vec<Option<Sent>>> = fields.take("files", right)?;
    let sent: Vec<Sent> = sent.unwrap_or_default().into_iter().flatten().collect();
    if sent.iter().any(|file| file.about.name.len() > FILE_NAME_BYTES_MAX) {
        let message = format!("A name is too long. Right would be {FILE_NAME_BYTES_MAX} bytes.");
        return Err(ApiError::invalid("files", message));
    }
    let file = |Sent { about, text }: Sent| {
        let (kind, language) = (about.kind, about.language.clone());
        let fresh = AppFile { id: random::identifier("file-"), ..about.clone() };
        (about.id, (fresh, Text { kind, language, pages: text }))
    };
    Ok(sent.into_iter().map(file).collect())
}

/// Names of files that came along become those that they have here; others stay names alone.
fn rename_files(message: &mut AppMessage, files: &Files) {
    let fresh =
        |id: &str| files.get(id).map_or_else(|| random::identifier("file-"), |it| it.0.id.clone());
    for file in &mut message.files {
        file.id = fresh(&file.id);
    }
    for source in &mut message.sources {
        source.file = fresh(&source.file);
    }
}

fn kept(owner: &Owner, chat: &AppChat, messages: &[AppMessage]) -> (Change, usize) {
    let document = rows::with_body(rows::new_chat(owner, &chat.id), chat);
    let mut bytes = document.body.len();
    let mut change = Change::new().insert(document.clone()).index(&document, &chat.title);
    for (message, position) in messages.iter().zip(positions(messages.len())..) {
        let document = rows::new_message(owner, &chat.id, message, position);
        bytes += document.body.len();
        change = rows::indexed(change.insert(document.clone()), &document, message);
    }
    (change, bytes)
}

fn no_parent(place: &str, parent: &str) -> ApiError {
    let message =
        format!("'{place}.parent' is '{parent}'. Right would be the id of an earlier message.");
    ApiError::invalid(format!("{place}.parent"), message)
}
