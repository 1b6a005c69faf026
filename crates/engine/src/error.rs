//! Turns what can be wrong with a request or a configuration into typed errors.

use myriad_model::ModelError;

/// Why the engine refuses a configuration or a request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// A size of the configuration cannot be.
    #[error("{field} is {value}: right would be {right}")]
    Config {
        /// Field of [`EngineConfig`](crate::EngineConfig).
        field: &'static str,
        /// Its value.
        value: usize,
        /// What would be right.
        right: &'static str,
    },
    /// The KV cache cannot be had.
    #[error(transparent)]
    Cache(#[from] ModelError),
    /// A request without a prompt: nothing could predict its first token.
    #[error("the prompt is empty: right would be at least one token")]
    EmptyPrompt,
    /// A token that the model does not have.
    #[error("{field} has token {token}: right would be ids below {vocab}")]
    UnknownToken {
        /// Field of [`Request`](crate::Request).
        field: &'static str,
        /// The token.
        token: u32,
        /// Tokens that the model has.
        vocab: usize,
    },
    /// Prompt and answer together are longer than the context.
    #[error(
        "the prompt has {prompt} tokens and up to {max_tokens} more are asked for: together at \
         most {context}"
    )]
    ContextLength {
        /// Tokens of the prompt.
        prompt: usize,
        /// Tokens asked for.
        max_tokens: usize,
        /// Tokens that one request may have.
        context: usize,
    },
    /// What a model of this kind does not do.
    #[error("the model makes no {what}: {reason}")]
    Output {
        /// What was asked for.
        what: &'static str,
        /// What kind of model it is.
        reason: &'static str,
    },
    /// A sampling parameter is not a number, or outside of its range.
    #[error("{field} is {value}: right would be {right}")]
    Sampling {
        /// Field of [`Sampling`](crate::Sampling).
        field: &'static str,
        /// Its value.
        value: f32,
        /// What would be right.
        right: &'static str,
    },
}
