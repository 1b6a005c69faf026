//! Turns each request into an id, a log line and a count, and a handler's panic into a 500.
//!
//! What is logged: ids, route patterns, sizes and times; never a path, a prompt or an answer.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;

use super::upload::Upload;
use crate::app::App;
use crate::errors::ApiError;
use crate::limits::{BODY_TIME_MAX, REQUEST_ID_BYTES_MAX};
use crate::random;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The status that is counted when nobody waits for the answer any more; nginx's.
const CLIENT_GONE: u16 = 499;

/// Names a request in logs and answers; the client's own name where it sent a harmless one.
#[derive(Clone, Debug)]
pub struct RequestId(Arc<str>);

impl RequestId {
    fn of(headers: &HeaderMap) -> RequestId {
        let harmless = |id: &&str| {
            let right = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(&byte);
            (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(right)
        };
        let sent = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).filter(harmless);
        RequestId(sent.map_or_else(|| random::identifier("req_").into(), Into::into))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The layer.
pub async fn keep(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let id = RequestId::of(request.headers());
    let mut entry = Entry::new(&app, &request, id.clone());
    let upload = Upload::take(&mut request, BODY_TIME_MAX);
    request.extensions_mut().insert(upload.clone());
    request.extensions_mut().insert(id.clone());
    let handled = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    let mut response = handled.unwrap_or_else(|_| {
        tracing::error!(request_id = id.as_str(), "a handler panicked");
        ApiError::internal().into_response()
    });
    if !upload.drain().await {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    entry.request_bytes = upload.bytes_read().await;
    entry.status = Some(response.status().as_u16());
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// A line of the log, written when it goes out of scope: also where the client went away.
struct Entry {
    app: Arc<App>,
    id: RequestId,
    method: Method,
    route: String,
    since: Instant,
    request_bytes: usize,
    status: Option<u16>,
}

impl Entry {
    fn new(app: &Arc<App>, request: &Request, id: RequestId) -> Entry {
        let route = request.extensions().get::<MatchedPath>();
        Entry {
            app: Arc::clone(app),
            id,
            method: request.method().clone(),
            // The path itself is the client's text.
            route: route.map_or("unknown", MatchedPath::as_str).to_owned(),
            since: Instant::now(),
            request_bytes: 0,
            status: None,
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let status = self.status.unwrap_or(CLIENT_GONE);
        self.app.runtime.metrics().http(&self.route, status);
        tracing::info!(
            request_id = self.id.as_str(),
            method = %self.method,
            route = %self.route,
            status,
            request_bytes = self.request_bytes,
            milliseconds = self.since.elapsed().as_millis() as u64,
            "request"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_clients_are_taken_over_where_they_are_harmless() {
        let id = |sent: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_str(sent).unwrap());
            RequestId::of(&headers).as_str().to_owned()
        };
        assert_eq!(id("trace-1.2:3_4"), "trace-1.2:3_4");
        for odd in ["", " ", "a b", "a\"b", "{}", "a\tb", &"a".repeat(REQUEST_ID_BYTES_MAX + 1)] {
            assert!(id(odd).starts_with("req_"), "{odd}");
        }
        assert!(RequestId::of(&HeaderMap::new()).as_str().starts_with("req_"));
    }
}
