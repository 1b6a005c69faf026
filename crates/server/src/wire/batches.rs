//! Turns batches into JSON and rows, requests for them into what they mean, and lines into JSON.

use myriad_store::Document;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::fields::Fields;
use super::files::take_expiry;
use super::metadata;
use crate::errors::ApiError;
use crate::limits::SMALL_TEXT_BYTES_MAX;

/// Its lines are checked.
pub const VALIDATING: &str = "validating";
/// A line is wrong.
pub const FAILED: &str = "failed";
/// Its lines are answered.
pub const IN_PROGRESS: &str = "in_progress";
/// Its answers are written to files.
pub const FINALIZING: &str = "finalizing";
/// All lines have their answers.
pub const COMPLETED: &str = "completed";
/// Its time was over before that.
pub const EXPIRED: &str = "expired";
/// Its owner gave it up; what there is is written to files.
pub const CANCELLING: &str = "cancelling";
/// Its owner gave it up.
pub const CANCELLED: &str = "cancelled";

/// Whether the server works on a batch in this state.
pub fn is_at_work(state: &str) -> bool {
    [VALIDATING, IN_PROGRESS, FINALIZING, CANCELLING].contains(&state)
}

/// A batch as clients see it.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub struct BatchObject {
    /// Its name.
    pub id: String,
    /// Always `batch`.
    pub object: String,
    /// The path that all its lines ask.
    pub endpoint: String,
    /// The model that all its lines ask, once that is known.
    pub model: Option<String>,
    /// What is wrong with it.
    pub errors: Option<ErrorList>,
    /// The file of its lines.
    pub input_file_id: String,
    /// Always `24h`.
    pub completion_window: String,
    /// What is happening to it.
    pub status: String,
    /// The file of answers.
    pub output_file_id: Option<String>,
    /// The file of lines without one.
    pub error_file_id: Option<String>,
    /// All times are seconds since 1970.
    pub created_at: i64,
    /// See the status of this name.
    pub in_progress_at: Option<i64>,
    /// When it is over, finished or not.
    pub expires_at: Option<i64>,
    /// See the status of this name.
    pub finalizing_at: Option<i64>,
    /// See the status of this name.
    pub completed_at: Option<i64>,
    /// See the status of this name.
    pub failed_at: Option<i64>,
    /// See the status of this name.
    pub expired_at: Option<i64>,
    /// See the status of this name.
    pub cancelling_at: Option<i64>,
    /// See the status of this name.
    pub cancelled_at: Option<i64>,
    /// Lines, and what became of them.
    pub request_counts: RequestCounts,
    /// Tokens of all answers.
    pub usage: BatchUsage,
    /// The client's own words about it.
    #[schema(value_type = Option<std::collections::HashMap<String, String>>)]
    pub metadata: Option<Map<String, Value>>,
}

/// A list of what is wrong.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub struct ErrorList {
    /// Always `list`.
    pub object: String,
    /// The first ones.
    pub data: Vec<LineError>,
}

/// What is wrong with a batch.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct LineError {
    /// A name for programs.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// The parameter that is wrong.
    pub param: Option<String>,
    /// The line, from 1.
    pub line: Option<u64>,
}

/// Lines, and what became of them.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct RequestCounts {
    /// All.
    pub total: u64,
    /// Those with an answer.
    pub completed: u64,
    /// Those with an error.
    pub failed: u64,
}

/// Tokens of all answers.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct BatchUsage {
    input_tokens: u64,
    input_tokens_details: InputDetails,
    output_tokens: u64,
    output_tokens_details: OutputDetails,
    total_tokens: u64,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[schema(as = BatchInputDetails)]
#[serde(default)]
struct InputDetails {
    cached_tokens: u64,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[schema(as = BatchOutputDetails)]
#[serde(default)]
struct OutputDetails {
    reasoning_tokens: u64,
}

/// Tokens of one answer, in the words of any endpoint.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AnswerUsage {
    #[serde(alias = "prompt_tokens")]
    input_tokens: u64,
    #[serde(alias = "prompt_tokens_details")]
    input_tokens_details: Option<InputDetails>,
    #[serde(alias = "completion_tokens")]
    output_tokens: u64,
    #[serde(alias = "completion_tokens_details")]
    output_tokens_details: Option<OutputDetails>,
    total_tokens: u64,
}

impl BatchUsage {
    /// Adds what a line's answer says of itself.
    pub fn add(&mut self, line: &str) {
        #[derive(Deserialize)]
        struct Line {
            response: Option<Response>,
        }
        #[derive(Deserialize)]
        struct Response {
            body: Body,
        }
        #[derive(Deserialize)]
        struct Body {
            usage: Option<AnswerUsage>,
        }
        let line = serde_json::from_str::<Line>(line).ok();
        let Some(usage) = line.and_then(|line| line.response?.body.usage) else { return };
        self.input_tokens += usage.input_tokens;
        self.output_tokens += usage.output_tokens;
        self.total_tokens += usage.total_tokens;
        let (input, output) = (usage.input_tokens_details, usage.output_tokens_details);
        self.input_tokens_details.cached_tokens += input.unwrap_or_default().cached_tokens;
        self.output_tokens_details.reasoning_tokens += output.unwrap_or_default().reasoning_tokens;
    }
}

/// What a batch's row holds as its body.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct BatchRecord {
    /// As clients see it; its counts move at the end alone.
    pub batch: BatchObject,
    /// The name that the file of answers will have: so that it is written once, however often
    /// that is begun.
    pub output_file: String,
    /// The same of the file of errors.
    pub error_file: String,
    /// For how many seconds both will be kept, where that was wished.
    pub output_seconds: Option<i64>,
}

impl BatchRecord {
    /// The record in a row.
    ///
    /// # Errors
    /// Where the row holds something else.
    pub fn of(document: &Document) -> Result<BatchRecord, serde_json::Error> {
        serde_json::from_str(&document.body)
    }

    /// The row with this record in it.
    pub fn into_row(self, document: Document) -> Document {
        // Strings and numbers are always JSON.
        let body = serde_json::to_string(&self).unwrap_or_default();
        Document { state: self.batch.status, body, ..document }
    }
}

/// A wish for a batch.
#[derive(Clone, Debug)]
pub struct BatchRequest {
    /// The file of its lines.
    pub input_file_id: String,
    /// The path that all its lines ask.
    pub endpoint: String,
    /// The client's own words about it.
    pub metadata: Option<Map<String, Value>>,
    /// For how many seconds what it writes is kept.
    pub output_seconds: Option<i64>,
}

impl BatchRequest {
    /// Reads a request's body; `endpoints` are those that can be asked.
    ///
    /// # Errors
    /// 400 naming the parameter that is wrong or unknown.
    pub fn parse(body: &[u8], endpoints: &[&str]) -> Result<BatchRequest, ApiError> {
        let mut fields = Fields::of_body(body)?;
        let input_file_id = required(&mut fields, "input_file_id")?;
        let endpoint = one_of(&mut fields, "endpoint", endpoints)?;
        one_of(&mut fields, "completion_window", &["24h"])?;
        let metadata = Some(metadata::take(&mut fields)?).filter(|pairs| !pairs.is_empty());
        let output_seconds = take_expiry(&mut fields, "output_expires_after")?;
        fields.none_left()?;
        Ok(BatchRequest { input_file_id, endpoint, metadata, output_seconds })
    }
}

fn required(fields: &mut Fields<'_>, name: &str) -> Result<String, ApiError> {
    fields.string(name, SMALL_TEXT_BYTES_MAX)?.ok_or_else(|| ApiError::missing(name))
}

fn one_of(fields: &mut Fields<'_>, name: &str, right: &[&str]) -> Result<String, ApiError> {
    let value = required(fields, name)?;
    if right.contains(&value.as_str()) {
        return Ok(value);
    }
    let shown: String = value.chars().take(64).collect();
    let right = right.join("', '");
    let message = format!("Invalid value for '{name}': '{shown}'. Right would be '{right}'.");
    Err(ApiError::invalid(name, message))
}

/// What became of a line, as it stands in a file.
#[derive(Clone, Debug, Serialize)]
pub struct OutputLine<'a> {
    /// The name of what was done for it.
    pub id: &'a str,
    /// The client's own name for it.
    pub custom_id: &'a str,
    /// What its request was answered, error or not.
    pub response: Option<OutputResponse>,
    /// Why there was no answer.
    pub error: Option<OutputError>,
}

/// What a line's request was answered.
#[derive(Clone, Debug, Serialize)]
pub struct OutputResponse {
    /// The HTTP status.
    pub status_code: u16,
    /// The name of the request in logs.
    pub request_id: String,
    /// The JSON of the answer.
    pub body: Box<RawValue>,
}

/// Why a line has no answer.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct OutputError {
    /// A name for programs.
    pub code: &'static str,
    /// The reason.
    pub message: &'static str,
}

impl OutputLine<'_> {
    /// The line without its break.
    pub fn text(&self) -> String {
        // Strings and JSON that was read are always JSON.
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_of_any_endpoint_is_summed() {
        let mut usage = BatchUsage::default();
        let line = |usage: &str| format!(r#"{{"response":{{"body":{{"usage":{usage}}}}}}}"#);
        usage.add(&line(
            r#"{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7,
                "prompt_tokens_details":{"cached_tokens":3},
                "completion_tokens_details":{"reasoning_tokens":1}}"#,
        ));
        usage.add(&line(
            r#"{"input_tokens":10,"output_tokens":20,"total_tokens":30,
                "input_tokens_details":{"cached_tokens":1},"output_tokens_details":null}"#,
        ));
        usage.add(&line(r#"{"prompt_tokens":4,"total_tokens":4}"#));
        for nothing in ["", "{}", r#"{"response":null}"#, &line("null")] {
            usage.add(nothing);
        }
        let right = BatchUsage {
            input_tokens: 19,
            input_tokens_details: InputDetails { cached_tokens: 4 },
            output_tokens: 22,
            output_tokens_details: OutputDetails { reasoning_tokens: 1 },
            total_tokens: 41,
        };
        assert_eq!(usage, right);
    }
}
