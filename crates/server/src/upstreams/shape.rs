//! Turns what other servers say into answers with every field that ours have.

use serde_json::{Map, Value, json};

use super::failure::Failure;
use crate::app::unix_seconds;
use crate::random;

/// What all pieces of an answer share.
pub struct Envelope {
    id: String,
    created: u64,
    /// As the request called the model.
    model: String,
}

impl Envelope {
    pub fn new(model: &str) -> Envelope {
        let (id, created) = (random::identifier("chatcmpl-"), unix_seconds());
        Envelope { id, created, model: model.to_owned() }
    }

    /// A piece of an answer.
    pub fn chunk(&self, choices: Value, include_usage: bool) -> Value {
        let mut chunk = self.around("chat.completion.chunk", choices);
        if include_usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    }

    /// The piece that tells the usage.
    pub fn last(&self, usage: Value) -> Value {
        let mut chunk = self.around("chat.completion.chunk", json!([]));
        chunk["usage"] = usage;
        chunk
    }

    /// A whole answer.
    pub fn whole(&self, choices: Value, usage: Value) -> Value {
        let mut whole = self.around("chat.completion", choices);
        whole["usage"] = usage;
        whole
    }

    fn around(&self, object: &str, choices: Value) -> Value {
        json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": self.model,
            // Another server's computation is not ours to vouch for.
            "system_fingerprint": null,
            "service_tier": null,
            "choices": choices,
        })
    }
}

/// A piece of the only choice.
pub fn piece(delta: Value, finish: Option<&str>) -> Value {
    json!([{ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish }])
}

/// Tokens in and out, as ours are told.
pub fn usage(prompt: u64, cached: u64, completion: u64, reasoning: u64) -> Value {
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt.saturating_add(completion),
        "prompt_tokens_details": { "cached_tokens": cached },
        "completion_tokens_details": { "reasoning_tokens": reasoning },
    })
}

/// A message or a delta, whose thoughts stand under both names that clients know.
pub fn with_both_names(said: &mut Map<String, Value>) {
    const NAMES: [&str; 2] = ["reasoning_content", "reasoning"];
    let text = NAMES.iter().find_map(|name| said.get(*name).filter(|text| text.is_string()));
    match text.cloned() {
        Some(text) => {
            for name in NAMES {
                said.insert(name.to_owned(), text.clone());
            }
        }
        // Other forms of them are not ours.
        None => NAMES.iter().for_each(|name| drop(said.remove(*name))),
    }
}

/// What streams of a dialect become.
pub trait Translate: Send {
    /// What an event becomes; often nothing.
    ///
    /// # Errors
    /// Where it is an error, or cannot be read.
    fn event(&mut self, data: &str) -> Result<Vec<Value>, Failure>;

    /// Whether the answer is whole.
    fn finished(&self) -> bool;

    /// Whether nothing of use comes any more.
    fn ended(&self) -> bool;

    /// The piece that tells tokens in and out, where they were told.
    fn last(&self) -> Option<Value>;
}
