//! Turns the events of choices into a streamed body, one whole event per write.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{Stream, stream};
use myriad_store::Change;
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use super::choices::Choices;
use crate::app::App;
use crate::errors::ApiError;
use crate::runtime::TextEvent;
use crate::wire::usage::Usage;

/// The last event of OpenAI's streams.
pub const DONE: &[u8] = b"data: [DONE]\n\n";

/// A comment: clients skip it, proxies see life.
pub const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";

pub(super) const EVENTS: &str = "text/event-stream; charset=utf-8";

/// How one endpoint writes the pieces of its answers; each piece is one write.
pub trait Pieces: Send + 'static {
    /// What the body is.
    const CONTENT_TYPE: &'static str = EVENTS;

    /// What is sent before anything is computed.
    fn opening(&mut self, choices: usize) -> Vec<Bytes>;

    /// What an event of a choice becomes; often nothing.
    fn pieces(&mut self, index: usize, event: TextEvent) -> Vec<Bytes>;

    /// The end of an answer that is whole.
    fn closing(&mut self, usage: Usage) -> Vec<Bytes>;

    /// What is written down of an answer that is whole, before its end is sent: who has seen the
    /// end finds it.
    fn kept(&mut self, _usage: Usage) -> Option<Change> {
        None
    }

    /// The end of an answer that broke off. Clients raise on a top-level `error`; without the usual
    /// end none takes the answer for whole.
    fn failed(&mut self, error: &ApiError) -> Bytes {
        data(&error.body())
    }

    /// What is sent after a long silence.
    fn keep_alive(&self) -> Option<Bytes> {
        Some(Bytes::from_static(KEEP_ALIVE))
    }
}

/// The answer as it comes: status and headers at once, then one event for each piece.
///
/// Nothing is computed ahead of the client by this side: events are made as they are sent. A client
/// that goes away drops the body, and with it the choices.
pub fn respond<P: Pieces>(app: Arc<App>, choices: Choices, mut pieces: P) -> Response {
    let queue = pieces.opening(choices.count()).into();
    let silent_until = Instant::now() + app.config.keep_alive;
    let live = Live { app, choices: Some(choices), pieces, queue, silent_until };
    let events = stream::unfold(live, |mut live| async move {
        let event = live.next().await?;
        Some((Ok::<_, Infallible>(event), live))
    });
    body_of(P::CONTENT_TYPE, events)
}

/// A body of server-sent events.
pub fn event_stream<S>(events: S) -> Response
where
    S: Stream<Item = Result<Bytes, Infallible>> + Send + 'static,
{
    body_of(EVENTS, events)
}

/// A body that comes piece by piece, with what keeps proxies from collecting it.
pub fn body_of<S, E>(content_type: &'static str, events: S) -> Response
where
    S: Stream<Item = Result<Bytes, E>> + Send + 'static,
    E: Into<axum::BoxError>,
{
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        // nginx would otherwise collect events before it sends them.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, Body::from_stream(events)).into_response()
}

struct Live<P> {
    app: Arc<App>,
    /// None after the end.
    choices: Option<Choices>,
    pieces: P,
    queue: VecDeque<Bytes>,
    silent_until: Instant,
}

impl<P: Pieces> Live<P> {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                self.silent_until = Instant::now() + self.app.config.keep_alive;
                return Some(event);
            }
            let choices = self.choices.as_mut()?;
            match timeout_at(self.silent_until, choices.next()).await {
                Err(_) => {
                    self.queue.extend(self.pieces.keep_alive());
                    self.silent_until = Instant::now() + self.app.config.keep_alive;
                }
                Ok(Some((_, TextEvent::Failed))) => {
                    let error = choices.failure();
                    self.fail(&error);
                }
                Ok(Some((index, event))) => {
                    self.queue.extend(self.pieces.pieces(index, event));
                }
                Ok(None) => self.end().await,
            }
        }
    }

    async fn end(&mut self) {
        let Some(choices) = self.choices.take() else { return };
        let usage = choices.usage();
        if let Some(change) = self.pieces.kept(usage)
            && let Err(error) = self.app.keep(change).await
        {
            return self.fail(&error);
        }
        self.queue.extend(self.pieces.closing(usage));
    }

    fn fail(&mut self, error: &ApiError) {
        self.choices = None;
        self.queue.push_back(self.pieces.failed(error));
    }
}

/// An event that holds a value as JSON.
pub fn data<T: Serialize>(value: &T) -> Bytes {
    framed("data: ", value, "\n\n")
}

/// An event with a name.
pub fn named<T: Serialize>(name: &str, value: &T) -> Bytes {
    framed(&format!("event: {name}\ndata: "), value, "\n\n")
}

/// An event with a number.
pub fn numbered<T: Serialize>(number: usize, value: &T) -> Bytes {
    framed(&format!("id: {number}\ndata: "), value, "\n\n")
}

/// A value on a line of its own.
pub fn line<T: Serialize>(value: &T) -> Bytes {
    framed("", value, "\n")
}

/// Our own types have no maps with odd keys: they serialise.
fn framed<T: Serialize>(before: &str, value: &T, after: &str) -> Bytes {
    let begun = || BytesMut::from(before.as_bytes()).writer();
    let mut writer = begun();
    if serde_json::to_writer(&mut writer, value).is_err() {
        writer = begun();
        let _ = serde_json::to_writer(&mut writer, &ApiError::internal().body());
    }
    let mut event = writer.into_inner();
    event.put_slice(after.as_bytes());
    event.freeze()
}
