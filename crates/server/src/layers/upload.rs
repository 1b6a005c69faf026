//! Turns a request's body into bounded bytes, or throws it away so that its sender sees the answer.

use std::sync::Arc;

use axum::body::{Body, BodyDataStream};
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Duration, Instant, timeout_at};

use crate::errors::ApiError;
use crate::limits::{BODY_BYTES_MAX, DRAIN_BYTES_MAX, LARGE_BODY_BYTES};

/// A request's body before it is read. Clones are the same body.
#[derive(Clone)]
pub struct Upload {
    declared: Option<u64>,
    encoding: Option<String>,
    /// The client sends nothing until it is told to go on.
    waits: bool,
    state: Arc<Mutex<State>>,
}

struct State {
    body: BodyDataStream,
    read: usize,
    /// How much had been read, and the end was reached.
    ended: bool,
    /// When all of it, or its next piece, must be there.
    deadline: Instant,
}

/// A body in memory. A large one holds its place as long as it lives.
#[derive(Debug)]
pub struct Held {
    bytes: Bytes,
    _place: Option<OwnedSemaphorePermit>,
}

impl std::ops::Deref for Held {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Upload {
    /// Takes the body out of a request; it must have arrived within `time`.
    pub fn take(request: &mut Request, time: Duration) -> Upload {
        let body = std::mem::take(request.body_mut());
        let headers = request.headers();
        Upload {
            declared: declared(headers),
            encoding: headers
                .get(header::CONTENT_ENCODING)
                .map(|encoding| String::from_utf8_lossy(encoding.as_bytes()).into_owned())
                .filter(|encoding| !encoding.eq_ignore_ascii_case("identity")),
            waits: headers.contains_key(header::EXPECT),
            state: Arc::new(Mutex::new(State::new(body, time))),
        }
    }

    /// Bytes that have been read so far.
    pub async fn bytes_read(&self) -> usize {
        self.state.lock().await.read
    }

    /// The whole body.
    ///
    /// # Errors
    /// 413 where it is larger than any request needs, 408 where it does not come, 400 where it
    /// breaks off or is compressed.
    pub async fn read(&self, large_bodies: &Arc<Semaphore>) -> Result<Held, ApiError> {
        self.check(BODY_BYTES_MAX as u64)?;
        let mut state = self.state.lock().await;
        match timeout_at(state.deadline, state.gather(large_bodies)).await {
            Ok(result) => result,
            Err(_) => Err(ApiError::slow_body()),
        }
    }

    /// What can be known of a body before it is read: its encoding, and that it is not declared
    /// larger than `limit` bytes.
    ///
    /// # Errors
    /// 400, 413.
    pub fn check(&self, limit: u64) -> Result<(), ApiError> {
        if let Some(encoding) = &self.encoding {
            let shown: String = encoding.chars().take(32).collect();
            let message = format!("Bodies with Content-Encoding '{shown}' are not supported.");
            return Err(ApiError::bad_request(message));
        }
        match self.declared {
            Some(bytes) if bytes > limit => Err(ApiError::too_large(limit)),
            _ => Ok(()),
        }
    }

    /// How large the client says that the body is.
    pub fn declared(&self) -> Option<u64> {
        self.declared
    }

    /// The next piece of a body that is never whole in memory, which must come within `time`;
    /// `None` at the end.
    ///
    /// # Errors
    /// 408 where it does not come, 400 where the body breaks off.
    pub async fn piece(&self, time: Duration) -> Result<Option<Bytes>, ApiError> {
        let mut state = self.state.lock().await;
        state.deadline = Instant::now() + time;
        match timeout_at(state.deadline, state.next()).await {
            Ok(result) => result,
            Err(_) => Err(ApiError::slow_body()),
        }
    }

    /// Throws away what was not read, within the same time. True where the connection can be used
    /// for another request.
    ///
    /// A connection closed with bytes unread is reset, and the client never sees why.
    pub async fn drain(&self) -> bool {
        let mut state = self.state.lock().await;
        if state.ended {
            return true;
        }
        if self.waits && state.read == 0 {
            return false;
        }
        timeout_at(state.deadline, state.discard()).await.unwrap_or(false)
    }
}

fn declared(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

impl State {
    fn new(body: Body, time: Duration) -> State {
        let deadline = Instant::now() + time;
        State { body: body.into_data_stream(), read: 0, ended: false, deadline }
    }

    /// The next piece; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        match self.body.next().await {
            Some(Ok(bytes)) => {
                self.read += bytes.len();
                Ok(Some(bytes))
            }
            Some(Err(_)) => Err(ApiError::bad_request("The request body broke off.")),
            None => {
                self.ended = true;
                Ok(None)
            }
        }
    }

    async fn gather(&mut self, large_bodies: &Arc<Semaphore>) -> Result<Held, ApiError> {
        let mut bytes = BytesMut::new();
        let mut place = None;
        while let Some(piece) = self.next().await? {
            if self.read > BODY_BYTES_MAX {
                return Err(ApiError::too_large(BODY_BYTES_MAX as u64));
            }
            if place.is_none() && self.read > LARGE_BODY_BYTES {
                // Nobody closes these places.
                place = Arc::clone(large_bodies).acquire_owned().await.ok();
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(Held { bytes: bytes.freeze(), _place: place })
    }

    async fn discard(&mut self) -> bool {
        let end = self.read.saturating_add(DRAIN_BYTES_MAX);
        while self.read < end {
            match self.next().await {
                Ok(Some(_)) => {}
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::StatusCode;
    use futures_util::stream;
    use std::convert::Infallible;

    const SECOND: Duration = Duration::from_secs(1);

    fn upload(body: Body, time: Duration) -> Upload {
        Upload::take(&mut Request::new(body), time)
    }

    fn places(count: usize) -> Arc<Semaphore> {
        Arc::new(Semaphore::new(count))
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_larger_than_the_limit_is_refused_and_then_drained() {
        let pieces = (0..40).map(|_| Ok::<_, Infallible>(Bytes::from(vec![b' '; 1 << 20])));
        let upload = upload(Body::from_stream(stream::iter(pieces)), SECOND * 30);
        let error = upload.read(&places(1)).await.unwrap_err();
        assert_eq!(error.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert!(upload.drain().await);
        assert_eq!(upload.bytes_read().await, 40 << 20);
    }

    #[tokio::test(start_paused = true)]
    async fn an_endless_body_is_drained_to_a_limit() {
        let endless =
            stream::repeat_with(|| Ok::<_, Infallible>(Bytes::from_static(&[b' '; 65536])));
        let upload = upload(Body::from_stream(endless), SECOND * 30);
        assert!(!upload.drain().await);
        assert_eq!(upload.bytes_read().await, DRAIN_BYTES_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_given_up() {
        let never = stream::pending::<Result<Bytes, Infallible>>();
        let upload = upload(Body::from_stream(never), Duration::from_millis(20));
        let error = upload.read(&places(1)).await.unwrap_err();
        assert_eq!(error.status, StatusCode::REQUEST_TIMEOUT);
        assert!(!upload.drain().await);
    }

    #[tokio::test(start_paused = true)]
    async fn large_bodies_wait_for_a_place_and_small_ones_do_not() {
        let places = places(1);
        let large = || Body::from(vec![b' '; LARGE_BODY_BYTES + 1]);
        let held = upload(large(), SECOND).read(&places).await.unwrap();
        let small = upload(Body::from("{}"), SECOND).read(&places).await.unwrap();
        assert_eq!(&*small, b"{}");
        let waiting = upload(large(), Duration::from_millis(20)).read(&places).await;
        assert_eq!(waiting.unwrap_err().status, StatusCode::REQUEST_TIMEOUT);
        drop(held);
        upload(large(), SECOND).read(&places).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_to_be_told_is_not_told_for_a_refused_body() {
        let mut request = Request::new(Body::from("{}"));
        request.headers_mut().insert(header::EXPECT, "100-continue".parse().unwrap());
        let upload = Upload::take(&mut request, SECOND);
        assert!(!upload.drain().await);
        assert_eq!(upload.bytes_read().await, 0);
    }
}
