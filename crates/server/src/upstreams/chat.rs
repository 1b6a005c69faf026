//! Turns a chat request that names another server's model into that server's answer.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::config::Kind;
use super::count::Request;
use super::exchange::{self, no};
use super::failure::Failure;
use super::shape::Translate;
use super::{Target, anthropic, anthropic_answer, openai};
use crate::answers::stream::{DONE, KEEP_ALIVE, data, event_stream};
use crate::app::App;
use crate::errors::ApiError;
use crate::ledger::Meter;
use crate::limits::SMALL_TEXT_BYTES_MAX;
use crate::outbound::Events;
use crate::wire::fields::Fields;
use crate::wire::generation::take_stream;

/// Bytes of a whole answer, and of a streamed one, whose every piece brings some 300 along.
const WHOLE_BYTES_MAX: usize = 16 << 20;
const STREAM_BYTES_MAX: usize = 256 << 20;

/// A request that is for another server.
pub(crate) struct Asked {
    target: Target,
    body: Bytes,
    stream: bool,
    include_usage: bool,
}

impl Asked {
    /// None: the model is one of this server's, or nobody's, or the body cannot be read; whoever
    /// answers then says so.
    ///
    /// # Errors
    /// 400 naming the field that the other server has nothing for.
    pub(crate) fn of(app: &App, body: &[u8]) -> Result<Option<Asked>, ApiError> {
        let upstreams = &app.config.upstreams;
        if upstreams.is_empty() {
            return Ok(None);
        }
        let Ok(mut fields) = Fields::of_body(body) else { return Ok(None) };
        let Ok(Some(model)) = fields.string("model", SMALL_TEXT_BYTES_MAX) else {
            return Ok(None);
        };
        if app.has(&model) {
            return Ok(None);
        }
        let Some(target) = upstreams.find(&model)? else { return Ok(None) };
        let (stream, include_usage) = take_stream(&mut fields)?;
        let about = &target.place.about;
        let body = match about.kind {
            Kind::OpenAi => {
                if fields.boolean("store")? == Some(true) {
                    let message = "Chats with models of an upstream are not kept here.";
                    return Err(ApiError::unsupported("store", message));
                }
                openai::request(fields, &target.model, stream)?
            }
            Kind::Anthropic => anthropic::request(fields, &target.model, stream, about.max_tokens)?,
        };
        Ok(Some(Asked { target, body, stream, include_usage }))
    }
}

/// Asks the other server. Its answer's head comes first, so that what it refuses has a status.
pub(crate) async fn answer(app: &App, asked: Asked, meter: &Meter) -> Result<Response, ApiError> {
    let name = asked.target.place.about.name.clone();
    let mut request = app.config.upstreams.counts.begin(&name);
    match exchanged(app, &asked).await {
        Ok(Exchanged::Whole(whole)) => {
            request.ended("ok");
            count(meter, &asked.target.asked_as, &whole);
            Ok(Json(whole).into_response())
        }
        Ok(Exchanged::Stream(events)) => Ok(streamed(app, asked, events, request, meter.clone())),
        Err(failure) => {
            request.ended(failure.outcome());
            Err(failure.error(&name))
        }
    }
}

/// Counts what the other server says of an answer, in the shape that goes out.
fn count(meter: &Meter, model: &str, answer: &Value) {
    let tokens = |place| answer.pointer(place).and_then(Value::as_u64).unwrap_or(0) as usize;
    let cached = tokens("/usage/prompt_tokens_details/cached_tokens");
    meter.count(model, tokens("/usage/prompt_tokens"), cached, tokens("/usage/completion_tokens"));
}

enum Exchanged {
    Whole(Value),
    Stream(Events),
}

async fn exchanged(app: &App, asked: &Asked) -> Result<Exchanged, Failure> {
    let place = &asked.target.place;
    let path = match place.about.kind {
        Kind::OpenAi => "/chat/completions",
        Kind::Anthropic => "/messages",
    };
    let outbound = &app.config.upstreams.outbound;
    let answer = exchange::send(outbound, place, path, &asked.body).await?;
    if asked.stream {
        let kind = answer.content_type();
        if kind != "text/event-stream" {
            let kind: String = kind.chars().take(64).collect();
            return Err(no(&format!("'{kind}' instead of an event stream")));
        }
        return Ok(Exchanged::Stream(Events::new(answer.pieces(STREAM_BYTES_MAX))));
    }
    let whole = exchange::json(answer, WHOLE_BYTES_MAX).await?;
    let (model, key) = (&asked.target.asked_as, place.about.key.as_ref());
    Ok(Exchanged::Whole(match place.about.kind {
        Kind::OpenAi => openai::whole(whole, model, key)?,
        Kind::Anthropic => anthropic_answer::whole(&whole, model, key)?,
    }))
}

/// The answer as it comes. An event is read when the one before it was taken, so that a slow client
/// slows the other server down; a client that goes away drops the connection to it.
fn streamed(app: &App, asked: Asked, events: Events, request: Request, meter: Meter) -> Response {
    let about = &asked.target.place.about;
    let (model, key) = (&asked.target.asked_as, about.key.clone());
    let reader: Box<dyn Translate> = match about.kind {
        Kind::OpenAi => Box::new(openai::Reader::new(model, key, asked.include_usage)),
        Kind::Anthropic => Box::new(anthropic_answer::Reader::new(model, key, asked.include_usage)),
    };
    let live = Live {
        name: about.name.clone(),
        events: Some(events),
        reader,
        include_usage: asked.include_usage,
        request,
        meter,
        model: model.clone(),
        queue: VecDeque::new(),
        keep_alive: app.config.keep_alive,
        silent_until: Instant::now() + app.config.keep_alive,
    };
    event_stream(stream::unfold(live, |mut live| async move {
        let event = live.next().await?;
        Some((Ok::<_, Infallible>(event), live))
    }))
}

struct Live {
    name: String,
    /// None after the end.
    events: Option<Events>,
    reader: Box<dyn Translate>,
    include_usage: bool,
    request: Request,
    meter: Meter,
    model: String,
    queue: VecDeque<Bytes>,
    keep_alive: Duration,
    silent_until: Instant,
}

impl Live {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                self.silent_until = Instant::now() + self.keep_alive;
                return Some(event);
            }
            let events = self.events.as_mut()?;
            match timeout_at(self.silent_until, events.next()).await {
                Err(_) => self.queue.push_back(Bytes::from_static(KEEP_ALIVE)),
                Ok(Ok(Some(event))) => match self.reader.event(&event) {
                    Ok(pieces) => {
                        self.queue.extend(pieces.iter().map(data));
                        if self.reader.ended() {
                            self.end();
                        }
                    }
                    Err(failure) => self.fail(&failure),
                },
                Ok(Ok(None)) => self.end(),
                Ok(Err(error)) => self.fail(&error.into()),
            }
        }
    }

    fn end(&mut self) {
        if !self.reader.finished() {
            return self.fail(&no("it ended before it was whole"));
        }
        self.events = None;
        self.request.ended("ok");
        if let Some(last) = self.reader.last() {
            count(&self.meter, &self.model, &last);
            if self.include_usage {
                self.queue.push_back(data(&last));
            }
        }
        self.queue.push_back(Bytes::from_static(DONE));
    }

    fn fail(&mut self, failure: &Failure) {
        self.events = None;
        self.request.ended(failure.outcome());
        self.queue.push_back(data(&failure.error(&self.name).body()));
    }
}
