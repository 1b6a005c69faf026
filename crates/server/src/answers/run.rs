//! Turns a response that is being made into a log of events that any number of clients can follow.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio::time::{Duration, Instant, timeout_at};

use super::stream::{DONE, KEEP_ALIVE, event_stream, named, numbered};
use crate::errors::ApiError;
use crate::storage::Owner;

/// A response on its way, and for a while after its end.
pub struct Run {
    /// The response's id.
    pub id: String,
    /// Whose it is.
    pub owner: Owner,
    /// Whether its events are kept.
    logged: bool,
    log: Mutex<Log>,
    news: watch::Sender<()>,
    unwanted: Notify,
}

#[derive(Default)]
struct Log {
    /// Each is one whole event; its place is its `sequence_number`.
    events: Vec<Bytes>,
    bytes: usize,
    /// The response, after its last change of status.
    response: Value,
    end: Option<End>,
}

/// How a run has ended.
#[derive(Clone)]
pub enum End {
    /// It is kept elsewhere, or nowhere.
    Gone,
    /// It is kept here alone: what would stand in the store.
    Here(Arc<str>),
    /// The engine or the store failed.
    Failed(ApiError, Option<Arc<str>>),
}

impl Run {
    pub fn new(id: &str, owner: Owner, logged: bool) -> Arc<Run> {
        Arc::new(Run {
            id: id.to_owned(),
            owner,
            logged,
            log: Mutex::default(),
            news: watch::Sender::new(()),
            unwanted: Notify::new(),
        })
    }

    /// Adds events, and numbers them.
    pub fn push(&self, events: Vec<Value>) {
        if !self.logged || events.is_empty() {
            return;
        }
        let mut log = self.log();
        for mut event in events {
            event["sequence_number"] = log.events.len().into();
            let name = event["type"].as_str().unwrap_or_default().to_owned();
            let event = named(&name, &event);
            log.bytes += event.len();
            log.events.push(event);
        }
        drop(log);
        self.news.send_replace(());
    }

    /// Adds an event without a name; its number is its `id`, which clients give back to go on
    /// after it.
    pub fn push_data(&self, data: &Value) {
        let mut log = self.log();
        let event = numbered(log.events.len(), data);
        log.bytes += event.len();
        log.events.push(event);
        drop(log);
        self.news.send_replace(());
    }

    /// Ends the run with what is returned, as one that failed, if it has not ended by then.
    pub fn ends_with_this(self: &Arc<Run>) -> Broken {
        Broken(Arc::clone(self))
    }

    /// Shows the response to whoever asks for it meanwhile.
    pub fn show(&self, response: Value) {
        self.log().response = response;
    }

    /// The response after its last change of status.
    pub fn response(&self) -> Value {
        self.log().response.clone()
    }

    /// Ends it. What comes later does not count.
    pub fn end(&self, end: End) {
        self.log().end.get_or_insert(end);
        self.news.send_replace(());
    }

    /// How it has ended, if it has.
    pub fn ended(&self) -> Option<End> {
        self.log().end.clone()
    }

    /// Waits for its end.
    pub async fn wait(&self) -> End {
        let mut news = self.news.subscribe();
        loop {
            if let Some(end) = self.ended() {
                return end;
            }
            // This run holds the sender: there is always a next time.
            let _ = news.changed().await;
        }
    }

    /// Asks for its end.
    pub fn cancel(&self) {
        self.unwanted.notify_one();
    }

    /// Waits until somebody asks for its end.
    pub async fn cancelled(&self) {
        self.unwanted.notified().await;
    }

    /// Whether its events can be followed.
    pub fn logged(&self) -> bool {
        self.logged
    }

    /// Bytes that it takes in memory, about.
    pub fn bytes(&self) -> usize {
        let log = self.log();
        let body = match &log.end {
            Some(End::Here(body) | End::Failed(_, Some(body))) => body.len(),
            _ => 0,
        };
        // The body, and the response beside it, taken apart.
        log.bytes + 4 * body
    }

    /// The event of a number, and whether there will be no more where it is not there.
    fn event(&self, number: usize) -> (Option<Bytes>, bool) {
        let log = self.log();
        (log.events.get(number).cloned(), log.end.is_some())
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a run with its holder: with the connection of the only client that it is for.
pub struct Leash(pub Arc<Run>);

impl Drop for Leash {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Ends a run whose task did not.
pub struct Broken(Arc<Run>);

impl Drop for Broken {
    fn drop(&mut self) {
        self.0.end(End::Failed(ApiError::internal(), None));
    }
}

/// The events of a run from a number on, as they come. `leash`: the run ends with this stream.
pub fn follow(run: Arc<Run>, from: usize, keep_alive: Duration, leash: Option<Leash>) -> Response {
    let news = run.news.subscribe();
    let follower = Follower { run, next: from, news, keep_alive, done: false, _leash: leash };
    event_stream(stream::unfold(follower, |mut follower| async move {
        let event = follower.next().await?;
        Some((Ok::<_, Infallible>(event), follower))
    }))
}

struct Follower {
    run: Arc<Run>,
    next: usize,
    news: watch::Receiver<()>,
    keep_alive: Duration,
    done: bool,
    _leash: Option<Leash>,
}

impl Follower {
    async fn next(&mut self) -> Option<Bytes> {
        let silent_until = Instant::now() + self.keep_alive;
        loop {
            if self.done {
                return None;
            }
            let (event, ended) = self.run.event(self.next);
            if let Some(event) = event {
                self.next += 1;
                return Some(event);
            }
            if ended {
                self.done = true;
                return Some(Bytes::from_static(DONE));
            }
            if timeout_at(silent_until, self.news.changed()).await.is_err() {
                return Some(Bytes::from_static(KEEP_ALIVE));
            }
        }
    }
}
