//! Turns the `messages` of a chat into what a template is given, each field checked.

use std::collections::HashMap;

use myriad_token::Message;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::fields::{Fields, elements, kind, wrong_type};
use super::tools::take_tool_name;
use crate::errors::ApiError;
use crate::limits::{CALLS_MAX, MESSAGES_MAX, SMALL_TEXT_BYTES_MAX};

/// Takes all messages: at least one.
///
/// # Errors
/// 400 naming the field that is wrong.
pub fn take(fields: &mut Fields<'_>) -> Result<Vec<Message>, ApiError> {
    let Some(values) = fields.list("messages", MESSAGES_MAX)? else {
        return Err(ApiError::missing("messages"));
    };
    if values.is_empty() {
        let message = "'messages' is empty. Right would be at least one message.";
        return Err(ApiError::invalid("messages", message));
    }
    let messages: Result<Vec<_>, _> =
        values.into_iter().enumerate().map(|(at, value)| take_message(value, at)).collect();
    let mut messages = messages?;
    name_results(&mut messages);
    Ok(messages)
}

/// Results carry the id of their call alone, but some templates want the name of what was called.
pub fn name_results(messages: &mut [Message]) {
    let mut names: HashMap<String, String> = HashMap::new();
    for message in messages {
        let calls = message.extra.get("tool_calls").and_then(Value::as_array);
        for call in calls.into_iter().flatten() {
            let text = |pointer| call.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
            if let (Some(id), Some(name)) = (text("/id"), text("/function/name")) {
                names.insert(id, name);
            }
        }
        let id = message.extra.get("tool_call_id").and_then(Value::as_str);
        let name = id.and_then(|id| names.get(id)).cloned();
        if let Some(name) = name.filter(|_| message.role == "tool") {
            message.extra.entry("name").or_insert_with(|| name.into());
        }
    }
}

/// What an assistant's message may carry that means nothing when it is empty: answers of this and
/// other servers are sent back as they came.
const EMPTY_ONLY: [&str; 3] = ["audio", "refusal", "annotations"];

fn take_message(value: &RawValue, at: usize) -> Result<Message, ApiError> {
    let mut fields = Fields::of_value(value, format!("messages[{at}]"))?;
    let role = take_role(&mut fields)?;
    let content = match fields.raw("content") {
        Some(content) => take_content(content, &fields.name("content"))?,
        // An answer that was only a tool call, or nothing at all.
        None if role == "assistant" => String::new(),
        None => return Err(ApiError::missing(&fields.name("content"))),
    };
    let mut extra = Map::new();
    for name in ["name", "tool_call_id"] {
        if let Some(text) = fields.string(name, SMALL_TEXT_BYTES_MAX)? {
            extra.insert(name.to_owned(), text.into());
        }
    }
    // Two names for one thing; templates know the first.
    let thoughts = fields.string("reasoning_content", usize::MAX)?;
    if let Some(text) = fields.string("reasoning", usize::MAX)?.or(thoughts) {
        // gpt-oss's template has a name of its own for them.
        extra.insert("thinking".to_owned(), text.clone().into());
        extra.insert("reasoning_content".to_owned(), text.into());
    }
    let calls = take_calls(&mut fields)?;
    if !calls.is_empty() {
        if role != "assistant" {
            let name = fields.name("tool_calls");
            let message = format!("'{name}' is only allowed where the role is 'assistant'.");
            return Err(ApiError::invalid(name, message));
        }
        extra.insert("tool_calls".to_owned(), calls.into());
    }
    for name in EMPTY_ONLY {
        if let Some(value) = fields.raw(name).filter(|value| !matches!(value.get(), "[]" | "\"\""))
        {
            let name = fields.name(name);
            let found = kind(value);
            let message = format!("'{name}' is not supported by this server, but got {found}.");
            return Err(ApiError::unsupported(name, message));
        }
    }
    fields.none_left()?;
    // Templates know the results of functions as those of tools.
    let role = if role == "function" { "tool".to_owned() } else { role };
    Ok(Message { role, content, extra })
}

/// `tool_calls`, or the older `function_call`, in the newer shape.
fn take_calls(fields: &mut Fields<'_>) -> Result<Vec<Value>, ApiError> {
    let place = fields.name("tool_calls");
    let mut calls = Vec::new();
    for (at, value) in fields.list("tool_calls", CALLS_MAX)?.unwrap_or_default().iter().enumerate()
    {
        calls.push(take_call(value, format!("{place}[{at}]"))?);
    }
    let place = fields.name("function_call");
    if let Some(value) = fields.raw("function_call") {
        let mut function = Fields::of_value(value, place)?;
        let function = take_called(&mut function)?;
        calls.push(json!({ "type": "function", "function": function }));
    }
    Ok(calls)
}

fn take_call(value: &RawValue, place: String) -> Result<Value, ApiError> {
    let mut fields = Fields::of_value(value, place)?;
    let name = fields.name("type");
    match fields.string("type", SMALL_TEXT_BYTES_MAX)?.as_deref() {
        Some("function") | None => {}
        Some(other) => {
            let shown: String = other.chars().take(32).collect();
            let message = format!("'{name}' is '{shown}', but calls are of functions here.");
            return Err(ApiError::unsupported(name, message));
        }
    }
    let id = fields.string("id", SMALL_TEXT_BYTES_MAX)?;
    // Where streams put it; some clients send it back.
    fields.raw("index");
    let place = fields.name("function");
    let function = fields.raw("function").ok_or_else(|| ApiError::missing(&place))?;
    let mut function = Fields::of_value(function, place)?;
    let function = take_called(&mut function)?;
    fields.none_left()?;
    let mut call = Map::new();
    if let Some(id) = id {
        call.insert("id".to_owned(), id.into());
    }
    call.insert("type".to_owned(), "function".into());
    call.insert("function".to_owned(), function);
    Ok(call.into())
}

/// Name and arguments of a call. The arguments stay text; no text at all is how some spell none.
fn take_called(fields: &mut Fields<'_>) -> Result<Value, ApiError> {
    let name = take_tool_name(fields)?;
    let place = fields.name("arguments");
    let arguments = match fields.raw("arguments") {
        // Templates' own form, which some clients send.
        Some(value) if kind(value) == "an object" => value.get().to_owned(),
        Some(value) => serde_json::from_str(value.get())
            .map_err(|_| wrong_type(&place, "a string that holds a JSON object", value))?,
        None => String::new(),
    };
    let arguments = if arguments.trim().is_empty() { "{}".to_owned() } else { arguments };
    if !serde_json::from_str::<Value>(&arguments).is_ok_and(|value| value.is_object()) {
        let message = format!("'{place}' is not a JSON object. Right would be one, as text.");
        return Err(ApiError::invalid(place, message));
    }
    Ok(json!({ "name": name, "arguments": arguments }))
}

fn take_role(fields: &mut Fields<'_>) -> Result<String, ApiError> {
    const ROLES: [&str; 6] = ["system", "developer", "user", "assistant", "tool", "function"];
    let name = fields.name("role");
    let Some(role) = fields.string("role", SMALL_TEXT_BYTES_MAX)? else {
        return Err(ApiError::missing(&name));
    };
    if ROLES.contains(&role.as_str()) {
        return Ok(role);
    }
    let shown: String = role.chars().take(32).collect();
    let right = ROLES.join(", ");
    let message = format!("Invalid value for '{name}': '{shown}'. Right would be one of: {right}.");
    Err(ApiError::invalid(name, message))
}

/// A string, or text parts, which are put together line by line.
fn take_content(value: &RawValue, place: &str) -> Result<String, ApiError> {
    match kind(value) {
        "a string" => serde_json::from_str(value.get())
            .map_err(|_| wrong_type(place, "a string of valid Unicode", value)),
        "an array" => {
            let mut text = String::new();
            for (at, part) in elements(value, place, MESSAGES_MAX)?.into_iter().enumerate() {
                if at > 0 {
                    text.push('\n');
                }
                text.push_str(&take_part(part, format!("{place}[{at}]"))?);
            }
            Ok(text)
        }
        _ => Err(wrong_type(place, "a string or an array of content parts", value)),
    }
}

fn take_part(value: &RawValue, place: String) -> Result<String, ApiError> {
    let mut fields = Fields::of_value(value, place)?;
    let name = fields.name("type");
    match fields.string("type", SMALL_TEXT_BYTES_MAX)?.as_deref() {
        Some("text") => {}
        Some(other) => {
            let shown: String = other.chars().take(32).collect();
            let message =
                format!("'{name}' is '{shown}', but this model takes parts of type 'text' only.");
            return Err(ApiError::unsupported(name, message));
        }
        None => return Err(ApiError::missing(&name)),
    }
    let name = fields.name("text");
    let text = fields.string("text", usize::MAX)?.ok_or_else(|| ApiError::missing(&name))?;
    // Hints where a cache might begin; the cache here finds its beginnings itself.
    fields.raw("cache_control");
    fields.raw("prompt_cache_breakpoint");
    fields.none_left()?;
    Ok(text)
}
