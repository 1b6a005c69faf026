//! Turns OpenAI's chat requests into those of Anthropic's `/v1/messages`.

use bytes::Bytes;
use myriad_token::Message;
use serde_json::{Map, Value, json};

use crate::errors::ApiError;
use crate::wire::fields::Fields;
use crate::wire::generation::take_stops;
use crate::wire::thinking::{Thinking, budget_of};
use crate::wire::tools::Tools;
use crate::wire::{messages, policy};

/// What Anthropic's API has nothing for. Values that ask for nothing are no wish.
const ABSENT: [&str; 22] = [
    "store",
    "seed",
    "n",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "min_p",
    "min_tokens",
    "stop_token_ids",
    "include_stop_str_in_output",
    "ignore_eos",
    "return_token_ids",
    "cache_salt",
    "structured_outputs",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "chat_template_kwargs",
];

/// Values that ask for nothing, as JSON.
const NOTHING: [&str; 7] = ["0", "0.0", "false", "{}", "[]", "\"\"", "null"];

/// Fewest tokens of thought that can be asked for.
const BUDGET_MIN: i64 = 1024;

/// The body to send. `max_tokens` is the bound where the request names none.
///
/// # Errors
/// 400 naming the field that is wrong, or that cannot be said in Anthropic's words.
pub fn request(
    mut fields: Fields<'_>,
    model: &str,
    stream: bool,
    max_tokens: u64,
) -> Result<Bytes, ApiError> {
    let mut body = Map::new();
    body.insert("model".to_owned(), model.into());
    let messages = messages::take(&mut fields)?;
    let thinks_anew = messages.last().is_none_or(|message| message.role != "tool");
    let (system, turns) = turns(messages)?;
    if !system.is_empty() {
        body.insert("system".to_owned(), system.into());
    }
    body.insert("messages".to_owned(), turns.into());
    tools(&mut fields, &mut body)?;
    // An answer to a tool's result would have to bring its earlier thoughts with their signatures,
    // which OpenAI's messages have no place for.
    let budget = budget(&Thinking::take(&mut fields)?).filter(|_| thinks_anew);
    if let Some(budget) = budget {
        let thinking = json!({ "type": "enabled", "budget_tokens": budget });
        body.insert("thinking".to_owned(), thinking);
    }
    let old = fields.integer("max_tokens", 1..=i64::MAX)?;
    let asked = fields.integer("max_completion_tokens", 1..=i64::MAX)?.or(old);
    let default = i64::try_from(max_tokens).unwrap_or(i64::MAX);
    let most = asked.unwrap_or(default.saturating_add(budget.unwrap_or(0)));
    body.insert("max_tokens".to_owned(), most.into());
    sampling(&mut fields, &mut body)?;
    format(&mut fields, &mut body)?;
    if stream {
        body.insert("stream".to_owned(), true.into());
    }
    absent(&mut fields)?;
    policy::judge_chat(fields)?;
    Ok(Value::from(body).to_string().into())
}

fn sampling(fields: &mut Fields<'_>, body: &mut Map<String, Value>) -> Result<(), ApiError> {
    for name in ["temperature", "top_p"] {
        if let Some(value) = fields.number(name, 0.0..=1.0)? {
            body.insert(name.to_owned(), value.into());
        }
    }
    let top_k = fields.integer("top_k", -1..=i64::from(u32::MAX))?;
    if let Some(top_k) = top_k.filter(|top_k| *top_k > 0) {
        body.insert("top_k".to_owned(), top_k.into());
    }
    let stops = take_stops(fields)?;
    if !stops.is_empty() {
        body.insert("stop_sequences".to_owned(), stops.into());
    }
    Ok(())
}

fn absent(fields: &mut Fields<'_>) -> Result<(), ApiError> {
    for name in ABSENT {
        let Some(value) = fields.raw(name) else { continue };
        let usual = NOTHING.contains(&value.get()) || (name == "n" && value.get() == "1");
        if !usual {
            return Err(cannot(name));
        }
    }
    for (name, usual) in [("add_generation_prompt", true), ("continue_final_message", false)] {
        if fields.boolean(name)?.is_some_and(|value| value != usual) {
            return Err(cannot(name));
        }
    }
    Ok(())
}

fn cannot(name: &str) -> ApiError {
    let message = format!("'{name}' is not there for models of an upstream with Anthropic's API.");
    ApiError::unsupported(name, message)
}

/// `response_format` of a schema; other forms than text cannot be asked for.
fn format(fields: &mut Fields<'_>, body: &mut Map<String, Value>) -> Result<(), ApiError> {
    const NAME: &str = "response_format";
    let Some(format) = fields.take::<Value>(NAME, "an object")? else { return Ok(()) };
    match (format["type"].as_str(), format.pointer("/json_schema/schema")) {
        (Some("text"), _) => Ok(()),
        (Some("json_schema"), Some(schema)) => {
            let format = json!({ "type": "json_schema", "schema": schema });
            body.insert("output_config".to_owned(), json!({ "format": format }));
            Ok(())
        }
        _ => Err(cannot(NAME)),
    }
}

/// Tokens of thought, where thoughts are wished for.
fn budget(wish: &Thinking) -> Option<i64> {
    let off = wish.enabled == Some(false)
        || wish.budget == Some(0)
        || wish.effort.as_deref() == Some("none");
    let of_effort = wish.effort.as_deref().map(budget_of);
    let of_switch = wish.enabled.map(|_| budget_of("medium"));
    let budget = wish.budget.or(of_effort).or(of_switch).filter(|_| !off)?;
    Some(budget.max(BUDGET_MIN))
}

fn tools(fields: &mut Fields<'_>, body: &mut Map<String, Value>) -> Result<(), ApiError> {
    let tools = Tools::take(fields)?;
    if tools.legacy {
        return Err(cannot("functions"));
    }
    if tools.offered.is_empty() {
        return Ok(());
    }
    let described = tools.offered.iter().map(|tool| {
        let nothing = || json!({ "type": "object", "properties": {} });
        let schema = tool.parameters.clone().unwrap_or_else(nothing);
        let mut described = json!({ "name": tool.name, "input_schema": schema });
        if let Some(description) = &tool.description {
            described["description"] = description.clone().into();
        }
        if tool.strict {
            described["strict"] = true.into();
        }
        described
    });
    body.insert("tools".to_owned(), described.collect());
    let kind = if tools.forced { "any" } else { "auto" };
    let choice = json!({ "type": kind, "disable_parallel_tool_use": tools.one_call });
    body.insert("tool_choice".to_owned(), choice);
    Ok(())
}

/// The system's text, which has a place of its own, and turns that alternate between two roles.
fn turns(messages: Vec<Message>) -> Result<(String, Vec<Value>), ApiError> {
    let mut system: Vec<String> = Vec::new();
    let mut turns: Vec<(&str, Vec<Value>)> = Vec::new();
    for (at, message) in messages.into_iter().enumerate() {
        let (role, blocks) = match message.role.as_str() {
            "system" | "developer" => {
                system.push(message.content);
                continue;
            }
            "assistant" => ("assistant", said(&message, at)?),
            "tool" => ("user", vec![result(&message, at)?]),
            _ => ("user", text(&message.content)),
        };
        match turns.last_mut() {
            Some((last, all)) if *last == role => all.extend(blocks),
            _ => turns.push((role, blocks)),
        }
    }
    turns.retain(|(_, blocks)| !blocks.is_empty());
    let turn = |(role, content)| json!({ "role": role, "content": Value::Array(content) });
    Ok((system.join("\n\n"), turns.into_iter().map(turn).collect()))
}

/// Text as a block; empty ones are refused there.
fn text(text: &str) -> Vec<Value> {
    match text.trim().is_empty() {
        true => Vec::new(),
        false => vec![json!({ "type": "text", "text": text })],
    }
}

fn said(message: &Message, at: usize) -> Result<Vec<Value>, ApiError> {
    let mut blocks = text(&message.content);
    let calls = message.extra.get("tool_calls").and_then(Value::as_array);
    for (number, call) in calls.into_iter().flatten().enumerate() {
        let id = call["id"].as_str();
        let missing = || ApiError::missing(&format!("messages[{at}].tool_calls[{number}].id"));
        let id = id.ok_or_else(missing)?;
        let function = &call["function"];
        // They were checked to be the text of an object.
        let arguments = function["arguments"].as_str().unwrap_or("{}");
        let input: Value = serde_json::from_str(arguments).unwrap_or_else(|_| json!({}));
        let name = &function["name"];
        blocks.push(json!({ "type": "tool_use", "id": id, "name": name, "input": input }));
    }
    Ok(blocks)
}

fn result(message: &Message, at: usize) -> Result<Value, ApiError> {
    let id = message.extra.get("tool_call_id").and_then(Value::as_str);
    let id = id.ok_or_else(|| ApiError::missing(&format!("messages[{at}].tool_call_id")))?;
    Ok(json!({ "type": "tool_result", "tool_use_id": id, "content": message.content }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(body: &Value) -> Result<Value, ApiError> {
        let text = body.to_string();
        let bytes = request(Fields::of_body(text.as_bytes())?, "claude", false, 100)?;
        Ok(serde_json::from_slice(&bytes).expect("JSON"))
    }

    #[test]
    fn a_chat_with_tools_becomes_turns_of_blocks() {
        let made = made(&json!({
            "messages": [
                { "role": "system", "content": "Be brief." },
                { "role": "user", "content": "Weather?" },
                { "role": "assistant", "content": null, "tool_calls": [
                    { "id": "1", "type": "function",
                      "function": { "name": "weather", "arguments": "{\"city\":\"Köln\"}" } },
                    { "id": "2", "type": "function",
                      "function": { "name": "weather", "arguments": "" } },
                ] },
                { "role": "tool", "tool_call_id": "1", "content": "sun" },
                { "role": "tool", "tool_call_id": "2", "content": "rain" },
                { "role": "user", "content": "So?" },
            ],
            "tools": [{ "type": "function", "function": { "name": "weather" } }],
            "tool_choice": "required", "parallel_tool_calls": false,
            "temperature": 0.5, "stop": "END", "reasoning_effort": "low", "user": "someone",
        }))
        .unwrap();
        let text = |text| json!({ "type": "text", "text": text });
        let call =
            |id, input| json!({ "type": "tool_use", "id": id, "name": "weather", "input": input });
        let result =
            |id, content| json!({ "type": "tool_result", "tool_use_id": id, "content": content });
        assert_eq!(
            made,
            json!({
                "model": "claude",
                "system": "Be brief.",
                "messages": [
                    { "role": "user", "content": [text("Weather?")] },
                    { "role": "assistant",
                      "content": [call("1", json!({ "city": "Köln" })), call("2", json!({}))] },
                    { "role": "user",
                      "content": [result("1", "sun"), result("2", "rain"), text("So?")] },
                ],
                "tools": [{ "name": "weather",
                            "input_schema": { "type": "object", "properties": {} } }],
                "tool_choice": { "type": "any", "disable_parallel_tool_use": true },
                "thinking": { "type": "enabled", "budget_tokens": 1024 },
                "max_tokens": 1124,
                "temperature": 0.5,
                "stop_sequences": ["END"],
            })
        );
    }

    #[test]
    fn what_cannot_be_said_is_refused_by_name() {
        let with = |name: &str, value: Value| {
            let mut body = json!({ "messages": [{ "role": "user", "content": "Hi" }] });
            body[name] = value;
            made(&body)
        };
        for (name, value) in [
            ("seed", json!(1)),
            ("n", json!(2)),
            ("logprobs", json!(true)),
            ("temperature", json!(1.5)),
            ("frequency_penalty", json!(0.1)),
            ("response_format", json!({ "type": "json_object" })),
            ("store", json!(true)),
            ("continue_final_message", json!(true)),
            ("nonsense", json!(1)),
        ] {
            assert_eq!(with(name, value).unwrap_err().param.as_deref(), Some(name));
        }
        for (name, value) in [
            ("n", json!(1)),
            ("frequency_penalty", json!(0)),
            ("logit_bias", json!({})),
            ("thinking_budget", json!(0)),
            ("response_format", json!({ "type": "text" })),
            ("top_k", json!(-1)),
        ] {
            let made = with(name, value).unwrap();
            let fields: Vec<_> = made.as_object().unwrap().keys().collect();
            assert_eq!(fields, ["model", "messages", "max_tokens"], "{name}");
        }
        let result = json!({ "messages": [{ "role": "tool", "content": "x" }] });
        assert_eq!(made(&result).unwrap_err().param.as_deref(), Some("messages[0].tool_call_id"));
    }
}
