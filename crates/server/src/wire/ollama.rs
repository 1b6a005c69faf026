//! Turns the JSON of Ollama's `/api/chat` and `/api/generate` into the request that every chat
//! becomes.

use myriad_token::Message;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::chat::Chat;
use super::fields::{Fields, kind, wrong_type};
use super::generation::GenerationFields;
use super::response_format::ResponseFormat;
use super::thinking::Thinking;
use super::tools::{Tools, take_tool_name};
use crate::errors::ApiError;
use crate::limits::{CALLS_MAX, MESSAGES_MAX, SMALL_TEXT_BYTES_MAX};

/// A request in Ollama's words.
#[derive(Clone, Debug)]
pub struct OllamaRequest {
    /// Which model.
    pub model: String,
    /// What is to be answered; nothing where the model is only to be loaded, as it is already.
    pub input: Option<Input>,
    /// Most tokens to generate; absent means as many as fit.
    pub max_tokens: Option<usize>,
    /// What the answer's text must look like.
    pub response_format: ResponseFormat,
    /// Sampling, stops and the stream, which is usual here.
    pub generation: GenerationFields,
}

/// What is to be answered.
#[derive(Clone, Debug)]
pub enum Input {
    /// Messages.
    Chat(Box<Chat>),
    /// A text that goes on, as it is.
    Raw(String),
}

/// Options that mean nothing here: how the model is loaded and computed is the server's to say.
const ACCEPTED_OPTIONS: [&str; 9] = [
    "num_ctx",
    "num_keep",
    "num_batch",
    "num_gpu",
    "main_gpu",
    "use_mmap",
    "num_thread",
    "numa",
    // A window over the tokens that the penalty counts; here it counts them all.
    "repeat_last_n",
];

impl OllamaRequest {
    /// Reads the body of `/api/chat`; `vocab` is the number of tokens that the model knows.
    ///
    /// # Errors
    /// 400 naming the field that is wrong, unknown, or not supported.
    pub fn chat(body: &[u8], vocab: usize) -> Result<OllamaRequest, ApiError> {
        let mut fields = Fields::of_body(body)?;
        let values = fields.list("messages", MESSAGES_MAX)?.unwrap_or_default();
        let messages: Result<Vec<_>, _> =
            values.into_iter().enumerate().map(|(at, value)| take_message(value, at)).collect();
        let messages = messages?;
        let tools = Tools::take(&mut fields)?;
        let thinking = take_think(&mut fields)?;
        let chat = (!messages.is_empty()).then(|| Box::new(chat_of(messages, tools, thinking)));
        OllamaRequest::take(fields, vocab, chat.map(Input::Chat))
    }

    /// Reads the body of `/api/generate`.
    ///
    /// # Errors
    /// As [`OllamaRequest::chat`].
    pub fn generate(body: &[u8], vocab: usize) -> Result<OllamaRequest, ApiError> {
        let mut fields = Fields::of_body(body)?;
        let prompt = fields.string("prompt", usize::MAX)?.unwrap_or_default();
        let system = fields.string("system", usize::MAX)?.filter(|text| !text.is_empty());
        let raw = fields.boolean("raw")?.unwrap_or(false);
        let thinking = take_think(&mut fields)?;
        for name in ["suffix", "template"] {
            if fields.string(name, usize::MAX)?.is_some_and(|text| !text.is_empty()) {
                let message = format!("'{name}' is not supported by this server.");
                return Err(ApiError::unsupported(name, message));
            }
        }
        if fields.list("context", usize::MAX)?.is_some_and(|ids| !ids.is_empty()) {
            let message = "'context' is not supported: send the messages to /api/chat.";
            return Err(ApiError::unsupported("context", message));
        }
        refuse_images(&mut fields)?;
        let say = |role: &str, content: String| Message {
            role: role.to_owned(),
            content,
            extra: Map::new(),
        };
        let input = match (prompt.is_empty(), raw) {
            (true, _) => None,
            (_, true) => Some(Input::Raw(prompt)),
            _ => {
                let system = system.map(|text| say("system", text));
                let messages = system.into_iter().chain([say("user", prompt)]).collect();
                Some(Input::Chat(Box::new(chat_of(messages, Tools::default(), thinking))))
            }
        };
        OllamaRequest::take(fields, vocab, input)
    }

    fn take(
        mut fields: Fields<'_>,
        vocab: usize,
        input: Option<Input>,
    ) -> Result<OllamaRequest, ApiError> {
        let model = take_model(&mut fields)?;
        let stream = fields.boolean("stream")?.unwrap_or(true);
        let response_format = match fields.raw("format") {
            None => ResponseFormat::default(),
            Some(value) => match value.get() {
                r#""""# => ResponseFormat::default(),
                r#""json""# => ResponseFormat::object("format".to_owned()),
                _ => ResponseFormat::schema(value, "format".to_owned())?,
            },
        };
        // How long the model stays in memory: always.
        fields.raw("keep_alive");
        let (mut generation, max_tokens) = take_options(&mut fields, vocab)?;
        generation.stream = stream;
        fields.none_left()?;
        Ok(OllamaRequest { model, input, max_tokens, response_format, generation })
    }
}

/// `model`, or `name` as it was called once.
///
/// # Errors
/// 400 where there is none.
pub fn take_model(fields: &mut Fields<'_>) -> Result<String, ApiError> {
    let old = fields.string("name", SMALL_TEXT_BYTES_MAX)?;
    let model = fields.string("model", SMALL_TEXT_BYTES_MAX)?.or(old);
    model.filter(|name| !name.is_empty()).ok_or_else(|| ApiError::missing("model"))
}

fn chat_of(messages: Vec<Message>, tools: Tools, thinking: Thinking) -> Chat {
    let open = messages.last().is_some_and(|it| it.role == "assistant" && !it.content.is_empty());
    Chat {
        messages,
        add_generation_prompt: !open,
        continue_final_message: open,
        template_kwargs: Map::new(),
        tools,
        thinking,
    }
}

/// `think`: whether, or how much.
fn take_think(fields: &mut Fields<'_>) -> Result<Thinking, ApiError> {
    let usual = Thinking { asked_as: "think", ..Thinking::default() };
    let Some(value) = fields.raw("think") else { return Ok(usual) };
    if let Ok(enabled) = serde_json::from_str::<bool>(value.get()) {
        return Ok(Thinking { enabled: Some(enabled), ..usual });
    }
    let effort: Option<String> = serde_json::from_str(value.get()).ok();
    match effort.filter(|effort| ["low", "medium", "high", "max"].contains(&effort.as_str())) {
        Some(effort) => Ok(Thinking { effort: Some(effort), ..usual }),
        None => Err(wrong_type("think", "a boolean or one of low, medium, high, max", value)),
    }
}

fn refuse_images(fields: &mut Fields<'_>) -> Result<(), ApiError> {
    let name = fields.name("images");
    match fields.list("images", MESSAGES_MAX)? {
        Some(images) if !images.is_empty() => {
            let message = format!("'{name}' is not supported: this model reads text only.");
            Err(ApiError::unsupported(name, message))
        }
        _ => Ok(()),
    }
}

fn take_message(value: &RawValue, at: usize) -> Result<Message, ApiError> {
    const ROLES: [&str; 4] = ["system", "user", "assistant", "tool"];
    let mut fields = Fields::of_value(value, format!("messages[{at}]"))?;
    let name = fields.name("role");
    let role = fields.string("role", SMALL_TEXT_BYTES_MAX)?;
    let role = role.ok_or_else(|| ApiError::missing(&name))?;
    if !ROLES.contains(&role.as_str()) {
        let right = ROLES.join(", ");
        let message = format!("Invalid value for '{name}'. Right would be one of: {right}.");
        return Err(ApiError::invalid(name, message));
    }
    let content = fields.string("content", usize::MAX)?.unwrap_or_default();
    refuse_images(&mut fields)?;
    let mut extra = Map::new();
    if let Some(text) = fields.string("thinking", usize::MAX)?.filter(|text| !text.is_empty()) {
        extra.insert("thinking".to_owned(), text.clone().into());
        extra.insert("reasoning_content".to_owned(), text.into());
    }
    for (field, extra_name) in [("tool_name", "name"), ("tool_call_id", "tool_call_id")] {
        if let Some(text) = fields.string(field, SMALL_TEXT_BYTES_MAX)? {
            extra.insert(extra_name.to_owned(), text.into());
        }
    }
    let place = fields.name("tool_calls");
    let mut calls: Vec<Value> = Vec::new();
    for (at, value) in fields.list("tool_calls", CALLS_MAX)?.unwrap_or_default().iter().enumerate()
    {
        calls.push(take_call(value, format!("{place}[{at}]"))?);
    }
    if !calls.is_empty() {
        extra.insert("tool_calls".to_owned(), calls.into());
    }
    fields.none_left()?;
    Ok(Message { role, content, extra })
}

/// A call, in the shape that templates know; the arguments are an object here.
fn take_call(value: &RawValue, place: String) -> Result<Value, ApiError> {
    let mut fields = Fields::of_value(value, place)?;
    let place = fields.name("function");
    let function = fields.raw("function").ok_or_else(|| ApiError::missing(&place))?;
    let mut function = Fields::of_value(function, place)?;
    let name = take_tool_name(&mut function)?;
    let place = function.name("arguments");
    let arguments = match function.raw("arguments") {
        Some(value) if kind(value) == "an object" => value.get(),
        Some(value) => return Err(wrong_type(&place, "an object", value)),
        None => "{}",
    };
    let mut call = json!({ "type": "function",
                           "function": { "name": name, "arguments": arguments } });
    if let Some(id) = fields.string("id", SMALL_TEXT_BYTES_MAX)? {
        call["id"] = id.into();
    }
    Ok(call)
}

/// `options`, with what Ollama takes where nothing is said.
fn take_options(
    fields: &mut Fields<'_>,
    vocab: usize,
) -> Result<(GenerationFields, Option<usize>), ApiError> {
    let options = fields.raw("options");
    let mut options = match options {
        Some(value) => Fields::of_value(value, "options".to_owned())?,
        None => Fields::of_body(b"{}")?,
    };
    for name in ACCEPTED_OPTIONS {
        options.raw(name);
    }
    // -1 and -2: until the end, or the context is full.
    let max_tokens = options.integer("num_predict", -2..=i64::from(u32::MAX))?;
    let max_tokens = max_tokens.filter(|count| *count >= 0).map(|count| count as usize);
    if max_tokens == Some(0) {
        let message = "'options.num_predict' is 0. Right would be at least 1, or -1.";
        return Err(ApiError::invalid("options.num_predict", message));
    }
    let temperature = options.number("temperature", 0.0..=2.0)?;
    let (top_p, min_p) = (options.number("top_p", 0.0..=1.0)?, options.number("min_p", 0.0..=1.0)?);
    let top_k = options.integer("top_k", 0..=i64::from(u32::MAX))?;
    let repeat = options.number("repeat_penalty", 0.01..=10.0)?;
    let mut generation = GenerationFields::take(&mut options, vocab)?;
    let sampling = &mut generation.sampling;
    sampling.temperature = temperature.unwrap_or(0.8);
    sampling.top_p = top_p.unwrap_or(0.9);
    sampling.min_p = min_p.unwrap_or(0.0);
    sampling.top_k = Some(top_k.unwrap_or(40)).filter(|it| *it > 0).map(|it| it as u32);
    sampling.repetition_penalty = repeat.unwrap_or(1.0);
    if generation.n != 1 {
        return Err(ApiError::unsupported("options.n", "'options.n' can only be 1."));
    }
    options.none_left()?;
    Ok((generation, max_tokens))
}
