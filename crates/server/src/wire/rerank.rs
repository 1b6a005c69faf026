//! Turns the JSON of `/v1/rerank` (Cohere's and Jina's) into requests, and scores into JSON.

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::embeddings::EmbeddingsUsage;
use super::fields::{Fields, kind, wrong_type};
use crate::errors::ApiError;
use crate::limits::{INPUTS_MAX, SMALL_TEXT_BYTES_MAX};

/// What errors call the texts that are scored.
pub const DOCUMENTS: &str = "documents";

/// A request for scores.
#[derive(Clone, Debug)]
pub struct RerankRequest {
    /// Which model; absent means the one that makes vectors.
    pub model: Option<String>,
    /// What is looked for.
    pub query: String,
    /// Where.
    pub documents: Vec<String>,
    /// So many of the best only.
    pub top_n: Option<usize>,
    /// Whether the answer has the documents' texts.
    pub return_documents: bool,
}

impl RerankRequest {
    /// Reads a request's body.
    ///
    /// # Errors
    /// 400 naming the parameter that is wrong, unknown, or not supported.
    pub fn parse(body: &[u8]) -> Result<RerankRequest, ApiError> {
        let mut fields = Fields::of_body(body)?;
        let model = fields.string("model", SMALL_TEXT_BYTES_MAX)?;
        let query =
            fields.string("query", usize::MAX)?.ok_or_else(|| ApiError::missing("query"))?;
        let documents = fields.list(DOCUMENTS, INPUTS_MAX)?;
        let documents = documents.ok_or_else(|| ApiError::missing(DOCUMENTS))?;
        let documents: Vec<String> = documents
            .into_iter()
            .enumerate()
            .map(|(at, value)| take_document(value, format!("{DOCUMENTS}[{at}]")))
            .collect::<Result<_, _>>()?;
        let top_n = fields.integer("top_n", 1..=i64::from(u32::MAX))?.map(|count| count as usize);
        let return_documents = fields.boolean("return_documents")?.unwrap_or(false);
        fields.raw("user");
        fields.none_left()?;
        if query.is_empty() || documents.is_empty() {
            let param = if query.is_empty() { "query" } else { DOCUMENTS };
            return Err(ApiError::invalid(param, format!("'{param}' is empty.")));
        }
        Ok(RerankRequest { model, query, documents, top_n, return_documents })
    }
}

/// A text, alone or as the `text` of an object.
fn take_document(value: &RawValue, place: String) -> Result<String, ApiError> {
    let text = match kind(value) {
        "a string" => serde_json::from_str(value.get())
            .map_err(|_| wrong_type(&place, "a string of valid Unicode", value))?,
        "an object" => {
            let mut fields = Fields::of_value(value, place.clone())?;
            let name = fields.name("text");
            let text = fields.string("text", usize::MAX)?;
            fields.none_left()?;
            text.ok_or_else(|| ApiError::missing(&name))?
        }
        _ => return Err(wrong_type(&place, "a string, or an object with a 'text'", value)),
    };
    match text.is_empty() {
        true => Err(ApiError::invalid(&place, format!("'{place}' is empty."))),
        false => Ok(text),
    }
}

/// The answer: as Jina's, with what Cohere's has besides.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Reranked {
    /// `rerank-…`
    pub id: String,
    /// The name under which the model is served.
    pub model: String,
    /// The documents, best first.
    pub results: Vec<RankedDocument>,
    /// Tokens of all texts.
    pub usage: EmbeddingsUsage,
    /// The same, as Cohere's clients know it.
    pub meta: Meta,
}

/// One document with its score.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RankedDocument {
    /// Its place in the request.
    pub index: usize,
    /// The higher, the better.
    pub relevance_score: f32,
    /// Where asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<DocumentText>,
}

/// The text of a document.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DocumentText {
    /// As it was sent.
    pub text: String,
}

/// What Cohere tells of a request.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Meta {
    /// What it would bill.
    pub billed_units: BilledUnits,
    /// Tokens of all texts.
    pub tokens: MetaTokens,
}

/// One search.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BilledUnits {
    /// 1
    pub search_units: usize,
}

/// Tokens of all texts.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct MetaTokens {
    /// Tokens in.
    pub input_tokens: usize,
}

impl Meta {
    /// Of so many tokens.
    pub fn of(tokens: usize) -> Meta {
        let (billed_units, tokens) =
            (BilledUnits { search_units: 1 }, MetaTokens { input_tokens: tokens });
        Meta { billed_units, tokens }
    }
}
