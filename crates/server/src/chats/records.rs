//! Turns conversations with all their messages into streams of JSON, and lines of JSON back.
//!
//! No conversation is whole in memory on its way out: rows are joined as they are read. On its way
//! in one line is, which is checked before any of it is kept.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use myriad_store::{Change, Document, Kind, Query, StoreError};

use super::rows;
use crate::errors::ApiError;
use crate::limits::{APP_MESSAGES_PAGE, APP_RECORD_MESSAGES_MAX};
use crate::random;
use crate::storage::{Owner, Storage, positions};
use crate::wire::app_chats::{AppChat, AppMessage, ChatChange, Status};
use crate::wire::fields::Fields;

/// `{"conversation": …, "messages": […]}`, piece by piece.
pub fn record(
    storage: Arc<Storage>,
    chat: Document,
) -> impl Stream<Item = Result<Bytes, StoreError>> + Send {
    let head = format!("{{\"conversation\":{},\"messages\":[", chat.body);
    let first = Messages { storage, chat, after: None, begun: false };
    let messages = stream::try_unfold(Some(first), |state| async move {
        match state {
            Some(messages) => messages.page().await,
            None => Ok(None),
        }
    });
    let piece = |text: &'static [u8]| stream::iter([Ok(Bytes::from_static(text))]);
    stream::iter([Ok(Bytes::from(head))]).chain(messages).chain(piece(b"]}"))
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
            record(Arc::clone(&storage), chat).chain(line)
        });
        let records = stream::iter(chats.collect::<Vec<_>>()).flatten();
        Ok(Some((records, (storage, owner, next))))
    });
    pages.try_flatten()
}

/// A conversation as another server, or this one, wrote it: under fresh ids, so that none that is
/// there is written over. Returns what keeps it, and how many bytes that is.
///
/// # Errors
/// 400 naming the field that is wrong.
pub fn imported(line: &[u8], owner: &Owner) -> Result<(Change, usize), ApiError> {
    let mut fields = Fields::of_body(line)?;
    let about = fields.raw("conversation").ok_or_else(|| ApiError::missing("conversation"))?;
    let sent = fields.list("messages", APP_RECORD_MESSAGES_MAX)?;
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
    Ok(kept(owner, &chat, &messages))
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
