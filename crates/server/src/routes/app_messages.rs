//! Turns `/app/chats/{id}/messages` into messages that are kept, and answers that go on by
//! themselves.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName};
use axum::response::Response;
use axum::{Extension, Json};
use myriad_store::Change;
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep};

use super::app_chats::{WHAT, room};
use super::documents::Ids;
use crate::answers::run::{End, Run, follow};
use crate::app::App;
use crate::attached::prompt;
use crate::chats::answer::ending;
use crate::chats::rows;
use crate::chats::runs::Job;
use crate::errors::ApiError;
use crate::layers::upload::Upload;
use crate::limits::{APP_LOOK_EVERY, APP_LOST_AFTER, APP_MESSAGES_AT_ONCE, APP_TOOLS_MAX};
use crate::storage::Owner;
use crate::wire::app_chats::{
    AppChat, AppMessage, ChatChange, Measures, Role, Status, id as id_of,
};
use crate::wire::fields::Fields;
use crate::wire::query::Parameters;

/// What the chat's requests have beside those of others.
const TOOLS: &str = "app_tools";

const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");

/// Writes messages in a conversation that is there, and where its shown path ends.
pub async fn put(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    Extension(upload): Extension<Upload>,
    Ids(id): Ids<String>,
) -> Result<Json<AppChat>, ApiError> {
    let storage = app.storage(WHAT)?;
    rows::chat(storage, &owner, &id).await?;
    let sent = upload.read(&app.large_bodies).await?;
    let _room = room(&app, storage, &owner, sent.len()).await?;
    let mut fields = Fields::of_body(&sent)?;
    let values = fields.list("messages", APP_MESSAGES_AT_ONCE)?;
    let values = values.ok_or_else(|| ApiError::missing("messages"))?;
    let leaf = id_of(&mut fields, "leaf")?;
    fields.none_left()?;
    let read = |(index, value)| AppMessage::parse(value, format!("messages[{index}]"), Some(&id));
    let messages: Result<Vec<AppMessage>, _> = values.into_iter().enumerate().map(read).collect();
    let wish = ChatChange::of_leaf(leaf);
    Ok(Json(rows::write(&app, &owner, &id, &wish, &messages?, false).await?))
}

/// Answers into a message, and follows the answer; one that is on its way already is followed.
pub async fn run(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    Extension(upload): Extension<Upload>,
    Ids((chat, id)): Ids<(String, String)>,
) -> Result<Response, ApiError> {
    let storage = app.storage(WHAT)?;
    let (document, message) = rows::message(storage, &owner, &chat, &id).await?;
    let sent = upload.read(&app.large_bodies).await?;
    let (mut request, tools) = request(&sent)?;
    if !tools.is_empty() && app.config.tools.is_empty() {
        let message = "This server has no tools: its operator configures them (--tools).";
        return Err(ApiError::unsupported(TOOLS, message));
    }
    let files = prompt::take(&mut request)?;
    let unfinished = matches!(message.status, Status::Streaming | Status::Failed);
    if message.role != Role::Assistant || !unfinished {
        let message = format!(
            "Message '{id}' is whole. Right would be one of the role 'assistant' whose status is \
             'streaming' or 'failed'."
        );
        return Err(ApiError::conflict("conflict", message));
    }
    let message = begun(message, &request);
    let run = Run::new(&document.id, owner, true);
    let run = app.runs.begin(Job { run, chat, document, message, request, tools, files })?;
    Ok(follow(run, 0, app.config.keep_alive, None))
}

/// An answer on its way, from an event on, or how it has ended.
pub async fn follow_run(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    headers: HeaderMap,
    Ids((chat, id)): Ids<(String, String)>,
    mut parameters: Parameters,
) -> Result<Response, ApiError> {
    let after = parameters.integer("after", 0..=i64::from(u32::MAX))?;
    parameters.none_left()?;
    let seen = headers.get(LAST_EVENT).and_then(|id| id.to_str().ok()?.parse::<u32>().ok());
    let storage = app.storage(WHAT)?;
    let (mut document, mut message) = rows::message(storage, &owner, &chat, &id).await?;
    let from = after.or(seen.map(i64::from)).map_or(0, |last| last as usize + 1);
    let mut changed = Instant::now();
    loop {
        if let Some(run) = app.runs.find(&owner, &document.id) {
            return Ok(follow(run, from, app.config.keep_alive, None));
        }
        // One that is not on its way here ends in its row: it may be another server's, or this one
        // may have begun a moment ago, and not have marked it yet as broken off.
        if message.status != Status::Streaming || changed.elapsed() > APP_LOST_AFTER {
            break;
        }
        sleep(APP_LOOK_EVERY).await;
        let before = document.revision;
        (document, message) = rows::message(storage, &owner, &chat, &id).await?;
        if document.revision != before {
            changed = Instant::now();
        }
    }
    let run = Run::new(&document.id, owner, true);
    run.push_data(&ending(&message));
    run.end(End::Gone);
    Ok(follow(run, 0, app.config.keep_alive, None))
}

/// Stops an answer at once; what comes back is the message as it is kept.
pub async fn stop_run(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    Ids((chat, id)): Ids<(String, String)>,
) -> Result<Json<AppMessage>, ApiError> {
    let storage = app.storage(WHAT)?;
    let (document, mut message) = rows::message(storage, &owner, &chat, &id).await?;
    if let Some(run) = app.runs.find(&owner, &document.id) {
        run.cancel();
        run.wait().await;
        return Ok(Json(rows::message(storage, &owner, &chat, &id).await?.1));
    }
    if message.status == Status::Streaming {
        // Its question is still on its way here, and will find that nobody wants it.
        message.status = Status::Stopped;
        message.stop_calls();
        let document = rows::message_with(document, &message);
        let change = Change::new().update(document.clone());
        storage.store.commit(rows::indexed(change, &document, &message)).await?;
    }
    Ok(Json(message))
}

/// The message before anything is answered.
fn begun(message: AppMessage, request: &Map<String, Value>) -> AppMessage {
    let model = request.get("model").and_then(Value::as_str).map(str::to_owned);
    AppMessage {
        content: String::new(),
        reasoning: String::new(),
        model: model.or(message.model),
        status: Status::Streaming,
        failure: None,
        calls: Vec::new(),
        measures: None::<Measures>,
        sources: Vec::new(),
        seed: request.get("seed").and_then(Value::as_i64).or(message.seed),
        ..message
    }
}

/// A request for a chat completion, which the server streams to itself, and the names of tools
/// that the model may call. All else of it is read where it is answered, and what is wrong with it
/// is the answer's failure.
fn request(sent: &[u8]) -> Result<(Map<String, Value>, Vec<String>), ApiError> {
    // Its depth is checked before anything recurses on it.
    let mut fields = Fields::of_body(sent)?;
    if fields.peek("messages").is_none() {
        return Err(ApiError::missing("messages"));
    }
    if fields.peek("n").is_some_and(|n| !["1", "null"].contains(&n.get())) {
        let message = "A message has one answer. Right would be 1.";
        return Err(ApiError::unsupported("n", message));
    }
    let tools: Vec<String> = fields.take(TOOLS, "an array of names")?.unwrap_or_default();
    if tools.len() > APP_TOOLS_MAX {
        let message = format!("'{TOOLS}' has too many elements: at most {APP_TOOLS_MAX}.");
        return Err(ApiError::invalid(TOOLS, message));
    }
    if !tools.is_empty() && fields.peek("tools").is_some() {
        let message = format!("'tools' and '{TOOLS}' exclude each other.");
        return Err(ApiError::invalid("tools", message));
    }
    let mut request: Map<String, Value> = serde_json::from_slice(sent)
        .map_err(|_| ApiError::bad_request("The request body is not a JSON object."))?;
    request.remove(TOOLS);
    request.insert("stream".to_owned(), true.into());
    request.insert("stream_options".to_owned(), serde_json::json!({ "include_usage": true }));
    Ok((request, tools))
}
