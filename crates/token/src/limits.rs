//! The limits of this room, each with its reason.

/// Tokens in a vocabulary: eight times the largest in use (262 144).
pub const TOKENS_MAX: usize = 1 << 21;

/// Bytes in the text of a special token. Real ones have at most some dozen; splitting a text costs
/// its length times this in the worst case.
pub const SPECIAL_BYTES_MAX: usize = 512;

/// Bytes in a piece of a SentencePiece vocabulary: each place of a text is looked up in pieces of
/// up to this length. Real ones have at most some hundred.
pub const PIECE_BYTES_MAX: usize = 4096;

/// Control and user-defined tokens: the largest vocabularies reserve some thousands.
pub const SPECIALS_MAX: usize = 65_536;

/// Bytes in the source of a chat template: the largest in use have 30 kB.
pub const TEMPLATE_BYTES_MAX: usize = 1 << 20;

/// Work that one rendering may do, in minijinja's units (an instruction, or 64 bytes of data). The
/// templates in use need under ten thousand for a chat of twenty messages.
pub const TEMPLATE_FUEL: u64 = 10_000_000;

/// Bytes that one rendering may put out: as many as a request may have.
pub const TEMPLATE_OUTPUT_BYTES_MAX: usize = 16 << 20;

/// Macros and includes inside one another; each level takes some kilobytes of the thread's stack.
pub const TEMPLATE_RECURSION_MAX: usize = 64;

/// Lists and maps inside one another that `tojson` writes.
pub const JSON_DEPTH_MAX: usize = 128;

/// Lists and maps inside one another in what a template stores: more than JSON from a request has
/// (128), few enough for minijinja to walk them by recursion on any thread's stack.
pub const KEPT_DEPTH_MAX: usize = 192;

/// Tool calls in one answer: as many as a request may define tools in the OpenAI API. What looks
/// like a further one is text.
pub const TOOL_CALLS_MAX: usize = 128;

/// Bytes in the name of a tool or of one of its parameters in an answer: four times what the OpenAI
/// API allows. Until a name is complete, what may be a call is held back.
pub const TOOL_NAME_BYTES_MAX: usize = 256;

/// Bytes in the header of a harmony message: a role, a recipient (as long as a name), a channel and
/// a content type.
pub const MESSAGE_HEADER_BYTES_MAX: usize = 512;
