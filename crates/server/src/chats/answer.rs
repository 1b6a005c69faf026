//! Turns a question into an answer in its message's row and in the log that devices follow.

use std::sync::Arc;
use std::time::Duration;

use axum::body::to_bytes;
use axum::http::StatusCode;
use axum::response::Response;
use myriad_store::{Change, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use utoipa::ToSchema;

use super::chunk::Told;
use super::runs::{Job, Maker};
use super::{rows, title};
use crate::answers::run::End;
use crate::errors::ApiError;
use crate::limits::APP_RUN_TIME_MAX;
use crate::wire::app_calls::AppCall;
use crate::wire::app_chats::{AppMessage, Failure, Measures, Status};
use crate::wire::app_files::{AppPassage, Reading};

/// Bytes of an error that the server itself writes: a few hundred.
const ERROR_BYTES_MAX: usize = 64 << 10;

/// An event of an answer on its way.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct AnswerEvent {
    /// A piece of the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content: Option<String>,
    /// A piece of the thoughts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reasoning: Option<String>,
    /// A call of a tool, as it is now; it takes the place of the one of its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) call: Option<AppCall>,
    /// The end: the message as it is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<Box<AppMessage>>,
    /// Before the answer: how far the reading of large files is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reading: Option<Reading>,
    /// Before the answer: the passages of large files that it is made with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sources: Option<Vec<AppPassage>>,
    /// After the end: the conversation's title, where the model made one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) title: Option<String>,
}

/// The end: the message as it is kept.
pub fn ending(message: &AppMessage) -> Value {
    json!(AnswerEvent { message: Some(Box::new(message.clone())), ..AnswerEvent::default() })
}

/// An answer on its way.
pub(super) struct Answer {
    pub(super) maker: Arc<Maker>,
    pub(super) job: Job,
    pub(super) started: Instant,
    /// How much of the time since then tools had.
    pub(super) called: Duration,
    pub(super) measures: Measures,
    /// A write of what is there so far: one at a time.
    keeping: Option<JoinHandle<Result<(), StoreError>>>,
}

/// How an answer ended.
pub(super) enum Outcome {
    Whole,
    Length,
    Stopped,
    Failed(Failure),
}

impl Answer {
    pub fn new(maker: Arc<Maker>, job: Job) -> Answer {
        let (started, measures) = (Instant::now(), Measures::default());
        Answer { maker, job, started, called: Duration::ZERO, measures, keeping: None }
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

    /// Writes down what is there so far, beside the answer's way.
    pub(super) async fn keep(&mut self) {
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

    /// How long the model has worked.
    pub(super) fn elapsed_ms(&self) -> f64 {
        milliseconds(self.started.elapsed().saturating_sub(self.called))
    }

    async fn finish(&mut self, outcome: Outcome) {
        self.kept().await;
        let (status, failure) = match outcome {
            Outcome::Whole => (Status::Done, None),
            Outcome::Length => (Status::Length, None),
            Outcome::Stopped => (Status::Stopped, None),
            Outcome::Failed(failure) => (Status::Failed, Some(failure)),
        };
        let total = self.elapsed_ms();
        let message = &mut self.job.message;
        message.stop_calls();
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

pub(super) fn failure(kind: &str, message: &str, code: Option<&str>) -> Failure {
    Failure { kind: kind.to_owned(), message: message.to_owned(), code: code.map(str::to_owned) }
}

/// Why the server did not begin.
pub(super) async fn refusal(response: Response) -> Failure {
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
