//! Turns the JSON of `/v1/responses` into a request: [`items`] and [`tools`] within it, which
//! [`dialogue`] makes a chat of; [`object`] is what comes back. A [`compaction`] stands for items.

pub mod compaction;
pub mod dialogue;
pub mod items;
pub mod object;
pub mod tools;

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::chat::take_template_kwargs;
use super::fields::{Fields, kind, wrong_type};
use super::generation::GenerationFields;
use super::response_format::{self, ResponseFormat};
use super::thinking::{self, Thinking};
use super::tools::Tools;
use super::{metadata, policy};
use crate::errors::ApiError;
use crate::limits::{ID_BYTES_MAX, SMALL_TEXT_BYTES_MAX, TOP_LOGPROBS_MAX};
use items::Sent;

/// How long a response can be found again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Until it is deleted: `store` is true.
    Stored,
    /// For a while, in memory alone: nothing is said. Nothing reaches a disk unasked.
    Recent,
    /// Not at all: `store` is false.
    Nowhere,
}

/// What the request continues.
#[derive(Clone, Debug, PartialEq)]
pub enum Past {
    /// Nothing.
    None,
    /// `previous_response_id`
    Response(String),
    /// `conversation`
    Conversation(String),
}

/// A request that is right as far as can be known without what it refers to.
#[derive(Clone, Debug)]
pub struct ResponsesRequest {
    /// Which model; absent means the one that is served.
    pub model: Option<String>,
    /// New items.
    pub input: Vec<Sent>,
    /// What comes before them.
    pub past: Past,
    /// The system's words, for this response alone.
    pub instructions: Option<String>,
    /// What the model may call.
    pub tools: Tools,
    /// How much it should think.
    pub thinking: Thinking,
    /// Whether thoughts are given as their summary.
    pub summary: bool,
    /// Variables for the template.
    pub template_kwargs: Map<String, Value>,
    /// Most tokens to generate.
    pub max_tokens: Option<usize>,
    /// What the answer must look like.
    pub format: ResponseFormat,
    /// Whether the oldest items are left out where the context is too small.
    pub truncates: bool,
    /// How long it is kept.
    pub keep: Keep,
    /// Whether it runs without a client.
    pub background: bool,
    /// Sampling, stops and the stream.
    pub generation: GenerationFields,
    /// What the answer repeats of the request, with the values that hold.
    pub settings: Map<String, Value>,
}

impl ResponsesRequest {
    /// Reads a request's body; `vocab` is the number of tokens that the model knows.
    ///
    /// # Errors
    /// 400 naming the field that is wrong, unknown, or not supported.
    pub fn parse(body: &[u8], vocab: usize) -> Result<ResponsesRequest, ApiError> {
        ResponsesRequest::read(Fields::of_body(body)?, vocab)
    }

    /// Reads the body of a request to compact a dialogue: some of a response's fields.
    ///
    /// # Errors
    /// As [`ResponsesRequest::parse`].
    pub fn parse_compaction(body: &[u8], vocab: usize) -> Result<ResponsesRequest, ApiError> {
        let fields = Fields::of_body(body)?;
        policy::judge_compaction(&fields)?;
        ResponsesRequest::read(fields, vocab)
    }

    fn read(mut fields: Fields<'_>, vocab: usize) -> Result<ResponsesRequest, ApiError> {
        let mut settings = Settings::default();
        let model = fields.string("model", SMALL_TEXT_BYTES_MAX)?;
        let past = take_past(&mut fields, &mut settings)?;
        let input = match fields.raw("input") {
            Some(value) => items::read(value, "input")?,
            None if past == Past::None => return Err(ApiError::missing("input")),
            None => Vec::new(),
        };
        let instructions = fields.string("instructions", usize::MAX)?;
        settings.set("instructions", json!(instructions));
        let taken = tools::take(&mut fields)?;
        settings.set("tools", taken.shown);
        settings.set("tool_choice", taken.choice);
        settings.set("parallel_tool_calls", taken.parallel.into());
        // It counts calls of tools that a server has; here all are the client's.
        let calls = fields.integer("max_tool_calls", 1..=i64::MAX)?;
        settings.set("max_tool_calls", json!(calls));
        let max_tokens = fields.integer("max_output_tokens", 1..=i64::MAX)?;
        settings.set("max_output_tokens", json!(max_tokens));
        let max_tokens = max_tokens.map(|count| count as usize);
        let format = take_text(&mut fields, &mut settings)?;
        let (thinking, summary) = take_reasoning(&mut fields, &mut settings)?;
        let (keep, background) = take_keeping(&mut fields, &mut settings)?;
        let truncates = take_truncation(&mut fields, &mut settings)?;
        let template_kwargs = take_template_kwargs(&mut fields)?;
        take_labels(&mut fields, &mut settings)?;
        let logprobs = take_logprobs(&mut fields, &mut settings)?;
        let mut generation = take_generation(&mut fields, vocab, &mut settings)?;
        generation.check_min_tokens(max_tokens)?;
        generation.sampling.logprobs = logprobs;
        policy::judge_response(fields)?;
        Ok(ResponsesRequest {
            model,
            input,
            past,
            instructions,
            tools: taken.tools,
            thinking,
            summary,
            template_kwargs,
            max_tokens,
            format,
            truncates,
            keep,
            background,
            generation,
            settings: settings.0,
        })
    }
}

/// What the answer repeats.
#[derive(Default)]
struct Settings(Map<String, Value>);

impl Settings {
    fn set(&mut self, name: &str, value: Value) {
        self.0.insert(name.to_owned(), value);
    }
}

fn take_past(fields: &mut Fields<'_>, settings: &mut Settings) -> Result<Past, ApiError> {
    let previous = fields.string("previous_response_id", SMALL_TEXT_BYTES_MAX)?;
    let conversation = fields.raw("conversation").map(take_conversation).transpose()?;
    settings.set("previous_response_id", json!(previous));
    settings.set("conversation", json!(conversation.as_ref().map(|id| json!({ "id": id }))));
    match (previous, conversation) {
        (Some(_), Some(_)) => {
            let message = "'previous_response_id' and 'conversation' exclude each other.";
            Err(ApiError::invalid("previous_response_id", message))
        }
        (Some(id), None) => Ok(Past::Response(id)),
        (None, Some(id)) => Ok(Past::Conversation(id)),
        (None, None) => Ok(Past::None),
    }
}

/// Its id, or an object with that.
fn take_conversation(value: &RawValue) -> Result<String, ApiError> {
    const NAME: &str = "conversation";
    let expected = "a string or an object with an id";
    match kind(value) {
        "a string" => {
            serde_json::from_str(value.get()).map_err(|_| wrong_type(NAME, expected, value))
        }
        "an object" => {
            let mut fields = Fields::of_value(value, NAME.to_owned())?;
            let name = fields.name("id");
            let id = fields.string("id", ID_BYTES_MAX)?;
            fields.none_left()?;
            id.ok_or_else(|| ApiError::missing(&name))
        }
        _ => Err(wrong_type(NAME, expected, value)),
    }
}

/// `text`: `{"format": {"type": …}, "verbosity": "medium"}`
fn take_text(fields: &mut Fields<'_>, settings: &mut Settings) -> Result<ResponseFormat, ApiError> {
    const VERBOSITY: &str = "text.verbosity";
    let (mut format, mut shown) = (ResponseFormat::default(), json!({ "type": "text" }));
    if let Some(value) = fields.raw("text") {
        let mut text = Fields::of_value(value, "text".to_owned())?;
        if let Some(value) = text.raw("format") {
            (format, shown) = response_format::take_flat(value, "text.format")?;
        }
        let verbosity = text.string("verbosity", SMALL_TEXT_BYTES_MAX)?;
        if verbosity.is_some_and(|verbosity| verbosity != "medium") {
            let message =
                format!("'{VERBOSITY}' cannot be honoured. It is accepted as: \"medium\".");
            return Err(ApiError::unsupported(VERBOSITY, message));
        }
        text.none_left()?;
    }
    settings.set("text", json!({ "format": shown, "verbosity": "medium" }));
    Ok(format)
}

/// `reasoning`: an effort, and whether thoughts are to be summarised. A summary here is all of
/// them, as no model of today writes one beside its answer.
fn take_reasoning(
    fields: &mut Fields<'_>,
    settings: &mut Settings,
) -> Result<(Thinking, bool), ApiError> {
    let mut wish = Thinking { asked_as: "enable_thinking", ..Thinking::default() };
    wish.effort_asked_as = "reasoning.effort";
    wish.enabled = fields.boolean("enable_thinking")?;
    wish.budget = fields.integer("thinking_budget", 0..=i64::from(i32::MAX))?;
    let mut summary = None;
    if let Some(value) = fields.raw("reasoning") {
        let mut reasoning = Fields::of_value(value, "reasoning".to_owned())?;
        wish.effort = thinking::take_effort(&mut reasoning, "effort")?;
        for (name, right) in [
            ("generate_summary", &["auto", "detailed"][..]),
            ("summary", &["auto", "detailed"]),
            ("context", &["auto"]),
            ("mode", &["standard"]),
        ] {
            let place = reasoning.name(name);
            let value = reasoning.string(name, SMALL_TEXT_BYTES_MAX)?;
            if value.as_deref().is_some_and(|value| !right.contains(&value)) {
                let right = right.join(", ");
                let message = format!("'{place}' cannot be honoured. It is accepted as: {right}.");
                return Err(ApiError::unsupported(place, message));
            }
            if name.ends_with("summary") {
                summary = value.or(summary);
            }
        }
        reasoning.none_left()?;
    }
    settings.set("reasoning", json!({ "effort": wish.effort, "summary": summary }));
    Ok((wish, summary.is_some()))
}

fn take_keeping(
    fields: &mut Fields<'_>,
    settings: &mut Settings,
) -> Result<(Keep, bool), ApiError> {
    let keep = match fields.boolean("store")? {
        Some(true) => Keep::Stored,
        None => Keep::Recent,
        Some(false) => Keep::Nowhere,
    };
    let background = fields.boolean("background")?.unwrap_or(false);
    if background && keep == Keep::Nowhere {
        let message = "'background' needs a response that can be found again: 'store' is false.";
        return Err(ApiError::invalid("background", message));
    }
    settings.set("store", (keep != Keep::Nowhere).into());
    settings.set("background", background.into());
    Ok((keep, background))
}

fn take_truncation(fields: &mut Fields<'_>, settings: &mut Settings) -> Result<bool, ApiError> {
    const NAME: &str = "truncation";
    let truncation = fields.string(NAME, SMALL_TEXT_BYTES_MAX)?;
    let truncation = truncation.as_deref().unwrap_or("disabled");
    if !["auto", "disabled"].contains(&truncation) {
        let message = format!("Invalid value for '{NAME}'. Right would be 'auto' or 'disabled'.");
        return Err(ApiError::invalid(NAME, message));
    }
    settings.set(NAME, truncation.into());
    Ok(truncation == "auto")
}

/// What only informs whoever reads the answer.
fn take_labels(fields: &mut Fields<'_>, settings: &mut Settings) -> Result<(), ApiError> {
    settings.set("metadata", metadata::take(fields)?.into());
    for name in ["safety_identifier", "prompt_cache_key", "prompt_cache_retention"] {
        settings.set(name, json!(fields.string(name, SMALL_TEXT_BYTES_MAX)?));
    }
    // It alone may be absent, but not null.
    if let Some(user) = fields.string("user", SMALL_TEXT_BYTES_MAX)? {
        settings.set("user", user.into());
    }
    // There is one tier, whichever was asked for.
    settings.set("service_tier", "default".into());
    settings.set("prompt", Value::Null);
    Ok(())
}

/// `top_logprobs`, and `include`, which may ask for log-probabilities too.
fn take_logprobs(
    fields: &mut Fields<'_>,
    settings: &mut Settings,
) -> Result<Option<usize>, ApiError> {
    const INCLUDES: [&str; 8] = [
        "message.output_text.logprobs",
        // Thoughts stand in the clear: nothing needs to be decrypted to go on with them.
        "reasoning.encrypted_content",
        // Of tools that are not here, so that there is nothing to include.
        "file_search_call.results",
        "web_search_call.results",
        "web_search_call.action.sources",
        "message.input_image.image_url",
        "computer_call_output.output.image_url",
        "code_interpreter_call.outputs",
    ];
    let top = fields.integer("top_logprobs", 0..=i64::from(TOP_LOGPROBS_MAX))?.unwrap_or(0);
    settings.set("top_logprobs", top.into());
    let includes: Vec<String> = fields.take("include", "an array of strings")?.unwrap_or_default();
    if let Some(odd) = includes.iter().find(|name| !INCLUDES.contains(&name.as_str())) {
        let shown: String = odd.chars().take(64).collect();
        let right = INCLUDES.join(", ");
        let message =
            format!("Invalid value for 'include': '{shown}'. Right would be one of: {right}.");
        return Err(ApiError::invalid("include", message));
    }
    let wanted = top > 0 || includes.iter().any(|name| name == INCLUDES[0]);
    Ok(wanted.then_some(top as usize))
}

fn take_generation(
    fields: &mut Fields<'_>,
    vocab: usize,
    settings: &mut Settings,
) -> Result<GenerationFields, ApiError> {
    let generation = GenerationFields::take(fields, vocab)?;
    for (name, asked) in
        [("n", generation.n != 1), ("return_token_ids", generation.return_token_ids)]
    {
        if asked {
            let message = format!("'{name}' is not there: a response is one answer, in text.");
            return Err(ApiError::unsupported(name, message));
        }
    }
    let sampling = &generation.sampling;
    settings.set("temperature", short(sampling.temperature));
    settings.set("top_p", short(sampling.top_p));
    settings.set("frequency_penalty", short(sampling.frequency_penalty));
    settings.set("presence_penalty", short(sampling.presence_penalty));
    Ok(generation)
}

/// The number with as few digits as it came with.
fn short(number: f32) -> Value {
    number.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}
