//! Turns a question into an answer in its message's row and in the log that devices follow.

use std::sync::Arc;
use std::time::Duration;

use axum::body::to_bytes;
use axum::http::StatusCode;
use axum::response::Response;
use futures_util::StreamExt;
use myriad_store::{Change, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use utoipa::ToSchema;

use super::runs::{Job, Maker};
use super::{rows, title};
use crate::answers::run::End;
use crate::errors::ApiError;
use crate::limits::{APP_KEEP_EVERY, APP_RUN_BYTES_MAX, APP_RUN_TIME_MAX, APP_TEXT_BYTES_MAX};
use crate::wire::app_chats::{AppMessage, Failure, Measures, Status};

/// Bytes of an error that the server itself writes: a few hundred.
const ERROR_BYTES_MAX: usize = 64 << 10;

/// An event of an answer on its way.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct AnswerEvent {
    /// A piece of the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    /// A piece of the thoughts.
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<String>,
    /// The end: the message as it is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Box<AppMessage>>,
    /// After the end: the conversation's title, where the model made one.
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
}

/// The end: the message as it is kept.
pub fn ending(message: &AppMessage) -> Value {
    json!(AnswerEvent { message: Some(Box::new(message.clone())), ..AnswerEvent::default() })
}

/// An answer on its way.
pub(super) struct Answer {
    maker: Arc<Maker>,
    job: Job,
    started: Instant,
    measures: Measures,
    /// A write of what is there so far: one at a time.
    keeping: Option<JoinHandle<Result<(), StoreError>>>,
}

/// How an answer ended.
enum Outcome {
    Whole,
    Length,
    Stopped,
    Failed(Failure),
}

impl Answer {
    pub fn new(maker: Arc<Maker>, job: Job) -> Answer {
        let (started, measures) = (Instant::now(), Measures::default());
        Answer { maker, job, started, measures, keeping: None }
    }

    /// Makes the answer to its end: it is kept before anybody is told so.
    pub async fn make(mut self) {
        let run = Arc::clone(&self.job.run);
        // Nobody waits for ever for a task that broke.
        let _broken = run.ends_with_this();
        let outcome = tokio::select! {
            outcome = self.read() => outcome,
            () = run.cancelled() => Outcome::Stopped,
            () = sleep(APP_RUN_TIME_MAX) => Outcome::Failed(failure(
                "server",
                "The answer took longer than any may.",
                Some("too_long"),
            )),
        };
        self.finish(outcome).await;
        run.push_data(&ending(&self.job.message));
        let title = tokio::select! {
            title = title::make(&self.maker, &self.job) => title,
            () = run.cancelled() => None,
        };
        if let Some(title) = title {
            run.push_data(&json!(AnswerEvent { title: Some(title), ..AnswerEvent::default() }));
        }
        run.end(End::Gone);
        self.maker.app.runs.settle(&run);
    }

    /// Asks, and takes in what comes.
    async fn read(&mut self) -> Outcome {
        let response = self.maker.ask(&self.job.run.owner, &self.job.request).await;
        if response.status() != StatusCode::OK {
            return Outcome::Failed(refusal(response).await);
        }
        let mut pieces = response.into_body().into_data_stream();
        let mut ticks = interval(APP_KEEP_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut rest = Vec::new();
        let mut whole = Outcome::Whole;
        loop {
            let piece = tokio::select! {
                piece = pieces.next() => piece,
                _ = ticks.tick() => {
                    self.keep().await;
                    continue;
                }
            };
            let Some(Ok(piece)) = piece else { return broken() };
            rest.extend_from_slice(&piece);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                let Some(data) = line.trim_ascii_end().strip_prefix(b"data: ") else { continue };
                if data == b"[DONE]" {
                    return whole;
                }
                match self.take(data) {
                    Ok(true) => whole = Outcome::Length,
                    Ok(false) => {}
                    Err(outcome) => return outcome,
                }
            }
        }
    }

    /// Takes in a chunk; true where it says that the limit of tokens is reached.
    fn take(&mut self, data: &[u8]) -> Result<bool, Outcome> {
        let chunk: Chunk = serde_json::from_slice(data).map_err(|_| broken())?;
        if let Some(error) = chunk.error {
            let failure = failure("server", &error.message, error.code.as_deref());
            return Err(Outcome::Failed(failure));
        }
        if let Some(usage) = chunk.usage {
            self.measures.prompt_tokens = Some(usage.prompt_tokens);
            self.measures.completion_tokens = Some(usage.completion_tokens);
            let details = usage.prompt_tokens_details;
            self.measures.cached_tokens = details.map(|details| details.cached_tokens);
        }
        let Some(Choice { delta, finish_reason }) = chunk.choices.into_iter().next() else {
            return Ok(false);
        };
        let content = delta.content.filter(|text| !text.is_empty());
        let reasoning = delta.reasoning_content.or(delta.reasoning);
        let reasoning = reasoning.filter(|text| !text.is_empty());
        if content.is_some() || reasoning.is_some() {
            self.add(content, reasoning)?;
        }
        Ok(finish_reason.as_deref() == Some("length"))
    }

    fn add(&mut self, content: Option<String>, reasoning: Option<String>) -> Result<(), Outcome> {
        let now = milliseconds(self.started.elapsed());
        let first = *self.measures.first_token_ms.get_or_insert(now);
        let message = &mut self.job.message;
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

    /// Writes down what is there so far, beside the answer's way.
    async fn keep(&mut self) {
        if self.keeping.as_ref().is_some_and(|keeping| !keeping.is_finished()) {
            return;
        }
        self.kept().await;
        let document = rows::message_with(self.job.document.clone(), &self.job.message);
        let storage = Arc::clone(&self.maker.storage);
        let change = Change::new().update(document);
        self.keeping = Some(tokio::spawn(async move { storage.store.commit(change).await }));
    }

    /// Waits for the write that was begun; it counts where it was done.
    async fn kept(&mut self) {
        let Some(keeping) = self.keeping.take() else { return };
        match keeping.await {
            Ok(Ok(())) => self.job.document.revision += 1,
            Ok(Err(error)) => tracing::warn!(%error, "an answer on its way cannot be kept"),
            Err(error) => tracing::error!(%error, "keeping an answer broke"),
        }
    }

    async fn finish(&mut self, outcome: Outcome) {
        self.kept().await;
        let (status, failure) = match outcome {
            Outcome::Whole => (Status::Done, None),
            Outcome::Length => (Status::Length, None),
            Outcome::Stopped => (Status::Stopped, None),
            Outcome::Failed(failure) => (Status::Failed, Some(failure)),
        };
        let total = milliseconds(self.started.elapsed());
        let message = &mut self.job.message;
        self.measures.total_ms = Some(total);
        if message.content.is_empty() && !message.reasoning.is_empty() {
            let first = self.measures.first_token_ms.unwrap_or(total);
            self.measures.thinking_ms.get_or_insert(total - first);
        }
        (message.status, message.failure) = (status, failure);
        message.measures = Some(self.measures.clone());
        let document = rows::message_with(self.job.document.clone(), message);
        let change = rows::indexed(Change::new().update(document.clone()), &document, message);
        match self.maker.storage.store.commit(change).await {
            // Its conversation was deleted: nothing of it comes back.
            Ok(()) | Err(StoreError::Conflict(_)) => {}
            Err(error) => tracing::error!(%error, "an answer cannot be kept"),
        }
    }
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round()
}

fn failure(kind: &str, message: &str, code: Option<&str>) -> Failure {
    Failure { kind: kind.to_owned(), message: message.to_owned(), code: code.map(str::to_owned) }
}

fn broken() -> Outcome {
    Outcome::Failed(failure("broken", "The answer broke off.", None))
}

/// Why the server did not begin.
async fn refusal(response: Response) -> Failure {
    #[derive(Deserialize)]
    struct Refused {
        error: Told,
    }
    let kind = match response.status() {
        StatusCode::UNAUTHORIZED => "unauthorized",
        status if status.is_client_error() => "refused",
        _ => "server",
    };
    let bytes = to_bytes(response.into_body(), ERROR_BYTES_MAX).await.unwrap_or_default();
    match serde_json::from_slice::<Refused>(&bytes) {
        Ok(Refused { error }) => failure(kind, &error.message, error.code.as_deref()),
        Err(_) => failure(kind, &ApiError::internal().message, None),
    }
}

/// What matters of a chunk here.
#[derive(Deserialize)]
struct Chunk {
    error: Option<Told>,
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<Tokens>,
}

#[derive(Deserialize)]
struct Told {
    message: String,
    code: Option<String>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    delta: Delta,
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
struct Delta {
    content: Option<String>,
    reasoning_content: Option<String>,
    reasoning: Option<String>,
}

#[derive(Deserialize)]
struct Tokens {
    prompt_tokens: u64,
    completion_tokens: u64,
    prompt_tokens_details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    cached_tokens: u64,
}
