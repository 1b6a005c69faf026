//! Turns the JSON of Anthropic's `/v1/messages` into the request that every chat becomes.

use myriad_token::Message;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::chat::Chat;
use super::fields::{Fields, elements, kind, wrong_type};
use super::generation::GenerationFields;
use super::messages::name_results;
use super::response_format::ResponseFormat;
use super::thinking::Thinking;
use super::tools::{Tool, Tools, take_schema, take_tool_name};
use crate::errors::ApiError;
use crate::limits::{
    MESSAGES_MAX, SMALL_TEXT_BYTES_MAX, STOP_BYTES_MAX, STOPS_MAX, TOOL_DESCRIPTION_BYTES_MAX,
    TOOLS_BYTES_MAX, TOOLS_MAX,
};

/// A request in Anthropic's words.
#[derive(Clone, Debug)]
pub struct MessagesRequest {
    /// Which model.
    pub model: String,
    /// The chat, the system's text first.
    pub chat: Chat,
    /// Most tokens to generate; none where they are only counted.
    pub max_tokens: Option<usize>,
    /// What the answer's text must look like.
    pub response_format: ResponseFormat,
    /// Sampling, stops and the stream.
    pub generation: GenerationFields,
}

/// What informs the operator, or is a hint: accepted with any value.
const ACCEPTED: [&str; 8] = [
    "metadata",
    "service_tier",
    "cache_control",
    "inference_geo",
    "diagnostics",
    "speed",
    "user_profile_id",
    "workspace_id",
];

/// Known to Anthropic, but not here.
const REFUSED: [&str; 3] = ["container", "context_management", "mcp_servers"];

/// A line that Claude Code puts before its system text, with a number that changes each time: no
/// cached prefix would ever be found behind it. It says nothing to the model.
const BILLING: &str = "x-anthropic-billing-header";

impl MessagesRequest {
    /// Reads a request's body; `counts` where tokens are only counted. `vocab` is the number of
    /// tokens that the model knows.
    ///
    /// # Errors
    /// 400 naming the field that is wrong, unknown, or not supported.
    pub fn parse(body: &[u8], vocab: usize, counts: bool) -> Result<MessagesRequest, ApiError> {
        let mut fields = Fields::of_body(body)?;
        let model = fields.string("model", SMALL_TEXT_BYTES_MAX)?;
        let model = model.ok_or_else(|| ApiError::missing("model"))?;
        let max_tokens = fields.integer("max_tokens", 1..=i64::MAX)?.map(|count| count as usize);
        if max_tokens.is_none() && !counts {
            return Err(ApiError::missing("max_tokens"));
        }
        let tools = take_tools(&mut fields)?;
        let (effort, response_format) = take_output(&mut fields)?;
        let chat = Chat {
            messages: take_messages(&mut fields)?,
            add_generation_prompt: true,
            continue_final_message: false,
            template_kwargs: Map::new(),
            tools,
            thinking: take_thinking(&mut fields, effort)?,
        };
        let chat = continued(chat);
        let generation = take_generation(&mut fields, vocab)?;
        for name in ACCEPTED {
            fields.raw(name);
        }
        for name in REFUSED {
            if fields.raw(name).is_some() {
                let message = format!("'{name}' is not supported by this server.");
                return Err(ApiError::unsupported(name, message));
            }
        }
        fields.none_left()?;
        Ok(MessagesRequest { model, chat, max_tokens, response_format, generation })
    }
}

/// A final message of the assistant's is the beginning of the answer.
fn continued(chat: Chat) -> Chat {
    let last = chat.messages.last();
    let open = last.is_some_and(|it| it.role == "assistant" && !it.content.is_empty());
    Chat { add_generation_prompt: !open, continue_final_message: open, ..chat }
}

fn take_generation(fields: &mut Fields<'_>, vocab: usize) -> Result<GenerationFields, ApiError> {
    let mut generation = GenerationFields::take(&mut Fields::of_body(b"{}")?, vocab)?;
    let sampling = &mut generation.sampling;
    sampling.temperature = fields.number("temperature", 0.0..=1.0)?.unwrap_or(1.0);
    sampling.top_p = fields.number("top_p", 0.0..=1.0)?.unwrap_or(1.0);
    let top_k = fields.integer("top_k", 0..=i64::from(u32::MAX))?;
    sampling.top_k = top_k.filter(|top_k| *top_k > 0).map(|top_k| top_k as u32);
    generation.stream = fields.boolean("stream")?.unwrap_or(false);
    const STOPS: &str = "stop_sequences";
    for value in fields.list(STOPS, STOPS_MAX)?.unwrap_or_default() {
        let stop: String =
            serde_json::from_str(value.get()).map_err(|_| wrong_type(STOPS, "strings", value))?;
        if stop.is_empty() || stop.len() > STOP_BYTES_MAX {
            let message = format!(
                "'{STOPS}' has a string of {} bytes. Right would be 1 to {STOP_BYTES_MAX}.",
                stop.len()
            );
            return Err(ApiError::invalid(STOPS, message));
        }
        generation.stops.push(stop);
    }
    Ok(generation)
}

/// `thinking`, beside the effort of `output_config`. Budgets and efforts of models that do not
/// reason are no errors: clients send them to all.
fn take_thinking(fields: &mut Fields<'_>, effort: Option<String>) -> Result<Thinking, ApiError> {
    let mut wish = Thinking { hints: true, asked_as: "thinking", effort, ..Thinking::default() };
    let Some(value) = fields.raw("thinking") else { return Ok(wish) };
    let mut fields = Fields::of_value(value, "thinking".to_owned())?;
    let name = fields.name("type");
    wish.budget = fields.integer("budget_tokens", 1..=i64::from(i32::MAX))?;
    wish.enabled = match fields.string("type", SMALL_TEXT_BYTES_MAX)?.as_deref() {
        Some("enabled") => Some(true),
        Some("disabled") => Some(false),
        // The model decides, as it does anyway.
        Some("adaptive") => None,
        Some(_) => {
            let message = format!(
                "Invalid value for '{name}'. Right would be 'enabled', 'disabled' or 'adaptive'."
            );
            return Err(ApiError::invalid(name, message));
        }
        None => return Err(ApiError::missing(&name)),
    };
    // Whether the thoughts are shown; they are.
    fields.string("display", SMALL_TEXT_BYTES_MAX)?;
    fields.none_left()?;
    Ok(wish)
}

/// `output_config`, `{"effort": "high", "format": …}`, and the format as `output_format`, as it was
/// called before.
fn take_output(fields: &mut Fields<'_>) -> Result<(Option<String>, ResponseFormat), ApiError> {
    const EFFORTS: [&str; 5] = ["low", "medium", "high", "xhigh", "max"];
    let older = take_format(fields, "output_format")?;
    let Some(value) = fields.raw("output_config") else { return Ok((None, older)) };
    let mut config = Fields::of_value(value, "output_config".to_owned())?;
    let (effort_name, format_name) = (config.name("effort"), config.name("format"));
    let mut format = take_format(&mut config, "format")?;
    if older.text.is_some() {
        if format.text.is_some() {
            let message = format!("'{format_name}' and 'output_format' exclude each other.");
            return Err(ApiError::invalid(format_name, message));
        }
        format = older;
    }
    let effort = config.string("effort", SMALL_TEXT_BYTES_MAX)?;
    if effort.as_deref().is_some_and(|effort| !EFFORTS.contains(&effort)) {
        let right = EFFORTS.join(", ");
        let message = format!("Invalid value for '{effort_name}'. Right would be one of: {right}.");
        return Err(ApiError::invalid(effort_name, message));
    }
    config.none_left()?;
    Ok((effort, format))
}

/// `{"type": "json_schema", "schema": …}`
fn take_format(fields: &mut Fields<'_>, name: &str) -> Result<ResponseFormat, ApiError> {
    let place = fields.name(name);
    let Some(value) = fields.raw(name) else { return Ok(ResponseFormat::default()) };
    let mut format = Fields::of_value(value, place)?;
    let (kind_name, place) = (format.name("type"), format.name("schema"));
    match format.string("type", SMALL_TEXT_BYTES_MAX)?.as_deref() {
        Some("json_schema") => {}
        Some(_) => {
            let message = format!("Invalid value for '{kind_name}'. Right would be 'json_schema'.");
            return Err(ApiError::invalid(kind_name, message));
        }
        None => return Err(ApiError::missing(&kind_name)),
    }
    let schema = format.raw("schema").ok_or_else(|| ApiError::missing(&place))?;
    format.none_left()?;
    ResponseFormat::schema(schema, place)
}

fn take_tools(fields: &mut Fields<'_>) -> Result<Tools, ApiError> {
    let values = fields.list("tools", TOOLS_MAX)?.unwrap_or_default();
    let bytes: usize = values.iter().map(|value| value.get().len()).sum();
    if bytes > TOOLS_BYTES_MAX {
        let message =
            format!("'tools' has {bytes} bytes. Right would be at most {TOOLS_BYTES_MAX}.");
        return Err(ApiError::invalid("tools", message));
    }
    let mut tools = Tools::default();
    for (at, value) in values.into_iter().enumerate() {
        let tool = take_tool(value, format!("tools[{at}]"))?;
        if tools.offered.iter().any(|other| other.name == tool.name) {
            let place = format!("tools[{at}].name");
            let message = format!("'{place}' is the name of an earlier tool too.");
            return Err(ApiError::invalid(place, message));
        }
        tools.offered.push(tool);
    }
    take_choice(fields, &mut tools)?;
    Ok(tools)
}

fn take_choice(fields: &mut Fields<'_>, tools: &mut Tools) -> Result<(), ApiError> {
    let Some(choice) = fields.raw("tool_choice") else { return Ok(()) };
    let mut choice = Fields::of_value(choice, "tool_choice".to_owned())?;
    tools.one_call = choice.boolean("disable_parallel_tool_use")?.unwrap_or(false);
    let name = choice.name("type");
    match choice.string("type", SMALL_TEXT_BYTES_MAX)?.as_deref() {
        Some("auto") => {}
        Some("none") => tools.offered.clear(),
        Some("any") => tools.force(&name, None)?,
        Some("tool") => {
            let place = choice.name("name");
            let tool = choice.string("name", SMALL_TEXT_BYTES_MAX)?;
            let tool = tool.ok_or_else(|| ApiError::missing(&place))?;
            tools.force(&place, Some(&tool))?;
        }
        Some(_) => {
            let message = format!(
                "Invalid value for '{name}'. Right would be 'auto', 'any', 'tool' or 'none'."
            );
            return Err(ApiError::invalid(name, message));
        }
        None => return Err(ApiError::missing(&name)),
    }
    choice.none_left()
}

fn take_tool(value: &RawValue, place: String) -> Result<Tool, ApiError> {
    let mut fields = Fields::of_value(value, place)?;
    let place = fields.name("type");
    let kind = fields.string("type", SMALL_TEXT_BYTES_MAX)?;
    if let Some(kind) = kind.filter(|kind| kind != "custom") {
        let shown: String = kind.chars().take(32).collect();
        let message = format!("'{place}' is '{shown}', but tools run at the client's side here.");
        return Err(ApiError::unsupported(place, message));
    }
    let name = take_tool_name(&mut fields)?;
    let description = fields.string("description", TOOL_DESCRIPTION_BYTES_MAX)?;
    let place = fields.name("input_schema");
    let schema = fields.raw("input_schema").ok_or_else(|| ApiError::missing(&place))?;
    let parameters = Some(take_schema(schema, &place)?);
    let strict = fields.boolean("strict")?.unwrap_or(false);
    // Hints about caches and the stream.
    fields.raw("cache_control");
    fields.raw("eager_input_streaming");
    fields.none_left()?;
    Ok(Tool { name, description, parameters, strict })
}

fn take_messages(fields: &mut Fields<'_>) -> Result<Vec<Message>, ApiError> {
    let mut messages = Vec::new();
    if let Some(system) = fields.raw("system") {
        let content = take_system(system)?;
        messages.push(Message { role: "system".into(), content, ..Message::default() });
    }
    let values = fields.list("messages", MESSAGES_MAX)?;
    let values = values.ok_or_else(|| ApiError::missing("messages"))?;
    if values.is_empty() {
        let message = "'messages' is empty. Right would be at least one message.";
        return Err(ApiError::invalid("messages", message));
    }
    for (at, value) in values.into_iter().enumerate() {
        let mut fields = Fields::of_value(value, format!("messages[{at}]"))?;
        let (role_name, place) = (fields.name("role"), fields.name("content"));
        let role = fields.string("role", SMALL_TEXT_BYTES_MAX)?;
        let content = fields.raw("content").ok_or_else(|| ApiError::missing(&place))?;
        fields.none_left()?;
        match role.as_deref() {
            Some("user") => take_user(content, &place, &mut messages)?,
            Some("assistant") => messages.push(take_assistant(content, &place)?),
            Some("system") => {
                let content = text_of(content, &place)?;
                messages.push(Message { role: "system".into(), content, ..Message::default() });
            }
            Some(_) => {
                let message =
                    format!("Invalid value for '{role_name}'. Right would be user or assistant.");
                return Err(ApiError::invalid(role_name, message));
            }
            None => return Err(ApiError::missing(&role_name)),
        }
    }
    name_results(&mut messages);
    Ok(messages)
}

fn take_system(value: &RawValue) -> Result<String, ApiError> {
    let text = match kind(value) {
        "an array" => {
            let mut parts = Vec::new();
            for (at, block) in elements(value, "system", MESSAGES_MAX)?.into_iter().enumerate() {
                parts.push(text_block(block, format!("system[{at}]"))?);
            }
            parts.retain(|text| !text.starts_with(BILLING));
            parts.join("\n")
        }
        _ => text_of(value, "system")?,
    };
    Ok(match text.strip_prefix(BILLING).and_then(|rest| rest.split_once('\n')) {
        Some((_, rest)) => rest.to_owned(),
        None => text,
    })
}

/// A string, or blocks of text, line by line.
fn text_of(value: &RawValue, place: &str) -> Result<String, ApiError> {
    match kind(value) {
        "a string" => serde_json::from_str(value.get())
            .map_err(|_| wrong_type(place, "a string of valid Unicode", value)),
        "an array" => {
            let blocks = elements(value, place, MESSAGES_MAX)?;
            let texts = blocks
                .into_iter()
                .enumerate()
                .map(|(at, block)| text_block(block, format!("{place}[{at}]")));
            Ok(texts.collect::<Result<Vec<_>, _>>()?.join("\n"))
        }
        _ => Err(wrong_type(place, "a string or an array of content blocks", value)),
    }
}

/// A block with its type; hints and citations are taken off.
fn block(value: &RawValue, place: String) -> Result<(String, Fields<'_>), ApiError> {
    let mut fields = Fields::of_value(value, place)?;
    let name = fields.name("type");
    let kind = fields.string("type", SMALL_TEXT_BYTES_MAX)?;
    fields.raw("cache_control");
    Ok((kind.ok_or_else(|| ApiError::missing(&name))?, fields))
}

fn wrong_block(fields: &Fields<'_>, kind: &str, right: &str) -> ApiError {
    let (place, shown): (_, String) = (fields.name("type"), kind.chars().take(32).collect());
    let message = format!("'{place}' is '{shown}', but here a block can be: {right}.");
    ApiError::unsupported(place, message)
}

fn text_block(value: &RawValue, place: String) -> Result<String, ApiError> {
    let (kind, fields) = block(value, place)?;
    if kind != "text" {
        return Err(wrong_block(&fields, &kind, "text"));
    }
    take_text(fields)
}

fn take_text(mut fields: Fields<'_>) -> Result<String, ApiError> {
    let name = fields.name("text");
    let text = fields.string("text", usize::MAX)?.ok_or_else(|| ApiError::missing(&name))?;
    fields.raw("citations");
    fields.none_left()?;
    Ok(text)
}

/// A user's message: results of tools are messages of their own.
fn take_user(content: &RawValue, place: &str, messages: &mut Vec<Message>) -> Result<(), ApiError> {
    let user = |content| Message { role: "user".into(), content, ..Message::default() };
    if kind(content) != "an array" {
        messages.push(user(text_of(content, place)?));
        return Ok(());
    }
    let mut texts: Vec<String> = Vec::new();
    let before = messages.len();
    for (at, value) in elements(content, place, MESSAGES_MAX)?.into_iter().enumerate() {
        let (kind, mut fields) = block(value, format!("{place}[{at}]"))?;
        match kind.as_str() {
            "text" => texts.push(take_text(fields)?),
            "tool_result" => {
                if !texts.is_empty() {
                    messages.push(user(std::mem::take(&mut texts).join("\n")));
                }
                messages.push(take_result(&mut fields)?);
                fields.none_left()?;
            }
            other => return Err(wrong_block(&fields, other, "text, tool_result")),
        }
    }
    if !texts.is_empty() || messages.len() == before {
        messages.push(user(texts.join("\n")));
    }
    Ok(())
}

fn take_result(fields: &mut Fields<'_>) -> Result<Message, ApiError> {
    let (id_name, place) = (fields.name("tool_use_id"), fields.name("content"));
    let id = fields.string("tool_use_id", SMALL_TEXT_BYTES_MAX)?;
    let id = id.ok_or_else(|| ApiError::missing(&id_name))?;
    let content = fields.raw("content").map(|value| text_of(value, &place)).transpose()?;
    let mut content = content.unwrap_or_default();
    // Templates have no other place for it.
    if fields.boolean("is_error")?.unwrap_or(false) {
        content = format!("Error: {content}");
    }
    let extra = Map::from_iter([("tool_call_id".to_owned(), id.into())]);
    Ok(Message { role: "tool".into(), content, extra })
}

fn take_assistant(content: &RawValue, place: &str) -> Result<Message, ApiError> {
    let role = "assistant".to_owned();
    if kind(content) != "an array" {
        return Ok(Message { role, content: text_of(content, place)?, extra: Map::new() });
    }
    let (mut texts, mut thoughts, mut calls) = (Vec::new(), Vec::new(), Vec::new());
    for (at, value) in elements(content, place, MESSAGES_MAX)?.into_iter().enumerate() {
        let (kind, mut fields) = block(value, format!("{place}[{at}]"))?;
        match kind.as_str() {
            "text" => texts.push(take_text(fields)?),
            "thinking" => {
                let name = fields.name("thinking");
                let text = fields.string("thinking", usize::MAX)?;
                thoughts.push(text.ok_or_else(|| ApiError::missing(&name))?);
                // Thoughts of this server are not signed.
                fields.raw("signature");
                fields.none_left()?;
            }
            // Only who wrote it can read it.
            "redacted_thinking" => {}
            "tool_use" => {
                calls.push(take_call(&mut fields)?);
                // Who called, in answers of Anthropic's own: the model did.
                fields.raw("caller");
                fields.raw("toolset_name");
                fields.none_left()?;
            }
            other => return Err(wrong_block(&fields, other, "text, thinking, tool_use")),
        }
    }
    let mut extra = Map::new();
    if !thoughts.is_empty() {
        let thoughts = thoughts.join("\n");
        extra.insert("thinking".to_owned(), thoughts.clone().into());
        extra.insert("reasoning_content".to_owned(), thoughts.into());
    }
    if !calls.is_empty() {
        extra.insert("tool_calls".to_owned(), calls.into());
    }
    Ok(Message { role, content: texts.join("\n"), extra })
}

/// A call, in the shape that templates know.
fn take_call(fields: &mut Fields<'_>) -> Result<Value, ApiError> {
    let id_name = fields.name("id");
    let id = fields.string("id", SMALL_TEXT_BYTES_MAX)?;
    let id = id.ok_or_else(|| ApiError::missing(&id_name))?;
    let name = take_tool_name(fields)?;
    let place = fields.name("input");
    let input = fields.raw("input").ok_or_else(|| ApiError::missing(&place))?;
    if kind(input) != "an object" {
        return Err(wrong_type(&place, "an object", input));
    }
    let function = json!({ "name": name, "arguments": input.get() });
    Ok(json!({ "id": id, "type": "function", "function": function }))
}
