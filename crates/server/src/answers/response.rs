//! Turns the events of a generation into the items of a response, and into its stream's events.

use std::sync::Arc;

use myriad_token::{AnswerEvent, Tokenizer};
use serde_json::{Value, json};

use crate::app::unix_seconds;
use crate::errors::ApiError;
use crate::random;
use crate::runtime::{Finish, OutputToken, TextEvent};
use crate::wire::logprobs::ChatLogprobs;
use crate::wire::responses::items::{Item, Part, Progress};
use crate::wire::responses::object::{Failure, Incomplete, ResponseObject, Status};
use crate::wire::usage::Usage;

/// What an item of an answer holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Thoughts,
    Text,
    Call,
}

/// Writes one response: each method returns the events that show what it did.
pub struct Writer {
    response: ResponseObject,
    tokenizer: Arc<Tokenizer>,
    logprobs: bool,
    /// Whether thoughts are given as their summary.
    summary: bool,
    /// What the last item holds, while it grows.
    open: Option<Kind>,
}

impl Writer {
    pub fn new(
        response: ResponseObject,
        tokenizer: Arc<Tokenizer>,
        logprobs: bool,
        summary: bool,
    ) -> Writer {
        Writer { response, tokenizer, logprobs, summary, open: None }
    }

    /// The response as it is now.
    pub fn response(&self) -> &ResponseObject {
        &self.response
    }

    /// Before anything is computed.
    pub fn opening(&self) -> Vec<Value> {
        let next = match self.response.status {
            Status::Queued => "response.queued",
            _ => "response.in_progress",
        };
        vec![self.whole("response.created"), self.whole(next)]
    }

    /// What an event of the generation adds.
    pub fn events(&mut self, event: TextEvent) -> Vec<Value> {
        let mut events = Vec::new();
        match event {
            TextEvent::Started { .. } if self.response.status == Status::Queued => {
                self.response.status = Status::InProgress;
                events.push(self.whole("response.in_progress"));
            }
            TextEvent::Text { text, tokens } => {
                let scores = self.scores(&tokens);
                if !text.is_empty() || !scores.is_empty() {
                    self.grow(Kind::Text, text, scores, &mut events);
                }
            }
            TextEvent::Part { part, .. } => match part {
                AnswerEvent::Reasoning(text) if !text.is_empty() => {
                    self.grow(Kind::Thoughts, text, Vec::new(), &mut events);
                }
                AnswerEvent::ToolCallStart { name, .. } => {
                    self.close(Progress::Completed, &mut events);
                    self.begin(Kind::Call, name, &mut events);
                }
                AnswerEvent::ToolCallArguments { json, .. } if self.open == Some(Kind::Call) => {
                    self.grow(Kind::Call, json, Vec::new(), &mut events);
                }
                AnswerEvent::ToolCallEnd { complete, .. } => {
                    let progress =
                        if complete { Progress::Completed } else { Progress::Incomplete };
                    self.close(progress, &mut events);
                }
                _ => {}
            },
            TextEvent::Finished { finish, .. } => self.finish(&finish, &mut events),
            TextEvent::Started { .. }
            | TextEvent::Prompt { .. }
            | TextEvent::Computed { .. }
            | TextEvent::Failed => {}
        }
        events
    }

    /// The end of a response that is whole, or was cut at its length.
    pub fn closing(&mut self, usage: Usage) -> Vec<Value> {
        self.response.usage = Some(usage.into());
        if self.response.status == Status::Incomplete {
            return vec![self.whole("response.incomplete")];
        }
        self.response.status = Status::Completed;
        self.response.completed_at = Some(unix_seconds());
        vec![self.whole("response.completed")]
    }

    /// The end of a response that nobody wants any more.
    pub fn cancel(&mut self) -> Vec<Value> {
        let mut events = Vec::new();
        self.close(Progress::Incomplete, &mut events);
        self.response.status = Status::Cancelled;
        // There is no event for it alone.
        events.push(self.whole("response.incomplete"));
        events
    }

    /// The end of a response whose engine failed.
    pub fn fail(&mut self, error: &ApiError) -> Vec<Value> {
        let mut events = Vec::new();
        self.close(Progress::Incomplete, &mut events);
        self.response.status = Status::Failed;
        let (code, message) = ("server_error".to_owned(), error.message.clone());
        self.response.error = Some(Failure { code, message });
        events.push(self.whole("response.failed"));
        events
    }

    fn finish(&mut self, finish: &Finish, events: &mut Vec<Value>) {
        if *finish == Finish::Length {
            self.close(Progress::Incomplete, events);
            self.response.status = Status::Incomplete;
            let reason = "max_output_tokens".to_owned();
            self.response.incomplete_details = Some(Incomplete { reason });
            return;
        }
        if self.response.output.is_empty() {
            // The model said nothing, which is an answer too.
            self.begin(Kind::Text, String::new(), events);
        }
        self.close(Progress::Completed, events);
    }

    fn whole(&self, kind: &str) -> Value {
        json!({ "type": kind, "response": self.response })
    }

    fn scores(&self, tokens: &[OutputToken]) -> Vec<Value> {
        if !self.logprobs {
            return Vec::new();
        }
        let scores = tokens.iter().filter(|token| token.in_text);
        let scores = scores.filter_map(|token| token.score.as_ref());
        ChatLogprobs::new(&self.tokenizer, scores).into_values()
    }

    /// An event about the last item.
    fn about_item(&self, kind: &str, fields: Value) -> Value {
        let item = self.response.output.last();
        let mut event = json!({
            "type": kind,
            "item_id": item.map(Item::id),
            "output_index": self.response.output.len().saturating_sub(1),
        });
        if let (Some(event), Value::Object(fields)) = (event.as_object_mut(), fields) {
            event.extend(fields);
        }
        event
    }

    fn item_event(&self, kind: &str) -> Value {
        json!({
            "type": kind,
            "output_index": self.response.output.len().saturating_sub(1),
            "item": self.response.output.last(),
        })
    }

    /// Begins an item; `name` is of the function that is called.
    fn begin(&mut self, kind: Kind, name: String, events: &mut Vec<Value>) {
        // An item's id has its response's: that is how references find it.
        let of = self.response.id.trim_start_matches("resp_");
        let at = self.response.output.len();
        let id = |prefix: &str| format!("{prefix}{of}{at:04x}");
        let status = Progress::InProgress;
        let (item, part) = match kind {
            Kind::Text => {
                let role = "assistant".to_owned();
                let item = Item::Message { id: id("msg_"), status, role, content: Vec::new() };
                (item, Some(Part::output("")))
            }
            Kind::Thoughts => {
                let (summary, content) = (Vec::new(), Vec::new());
                let (id, encrypted_content) = (id("rs_"), None);
                let item = Item::Reasoning { id, summary, content, encrypted_content, status };
                let text = String::new();
                let part = match self.summary {
                    true => Part::SummaryText { text },
                    false => Part::ReasoningText { text },
                };
                (item, Some(part))
            }
            Kind::Call => {
                let (id, call_id) = (id("fc_"), random::identifier("call_"));
                let arguments = String::new();
                (Item::FunctionCall { id, call_id, name, arguments, status }, None)
            }
        };
        self.open = Some(kind);
        self.response.output.push(item);
        events.push(self.item_event("response.output_item.added"));
        let Some(part) = part else { return };
        events.push(match &part {
            Part::SummaryText { .. } => self.about_item(
                "response.reasoning_summary_part.added",
                json!({ "summary_index": 0, "part": part }),
            ),
            _ => self.about_item(
                "response.content_part.added",
                json!({ "content_index": 0, "part": part }),
            ),
        });
        match self.response.output.last_mut() {
            Some(Item::Reasoning { summary, .. }) if self.summary => summary.push(part),
            Some(Item::Message { content, .. } | Item::Reasoning { content, .. }) => {
                content.push(part);
            }
            _ => {}
        }
    }

    fn grow(&mut self, kind: Kind, text: String, scores: Vec<Value>, events: &mut Vec<Value>) {
        if self.open != Some(kind) {
            self.close(Progress::Completed, events);
            self.begin(kind, String::new(), events);
        }
        events.push(match kind {
            Kind::Text => self.about_item(
                "response.output_text.delta",
                json!({ "content_index": 0, "delta": text, "logprobs": scores }),
            ),
            Kind::Thoughts if self.summary => self.about_item(
                "response.reasoning_summary_text.delta",
                json!({ "summary_index": 0, "delta": text }),
            ),
            Kind::Thoughts => self.about_item(
                "response.reasoning_text.delta",
                json!({ "content_index": 0, "delta": text }),
            ),
            Kind::Call => {
                self.about_item("response.function_call_arguments.delta", json!({ "delta": text }))
            }
        });
        let last = self.response.output.last_mut();
        let parts = match last {
            Some(Item::FunctionCall { arguments, .. }) => return arguments.push_str(&text),
            Some(Item::Reasoning { summary, .. }) if self.summary => summary,
            Some(Item::Message { content, .. } | Item::Reasoning { content, .. }) => content,
            _ => return,
        };
        match parts.last_mut() {
            Some(Part::OutputText { text: all, logprobs, .. }) => {
                all.push_str(&text);
                logprobs.extend(scores);
            }
            Some(Part::ReasoningText { text: all } | Part::SummaryText { text: all }) => {
                all.push_str(&text);
            }
            _ => {}
        }
    }

    /// Ends the item that grows, if one does.
    fn close(&mut self, progress: Progress, events: &mut Vec<Value>) {
        if self.open.take().is_none() {
            return;
        }
        match self.response.output.last_mut() {
            Some(
                Item::Message { status, .. }
                | Item::FunctionCall { status, .. }
                | Item::Reasoning { status, .. }
                | Item::FunctionCallOutput { status, .. },
            ) => *status = progress,
            // Nothing that a model writes.
            Some(Item::Compaction { .. }) | None => return,
        }
        match self.response.output.last() {
            Some(Item::FunctionCall { name, arguments, .. }) => events.push(self.about_item(
                "response.function_call_arguments.done",
                json!({ "name": name, "arguments": arguments }),
            )),
            Some(Item::Message { content, .. }) => self.part_done(content, events),
            Some(Item::Reasoning { summary, content, .. }) => {
                self.part_done(if self.summary { summary } else { content }, events);
            }
            _ => {}
        }
        events.push(self.item_event("response.output_item.done"));
    }

    fn part_done(&self, parts: &[Part], events: &mut Vec<Value>) {
        let Some(part) = parts.last() else { return };
        let (text, index, done) = match part {
            Part::OutputText { text, logprobs, .. } => (
                "response.output_text.done",
                "content_index",
                json!({ "content_index": 0, "text": text, "logprobs": logprobs }),
            ),
            Part::SummaryText { text } => (
                "response.reasoning_summary_text.done",
                "summary_index",
                json!({ "summary_index": 0, "text": text }),
            ),
            part => (
                "response.reasoning_text.done",
                "content_index",
                json!({ "content_index": 0, "text": part.text() }),
            ),
        };
        let part_done = match part {
            Part::SummaryText { .. } => "response.reasoning_summary_part.done",
            _ => "response.content_part.done",
        };
        events.push(self.about_item(text, done));
        events.push(self.about_item(part_done, json!({ index: 0, "part": part })));
    }
}
