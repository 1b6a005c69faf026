//! Turns `response_format`, and what other servers have beside it, into what an answer's text is
//! held to.

use myriad_token::{GrammarError, TextGrammar};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::fields::{Fields, kind, wrong_type};
use crate::errors::ApiError;
use crate::limits::{CHOICE_TEXTS_MAX, SMALL_TEXT_BYTES_MAX};

/// What an answer's text must look like.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResponseFormat {
    /// None: it may be anything.
    pub text: Option<TextGrammar>,
    /// The field that said so, which errors name.
    place: String,
}

const NAME: &str = "response_format";
const STRUCTURED: &str = "structured_outputs";

/// Fields that vLLM has had for each kind, now within `structured_outputs`.
const GUIDED: [(&str, Take); 4] = [
    ("guided_json", take_json),
    ("guided_regex", take_regex),
    ("guided_choice", take_choice),
    ("guided_grammar", take_grammar),
];

/// What `structured_outputs` may have, one of them.
const KINDS: [(&str, Take); 5] = [
    ("json", take_json),
    ("json_object", take_object),
    ("regex", take_regex),
    ("choice", take_choice),
    ("grammar", take_grammar),
];

/// Reads one kind; none where it asks for nothing.
type Take = fn(&RawValue, &str) -> Result<Option<TextGrammar>, ApiError>;

impl ResponseFormat {
    /// Takes `response_format`, and vLLM's `structured_outputs` and `guided_…`.
    ///
    /// # Errors
    /// 400 naming the field that is wrong, or the second one that says how the answer must look.
    pub fn take(fields: &mut Fields<'_>) -> Result<ResponseFormat, ApiError> {
        let mut format = take_own(fields)?;
        if let Some(value) = fields.raw(STRUCTURED) {
            let mut inner = Fields::of_value(value, STRUCTURED.to_owned())?;
            format.take_kinds(&mut inner, &KINDS)?;
            // How others find their way to the same; here there is one.
            for name in ["disable_fallback", "disable_any_whitespace"] {
                if inner.boolean(name)?.unwrap_or(false) && name == "disable_any_whitespace" {
                    let place = inner.name(name);
                    let message = format!("'{place}' cannot be true: models choose their spaces.");
                    return Err(ApiError::unsupported(place, message));
                }
            }
            inner.none_left()?;
        }
        format.take_kinds(fields, &GUIDED)?;
        Ok(format)
    }

    /// A schema on its own, which `place` names.
    ///
    /// # Errors
    /// 400 where it is no object.
    pub fn schema(value: &RawValue, place: String) -> Result<ResponseFormat, ApiError> {
        let schema = serde_json::from_str::<Value>(value.get()).ok().filter(Value::is_object);
        let schema = schema.ok_or_else(|| wrong_type(&place, "an object", value))?;
        Ok(ResponseFormat { text: Some(TextGrammar::Json(schema)), place })
    }

    /// Any object, because `place` says so.
    pub fn object(place: String) -> ResponseFormat {
        let schema = json!({ "type": "object" });
        ResponseFormat { text: Some(TextGrammar::Json(schema)), place }
    }

    /// The error of what cannot be compiled: 400 naming the keyword that is wrong or cannot be
    /// enforced, and its place; 429 where too many others are being compiled.
    pub fn refused(&self, error: &GrammarError) -> ApiError {
        match error {
            GrammarError::Busy => ApiError::busy("compilers_busy", format!("{error}.")),
            GrammarError::Unsupported(_) => {
                ApiError::unsupported(self.place.clone(), format!("{error}."))
            }
            GrammarError::Syntax { .. } => {
                let message = format!("Invalid value for '{}': {error}.", self.place);
                ApiError::invalid(self.place.clone(), message)
            }
            error => {
                let name = self.place.strip_suffix(".schema").unwrap_or(&self.place);
                let name = name.strip_suffix(".json_schema").unwrap_or(name);
                let message = format!("Invalid schema for '{name}': {error}.");
                ApiError::invalid(self.place.clone(), message)
            }
        }
    }

    fn take_kinds(
        &mut self,
        fields: &mut Fields<'_>,
        kinds: &[(&'static str, Take)],
    ) -> Result<(), ApiError> {
        for (name, take) in kinds {
            let Some(value) = fields.raw(name) else { continue };
            let place = fields.name(name);
            let Some(text) = take(value, &place)? else { continue };
            if self.text.is_some() {
                let message =
                    format!("'{place}' and '{}' exclude each other: one is enough.", self.place);
                return Err(ApiError::invalid(place, message));
            }
            *self = ResponseFormat { text: Some(text), place };
        }
        Ok(())
    }
}

/// `{"type": "text" | "json_object" | "json_schema"}`
fn take_own(fields: &mut Fields<'_>) -> Result<ResponseFormat, ApiError> {
    let Some(value) = fields.raw(NAME) else { return Ok(ResponseFormat::default()) };
    let mut fields = Fields::of_value(value, NAME.to_owned())?;
    let name = fields.name("type");
    let kind = fields.string("type", SMALL_TEXT_BYTES_MAX)?;
    let format = match kind.as_deref() {
        Some("text") => ResponseFormat::default(),
        Some("json_object") => ResponseFormat::object(NAME.to_owned()),
        Some("json_schema") => take_named_schema(&mut fields)?,
        Some(other) => return Err(unknown(name, other)),
        None => return Err(ApiError::missing(&name)),
    };
    fields.none_left()?;
    Ok(format)
}

/// A format whose schema stands beside its type, as responses have it, and how it is shown again.
///
/// # Errors
/// As [`ResponseFormat::take`].
pub fn take_flat(value: &RawValue, place: &str) -> Result<(ResponseFormat, Value), ApiError> {
    let mut fields = Fields::of_value(value, place.to_owned())?;
    let name = fields.name("type");
    let kind = fields.string("type", SMALL_TEXT_BYTES_MAX)?;
    let mut shown: Value = serde_json::from_str(value.get()).unwrap_or_default();
    let format = match kind.as_deref() {
        Some("text") => ResponseFormat::default(),
        Some("json_object") => ResponseFormat::object(place.to_owned()),
        Some("json_schema") => {
            let schema = fields.name("schema");
            fields.peek("schema").ok_or_else(|| ApiError::missing(&schema))?;
            // It is held to, whatever was said.
            shown["strict"] = true.into();
            if shown.get("description").is_none() {
                shown["description"] = Value::Null;
            }
            take_schema_fields(&mut fields)?
        }
        Some(other) => return Err(unknown(name, other)),
        None => return Err(ApiError::missing(&name)),
    };
    fields.none_left()?;
    Ok((format, shown))
}

fn unknown(name: String, found: &str) -> ApiError {
    let shown: String = found.chars().take(32).collect();
    let message = format!(
        "Invalid value for '{name}': '{shown}'. Right would be one of: text, json_object, \
         json_schema."
    );
    ApiError::invalid(name, message)
}

/// `{"name", "description", "schema", "strict"}`; without a schema, any object. One that is not
/// `strict` is held to no less: OpenAI's servers try there, this one can.
fn take_named_schema(fields: &mut Fields<'_>) -> Result<ResponseFormat, ApiError> {
    let place = fields.name("json_schema");
    let Some(value) = fields.raw("json_schema") else { return Err(ApiError::missing(&place)) };
    let mut fields = Fields::of_value(value, place)?;
    let format = take_schema_fields(&mut fields)?;
    fields.none_left()?;
    Ok(format)
}

fn take_schema_fields(fields: &mut Fields<'_>) -> Result<ResponseFormat, ApiError> {
    if fields.string("name", SMALL_TEXT_BYTES_MAX)?.is_none() {
        return Err(ApiError::missing(&fields.name("name")));
    }
    fields.string("description", usize::MAX)?;
    fields.boolean("strict")?;
    let place = fields.name("schema");
    let format = match fields.raw("schema") {
        None => ResponseFormat::object(place),
        Some(value) => ResponseFormat::schema(value, place)?,
    };
    Ok(format)
}

/// A schema, or one as text.
fn take_json(value: &RawValue, place: &str) -> Result<Option<TextGrammar>, ApiError> {
    let expected = "a schema or its text";
    if kind(value) != "a string" {
        return Ok(ResponseFormat::schema(value, place.to_owned())?.text);
    }
    let schema = take_text(value, place)?;
    let schema: Option<Value> = serde_json::from_str(&schema).ok();
    let schema = schema.filter(Value::is_object);
    Ok(Some(TextGrammar::Json(schema.ok_or_else(|| wrong_type(place, expected, value))?)))
}

fn take_object(value: &RawValue, place: &str) -> Result<Option<TextGrammar>, ApiError> {
    match value.get() {
        "true" => Ok(ResponseFormat::object(place.to_owned()).text),
        "false" => Ok(None),
        _ => Err(wrong_type(place, "a boolean", value)),
    }
}

fn take_regex(value: &RawValue, place: &str) -> Result<Option<TextGrammar>, ApiError> {
    Ok(Some(TextGrammar::Regex(take_text(value, place)?)))
}

fn take_grammar(value: &RawValue, place: &str) -> Result<Option<TextGrammar>, ApiError> {
    Ok(Some(TextGrammar::Lark(take_text(value, place)?)))
}

fn take_choice(value: &RawValue, place: &str) -> Result<Option<TextGrammar>, ApiError> {
    let choices: Vec<String> = serde_json::from_str(value.get())
        .map_err(|_| wrong_type(place, "an array of strings", value))?;
    if choices.is_empty() || choices.len() > CHOICE_TEXTS_MAX {
        let message = format!(
            "'{place}' has {} texts. Right would be 1 to {CHOICE_TEXTS_MAX}.",
            choices.len()
        );
        return Err(ApiError::invalid(place, message));
    }
    Ok(Some(TextGrammar::Choice(choices)))
}

fn take_text(value: &RawValue, place: &str) -> Result<String, ApiError> {
    serde_json::from_str(value.get()).map_err(|_| wrong_type(place, "a string", value))
}
