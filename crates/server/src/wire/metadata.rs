//! Turns `metadata` into pairs of short texts, within OpenAI's limits.

use serde_json::{Map, Value};

use super::fields::Fields;
use crate::errors::ApiError;
use crate::limits::{METADATA_KEY_CHARS_MAX, METADATA_PAIRS_MAX, METADATA_VALUE_CHARS_MAX};

const NAME: &str = "metadata";

/// Takes `metadata` out of a body that has nothing else, and must have it.
///
/// # Errors
/// As [`take`]; 400 where it is not there, or more is.
pub fn of_body(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    let mut fields = Fields::of_body(body)?;
    if fields.peek(NAME).is_none() {
        return Err(ApiError::missing(NAME));
    }
    let metadata = take(&mut fields)?;
    fields.none_left()?;
    Ok(metadata)
}

/// Takes `metadata`: what a client writes on an object for itself.
///
/// # Errors
/// 400 naming the pair that is too long or no text, or that there are too many.
pub fn take(fields: &mut Fields<'_>) -> Result<Map<String, Value>, ApiError> {
    let pairs: Option<Map<String, Value>> = fields.take(NAME, "an object of strings")?;
    let pairs = pairs.unwrap_or_default();
    if pairs.len() > METADATA_PAIRS_MAX {
        let message = format!(
            "'{NAME}' has {} pairs. Right would be at most {METADATA_PAIRS_MAX}.",
            pairs.len()
        );
        return Err(ApiError::invalid(NAME, message));
    }
    for (key, value) in &pairs {
        let shown: String = key.chars().take(METADATA_KEY_CHARS_MAX).collect();
        if key.chars().count() > METADATA_KEY_CHARS_MAX {
            let message = format!(
                "'{NAME}' has a key that begins with '{shown}'. Right would be at most \
                 {METADATA_KEY_CHARS_MAX} characters."
            );
            return Err(ApiError::invalid(NAME, message));
        }
        let place = format!("{NAME}.{shown}");
        let Some(text) = value.as_str() else {
            let message = format!("Invalid type for '{place}': right would be a string.");
            return Err(ApiError::wrong_type(place, message));
        };
        if text.chars().count() > METADATA_VALUE_CHARS_MAX {
            let message = format!(
                "'{place}' is too long. Right would be at most {METADATA_VALUE_CHARS_MAX} \
                 characters."
            );
            return Err(ApiError::invalid(place, message));
        }
    }
    Ok(pairs)
}
