//! Turns token counts of one or several answers into the `usage` object.

use serde::Serialize;
use utoipa::ToSchema;

use crate::runtime;

/// Tokens in and out, as OpenAI reports them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Usage {
    prompt_tokens: usize,
    completion_tokens: usize,
    total_tokens: usize,
    prompt_tokens_details: PromptTokensDetails,
    completion_tokens_details: CompletionTokensDetails,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
struct PromptTokensDetails {
    cached_tokens: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
struct CompletionTokensDetails {
    reasoning_tokens: usize,
}

impl Usage {
    /// Adds one choice, `reasoning` of whose tokens were so. The choices of a prompt share it: it
    /// counts with the first of them.
    pub fn add(&mut self, usage: &runtime::Usage, reasoning: usize, first_of_prompt: bool) {
        if first_of_prompt {
            self.prompt_tokens += usage.prompt_tokens;
            self.prompt_tokens_details.cached_tokens += usage.cached_tokens;
        }
        self.completion_tokens += usage.completion_tokens;
        self.completion_tokens_details.reasoning_tokens += reasoning;
        self.total_tokens = self.prompt_tokens + self.completion_tokens;
    }

    /// Tokens of all prompts.
    pub fn prompt_tokens(&self) -> usize {
        self.prompt_tokens
    }

    /// Those of them that were cached.
    pub fn cached_tokens(&self) -> usize {
        self.prompt_tokens_details.cached_tokens
    }

    /// Tokens of all answers that were reasoning.
    pub fn reasoning_tokens(&self) -> usize {
        self.completion_tokens_details.reasoning_tokens
    }

    /// Tokens of all answers.
    pub fn completion_tokens(&self) -> usize {
        self.completion_tokens
    }
}
