//! Turns the items of responses and conversations (messages, calls, results, reasoning) into types.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::errors::ApiError;
use crate::limits::{ID_BYTES_MAX, MESSAGES_MAX, SMALL_TEXT_BYTES_MAX};
use crate::random;
use crate::wire::fields::{Fields, elements, kind, wrong_type};
use crate::wire::tools::take_tool_name;

use super::compaction::Summary;

/// How far an item has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// It grows.
    InProgress,
    /// It is whole.
    Completed,
    /// It broke off.
    Incomplete,
}

/// One step of a dialogue, as it is sent, kept and shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Item {
    /// What somebody said.
    Message {
        /// `msg_…`
        id: String,
        /// How far it has come.
        status: Progress,
        /// `user`, `system`, `developer` or `assistant`.
        role: String,
        /// What was said, in parts.
        content: Vec<Part>,
    },
    /// The model calls a function.
    FunctionCall {
        /// `fc_…`
        id: String,
        /// `call_…`, which the result names.
        call_id: String,
        /// Which function.
        name: String,
        /// A JSON object as text.
        arguments: String,
        /// How far it has come.
        status: Progress,
    },
    /// What a function gave back.
    FunctionCallOutput {
        /// `fco_…`
        id: String,
        /// Of which call.
        call_id: String,
        /// A text, or parts of one.
        output: Value,
        /// How far it has come.
        status: Progress,
    },
    /// What the model thought.
    Reasoning {
        /// `rs_…`
        id: String,
        /// The thoughts, where a summary of them was asked for.
        summary: Vec<Part>,
        /// The thoughts.
        content: Vec<Part>,
        /// Always null: thoughts stand in the clear.
        encrypted_content: Option<String>,
        /// How far it has come.
        status: Progress,
    },
    /// What stands for the dialogue before it.
    Compaction {
        /// `cmp_…`
        id: String,
        /// A [`Summary`](super::compaction::Summary) as clients carry it.
        encrypted_content: Summary,
    },
}

/// A part of an item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Part {
    /// Said to the model.
    InputText {
        /// What.
        text: String,
    },
    /// Said by the model.
    OutputText {
        /// What.
        text: String,
        /// Always empty.
        annotations: Vec<Value>,
        /// Where asked for.
        logprobs: Vec<Value>,
    },
    /// The model declined. Myriad's answers have none; others' may.
    Refusal {
        /// In these words.
        refusal: String,
    },
    /// Thought by the model.
    ReasoningText {
        /// What.
        text: String,
    },
    /// Thought by the model, where a summary was asked for.
    SummaryText {
        /// What.
        text: String,
    },
}

impl Part {
    /// Text of the model's.
    pub fn output(text: impl Into<String>) -> Part {
        Part::OutputText { text: text.into(), annotations: Vec::new(), logprobs: Vec::new() }
    }

    /// The words of any part.
    pub fn text(&self) -> &str {
        match self {
            Part::InputText { text }
            | Part::OutputText { text, .. }
            | Part::ReasoningText { text }
            | Part::SummaryText { text }
            | Part::Refusal { refusal: text } => text,
        }
    }
}

impl Item {
    /// Its own name.
    pub fn id(&self) -> &str {
        match self {
            Item::Message { id, .. }
            | Item::FunctionCall { id, .. }
            | Item::FunctionCallOutput { id, .. }
            | Item::Reasoning { id, .. }
            | Item::Compaction { id, .. } => id,
        }
    }

    /// The item under a fresh name.
    pub fn renamed(mut self) -> Item {
        let fresh = random::identifier(match &self {
            Item::Message { .. } => "msg_",
            Item::FunctionCall { .. } => "fc_",
            Item::FunctionCallOutput { .. } => "fco_",
            Item::Reasoning { .. } => "rs_",
            Item::Compaction { .. } => "cmp_",
        });
        match &mut self {
            Item::Message { id, .. }
            | Item::FunctionCall { id, .. }
            | Item::FunctionCallOutput { id, .. }
            | Item::Reasoning { id, .. }
            | Item::Compaction { id, .. } => *id = fresh,
        }
        self
    }

    /// What a user said.
    pub fn of_user(text: String) -> Item {
        Item::Message {
            id: random::identifier("msg_"),
            status: Progress::Completed,
            role: "user".to_owned(),
            content: vec![Part::InputText { text }],
        }
    }
}

/// An item of a request, or the name of one that is kept.
#[derive(Clone, Debug, PartialEq)]
pub enum Sent {
    /// The item itself.
    Item(Item),
    /// `item_reference`: an earlier answer's item. `place` names it in errors.
    Reference {
        /// Its id.
        id: String,
        /// Where it stands in the request.
        place: String,
    },
}

/// Reads the items of a request; a string is what a user said.
///
/// # Errors
/// 400 naming the item's field that is wrong, or that it is of a kind that is not here.
pub fn read(value: &RawValue, place: &str) -> Result<Vec<Sent>, ApiError> {
    match kind(value) {
        "a string" => {
            let text = serde_json::from_str(value.get())
                .map_err(|_| wrong_type(place, "a string of valid Unicode", value))?;
            Ok(vec![Sent::Item(Item::of_user(text))])
        }
        "an array" => {
            let items = elements(value, place, MESSAGES_MAX)?.into_iter().enumerate();
            items.map(|(at, value)| read_item(value, format!("{place}[{at}]"))).collect()
        }
        _ => Err(wrong_type(place, "a string or an array of items", value)),
    }
}

fn read_item(value: &RawValue, place: String) -> Result<Sent, ApiError> {
    let mut fields = Fields::of_value(value, place.clone())?;
    let name = fields.name("type");
    let kind = fields.string("type", SMALL_TEXT_BYTES_MAX)?;
    let id = fields.string("id", ID_BYTES_MAX)?.filter(|id| !id.is_empty());
    let item = match kind.as_deref() {
        Some("message") => read_message(&mut fields, id)?,
        None if fields.peek("role").is_some() => read_message(&mut fields, id)?,
        Some("function_call") => read_call(&mut fields, id)?,
        Some("function_call_output") => read_result(&mut fields, id)?,
        Some("reasoning") => read_reasoning(&mut fields, id)?,
        Some("compaction") => read_compaction(&mut fields, id)?,
        Some("item_reference") => {
            let id = id.ok_or_else(|| ApiError::missing(&fields.name("id")))?;
            fields.none_left()?;
            return Ok(Sent::Reference { id, place });
        }
        Some(other) => {
            let shown: String = other.chars().take(32).collect();
            let message = format!(
                "'{name}' is '{shown}'. Here an item can be: message, function_call, \
                 function_call_output, reasoning, compaction, item_reference."
            );
            return Err(ApiError::unsupported(name, message));
        }
        None => return Err(ApiError::missing(&name)),
    };
    fields.none_left()?;
    Ok(Sent::Item(item))
}

fn named(id: Option<String>, prefix: &str) -> String {
    id.unwrap_or_else(|| random::identifier(prefix))
}

fn take_status(fields: &mut Fields<'_>) -> Result<Progress, ApiError> {
    let right = "'in_progress', 'completed' or 'incomplete'";
    Ok(fields.take("status", right)?.unwrap_or(Progress::Completed))
}

fn read_message(fields: &mut Fields<'_>, id: Option<String>) -> Result<Item, ApiError> {
    const ROLES: [&str; 4] = ["user", "assistant", "system", "developer"];
    let name = fields.name("role");
    let role = fields.string("role", SMALL_TEXT_BYTES_MAX)?;
    let role = role.ok_or_else(|| ApiError::missing(&name))?;
    if !ROLES.contains(&role.as_str()) {
        let shown: String = role.chars().take(32).collect();
        let right = ROLES.join(", ");
        let message =
            format!("Invalid value for '{name}': '{shown}'. Right would be one of: {right}.");
        return Err(ApiError::invalid(name, message));
    }
    let place = fields.name("content");
    let content = fields.raw("content").ok_or_else(|| ApiError::missing(&place))?;
    let answers = role == "assistant";
    let content = match kind(content) {
        "a string" => {
            let text: String = serde_json::from_str(content.get())
                .map_err(|_| wrong_type(&place, "a string of valid Unicode", content))?;
            vec![if answers { Part::output(text) } else { Part::InputText { text } }]
        }
        _ => read_parts(content, &place)?,
    };
    // Whether it was a comment on the way or the answer; templates know no such thing.
    fields.string("phase", SMALL_TEXT_BYTES_MAX)?;
    Ok(Item::Message { id: named(id, "msg_"), status: take_status(fields)?, role, content })
}

fn read_parts(value: &RawValue, place: &str) -> Result<Vec<Part>, ApiError> {
    let parts = elements(value, place, MESSAGES_MAX)?.into_iter().enumerate();
    parts.map(|(at, value)| read_part(value, format!("{place}[{at}]"))).collect()
}

fn read_part(value: &RawValue, place: String) -> Result<Part, ApiError> {
    let mut fields = Fields::of_value(value, place)?;
    let name = fields.name("type");
    let kind = fields.string("type", SMALL_TEXT_BYTES_MAX)?;
    let kind = kind.ok_or_else(|| ApiError::missing(&name))?;
    let field = if kind == "refusal" { "refusal" } else { "text" };
    let place = fields.name(field);
    let mut words = || -> Result<String, ApiError> {
        fields.string(field, usize::MAX)?.ok_or_else(|| ApiError::missing(&place))
    };
    let part = match kind.as_str() {
        "input_text" => Part::InputText { text: words()? },
        "output_text" => Part::output(words()?),
        "refusal" => Part::Refusal { refusal: words()? },
        "reasoning_text" => Part::ReasoningText { text: words()? },
        "summary_text" => Part::SummaryText { text: words()? },
        other => {
            let shown: String = other.chars().take(32).collect();
            let message = format!("'{name}' is '{shown}', but this model takes text only.");
            return Err(ApiError::unsupported(name, message));
        }
    };
    // What answers carry, and hints where a cache might begin: nothing of it reaches the model.
    for name in ["annotations", "logprobs", "prompt_cache_breakpoint"] {
        fields.raw(name);
    }
    fields.none_left()?;
    Ok(part)
}

fn read_call(fields: &mut Fields<'_>, id: Option<String>) -> Result<Item, ApiError> {
    let call_id = take_call_id(fields)?;
    let name = take_tool_name(fields)?;
    let place = fields.name("arguments");
    let arguments = fields.string("arguments", usize::MAX)?;
    let arguments = arguments.ok_or_else(|| ApiError::missing(&place))?;
    let arguments = if arguments.trim().is_empty() { "{}".to_owned() } else { arguments };
    let status = take_status(fields)?;
    let object = serde_json::from_str::<Value>(&arguments).is_ok_and(|value| value.is_object());
    if !object && status != Progress::Incomplete {
        let message = format!("'{place}' is not a JSON object. Right would be one, as text.");
        return Err(ApiError::invalid(place, message));
    }
    Ok(Item::FunctionCall { id: named(id, "fc_"), call_id, name, arguments, status })
}

fn read_result(fields: &mut Fields<'_>, id: Option<String>) -> Result<Item, ApiError> {
    let call_id = take_call_id(fields)?;
    let place = fields.name("output");
    let output = fields.raw("output").ok_or_else(|| ApiError::missing(&place))?;
    let output = match kind(output) {
        "a string" => serde_json::from_str(output.get())
            .map_err(|_| wrong_type(&place, "a string of valid Unicode", output))?,
        _ => serde_json::json!(read_parts(output, &place)?),
    };
    let status = take_status(fields)?;
    Ok(Item::FunctionCallOutput { id: named(id, "fco_"), call_id, output, status })
}

fn take_call_id(fields: &mut Fields<'_>) -> Result<String, ApiError> {
    let name = fields.name("call_id");
    fields.string("call_id", SMALL_TEXT_BYTES_MAX)?.ok_or_else(|| ApiError::missing(&name))
}

fn read_reasoning(fields: &mut Fields<'_>, id: Option<String>) -> Result<Item, ApiError> {
    let mut parts = |name: &str| -> Result<Vec<Part>, ApiError> {
        let place = fields.name(name);
        let value = fields.raw(name);
        value.map_or(Ok(Vec::new()), |value| read_parts(value, &place))
    };
    let (summary, content) = (parts("summary")?, parts("content")?);
    // Only who wrote it can read it.
    fields.raw("encrypted_content");
    let status = take_status(fields)?;
    let encrypted_content = None;
    Ok(Item::Reasoning { id: named(id, "rs_"), summary, content, encrypted_content, status })
}

fn read_compaction(fields: &mut Fields<'_>, id: Option<String>) -> Result<Item, ApiError> {
    const NAME: &str = "encrypted_content";
    let place = fields.name(NAME);
    let text = fields.string(NAME, usize::MAX)?.ok_or_else(|| ApiError::missing(&place))?;
    let encrypted_content = Summary::read(&text).ok_or_else(|| {
        let message = format!(
            "'{place}' is not what /v1/responses/compact of this server gives. Right would be an \
             item of its output as it came."
        );
        ApiError::invalid(place, message)
    })?;
    // Who made it is no matter of the model's.
    fields.raw("created_by");
    Ok(Item::Compaction { id: named(id, "cmp_"), encrypted_content })
}
