//! Turns the JSON of `/v1/moderations` into texts, and the scores of their categories into JSON.

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::fields::{Fields, elements, kind, wrong_type};
use super::moderation_policy::{CATEGORIES, THRESHOLD};
use crate::errors::ApiError;
use crate::limits::{MODERATION_INPUTS_MAX, SMALL_TEXT_BYTES_MAX};

/// What is to be moderated.
#[derive(Clone, Debug, PartialEq)]
pub struct ModerationRequest {
    /// Which model; absent means the one that is served.
    pub model: Option<String>,
    /// The texts; each gets a result.
    pub inputs: Vec<String>,
}

const NAME: &str = "input";
const EXPECTED: &str = "a string, an array of strings, or an array of parts of type 'text'";

impl ModerationRequest {
    /// Reads a request's body.
    ///
    /// # Errors
    /// 400 naming the parameter that is wrong, unknown, or not supported.
    pub fn parse(body: &[u8]) -> Result<ModerationRequest, ApiError> {
        let mut fields = Fields::of_body(body)?;
        let model = fields.string("model", SMALL_TEXT_BYTES_MAX)?;
        let input = fields.raw(NAME).ok_or_else(|| ApiError::missing(NAME))?;
        let inputs = take_inputs(input)?;
        fields.none_left()?;
        Ok(ModerationRequest { model, inputs })
    }
}

/// Strings are one input each; the parts of an array of parts are one together.
fn take_inputs(input: &RawValue) -> Result<Vec<String>, ApiError> {
    match kind(input) {
        "a string" => Ok(vec![take_text(input)?]),
        "an array" => {
            let values = elements(input, NAME, MODERATION_INPUTS_MAX)?;
            let Some(first) = values.first() else {
                let message = format!("'{NAME}' is empty. Right would be {EXPECTED}.");
                return Err(ApiError::invalid(NAME, message));
            };
            if kind(first) == "a string" {
                return values.into_iter().map(take_text).collect();
            }
            let parts = values.into_iter().enumerate().map(|(at, part)| take_part(part, at));
            let parts: Result<Vec<_>, _> = parts.collect();
            Ok(vec![parts?.join("\n")])
        }
        _ => Err(wrong_type(NAME, EXPECTED, input)),
    }
}

fn take_text(value: &RawValue) -> Result<String, ApiError> {
    serde_json::from_str(value.get()).map_err(|_| wrong_type(NAME, EXPECTED, value))
}

fn take_part(value: &RawValue, at: usize) -> Result<String, ApiError> {
    let mut fields = Fields::of_value(value, format!("{NAME}[{at}]"))?;
    let name = fields.name("type");
    match fields.string("type", SMALL_TEXT_BYTES_MAX)?.as_deref() {
        Some("text") => {}
        Some(other) => {
            let shown: String = other.chars().take(32).collect();
            let message =
                format!("'{name}' is '{shown}', but this server moderates parts of type 'text'.");
            return Err(ApiError::unsupported(name, message));
        }
        None => return Err(ApiError::missing(&name)),
    }
    let name = fields.name("text");
    let text = fields.string("text", usize::MAX)?.ok_or_else(|| ApiError::missing(&name))?;
    fields.none_left()?;
    Ok(text)
}

/// The answer of `/v1/moderations`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ModerationResponse {
    /// `modr-…`
    pub id: String,
    /// The name under which the model that judged is served.
    pub model: String,
    /// One for each input.
    pub results: Vec<Moderation>,
}

/// What was found in one input.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Moderation {
    /// Whether any category is.
    flagged: bool,
    /// Whether each category is.
    #[schema(value_type = std::collections::HashMap<String, bool>)]
    categories: Map<String, Value>,
    /// From 0 to 1.
    #[schema(value_type = std::collections::HashMap<String, f64>)]
    category_scores: Map<String, Value>,
    /// What kinds of input each score is about.
    #[schema(value_type = std::collections::HashMap<String, Vec<String>>)]
    category_applied_input_types: Map<String, Value>,
}

impl Moderation {
    /// A result of one score for each category, in their order.
    pub fn new(scores: &[f64]) -> Moderation {
        let named = |value: &dyn Fn(f64) -> Value| {
            let all = CATEGORIES.iter().zip(scores);
            all.map(|(category, score)| (category.name.to_owned(), value(*score))).collect()
        };
        Moderation {
            flagged: scores.iter().any(|score| *score >= THRESHOLD),
            categories: named(&|score| json!(score >= THRESHOLD)),
            category_scores: named(&|score| json!(score)),
            category_applied_input_types: named(&|_| json!(["text"])),
        }
    }
}
