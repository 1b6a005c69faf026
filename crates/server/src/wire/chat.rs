//! Turns the JSON of `/v1/chat/completions` into a request, and answers into JSON.

use myriad_token::Message;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::fields::{Fields, elements, kind, wrong_type};
use super::generation::GenerationFields;
use super::logprobs::ChatLogprobs;
use super::policy;
use super::response_format::ResponseFormat;
use super::usage::Usage;
use crate::errors::ApiError;
use crate::limits::{MESSAGES_MAX, SMALL_TEXT_BYTES_MAX, TOP_LOGPROBS_MAX};

/// A chat request that is right as far as can be known without the model's template.
#[derive(Clone, Debug)]
pub struct ChatRequest {
    /// Which model; absent means the one that is served.
    pub model: Option<String>,
    /// The chat, and how it is rendered.
    pub chat: Chat,
    /// Most tokens to generate; absent means as many as fit.
    pub max_tokens: Option<usize>,
    /// Alternatives per token, where log-probabilities are asked for.
    pub logprobs: Option<usize>,
    /// What the answer must look like.
    pub response_format: ResponseFormat,
    /// What completions have too.
    pub generation: GenerationFields,
}

/// Messages and how the template shows them.
#[derive(Clone, Debug)]
pub struct Chat {
    /// The messages, in order; at least one.
    pub messages: Vec<Message>,
    /// Whether the prompt ends with the beginning of an answer.
    pub add_generation_prompt: bool,
    /// Whether the final message is left open.
    pub continue_final_message: bool,
    /// Variables for the template.
    pub template_kwargs: Map<String, Value>,
}

impl ChatRequest {
    /// Reads a request's body; `vocab` is the number of tokens that the model knows.
    ///
    /// # Errors
    /// 400 naming the parameter that is wrong, unknown, or not supported.
    pub fn parse(body: &[u8], vocab: usize) -> Result<ChatRequest, ApiError> {
        let mut fields = Fields::of_body(body)?;
        let model = fields.string("model", SMALL_TEXT_BYTES_MAX)?;
        let chat = Chat::take(&mut fields)?;
        let max_tokens = take_max_tokens(&mut fields)?;
        let logprobs = take_logprobs(&mut fields)?;
        let response_format = ResponseFormat::take(&mut fields)?;
        let mut generation = GenerationFields::take(&mut fields, vocab)?;
        generation.check_min_tokens(max_tokens)?;
        generation.sampling.logprobs = logprobs;
        policy::judge_chat(fields)?;
        Ok(ChatRequest { model, chat, max_tokens, logprobs, response_format, generation })
    }
}

impl Chat {
    /// Takes messages and the ways to render them.
    ///
    /// # Errors
    /// 400 naming the field that is wrong.
    pub fn take(fields: &mut Fields<'_>) -> Result<Chat, ApiError> {
        let Some(values) = fields.list("messages", MESSAGES_MAX)? else {
            return Err(ApiError::missing("messages"));
        };
        if values.is_empty() {
            let message = "'messages' is empty. Right would be at least one message.";
            return Err(ApiError::invalid("messages", message));
        }
        let messages: Result<_, _> =
            values.into_iter().enumerate().map(|(at, value)| take_message(value, at)).collect();
        let continue_final_message = fields.boolean("continue_final_message")?.unwrap_or(false);
        let add_generation_prompt =
            fields.boolean("add_generation_prompt")?.unwrap_or(!continue_final_message);
        Ok(Chat {
            messages: messages?,
            add_generation_prompt,
            continue_final_message,
            template_kwargs: take_template_kwargs(fields)?,
        })
    }
}

/// Variables for the template: small, as they are copied into each rendering.
fn take_template_kwargs(fields: &mut Fields<'_>) -> Result<Map<String, Value>, ApiError> {
    const NAME: &str = "chat_template_kwargs";
    const BYTES_MAX: usize = 64 << 10;
    let Some(value) = fields.raw(NAME) else { return Ok(Map::new()) };
    if value.get().len() > BYTES_MAX {
        let message = format!("'{NAME}' is larger than {BYTES_MAX} bytes.");
        return Err(ApiError::invalid(NAME, message));
    }
    serde_json::from_str(value.get()).map_err(|_| wrong_type(NAME, "an object", value))
}

/// `max_completion_tokens` wins over the older `max_tokens`.
fn take_max_tokens(fields: &mut Fields<'_>) -> Result<Option<usize>, ApiError> {
    let old = fields.integer("max_tokens", 1..=i64::MAX)?;
    let new = fields.integer("max_completion_tokens", 1..=i64::MAX)?;
    Ok(new.or(old).map(|count| count as usize))
}

fn take_logprobs(fields: &mut Fields<'_>) -> Result<Option<usize>, ApiError> {
    let wanted = fields.boolean("logprobs")?.unwrap_or(false);
    let top = fields.integer("top_logprobs", 0..=i64::from(TOP_LOGPROBS_MAX))?;
    if top.is_some_and(|top| top > 0) && !wanted {
        let message = "'top_logprobs' is only allowed when 'logprobs' is true.";
        return Err(ApiError::invalid("top_logprobs", message));
    }
    Ok(wanted.then(|| top.unwrap_or(0) as usize))
}

/// What an assistant's message may carry that means nothing when it is empty: answers of this and
/// other servers are sent back as they came.
const EMPTY_ONLY: [&str; 5] = ["tool_calls", "function_call", "audio", "refusal", "annotations"];

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
        extra.insert("reasoning_content".to_owned(), text.into());
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
    Ok(Message { role, content, extra })
}

fn take_role(fields: &mut Fields<'_>) -> Result<String, ApiError> {
    const ROLES: [&str; 5] = ["system", "developer", "user", "assistant", "tool"];
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

/// A whole answer.
#[derive(Clone, Debug, Serialize)]
pub struct ChatCompletion {
    /// `chatcmpl-…`
    pub id: String,
    /// `chat.completion`
    pub object: &'static str,
    /// Seconds since 1970.
    pub created: u64,
    /// The name under which the model is served.
    pub model: String,
    /// One per choice asked for.
    pub choices: Vec<ChatChoice>,
    /// Tokens in and out.
    pub usage: Usage,
    /// What the answer was computed with.
    pub system_fingerprint: String,
    /// Ids of the prompt, with `return_token_ids`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_token_ids: Option<Vec<u32>>,
}

/// One choice of a whole answer.
#[derive(Clone, Debug, Serialize)]
pub struct ChatChoice {
    /// Which one.
    pub index: usize,
    /// The answer.
    pub message: AnswerMessage,
    /// Where asked for.
    pub logprobs: Option<ChatLogprobs>,
    /// `stop` or `length`.
    pub finish_reason: &'static str,
    /// With `return_token_ids`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_ids: Option<Vec<u32>>,
}

/// The message of a whole answer.
#[derive(Clone, Debug, Serialize)]
pub struct AnswerMessage {
    /// `assistant`
    pub role: &'static str,
    /// The text.
    pub content: String,
    /// Always null.
    pub refusal: (),
    /// Always empty.
    pub annotations: [(); 0],
}

/// A piece of a streamed answer.
#[derive(Clone, Debug, Serialize)]
pub struct ChatChunk {
    /// The same in all pieces.
    pub id: String,
    /// `chat.completion.chunk`
    pub object: &'static str,
    /// The same in all pieces.
    pub created: u64,
    /// The same in all pieces.
    pub model: String,
    /// What the answer is computed with.
    pub system_fingerprint: String,
    /// One piece of one choice; none in the piece that carries the usage.
    pub choices: Vec<ChunkChoice>,
    /// Absent unless asked for; then null in all pieces but the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Option<Usage>>,
    /// Ids of the prompt, in the first piece, with `return_token_ids`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_token_ids: Option<Vec<u32>>,
}

/// A piece of one choice.
#[derive(Clone, Debug, Serialize)]
pub struct ChunkChoice {
    /// Which choice.
    pub index: usize,
    /// What is new.
    pub delta: Delta,
    /// Logprobs of the tokens in this piece, where asked for.
    pub logprobs: Option<ChatLogprobs>,
    /// Null until the last piece of the choice.
    pub finish_reason: Option<&'static str>,
    /// With `return_token_ids`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_ids: Option<Vec<u32>>,
}

/// What is new in a piece: the role first, then text, then nothing.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Delta {
    /// `assistant`, in the first piece.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    /// Text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Null, in the first piece.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<()>,
}
