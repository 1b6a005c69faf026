//! Turns a question into requests to the model, one after another for as long as it calls tools.

use std::sync::Arc;

use axum::http::StatusCode;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::answer::{Answer, AnswerEvent, Outcome, failure, refusal};
use super::calls::{self, Place};
use super::chunk::{Asked, Choice, Chunk, Said};
use super::rows;
use crate::limits::{
    APP_ARGUMENTS_BYTES_MAX, APP_CALLS_TOGETHER, APP_KEEP_EVERY, APP_RUN_BYTES_MAX,
    APP_TEXT_BYTES_MAX, APP_TOOL_ROUNDS_MAX,
};
use crate::tools::Toolbox;
use crate::wire::app_calls::AppCall;

/// What stands between the texts of two rounds.
const BREAK: &str = "\n\n";

impl Answer {
    /// Asks, takes in what comes, and makes the calls in it, until there are none.
    pub(super) async fn read(&mut self) -> Outcome {
        if let Err(error) = self.add_files().await {
            return Outcome::Failed(failure("server", &error.message, error.code));
        }
        let mut request = self.job.request.clone();
        let toolbox = match Toolbox::open(&self.maker.app, &self.job.tools).await {
            Ok(toolbox) => toolbox,
            Err(error) => return Outcome::Failed(failure("refused", &error.message, error.code)),
        };
        if !toolbox.is_empty() {
            let model = request.get("model").and_then(Value::as_str);
            let own = model.is_none_or(|model| self.maker.app.has(model));
            request.insert("tools".to_owned(), toolbox.definitions(own));
        }
        let mut ticks = interval(APP_KEEP_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for round in 0.. {
            let said = match self.round(&request, &mut ticks).await {
                Ok(said) => said,
                Err(outcome) => return outcome,
            };
            if said.cut {
                return Outcome::Length;
            }
            if said.calls.is_empty() || toolbox.is_empty() {
                return Outcome::Whole;
            }
            if round == APP_TOOL_ROUNDS_MAX {
                break;
            }
            let called = self.call(&toolbox, round, &said.calls, &mut ticks).await;
            add_turns(&mut request, calls::turns(&said, &called));
        }
        let message = format!(
            "The model called tools {APP_TOOL_ROUNDS_MAX} times without an answer. It may not do \
             so more often."
        );
        Outcome::Failed(failure("refused", &message, Some("too_many_tool_rounds")))
    }

    /// One request and its answer.
    async fn round(
        &mut self,
        request: &Map<String, Value>,
        ticks: &mut Interval,
    ) -> Result<Said, Outcome> {
        let response = self.maker.ask(&self.job.run.owner, request).await;
        if response.status() != StatusCode::OK {
            return Err(Outcome::Failed(refusal(response).await));
        }
        let mut pieces = response.into_body().into_data_stream();
        let (mut rest, mut said) = (Vec::new(), Said::default());
        loop {
            let piece = tokio::select! {
                piece = pieces.next() => piece,
                _ = ticks.tick() => {
                    self.keep().await;
                    continue;
                }
            };
            let Some(Ok(piece)) = piece else { return Err(broken()) };
            rest.extend_from_slice(&piece);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                let Some(data) = line.trim_ascii_end().strip_prefix(b"data: ") else { continue };
                if data == b"[DONE]" {
                    return Ok(said);
                }
                self.take(data, &mut said)?;
            }
        }
    }

    /// Takes in a chunk.
    fn take(&mut self, data: &[u8], said: &mut Said) -> Result<(), Outcome> {
        let chunk: Chunk = serde_json::from_slice(data).map_err(|_| broken())?;
        if let Some(error) = chunk.error {
            let failure = failure("server", &error.message, error.code.as_deref());
            return Err(Outcome::Failed(failure));
        }
        if let Some(usage) = chunk.usage {
            // The last prompt has all before it; answers are parts of one.
            self.measures.prompt_tokens = Some(usage.prompt_tokens);
            let tokens = self.measures.completion_tokens.unwrap_or(0) + usage.completion_tokens;
            self.measures.completion_tokens = Some(tokens);
            self.measures.cached_tokens = usage.cached();
        }
        let Some(Choice { mut delta, finish_reason }) = chunk.choices.into_iter().next() else {
            return Ok(());
        };
        let (content, reasoning) = delta.texts();
        if content.is_some() || reasoning.is_some() {
            self.add(content, reasoning, said)?;
        }
        let most = (APP_CALLS_TOGETHER, APP_ARGUMENTS_BYTES_MAX);
        if !delta.add_calls(&mut said.calls, most.0, most.1) {
            let message = format!(
                "The model asked for more than {} calls at once, or one of more than {} bytes.",
                most.0, most.1
            );
            return Err(Outcome::Failed(failure("refused", &message, Some("calls_too_large"))));
        }
        said.cut |= finish_reason.as_deref() == Some("length");
        Ok(())
    }

    fn add(
        &mut self,
        content: Option<String>,
        reasoning: Option<String>,
        said: &mut Said,
    ) -> Result<(), Outcome> {
        let now = self.elapsed_ms();
        let first = *self.measures.first_token_ms.get_or_insert(now);
        let message = &mut self.job.message;
        let content = content.map(|text| joined(&message.content, &mut said.content, text));
        let reasoning = reasoning.map(|text| joined(&message.reasoning, &mut said.reasoning, text));
        message.reasoning.push_str(reasoning.as_deref().unwrap_or_default());
        if content.is_some() && !message.reasoning.is_empty() {
            self.measures.thinking_ms.get_or_insert(now - first);
        }
        message.content.push_str(content.as_deref().unwrap_or_default());
        let bytes = message.content.len().max(message.reasoning.len());
        self.job.run.push_data(&json!(AnswerEvent {
            content,
            reasoning,
            ..AnswerEvent::default()
        }));
        if bytes > APP_TEXT_BYTES_MAX || self.job.run.bytes() > APP_RUN_BYTES_MAX {
            return Err(Outcome::Length);
        }
        Ok(())
    }

    /// Makes the calls of a round, all at the same time. Dropping the future ends them.
    async fn call(
        &mut self,
        toolbox: &Toolbox,
        round: u32,
        asked: &[Asked],
        ticks: &mut Interval,
    ) -> Vec<AppCall> {
        let began = Instant::now();
        let message = &self.job.message;
        let at = message.content.encode_utf16().count() as u32;
        let taken = message.calls.iter().map(|call| call.id.clone()).collect();
        let begun = calls::begun(asked, toolbox, round, at, taken);
        let place = Place {
            app: Arc::clone(&self.maker.app),
            chat: rows::chat_row(&self.job.run.owner, &self.job.chat),
            message: self.job.run.id.clone(),
        };
        let (told, mut changes) = mpsc::unbounded_channel();
        let mut working = FuturesUnordered::new();
        for call in &begun {
            self.show(call.clone());
            let tool = toolbox.find(&call.name).map(Arc::clone);
            working.push(calls::make(place.clone(), tool, call.clone(), told.clone()));
        }
        // The last sender goes with the last call.
        drop(told);
        loop {
            tokio::select! {
                change = changes.recv() => match change {
                    Some(call) => {
                        self.show(call);
                        self.keep().await;
                    }
                    None => break,
                },
                Some(()) = working.next() => {}
                _ = ticks.tick() => self.keep().await,
            }
        }
        self.called += began.elapsed();
        self.job.message.calls.iter().filter(|call| call.round == round).cloned().collect()
    }

    /// Writes a call down and tells all devices of it.
    fn show(&mut self, call: AppCall) {
        let calls = &mut self.job.message.calls;
        match calls.iter_mut().find(|known| known.id == call.id) {
            Some(known) => known.clone_from(&call),
            None => calls.push(call.clone()),
        }
        let event = AnswerEvent { call: Some(call), ..AnswerEvent::default() };
        self.job.run.push_data(&json!(event));
    }
}

/// What a piece adds to the text `before` it, of which `round` is the part of this round.
fn joined(before: &str, round: &mut String, piece: String) -> String {
    let first = round.is_empty() && !before.is_empty();
    round.push_str(&piece);
    match first && !before.ends_with('\n') && !piece.starts_with('\n') {
        true => format!("{BREAK}{piece}"),
        false => piece,
    }
}

fn add_turns(request: &mut Map<String, Value>, turns: Vec<Value>) {
    if let Some(Value::Array(messages)) = request.get_mut("messages") {
        messages.extend(turns);
    }
}

fn broken() -> Outcome {
    Outcome::Failed(failure("broken", "The answer broke off.", None))
}
