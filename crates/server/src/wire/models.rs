//! Turns the served names into the JSON of `/v1/models`.

use serde::Serialize;
use utoipa::ToSchema;

/// A served model.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ModelCard {
    /// The name that requests give.
    pub id: String,
    /// `model`
    pub object: &'static str,
    /// When the server began to offer it, in seconds since 1970.
    pub created: u64,
    /// `myriad`, or the name of the upstream that has it.
    pub owned_by: String,
    /// Tokens of prompt and answer together, as vLLM names it; absent where an upstream has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_model_len: Option<usize>,
    /// `completion`, or `embedding` for a model that makes vectors and answers nothing; absent
    /// where an upstream has it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<&'static str>,
}

/// All of them.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ModelList {
    /// `list`
    pub object: &'static str,
    /// The models.
    pub data: Vec<ModelCard>,
}
