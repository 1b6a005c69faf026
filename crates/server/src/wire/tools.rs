//! Turns `tools`, `tool_choice` and their older forms into the tools that a model is offered.

use std::collections::HashSet;

use myriad_token::AnswerTool;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::fields::{Fields, kind, wrong_type};
use crate::errors::ApiError;
use crate::limits::{
    SMALL_TEXT_BYTES_MAX, TOOL_DESCRIPTION_BYTES_MAX, TOOL_NAME_BYTES_MAX, TOOL_SCHEMA_DEPTH_MAX,
    TOOLS_BYTES_MAX, TOOLS_MAX,
};

/// What a model is offered, and how its calls are to come out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tools {
    /// The tools, in order; none where the choice is `none`.
    pub offered: Vec<Tool>,
    /// Whether an answer has one call at most.
    pub one_call: bool,
    /// Whether the answer has to be calls of them.
    pub forced: bool,
    /// Whether they came as `functions`: answers have `function_call` then.
    pub legacy: bool,
}

/// A function that the model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// The JSON Schema of its arguments: an object.
    pub parameters: Option<Value>,
    /// Whether its arguments must keep to that.
    pub strict: bool,
}

impl Tool {
    /// The tool as templates know it, in OpenAI's shape.
    pub fn definition(&self) -> Value {
        let mut function = Map::new();
        function.insert("name".to_owned(), self.name.clone().into());
        if let Some(description) = &self.description {
            function.insert("description".to_owned(), description.clone().into());
        }
        if let Some(parameters) = &self.parameters {
            function.insert("parameters".to_owned(), parameters.clone());
        }
        json!({ "type": "function", "function": function })
    }

    /// The tool as a parser of answers knows it.
    pub fn for_parser(&self) -> AnswerTool {
        AnswerTool { name: self.name.clone(), parameters: self.parameters.clone() }
    }
}

impl Tools {
    /// Takes what is said of tools out of a chat request.
    ///
    /// # Errors
    /// 400 naming the field that is wrong, or that asks for forced output.
    pub fn take(fields: &mut Fields<'_>) -> Result<Tools, ApiError> {
        let offered = take_tools(fields)?;
        let functions = take_functions(fields)?;
        let legacy = !functions.is_empty();
        if legacy && !offered.is_empty() {
            let message = "'functions' and 'tools' exclude each other. Right would be 'tools'.";
            return Err(ApiError::invalid("functions", message));
        }
        let parallel = fields.boolean("parallel_tool_calls")?.unwrap_or(true);
        let mut tools = Tools {
            offered: [offered, functions].concat(),
            one_call: legacy || !parallel,
            forced: false,
            legacy,
        };
        if let Some(choice) = fields.raw("tool_choice") {
            tools.choose(choice, "tool_choice")?;
        }
        if let Some(choice) = fields.raw("function_call") {
            tools.choose(choice, "function_call")?;
        }
        Ok(tools)
    }

    /// Whether arguments must keep to their schemas: where a call must come, and where one of the
    /// tools is strict.
    pub fn are_held(&self) -> bool {
        self.forced || self.offered.iter().any(|tool| tool.strict)
    }

    /// Makes calls of all tools, or of a named one, the only answer.
    ///
    /// # Errors
    /// 400 where there is no such tool.
    pub fn force(&mut self, place: &str, name: Option<&str>) -> Result<(), ApiError> {
        if let Some(name) = name {
            self.offered.retain(|tool| tool.name == name);
        }
        if self.offered.is_empty() {
            let message = match name {
                Some(_) => format!("'{place}' is not the name of one of the 'tools'."),
                None => format!("'{place}' asks for a call, but there are no 'tools'."),
            };
            return Err(ApiError::invalid(place, message));
        }
        self.forced = true;
        Ok(())
    }

    /// Applies a choice among the tools.
    fn choose(&mut self, choice: &RawValue, place: &str) -> Result<(), ApiError> {
        let expected = "'none', 'auto' or an object";
        match kind(choice) {
            "a string" => {
                let word: String = serde_json::from_str(choice.get())
                    .map_err(|_| wrong_type(place, expected, choice))?;
                self.choose_mode(&word, place)
            }
            "an object" => self.choose_object(choice, place),
            _ => Err(wrong_type(place, expected, choice)),
        }
    }

    /// Applies `none`, `auto` or `required`.
    ///
    /// # Errors
    /// 400 naming `place` where it is another word, or asks for a call of nothing.
    pub fn choose_mode(&mut self, mode: &str, place: &str) -> Result<(), ApiError> {
        match mode {
            "auto" => Ok(()),
            "none" => {
                self.offered.clear();
                Ok(())
            }
            "required" => self.force(place, None),
            other => {
                let shown: String = other.chars().take(32).collect();
                let message = format!(
                    "Invalid value for '{place}': '{shown}'. Right would be 'none', 'auto' or \
                     'required'."
                );
                Err(ApiError::invalid(place, message))
            }
        }
    }

    fn choose_object(&mut self, choice: &RawValue, place: &str) -> Result<(), ApiError> {
        let mut fields = Fields::of_value(choice, place.to_owned())?;
        let kind_name = fields.name("type");
        match fields.string("type", SMALL_TEXT_BYTES_MAX)?.as_deref() {
            Some("allowed_tools") => self.choose_allowed(&mut fields),
            Some("custom") => Err(no_custom(kind_name)),
            Some("function") => {
                let place = fields.name("function");
                let function = fields.raw("function").ok_or_else(|| ApiError::missing(&place))?;
                let mut function = Fields::of_value(function, place)?;
                self.force_named(&mut function)
            }
            // `{"name": …}` is how `function_call` has it.
            None => self.force_named(&mut fields),
            Some(other) => Err(unknown_kind(kind_name, other, "'function' or 'allowed_tools'")),
        }
    }

    /// `{"name": …}`
    fn force_named(&mut self, fields: &mut Fields<'_>) -> Result<(), ApiError> {
        let place = fields.name("name");
        let name = fields.string("name", SMALL_TEXT_BYTES_MAX)?;
        let name = name.ok_or_else(|| ApiError::missing(&place))?;
        self.force(&place, Some(&name))
    }

    /// `{"mode": "auto", "tools": [{"type": "function", "function": {"name": …}}]}`
    fn choose_allowed(&mut self, fields: &mut Fields<'_>) -> Result<(), ApiError> {
        let place = fields.name("allowed_tools");
        let allowed = fields.raw("allowed_tools").ok_or_else(|| ApiError::missing(&place))?;
        let mut allowed = Fields::of_value(allowed, place)?;
        let mode_name = allowed.name("mode");
        let mode = allowed.string("mode", SMALL_TEXT_BYTES_MAX)?;
        let mode = mode.ok_or_else(|| ApiError::missing(&mode_name))?;
        let list_name = allowed.name("tools");
        let list = allowed.list("tools", TOOLS_MAX)?;
        let list = list.ok_or_else(|| ApiError::missing(&list_name))?;
        let mut names = HashSet::new();
        for (at, value) in list.into_iter().enumerate() {
            let mut tool = Fields::of_value(value, format!("{list_name}[{at}]"))?;
            take_kind(&mut tool)?;
            let place = tool.name("function");
            let function = tool.raw("function").ok_or_else(|| ApiError::missing(&place))?;
            let mut function = Fields::of_value(function, place)?;
            let place = function.name("name");
            let name = function.string("name", SMALL_TEXT_BYTES_MAX)?;
            let name = name.ok_or_else(|| ApiError::missing(&place))?;
            if !self.offered.iter().any(|tool| tool.name == name) {
                let message = format!("'{place}' is not the name of one of the 'tools'.");
                return Err(ApiError::invalid(place, message));
            }
            names.insert(name);
        }
        self.offered.retain(|tool| names.contains(&tool.name));
        match mode.as_str() {
            "auto" | "required" => self.choose_mode(&mode, &mode_name),
            other => Err(unknown_kind(mode_name, other, "'auto' or 'required'")),
        }
    }
}

fn no_custom(place: String) -> ApiError {
    let message = format!("'{place}' is 'custom', but tools are functions here.");
    ApiError::unsupported(place, message)
}

fn unknown_kind(place: String, found: &str, right: &str) -> ApiError {
    let shown: String = found.chars().take(32).collect();
    let message = format!("Invalid value for '{place}': '{shown}'. Right would be {right}.");
    ApiError::invalid(place, message)
}

/// The elements of a list of tools, which is not too large.
///
/// # Errors
/// 400 naming the list.
pub fn tool_list<'a>(fields: &mut Fields<'a>, name: &str) -> Result<Vec<&'a RawValue>, ApiError> {
    let values = fields.list(name, TOOLS_MAX)?.unwrap_or_default();
    let bytes: usize = values.iter().map(|value| value.get().len()).sum();
    if bytes > TOOLS_BYTES_MAX {
        let message =
            format!("'{name}' has {bytes} bytes. Right would be at most {TOOLS_BYTES_MAX}.");
        return Err(ApiError::invalid(name, message));
    }
    Ok(values)
}

fn take_tools(fields: &mut Fields<'_>) -> Result<Vec<Tool>, ApiError> {
    let mut tools = Vec::new();
    for (at, value) in tool_list(fields, "tools")?.into_iter().enumerate() {
        let mut tool = Fields::of_value(value, format!("tools[{at}]"))?;
        take_kind(&mut tool)?;
        let place = tool.name("function");
        let function = tool.raw("function").ok_or_else(|| ApiError::missing(&place))?;
        tool.none_left()?;
        tools.push(take_function(function, place, &tools)?);
    }
    Ok(tools)
}

/// The `type` of a tool: there is one.
fn take_kind(tool: &mut Fields<'_>) -> Result<(), ApiError> {
    let name = tool.name("type");
    match tool.string("type", SMALL_TEXT_BYTES_MAX)?.as_deref() {
        Some("function") => Ok(()),
        Some("custom") => Err(no_custom(name)),
        Some(other) => Err(unknown_kind(name, other, "'function'")),
        None => Err(ApiError::missing(&name)),
    }
}

fn take_functions(fields: &mut Fields<'_>) -> Result<Vec<Tool>, ApiError> {
    let mut tools = Vec::new();
    for (at, value) in tool_list(fields, "functions")?.into_iter().enumerate() {
        tools.push(take_function(value, format!("functions[{at}]"), &tools)?);
    }
    Ok(tools)
}

fn take_function(value: &RawValue, place: String, others: &[Tool]) -> Result<Tool, ApiError> {
    take_function_fields(Fields::of_value(value, place)?, others)
}

/// Name, description, schema and strictness of a function that is none of the others.
///
/// # Errors
/// 400 naming the field that is wrong.
pub fn take_function_fields(mut fields: Fields<'_>, others: &[Tool]) -> Result<Tool, ApiError> {
    let name = take_tool_name(&mut fields)?;
    if others.iter().any(|other| other.name == name) {
        let place = fields.name("name");
        let message = format!("'{place}' is '{name}', which is the name of an earlier tool too.");
        return Err(ApiError::invalid(place, message));
    }
    let description = fields.string("description", TOOL_DESCRIPTION_BYTES_MAX)?;
    let place = fields.name("parameters");
    let parameters = fields.raw("parameters");
    let parameters = parameters.map(|schema| take_schema(schema, &place)).transpose()?;
    let strict = fields.boolean("strict")?.unwrap_or(false);
    fields.none_left()?;
    Ok(Tool { name, description, parameters, strict })
}

/// The name of a tool: what OpenAI takes, and what servers of tools add to it.
pub fn take_tool_name(fields: &mut Fields<'_>) -> Result<String, ApiError> {
    let place = fields.name("name");
    let name = fields.string("name", TOOL_NAME_BYTES_MAX)?;
    let name = name.ok_or_else(|| ApiError::missing(&place))?;
    let right = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:/".contains(&byte);
    if name.is_empty() || !name.bytes().all(right) {
        let message = format!(
            "Invalid value for '{place}'. Right would be letters, digits and any of _ - . : /"
        );
        return Err(ApiError::invalid(place, message));
    }
    Ok(name)
}

/// A JSON Schema as far as a template needs one: an object that is not nested too deeply.
pub fn take_schema(schema: &RawValue, place: &str) -> Result<Value, ApiError> {
    let value: Value = serde_json::from_str(schema.get())
        .ok()
        .filter(Value::is_object)
        .ok_or_else(|| wrong_type(place, "an object", schema))?;
    if depth(&value) > TOOL_SCHEMA_DEPTH_MAX {
        let message = format!("'{place}' is nested deeper than {TOOL_SCHEMA_DEPTH_MAX} levels.");
        return Err(ApiError::invalid(place, message));
    }
    Ok(value)
}

/// Levels of arrays and objects. The body's own limit bounds the recursion.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(values) => 1 + values.iter().map(depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}
