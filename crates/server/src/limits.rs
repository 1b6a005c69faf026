//! Turns "how much may a stranger ask for?" into constants, each with its reason.

use std::time::Duration;

/// Largest request body. A prompt of 1 M tokens is about 5 MB; base64 images come later.
pub const BODY_BYTES_MAX: usize = 16 << 20;

/// From this size on, a body takes one of [`LARGE_BODIES_MAX`] places while it is in memory.
pub const LARGE_BODY_BYTES: usize = 1 << 20;

/// Large bodies read at the same time: 16 of 16 MB are 256 MB at most.
pub const LARGE_BODIES_MAX: usize = 16;

/// Of a refused body, this much is read and thrown away, so that the client sees the answer
/// instead of a broken connection.
pub const DRAIN_BYTES_MAX: usize = 256 << 20;

/// How long a client may take to send its body.
pub const BODY_TIME_MAX: Duration = Duration::from_secs(60);

/// Nesting of arrays and objects in a body. Schemas of tools reach about 20.
pub const JSON_DEPTH_MAX: usize = 64;

/// Choices per prompt: each is a sequence of its own in the engine.
pub const CHOICES_MAX: usize = 16;

/// Prompts of one completion request. Evaluation harnesses send batches of up to 128.
pub const PROMPTS_MAX: usize = 128;

/// Sequences of one request: prompts times choices.
pub const SEQUENCES_MAX: usize = 128;

/// Questions of `/v1/decisions`, as OpenAI's.
pub const QUESTIONS_MAX: usize = 400;

/// Choices of one question, as OpenAI's.
pub const QUESTION_CHOICES_MAX: usize = 255;

/// Levels of one question, as OpenAI's: each is one digit.
pub const QUESTION_LEVELS_MAX: usize = 10;

/// JSON among what is asked about, in bytes, nesting and values, as OpenAI's.
pub const INPUT_JSON_BYTES_MAX: usize = 256 << 10;
/// See [`INPUT_JSON_BYTES_MAX`].
pub const INPUT_JSON_DEPTH_MAX: usize = 32;
/// See [`INPUT_JSON_BYTES_MAX`].
pub const INPUT_JSON_VALUES_MAX: usize = 10_000;

/// Texts, or parts of one, of a moderation request: each text is 13 questions.
pub const MODERATION_INPUTS_MAX: usize = 32;

/// Tokens of all prompts of a request that asks several questions: 16 MB in memory.
pub const JUDGED_TOKENS_MAX: usize = 4 << 20;

/// Questions of one request that are before the engine together, as [`CHOICES_MAX`].
pub const JUDGED_TOGETHER: usize = 16;

/// Texts of one request for vectors, or documents of one for scores, as OpenAI's.
pub const INPUTS_MAX: usize = 2048;

/// Texts of one request that are with the engine at the same time: enough to fill its steps, and
/// a quarter of those that may wait.
pub const INPUTS_TOGETHER: usize = 64;

/// Messages of a chat. Each takes a few tokens at least, so longer ones fit no context of today.
pub const MESSAGES_MAX: usize = 16_384;

/// Stop strings. OpenAI allows 4; agents and evaluation harnesses send more.
pub const STOPS_MAX: usize = 16;

/// Bytes of one stop string: each is compared at every step.
pub const STOP_BYTES_MAX: usize = 256;

/// Tokens in `stop_token_ids`.
pub const STOP_TOKENS_MAX: usize = 128;

/// Alternatives per token in a chat, as OpenAI's.
pub const TOP_LOGPROBS_MAX: u32 = 20;

/// Alternatives per token in a completion, as OpenAI's.
pub const COMPLETION_LOGPROBS_MAX: u32 = 5;

/// Entries in `logit_bias`, as other engines have it: each costs work at every step.
pub const LOGIT_BIAS_MAX: usize = 1024;

/// Bytes of strings that are only carried along or hashed (`user`, `cache_salt` …).
pub const SMALL_TEXT_BYTES_MAX: usize = 4096;

/// Requests that may wait for a place in the batch before new ones get a 429.
pub const QUEUE_MAX: usize = 256;

/// What a refused client is told to wait, in seconds.
pub const RETRY_AFTER_SECONDS: u32 = 2;

/// Bytes of a client's own `x-request-id` that is taken over.
pub const REQUEST_ID_BYTES_MAX: usize = 128;

/// Silence on a stream before a comment is sent: proxies cut at 30 s and more.
pub const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// How long running answers may take to finish once the server is told to stop.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// Panics of the engine that are survived before the server calls itself unhealthy.
pub const ENGINE_FAILURES_MAX: u32 = 3;

/// Connections at the same time; more wait to be accepted. Each takes some 100 kB at most.
pub const CONNECTIONS_MAX: usize = 4096;

/// How long a connection may take to send a request's head, or be silent between two requests.
pub const HEADER_TIME_MAX: Duration = Duration::from_secs(30);

/// How long a client may read nothing while something waits to be sent: then it counts as gone.
pub const WRITE_TIME_MAX: Duration = Duration::from_secs(60);

/// Bytes of a request's head, and of answers that wait for a slow reader, per connection.
pub const HTTP_BUFFER_BYTES: usize = 64 << 10;

/// Tools of a request, as OpenAI's.
pub const TOOLS_MAX: usize = 128;

/// Bytes of all tools of a request. They are rendered into its prompt; agents send some 100 kB.
pub const TOOLS_BYTES_MAX: usize = 1 << 20;

/// Bytes of a tool's name: OpenAI takes 64, servers of tools put their own names before it.
pub const TOOL_NAME_BYTES_MAX: usize = 128;

/// Bytes of a tool's description.
pub const TOOL_DESCRIPTION_BYTES_MAX: usize = 64 << 10;

/// Nesting of a tool's schema: those in use reach about 20.
pub const TOOL_SCHEMA_DEPTH_MAX: usize = 32;

/// Tool calls of one earlier message.
pub const CALLS_MAX: usize = 128;

/// Pairs of `metadata`, and characters of their keys and values, as OpenAI's.
pub const METADATA_PAIRS_MAX: usize = 16;
/// See [`METADATA_PAIRS_MAX`].
pub const METADATA_KEY_CHARS_MAX: usize = 64;
/// See [`METADATA_PAIRS_MAX`].
pub const METADATA_VALUE_CHARS_MAX: usize = 512;

/// Bytes of an object's id that is looked up: our own have about 50.
pub const ID_BYTES_MAX: usize = 128;

/// Objects that are looked through at a time for those that a filter lets by.
pub const FILTERED_AT_ONCE: usize = 50;

/// Responses that are found again in memory after their end, and their bytes with all events: about
/// 100 kB each for a long answer.
pub const RECENT_MAX: usize = 4096;
/// See [`RECENT_MAX`].
pub const RECENT_BYTES_MAX: usize = 256 << 20;

/// How long a response stays in memory after its last use.
pub const RECENT_TIME: Duration = Duration::from_secs(30 * 60);

/// Responses that one goes back over: each is looked up.
pub const CHAIN_MAX: usize = 1024;

/// Items that are added to a conversation at a time, as OpenAI's.
pub const CONVERSATION_ITEMS_MAX: usize = 20;

/// How often items are added anew, where others were added to the same conversation meanwhile.
pub const APPEND_TRIES: usize = 16;
