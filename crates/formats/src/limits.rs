//! All limits of this room, each with its reason.
//!
//! They bound time and memory before anything is read; a real file comes nowhere near them.

/// Metadata keys of one file. Published models have 20 to 100; a merge of many adds 8 each.
pub const KEYS_MAX: u64 = 65_536;

/// Tensors of one file. The largest published models (61 layers of stacked experts) have 2 000;
/// models with separate experts up to 50 000.
pub const TENSORS_MAX: u64 = 65_536;

/// Bytes of keys, values and tensor descriptions together. The largest vocabularies (262 144
/// tokens, as many merges) take 15 MB.
pub const HEADER_BYTES_MAX: usize = 100 << 20;

/// Bytes of one metadata key; the specification's own limit is 65 535.
pub const KEY_BYTES_MAX: u64 = 65_535;

/// Bytes of one string: chat templates, the longest in use, have 30 kB.
pub const STRING_BYTES_MAX: u64 = 16 << 20;

/// Elements of one array: eight times the largest vocabulary that we accept.
pub const ARRAY_ELEMENTS_MAX: u64 = 1 << 24;

/// Bytes of a tensor's name; ggml keeps 64 bytes with the closing zero.
pub const TENSOR_NAME_BYTES_MAX: u64 = 63;

/// Dimensions of a tensor, as in ggml.
pub const DIMENSIONS_MAX: u32 = 4;

/// Tokens in a vocabulary: eight times the largest in use (262 144).
pub const TOKENS_MAX: usize = 1 << 21;

/// Memory that parsing may take beyond the size of the file, so that tiny files with ordinary
/// tables are not refused.
pub const PARSING_SLACK_BYTES: u64 = 64 << 10;

/// Bytes of the header of a safetensors file: the official reader's own limit.
pub const SAFETENSORS_HEADER_BYTES_MAX: usize = 100_000_000;

/// Pairs of `__metadata__` in a safetensors file; published ones have 1 to 10.
pub const SAFETENSORS_METADATA_MAX: usize = 1 << 14;

/// Tensors of one safetensors file, or of a folder of them: DeepSeek-V3 has 91 000 (61 layers, 256
/// experts of three matrices, each with its scales).
pub const SAFETENSORS_TENSORS_MAX: usize = 1 << 18;

/// Bytes of a tensor's name in a safetensors file; published ones have up to 100.
pub const SAFETENSORS_NAME_BYTES_MAX: usize = 512;

/// Dimensions of a tensor in a safetensors file; published ones have up to 4.
pub const SAFETENSORS_DIMENSIONS_MAX: usize = 8;

/// Files that one model's tensors are spread over; the largest published models have 200.
pub const SHARDS_MAX: usize = 1024;

/// Bytes of `model.safetensors.index.json`: a hundred for each tensor of the largest models make
/// 10 MB.
pub const INDEX_BYTES_MAX: usize = 64 << 20;

/// Bytes of `config.json` and its small neighbours. A `tokenizer_config.json` with all reserved
/// tokens of Gemma has 1.2 MB.
pub const JSON_BYTES_MAX: usize = 8 << 20;

/// Values in such a file, since a value takes more memory than the two bytes that it may have.
pub const JSON_VALUES_MAX: usize = 1 << 19;

/// Lists and objects inside one another; published files have 6.
pub const JSON_DEPTH_MAX: usize = 64;

/// Bytes of `tokenizer.json`: the largest (262 144 tokens, 514 906 merges as pairs) has 33 MB.
pub const TOKENIZER_BYTES_MAX: usize = 100 << 20;

/// Merges of a tokenizer: eight times the most in use (514 906).
pub const MERGES_MAX: usize = 1 << 22;

/// Ids below the highest that have no token: models round their embeddings up by some hundreds.
pub const UNUSED_TOKENS_MAX: usize = 65_536;

/// Bytes of a chat template; the longest in use have 30 kB.
pub const TEMPLATE_BYTES_MAX: usize = 1 << 20;
