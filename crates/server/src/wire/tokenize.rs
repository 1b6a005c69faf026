//! Turns the JSON of `/tokenize` and `/detokenize` (vLLM's) into requests, and results into JSON.

use serde::Serialize;
use utoipa::ToSchema;

use super::chat::Chat;
use super::fields::Fields;
use crate::errors::ApiError;
use crate::limits::SMALL_TEXT_BYTES_MAX;

/// What is to become tokens.
#[derive(Clone, Debug)]
pub struct TokenizeRequest {
    /// Which model; absent means the one that is served.
    pub model: Option<String>,
    /// Text or a chat.
    pub input: TokenizeInput,
    /// Whether the tokens' texts are shown too.
    pub return_token_strs: bool,
}

/// Text or a chat.
#[derive(Clone, Debug)]
pub enum TokenizeInput {
    /// `prompt`
    Text {
        /// The text.
        text: String,
        /// Whether the model's own beginning is put before it.
        add_special_tokens: bool,
    },
    /// `messages`
    Chat(Chat),
}

impl TokenizeRequest {
    /// Reads a request's body.
    ///
    /// # Errors
    /// 400 naming the parameter that is wrong or unknown.
    pub fn parse(body: &[u8]) -> Result<TokenizeRequest, ApiError> {
        let mut fields = Fields::of_body(body)?;
        let model = fields.string("model", SMALL_TEXT_BYTES_MAX)?;
        let return_token_strs = fields.boolean("return_token_strs")?.unwrap_or(false);
        let text = fields.string("prompt", usize::MAX)?;
        let special = fields.boolean("add_special_tokens")?;
        let input = match text {
            Some(text) => TokenizeInput::Text { text, add_special_tokens: special.unwrap_or(true) },
            // A template writes its own special tokens.
            None => TokenizeInput::Chat(Chat::take(&mut fields).map_err(one_of_two)?),
        };
        fields.none_left()?;
        Ok(TokenizeRequest { model, input, return_token_strs })
    }
}

fn one_of_two(error: ApiError) -> ApiError {
    if error.param.as_deref() == Some("messages") && error == ApiError::missing("messages") {
        let message = "Missing required parameter: 'prompt' or 'messages'.";
        return ApiError { message: message.into(), param: Some("prompt".into()), ..error };
    }
    error
}

/// The answer of `/tokenize`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TokenizeResponse {
    /// Number of tokens.
    pub count: usize,
    /// Tokens of prompt and answer together that the model takes.
    pub max_model_len: usize,
    /// The ids.
    pub tokens: Vec<u32>,
    /// Their texts, as the vocabulary writes them, where asked for.
    pub token_strs: Option<Vec<String>>,
}

/// What is to become text.
#[derive(Clone, Debug)]
pub struct DetokenizeRequest {
    /// Which model; absent means the one that is served.
    pub model: Option<String>,
    /// The ids.
    pub tokens: Vec<u32>,
}

const TOKENS: &str = "tokens";

impl DetokenizeRequest {
    /// Reads a request's body.
    ///
    /// # Errors
    /// 400 naming the parameter that is wrong or unknown.
    pub fn parse(body: &[u8]) -> Result<DetokenizeRequest, ApiError> {
        let mut fields = Fields::of_body(body)?;
        let model = fields.string("model", SMALL_TEXT_BYTES_MAX)?;
        let tokens: Option<Vec<u32>> = fields.take(TOKENS, "an array of token ids")?;
        let tokens = tokens.ok_or_else(|| ApiError::missing(TOKENS))?;
        fields.none_left()?;
        Ok(DetokenizeRequest { model, tokens })
    }

    /// Ids must be those of a model with `vocab` tokens.
    ///
    /// # Errors
    /// 400 naming the first that is not.
    pub fn check(&self, vocab: usize) -> Result<(), ApiError> {
        match self.tokens.iter().find(|id| **id as usize >= vocab) {
            Some(id) => {
                let message = format!(
                    "Invalid value in '{TOKENS}': {id}. Right would be token ids below {vocab}."
                );
                Err(ApiError::invalid(TOKENS, message))
            }
            None => Ok(()),
        }
    }
}

/// The answer of `/detokenize`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DetokenizeResponse {
    /// The text.
    pub prompt: String,
}
