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
