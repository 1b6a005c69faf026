//! Turns one request to a server of tools into its answer, among all else that the server says.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method, Request, StatusCode, header};
use bytes::Bytes;
use serde_json::Value;

use super::super::config::Server;
use super::super::failure::Failure;
use super::message::{self, Message};
use super::{Era, MODERN};
use crate::limits::TOOL_ANSWER_BYTES_MAX;
use crate::outbound::{Answer, Events, Outbound, Patience};

/// Bytes of an error's body.
const ERROR_BYTES_MAX: usize = 64 << 10;

/// How long a notice, or an answer to a server's own request, may take.
const NOTICE_TIME: Duration = Duration::from_secs(5);

const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");
const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");

/// A server of tools, and what was learnt of it.
#[derive(Debug)]
pub struct Link {
    /// As the operator configured it.
    pub about: Server,
    outbound: Outbound,
    /// Which era it lives in: 0 where nobody knows.
    era: AtomicU8,
    /// Whether its tools have changed since they were listed.
    changed: AtomicBool,
}

/// What is sent.
pub struct Sent<'a> {
    pub method: &'a str,
    /// The number of a request; notices have none.
    pub id: Option<u64>,
    pub body: Value,
    /// Further headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// What a request was answered.
pub struct Answered {
    pub result: Value,
    /// The session that the server opened with it.
    pub session: Option<HeaderValue>,
}

impl Link {
    pub fn new(about: Server, outbound: Outbound) -> Link {
        Link { about, outbound, era: AtomicU8::new(0), changed: AtomicBool::new(false) }
    }

    /// Whether the server is known to live in the modern era; none where nobody knows.
    pub fn is_modern(&self) -> Option<bool> {
        match self.era.load(Ordering::Relaxed) {
            0 => None,
            era => Some(era == 1),
        }
    }

    /// Notes in which era the server lives.
    pub fn learn(&self, modern: Option<bool>) {
        let era = match modern {
            None => 0,
            Some(true) => 1,
            Some(false) => 2,
        };
        self.era.store(era, Ordering::Relaxed);
    }

    /// Whether the server has said that its tools are others now; asked once.
    pub fn take_changed(&self) -> bool {
        self.changed.swap(false, Ordering::Relaxed)
    }

    /// A server's words without the operator's secrets, should it repeat them.
    pub fn hidden(&self, text: &str) -> String {
        let headers = self.about.headers.iter();
        headers.fold(text.to_owned(), |text, header| header.key.hidden_in(&text))
    }

    /// Sends a request and waits for its answer. Dropping the future ends the connection, which in
    /// the modern era cancels the request.
    pub async fn ask(&self, era: Option<&Era>, sent: Sent<'_>) -> Result<Answered, Failure> {
        let id = sent.id.unwrap_or_default();
        // Whoever asks ends the wait in time, and says so; this is only never to wait for ever.
        let answer = self.send(era, sent, 2 * self.about.time_max).await?;
        let session = answer.headers.get(SESSION).filter(|value| value.len() <= 1024).cloned();
        let result = self.read(era, id, answer).await.map_err(|failure| self.hide(failure))?;
        Ok(Answered { result, session })
    }

    /// Sends what needs no answer; nobody minds where it does not arrive.
    pub async fn tell(&self, era: &Era, body: Value) {
        let sent = Sent { method: "", id: None, body, headers: Vec::new() };
        if let Err(failure) = self.send(Some(era), sent, NOTICE_TIME).await {
            tracing::debug!(server = self.about.name, outcome = failure.outcome(), "a notice");
        }
    }

    /// Ends a session.
    pub async fn end(&self, era: &Era) {
        let Era::Legacy { session: Some(_), .. } = era else { return };
        let mut request = self.request(Some(era), Bytes::new());
        *request.method_mut() = Method::DELETE;
        let patience = Patience { first_byte: NOTICE_TIME, idle: NOTICE_TIME };
        // Servers may refuse it, and end sessions by themselves.
        let _ = self.outbound.send(request, patience).await;
    }

    async fn send(
        &self,
        era: Option<&Era>,
        sent: Sent<'_>,
        time: Duration,
    ) -> Result<Answer, Failure> {
        let body = Bytes::from(sent.body.to_string());
        let mut request = self.request(era, body);
        let headers = request.headers_mut();
        if let (Some(Era::Modern), Ok(method)) = (era, HeaderValue::from_str(sent.method)) {
            headers.insert(METHOD, method);
        }
        for (name, value) in sent.headers {
            headers.insert(name, value);
        }
        let patience = Patience { first_byte: time, idle: time };
        let answer = self.outbound.send(request, patience).await?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        Err(self.hide(refusal(era, answer).await))
    }

    /// A request with all headers that each has.
    fn request(&self, era: Option<&Era>, body: Bytes) -> Request<Bytes> {
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.about.address.clone();
        let headers = request.headers_mut();
        let agent = concat!("myriad/", env!("CARGO_PKG_VERSION"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let accepted = HeaderValue::from_static("application/json, text/event-stream");
        headers.insert(header::ACCEPT, accepted);
        match era {
            Some(Era::Modern) => {
                headers.insert(VERSION, HeaderValue::from_static(MODERN));
            }
            Some(Era::Legacy { version, session }) => {
                headers.insert(VERSION, HeaderValue::from_static(version));
                if let Some(session) = session {
                    headers.insert(SESSION, session.clone());
                }
            }
            // What comes before anything was agreed upon.
            None => {}
        }
        for one in &self.about.headers {
            headers.insert(one.name.clone(), one.value.clone());
        }
        request
    }

    async fn read(&self, era: Option<&Era>, id: u64, answer: Answer) -> Result<Value, Failure> {
        match answer.content_type().as_str() {
            "application/json" => {
                let body = answer.whole(TOOL_ANSWER_BYTES_MAX).await?;
                match message::read(&body)? {
                    Message::Answer(of, answer) if of == id => answer,
                    _ => Err(Failure::Unreadable("no answer to what was asked".to_owned())),
                }
            }
            "text/event-stream" => self.listen(era, id, answer).await,
            other => {
                let other = message::words(other);
                Err(Failure::Unreadable(format!("'{other}' instead of JSON or events")))
            }
        }
    }

    /// Reads events up to the answer.
    async fn listen(&self, era: Option<&Era>, id: u64, answer: Answer) -> Result<Value, Failure> {
        let mut events = Events::new(answer.pieces(TOOL_ANSWER_BYTES_MAX));
        while let Some(event) = events.next().await? {
            // An event without data opens a stream that can be taken up again.
            if event.is_empty() {
                continue;
            }
            match message::read(event.as_bytes())? {
                Message::Answer(of, answer) if of == id => return answer,
                Message::ToolsChanged => self.changed.store(true, Ordering::Relaxed),
                Message::Request(reply) => {
                    // Modern servers have no requests of their own.
                    if let Some(era @ Era::Legacy { .. }) = era {
                        self.tell(era, reply).await;
                    }
                }
                Message::Answer(..) | Message::Other => {}
            }
        }
        Err(Failure::Unreadable("the stream ended before the answer".to_owned()))
    }

    fn hide(&self, failure: Failure) -> Failure {
        match failure {
            Failure::Told { code, message, supported } => {
                Failure::Told { code, message: self.hidden(&message), supported }
            }
            Failure::Status(status, words) => Failure::Status(status, self.hidden(&words)),
            failure => failure,
        }
    }
}

/// Why a status says no.
async fn refusal(era: Option<&Era>, answer: Answer) -> Failure {
    let status = answer.status;
    let in_session = matches!(era, Some(Era::Legacy { session: Some(_), .. }));
    let body = answer.whole(ERROR_BYTES_MAX).await.unwrap_or_default();
    match (status, message::error_of(&body)) {
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => Failure::Refused(status),
        (StatusCode::NOT_FOUND, _) if in_session => Failure::Expired,
        (_, Some(told)) => told,
        (status, None) => Failure::Status(status, said(&body)),
    }
}

/// What a body says to people, where it says anything.
fn said(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    match text.trim() {
        "" => String::new(),
        page if page.starts_with('<') => ": a page of HTML".to_owned(),
        text => format!(": {}", message::words(text)),
    }
}

/// The header that repeats a tool's name.
pub fn name_header(name: &str) -> Option<(HeaderName, HeaderValue)> {
    Some((NAME, super::mirror::encoded(name)?))
}
