//! Turns "what is to be generated" and "what came of it" into types.

use std::sync::Arc;

use crate::constraint::{ConstraintError, Grammar};
use crate::error::EngineError;

/// What is to come of a request's prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Output {
    /// Tokens that go on from it.
    #[default]
    Answer,
    /// Its vector, of length 1 ([`Config::pooling`](myriad_model::Config::pooling)).
    Vector,
    /// The score of two texts, of which the first has so many tokens with those around it: of
    /// encoders that were trained for it.
    PairScore {
        /// Tokens of the first text.
        first: usize,
    },
}

/// Names a request as long as its engine lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub(crate) u64);

impl RequestId {
    /// The id with this number; an engine of another kind than [`Engine`](crate::Engine) counts
    /// its own.
    pub const fn new(number: u64) -> RequestId {
        RequestId(number)
    }
}

/// What is to be generated.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The tokens before the answer; at least one.
    pub prompt: Vec<u32>,
    /// What is to come of them; all that follows here is about answers.
    pub output: Output,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Most tokens to generate. 0 computes, and scores where asked, the prompt alone.
    pub max_tokens: usize,
    /// Tokens that end the answer; they are not part of it.
    pub end_tokens: Vec<u32>,
    /// Tokens of the answer before which no end token is chosen.
    pub min_tokens: usize,
    /// Log-probabilities of the prompt's tokens, with this many alternatives each.
    pub prompt_logprobs: Option<usize>,
    /// What the answer must look like. It ends where it is complete, by an end token or because
    /// nothing may follow, also before `min_tokens`; end tokens are chosen nowhere else.
    pub grammar: Option<Arc<dyn Grammar>>,
    /// Prompts share cached prefixes only under the same salt.
    pub cache_salt: u64,
}

/// How the next token is chosen: penalties and biases, then temperature, then top-k, top-p, min-p.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits. 0 takes the likeliest token, the lower id among equals.
    pub temperature: f32,
    /// Only so many of the likeliest tokens; `None`: all.
    pub top_k: Option<u32>,
    /// Only the likeliest tokens whose probabilities sum up to this; 1: all.
    pub top_p: f32,
    /// Only tokens with at least this share of the likeliest one's probability; 0: all.
    pub min_p: f32,
    /// Divides positive and multiplies negative logits of tokens in prompt or answer (Keskar et
    /// al. 2019); 1: none.
    pub repetition_penalty: f32,
    /// Taken off a token's logit for each time it stands in the answer; 0: none.
    pub frequency_penalty: f32,
    /// Taken off a token's logit once it stands in the answer; 0: none.
    pub presence_penalty: f32,
    /// Added to these tokens' logits.
    pub logit_bias: Vec<(u32, f32)>,
    /// Randomness: equal seeds give equal tokens.
    pub seed: u64,
    /// Score each token, with this many alternatives.
    pub logprobs: Option<usize>,
    /// Tokens whose log-probabilities are told with each score, likely or not.
    pub logprob_tokens: Vec<u32>,
}

impl Default for Sampling {
    fn default() -> Self {
        Sampling {
            temperature: 1.0,
            top_k: None,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            logit_bias: Vec::new(),
            seed: 0,
            logprobs: None,
            logprob_tokens: Vec::new(),
        }
    }
}

impl Sampling {
    /// Always the likeliest token.
    pub fn greedy() -> Sampling {
        Sampling { temperature: 0.0, ..Sampling::default() }
    }

    /// Checks that every number is one, and in its range.
    pub(crate) fn check(&self) -> Result<(), EngineError> {
        let check = |field, value: f32, good: bool, right| {
            // Written so that a NaN, which compares with nothing, is refused.
            if good { Ok(()) } else { Err(EngineError::Sampling { field, value, right }) }
        };
        let finite = |value: f32| value.is_finite();
        let share = |value: f32| (0.0..=1.0).contains(&value);
        let (temperature, repetition) = (self.temperature, self.repetition_penalty);
        check("temperature", temperature, finite(temperature) && temperature >= 0.0, "at least 0")?;
        check("top_p", self.top_p, share(self.top_p), "between 0 and 1")?;
        check("min_p", self.min_p, share(self.min_p), "between 0 and 1")?;
        check("repetition_penalty", repetition, finite(repetition) && repetition > 0.0, "above 0")?;
        let (frequency, presence) = (self.frequency_penalty, self.presence_penalty);
        check("frequency_penalty", frequency, finite(frequency), "a number")?;
        check("presence_penalty", presence, finite(presence), "a number")?;
        for (_, bias) in &self.logit_bias {
            check("logit_bias", *bias, !bias.is_nan(), "a number")?;
        }
        Ok(())
    }
}

/// What happens to a request, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Its prompt is being computed, but for the tokens whose keys and values were cached.
    Started {
        /// Which request.
        id: RequestId,
        /// Tokens of the prompt found in the cache.
        cached_tokens: usize,
    },
    /// The score of the prompt's token at `index`, 1 or more, in ascending order.
    Prompt {
        /// Which request.
        id: RequestId,
        /// Position in the prompt.
        index: usize,
        /// The token with its log-probability.
        scored: TokenScore,
    },
    /// A token of the answer.
    Token {
        /// Which request.
        id: RequestId,
        /// The token.
        token: u32,
        /// Its score, where asked for.
        score: Option<TokenScore>,
    },
    /// What was asked for instead of an answer: a vector, or one score.
    Computed {
        /// Which request.
        id: RequestId,
        /// The vector, of as many numbers as the model is wide, or the score alone.
        values: Vec<f32>,
    },
    /// The last event of a request that was not cancelled.
    Finished {
        /// Which request.
        id: RequestId,
        /// Why it ended.
        reason: FinishReason,
        /// Tokens in and out.
        usage: Usage,
        /// The score of the end token, where there is one and scores are asked for.
        end_score: Option<TokenScore>,
    },
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The model chose this end token.
    EndToken(u32),
    /// The answer is complete by its grammar, and nothing may follow; or what was asked for instead
    /// of an answer has been told.
    Complete,
    /// As many tokens as asked for.
    Length,
    /// The grammar cannot be followed any further; the answer is not complete.
    Constraint(ConstraintError),
}

/// Tokens in and out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Those of them that were found in the cache when the request started.
    pub cached_tokens: usize,
    /// Tokens generated, an end token among them.
    pub completion_tokens: usize,
}

/// A token's log-probability under the model alone: before penalties, biases and temperature.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenScore {
    /// The token.
    pub token: u32,
    /// Its natural log-probability.
    pub logprob: f32,
    /// The likeliest tokens and their log-probabilities, descending.
    pub top: Vec<(u32, f32)>,
    /// The tokens of [`Sampling::logprob_tokens`] and theirs, in that order.
    pub asked: Vec<(u32, f32)>,
}
