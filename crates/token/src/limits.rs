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

/// Bytes of a token that a grammar may use: the tree of a vocabulary has a level for each. A longer
/// one is a run of spaces, of which shorter ones exist.
pub const GRAMMAR_TOKEN_BYTES_MAX: usize = 256;

/// Bytes of a JSON Schema. OpenAI allows 120,000 characters of names and values in one.
pub const SCHEMA_BYTES_MAX: usize = 256 << 10;

/// Schemas within a schema, references counted each time that they are followed in place. OpenAI
/// allows 5,000 properties in one. Going through them by recursion takes a few kB of stack each.
pub const SUBSCHEMAS_MAX: usize = 5000;

/// Stack of the thread that compiles a schema: [`SUBSCHEMAS_MAX`] levels of recursion take up to
/// 40 MB. Pages that are not touched cost nothing.
pub const GRAMMAR_STACK_BYTES: usize = 128 << 20;

/// How long a request waits for its schema to be compiled. Those in use take some milliseconds; the
/// first one waits for the vocabulary's tree as well, some 0.3 s.
pub const GRAMMAR_COMPILE_TIME_MAX: std::time::Duration = std::time::Duration::from_secs(10);

/// Schemas compiled at the same time: each keeps a core busy, which the engine wants too.
pub const GRAMMAR_COMPILERS_MAX: usize = 2;

/// Compiled grammars that are kept. Each takes 0.1 to some MB.
pub const GRAMMARS_KEPT_MAX: usize = 64;

/// Attempts to find the place in a schema that makes it fail: each compiles a part of it.
pub const GRAMMAR_SEARCH_MAX: usize = 200;

/// States of the automaton that reads an answer's bytes, of 1 to 2 kB each: those in use have some
/// hundred. An answer that wants more ends with an error.
pub const GRAMMAR_STATES_MAX: usize = 16_384;

/// Work for one mask, in llguidance's units of 70 ns: 7 ms, a fraction of a step. Those in use take
/// a thousand.
pub const GRAMMAR_MASK_FUEL: u64 = 100_000;
