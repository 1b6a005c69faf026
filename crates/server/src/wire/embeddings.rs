//! Turns the JSON of `/v1/embeddings` and of Ollama's two kinds into requests, and vectors into
//! JSON.

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use serde::Serialize;
use utoipa::ToSchema;

use super::fields::Fields;
use super::ollama::take_model;
use super::prompts::{self, Prompt};
use crate::errors::ApiError;
use crate::limits::{INPUTS_MAX, SMALL_TEXT_BYTES_MAX};

/// What errors call the texts.
pub const INPUT: &str = "input";

/// A request for vectors.
#[derive(Clone, Debug)]
pub struct EmbeddingsRequest {
    /// Which model; absent means the one that makes vectors.
    pub model: Option<String>,
    /// The texts.
    pub inputs: Vec<Prompt>,
    /// What errors call them.
    pub param: &'static str,
    /// As Base64 of little-endian floats instead of numbers.
    pub base64: bool,
    /// So many of the first numbers only, brought to length 1 again.
    pub dimensions: Option<usize>,
    /// Whether texts that are too long are cut instead of refused.
    pub truncate: bool,
}

impl EmbeddingsRequest {
    /// Reads OpenAI's body.
    ///
    /// # Errors
    /// 400 naming the parameter that is wrong, unknown, or not supported.
    pub fn openai(body: &[u8]) -> Result<EmbeddingsRequest, ApiError> {
        let mut fields = Fields::of_body(body)?;
        let model = fields.string("model", SMALL_TEXT_BYTES_MAX)?;
        let inputs = prompts::take(&mut fields, INPUT, INPUTS_MAX)?;
        let format = fields.string("encoding_format", SMALL_TEXT_BYTES_MAX)?;
        let base64 = match format.as_deref() {
            None | Some("float") => false,
            Some("base64") => true,
            Some(_) => {
                let message =
                    "Invalid value for 'encoding_format'. Right would be float or base64.";
                return Err(ApiError::invalid("encoding_format", message));
            }
        };
        let dimensions = take_dimensions(&mut fields)?;
        // It informs the operator.
        fields.raw("user");
        fields.none_left()?;
        if let Some(place) = inputs.iter().position(Prompt::is_empty) {
            let message =
                format!("'input' has an empty text, at {place}: at least one token is needed.");
            return Err(ApiError::invalid(INPUT, message));
        }
        Ok(EmbeddingsRequest { model, inputs, param: INPUT, base64, dimensions, truncate: false })
    }

    /// Reads the body of Ollama's `/api/embed`. Without a text the model is only to be loaded.
    ///
    /// # Errors
    /// As [`EmbeddingsRequest::openai`].
    pub fn ollama(body: &[u8]) -> Result<EmbeddingsRequest, ApiError> {
        let mut fields = Fields::of_body(body)?;
        let mut request = EmbeddingsRequest::of_ollama(&mut fields, INPUT)?;
        request.dimensions = take_dimensions(&mut fields)?;
        request.truncate = fields.boolean("truncate")?.unwrap_or(true);
        fields.none_left()?;
        Ok(request)
    }

    /// Reads the body of Ollama's older `/api/embeddings`, of one text.
    ///
    /// # Errors
    /// As [`EmbeddingsRequest::openai`].
    pub fn ollama_single(body: &[u8]) -> Result<EmbeddingsRequest, ApiError> {
        let mut fields = Fields::of_body(body)?;
        let mut request = EmbeddingsRequest::of_ollama(&mut fields, "prompt")?;
        request.truncate = true;
        fields.none_left()?;
        if request.inputs.len() > 1 || matches!(request.inputs.first(), Some(Prompt::Tokens(_))) {
            let message = "Invalid type for 'prompt': expected a string, but got an array instead.";
            return Err(ApiError::wrong_type("prompt", message));
        }
        Ok(request)
    }

    fn of_ollama(
        fields: &mut Fields<'_>,
        param: &'static str,
    ) -> Result<EmbeddingsRequest, ApiError> {
        let model = Some(take_model(fields)?);
        // Options are about answers; the model stays in memory always.
        fields.raw("options");
        fields.raw("keep_alive");
        let mut inputs = match prompts::take(fields, param, INPUTS_MAX) {
            Err(error) if error == ApiError::missing(param) => Vec::new(),
            taken => taken?,
        };
        if inputs.len() == 1 && inputs[0].is_empty() {
            inputs.clear();
        }
        let (base64, dimensions, truncate) = (false, None, false);
        Ok(EmbeddingsRequest { model, inputs, param, base64, dimensions, truncate })
    }

    /// What the request says of a model must be so: ids below `vocab`, at most `width` dimensions.
    ///
    /// # Errors
    /// 400 naming the parameter.
    pub fn check(&self, vocab: usize, width: usize) -> Result<(), ApiError> {
        self.inputs.iter().try_for_each(|input| input.check(self.param, vocab))?;
        match self.dimensions {
            Some(wanted) if wanted > width => {
                let message = format!(
                    "Invalid value for 'dimensions': {wanted}. Right would be between 1 and \
                     {width}, as many as the model's vectors have."
                );
                Err(ApiError::invalid("dimensions", message))
            }
            _ => Ok(()),
        }
    }
}

fn take_dimensions(fields: &mut Fields<'_>) -> Result<Option<usize>, ApiError> {
    let wanted = fields.integer("dimensions", 1..=i64::from(u32::MAX))?;
    Ok(wanted.map(|count| count as usize))
}

/// OpenAI's answer.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Embeddings {
    /// `list`
    pub object: &'static str,
    /// One for each text, in order.
    pub data: Vec<Embedding>,
    /// The name under which the model is served.
    pub model: String,
    /// Tokens of all texts.
    pub usage: EmbeddingsUsage,
}

/// One vector.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Embedding {
    /// `embedding`
    pub object: &'static str,
    /// Which text.
    pub index: usize,
    /// The vector.
    pub embedding: Vector,
}

/// A vector as it is written.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Vector {
    /// Numbers, with as many digits as floats of 32 bits need.
    Numbers(Vec<f32>),
    /// The Base64 of these floats, little-endian.
    Base64(String),
}

/// The answer of Ollama's `/api/embed`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct OllamaEmbeddings {
    /// The name under which the model is served.
    pub model: String,
    /// One for each text, in order.
    pub embeddings: Vec<Vec<f32>>,
    /// Nanoseconds.
    pub total_duration: u64,
    /// Nanoseconds: the model is there already.
    pub load_duration: u64,
    /// Tokens of all texts.
    pub prompt_eval_count: usize,
}

/// The answer of Ollama's `/api/embeddings`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct OllamaEmbedding {
    /// The vector; empty where there was no text.
    pub embedding: Vec<f32>,
}

/// Tokens of all texts; nothing is generated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct EmbeddingsUsage {
    /// Tokens in.
    pub prompt_tokens: usize,
    /// The same.
    pub total_tokens: usize,
}

impl EmbeddingsUsage {
    /// Of so many tokens.
    pub fn of(tokens: usize) -> EmbeddingsUsage {
        EmbeddingsUsage { prompt_tokens: tokens, total_tokens: tokens }
    }
}

impl Embedding {
    /// The vector of the text at `index`.
    pub fn new(index: usize, vector: Vec<f32>, base64: bool) -> Embedding {
        let embedding = match base64 {
            true => {
                let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
                Vector::Base64(BASE64.encode(&bytes))
            }
            false => Vector::Numbers(vector),
        };
        Embedding { object: "embedding", index, embedding }
    }
}
