//! Turns the four ways in which texts are sent (one or several, as text or as ids) into prompts.

use serde_json::value::RawValue;

use super::fields::{Fields, elements, kind, wrong_type};
use crate::errors::ApiError;

/// A text as it was sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Prompt {
    /// Text, in which control tokens count as such.
    Text(String),
    /// Token ids, taken as they are.
    Tokens(Vec<u32>),
}

const EXPECTED: &str = "a string, an array of strings, of token ids, or of arrays of token ids";

/// A string, a list of strings, a list of ids, or a list of lists of ids; of lists of texts at most
/// `max`.
///
/// # Errors
/// 400 naming `field` where it is missing, empty, too long or something else.
pub fn take(fields: &mut Fields<'_>, field: &str, max: usize) -> Result<Vec<Prompt>, ApiError> {
    let Some(value) = fields.raw(field) else { return Err(ApiError::missing(field)) };
    match kind(value) {
        "a string" => Ok(vec![read(value, field)?]),
        "an array" if holds_numbers(value) => Ok(vec![read(value, field)?]),
        "an array" => {
            let values = elements(value, field, max)?;
            if values.is_empty() {
                let message = format!("'{field}' is empty. Right would be text or token ids.");
                return Err(ApiError::invalid(field, message));
            }
            values.into_iter().map(|value| read(value, field)).collect()
        }
        _ => Err(wrong_type(field, EXPECTED, value)),
    }
}

/// Whether an array begins with a number.
fn holds_numbers(array: &RawValue) -> bool {
    let inside = array.get().strip_prefix('[').unwrap_or_default().trim_start();
    inside.starts_with(|first: char| first.is_ascii_digit() || first == '-')
}

fn read(value: &RawValue, field: &str) -> Result<Prompt, ApiError> {
    if kind(value) == "a string" {
        let text = serde_json::from_str(value.get())
            .map_err(|_| wrong_type(field, "a string of valid Unicode", value))?;
        return Ok(Prompt::Text(text));
    }
    match serde_json::from_str(value.get()) {
        Ok(ids) => Ok(Prompt::Tokens(ids)),
        Err(_) => Err(wrong_type(field, EXPECTED, value)),
    }
}

impl Prompt {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        match self {
            Prompt::Text(text) => text.is_empty(),
            Prompt::Tokens(ids) => ids.is_empty(),
        }
    }

    /// Ids must be those of a model with `vocab` tokens.
    ///
    /// # Errors
    /// 400 naming `field`.
    pub fn check(&self, field: &str, vocab: usize) -> Result<(), ApiError> {
        let Prompt::Tokens(ids) = self else { return Ok(()) };
        match ids.iter().find(|id| **id as usize >= vocab) {
            Some(id) => {
                let message = format!(
                    "Invalid value in '{field}': {id}. Right would be token ids below {vocab}."
                );
                Err(ApiError::invalid(field, message))
            }
            None => Ok(()),
        }
    }
}
