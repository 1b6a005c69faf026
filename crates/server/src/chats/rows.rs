//! Turns conversations and their messages into rows, and changes of them into transactions.
//!
//! Ids come from browsers, so they are unique for their owner alone: a row's name begins with the
//! owner's, and what others called theirs is in nobody's way.

use myriad_store::{Change, Document, Kind, StoreError};
use serde::Serialize;

use crate::app::App;
use crate::attached;
use crate::errors::ApiError;
use crate::limits::APPEND_TRIES;
use crate::routes::documents::body;
use crate::storage::{Owner, Storage, position, positions};
use crate::wire::app_chats::{AppChat, AppMessage, ChatChange, Status, is_id};

/// The name of a conversation's row. No id has a colon, so no two rows have one name.
pub fn chat_row(owner: &Owner, chat: &str) -> String {
    format!("{}:{chat}", owner.as_str())
}

/// The name of a message's row.
pub fn message_row(owner: &Owner, chat: &str, message: &str) -> String {
    format!("{}:{chat}:{message}", owner.as_str())
}

/// A conversation of this owner's.
///
/// # Errors
/// 404.
pub async fn chat(
    storage: &Storage,
    owner: &Owner,
    id: &str,
) -> Result<(Document, AppChat), ApiError> {
    let none = || ApiError::not_found("conversation", id);
    if !is_id(id) {
        return Err(none());
    }
    let row = chat_row(owner, id);
    let found = storage.store.document(Kind::AppChat, owner.as_str(), &row).await?;
    let document = found.ok_or_else(none)?;
    let chat = body(&document)?;
    Ok((document, chat))
}

/// A message of a conversation.
///
/// # Errors
/// 404.
pub async fn message(
    storage: &Storage,
    owner: &Owner,
    chat: &str,
    id: &str,
) -> Result<(Document, AppMessage), ApiError> {
    let none = || ApiError::not_found("message", id);
    if !is_id(chat) || !is_id(id) {
        return Err(none());
    }
    let document = message_document(storage, owner, chat, id).await?.ok_or_else(none)?;
    let message = body(&document)?;
    Ok((document, message))
}

async fn message_document(
    storage: &Storage,
    owner: &Owner,
    chat: &str,
    id: &str,
) -> Result<Option<Document>, StoreError> {
    let row = message_row(owner, chat, id);
    storage.store.document(Kind::AppMessage, owner.as_str(), &row).await
}

/// Deletes a conversation with its messages, links and files, and stops its answers.
///
/// # Errors
/// Where the store fails.
pub async fn remove(
    app: &App,
    storage: &Storage,
    owner: &Owner,
    document: &Document,
) -> Result<(), ApiError> {
    let files = attached::rows::of_chat(storage, owner, &document.id).await?;
    match storage.delete(document).await {
        // Somebody else was quicker: gone is gone.
        Ok(()) | Err(StoreError::Conflict(_)) => {}
        Err(error) => return Err(error.into()),
    }
    attached::rows::release(storage, owner, &files).await?;
    // Answers on their way end: there is nothing that they could be written into.
    app.runs.stop_all(&format!("{}:", document.id));
    app.runs.permissions.forget(&document.id);
    Ok(())
}

/// Changes a conversation, which is made where it is not there and `makes` says so, and writes
/// messages in it.
///
/// # Errors
/// 404 without the conversation, 400 for a parent or a leaf that is not in it, 409 for a message
/// that is whole, or where others change the same conversation all the time.
pub async fn write(
    app: &App,
    owner: &Owner,
    id: &str,
    wish: &ChatChange,
    messages: &[AppMessage],
    makes: bool,
) -> Result<AppChat, ApiError> {
    let storage = app.storage("chats")?;
    let mut tries = 0;
    loop {
        // The conversation is written over even where only messages come: one that is deleted
        // meanwhile gets none.
        let (change, chat) = with_chat(storage, owner, id, wish, messages, makes).await?;
        let change = with_messages(app, change, owner, id, messages).await?;
        let files = messages.iter().flat_map(|message| &message.files);
        let row = chat_row(owner, id);
        let change = attached::rows::with_uses(storage, change, owner, &row, files).await?;
        match storage.store.commit(change).await {
            Err(StoreError::Conflict(_)) if tries < APPEND_TRIES => tries += 1,
            done => {
                done?;
                return Ok(chat);
            }
        }
    }
}

async fn with_chat(
    storage: &Storage,
    owner: &Owner,
    id: &str,
    wish: &ChatChange,
    messages: &[AppMessage],
    makes: bool,
) -> Result<(Change, AppChat), ApiError> {
    let known = match chat(storage, owner, id).await {
        Ok(known) => Some(known),
        Err(error) if error.status != 404 || !makes => return Err(error),
        Err(_) => None,
    };
    if let Some(leaf) = wish.leaf()
        && !messages.iter().any(|message| message.id == leaf)
        && message_document(storage, owner, id, leaf).await?.is_none()
    {
        return Err(not_in_it("leaf", leaf));
    }
    let fresh = known.is_none();
    let (document, before) = known.unwrap_or_else(|| (new_chat(owner, id), AppChat::default()));
    let mut chat = AppChat { id: id.to_owned(), ..before.clone() };
    wish.apply(&mut chat);
    // Lists have what changed last first.
    let document = Document { position: position(), ..with_body(document, &chat) };
    let renamed = fresh || before.title != chat.title;
    let change = match fresh {
        true => Change::new().insert(document.clone()),
        false => Change::new().update(document.clone()),
    };
    Ok((if renamed { change.index(&document, &chat.title) } else { change }, chat))
}

async fn with_messages(
    app: &App,
    mut change: Change,
    owner: &Owner,
    chat: &str,
    messages: &[AppMessage],
) -> Result<Change, ApiError> {
    let storage = app.storage("chats")?;
    for ((index, message), place) in messages.iter().enumerate().zip(positions(messages.len())..) {
        let known = message_document(storage, owner, chat, &message.id).await?;
        if let Some(document) = known {
            let before: AppMessage = body(&document)?;
            if before == *message {
                continue;
            }
            check_unfinished(app, owner, &document, &before, message)?;
            let document = message_with(document, message);
            change = indexed(change.update(document.clone()), &document, message);
            continue;
        }
        if let Some(parent) = &message.parent
            && !messages[..index].iter().any(|earlier| earlier.id == *parent)
            && message_document(storage, owner, chat, parent).await?.is_none()
        {
            return Err(not_in_it(&format!("messages[{index}].parent"), parent));
        }
        let document = new_message(owner, chat, message, place);
        change = indexed(change.insert(document.clone()), &document, message);
    }
    Ok(change)
}

/// What was said stays said: only an answer that is not there yet is written over, and not by a
/// browser while the server writes it.
fn check_unfinished(
    app: &App,
    owner: &Owner,
    document: &Document,
    before: &AppMessage,
    after: &AppMessage,
) -> Result<(), ApiError> {
    // What is compared is known until one of the answers is kept.
    let comparison = after.comparison.clone();
    if (AppMessage { comparison, ..before.clone() }) == *after {
        return Ok(());
    }
    let unfinished = matches!(before.status, Status::Streaming | Status::Failed);
    let same = (&before.parent, before.role) == (&after.parent, after.role);
    if unfinished && same && !app.runs.is_running(owner, &document.id) {
        return Ok(());
    }
    let message = format!(
        "Message '{}' is there already, and is never changed. Right would be another one, with an \
         id of its own.",
        after.id
    );
    Err(ApiError::conflict("conflict", message))
}

fn not_in_it(param: &str, id: &str) -> ApiError {
    let message =
        format!("'{param}' is '{id}'. Right would be an earlier message of the conversation.");
    ApiError::invalid(param, message)
}

/// The row of a new conversation.
pub fn new_chat(owner: &Owner, id: &str) -> Document {
    Document::new(Kind::AppChat, owner.as_str(), chat_row(owner, id), position())
}

/// The row of a new message.
pub fn new_message(owner: &Owner, chat: &str, message: &AppMessage, position: i64) -> Document {
    let row = message_row(owner, chat, &message.id);
    let document = Document::new(Kind::AppMessage, owner.as_str(), row, position);
    message_with(Document { parent: chat_row(owner, chat), ..document }, message)
}

/// A message's row with what the message is now.
pub fn message_with(document: Document, message: &AppMessage) -> Document {
    Document { state: message.status.state().to_owned(), ..with_body(document, message) }
}

/// A row that has this as its body, and counts its bytes for its owner.
pub fn with_body<T: Serialize>(document: Document, value: &T) -> Document {
    // Our own types have no maps with odd keys: they serialise.
    let body = serde_json::to_string(value).unwrap_or_default();
    Document { bytes: body.len() as i64, body, ..document }
}

/// Makes a message found by its text, once it is whole.
pub fn indexed(change: Change, document: &Document, message: &AppMessage) -> Change {
    match message.status {
        Status::Streaming => change,
        _ => change.index(document, &message.content),
    }
}
