//! Turns the tools of a response, which are flat, into those of a chat.

use std::collections::HashSet;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::errors::ApiError;
use crate::limits::{SMALL_TEXT_BYTES_MAX, TOOLS_MAX};
use crate::wire::fields::{Fields, kind, wrong_type};
use crate::wire::tools::{Tools, take_function_fields, tool_list};

/// What was said of tools: as it is done, and as answers show it.
pub struct TakenTools {
    /// As the model is offered them.
    pub tools: Tools,
    /// `tools` of the answer.
    pub shown: Value,
    /// `tool_choice` of the answer.
    pub choice: Value,
    /// `parallel_tool_calls` of the answer.
    pub parallel: bool,
}

/// Takes `tools`, `tool_choice` and `parallel_tool_calls`.
///
/// # Errors
/// 400 naming the field that is wrong, or the tool that is none of the client's functions.
pub fn take(fields: &mut Fields<'_>) -> Result<TakenTools, ApiError> {
    let mut tools = Tools::default();
    for (at, value) in tool_list(fields, "tools")?.into_iter().enumerate() {
        let mut tool = Fields::of_value(value, format!("tools[{at}]"))?;
        check_function(&mut tool)?;
        let tool = take_function_fields(tool, &tools.offered)?;
        tools.offered.push(tool);
    }
    let shown: Vec<Value> = tools
        .offered
        .iter()
        .map(|tool| {
            json!({
                "type": "function", "name": tool.name, "description": tool.description,
                "parameters": tool.parameters, "strict": tool.strict,
            })
        })
        .collect();
    let parallel = fields.boolean("parallel_tool_calls")?.unwrap_or(true);
    tools.one_call = !parallel;
    let choice = match fields.raw("tool_choice") {
        Some(choice) => {
            choose(&mut tools, choice)?;
            serde_json::from_str(choice.get()).unwrap_or_default()
        }
        None => json!("auto"),
    };
    Ok(TakenTools { tools, shown: shown.into(), choice, parallel })
}

fn check_function(tool: &mut Fields<'_>) -> Result<(), ApiError> {
    let name = tool.name("type");
    match tool.string("type", SMALL_TEXT_BYTES_MAX)?.as_deref() {
        Some("function") => Ok(()),
        Some(other) => {
            let shown: String = other.chars().take(32).collect();
            let message = format!("'{name}' is '{shown}', but tools are functions here.");
            Err(ApiError::unsupported(name, message))
        }
        None => Err(ApiError::missing(&name)),
    }
}

fn choose(tools: &mut Tools, choice: &RawValue) -> Result<(), ApiError> {
    const PLACE: &str = "tool_choice";
    let expected = "'none', 'auto', 'required' or an object";
    match kind(choice) {
        "a string" => {
            let word: String = serde_json::from_str(choice.get())
                .map_err(|_| wrong_type(PLACE, expected, choice))?;
            return tools.choose_mode(&word, PLACE);
        }
        "an object" => {}
        _ => return Err(wrong_type(PLACE, expected, choice)),
    }
    let mut fields = Fields::of_value(choice, PLACE.to_owned())?;
    let name = fields.name("type");
    match fields.string("type", SMALL_TEXT_BYTES_MAX)?.as_deref() {
        Some("function") => {
            let (place, function) = take_name(&mut fields)?;
            fields.none_left()?;
            tools.force(&place, Some(&function))
        }
        Some("allowed_tools") => allow(tools, fields),
        Some(other) => {
            let shown: String = other.chars().take(32).collect();
            let message = format!(
                "'{name}' is '{shown}'. Here a choice can be: 'function', 'allowed_tools'."
            );
            Err(ApiError::unsupported(name, message))
        }
        None => Err(ApiError::missing(&name)),
    }
}

fn take_name(fields: &mut Fields<'_>) -> Result<(String, String), ApiError> {
    let place = fields.name("name");
    let name = fields.string("name", SMALL_TEXT_BYTES_MAX)?;
    Ok((place.clone(), name.ok_or_else(|| ApiError::missing(&place))?))
}

/// `{"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": …}]}`
fn allow(tools: &mut Tools, mut fields: Fields<'_>) -> Result<(), ApiError> {
    let mode_name = fields.name("mode");
    let mode = fields.string("mode", SMALL_TEXT_BYTES_MAX)?;
    let mode = mode.ok_or_else(|| ApiError::missing(&mode_name))?;
    let list_name = fields.name("tools");
    let list = fields.list("tools", TOOLS_MAX)?.ok_or_else(|| ApiError::missing(&list_name))?;
    let mut names = HashSet::new();
    for (at, value) in list.into_iter().enumerate() {
        let mut tool = Fields::of_value(value, format!("{list_name}[{at}]"))?;
        check_function(&mut tool)?;
        let (place, name) = take_name(&mut tool)?;
        if !tools.offered.iter().any(|tool| tool.name == name) {
            let message = format!("'{place}' is not the name of one of the 'tools'.");
            return Err(ApiError::invalid(place, message));
        }
        names.insert(name);
    }
    fields.none_left()?;
    tools.offered.retain(|tool| names.contains(&tool.name));
    tools.choose_mode(&mode, &mode_name)
}
