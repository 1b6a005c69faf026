//! Turns the JSON of `/v1/completions` into a request, and answers into JSON.

use serde::Serialize;
use utoipa::ToSchema;

use super::fields::Fields;
use super::generation::GenerationFields;
use super::logprobs::CompletionLogprobs;
use super::policy;
use super::prompts::{self, Prompt};
use super::response_format::ResponseFormat;
use super::usage::Usage;
use crate::errors::ApiError;
use crate::limits::{
    CHOICES_MAX, COMPLETION_LOGPROBS_MAX, PROMPTS_MAX, SEQUENCES_MAX, SMALL_TEXT_BYTES_MAX,
};

/// Tokens that are generated where nothing is said, as OpenAI has it.
const MAX_TOKENS_USUAL: usize = 16;

/// A completion request.
#[derive(Clone, Debug)]
pub struct CompletionRequest {
    /// Which model; absent means the one that is served.
    pub model: Option<String>,
    /// One or several prompts.
    pub prompts: Vec<Prompt>,
    /// What stands behind the answer, which is the middle of a text then.
    pub suffix: Option<String>,
    /// Most tokens to generate; 0 scores the prompt.
    pub max_tokens: usize,
    /// Answers made for each prompt, of which the likeliest are shown: as many as are asked for.
    pub best_of: usize,
    /// Whether the prompt stands before the answer.
    pub echo: bool,
    /// Alternatives per token, where log-probabilities are asked for.
    pub logprobs: Option<usize>,
    /// What the answer must look like.
    pub response_format: ResponseFormat,
    /// What chats have too.
    pub generation: GenerationFields,
}

impl CompletionRequest {
    /// Reads a request's body; `vocab` is the number of tokens that the model knows.
    ///
    /// # Errors
    /// 400 naming the parameter that is wrong, unknown, or not supported.
    pub fn parse(body: &[u8], vocab: usize) -> Result<CompletionRequest, ApiError> {
        let mut fields = Fields::of_body(body)?;
        let model = fields.string("model", SMALL_TEXT_BYTES_MAX)?;
        let prompts = prompts::take(&mut fields, "prompt", PROMPTS_MAX)?;
        prompts.iter().try_for_each(|prompt| prompt.check("prompt", vocab))?;
        let max_tokens = fields.count("max_tokens", usize::MAX)?.unwrap_or(MAX_TOKENS_USUAL);
        let echo = fields.boolean("echo")?.unwrap_or(false);
        let suffix = take_suffix(&mut fields, echo)?;
        let logprobs = fields.integer("logprobs", 0..=i64::from(COMPLETION_LOGPROBS_MAX))?;
        let logprobs = logprobs.map(|count| count as usize);
        let response_format = ResponseFormat::take(&mut fields)?;
        let mut generation = GenerationFields::take(&mut fields, vocab)?;
        generation.check_min_tokens(Some(max_tokens))?;
        let best_of = take_best_of(&mut fields, &generation)?;
        // Without scores there is no best.
        generation.sampling.logprobs = logprobs.or((best_of > generation.n).then_some(0));
        if max_tokens == 0 && !echo {
            let message = "'max_tokens' is 0: right would be at least 1, or 0 with 'echo'.";
            return Err(ApiError::invalid("max_tokens", message));
        }
        if prompts.len() * best_of > SEQUENCES_MAX {
            let name = if best_of > generation.n { "best_of" } else { "n" };
            let message = format!(
                "{} prompts with '{name}' of {best_of} are more than {SEQUENCES_MAX} answers.",
                prompts.len(),
            );
            return Err(ApiError::invalid(name, message));
        }
        policy::judge_completion(fields)?;
        Ok(CompletionRequest {
            model,
            prompts,
            suffix,
            max_tokens,
            best_of,
            echo,
            logprobs,
            response_format,
            generation,
        })
    }

    /// Alternatives per token of the prompt, where they are shown.
    pub fn prompt_logprobs(&self) -> Option<usize> {
        self.logprobs.filter(|_| self.echo)
    }
}

/// An empty one is none.
fn take_suffix(fields: &mut Fields<'_>, echo: bool) -> Result<Option<String>, ApiError> {
    const NAME: &str = "suffix";
    let suffix = fields.string(NAME, usize::MAX)?.filter(|suffix| !suffix.is_empty());
    if suffix.is_some() && echo {
        let message = format!("'{NAME}' and 'echo' exclude each other.");
        return Err(ApiError::unsupported(NAME, message));
    }
    Ok(suffix)
}

/// How many are made: as many as are shown, where nothing is said.
fn take_best_of(fields: &mut Fields<'_>, generation: &GenerationFields) -> Result<usize, ApiError> {
    const NAME: &str = "best_of";
    let Some(best_of) = fields.integer(NAME, 1..=CHOICES_MAX as i64)? else {
        return Ok(generation.n);
    };
    let best_of = best_of as usize;
    if best_of < generation.n {
        let (n, message) = (generation.n, format!("Invalid value for '{NAME}': {best_of}."));
        let message = format!("{message} Right would be at least the value of 'n', {n}.");
        return Err(ApiError::invalid(NAME, message));
    }
    if best_of > generation.n && generation.stream {
        let message = format!("'{NAME}' cannot be streamed: the best is known at the end.");
        return Err(ApiError::invalid(NAME, message));
    }
    Ok(best_of)
}

/// A whole answer, or a piece of a streamed one: they have the same shape.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Completion {
    /// `cmpl-…`
    pub id: String,
    /// `text_completion`
    pub object: &'static str,
    /// Seconds since 1970.
    pub created: u64,
    /// The name under which the model is served.
    pub model: String,
    /// What the answer was computed with.
    pub system_fingerprint: String,
    /// One per prompt and choice, prompt by prompt.
    pub choices: Vec<CompletionChoice>,
    /// Always in a whole answer. In pieces absent unless asked for, then null but in the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Usage>)]
    pub usage: Option<Option<Usage>>,
}

/// One choice, or a piece of it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CompletionChoice {
    /// Which one.
    pub index: usize,
    /// The text.
    pub text: String,
    /// Where asked for.
    pub logprobs: Option<CompletionLogprobs>,
    /// `stop` or `length`; null in pieces before the last.
    pub finish_reason: Option<&'static str>,
    /// With `return_token_ids`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_ids: Option<Vec<u32>>,
    /// With `return_token_ids`; in the choice's first piece.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_token_ids: Option<Vec<u32>>,
}

impl CompletionChoice {
    /// A piece that says nothing.
    pub fn empty(index: usize) -> CompletionChoice {
        CompletionChoice {
            index,
            text: String::new(),
            logprobs: None,
            finish_reason: None,
            token_ids: None,
            prompt_token_ids: None,
        }
    }
}
