//! Turns "how much may a stranger ask for?" into constants, each with its reason.

use std::ops::RangeInclusive;
use std::time::Duration;

pub use myriad_store::limits::USAGE_DAYS_MAX;

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

/// How long a request waits for its model to be loaded: hundreds of gigabytes from a slow disk.
pub const LOAD_TIME_MAX: Duration = Duration::from_secs(900);

/// Requests that wait for models: each holds its body and a connection.
pub const LOAD_WAITERS_MAX: usize = 256;

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

/// Tokens of a dialogue's summary: some pages, and never more than a quarter of the context.
pub const SUMMARY_TOKENS_MAX: usize = 2048;

/// Texts of one request that are with the engine at the same time: enough to fill its steps, and
/// a quarter of those that may wait.
pub const INPUTS_TOGETHER: usize = 64;

/// Messages of a chat. Each takes a few tokens at least, so longer ones fit no context of today.
pub const MESSAGES_MAX: usize = 16_384;

/// Texts that an answer may be one of.
pub const CHOICE_TEXTS_MAX: usize = 1024;

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

/// Passwords that are hashed at the same time: each takes 19 MiB and a core for some 30 ms.
pub const PASSWORDS_TOGETHER: usize = 2;

/// Logins that wait for that: a second's worth.
pub const PASSWORDS_WAITING_MAX: usize = 32;

/// Characters of a password: no more rules than that, as NIST SP 800-63B has it.
pub const PASSWORD_CHARS: RangeInclusive<usize> = 8..=256;

/// Characters of an account's name, and of what others are shown.
pub const USER_NAME_CHARS_MAX: usize = 64;

/// Time in which failed logins count together.
pub const LOGIN_WINDOW: Duration = Duration::from_secs(15 * 60);

/// Failed logins of one name in that time: who guesses has 40 tries an hour.
pub const NAME_FAILURES_MAX: u32 = 10;

/// Failed logins from one address in that time: an office behind one address has more than one
/// person who errs.
pub const ADDRESS_FAILURES_MAX: u32 = 30;

/// Names and addresses whose failures are remembered: some 100 bytes each.
pub const ATTEMPTS_REMEMBERED_MAX: usize = 16_384;

/// Bytes of a document of an OpenID Connect issuer: keys with their certificates have some 20 kB.
pub const OIDC_DOCUMENT_BYTES_MAX: usize = 256 << 10;

/// Bytes of an ID token: one with hundreds of groups has some 20 kB.
pub const OIDC_TOKEN_BYTES_MAX: usize = 64 << 10;

/// Bytes of a subject, as OpenID Connect's.
pub const OIDC_SUBJECT_BYTES_MAX: usize = 255;

/// Keys of an issuer that are looked at: large ones have a dozen.
pub const OIDC_KEYS_MAX: usize = 100;

/// How long what an issuer says of itself is believed: keys that it takes back open nothing after.
pub const OIDC_KNOWN_TIME: Duration = Duration::from_secs(3600);

/// Time between two questions for keys because of a token whose key nobody knew.
pub const OIDC_KEYS_AGAIN: Duration = Duration::from_secs(60);

/// People whose sign-in makes this server ask the issuer at the same time.
pub const OIDC_TOGETHER_MAX: usize = 16;

/// How long somebody may be at the issuer: to find a telephone and wait for a code.
pub const OIDC_JOURNEY_SECONDS: i64 = 10 * 60;

/// What two clocks may differ by.
pub const OIDC_CLOCK_SECONDS: i64 = 60;

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

/// Characters of what a server of tools says of one: it stands in every prompt.
pub const TOOL_OFFER_DESCRIPTION_CHARS_MAX: usize = 2048;

/// Characters of what people call a tool: a line of a menu.
pub const TOOL_OFFER_TITLE_CHARS_MAX: usize = 80;

/// Bytes of a tool's schema from a server of tools: it stands in every prompt.
pub const TOOL_OFFER_SCHEMA_BYTES_MAX: usize = 16 << 10;

/// Pages of a server's list of tools: the largest servers have some hundred tools in all.
pub const TOOL_LIST_PAGES_MAX: usize = 16;

/// How long a server of tools may take to list them: whoever opens the menu waits.
pub const TOOL_LIST_TIME_MAX: Duration = Duration::from_secs(10);

/// How long a list of tools is believed, and how long that there is none.
pub const TOOL_LIST_TIME: Duration = Duration::from_secs(300);
/// See [`TOOL_LIST_TIME`].
pub const TOOL_LIST_AGAIN: Duration = Duration::from_secs(10);

/// Bytes of one answer of a server of tools, with pictures that are not shown.
pub const TOOL_ANSWER_BYTES_MAX: usize = 8 << 20;

/// Bytes of a result that a model is told: some 8,000 tokens.
pub const TOOL_RESULT_BYTES_MAX: usize = 32 << 10;

/// Tools that a conversation of the chat has switched on: each stands in every prompt.
pub const APP_TOOLS_MAX: usize = 64;

/// Times that a model may call tools before it has to answer.
pub const APP_TOOL_ROUNDS_MAX: u32 = 16;

/// Calls at the same time: more than models make.
pub const APP_CALLS_TOGETHER: usize = 16;

/// Calls of one message: as many as fit the rounds.
pub const APP_CALLS_MAX: usize = APP_TOOL_ROUNDS_MAX as usize * APP_CALLS_TOGETHER;

/// Bytes of a call's arguments: a page of text, or a small file.
pub const APP_ARGUMENTS_BYTES_MAX: usize = 256 << 10;

/// How long a call waits for a person's permission before it counts as refused.
pub const APP_PERMISSION_TIME_MAX: Duration = Duration::from_secs(600);

/// Conversations in which tools may be called without a further question.
pub const APP_GRANTS_MAX: usize = 4096;

/// Results of a search: the first page of one.
pub const SEARCH_RESULTS_MAX: usize = 8;

/// Characters of what is searched for.
pub const SEARCH_QUERY_CHARS_MAX: usize = 400;

/// Characters of a result's title and excerpt, and bytes of its address.
pub const SEARCH_TITLE_CHARS_MAX: usize = 200;
/// See [`SEARCH_TITLE_CHARS_MAX`].
pub const SEARCH_SNIPPET_CHARS_MAX: usize = 500;
/// See [`SEARCH_TITLE_CHARS_MAX`].
pub const SEARCH_URL_BYTES_MAX: usize = 2048;

/// Bytes of a file, as OpenAI's.
pub const FILE_BYTES_MAX: u64 = 512 << 20;

/// Bytes of all contents that one owner keeps: four of the largest uploads.
pub const OWNER_BYTES_MAX: u64 = 32 << 30;

/// Bytes of a file that is uploaded in parts, as OpenAI's.
pub const UPLOAD_BYTES_MAX: u64 = 8 << 30;

/// Bytes of one part, as OpenAI's.
pub const UPLOAD_PART_BYTES_MAX: u64 = 64 << 20;

/// Parts of one upload: the largest needs 128 of the largest parts.
pub const UPLOAD_PARTS_MAX: usize = 10_000;

/// How long an upload takes parts, as OpenAI's.
pub const UPLOAD_SECONDS: i64 = 3600;

/// How long a file that is being sent may be silent.
pub const UPLOAD_SILENCE_MAX: Duration = Duration::from_secs(30);

/// How long one body with a file may take in all.
pub const UPLOAD_TIME_MAX: Duration = Duration::from_secs(3600);

/// Bytes around the content of a file in a form: boundaries, heads, the other fields.
pub const FORM_BYTES_MAX: u64 = 128 << 10;

/// Fields of a form: requests have four.
pub const FORM_FIELDS_MAX: usize = 16;

/// Bytes of a field's head: a name of a file and a few words.
pub const FORM_HEAD_BYTES_MAX: usize = 8 << 10;

/// Bytes of a file's name: most file systems take 255.
pub const FILE_NAME_BYTES_MAX: usize = 512;

/// Models whose answers are compared side by side: as many columns as a screen has room for.
pub const COMPARED_MAX: usize = 4;

/// Votes that are rated together, the latest ones.
pub const VOTES_MAX: usize = 10_000;

/// Models that are rated together: the work grows with their number's third power.
pub const MODELS_RATED_MAX: usize = 100;

/// Files and batches in one page of a list, as OpenAI's.
pub const FILES_PAGE_MAX: usize = 10_000;

/// Seconds for which a file may be wished to be kept, as OpenAI's: an hour to 30 days.
pub const FILE_SECONDS: RangeInclusive<i64> = 3600..=2_592_000;

/// Bytes of a file that are read at once when it is sent.
pub const FILE_PIECE_BYTES: usize = 64 << 10;

/// Time between two looks for what has expired.
pub const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// After this time a content without a document will never have one: an upload takes an hour.
pub const ORPHAN_AGE: Duration = Duration::from_secs(24 * 3600);

/// Requests of one batch, as OpenAI's.
pub const BATCH_LINES_MAX: u64 = 50_000;

/// Bytes of a batch's input file, as OpenAI's.
pub const BATCH_FILE_BYTES_MAX: u64 = 200 << 20;

/// Bytes of one line of it: the request in it may be as large as one that comes by itself.
pub const BATCH_LINE_BYTES_MAX: usize = BODY_BYTES_MAX;

/// Bytes of a line's `custom_id`: all of a batch are held while it is checked.
pub const CUSTOM_ID_BYTES_MAX: usize = 512;

/// How long a batch may take, as OpenAI's: the only window is 24 hours.
pub const BATCH_SECONDS: i64 = 24 * 3600;

/// Wrong lines that a batch tells of.
pub const BATCH_ERRORS_MAX: usize = 100;

/// Lines of all batches that are answered at the same time.
pub const BATCH_LINES: usize = 4;

/// Batches that are worked on at the same time; more wait. Each holds a few lines.
pub const BATCHES_MAX: usize = 16;

/// Bytes of one answer in a batch: 128 choices of long contexts.
pub const BATCH_ANSWER_BYTES_MAX: usize = 64 << 20;

/// Answers that are read back at once: each may be large.
pub const BATCH_ANSWERS_PAGE: usize = 16;

/// Time between two looks whether requests of people wait, and between two tries of a line.
pub const BATCH_PATIENCE: Duration = Duration::from_millis(50);

/// Time before a batch is taken up again that the store or the disk stopped.
pub const BATCH_RETRY: Duration = Duration::from_secs(10);

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

/// Bytes of a conversation's title in the chat, and of its folder's name: a line of a list.
pub const APP_TITLE_BYTES_MAX: usize = 1024;
/// See [`APP_TITLE_BYTES_MAX`].
pub const APP_FOLDER_BYTES_MAX: usize = 256;

/// Bytes of a conversation's parameters, of which the system prompt is the largest.
pub const APP_SETTINGS_BYTES_MAX: usize = 256 << 10;

/// Bytes of a message's text, and of its thoughts: a million tokens.
pub const APP_TEXT_BYTES_MAX: usize = 4 << 20;

/// Messages that are written at once: more are an import.
pub const APP_MESSAGES_AT_ONCE: usize = 64;

/// Bytes of one conversation in an import: its line is checked as a whole.
pub const APP_RECORD_BYTES_MAX: usize = 16 << 20;

/// Messages of one conversation in an import: the largest that fit one line.
pub const APP_RECORD_MESSAGES_MAX: usize = 65_536;

/// Messages that are read back at once: each may be large.
pub const APP_MESSAGES_PAGE: usize = 64;

/// Presets of one owner, and prompts: a list that is read as a whole.
pub const APP_LIBRARY_MAX: usize = 500;

/// Bytes of a prompt's text, and of a preset's parameters.
pub const APP_ITEM_BYTES_MAX: usize = 64 << 10;

/// Documents that are looked up at once where all of an owner's are gone through.
pub const DATA_PAGE: usize = 64;

/// Documents that are deleted at the same time: enough to share the disk's delay.
pub const DATA_DELETED_TOGETHER: usize = 16;

/// Time between two writes of what was used: a server that is killed loses no more.
pub const LEDGER_EVERY: Duration = Duration::from_secs(10);

/// Sums that wait to be written, each of some 200 bytes: a thousand accounts with ten models.
pub const LEDGER_ROWS_MAX: usize = 10_000;

/// Conversations that a search shows.
pub const APP_HITS_MAX: usize = 100;

/// Bytes of what is searched for.
pub const APP_SEARCH_BYTES_MAX: usize = 1024;

/// Letters around what was found, and before it.
pub const APP_EXCERPT_CHARS: usize = 140;
/// See [`APP_EXCERPT_CHARS`].
pub const APP_EXCERPT_BEFORE_CHARS: usize = 32;

/// Bytes of a file that is added to a chat: books with pictures have some 20 MB.
pub const APP_FILE_BYTES_MAX: u64 = 32 << 20;

/// Files of one message.
pub const APP_FILES_MAX: usize = 16;

/// How long a file that no conversation has is kept: a question that is being written takes less.
pub const APP_FILE_SECONDS: i64 = 24 * 3600;

/// Files whose text is read at the same time: each takes a core.
pub const EXTRACTIONS_TOGETHER: usize = 2;

/// How long one may take, with all that waits for the disk.
pub const EXTRACT_TIME_MAX: Duration = Duration::from_secs(30);

/// Bytes of what the reader of a file answers: its text as JSON, where each letter may take two.
pub const EXTRACT_OUTPUT_BYTES_MAX: u64 =
    2 * myriad_extract::limits::TEXT_BYTES_MAX as u64 + (1 << 20);

/// Files stand whole in a prompt up to this share of the context: half is left for the talk.
pub const APP_WHOLE_SHARE: usize = 2;

/// Passages of large files take this share of the context at most,
pub const APP_PASSAGES_SHARE: usize = 4;
/// and so many tokens: more of them help a model less than they cost.
pub const APP_PASSAGE_TOKENS_MAX: usize = 2048;

/// Passages that a message keeps, and their bytes.
pub const APP_PASSAGES_MAX: usize = 64;
/// See [`APP_PASSAGES_MAX`].
pub const APP_PASSAGES_BYTES_MAX: usize = 256 << 10;

/// Context of other servers' models, which say nothing of it.
pub const APP_CONTEXT_ELSEWHERE: usize = 32_768;

/// Answers of the chat that one owner has on their way: a few tabs, side by side.
pub const APP_RUNS_MAX: usize = 16;

/// Bytes of one answer on its way, with all its events.
pub const APP_RUN_BYTES_MAX: usize = 64 << 20;

/// How long one answer may take: the longest contexts on the slowest machines.
pub const APP_RUN_TIME_MAX: Duration = Duration::from_secs(4 * 3600);

/// Time between two writes of an answer on its way: a server that is killed loses no more.
pub const APP_KEEP_EVERY: Duration = Duration::from_secs(2);

/// Time between two looks at an answer that is not on its way here, and how long one may stay as it
/// is before it counts as lost: five writes of a server that makes it.
pub const APP_LOOK_EVERY: Duration = Duration::from_millis(250);
/// See [`APP_LOOK_EVERY`].
pub const APP_LOST_AFTER: Duration = Duration::from_secs(10);

/// How long the first answer's stream waits for a title; a machine that is busy goes without.
pub const APP_TITLE_TIME_MAX: Duration = Duration::from_secs(60);

/// Tokens and characters of a title that a model makes.
pub const APP_TITLE_TOKENS_MAX: u32 = 16;
/// See [`APP_TITLE_TOKENS_MAX`].
pub const APP_TITLE_CHARS_MAX: usize = 80;

/// Bytes and messages of a conversation that a link shows: a long one has a tenth.
pub const APP_SHARE_BYTES_MAX: usize = 16 << 20;
/// See [`APP_SHARE_BYTES_MAX`].
pub const APP_PATH_MAX: usize = 10_000;

/// Letters of a link's token: 190 bits, which nobody guesses.
pub const APP_TOKEN_LETTERS: usize = 32;
