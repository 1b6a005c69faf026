//! Turns the answers of Anthropic's `/v1/messages`, whole and streamed, into OpenAI's.

use serde_json::{Map, Value, json};

use super::exchange::no;
use super::failure::Failure;
use super::shape::{Envelope, Translate, piece, usage};
use crate::outbound::Key;

/// A whole answer.
///
/// # Errors
/// Where it is none.
pub fn whole(answer: &Value, model: &str, key: Option<&Key>) -> Result<Value, Failure> {
    if answer["type"] == "error" {
        return Err(Failure::told(answer, key));
    }
    let blocks = answer["content"].as_array().ok_or_else(|| no("it has no content"))?;
    let (mut text, mut thoughts, mut calls) = (String::new(), String::new(), Vec::new());
    for block in blocks {
        match block["type"].as_str() {
            Some("text") => text.push_str(block["text"].as_str().unwrap_or_default()),
            Some("thinking") => thoughts.push_str(block["thinking"].as_str().unwrap_or_default()),
            Some("tool_use") => calls.push(json!({
                "id": block["id"].as_str().ok_or_else(|| no("a call has no id"))?,
                "type": "function",
                "function": { "name": block["name"], "arguments": block["input"].to_string() },
            })),
            // Thoughts that only the other side can read, and kinds that are not asked for.
            _ => {}
        }
    }
    let mut message = json!({ "role": "assistant", "content": text, "refusal": null,
                              "annotations": [] });
    if text.is_empty() && !calls.is_empty() {
        message["content"] = Value::Null;
    }
    if !thoughts.is_empty() {
        message["reasoning_content"] = thoughts.clone().into();
        message["reasoning"] = thoughts.into();
    }
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    let choice = json!({
        "index": 0,
        "message": message,
        "logprobs": null,
        "finish_reason": reason(answer["stop_reason"].as_str().unwrap_or_default()),
    });
    let told = answer["usage"].as_object().map_or(Value::Null, usage_of);
    Ok(Envelope::new(model).whole(json!([choice]), told))
}

/// OpenAI's word for why an answer ended.
fn reason(stop: &str) -> &'static str {
    match stop {
        "max_tokens" | "model_context_window_exceeded" => "length",
        "tool_use" => "tool_calls",
        "refusal" => "content_filter",
        _ => "stop",
    }
}

/// Anthropic counts cached tokens apart; OpenAI among those of the prompt.
fn usage_of(told: &Map<String, Value>) -> Value {
    let number = |name: &str| told.get(name).and_then(Value::as_u64).unwrap_or(0);
    let cached = number("cache_read_input_tokens");
    let written = number("cache_creation_input_tokens");
    let prompt = number("input_tokens").saturating_add(cached).saturating_add(written);
    let details = told.get("output_tokens_details");
    let thought = details.and_then(|details| details["thinking_tokens"].as_u64()).unwrap_or(0);
    usage(prompt, cached, number("output_tokens"), thought)
}

/// Reads the events of one answer.
pub struct Reader {
    envelope: Envelope,
    key: Option<Key>,
    include_usage: bool,
    /// Places of blocks that are calls: the place among all blocks, in order of the calls.
    calls: Vec<u64>,
    usage: Map<String, Value>,
    finished: bool,
    ended: bool,
}

impl Reader {
    pub fn new(model: &str, key: Option<Key>, include_usage: bool) -> Reader {
        Reader {
            envelope: Envelope::new(model),
            key,
            include_usage,
            calls: Vec::new(),
            usage: Map::new(),
            finished: false,
            ended: false,
        }
    }

    fn chunk(&self, delta: Value, finish: Option<&str>) -> Vec<Value> {
        vec![self.envelope.chunk(piece(delta, finish), self.include_usage)]
    }

    /// Later counts of a stream are totals, and replace earlier ones.
    fn count(&mut self, told: &Value) {
        for (name, value) in told.as_object().into_iter().flatten() {
            if !value.is_null() {
                self.usage.insert(name.clone(), value.clone());
            }
        }
    }

    fn begin(&mut self, event: &Value) -> Result<Vec<Value>, Failure> {
        let block = &event["content_block"];
        if block["type"] != "tool_use" {
            // Text may stand in a block's beginning already.
            return Ok(self.grow(block["text"].as_str(), block["thinking"].as_str()));
        }
        let place = event["index"].as_u64().ok_or_else(|| no("a block without a place"))?;
        let (Some(id), Some(name)) = (block["id"].as_str(), block["name"].as_str()) else {
            return Err(no("a call without id or name"));
        };
        let call = json!({
            "index": self.calls.len(),
            "id": id,
            "type": "function",
            "function": { "name": name, "arguments": "" },
        });
        self.calls.push(place);
        Ok(self.chunk(json!({ "tool_calls": [call] }), None))
    }

    fn delta(&mut self, event: &Value) -> Result<Vec<Value>, Failure> {
        let delta = &event["delta"];
        let Some(json) = delta["partial_json"].as_str() else {
            // Signatures and citations are neither.
            return Ok(self.grow(delta["text"].as_str(), delta["thinking"].as_str()));
        };
        let place = event["index"].as_u64();
        let index = self.calls.iter().position(|call| Some(*call) == place);
        let index = index.ok_or_else(|| no("arguments of a call that did not begin"))?;
        if json.is_empty() {
            return Ok(Vec::new());
        }
        let call = json!({ "index": index, "function": { "arguments": json } });
        Ok(self.chunk(json!({ "tool_calls": [call] }), None))
    }

    fn grow(&self, text: Option<&str>, thoughts: Option<&str>) -> Vec<Value> {
        match (text.unwrap_or_default(), thoughts.unwrap_or_default()) {
            ("", "") => Vec::new(),
            ("", thoughts) => {
                let delta = json!({ "reasoning_content": thoughts, "reasoning": thoughts });
                self.chunk(delta, None)
            }
            (text, _) => self.chunk(json!({ "content": text }), None),
        }
    }
}

impl Translate for Reader {
    fn event(&mut self, data: &str) -> Result<Vec<Value>, Failure> {
        let event: Value =
            serde_json::from_str(data).map_err(|_| no("an event that is no JSON"))?;
        match event["type"].as_str() {
            Some("message_start") => {
                self.count(&event["message"]["usage"]);
                let first = json!({ "role": "assistant", "content": "", "refusal": null });
                Ok(self.chunk(first, None))
            }
            Some("content_block_start") => self.begin(&event),
            Some("content_block_delta") => self.delta(&event),
            Some("message_delta") => {
                self.count(&event["usage"]);
                let Some(stop) = event["delta"]["stop_reason"].as_str() else {
                    return Ok(Vec::new());
                };
                self.finished = true;
                Ok(self.chunk(json!({}), Some(reason(stop))))
            }
            Some("message_stop") => {
                self.ended = true;
                Ok(Vec::new())
            }
            Some("error") => Err(Failure::told(&event, self.key.as_ref())),
            // Ends of blocks, signs of life, and what may be added one day.
            Some(_) => Ok(Vec::new()),
            None => Err(no("an event without a type")),
        }
    }

    fn finished(&self) -> bool {
        self.finished
    }

    fn ended(&self) -> bool {
        self.ended
    }

    fn last(&self) -> Option<Value> {
        (!self.usage.is_empty()).then(|| self.envelope.last(usage_of(&self.usage)))
    }
}
