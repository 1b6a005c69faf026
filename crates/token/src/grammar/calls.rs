//! Tools into the grammar of an answer that calls them, in the format of the model's family.

use serde_json::{Map, Value, json};

use super::compiler::{check, options};
use super::error::GrammarError;
use super::schema::{Judged, judge};
use crate::{AnswerTool, CallFormat, Tokenizer};

/// An answer that consists of tool calls: `tool_choice` "required", or a named tool.
#[derive(Clone, Debug, PartialEq)]
pub struct CallGrammar {
    /// How the model writes calls.
    pub format: CallFormat,
    /// The tools that may be called, at least one. One without a schema takes any object.
    pub tools: Vec<AnswerTool>,
    /// Whether there may be more than one call.
    pub parallel: bool,
}

impl CallGrammar {
    /// What tells it from others.
    pub(super) fn key(&self) -> String {
        let tools = self.tools.iter().map(|tool| json!([tool.name, tool.parameters]));
        let tools: Vec<Value> = tools.collect();
        // No schema is an array.
        json!([self.format.name(), self.parallel, tools]).to_string()
    }

    /// The grammar in llguidance's variant of Lark.
    pub(super) fn lark(&self, tokenizer: &Tokenizer) -> Result<String, GrammarError> {
        let Some(written) = written(self.format) else {
            let name = self.format.name();
            let reason = format!("calls in the format '{name}' cannot be forced");
            return Err(GrammarError::Unsupported(reason));
        };
        let schema = self.schema(written.arguments)?;
        let (open, close) = (marker(tokenizer, written.open), marker(tokenizer, written.close));
        let more = if self.parallel {
            format!(" ({} call)*", quoted(written.between))
        } else {
            String::new()
        };
        Ok(format!(
            "start: call{more}\ncall: {open} {} body {} {close}\nbody: %json {schema}\n",
            quoted(written.before),
            quoted(written.after),
        ))
    }

    /// One of the calls as JSON.
    fn schema(&self, arguments: &str) -> Result<Value, GrammarError> {
        let mut definitions = Map::new();
        let mut calls = Vec::new();
        for (index, tool) in self.tools.iter().enumerate() {
            let any = json!({ "type": "object" });
            let parameters = tool.parameters.as_ref().unwrap_or(&any);
            let parameters = judged(parameters, &format!("t{index}r"));
            let parameters = parameters.map_err(|error| {
                let (tool, error) = (tool.name.clone(), Box::new(error));
                GrammarError::Tool { index, tool, error }
            })?;
            definitions.extend(parameters.definitions);
            calls.push(json!({
                "type": "object",
                "properties": { "name": { "const": tool.name }, arguments: parameters.root },
                "required": ["name", arguments],
                "additionalProperties": false,
            }));
        }
        let mut whole = Judged::whole(json!({ "anyOf": calls }), &definitions);
        options().apply_to(&mut whole);
        Ok(whole)
    }
}

/// A tool's parameters, which are an object whatever their schema says.
fn judged(parameters: &Value, prefix: &str) -> Result<Judged, GrammarError> {
    let mut judged = judge(parameters, prefix)?;
    let root = std::mem::take(&mut judged.root);
    judged.root = json!({ "allOf": [{ "type": "object" }, root] });
    check(&judged, &Judged::whole(judged.root.clone(), &judged.definitions))?;
    Ok(judged)
}

/// How a format writes a call around its JSON.
struct Written {
    open: &'static str,
    before: &'static str,
    after: &'static str,
    close: &'static str,
    between: &'static str,
    /// The key of the arguments.
    arguments: &'static str,
}

/// `None` for formats whose calls are not one JSON object each.
fn written(format: CallFormat) -> Option<Written> {
    match format {
        CallFormat::Hermes => Some(Written {
            open: "<tool_call>",
            before: "\n",
            after: "\n",
            close: "</tool_call>",
            between: "\n",
            arguments: "arguments",
        }),
        _ => None,
    }
}

/// A marker as a token, where it is one that no text could have, or as text.
fn marker(tokenizer: &Tokenizer, text: &str) -> String {
    match tokenizer.id_of(text).filter(|id| tokenizer.is_control(*id)) {
        Some(id) => format!("<[{id}]>"),
        None => quoted(text),
    }
}

/// A string of the grammar.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}
