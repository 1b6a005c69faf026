//! Turns each rule that a model file can break into one variant and one sentence.

use myriad_formats::{Fp8Error, GgufError, JsonError, NotNumbers};
use myriad_kernels::{KvError, PackError, StateError};

/// Why a file is not a model that Myriad can run. Every message names the key or tensor, its value,
/// and what would have been right.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The container itself, a missing key, or a key of the wrong type.
    #[error(transparent)]
    Gguf(#[from] GgufError),

    /// `config.json`: a missing key, or a key of the wrong type.
    #[error(transparent)]
    Json(#[from] JsonError),

    /// 8-bit floats whose scales are missing or do not fit.
    #[error(transparent)]
    Fp8(#[from] Fp8Error),

    /// A tensor of whole numbers where weights are needed.
    #[error(transparent)]
    NotNumbers(#[from] NotNumbers),

    /// `config.json` says what readers of GGUF have in their code otherwise.
    #[error(
        "GGUF cannot say what config.json does: {what} would be another one; such a model runs \
         from its folder"
    )]
    GgufCannotSay {
        /// The part of the model.
        what: String,
    },

    /// More tokens than rows of the embedding.
    #[error("the tokenizer has {tokens} tokens, but `token_embd.weight` only {rows} rows")]
    TokensWithoutRows {
        /// Tokens of the tokenizer.
        tokens: usize,
        /// Rows of the embedding.
        rows: usize,
    },

    /// The disk did not take the packed weights.
    #[error("the packed weights cannot be written: {0}")]
    PackedWrite(#[source] std::io::Error),

    /// A file of packed weights that is not that of this model, or was cut.
    #[error("the file of packed weights is not whole, or is not of this model; delete it")]
    PackedFile,

    /// One of several files of a model.
    #[error(
        "this is file {index} of the {count} that a model is split into; put them together first, \
         with llama.cpp's `llama-gguf-split --merge`"
    )]
    Split {
        /// Which, from 1 on.
        index: usize,
        /// How many there are.
        count: usize,
    },

    /// The family is none of ours.
    #[error("the file is of family `{found}` (key `{key}`); Myriad has {known}")]
    UnknownFamily {
        /// The key that says it.
        key: &'static str,
        /// The file's family.
        found: String,
        /// The families that would be right, as a list for people.
        known: String,
    },

    /// No layers, or more than any real model has.
    #[error("`{key}` is {value}; a model has 1 to {max} layers")]
    LayerCount {
        /// The key.
        key: String,
        /// Its value.
        value: u32,
        /// Largest number accepted.
        max: usize,
    },

    /// A size or count that must be at least one is 0.
    #[error("`{key}` is 0; it must be at least 1")]
    Zero {
        /// The key.
        key: String,
    },

    /// A count is larger than any real model's: sums and products of sizes must not wrap.
    #[error("`{key}` is {value}; at most {max} is supported")]
    TooLarge {
        /// The key.
        key: String,
        /// Its value.
        value: u32,
        /// Largest number accepted.
        max: u32,
    },

    /// Query heads cannot be shared out among key heads.
    #[error("`{key}` is {kv_heads}, which does not divide the {heads} query heads")]
    KvHeads {
        /// The key.
        key: String,
        /// Its value.
        kv_heads: u32,
        /// Query heads.
        heads: u32,
    },

    /// A count that may differ per layer does differ, which no family that Myriad has does.
    #[error(
        "`{key}` gives {found} for {layers} layers; Myriad needs one value, the same for all layers"
    )]
    PerLayer {
        /// The key.
        key: String,
        /// What it holds, shortened.
        found: String,
        /// Number of layers.
        layers: usize,
    },

    /// The width of a head is not given and cannot be derived.
    #[error(
        "`{key}` is {heads}, which does not divide `embedding_length` {hidden}, and no \
         `attention.key_length` is given"
    )]
    HeadCount {
        /// The key.
        key: String,
        /// Its value.
        heads: u32,
        /// The model's width.
        hidden: u32,
    },

    /// The width of a head is one that attention cannot work with.
    #[error("`{key}` makes heads of {value} elements; {expected}")]
    HeadSize {
        /// The key.
        key: String,
        /// The width it leads to.
        value: usize,
        /// What would be right.
        expected: String,
    },

    /// A key that must equal another does not.
    #[error("`{key}` is {value}; it must be {expected}, as {reason}")]
    Disagree {
        /// The key.
        key: String,
        /// Its value.
        value: usize,
        /// The value that would be right.
        expected: usize,
        /// Where that value comes from.
        reason: &'static str,
    },

    /// A number is NaN, infinite, zero or negative where mathematics needs otherwise.
    #[error("`{key}` is {value}; it must be {expected}")]
    Number {
        /// The key.
        key: String,
        /// Its value.
        value: f32,
        /// What would be right.
        expected: &'static str,
    },

    /// A divisor of the rotary angles is not a positive number.
    #[error("tensor `{name}` holds {value} at index {index}; divisors are positive and finite")]
    RopeDivisor {
        /// The tensor.
        name: String,
        /// Which element.
        index: usize,
        /// Its value.
        value: f32,
    },

    /// The model looks back over a window only, which Myriad does not have yet.
    #[error(
        "`{key}` is {value}; Myriad has full attention only, so it must be absent or \
             at least the context length {context}"
    )]
    SlidingWindow {
        /// The key.
        key: String,
        /// Its value.
        value: u32,
        /// The model's context length.
        context: usize,
    },

    /// A kind of layer that the family does not have.
    #[error("`layer_types` has `{value}`; it must be `{}` or `{}`", known[0], known[1])]
    LayerType {
        /// Those that would be right.
        known: [&'static str; 2],
        /// The kind.
        value: String,
    },

    /// A word or number of several that mean something else each.
    #[error("`{key}` is `{value}`; Myriad has {known}")]
    Choice {
        /// The key.
        key: String,
        /// Its value.
        value: String,
        /// Those that would be right.
        known: &'static str,
    },

    /// Experts cannot be chosen from their groups.
    #[error(
        "`{key}` is {value}, of which {open} are open: {experts} experts must form equal groups, \
         the open ones hold at least the {used} used experts"
    )]
    ExpertGroups {
        /// The key.
        key: String,
        /// Its value.
        value: u32,
        /// Groups open to choice.
        open: u32,
        /// Experts of each layer.
        experts: u32,
        /// Experts that a token uses.
        used: u32,
    },

    /// A token would use more experts than there are.
    #[error("`{key}` is {used}; the model has {experts} experts")]
    ExpertsUsed {
        /// The key.
        key: String,
        /// Its value.
        used: u32,
        /// Experts of each layer.
        experts: u32,
    },

    /// The width of an expert is not given and cannot be derived.
    #[error(
        "`{key}` is {width}, which {used} used experts do not share evenly, and no \
         `expert_feed_forward_length` is given"
    )]
    ExpertWidth {
        /// The key.
        key: String,
        /// Its value.
        width: u32,
        /// Experts that a token uses.
        used: u32,
    },

    /// A model of a dense family has a mixture of experts.
    #[error("`{key}` is {value}; Myriad runs dense models of this family only (0 or absent)")]
    Experts {
        /// The key.
        key: String,
        /// Its value.
        value: u32,
    },

    /// Vocabulary, embedding and keys disagree about the number of tokens.
    #[error("{what} has {found} tokens, but the embedding `token_embd.weight` has {rows} rows")]
    Vocab {
        /// Which list or key.
        what: &'static str,
        /// How many it has.
        found: usize,
        /// Rows of the embedding.
        rows: usize,
    },

    /// A tensor that the keys promise is not there.
    #[error("tensor `{name}` is missing; the keys of this {family} model promise it")]
    MissingTensor {
        /// The tensor.
        name: String,
        /// The model's family.
        family: &'static str,
    },

    /// A tensor has another shape than the keys say.
    #[error("tensor `{name}` has shape {found:?}; the keys make it {expected:?}")]
    TensorShape {
        /// The tensor.
        name: String,
        /// Its shape, columns first.
        found: Vec<usize>,
        /// The shape that would be right, columns first.
        expected: Vec<usize>,
    },

    /// A tensor that this family does not have: ignoring it would compute another model.
    #[error(
        "tensor `{name}` does not belong to a {family} model of {layers} layers; \
             ignoring it would give wrong answers"
    )]
    UnexpectedTensor {
        /// The tensor.
        name: String,
        /// The model's family.
        family: &'static str,
        /// Number of layers by the keys.
        layers: usize,
    },

    /// A norm, bias or divisor of a block type: these are kept in full.
    #[error("tensor `{name}` is of type {kind}; norms and biases are F32, F16 or BF16")]
    VectorKind {
        /// The tensor.
        name: String,
        /// Its type.
        kind: &'static str,
    },

    /// A tensor of whole numbers where weights are needed.
    #[error("tensor `{name}` is of type {kind}, which are no weights of this family")]
    WeightKind {
        /// The tensor.
        name: String,
        /// Its type.
        kind: &'static str,
    },

    /// Experts of one layer that are not alike.
    #[error("tensor `{name}` is {found}; `{first}` is {expected}, and all experts must be alike")]
    UnequalExperts {
        /// The tensor.
        name: String,
        /// Its type and shape, columns first.
        found: String,
        /// The first expert's tensor.
        first: String,
        /// Its type and shape, columns first.
        expected: String,
    },

    /// A weight could not be brought into the kernels' layout.
    #[error("tensor `{name}`: {source}")]
    Pack {
        /// The tensor, or the tensors put together.
        name: String,
        /// What the kernels say.
        source: PackError,
    },

    /// What only encoders do, of a decoder.
    #[error("a {family} model is no encoder: it continues texts instead of reading them whole")]
    NoEncoder {
        /// The model's family.
        family: &'static str,
    },

    /// What only decoders do, of an encoder.
    #[error("a {family} model is an encoder: it makes vectors of texts and continues none")]
    NoDecoder {
        /// The model's family.
        family: &'static str,
    },

    /// The KV cache could not be made.
    #[error(transparent)]
    Cache(#[from] KvError),

    /// The states of sequences could not be made.
    #[error(transparent)]
    States(#[from] StateError),
}
