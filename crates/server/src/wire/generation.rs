//! Turns the parameters that chats and completions share into sampling, stops and limits.

use std::collections::BTreeMap;

use myriad_engine::Sampling;

use super::fields::{Fields, elements, kind, wrong_type};
use crate::errors::ApiError;
use crate::limits::{
    CHOICES_MAX, LOGIT_BIAS_MAX, SMALL_TEXT_BYTES_MAX, STOP_BYTES_MAX, STOP_TOKENS_MAX, STOPS_MAX,
};
use crate::runtime::{Finish, GenerateRequest};

/// What chats and completions have in common.
#[derive(Clone, Debug)]
pub struct GenerationFields {
    /// How tokens are chosen; the seed is set per choice.
    pub sampling: Sampling,
    /// Choices per prompt.
    pub n: usize,
    /// The client's seed.
    pub seed: Option<i64>,
    /// Strings that end the answer.
    pub stops: Vec<String>,
    /// Whether the stop string is shown.
    pub include_stop: bool,
    /// Tokens that end the answer.
    pub stop_token_ids: Vec<u32>,
    /// Whether the model's end tokens are ignored.
    pub ignore_eos: bool,
    /// Tokens before which nothing ends the answer.
    pub min_tokens: usize,
    /// Whether token ids are shown.
    pub return_token_ids: bool,
    /// Prompts share cached prefixes only under the same salt.
    pub cache_salt: u64,
    /// Whether the answer is streamed.
    pub stream: bool,
    /// Whether a stream ends with its usage.
    pub include_usage: bool,
}

impl GenerationFields {
    /// Takes the shared fields out of a request.
    ///
    /// # Errors
    /// 400 naming the field that is wrong.
    pub fn take(fields: &mut Fields<'_>, vocab: usize) -> Result<GenerationFields, ApiError> {
        let sampling = take_sampling(fields, vocab)?;
        let n = fields.integer("n", 1..=CHOICES_MAX as i64)?.unwrap_or(1) as usize;
        let (stream, include_usage) = take_stream(fields)?;
        let salt = fields.string("cache_salt", SMALL_TEXT_BYTES_MAX)?;
        Ok(GenerationFields {
            sampling,
            n,
            seed: take_seed(fields)?,
            stops: take_stops(fields)?,
            include_stop: fields.boolean("include_stop_str_in_output")?.unwrap_or(false),
            stop_token_ids: take_stop_tokens(fields, vocab)?,
            ignore_eos: fields.boolean("ignore_eos")?.unwrap_or(false),
            min_tokens: fields.count("min_tokens", u32::MAX as usize)?.unwrap_or(0),
            return_token_ids: fields.boolean("return_token_ids")?.unwrap_or(false),
            cache_salt: salt.map_or(0, |salt| hash(salt.as_bytes())),
            stream,
            include_usage,
        })
    }

    /// The sampling of choice `index`: with a seed, each choice has its own that follows from it.
    pub fn sampling_of(&self, index: usize) -> Sampling {
        // An odd step: seeds of neighbouring requests do not meet each other's choices.
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let seed = match self.seed {
            Some(seed) => (seed as u64).wrapping_add((index as u64).wrapping_mul(STEP)),
            None => crate::random::number(),
        };
        Sampling { seed, ..self.sampling.clone() }
    }

    /// What is generated for choice `index`, but for the prompt and the number of tokens.
    pub fn request_of(&self, index: usize) -> GenerateRequest {
        GenerateRequest {
            sampling: self.sampling_of(index),
            stops: self.stops.clone(),
            include_stop: self.include_stop,
            stop_token_ids: self.stop_token_ids.clone(),
            ignore_eos: self.ignore_eos,
            min_tokens: self.min_tokens,
            cache_salt: self.cache_salt,
            ..GenerateRequest::default()
        }
    }

    /// `min_tokens` must leave room below the most tokens asked for.
    ///
    /// # Errors
    /// 400 naming `min_tokens`.
    pub fn check_min_tokens(&self, max_tokens: Option<usize>) -> Result<(), ApiError> {
        match max_tokens {
            Some(max) if self.min_tokens > max => Err(ApiError::invalid(
                "min_tokens",
                format!("'min_tokens' is {}, more than the {max} of max_tokens.", self.min_tokens),
            )),
            _ => Ok(()),
        }
    }
}

/// Why an answer ended, in OpenAI's words.
pub fn finish_reason(finish: &Finish) -> &'static str {
    match finish {
        Finish::EndToken(_) | Finish::Complete | Finish::StopString(_) | Finish::ToolCall => "stop",
        Finish::Length => "length",
    }
}

fn take_sampling(fields: &mut Fields<'_>, vocab: usize) -> Result<Sampling, ApiError> {
    let usual = Sampling::default();
    Ok(Sampling {
        temperature: fields.number("temperature", 0.0..=2.0)?.unwrap_or(1.0),
        top_p: fields.number("top_p", 0.0..=1.0)?.unwrap_or(1.0),
        min_p: fields.number("min_p", 0.0..=1.0)?.unwrap_or(0.0),
        // 0 and -1 are how clients spell "all tokens".
        top_k: fields
            .integer("top_k", -1..=i64::from(u32::MAX))?
            .filter(|top_k| *top_k > 0)
            .map(|top_k| top_k as u32),
        repetition_penalty: fields.number("repetition_penalty", 0.01..=10.0)?.unwrap_or(1.0),
        frequency_penalty: fields.number("frequency_penalty", -2.0..=2.0)?.unwrap_or(0.0),
        presence_penalty: fields.number("presence_penalty", -2.0..=2.0)?.unwrap_or(0.0),
        logit_bias: take_logit_bias(fields, vocab)?,
        ..usual
    })
}

/// An entry of `logit_bias` as text: ids have 7 digits at most, numbers up to 20.
const ENTRY_BYTES_MAX: usize = 64;

/// `{"50256": -100}`: token ids as text, biases from -100 to 100.
fn take_logit_bias(fields: &mut Fields<'_>, vocab: usize) -> Result<Vec<(u32, f32)>, ApiError> {
    const NAME: &str = "logit_bias";
    let Some(value) = fields.raw(NAME) else { return Ok(Vec::new()) };
    // Longer than so many entries with their spaces: not even read.
    let too_many = || {
        let message = format!("'{NAME}' has more than {LOGIT_BIAS_MAX} entries.");
        ApiError::invalid(NAME, message)
    };
    if value.get().len() > LOGIT_BIAS_MAX * ENTRY_BYTES_MAX {
        return Err(too_many());
    }
    let Ok(map) = serde_json::from_str::<BTreeMap<String, f64>>(value.get()) else {
        return Err(wrong_type(NAME, "an object of token ids and numbers", value));
    };
    if map.len() > LOGIT_BIAS_MAX {
        return Err(too_many());
    }
    let mut biases = Vec::with_capacity(map.len());
    for (token, bias) in map {
        let id = token.trim().parse::<u32>().ok().filter(|id| (*id as usize) < vocab);
        let Some(id) = id else {
            let shown: String = token.chars().take(32).collect();
            let message = format!(
                "Invalid key in '{NAME}': '{shown}'. Right would be a token id below {vocab}."
            );
            return Err(ApiError::invalid(NAME, message));
        };
        if !(-100.0..=100.0).contains(&bias) {
            let message = format!(
                "Invalid value in '{NAME}': {bias} for token {id}. Right would be between -100 \
                 and 100."
            );
            return Err(ApiError::invalid(NAME, message));
        }
        biases.push((id, bias as f32));
    }
    Ok(biases)
}

/// Any 64-bit number, signed or not.
fn take_seed(fields: &mut Fields<'_>) -> Result<Option<i64>, ApiError> {
    let Some(value) = fields.raw("seed") else { return Ok(None) };
    if let Ok(seed) = value.get().parse::<u64>() {
        return Ok(Some(seed as i64));
    }
    match value.get().parse::<i64>() {
        Ok(seed) => Ok(Some(seed)),
        Err(_) => Err(wrong_type("seed", "an integer of 64 bits", value)),
    }
}

pub(crate) fn take_stops(fields: &mut Fields<'_>) -> Result<Vec<String>, ApiError> {
    const NAME: &str = "stop";
    let Some(value) = fields.raw(NAME) else { return Ok(Vec::new()) };
    let values = match kind(value) {
        "a string" => vec![value],
        "an array" => elements(value, NAME, STOPS_MAX)?,
        _ => return Err(wrong_type(NAME, "a string or an array of strings", value)),
    };
    let mut stops = Vec::with_capacity(values.len());
    for value in values {
        let Ok(stop) = serde_json::from_str::<String>(value.get()) else {
            return Err(wrong_type(NAME, "a string or an array of strings", value));
        };
        if stop.is_empty() || stop.len() > STOP_BYTES_MAX {
            let message = format!(
                "'{NAME}' has a string of {} bytes. Right would be 1 to {STOP_BYTES_MAX}.",
                stop.len()
            );
            return Err(ApiError::invalid(NAME, message));
        }
        stops.push(stop);
    }
    Ok(stops)
}

fn take_stop_tokens(fields: &mut Fields<'_>, vocab: usize) -> Result<Vec<u32>, ApiError> {
    const NAME: &str = "stop_token_ids";
    let Some(values) = fields.list(NAME, STOP_TOKENS_MAX)? else { return Ok(Vec::new()) };
    let mut ids = Vec::with_capacity(values.len());
    for value in values {
        match value.get().parse::<u32>() {
            Ok(id) if (id as usize) < vocab => ids.push(id),
            _ => {
                let message = format!("'{NAME}' must hold token ids below {vocab}.");
                return Err(ApiError::invalid(NAME, message));
            }
        }
    }
    Ok(ids)
}

/// `stream` and `stream_options`, which makes sense with it alone.
pub(crate) fn take_stream(fields: &mut Fields<'_>) -> Result<(bool, bool), ApiError> {
    const NAME: &str = "stream_options";
    let stream = fields.boolean("stream")?.unwrap_or(false);
    let Some(value) = fields.raw(NAME) else { return Ok((stream, false)) };
    let mut options = Fields::of_value(value, NAME.to_owned())?;
    if !stream {
        let message = "'stream_options' is only allowed when 'stream' is true.";
        return Err(ApiError::invalid(NAME, message));
    }
    let include_usage = options.boolean("include_usage")?.unwrap_or(false);
    if options.boolean("include_obfuscation")?.unwrap_or(false) {
        let name = options.name("include_obfuscation");
        return Err(ApiError::unsupported(name, "Obfuscation of streams is not supported."));
    }
    options.none_left()?;
    Ok((true, include_usage))
}

/// FNV-1a: a salt need only differ where its text differs.
pub fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
