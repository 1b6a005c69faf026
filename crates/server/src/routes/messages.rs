//! Turns Anthropic's `POST /v1/messages` into generations, and their events into content blocks.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::Bytes;
use myriad_token::AnswerEvent;
use serde_json::{Value, json};

use super::prompt::{PARAM, Prompt, check_length, encode};
use crate::answers::choices::Choices;
use crate::answers::stream::{self, Pieces, named};
use crate::answers::waiting::{self, Tongue};
use crate::app::App;
use crate::catalogue::{Lease, Purpose};
use crate::errors::ApiError;
use crate::layers::dialect;
use crate::layers::journal::RequestId;
use crate::layers::ticket::Ticket;
use crate::layers::upload::{Held, Upload};
use crate::random;
use crate::runtime::{Finish, GenerateRequest, Runtime, TextEvent};
use crate::wire::anthropic::MessagesRequest;
use crate::wire::usage::Usage;

/// The versions that there are. They differ in what they refuse; here both take the same, sampling
/// among it, which the later one leaves to its models.
const VERSIONS: [&str; 2] = ["2023-06-01", "2026-10-21"];

/// The handler of a message: everything that can be wrong is known before the answer begins.
pub async fn create(
    State(app): State<Arc<App>>,
    Extension(upload): Extension<Upload>,
    ticket: Ticket,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    check_version(&headers)?;
    waiting::request(app, upload, ticket, |ticket| tongue(&ticket.request_id), answer).await
}

/// How Anthropic's streams wait.
fn tongue(id: &RequestId) -> Tongue {
    let id = id.clone();
    Tongue {
        alive: Box::new(|| named("ping", &json!({ "type": "ping" }))),
        failed: Box::new(move |error| named("error", &dialect::anthropic(error, Some(&id)))),
        ..Tongue::openai()
    }
}

async fn answer(
    app: Arc<App>,
    lease: Lease,
    body: Held,
    ticket: Ticket,
) -> Result<Response, ApiError> {
    let model = lease.clone();
    let (request, prompt) = app.blocking(move |_| prepare(&model, &body, false)).await?;
    let prompt_tokens = prompt.ids.len();
    let generate = GenerateRequest {
        prompt: prompt.ids,
        max_tokens: request.max_tokens,
        parsing: prompt.parsing,
        rules: prompt.rules,
        ..request.generation.request_of(0)
    };
    let choices = Choices::start(&lease, vec![generate], 1, PARAM, &ticket).await?;
    let writer = Writer::new(lease.name(), prompt_tokens, ticket.request_id);
    if request.generation.stream {
        return Ok(stream::respond(app, choices, writer));
    }
    Ok(Json(writer.whole(choices).await?).into_response())
}

/// The handler that counts the tokens of a prompt.
pub async fn count(
    State(app): State<Arc<App>>,
    Extension(upload): Extension<Upload>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    check_version(&headers)?;
    let (body, lease) = app.body_and_lease(&upload, Purpose::Answers).await?;
    let (_, prompt) = app.blocking(move |_| prepare(&lease, &body, true)).await?;
    Ok(Json(json!({ "input_tokens": prompt.ids.len() })))
}

fn check_version(headers: &HeaderMap) -> Result<(), ApiError> {
    const NAME: &str = "anthropic-version";
    match headers.get(NAME) {
        Some(version) if !VERSIONS.iter().any(|known| version == known) => {
            let right = VERSIONS.join(" or ");
            let message = format!("The header '{NAME}' is not known. Right would be {right}.");
            Err(ApiError::invalid(NAME, message))
        }
        _ => Ok(()),
    }
}

fn prepare(
    runtime: &Runtime,
    body: &[u8],
    counts: bool,
) -> Result<(MessagesRequest, Prompt), ApiError> {
    let vocab = runtime.tokenizer().vocab_size();
    let request = MessagesRequest::parse(body, vocab, counts)?;
    let mut prompt = encode(runtime, &request.chat)?;
    if !counts {
        check_length(runtime, prompt.ids.len(), request.max_tokens, PARAM)?;
        prompt.hold(runtime, &request.chat, &request.response_format)?;
    }
    Ok((request, prompt))
}

/// What a block of an answer holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Thinking,
    Text,
    Call,
}

/// A part of the answer: a block begins, grows or ends.
enum Part {
    Start(Value),
    Delta(Kind, String),
    Stop,
}

/// Writes one answer, whole or in events.
struct Writer {
    id: String,
    model: String,
    request_id: RequestId,
    prompt_tokens: usize,
    /// What the open block holds.
    open: Option<Kind>,
    /// Blocks that have begun.
    blocks: usize,
    /// Known at the end.
    stop: (&'static str, Option<String>),
}

impl Writer {
    fn new(model: &str, prompt_tokens: usize, request_id: RequestId) -> Writer {
        Writer {
            id: random::identifier("msg_"),
            model: model.to_owned(),
            request_id,
            prompt_tokens,
            open: None,
            blocks: 0,
            stop: ("end_turn", None),
        }
    }

    /// What an event of the generation means for the blocks.
    fn parts(&mut self, event: TextEvent) -> Vec<Part> {
        let mut parts = Vec::new();
        match event {
            TextEvent::Text { text, .. } => self.grow(Kind::Text, text, &mut parts),
            TextEvent::Part { part, .. } => match part {
                AnswerEvent::Reasoning(text) => self.grow(Kind::Thinking, text, &mut parts),
                AnswerEvent::ToolCallStart { name, .. } => {
                    let id = random::identifier("toolu_");
                    let call = json!({ "type": "tool_use", "id": id, "name": name, "input": {} });
                    self.begin(Kind::Call, call, &mut parts);
                }
                AnswerEvent::ToolCallArguments { json, .. } => {
                    parts.push(Part::Delta(Kind::Call, json));
                }
                AnswerEvent::ToolCallEnd { .. } => self.end(&mut parts),
                _ => {}
            },
            TextEvent::Finished { finish, calls, .. } => {
                self.end(&mut parts);
                self.stop = match finish {
                    Finish::Length => ("max_tokens", None),
                    _ if calls > 0 => ("tool_use", None),
                    Finish::StopString(stop) => ("stop_sequence", Some(stop)),
                    Finish::EndToken(_) | Finish::Complete | Finish::ToolCall => ("end_turn", None),
                };
            }
            TextEvent::Started { .. }
            | TextEvent::Prompt { .. }
            | TextEvent::Computed { .. }
            | TextEvent::Failed => {}
        }
        parts
    }

    fn grow(&mut self, kind: Kind, text: String, parts: &mut Vec<Part>) {
        if text.is_empty() {
            return;
        }
        if self.open != Some(kind) {
            let block = match kind {
                Kind::Thinking => json!({ "type": "thinking", "thinking": "", "signature": "" }),
                _ => json!({ "type": "text", "text": "" }),
            };
            self.begin(kind, block, parts);
        }
        parts.push(Part::Delta(kind, text));
    }

    fn begin(&mut self, kind: Kind, block: Value, parts: &mut Vec<Part>) {
        self.end(parts);
        self.open = Some(kind);
        self.blocks += 1;
        parts.push(Part::Start(block));
    }

    fn end(&mut self, parts: &mut Vec<Part>) {
        if self.open.take().is_some() {
            parts.push(Part::Stop);
        }
    }

    fn message(&self, content: Vec<Value>, stop: Option<&str>, usage: Value) -> Value {
        json!({
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            "stop_reason": stop,
            "stop_sequence": self.stop.1,
            "usage": usage,
        })
    }

    async fn whole(mut self, mut choices: Choices) -> Result<Value, ApiError> {
        let mut content: Vec<Value> = Vec::new();
        let mut grown = String::new();
        while let Some((_, event)) = choices.next().await {
            if matches!(event, TextEvent::Failed) {
                return Err(choices.failure());
            }
            for part in self.parts(event) {
                match part {
                    Part::Start(block) => content.push(block),
                    Part::Delta(_, text) => grown.push_str(&text),
                    Part::Stop => fill(content.last_mut(), std::mem::take(&mut grown)),
                }
            }
        }
        let usage = usage_of(&choices.usage());
        Ok(self.message(content, Some(self.stop.0), usage))
    }
}

/// Puts what has grown into its block.
fn fill(block: Option<&mut Value>, grown: String) {
    let Some(block) = block else { return };
    match block["type"].as_str() {
        Some("tool_use") => {
            // Arguments that broke off are shown as far as they came.
            let input = serde_json::from_str(&grown).ok().filter(Value::is_object);
            block["input"] = input.unwrap_or_else(|| json!({ "incomplete_json": grown }));
        }
        Some("thinking") => block["thinking"] = grown.into(),
        _ => block["text"] = grown.into(),
    }
}

/// Cached tokens of the prompt are counted apart here, not among the others.
fn usage_of(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.prompt_tokens() - usage.cached_tokens(),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens(),
        "output_tokens": usage.completion_tokens(),
        "output_tokens_details": { "thinking_tokens": usage.reasoning_tokens() },
    })
}

impl Pieces for Writer {
    fn opening(&mut self, _choices: usize) -> Vec<Bytes> {
        Vec::new()
    }

    fn pieces(&mut self, _index: usize, event: TextEvent) -> Vec<Bytes> {
        if let TextEvent::Started { cached_tokens } = event {
            // Only now it is known how much of the prompt was cached.
            let usage = json!({
                "input_tokens": self.prompt_tokens.saturating_sub(cached_tokens),
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": cached_tokens,
                "output_tokens": 0,
            });
            let message = self.message(Vec::new(), None, usage);
            return vec![
                named("message_start", &json!({ "type": "message_start", "message": message })),
                named("ping", &json!({ "type": "ping" })),
            ];
        }
        let mut begun = self.blocks;
        let parts = self.parts(event);
        let mut events = Vec::with_capacity(parts.len());
        for part in parts {
            begun += usize::from(matches!(part, Part::Start(_)));
            let index = begun.saturating_sub(1);
            let (name, rest) = match part {
                Part::Start(block) => ("content_block_start", Some(("content_block", block))),
                Part::Delta(kind, text) => {
                    ("content_block_delta", Some(("delta", delta(kind, text))))
                }
                Part::Stop => ("content_block_stop", None),
            };
            let mut event = json!({ "type": name, "index": index });
            if let Some((field, value)) = rest {
                event[field] = value;
            }
            events.push(named(name, &event));
        }
        events
    }

    fn closing(&mut self, usage: Usage) -> Vec<Bytes> {
        let (reason, sequence) = &self.stop;
        let last = json!({
            "type": "message_delta",
            "delta": { "stop_reason": reason, "stop_sequence": sequence },
            "usage": usage_of(&usage),
        });
        vec![
            named("message_delta", &last),
            named("message_stop", &json!({ "type": "message_stop" })),
        ]
    }

    fn failed(&mut self, error: &ApiError) -> Bytes {
        named("error", &dialect::anthropic(error, Some(&self.request_id)))
    }

    fn keep_alive(&self) -> Option<Bytes> {
        Some(named("ping", &json!({ "type": "ping" })))
    }
}

fn delta(kind: Kind, text: String) -> Value {
    match kind {
        Kind::Thinking => json!({ "type": "thinking_delta", "thinking": text }),
        Kind::Text => json!({ "type": "text_delta", "text": text }),
        Kind::Call => json!({ "type": "input_json_delta", "partial_json": text }),
    }
}
