//! Turns Ollama's `/api/chat` and `/api/generate` into generations, and events into lines of JSON.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::Bytes;
use myriad_token::{AnswerEvent, Specials};
use serde_json::{Value, json};

use super::prompt::{PARAM, Prompt, check_length, encode};
use crate::answers::choices::Choices;
use crate::answers::stream::{self, Pieces, line};
use crate::answers::waiting::{self, Tongue};
use crate::app::{App, timestamp};
use crate::catalogue::{Lease, Purpose};
use crate::errors::ApiError;
use crate::layers::dialect;
use crate::layers::ticket::Ticket;
use crate::layers::upload::{Held, Upload};
use crate::runtime::{Finish, GenerateRequest, Runtime, TextEvent};
use crate::wire::ollama::{Input, OllamaRequest};
use crate::wire::usage::Usage;

type Parse = fn(&[u8], usize) -> Result<OllamaRequest, ApiError>;

/// The handler of `/api/chat`.
pub async fn chat(
    State(app): State<Arc<App>>,
    Extension(upload): Extension<Upload>,
    ticket: Ticket,
) -> Result<Response, ApiError> {
    answer(app, upload, ticket, OllamaRequest::chat, Shape::Chat).await
}

/// The handler of `/api/generate`.
pub async fn generate(
    State(app): State<Arc<App>>,
    Extension(upload): Extension<Upload>,
    ticket: Ticket,
) -> Result<Response, ApiError> {
    answer(app, upload, ticket, OllamaRequest::generate, Shape::Generate).await
}

async fn answer(
    app: Arc<App>,
    upload: Upload,
    ticket: Ticket,
    parse: Parse,
    shape: Shape,
) -> Result<Response, ApiError> {
    let since = Instant::now();
    let body = upload.read(&app.large_bodies).await?;
    let (body, named) = app.named(body).await?;
    let name = named.model.map(|model| meant(&app, model));
    let asked = app.ask(name.as_deref(), Purpose::Answers).await?;
    let tongue = named.stream.unwrap_or(true).then(|| {
        let writer = Writer::new(name.as_deref().unwrap_or_default(), shape, since);
        Tongue {
            content_type: Writer::CONTENT_TYPE,
            alive: Box::new(move || writer.nothing()),
            failed: Box::new(|error| line(&dialect::ollama(error))),
        }
    });
    let asks = Asks { parse, shape, since };
    let work = {
        let app = Arc::clone(&app);
        move |lease| answered(app, lease, body, ticket, asks)
    };
    waiting::answer(&app, asked, tongue, work).await
}

/// Which of the two endpoints is asked, and since when.
struct Asks {
    parse: Parse,
    shape: Shape,
    since: Instant,
}

async fn answered(
    app: Arc<App>,
    lease: Lease,
    body: Held,
    ticket: Ticket,
    asks: Asks,
) -> Result<Response, ApiError> {
    let (model, parse) = (lease.clone(), asks.parse);
    let (request, prompt) = app.blocking(move |_| prepare(&model, &body, parse)).await?;
    let mut writer = Writer::new(lease.name(), asks.shape, asks.since);
    let Some(prompt) = prompt else { return Ok(Json(writer.loaded()).into_response()) };
    let generate = GenerateRequest {
        prompt: prompt.ids,
        max_tokens: request.max_tokens,
        parsing: prompt.parsing,
        rules: prompt.rules,
        ..request.generation.request_of(0)
    };
    let choices = Choices::start(&lease, vec![generate], 1, PARAM, &ticket).await?;
    if request.generation.stream {
        return Ok(stream::respond(app, choices, writer));
    }
    Ok(Json(writer.whole(choices).await?).into_response())
}

/// The request and its prompt; none where the model is only to be loaded.
fn prepare(
    runtime: &Runtime,
    body: &[u8],
    parse: Parse,
) -> Result<(OllamaRequest, Option<Prompt>), ApiError> {
    let request = parse(body, runtime.tokenizer().vocab_size())?;
    let mut prompt = match &request.input {
        None => return Ok((request, None)),
        Some(Input::Chat(chat)) => encode(runtime, chat)?,
        Some(Input::Raw(text)) => {
            Prompt::raw(runtime.tokenizer().encode_prompt(text, Specials::Parse))
        }
    };
    check_length(runtime, prompt.ids.len(), request.max_tokens, PARAM)?;
    match &request.input {
        Some(Input::Chat(chat)) => prompt.hold(runtime, chat, &request.response_format)?,
        _ => prompt.hold_text(runtime, &request.response_format)?,
    }
    Ok((request, Some(prompt)))
}

/// The model that a client means: as it says, or without the tag.
pub fn meant(app: &App, model: String) -> String {
    if app.has(&model) { model } else { untagged(&model).to_owned() }
}

/// Ollama's clients put a tag behind names that have none.
pub fn untagged(model: &str) -> &str {
    model.strip_suffix(":latest").unwrap_or(model)
}

/// How an answer is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// A `message`.
    Chat,
    /// A `response`.
    Generate,
}

/// Writes one answer, whole or in lines.
struct Writer {
    model: String,
    shape: Shape,
    since: Instant,
    /// When the engine began, and when the first token came.
    started: Option<Instant>,
    first: Option<Instant>,
    /// The call that is being written: name and arguments.
    call: Option<(usize, String, String)>,
    done_reason: &'static str,
}

/// What an event adds.
#[derive(Default)]
struct Piece {
    text: String,
    thinking: String,
    calls: Vec<Value>,
}

impl Piece {
    fn is_empty(&self) -> bool {
        self.text.is_empty() && self.thinking.is_empty() && self.calls.is_empty()
    }
}

impl Writer {
    fn new(model: &str, shape: Shape, since: Instant) -> Writer {
        Writer {
            model: model.to_owned(),
            shape,
            since,
            started: None,
            first: None,
            call: None,
            done_reason: "stop",
        }
    }

    /// Calls are given whole here.
    fn piece(&mut self, event: TextEvent) -> Piece {
        let mut piece = Piece::default();
        let spoken = matches!(event, TextEvent::Text { .. } | TextEvent::Part { .. });
        if spoken && self.first.is_none() {
            self.first = Some(Instant::now());
        }
        match event {
            TextEvent::Text { text, .. } => piece.text = text,
            TextEvent::Part { part, .. } => match part {
                AnswerEvent::Reasoning(text) => piece.thinking = text,
                AnswerEvent::ToolCallStart { index, name } => {
                    self.call = Some((index, name, String::new()));
                }
                AnswerEvent::ToolCallArguments { json, .. } => {
                    if let Some((_, _, arguments)) = &mut self.call {
                        arguments.push_str(&json);
                    }
                }
                AnswerEvent::ToolCallEnd { .. } => piece.calls.extend(self.take_call()),
                _ => {}
            },
            TextEvent::Started { .. } => self.started = Some(Instant::now()),
            TextEvent::Finished { finish, .. } => {
                piece.calls.extend(self.take_call());
                self.done_reason = if finish == Finish::Length { "length" } else { "stop" };
            }
            TextEvent::Prompt { .. } | TextEvent::Computed { .. } | TextEvent::Failed => {}
        }
        piece
    }

    fn take_call(&mut self) -> Option<Value> {
        let (index, name, arguments) = self.call.take()?;
        // Arguments that broke off are shown as far as they came.
        let arguments = serde_json::from_str(&arguments)
            .ok()
            .filter(Value::is_object)
            .unwrap_or_else(|| json!({ "incomplete_json": arguments }));
        Some(json!({ "function": { "index": index, "name": name, "arguments": arguments } }))
    }

    fn line(&self, piece: &Piece, done: bool) -> Value {
        let mut line = json!({ "model": self.model, "created_at": timestamp() });
        match self.shape {
            Shape::Chat => {
                let mut message = json!({ "role": "assistant", "content": piece.text });
                if !piece.thinking.is_empty() {
                    message["thinking"] = piece.thinking.clone().into();
                }
                if !piece.calls.is_empty() {
                    message["tool_calls"] = piece.calls.clone().into();
                }
                line["message"] = message;
            }
            Shape::Generate => {
                line["response"] = piece.text.clone().into();
                if !piece.thinking.is_empty() {
                    line["thinking"] = piece.thinking.clone().into();
                }
            }
        }
        line["done"] = done.into();
        line
    }

    /// The last line, with counts and times in nanoseconds.
    fn last(&self, piece: &Piece, usage: &Usage) -> Value {
        let now = Instant::now();
        let started = self.started.unwrap_or(now);
        let first = self.first.unwrap_or(now).max(started);
        let nanoseconds =
            |from: Instant, to: Instant| to.saturating_duration_since(from).as_nanos() as u64;
        let mut line = self.line(piece, true);
        line["done_reason"] = self.done_reason.into();
        line["total_duration"] = nanoseconds(self.since, now).into();
        // The model is in memory; a request may have waited for its place.
        line["load_duration"] = nanoseconds(self.since, started).into();
        line["prompt_eval_count"] = usage.prompt_tokens().into();
        line["prompt_eval_duration"] = nanoseconds(started, first).into();
        line["eval_count"] = usage.completion_tokens().into();
        line["eval_duration"] = nanoseconds(first, now).into();
        line
    }

    /// A line that says nothing.
    fn nothing(&self) -> Bytes {
        line(&self.line(&Piece::default(), false))
    }

    fn loaded(&mut self) -> Value {
        self.done_reason = "load";
        let mut line = self.line(&Piece::default(), true);
        line["done_reason"] = self.done_reason.into();
        line
    }

    async fn whole(mut self, mut choices: Choices) -> Result<Value, ApiError> {
        let mut whole = Piece::default();
        while let Some((_, event)) = choices.next().await {
            if matches!(event, TextEvent::Failed) {
                return Err(choices.failure());
            }
            let piece = self.piece(event);
            whole.text.push_str(&piece.text);
            whole.thinking.push_str(&piece.thinking);
            whole.calls.extend(piece.calls);
        }
        Ok(self.last(&whole, &choices.usage()))
    }
}

impl Pieces for Writer {
    const CONTENT_TYPE: &'static str = "application/x-ndjson";

    fn opening(&mut self, _choices: usize) -> Vec<Bytes> {
        Vec::new()
    }

    fn pieces(&mut self, _index: usize, event: TextEvent) -> Vec<Bytes> {
        let piece = self.piece(event);
        if piece.is_empty() { Vec::new() } else { vec![line(&self.line(&piece, false))] }
    }

    fn closing(&mut self, usage: Usage) -> Vec<Bytes> {
        vec![line(&self.last(&Piece::default(), &usage))]
    }

    fn failed(&mut self, error: &ApiError) -> Bytes {
        line(&dialect::ollama(error))
    }

    /// Clients take every line for JSON: there is nothing that means nothing, but an empty piece.
    fn keep_alive(&self) -> Option<Bytes> {
        Some(self.nothing())
    }
}
