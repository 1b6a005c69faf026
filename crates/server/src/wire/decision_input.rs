//! Turns what `/v1/decisions` asks about (a text, messages, calls and their results) into one text.

use std::collections::HashSet;

use serde_json::Value;
use serde_json::value::RawValue;

use super::fields::{Fields, elements, kind, wrong_type};
use crate::errors::ApiError;
use crate::limits::{
    INPUT_JSON_BYTES_MAX, INPUT_JSON_DEPTH_MAX, INPUT_JSON_VALUES_MAX, MESSAGES_MAX,
    SMALL_TEXT_BYTES_MAX,
};

const NAME: &str = "input";

/// An item as it is shown to the model.
struct Item {
    /// Who says it, or what it is.
    head: String,
    text: String,
}

/// Takes `input`: a text as it is, a single message as its text, more of them each under its head.
///
/// # Errors
/// 400 naming the field that is wrong or not supported.
pub fn take(fields: &mut Fields<'_>) -> Result<String, ApiError> {
    let input = fields.raw(NAME).ok_or_else(|| ApiError::missing(NAME))?;
    match kind(input) {
        "a string" => text_of(input, NAME),
        "an array" => {
            let mut calls = HashSet::new();
            let mut items = Vec::new();
            for (at, value) in elements(input, NAME, MESSAGES_MAX)?.into_iter().enumerate() {
                items.push(take_item(value, format!("{NAME}[{at}]"), &mut calls)?);
            }
            match items.as_slice() {
                [] => {
                    let message = format!("'{NAME}' is empty. Right would be at least one item.");
                    Err(ApiError::invalid(NAME, message))
                }
                [only] if only.head == "user" => Ok(only.text.clone()),
                items => {
                    let shown = items.iter().map(|item| format!("[{}]\n{}", item.head, item.text));
                    Ok(shown.collect::<Vec<_>>().join("\n\n"))
                }
            }
        }
        _ => Err(wrong_type(NAME, "a string or an array of items", input)),
    }
}

/// `calls`: kind and id of the calls so far.
fn take_item(
    value: &RawValue,
    place: String,
    calls: &mut HashSet<(bool, String)>,
) -> Result<Item, ApiError> {
    let mut fields = Fields::of_value(value, place)?;
    let name = fields.name("type");
    let kind = fields.string("type", SMALL_TEXT_BYTES_MAX)?;
    let item = match kind.as_deref() {
        None | Some("message") => take_message(&mut fields)?,
        Some(kind @ ("function_call" | "custom_tool_call")) => {
            let custom = kind == "custom_tool_call";
            let called = needed(&mut fields, "name", SMALL_TEXT_BYTES_MAX)?;
            let said = if custom { "input" } else { "arguments" };
            let text = needed(&mut fields, said, usize::MAX)?;
            calls.insert((custom, needed(&mut fields, "call_id", SMALL_TEXT_BYTES_MAX)?));
            fields.string("namespace", SMALL_TEXT_BYTES_MAX)?;
            Item { head: format!("call of {called}"), text }
        }
        Some(kind @ ("function_call_output" | "custom_tool_call_output")) => {
            let custom = kind == "custom_tool_call_output";
            let place = fields.name("call_id");
            let call = (custom, needed(&mut fields, "call_id", SMALL_TEXT_BYTES_MAX)?);
            if !calls.contains(&call) {
                let message = format!("'{place}' is not the 'call_id' of an earlier call.");
                return Err(ApiError::invalid(place, message));
            }
            let text = take_content(&mut fields, "output", &["input_text"])?;
            Item { head: "result of the call".into(), text }
        }
        Some(other) => {
            let shown: String = other.chars().take(32).collect();
            let message = format!(
                "Invalid value for '{name}': '{shown}'. Right would be one of: message, \
                 function_call, function_call_output, custom_tool_call, custom_tool_call_output."
            );
            return Err(ApiError::invalid(name, message));
        }
    };
    // What the Responses API adds to its items; it says nothing of what is asked about.
    for name in ["id", "status", "phase"] {
        fields.string(name, SMALL_TEXT_BYTES_MAX)?;
    }
    fields.none_left()?;
    Ok(item)
}

fn take_message(fields: &mut Fields<'_>) -> Result<Item, ApiError> {
    let place = fields.name("role");
    let role = needed(fields, "role", SMALL_TEXT_BYTES_MAX)?;
    let kinds: &[&str] = match role.as_str() {
        "user" => &["input_text", "input_json"],
        "system" | "developer" => &["input_text"],
        "assistant" => &["output_text", "refusal"],
        other => {
            let shown: String = other.chars().take(32).collect();
            let message = format!(
                "Invalid value for '{place}': '{shown}'. Right would be one of: user, developer, \
                 system, assistant."
            );
            return Err(ApiError::invalid(place, message));
        }
    };
    let text = take_content(fields, "content", kinds)?;
    Ok(Item { head: role, text })
}

/// A string, or parts of these kinds, which are put together line by line.
///
/// # Errors
/// 400 naming the part that is wrong or not supported.
pub fn take_content(
    fields: &mut Fields<'_>,
    field: &str,
    kinds: &[&str],
) -> Result<String, ApiError> {
    let place = fields.name(field);
    let value = fields.raw(field).ok_or_else(|| ApiError::missing(&place))?;
    match kind(value) {
        "a string" => text_of(value, &place),
        "an array" => {
            let mut parts = Vec::new();
            for (at, part) in elements(value, &place, MESSAGES_MAX)?.into_iter().enumerate() {
                parts.push(take_part(part, format!("{place}[{at}]"), kinds)?);
            }
            Ok(parts.join("\n"))
        }
        _ => Err(wrong_type(&place, "a string or an array of parts", value)),
    }
}

fn take_part(value: &RawValue, place: String, kinds: &[&str]) -> Result<String, ApiError> {
    let mut fields = Fields::of_value(value, place)?;
    let name = fields.name("type");
    let kind = needed(&mut fields, "type", SMALL_TEXT_BYTES_MAX)?;
    if !kinds.contains(&kind.as_str()) {
        let (shown, right): (String, _) = (kind.chars().take(32).collect(), kinds.join(", "));
        let message = format!("'{name}' is '{shown}', but here this server takes only: {right}.");
        return Err(ApiError::unsupported(name, message));
    }
    let text = match kind.as_str() {
        "input_json" => take_json(&mut fields)?,
        "refusal" => needed(&mut fields, "refusal", usize::MAX)?,
        _ => needed(&mut fields, "text", usize::MAX)?,
    };
    // A hint where a cache might begin; the cache here finds its beginnings itself.
    fields.raw("prompt_cache_breakpoint");
    fields.none_left()?;
    Ok(text)
}

/// An object or an array of objects, as compact text.
fn take_json(fields: &mut Fields<'_>) -> Result<String, ApiError> {
    let place = fields.name("data");
    let raw = fields.raw("data").ok_or_else(|| ApiError::missing(&place))?;
    let expected = "an object or an array of objects";
    let value: Value =
        serde_json::from_str(raw.get()).map_err(|_| wrong_type(&place, expected, raw))?;
    let right = match &value {
        Value::Array(values) => values.iter().all(Value::is_object),
        value => value.is_object(),
    };
    if !right {
        return Err(wrong_type(&place, expected, raw));
    }
    let (text, (depth, values)) = (value.to_string(), extent(&value));
    for (found, most, what) in [
        (text.len(), INPUT_JSON_BYTES_MAX, "bytes"),
        (depth, INPUT_JSON_DEPTH_MAX, "levels"),
        (values, INPUT_JSON_VALUES_MAX, "values"),
    ] {
        if found > most {
            let message = format!("'{place}' has {found} {what}. Right would be at most {most}.");
            return Err(ApiError::invalid(place, message));
        }
    }
    Ok(text)
}

/// Levels of arrays and objects, and values. The body's own limit bounds the recursion.
fn extent(value: &Value) -> (usize, usize) {
    let within: Vec<&Value> = match value {
        Value::Array(values) => values.iter().collect(),
        Value::Object(map) => map.values().collect(),
        _ => return (0, 1),
    };
    let within = within.into_iter().map(extent);
    let (depth, values) =
        within.fold((0, 0), |(depth, values), (below, more)| (depth.max(below), values + more));
    (depth + 1, values + 1)
}

/// A string that must be there.
///
/// # Errors
/// 400 naming the field where it is not.
pub fn needed(fields: &mut Fields<'_>, field: &str, bytes: usize) -> Result<String, ApiError> {
    let place = fields.name(field);
    fields.string(field, bytes)?.ok_or_else(|| ApiError::missing(&place))
}

fn text_of(value: &RawValue, place: &str) -> Result<String, ApiError> {
    serde_json::from_str(value.get())
        .map_err(|_| wrong_type(place, "a string of valid Unicode", value))
}
