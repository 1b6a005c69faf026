//! Turns parameters that this version does not act on into silence or a 400, one table row each.
//!
//! The rule: what would change the answer is honoured or refused by name, never dropped. What only
//! informs the operator (`user`, `metadata` …) is accepted. What nobody knows is refused by name.

use serde_json::Value;
use serde_json::value::RawValue;

use super::fields::Fields;
use crate::errors::ApiError;

/// What happens to a known parameter that is not acted on.
enum Rule {
    /// It informs the operator, or is a hint: accepted with any value.
    Accept,
    /// Accepted with these values, which mean what happens anyway; JSON texts.
    Only(&'static [&'static str]),
    /// Not here, whatever its value.
    Refuse,
}

use Rule::{Accept, Only, Refuse};

/// For chats and completions.
const COMMON: &[(&str, Rule)] = &[
    ("user", Accept),
    ("metadata", Accept),
    ("safety_identifier", Accept),
    ("prompt_cache_key", Accept),
    ("prompt_cache_retention", Accept),
    ("prompt_cache_options", Accept),
    (
        "service_tier",
        Only(&[
            r#""auto""#,
            r#""default""#,
            r#""flex""#,
            r#""scale""#,
            r#""priority""#,
            r#""fast""#,
        ]),
    ),
    ("store", Only(&["false"])),
    ("structured_outputs", Refuse),
    ("guided_json", Refuse),
    ("guided_regex", Refuse),
    ("guided_choice", Refuse),
    ("guided_grammar", Refuse),
    ("moderation", Refuse),
    ("use_beam_search", Only(&["false"])),
    ("skip_special_tokens", Only(&["true"])),
];

/// For chats alone.
const CHAT: &[(&str, Rule)] = &[
    ("modalities", Only(&[r#"["text"]"#])),
    ("audio", Refuse),
    // A guess that may save time, and never changes an answer.
    ("prediction", Accept),
    ("web_search_options", Refuse),
    ("verbosity", Only(&[r#""medium""#])),
    ("chat_template", Refuse),
    ("echo", Only(&["false"])),
    ("best_of", Only(&["1"])),
];

/// For completions alone.
const COMPLETIONS: &[(&str, Rule)] = &[("response_format", Only(&[r#"{"type":"text"}"#]))];

/// For responses alone.
const RESPONSES: &[(&str, Rule)] = &[
    ("prompt", Refuse),
    ("context_management", Only(&["[]"])),
    ("access_programs", Refuse),
    ("background_options", Refuse),
    // How images are compressed; there are none.
    ("image", Accept),
    ("personality", Refuse),
];

/// Longest value that is looked into: the accepted ones are short.
const VALUE_BYTES_MAX: usize = 256;

/// Judges what a chat request has besides the fields that were taken.
///
/// # Errors
/// 400 naming the first parameter that cannot be honoured, or that nobody knows.
pub fn judge_chat(fields: Fields<'_>) -> Result<(), ApiError> {
    judge(fields, &[COMMON, CHAT])
}

/// As [`judge_chat`], for a completion request.
///
/// # Errors
/// As [`judge_chat`].
pub fn judge_completion(fields: Fields<'_>) -> Result<(), ApiError> {
    judge(fields, &[COMMON, COMPLETIONS])
}

/// As [`judge_chat`], for a response.
///
/// # Errors
/// As [`judge_chat`].
pub fn judge_response(fields: Fields<'_>) -> Result<(), ApiError> {
    judge(fields, &[COMMON, RESPONSES])
}

fn judge(fields: Fields<'_>, tables: &[&[(&str, Rule)]]) -> Result<(), ApiError> {
    for (name, value) in fields.rest() {
        if value.get() == "null" {
            continue;
        }
        let row = tables.iter().copied().flatten().find(|(known, _)| *known == name);
        match row.map(|(_, rule)| rule) {
            Some(Accept) => {}
            Some(Only(right)) if is_one_of(value, right) => {}
            Some(Only(right)) => {
                let right = right.join(", ");
                let message = format!(
                    "'{name}' cannot be honoured with this value. It is accepted as: {right}."
                );
                return Err(ApiError::unsupported(name, message));
            }
            Some(Refuse) => {
                let message = format!("'{name}' is not supported by this server.");
                return Err(ApiError::unsupported(name, message));
            }
            None => return Err(ApiError::unknown_parameter(&name)),
        }
    }
    Ok(())
}

/// Whether a value equals one of the JSON texts, however it is spaced.
fn is_one_of(value: &RawValue, texts: &[&str]) -> bool {
    if value.get().len() > VALUE_BYTES_MAX {
        return false;
    }
    let parse = |text: &str| serde_json::from_str::<Value>(text).ok();
    let value = parse(value.get());
    value.is_some() && texts.iter().any(|text| parse(text) == value)
}
