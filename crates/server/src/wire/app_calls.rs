//! Turns the calls of tools in an answer of the chat into checked records.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::app_chats::is_id;
use super::fields::Fields;
use crate::errors::ApiError;
use crate::limits::{
    APP_ARGUMENTS_BYTES_MAX, APP_CALLS_MAX, SMALL_TEXT_BYTES_MAX, TOOL_RESULT_BYTES_MAX,
};

/// Bytes of a result with what is said about its missing end.
const RESULT_BYTES_MAX: usize = TOOL_RESULT_BYTES_MAX + 256;

/// A call that a model asked for while it answered.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AppCall {
    /// Its name, unique in its message.
    pub id: String,
    /// Calls of one round were made at the same time.
    pub round: u32,
    /// How much of the message's text stands before it, in units of UTF-16.
    pub at: u32,
    /// The tool as the model calls it.
    pub name: String,
    /// The tool's server; empty for the search, or where there is no such tool.
    pub server: String,
    /// The tool as its server calls it.
    pub tool: String,
    /// JSON, as the model wrote it.
    pub arguments: String,
    /// How far it is.
    pub state: CallState,
    /// What the model was told.
    pub result: Option<String>,
}

/// How far a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CallState {
    /// It needs a person's permission.
    Waiting,
    /// Its server works on it.
    Running,
    /// It gave its result.
    Done,
    /// It went wrong.
    Failed,
    /// A person did not permit it, or nobody did in time.
    Refused,
    /// The answer was stopped before it ended.
    Stopped,
}

impl CallState {
    /// Whether nothing more comes of it.
    pub fn is_over(self) -> bool {
        !matches!(self, CallState::Waiting | CallState::Running)
    }
}

/// What a person says of a call that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// This call.
    Once,
    /// All calls of the tool in this conversation.
    Chat,
    /// No.
    Refuse,
}

impl Decision {
    /// Takes `{"decision": …}`.
    ///
    /// # Errors
    /// 400 naming the field that is wrong, missing or unknown.
    pub fn parse(body: &[u8]) -> Result<Decision, ApiError> {
        let mut fields = Fields::of_body(body)?;
        let decision = fields.take("decision", "\"once\", \"chat\" or \"refuse\"")?;
        fields.none_left()?;
        decision.ok_or_else(|| ApiError::missing("decision"))
    }
}

/// The calls of a message.
///
/// # Errors
/// 400 naming the call that is wrong.
pub fn take(fields: &mut Fields<'_>) -> Result<Vec<AppCall>, ApiError> {
    const NAME: &str = "calls";
    let place = fields.name(NAME);
    let Some(values) = fields.list(NAME, APP_CALLS_MAX)? else { return Ok(Vec::new()) };
    let read = |(at, value): (usize, &serde_json::value::RawValue)| {
        let place = format!("{place}[{at}]");
        let call: AppCall = serde_json::from_str(value.get()).map_err(|error| {
            let why: String = error.to_string().chars().take(200).collect();
            ApiError::invalid(place.clone(), format!("'{place}' is no call: {why}."))
        })?;
        match too_long(&call) {
            None => Ok(call),
            Some((field, right)) => {
                let place = format!("{place}.{field}");
                let message = format!("Invalid value for '{place}'. Right would be {right}.");
                Err(ApiError::invalid(place, message))
            }
        }
    };
    values.into_iter().enumerate().map(read).collect()
}

fn too_long(call: &AppCall) -> Option<(&'static str, String)> {
    let most = |bytes: usize| format!("at most {bytes} bytes");
    let small = [("name", &call.name), ("server", &call.server), ("tool", &call.tool)];
    if !is_id(&call.id) {
        return Some(("id", "letters, digits, '-' and '_'".to_owned()));
    }
    if let Some((field, _)) = small.iter().find(|(_, text)| text.len() > SMALL_TEXT_BYTES_MAX) {
        return Some((field, most(SMALL_TEXT_BYTES_MAX)));
    }
    if call.arguments.len() > APP_ARGUMENTS_BYTES_MAX {
        return Some(("arguments", most(APP_ARGUMENTS_BYTES_MAX)));
    }
    let result = call.result.as_ref().map_or(0, String::len);
    (result > RESULT_BYTES_MAX).then(|| ("result", most(RESULT_BYTES_MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn taken(call: Value) -> Result<Vec<AppCall>, ApiError> {
        take(&mut Fields::of_body(json!({ "calls": [call] }).to_string().as_bytes())?)
    }

    #[test]
    fn calls_are_checked_and_decisions_are_three() {
        let call = json!({
            "id": "c1", "round": 0, "at": 3, "name": "a__b", "server": "a", "tool": "b",
            "arguments": "{}", "state": "waiting", "result": null,
        });
        assert_eq!(taken(call.clone()).unwrap()[0].state, CallState::Waiting);
        let with = |name: &str, value: Value| {
            let mut call = call.clone();
            call[name] = value;
            taken(call).unwrap_err().param.unwrap()
        };
        assert_eq!(with("id", json!("a b")), "calls[0].id");
        assert_eq!(with("state", json!("gone")), "calls[0]");
        assert_eq!(with("html", json!("x")), "calls[0]");
        assert_eq!(with("result", json!("x".repeat(RESULT_BYTES_MAX + 1))), "calls[0].result");
        assert_eq!(with("name", json!("x".repeat(5000))), "calls[0].name");
        assert_eq!(Decision::parse(br#"{"decision":"chat"}"#), Ok(Decision::Chat));
        for (body, param) in [
            (r#"{"decision":"always"}"#, "decision"),
            ("{}", "decision"),
            (r#"{"decision":"once","x":1}"#, "x"),
        ] {
            assert_eq!(Decision::parse(body.as_bytes()).unwrap_err().param.as_deref(), Some(param));
        }
    }
}
