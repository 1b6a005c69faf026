//! Turns `response_format` into the grammar that the answer is held to.

use myriad_token::{Grammar, GrammarCompiler, GrammarError};
use serde_json::Value;
use serde_json::value::RawValue;

use super::fields::{Fields, wrong_type};
use crate::errors::ApiError;
use crate::limits::SMALL_TEXT_BYTES_MAX;

/// What an answer must look like.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ResponseFormat {
    /// Anything.
    #[default]
    Text,
    /// A JSON object.
    JsonObject,
    /// JSON that this schema allows. One that is not `strict` is held to no less: OpenAI's servers
    /// try there, this one can.
    JsonSchema(Value),
}

const NAME: &str = "response_format";

impl ResponseFormat {
    /// Takes `response_format`.
    ///
    /// # Errors
    /// 400 naming the field that is wrong.
    pub fn take(fields: &mut Fields<'_>) -> Result<ResponseFormat, ApiError> {
        let Some(value) = fields.raw(NAME) else { return Ok(ResponseFormat::Text) };
        let mut fields = Fields::of_value(value, NAME.to_owned())?;
        let name = fields.name("type");
        let kind = fields.string("type", SMALL_TEXT_BYTES_MAX)?;
        let format = match kind.as_deref() {
            Some("text") => ResponseFormat::Text,
            Some("json_object") => ResponseFormat::JsonObject,
            Some("json_schema") => take_schema(&mut fields)?,
            Some(other) => return Err(unknown(name, other)),
            None => return Err(ApiError::missing(&name)),
        };
        fields.none_left()?;
        Ok(format)
    }

    /// The grammar of the format; none for text. Blocks while it is compiled.
    ///
    /// # Errors
    /// 400 naming the keyword that is wrong or cannot be enforced, and its place; 429 where too
    /// many others are being compiled.
    pub fn grammar(
        &self,
        compiler: &GrammarCompiler,
        places: Places,
    ) -> Result<Option<Grammar>, ApiError> {
        let grammar = match self {
            ResponseFormat::Text => return Ok(None),
            ResponseFormat::JsonObject => compiler.json_object(),
            ResponseFormat::JsonSchema(schema) => compiler.json_schema(schema),
        };
        grammar.map(Some).map_err(|error| places.refused(error))
    }
}

/// Where a format and its schema stand in a request, as errors name them.
#[derive(Clone, Copy, Debug)]
pub struct Places {
    format: &'static str,
    schema: &'static str,
}

impl Places {
    /// In a chat.
    pub const CHAT: Places = Places { format: NAME, schema: "response_format.json_schema.schema" };

    /// In a response.
    pub const RESPONSE: Places = Places { format: "text.format", schema: "text.format.schema" };

    fn refused(self, error: GrammarError) -> ApiError {
        let format = self.format;
        match error {
            GrammarError::Busy => ApiError::busy("compilers_busy", format!("{error}.")),
            GrammarError::Unsupported(_) => ApiError::unsupported(format, format!("{error}.")),
            error => {
                ApiError::invalid(self.schema, format!("Invalid schema for '{format}': {error}."))
            }
        }
    }
}

/// A format whose schema stands beside its type, as responses have it, and how it is shown again.
///
/// # Errors
/// As [`ResponseFormat::take`].
pub fn take_flat(value: &RawValue, place: &str) -> Result<(ResponseFormat, Value), ApiError> {
    let mut fields = Fields::of_value(value, place.to_owned())?;
    let name = fields.name("type");
    let kind = fields.string("type", SMALL_TEXT_BYTES_MAX)?;
    let format = match kind.as_deref() {
        Some("text") => ResponseFormat::Text,
        Some("json_object") => ResponseFormat::JsonObject,
        Some("json_schema") => {
            let schema = fields.name("schema");
            fields.peek("schema").ok_or_else(|| ApiError::missing(&schema))?;
            take_schema_fields(&mut fields)?
        }
        Some(other) => return Err(unknown(name, other)),
        None => return Err(ApiError::missing(&name)),
    };
    fields.none_left()?;
    let mut shown: Value = serde_json::from_str(value.get()).unwrap_or_default();
    if let ResponseFormat::JsonSchema(_) = format {
        // It is held to, whatever was said.
        shown["strict"] = true.into();
        if shown.get("description").is_none() {
            shown["description"] = Value::Null;
        }
    }
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

/// `{"name", "description", "schema", "strict"}`; without a schema, any object.
fn take_schema(fields: &mut Fields<'_>) -> Result<ResponseFormat, ApiError> {
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
    let schema = match fields.raw("schema") {
        None => None,
        Some(value) => {
            let schema = serde_json::from_str::<Value>(value.get()).ok();
            let schema = schema.filter(Value::is_object);
            Some(schema.ok_or_else(|| wrong_type(&place, "an object", value))?)
        }
    };
    Ok(schema.map_or(ResponseFormat::JsonObject, ResponseFormat::JsonSchema))
}
