//! Turns chat requests into those of another server with OpenAI's API, and its answers into ours.
//!
//! A request goes out as it came, under the server's own name of the model: which fields it takes
//! is its own affair, and its refusals are shown.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};

use super::exchange::no;
use super::failure::Failure;
use super::shape::{Envelope, Translate, usage, with_both_names};
use crate::errors::ApiError;
use crate::outbound::Key;
use crate::wire::fields::Fields;

/// The body to send; `stream` where the answer is to come in pieces. Usage is asked for always: it
/// is counted, whether the client wants to see it or not.
pub fn request(fields: Fields<'_>, model: &str, stream: bool) -> Result<Bytes, ApiError> {
    let (model, yes) = (raw(&json!(model))?, raw(&json!({ "include_usage": true }))?);
    let mut body: BTreeMap<String, &RawValue> = fields.rest();
    body.insert("model".to_owned(), &model);
    let streams = raw(&json!(true))?;
    if stream {
        body.insert("stream".to_owned(), &streams);
        body.insert("stream_options".to_owned(), &yes);
    }
    Ok(serde_json::to_vec(&body).map_err(|_| ApiError::internal())?.into())
}

fn raw(value: &Value) -> Result<Box<RawValue>, ApiError> {
    to_raw_value(value).map_err(|_| ApiError::internal())
}

/// A whole answer.
///
/// # Errors
/// Where it is none.
pub fn whole(mut answer: Value, model: &str, key: Option<&Key>) -> Result<Value, Failure> {
    if let Some(error) = error_in(&answer) {
        return Err(Failure::told(error, key));
    }
    let mut choices = choices_of(&mut answer)?;
    for (at, choice) in choices.iter_mut().enumerate() {
        let choice = choice.as_object_mut().ok_or_else(|| no("a choice is no object"))?;
        fill(choice, &[("index", json!(at)), ("logprobs", Value::Null)]);
        fill(choice, &[("finish_reason", json!("stop"))]);
        let message = choice.get_mut("message").and_then(Value::as_object_mut);
        let message = message.ok_or_else(|| no("a choice has no message"))?;
        message.insert("role".to_owned(), json!("assistant"));
        fill(message, &[("content", Value::Null), ("refusal", Value::Null)]);
        fill(message, &[("annotations", json!([]))]);
        with_both_names(message);
    }
    if choices.is_empty() {
        return Err(no("it has no choices"));
    }
    let told = usage_of(&answer).unwrap_or(Value::Null);
    Ok(Envelope::new(model).whole(choices.into(), told))
}

/// Reads the events of one answer.
pub struct Reader {
    envelope: Envelope,
    key: Option<Key>,
    include_usage: bool,
    finished: bool,
    ended: bool,
    usage: Option<Value>,
}

impl Reader {
    pub fn new(model: &str, key: Option<Key>, include_usage: bool) -> Reader {
        let envelope = Envelope::new(model);
        Reader { envelope, key, include_usage, finished: false, ended: false, usage: None }
    }
}

impl Translate for Reader {
    fn event(&mut self, data: &str) -> Result<Vec<Value>, Failure> {
        if data.trim() == "[DONE]" {
            (self.finished, self.ended) = (true, true);
            return Ok(Vec::new());
        }
        let mut chunk: Value =
            serde_json::from_str(data).map_err(|_| no("an event that is no JSON"))?;
        if let Some(error) = error_in(&chunk) {
            return Err(Failure::told(error, self.key.as_ref()));
        }
        self.usage = usage_of(&chunk).or(self.usage.take());
        let mut choices = choices_of(&mut chunk)?;
        for choice in &mut choices {
            let choice = choice.as_object_mut().ok_or_else(|| no("a choice is no object"))?;
            fill(choice, &[("index", json!(0)), ("delta", json!({}))]);
            fill(choice, &[("logprobs", Value::Null), ("finish_reason", Value::Null)]);
            self.finished |= choice["finish_reason"].is_string();
            let delta = choice.get_mut("delta").and_then(Value::as_object_mut);
            with_both_names(delta.ok_or_else(|| no("a delta is no object"))?);
        }
        // The usage comes in a piece without choices, and goes out in one of ours.
        Ok(match choices.is_empty() {
            true => Vec::new(),
            false => vec![self.envelope.chunk(choices.into(), self.include_usage)],
        })
    }

    fn finished(&self) -> bool {
        self.finished
    }

    fn ended(&self) -> bool {
        self.ended
    }

    fn last(&self) -> Option<Value> {
        self.usage.clone().map(|usage| self.envelope.last(usage))
    }
}

fn error_in(answer: &Value) -> Option<&Value> {
    answer.get("error").filter(|error| !error.is_null()).map(|_| answer)
}

fn choices_of(answer: &mut Value) -> Result<Vec<Value>, Failure> {
    match answer.get_mut("choices").map(Value::take) {
        Some(Value::Array(choices)) => Ok(choices),
        _ => Err(no("it has no choices")),
    }
}

fn usage_of(answer: &Value) -> Option<Value> {
    let told = answer.get("usage").filter(|usage| usage.is_object())?;
    let number = |pointer: &str| told.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    Some(usage(
        number("/prompt_tokens"),
        number("/prompt_tokens_details/cached_tokens"),
        number("/completion_tokens"),
        number("/completion_tokens_details/reasoning_tokens"),
    ))
}

fn fill(object: &mut Map<String, Value>, defaults: &[(&str, Value)]) {
    for (name, default) in defaults {
        object.entry(*name).or_insert_with(|| default.clone());
    }
}
