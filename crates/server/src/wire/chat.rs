//! Turns the JSON of `/v1/chat/completions` into a request, and answers into JSON.

use myriad_token::Message;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::fields::{Fields, wrong_type};
use super::generation::GenerationFields;
use super::logprobs::ChatLogprobs;
use super::response_format::ResponseFormat;
use super::stored_chats::StoredChat;
use super::thinking::Thinking;
use super::tools::Tools;
use super::usage::Usage;
use super::{messages, policy};
use crate::errors::ApiError;
use crate::limits::{SMALL_TEXT_BYTES_MAX, TOP_LOGPROBS_MAX};

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
    /// What is kept of it with its answer, where that is asked for.
    pub stored: Option<StoredChat>,
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
    /// What the model may call.
    pub tools: Tools,
    /// How much it should think.
    pub thinking: Thinking,
}

impl ChatRequest {
    /// Reads a request's body; `vocab` is the number of tokens that the model knows.
    ///
    /// # Errors
    /// 400 naming the parameter that is wrong, unknown, or not supported.
    pub fn parse(body: &[u8], vocab: usize) -> Result<ChatRequest, ApiError> {
        let mut fields = Fields::of_body(body)?;
        let model = fields.string("model", SMALL_TEXT_BYTES_MAX)?;
        let mut stored = StoredChat::take(&mut fields)?;
        let messages = fields.peek("messages");
        let chat = Chat::take(&mut fields)?;
        if let (Some(stored), Some(messages)) = (&mut stored, messages) {
            stored.add(messages, &chat.messages);
        }
        let max_tokens = take_max_tokens(&mut fields)?;
        let logprobs = take_logprobs(&mut fields)?;
        let response_format = ResponseFormat::take(&mut fields)?;
        let mut generation = GenerationFields::take(&mut fields, vocab)?;
        generation.check_min_tokens(max_tokens)?;
        generation.sampling.logprobs = logprobs;
        policy::judge_chat(fields)?;
        Ok(ChatRequest { model, chat, max_tokens, logprobs, response_format, stored, generation })
    }
}

impl Chat {
    /// Takes messages and the ways to render them.
    ///
    /// # Errors
    /// 400 naming the field that is wrong.
    pub fn take(fields: &mut Fields<'_>) -> Result<Chat, ApiError> {
        let messages = messages::take(fields)?;
        let continue_final_message = fields.boolean("continue_final_message")?.unwrap_or(false);
        let add_generation_prompt =
            fields.boolean("add_generation_prompt")?.unwrap_or(!continue_final_message);
        Ok(Chat {
            messages,
            add_generation_prompt,
            continue_final_message,
            template_kwargs: take_template_kwargs(fields)?,
            tools: Tools::take(fields)?,
            thinking: Thinking::take(fields)?,
        })
    }
}

/// Variables for the template: small, as they are copied into each rendering.
///
/// # Errors
/// 400 where they are no object, or too large.
pub fn take_template_kwargs(fields: &mut Fields<'_>) -> Result<Map<String, Value>, ApiError> {
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

/// A whole answer.
#[derive(Clone, Debug, Serialize, ToSchema)]
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
    /// Tokens in and out; null where an upstream does not say.
    #[schema(value_type = Option<Usage>)]
    pub usage: Usage,
    /// What the answer was computed with; null where an upstream did it.
    #[schema(value_type = Option<String>)]
    pub system_fingerprint: String,
    /// The tier that it was computed in: there is one. Null where an upstream did it.
    #[schema(value_type = Option<String>)]
    pub service_tier: &'static str,
    /// Ids of the prompt, with `return_token_ids`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_token_ids: Option<Vec<u32>>,
}

/// One choice of a whole answer.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ChatChoice {
    /// Which one.
    pub index: usize,
    /// The answer.
    pub message: AnswerMessage,
    /// Where asked for.
    pub logprobs: Option<ChatLogprobs>,
    /// `stop`, `length`, `tool_calls` or `function_call`.
    pub finish_reason: &'static str,
    /// With `return_token_ids`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_ids: Option<Vec<u32>>,
}

/// The message of a whole answer.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AnswerMessage {
    /// `assistant`
    pub role: &'static str,
    /// The text; null where there are only calls.
    pub content: Option<String>,
    /// Always null.
    #[schema(value_type = Option<String>)]
    pub refusal: (),
    /// Always empty.
    #[schema(value_type = Vec<String>)]
    pub annotations: [(); 0],
    /// What the model thought first.
    #[serde(flatten)]
    pub reasoning: Reasoning,
    /// The calls, where there are any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// The call, where tools came as `functions`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function_call: Option<FunctionCall>,
}

/// Reasoning under both names that clients know; absent where there is none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Reasoning {
    /// DeepSeek's name, and that of most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// The name of vLLM, Ollama and OpenRouter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
}

impl Reasoning {
    /// Under both names.
    pub fn new(text: String) -> Reasoning {
        Reasoning { reasoning_content: Some(text.clone()), reasoning: Some(text) }
    }

    /// Adds what came later.
    pub fn extend(&mut self, later: Reasoning) {
        for (all, new) in [
            (&mut self.reasoning_content, later.reasoning_content),
            (&mut self.reasoning, later.reasoning),
        ] {
            if let Some(new) = new {
                all.get_or_insert_default().push_str(&new);
            }
        }
    }
}

/// A whole call.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ToolCall {
    /// `call_…`; a result names it.
    pub id: String,
    /// `function`
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Which, with what.
    pub function: FunctionCall,
}

/// What is called, with what.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct FunctionCall {
    /// Absent in all pieces but the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A JSON object as text, or a fragment of one.
    pub arguments: String,
}

/// A piece of a call: name and id first, then fragments of the arguments.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ToolCallDelta {
    /// Which call.
    pub index: usize,
    /// In the first piece.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `function`, in the first piece.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    /// What is new.
    pub function: FunctionCall,
}

/// A piece of a streamed answer.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ChatChunk {
    /// The same in all pieces.
    pub id: String,
    /// `chat.completion.chunk`
    pub object: &'static str,
    /// The same in all pieces.
    pub created: u64,
    /// The same in all pieces.
    pub model: String,
    /// What the answer is computed with; null where an upstream does it.
    #[schema(value_type = Option<String>)]
    pub system_fingerprint: String,
    /// The tier that it is computed in: there is one. Null where an upstream does it.
    #[schema(value_type = Option<String>)]
    pub service_tier: &'static str,
    /// One piece of one choice; none in the piece that carries the usage.
    pub choices: Vec<ChunkChoice>,
    /// Absent unless asked for; then null in all pieces but the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Usage>)]
    pub usage: Option<Option<Usage>>,
    /// Ids of the prompt, in the first piece, with `return_token_ids`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_token_ids: Option<Vec<u32>>,
}

/// A piece of one choice.
#[derive(Clone, Debug, Serialize, ToSchema)]
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

impl ChunkChoice {
    /// A piece that says nothing but this.
    pub fn of(index: usize, delta: Delta) -> ChunkChoice {
        ChunkChoice { index, delta, logprobs: None, finish_reason: None, token_ids: None }
    }
}

/// What is new in a piece: the role first, then reasoning, text and calls, then nothing.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct Delta {
    /// `assistant`, in the first piece.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    /// Text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Null, in the first piece.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub refusal: Option<()>,
    /// Thoughts.
    #[serde(flatten)]
    pub reasoning: Reasoning,
    /// Pieces of calls.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCallDelta>,
    /// A piece of the call, where tools came as `functions`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function_call: Option<FunctionCall>,
}
