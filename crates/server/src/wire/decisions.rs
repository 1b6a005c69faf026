//! Turns the JSON of `/v1/decisions` into questions, and probabilities into typed answers.

use myriad_engine::Usage;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::decision_input::{self, needed, take_content};
use super::fields::{Fields, kind, wrong_type};
use super::generation::hash;
use crate::errors::ApiError;
use crate::limits::{
    QUESTION_CHOICES_MAX, QUESTION_LEVELS_MAX, QUESTIONS_MAX, SMALL_TEXT_BYTES_MAX,
};

/// Questions about an input.
#[derive(Clone, Debug, PartialEq)]
pub struct DecisionRequest {
    /// Which model; absent means the one that is served.
    pub model: Option<String>,
    /// What is asked about.
    pub input: String,
    /// What is asked.
    pub questions: Vec<DecisionQuestion>,
    /// `prompt_cache_key`: prompts share cached prefixes only under the same one.
    pub cache_salt: u64,
}

/// A question with the answers that it may have.
#[derive(Clone, Debug, PartialEq)]
pub struct DecisionQuestion {
    name: Option<String>,
    instructions: String,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    /// Whether a statement is true.
    Predicate,
    /// One of several values: strings or booleans.
    Choice(Vec<Answerable<Value>>),
    /// One of several levels, the lowest first.
    Score(Vec<Answerable<String>>),
}

/// A value or a level, and what it means.
#[derive(Clone, Debug, PartialEq)]
struct Answerable<T> {
    value: T,
    description: Option<String>,
}

impl DecisionRequest {
    /// Reads a request's body.
    ///
    /// # Errors
    /// 400 naming the parameter that is wrong, unknown, or not supported.
    pub fn parse(body: &[u8]) -> Result<DecisionRequest, ApiError> {
        const QUESTIONS: &str = "questions";
        let mut fields = Fields::of_body(body)?;
        let model = fields.string("model", SMALL_TEXT_BYTES_MAX)?;
        let input = decision_input::take(&mut fields)?;
        let list = fields.list(QUESTIONS, QUESTIONS_MAX)?;
        let list = list.ok_or_else(|| ApiError::missing(QUESTIONS))?;
        if list.is_empty() {
            let message = format!("'{QUESTIONS}' is empty. Right would be at least one question.");
            return Err(ApiError::invalid(QUESTIONS, message));
        }
        let questions = list.into_iter().enumerate();
        let questions: Result<Vec<_>, _> =
            questions.map(|(at, value)| take_question(value, at)).collect();
        let key = fields.string("prompt_cache_key", SMALL_TEXT_BYTES_MAX)?;
        // They inform the operator, or are hints.
        fields.string("safety_identifier", SMALL_TEXT_BYTES_MAX)?;
        fields.raw("prompt_cache_options");
        fields.none_left()?;
        let cache_salt = key.map_or(0, |key| hash(key.as_bytes()));
        Ok(DecisionRequest { model, input, questions: questions?, cache_salt })
    }
}

fn take_question(value: &RawValue, at: usize) -> Result<DecisionQuestion, ApiError> {
    let mut fields = Fields::of_value(value, format!("questions[{at}]"))?;
    let name = fields.string("name", SMALL_TEXT_BYTES_MAX)?;
    let instructions = take_content(&mut fields, "instructions", &["input_text", "input_json"])?;
    let place = fields.name("type");
    let kind = match needed(&mut fields, "type", SMALL_TEXT_BYTES_MAX)?.as_str() {
        "predicate" => Kind::Predicate,
        "choice" => Kind::Choice(take_choices(&mut fields)?),
        "score" => Kind::Score(take_levels(&mut fields)?),
        other => {
            let shown: String = other.chars().take(32).collect();
            let message = format!(
                "Invalid value for '{place}': '{shown}'. Right would be one of: predicate, choice, \
                 score."
            );
            return Err(ApiError::invalid(place, message));
        }
    };
    fields.none_left()?;
    Ok(DecisionQuestion { name, instructions, kind })
}

/// At least two objects of the list `field`.
fn take_objects<'a>(
    fields: &mut Fields<'a>,
    field: &str,
    most: usize,
) -> Result<Vec<Fields<'a>>, ApiError> {
    let place = fields.name(field);
    let list = fields.list(field, most)?.ok_or_else(|| ApiError::missing(&place))?;
    if list.len() < 2 {
        let message = format!("'{place}' has {} elements. Right would be 2 to {most}.", list.len());
        return Err(ApiError::invalid(place, message));
    }
    let objects = list.into_iter().enumerate();
    objects.map(|(at, value)| Fields::of_value(value, format!("{place}[{at}]"))).collect()
}

fn take_choices(fields: &mut Fields<'_>) -> Result<Vec<Answerable<Value>>, ApiError> {
    let mut choices: Vec<Answerable<Value>> = Vec::new();
    for mut choice in take_objects(fields, "choices", QUESTION_CHOICES_MAX)? {
        let place = choice.name("value");
        let raw = choice.raw("value").ok_or_else(|| ApiError::missing(&place))?;
        let value = match kind(raw) {
            "a string" | "a boolean" => serde_json::from_str(raw.get()).ok(),
            _ => None,
        };
        let value: Value = value.ok_or_else(|| wrong_type(&place, "a string or a boolean", raw))?;
        if choices.iter().any(|other| other.value == value) {
            let message = format!("'{place}' is the value of an earlier choice too.");
            return Err(ApiError::invalid(place, message));
        }
        let description = choice.string("description", usize::MAX)?;
        choice.none_left()?;
        choices.push(Answerable { value, description });
    }
    Ok(choices)
}

fn take_levels(fields: &mut Fields<'_>) -> Result<Vec<Answerable<String>>, ApiError> {
    let mut levels = Vec::new();
    for mut level in take_objects(fields, "levels", QUESTION_LEVELS_MAX)? {
        let value = needed(&mut level, "label", usize::MAX)?;
        let description = level.string("description", usize::MAX)?;
        level.none_left()?;
        levels.push(Answerable { value, description });
    }
    Ok(levels)
}

impl DecisionQuestion {
    /// The question as the model reads it.
    pub fn text(&self) -> String {
        let asked = &self.instructions;
        let lines = |shown: Vec<(String, &Option<String>)>| {
            let labels = self.labels();
            let lines = labels.iter().zip(shown).map(|(label, (value, description))| {
                let more = description.as_deref().filter(|text| !text.is_empty());
                let more = more.map(|text| format!(" - {text}")).unwrap_or_default();
                format!("{label}: {value}{more}\n")
            });
            lines.collect::<String>()
        };
        match &self.kind {
            Kind::Predicate => {
                format!("Is the following true of the input? {asked}\nAnswer with Yes or No only.")
            }
            Kind::Choice(choices) => {
                let shown =
                    choices.iter().map(|choice| (shown(&choice.value), &choice.description));
                let options = lines(shown.collect());
                format!("Question: {asked}\n{options}Answer with the letters of one option only.")
            }
            Kind::Score(levels) => {
                let shown = levels.iter().map(|level| (level.value.clone(), &level.description));
                let levels = lines(shown.collect());
                format!("Question: {asked}\n{levels}Answer with the number of one level only.")
            }
        }
    }

    /// How its answers are written, in their order: all of one length, so that none begins another.
    pub fn labels(&self) -> Vec<String> {
        match &self.kind {
            Kind::Predicate => ["Yes", "No"].map(str::to_owned).to_vec(),
            Kind::Choice(choices) => {
                (0..choices.len()).map(|at| letters(at, choices.len())).collect()
            }
            Kind::Score(levels) => (0..levels.len()).map(|at| at.to_string()).collect(),
        }
    }

    /// The answer, by the probability of each label.
    pub fn answer(self, shares: &[f64]) -> DecisionAnswer {
        let name = self.name;
        let first_best = |best: usize, at: usize| if shares[at] > shares[best] { at } else { best };
        let best = (0..shares.len()).fold(0, first_best);
        let confidence = confidence(shares);
        match self.kind {
            Kind::Predicate => DecisionAnswer::Predicate { name, probability: shares[0] },
            Kind::Choice(choices) => DecisionAnswer::Choice {
                name,
                choice: choices[best].value.clone(),
                probabilities: choices
                    .into_iter()
                    .zip(shares)
                    .map(|(choice, &probability)| ChoiceShare { value: choice.value, probability })
                    .collect(),
                confidence,
            },
            Kind::Score(levels) => DecisionAnswer::Score {
                name,
                score: (0u32..).zip(shares).map(|(level, share)| f64::from(level) * share).sum(),
                probabilities: (0..)
                    .zip(levels)
                    .zip(shares)
                    .map(|((value, level), &probability)| LevelShare {
                        value,
                        label: level.value,
                        probability,
                    })
                    .collect(),
                confidence,
            },
        }
    }
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// `A` to `Z`, or where there are more, `AA` to `ZZ`.
fn letters(at: usize, count: usize) -> String {
    let letter = |number: usize| char::from(b'A' + (number % 26) as u8);
    let first = (count > 26).then(|| letter(at / 26));
    first.into_iter().chain([letter(at)]).collect()
}

/// How far the likeliest answer stands out: 0 where all are alike, 1 where it is certain. OpenAI
/// documents no formula; its published answers follow this one.
fn confidence(shares: &[f64]) -> f64 {
    let count = shares.len() as f64;
    let best = shares.iter().copied().fold(0.0, f64::max);
    ((best * count - 1.0) / (count - 1.0)).clamp(0.0, 1.0)
}

/// The answer of `/v1/decisions`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Decision {
    /// The name under which the model is served.
    pub model: String,
    /// In the order of the questions.
    pub answers: Vec<DecisionAnswer>,
    /// Tokens of all prompts.
    pub usage: DecisionUsage,
}

/// An answer of its question's type; names are null where the question had none.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum DecisionAnswer {
    /// Of a predicate.
    Predicate {
        /// The question's.
        name: Option<String>,
        /// Of its being true.
        probability: f64,
    },
    /// Of a choice.
    Choice {
        /// The question's.
        name: Option<String>,
        /// The likeliest value.
        choice: Value,
        /// Of each value.
        probabilities: Vec<ChoiceShare>,
        /// From 0, all alike, to 1, certain.
        confidence: f64,
    },
    /// Of a score.
    Score {
        /// The question's.
        name: Option<String>,
        /// The mean of the levels' numbers, from 0, by their probabilities.
        score: f64,
        /// Of each level.
        probabilities: Vec<LevelShare>,
        /// From 0, all alike, to 1, certain.
        confidence: f64,
    },
}

/// The probability of a value.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ChoiceShare {
    value: Value,
    probability: f64,
}

/// The probability of a level.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct LevelShare {
    value: u32,
    label: String,
    probability: f64,
}

/// Tokens, in the words of the Responses API.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct DecisionUsage {
    input_tokens: usize,
    input_tokens_details: InputDetails,
    output_tokens: usize,
    output_tokens_details: OutputDetails,
    total_tokens: usize,
}

#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
struct InputDetails {
    cached_tokens: usize,
    cache_write_tokens: usize,
}

#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
struct OutputDetails {
    reasoning_tokens: usize,
}

impl DecisionUsage {
    /// Tokens of prompts; there are none of answers.
    pub fn new(usage: &Usage) -> DecisionUsage {
        DecisionUsage {
            input_tokens: usage.prompt_tokens,
            input_tokens_details: InputDetails {
                cached_tokens: usage.cached_tokens,
                cache_write_tokens: 0,
            },
            output_tokens: 0,
            output_tokens_details: OutputDetails { reasoning_tokens: 0 },
            total_tokens: usage.prompt_tokens,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confidence_is_what_published_answers_have() {
        for (shares, right) in [
            (&[0.06, 0.94, 0.0][..], 0.91),
            (&[0.1, 0.7, 0.2], 0.55),
            (&[1.0, 0.0], 1.0),
            (&[0.5, 0.5], 0.0),
            (&[0.25; 4], 0.0),
        ] {
            assert!((confidence(shares) - right).abs() < 1e-9, "{shares:?}");
        }
    }

    #[test]
    fn labels_are_of_one_length_and_differ() {
        for count in [2, 26, 27, 255] {
            let all: std::collections::BTreeSet<_> =
                (0..count).map(|at| letters(at, count)).collect();
            assert_eq!(all.len(), count);
            assert!(all.iter().all(|label| label.len() == if count > 26 { 2 } else { 1 }));
        }
    }
}
