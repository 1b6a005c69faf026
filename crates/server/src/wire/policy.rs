//! Turns the parameters of chats and completions into one table: what each may be, and what happens
//! to it.
//!
//! The rule: what would change the answer is honoured or refused by name, never dropped. What only
//! informs the operator (`user`, `metadata` …) is accepted. What nobody knows is refused by name.
//! The table is what `/openapi.json` and `docs/api-fields.md` are made of; a test holds it to the
//! parameters that the parsers ask for.

use serde_json::Value;
use serde_json::value::RawValue;

use super::fields::Fields;
use crate::errors::ApiError;

/// A parameter of a request.
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What happens to it.
    pub rule: Rule,
    /// What it may be: a JSON Schema.
    pub schema: &'static str,
    /// What it does, in a few words; empty where its name says it.
    pub says: &'static str,
}

/// What happens to a known parameter.
pub enum Rule {
    /// A parser takes it, and acts on it or refuses its value.
    Honour,
    /// It informs the operator, or is a hint: accepted with any value.
    Accept,
    /// Accepted with these values, which mean what happens anyway; JSON texts.
    Only(&'static [&'static str]),
    /// Not here, whatever its value.
    Refuse,
}

use Rule::{Accept, Honour, Only, Refuse};

const fn field(name: &'static str, rule: Rule, schema: &'static str, says: &'static str) -> Field {
    Field { name, rule, schema, says }
}

const BOOLEAN: &str = r#"{"type":"boolean"}"#;
const STRING: &str = r#"{"type":"string"}"#;
const OBJECT: &str = r#"{"type":"object"}"#;
const COUNT: &str = r#"{"type":"integer","minimum":0}"#;
const FROM_ONE: &str = r#"{"type":"integer","minimum":1}"#;
const SHARE: &str = r#"{"type":"number","minimum":0,"maximum":1}"#;
const PENALTY: &str = r#"{"type":"number","minimum":-2,"maximum":2}"#;
const IDS: &str = r#"{"type":"array","items":{"type":"integer","minimum":0}}"#;
const NAMES: &str = r#"{"type":"array","items":{"type":"string"},"maxItems":64}"#;
const ANY: &str = "{}";
const BIASES: &str = r#"{
    "type": "object",
    "additionalProperties": {"type": "number", "minimum": -100, "maximum": 100}
}"#;
const STOPS: &str = r#"{"oneOf": [
    {"type": "string", "minLength": 1},
    {"type": "array", "items": {"type": "string", "minLength": 1}, "maxItems": 16}
]}"#;
const STREAM_OPTIONS: &str = r#"{
    "type": "object",
    "properties": {
        "include_usage": {"type": "boolean"},
        "include_obfuscation": {"type": "boolean"}
    },
    "additionalProperties": false
}"#;
const MESSAGES: &str = r#"{"type": "array", "minItems": 1, "items": {
    "type": "object",
    "required": ["role"],
    "properties": {
        "role": {"enum": ["system", "developer", "user", "assistant", "tool", "function"]}
    }
}}"#;
const RESPONSE_FORMAT: &str = r#"{
    "type": "object",
    "required": ["type"],
    "properties": {"type": {"enum": ["text", "json_object", "json_schema"]}}
}"#;
const PROMPT: &str = r#"{"oneOf": [
    {"type": "string"},
    {"type": "array", "minItems": 1, "items": {"type": "string"}},
    {"type": "array", "minItems": 1, "items": {"type": "integer", "minimum": 0}},
    {"type": "array", "minItems": 1, "items": {
        "type": "array", "items": {"type": "integer", "minimum": 0}
    }}
]}"#;

const SERVICE_TIER: Field = field(
    "service_tier",
    Only(&[r#""auto""#, r#""default""#, r#""flex""#, r#""scale""#, r#""priority""#, r#""fast""#]),
    STRING,
    "there is one tier: answers say `default`",
);

/// How tokens are drawn, and answers cut and sent: for chats, completions and responses.
const GENERATION: &[Field] = &[
    field("temperature", Honour, r#"{"type":"number","minimum":0,"maximum":2}"#, ""),
    field("top_p", Honour, SHARE, ""),
    field("min_p", Honour, SHARE, "vLLM's"),
    field("top_k", Honour, r#"{"type":"integer","minimum":-1}"#, "vLLM's; 0 and -1 mean all"),
    field("frequency_penalty", Honour, PENALTY, ""),
    field("presence_penalty", Honour, PENALTY, ""),
    field(
        "repetition_penalty",
        Honour,
        r#"{"type":"number","minimum":0.01,"maximum":10}"#,
        "vLLM's",
    ),
    field("logit_bias", Honour, BIASES, "token ids as text"),
    field("seed", Honour, r#"{"type":"integer"}"#, "64 bits; the same seed, the same answer"),
    field("stop", Honour, STOPS, "up to 16 strings of up to 256 bytes"),
    field("stop_token_ids", Honour, IDS, "vLLM's"),
    field("include_stop_str_in_output", Honour, BOOLEAN, "vLLM's"),
    field("ignore_eos", Honour, BOOLEAN, "vLLM's"),
    field("min_tokens", Honour, COUNT, "vLLM's"),
    field("n", Honour, r#"{"type":"integer","minimum":1,"maximum":16}"#, ""),
    field("stream", Honour, BOOLEAN, ""),
    field(
        "stream_options",
        Honour,
        STREAM_OPTIONS,
        "with `stream` alone; `include_obfuscation` only as false",
    ),
    field("return_token_ids", Honour, BOOLEAN, "vLLM's"),
    field("cache_salt", Honour, STRING, "vLLM's: prompts share cached prefixes under equal salts"),
];

/// For chats and completions.
const COMMON: &[Field] = &[
    field("model", Honour, STRING, "one of `/v1/models`; absent: the one that is served"),
    field("max_tokens", Honour, COUNT, "chats: at least 1"),
    field("user", Accept, STRING, ""),
    field("safety_identifier", Accept, STRING, ""),
    field("prompt_cache_key", Accept, STRING, "the cache finds common prefixes by itself"),
    field("prompt_cache_retention", Accept, STRING, ""),
    field("prompt_cache_options", Accept, OBJECT, ""),
    SERVICE_TIER,
    field(
        "response_format",
        Honour,
        RESPONSE_FORMAT,
        "always enforced; a schema that cannot be is refused with its keyword",
    ),
    field(
        "structured_outputs",
        Honour,
        OBJECT,
        "vLLM's: one of `json`, `regex`, `choice`, `grammar` (Lark)",
    ),
    field("guided_json", Honour, r#"{"type":["object","boolean","string"]}"#, "vLLM's older name"),
    field("guided_regex", Honour, STRING, "vLLM's older name"),
    field(
        "guided_choice",
        Honour,
        r#"{"type":"array","items":{"type":"string"},"minItems":1}"#,
        "vLLM's older name",
    ),
    field("guided_grammar", Honour, STRING, "vLLM's older name: Lark"),
    field("moderation", Refuse, ANY, "`/v1/moderations` is there"),
    field("use_beam_search", Only(&["false"]), BOOLEAN, "vLLM's"),
    field("skip_special_tokens", Only(&["true"]), BOOLEAN, "vLLM's"),
];

/// For chats alone.
const CHAT: &[Field] = &[
    field("messages", Honour, MESSAGES, "text parts; images, audio and files are refused by name"),
    field("store", Honour, BOOLEAN, "kept with its messages, to be listed, changed and deleted"),
    field("metadata", Accept, OBJECT, "16 pairs; kept where `store` is true"),
    field("max_completion_tokens", Honour, FROM_ONE, "wins over `max_tokens`"),
    field("logprobs", Honour, BOOLEAN, ""),
    field("top_logprobs", Honour, r#"{"type":"integer","minimum":0,"maximum":20}"#, ""),
    field("tools", Honour, r#"{"type":"array","items":{"type":"object"}}"#, "functions"),
    field(
        "tool_choice",
        Honour,
        r#"{"oneOf":[{"enum":["none","auto","required"]},{"type":"object"}]}"#,
        "also a function, or `allowed_tools`",
    ),
    field("parallel_tool_calls", Honour, BOOLEAN, ""),
    field("functions", Honour, r#"{"type":"array","items":{"type":"object"}}"#, "OpenAI's first"),
    field(
        "function_call",
        Honour,
        r#"{"oneOf":[{"enum":["none","auto"]},{"type":"object"}]}"#,
        "OpenAI's first",
    ),
    field(
        "reasoning_effort",
        Honour,
        r#"{"enum":["none","minimal","low","medium","high","xhigh","max"]}"#,
        "where the model's template knows efforts, budgets or a switch",
    ),
    field("enable_thinking", Honour, BOOLEAN, "Model Studio's and vLLM's"),
    field("thinking_budget", Honour, COUNT, "Model Studio's, in tokens"),
    field("chat_template_kwargs", Honour, OBJECT, "vLLM's: variables of the template"),
    field("continue_final_message", Honour, BOOLEAN, "vLLM's"),
    field("add_generation_prompt", Honour, BOOLEAN, "vLLM's"),
    field(
        "modalities",
        Only(&[r#"["text"]"#]),
        r#"{"type":"array","items":{"type":"string"}}"#,
        "",
    ),
    field("audio", Refuse, ANY, ""),
    field("prediction", Accept, OBJECT, "a guess that may save time, and never changes an answer"),
    field("web_search_options", Refuse, ANY, ""),
    field("verbosity", Only(&[r#""medium""#]), STRING, "no open model knows it"),
    field("chat_template", Refuse, ANY, "templates are the model's own"),
    field("echo", Only(&["false"]), BOOLEAN, "of completions"),
    field("best_of", Only(&["1"]), FROM_ONE, "of completions"),
];

/// For completions alone.
const COMPLETIONS: &[Field] = &[
    field("store", Only(&["false"]), BOOLEAN, ""),
    field("metadata", Accept, OBJECT, ""),
    field("prompt", Honour, PROMPT, "text, texts, ids, or lists of ids"),
    field("echo", Honour, BOOLEAN, ""),
    field("logprobs", Honour, r#"{"type":"integer","minimum":0,"maximum":5}"#, ""),
    field("suffix", Honour, STRING, "for models with fill-in-the-middle tokens"),
    field("best_of", Honour, r#"{"type":"integer","minimum":1,"maximum":16}"#, "at least `n`"),
];

/// The parameters of `/v1/chat/completions`.
pub const CHAT_FIELDS: &[&[Field]] = &[CHAT, COMMON, GENERATION];

/// Those of an answer in the chat in the browser.
pub const RUN_FIELDS: &[&[Field]] = &[CHAT, COMMON, GENERATION, RUN];

const RUN: &[Field] =
    &[field("app_tools", Honour, NAMES, "names of tools as `/app/tools` has them")];

/// The parameters of `/v1/completions`.
pub const COMPLETION_FIELDS: &[&[Field]] = &[COMPLETIONS, COMMON, GENERATION];

/// For responses.
const RESPONSES: &[Field] = &[
    field("model", Honour, STRING, "one of `/v1/models`; absent: the one that is served"),
    field(
        "input",
        Honour,
        r#"{"oneOf":[{"type":"string"},{"type":"array","items":{"type":"object"}}]}"#,
        "text, or items: messages, calls, results, reasoning",
    ),
    field("previous_response_id", Honour, STRING, ""),
    field(
        "conversation",
        Honour,
        r#"{"oneOf":[{"type":"string"},{"type":"object"}]}"#,
        "excludes `previous_response_id`",
    ),
    field("instructions", Honour, STRING, ""),
    field("tools", Honour, r#"{"type":"array","items":{"type":"object"}}"#, "functions"),
    field(
        "tool_choice",
        Honour,
        r#"{"oneOf":[{"enum":["none","auto","required"]},{"type":"object"}]}"#,
        "",
    ),
    field("parallel_tool_calls", Honour, BOOLEAN, ""),
    field("max_tool_calls", Honour, FROM_ONE, "counts calls of tools of a server's own: none"),
    field("max_output_tokens", Honour, FROM_ONE, ""),
    field("text", Honour, OBJECT, "`format` is enforced; `verbosity` only as medium"),
    field("reasoning", Honour, OBJECT, "`effort`, `summary`"),
    field("enable_thinking", Honour, BOOLEAN, "Model Studio's and vLLM's"),
    field("thinking_budget", Honour, COUNT, "Model Studio's, in tokens"),
    field("store", Honour, BOOLEAN, "absent: in memory for half an hour; true: on disk"),
    field("background", Honour, BOOLEAN, ""),
    field("truncation", Honour, r#"{"enum":["auto","disabled"]}"#, "auto drops the oldest items"),
    field("metadata", Honour, OBJECT, "16 pairs"),
    field("include", Honour, r#"{"type":"array","items":{"type":"string"}}"#, ""),
    field("top_logprobs", Honour, r#"{"type":"integer","minimum":0,"maximum":20}"#, ""),
    field("chat_template_kwargs", Honour, OBJECT, "vLLM's: variables of the template"),
    field("user", Honour, STRING, "shown again"),
    field("safety_identifier", Honour, STRING, "shown again"),
    field("prompt_cache_key", Honour, STRING, "shown again"),
    field("prompt_cache_retention", Honour, STRING, "shown again"),
    field("prompt_cache_options", Accept, OBJECT, ""),
    SERVICE_TIER,
    field("moderation", Refuse, ANY, "`/v1/moderations` is there"),
    field("prompt", Refuse, ANY, "prompts that are kept elsewhere"),
    field("context_management", Only(&["[]"]), r#"{"type":"array"}"#, ""),
    field("access_programs", Refuse, ANY, ""),
    field("background_options", Refuse, ANY, ""),
    field("image", Accept, OBJECT, "how images are compressed; there are none"),
    field("personality", Refuse, ANY, ""),
];

/// The parameters of `/v1/responses`: those of a generation, too, under vLLM's names.
pub const RESPONSE_FIELDS: &[&[Field]] = &[RESPONSES, GENERATION];

/// For the compaction of a dialogue.
const COMPACTION: &[Field] = &[
    field("model", Honour, STRING, "one of `/v1/models`; absent: the one that is served"),
    field(
        "input",
        Honour,
        r#"{"oneOf":[{"type":"string"},{"type":"array","items":{"type":"object"}}]}"#,
        "text, or items: messages, calls, results, reasoning, earlier compactions",
    ),
    field("previous_response_id", Honour, STRING, ""),
    field("instructions", Honour, STRING, "what the summary should heed, before the dialogue"),
    field("prompt_cache_key", Honour, STRING, "the cache finds common prefixes by itself"),
    field("prompt_cache_retention", Honour, STRING, "as long as there is room"),
    field("prompt_cache_options", Accept, OBJECT, ""),
    field("image", Accept, OBJECT, "how images are compressed; there are none"),
    SERVICE_TIER,
];

/// The parameters of `/v1/responses/compact`.
pub const COMPACTION_FIELDS: &[&[Field]] = &[COMPACTION];

/// Longest value that is looked into: the accepted ones are short.
const VALUE_BYTES_MAX: usize = 256;

/// Judges what a chat request has besides the fields that were taken.
///
/// # Errors
/// 400 naming the first parameter that cannot be honoured, or that nobody knows.
pub fn judge_chat(fields: Fields<'_>) -> Result<(), ApiError> {
    judge(fields, CHAT_FIELDS)
}

/// As [`judge_chat`], for a completion request.
///
/// # Errors
/// As [`judge_chat`].
pub fn judge_completion(fields: Fields<'_>) -> Result<(), ApiError> {
    judge(fields, COMPLETION_FIELDS)
}

/// As [`judge_chat`], for a response.
///
/// # Errors
/// As [`judge_chat`].
pub fn judge_response(fields: Fields<'_>) -> Result<(), ApiError> {
    judge(fields, RESPONSE_FIELDS)
}

/// Judges the names of a compaction's fields, which [`judge_response`] judges further.
///
/// # Errors
/// 400 naming the first that nobody knows there.
pub fn judge_compaction(fields: &Fields<'_>) -> Result<(), ApiError> {
    let known = |name: &&str| COMPACTION.iter().any(|field| field.name == *name);
    match fields.names().find(|name| !known(name)) {
        Some(name) => Err(ApiError::unknown_parameter(name)),
        None => Ok(()),
    }
}

fn judge(fields: Fields<'_>, tables: &[&[Field]]) -> Result<(), ApiError> {
    for (name, value) in fields.rest() {
        if value.get() == "null" {
            continue;
        }
        let row = tables.iter().copied().flatten().find(|field| field.name == name);
        match row.map(|field| &field.rule) {
            Some(Accept) => {}
            Some(Only(right)) if is_one_of(value, right) => {}
            Some(Only(right)) => {
                let right = right.join(", ");
                let message = format!(
                    "'{name}' cannot be honoured with this value. It is accepted as: {right}."
                );
                return Err(ApiError::unsupported(name, message));
            }
            Some(Refuse) => {
                let message = format!("'{name}' is not supported by this server.");
                return Err(ApiError::unsupported(name, message));
            }
            // A parser that should have taken it did not.
            Some(Honour) | None => return Err(ApiError::unknown_parameter(&name)),
        }
    }
    Ok(())
}

/// Whether a value equals one of the JSON texts, however it is spaced.
fn is_one_of(value: &RawValue, texts: &[&str]) -> bool {
    if value.get().len() > VALUE_BYTES_MAX {
        return false;
    }
    let parse = |text: &str| serde_json::from_str::<Value>(text).ok();
    let value = parse(value.get());
    value.is_some() && texts.iter().any(|text| parse(text) == value)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::wire::chat::ChatRequest;
    use crate::wire::completions::CompletionRequest;
    use crate::wire::fields::asked_for;
    use crate::wire::responses::ResponsesRequest;

    fn honoured(tables: &[&[Field]]) -> BTreeSet<String> {
        let rows = tables.iter().copied().flatten();
        let rows = rows.filter(|field| matches!(field.rule, Honour));
        rows.map(|field| field.name.to_owned()).collect()
    }

    #[test]
    fn the_table_has_what_the_parsers_ask_for_and_nothing_else() {
        let chat = br#"{"messages": [{"role": "user", "content": "x"}]}"#;
        let (asked, parsed) = asked_for(|| ChatRequest::parse(chat, 100));
        assert!(parsed.is_ok());
        assert_eq!(asked, honoured(CHAT_FIELDS));
        let (asked, parsed) = asked_for(|| CompletionRequest::parse(br#"{"prompt": "x"}"#, 100));
        assert!(parsed.is_ok());
        assert_eq!(asked, honoured(COMPLETION_FIELDS));
        let (asked, parsed) = asked_for(|| ResponsesRequest::parse(br#"{"input": "x"}"#, 100));
        assert!(parsed.is_ok());
        assert_eq!(asked, honoured(RESPONSE_FIELDS));
    }

    #[test]
    fn no_row_stands_twice_and_every_schema_is_one() {
        for tables in [RUN_FIELDS, COMPLETION_FIELDS, RESPONSE_FIELDS, COMPACTION_FIELDS] {
            let names: Vec<_> = tables.iter().copied().flatten().map(|field| field.name).collect();
            let unique: BTreeSet<_> = names.iter().collect();
            assert_eq!(unique.len(), names.len(), "{names:?}");
            for field in tables.iter().copied().flatten() {
                let schema: Value = serde_json::from_str(field.schema).expect(field.name);
                assert!(jsonschema::meta::is_valid(&schema), "{}", field.name);
            }
        }
    }
}
