//! Turns what is known of a response into the object that clients get, and that is kept.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::items::Item;
use crate::wire::usage::Usage;

/// How far a response has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It waits for the engine, without a client.
    Queued,
    /// It grows.
    InProgress,
    /// It is whole.
    Completed,
    /// It was cut at its length.
    Incomplete,
    /// Its client did not want it any more.
    Cancelled,
    /// The engine failed.
    Failed,
}

/// A response; all fields are always there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResponseObject {
    /// `resp_…`
    pub id: String,
    /// `response`
    pub object: String,
    /// Seconds since 1970.
    pub created_at: u64,
    /// How far it has come.
    pub status: Status,
    /// When it was whole.
    pub completed_at: Option<u64>,
    /// Where it failed.
    pub error: Option<Failure>,
    /// Where it is incomplete.
    pub incomplete_details: Option<Incomplete>,
    /// The name under which the model is served.
    pub model: String,
    /// What the model wrote.
    pub output: Vec<Item>,
    /// Tokens in and out, once it has ended.
    pub usage: Option<ResponseUsage>,
    /// What was asked for.
    #[serde(flatten)]
    pub settings: Map<String, Value>,
}

/// Why a response failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// `server_error`
    pub code: String,
    /// In words.
    pub message: String,
}

/// Why a response is incomplete.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incomplete {
    /// `max_output_tokens`
    pub reason: String,
}

/// Tokens in and out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResponseUsage {
    input_tokens: usize,
    input_tokens_details: InputDetails,
    output_tokens: usize,
    output_tokens_details: OutputDetails,
    total_tokens: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct InputDetails {
    cached_tokens: usize,
    /// Nobody pays for what is written to the cache.
    cache_write_tokens: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct OutputDetails {
    reasoning_tokens: usize,
}

impl From<Usage> for ResponseUsage {
    fn from(usage: Usage) -> ResponseUsage {
        ResponseUsage {
            input_tokens: usage.prompt_tokens(),
            input_tokens_details: InputDetails {
                cached_tokens: usage.cached_tokens(),
                cache_write_tokens: 0,
            },
            output_tokens: usage.completion_tokens(),
            output_tokens_details: OutputDetails { reasoning_tokens: usage.reasoning_tokens() },
            total_tokens: usage.prompt_tokens() + usage.completion_tokens(),
        }
    }
}

/// A response with what it answers, as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Kept {
    /// The response.
    pub response: ResponseObject,
    /// The items that came with the request.
    pub input: Vec<Item>,
    /// Items before those that are kept nowhere else for as long.
    pub earlier: Vec<Item>,
    /// The response before all of them.
    pub base: Option<String>,
}
