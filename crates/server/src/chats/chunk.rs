//! Turns a chunk of a streamed chat completion into what matters of it here.

use serde::Deserialize;

/// A chunk.
#[derive(Deserialize)]
pub struct Chunk {
    pub error: Option<Told>,
    #[serde(default)]
    pub choices: Vec<Choice>,
    pub usage: Option<Tokens>,
}

/// An error.
#[derive(Deserialize)]
pub struct Told {
    pub message: String,
    pub code: Option<String>,
}

/// A piece of the only answer.
#[derive(Deserialize)]
pub struct Choice {
    #[serde(default)]
    pub delta: Delta,
    pub finish_reason: Option<String>,
}

/// What is added.
#[derive(Default, Deserialize)]
pub struct Delta {
    content: Option<String>,
    reasoning_content: Option<String>,
    reasoning: Option<String>,
    tool_calls: Option<Vec<CallDelta>>,
}

#[derive(Deserialize)]
struct CallDelta {
    #[serde(default)]
    index: usize,
    id: Option<String>,
    #[serde(default)]
    function: FunctionDelta,
}

#[derive(Default, Deserialize)]
struct FunctionDelta {
    name: Option<String>,
    arguments: Option<String>,
}

/// Tokens that were counted.
#[derive(Deserialize)]
pub struct Tokens {
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    prompt_tokens_details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    cached_tokens: u64,
}

impl Tokens {
    pub fn cached(&self) -> Option<u64> {
        self.prompt_tokens_details.as_ref().map(|details| details.cached_tokens)
    }
}

/// What one request was answered.
#[derive(Debug, Default)]
pub struct Said {
    pub content: String,
    pub reasoning: String,
    pub calls: Vec<Asked>,
    /// Whether the limit of tokens ended it.
    pub cut: bool,
}

/// A call as the model writes it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Asked {
    pub id: String,
    pub name: String,
    /// JSON, or what the model took for it.
    pub arguments: String,
}

impl Delta {
    /// The piece of text, and that of reasoning.
    pub fn texts(&mut self) -> (Option<String>, Option<String>) {
        let some = |text: Option<String>| text.filter(|text| !text.is_empty());
        let content = some(self.content.take());
        (content, some(self.reasoning_content.take().or(self.reasoning.take())))
    }

    /// Adds pieces of calls; false where one is of a call beyond `most`, or longer than `bytes`.
    pub fn add_calls(self, calls: &mut Vec<Asked>, most: usize, bytes: usize) -> bool {
        for piece in self.tool_calls.into_iter().flatten() {
            if piece.index >= most {
                return false;
            }
            if calls.len() <= piece.index {
                calls.resize(piece.index + 1, Asked::default());
            }
            let call = &mut calls[piece.index];
            if let Some(id) = piece.id.filter(|_| call.id.is_empty()) {
                call.id = id;
            }
            call.name.push_str(piece.function.name.as_deref().unwrap_or_default());
            call.arguments.push_str(piece.function.arguments.as_deref().unwrap_or_default());
            if call.arguments.len() > bytes || call.name.len() > bytes {
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn calls_are_put_together_from_pieces_within_bounds() {
        let delta = |calls: Value| -> Delta {
            serde_json::from_value(json!({ "tool_calls": calls })).expect("a delta")
        };
        let mut calls = Vec::new();
        let piece = |index: usize, arguments: &str| {
            delta(json!([{ "index": index, "function": { "arguments": arguments } }]))
        };
        let begun =
            json!([{ "index": 0, "id": "c", "function": { "name": "n", "arguments": "" } }]);
        assert!(delta(begun).add_calls(&mut calls, 2, 9));
        assert!(piece(0, "{\"a\"").add_calls(&mut calls, 2, 9));
        assert!(piece(0, ":1}").add_calls(&mut calls, 2, 9));
        let whole = Asked { id: "c".into(), name: "n".into(), arguments: "{\"a\":1}".into() };
        assert_eq!(calls, [whole]);
        assert!(!piece(2, "").add_calls(&mut calls, 2, 9), "too many");
        assert!(!piece(0, "1234").add_calls(&mut calls, 2, 9), "too long");
    }
}
