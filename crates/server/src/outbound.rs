//! Turns requests of the server's own into the answers of other servers, within limits.
//!
//! The one way out. Whoever asks brings an [`Address`] that the operator configured; nothing that a
//! client sends chooses where a connection goes. No redirect is followed, no cookie kept, no proxy
//! asked, and no compressed body taken, as it could unfold to any size.

mod address;
mod connector;
mod events;
mod key;

pub use address::{Address, AddressError};
pub use events::Events;
pub use key::{Key, KeyError, KeyPlace};

use std::error::Error;
use std::pin::Pin;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::{HeaderMap, Request, StatusCode, header};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::timeout;

use connector::{ConnectTime, Connector};

/// Bytes of an answer's head: those of large providers have about 4 KB.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Headers of an answer.
const HEADERS_MAX: usize = 128;

/// How long a connection that nobody uses stays open.
const UNUSED_TIME_MAX: Duration = Duration::from_secs(60);

/// Connections to one server that stay open unused.
const UNUSED_MAX: usize = 8;

/// Characters of somebody else's words in an error.
const REASON_CHARS_MAX: usize = 200;

/// How long another server may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// From the request to the head of its answer. A connection has its own limit within it.
    pub first_byte: Duration,
    /// Between two pieces of the body.
    pub idle: Duration,
}

/// Why there is no answer, or no more of it. No variant holds anything of the request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OutboundError {
    /// No connection: no such name, nobody listens, no TLS that can be trusted.
    #[error("no connection: {0}")]
    Connect(String),
    /// No connection within the time.
    #[error("no connection within {} s", .0.as_secs_f32())]
    ConnectTime(Duration),
    /// Connected, but no head of an answer within the time.
    #[error("no answer within {} s", .0.as_secs_f32())]
    FirstByte(Duration),
    /// The connection broke before the head of an answer was whole, or it was none of HTTP.
    #[error("no answer that can be read: {0}")]
    Head(String),
    /// An answer that points elsewhere.
    #[error("a redirect ({0}), which is not followed: configure the address that it leads to")]
    Redirect(StatusCode),
    /// A compressed answer, which was not asked for.
    #[error("an answer in Content-Encoding '{0}', which was not asked for")]
    Encoded(String),
    /// The body fell silent.
    #[error("silence for {} s in the middle of an answer", .0.as_secs_f32())]
    Idle(Duration),
    /// The body broke off.
    #[error("the answer broke off: {0}")]
    Broken(String),
    /// The body is larger than what was asked for can be.
    #[error("an answer of more than {0} bytes")]
    TooLarge(usize),
    /// An event of a stream is larger than any is.
    #[error("an event of more than {0} bytes")]
    EventTooLarge(usize),
    /// An event of a stream is no text.
    #[error("an event that is not UTF-8")]
    EventText,
}

impl OutboundError {
    /// Whether nothing of an answer was there, so that the same request may be sent again.
    pub fn before_answer(&self) -> bool {
        matches!(
            self,
            OutboundError::Connect(_) | OutboundError::ConnectTime(_) | OutboundError::Head(_)
        )
    }
}

/// Connections to other servers. Clones share them.
#[derive(Clone, Debug)]
pub struct Outbound {
    client: Client<Connector, Body>,
}

impl Default for Outbound {
    fn default() -> Self {
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(UNUSED_TIME_MAX)
            .pool_max_idle_per_host(UNUSED_MAX)
            .http1_max_buf_size(HEAD_BYTES_MAX)
            .http1_max_headers(HEADERS_MAX);
        Outbound { client: builder.build(Connector::new()) }
    }
}

impl Outbound {
    /// Sends a request, whose target is an [`Address`]'s, and returns once the head of the answer
    /// is there. Dropping the future, or the answer, ends the connection, and so tells the other
    /// side.
    ///
    /// # Errors
    /// All of [`OutboundError`] but those of bodies. Any status but a redirect is an answer.
    pub async fn send(
        &self,
        request: Request<Bytes>,
        patience: Patience,
    ) -> Result<Answer, OutboundError> {
        let answered = self.client.request(request.map(Body::from));
        let response = match timeout(patience.first_byte, answered).await {
            Err(_) => return Err(OutboundError::FirstByte(patience.first_byte)),
            Ok(Err(error)) => return Err(failure(&error)),
            Ok(Ok(response)) => response,
        };
        let (head, body) = response.into_parts();
        if head.status.is_redirection() {
            return Err(OutboundError::Redirect(head.status));
        }
        let encoding = head.headers.get(header::CONTENT_ENCODING);
        if let Some(encoding) = encoding.filter(|value| !value.as_bytes().is_empty())
            && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
        {
            return Err(OutboundError::Encoded(clipped(&String::from_utf8_lossy(
                encoding.as_bytes(),
            ))));
        }
        let body = Body::new(body).into_data_stream();
        Ok(Answer { status: head.status, headers: head.headers, body, idle: patience.idle })
    }
}

fn failure(error: &hyper_util::client::legacy::Error) -> OutboundError {
    match ConnectTime::within(error) {
        Some(time) => OutboundError::ConnectTime(time),
        None if error.is_connect() => OutboundError::Connect(reason(error)),
        None => OutboundError::Head(reason(error)),
    }
}

/// The answer of another server, whose body is still on its way.
#[derive(Debug)]
pub struct Answer {
    /// Any but a redirect.
    pub status: StatusCode,
    /// As they came.
    pub headers: HeaderMap,
    body: BodyDataStream,
    idle: Duration,
}

/// A body, piece by piece.
pub type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, OutboundError>> + Send>>;

impl Answer {
    /// The content type without its parameters, in small letters.
    pub fn content_type(&self) -> String {
        let value = self.headers.get(header::CONTENT_TYPE);
        let value = value.and_then(|value| value.to_str().ok()).unwrap_or_default();
        value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }

    /// The whole body.
    ///
    /// # Errors
    /// [`OutboundError::TooLarge`] above `bytes_max`, [`OutboundError::Idle`],
    /// [`OutboundError::Broken`].
    pub async fn whole(self, bytes_max: usize) -> Result<Bytes, OutboundError> {
        let mut pieces = self.pieces(bytes_max);
        let mut whole = BytesMut::new();
        while let Some(piece) = pieces.next().await {
            whole.extend_from_slice(&piece?);
        }
        Ok(whole.freeze())
    }

    /// The body as it comes: a piece is read when it is asked for, so that a slow reader slows the
    /// other side down. Nothing comes after an error, which are those of [`Answer::whole`].
    pub fn pieces(self, bytes_max: usize) -> Pieces {
        let idle = self.idle;
        Box::pin(stream::unfold(Some((self.body, 0)), move |state| async move {
            let (mut body, read) = state?;
            let piece = match timeout(idle, body.next()).await {
                Err(_) => Err(OutboundError::Idle(idle)),
                Ok(None) => return None,
                Ok(Some(Err(error))) => Err(OutboundError::Broken(reason(&error))),
                Ok(Some(Ok(piece))) => Ok(piece),
            };
            match piece {
                Ok(piece) if piece.len() > bytes_max - read => {
                    Some((Err(OutboundError::TooLarge(bytes_max)), None))
                }
                Ok(piece) => {
                    let read = read + piece.len();
                    Some((Ok(piece), Some((body, read))))
                }
                Err(error) => Some((Err(error), None)),
            }
        }))
    }
}

/// What the innermost error says: those around it say where, which is known.
fn reason(error: &(dyn Error + 'static)) -> String {
    match error.source() {
        Some(source) => reason(source),
        None => clipped(&error.to_string()),
    }
}

fn clipped(text: &str) -> String {
    text.chars().filter(|char| !char.is_control()).take(REASON_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests;
