//! Tools into the rules of an answer that calls them, in the format of the model's family.

use serde_json::{Map, Value, json};

use super::compiler::{check, options};
use super::error::GrammarError;
use super::lark::{ANY, Writer, quoted, without};
use super::schema::{Judged, judge};
use super::{gemma, lead, xml};
use crate::answer::gemma as marks;
use crate::answer::{deepseek, llama, tagged};
use crate::limits::TOOL_NAME_BYTES_MAX;
use crate::{AnswerFormat, AnswerTool, CallFormat, Opening};

/// The calls that an answer may have, or must.
#[derive(Clone, Debug, PartialEq)]
pub struct CallGrammar {
    /// The tools that may be called, at least one. One without a schema takes any object.
    pub tools: Vec<AnswerTool>,
    /// Whether there may be more than one call.
    pub parallel: bool,
    /// Whether the answer has to be calls: `tool_choice` "required", or a named tool. Otherwise it
    /// may have text, or be what else is asked for.
    pub must: bool,
}

impl CallGrammar {
    /// What tells it from others.
    pub(super) fn key(&self) -> Value {
        let tools = self.tools.iter().map(|tool| json!([tool.name, tool.parameters]));
        json!([self.parallel, self.must, tools.collect::<Vec<_>>()])
    }
}

/// What is known of a tool before its call is written.
pub(super) struct Judgement<'a> {
    pub(super) tool: &'a AnswerTool,
    pub(super) index: usize,
    pub(super) parameters: Judged,
}

impl Judgement<'_> {
    /// An error about the tool.
    pub(super) fn error(&self, error: GrammarError) -> GrammarError {
        let (index, tool, error) = (self.index, self.tool.name.clone(), Box::new(error));
        GrammarError::Tool { index, tool, error }
    }

    /// The arguments as one JSON object.
    fn json(&self) -> String {
        let judged = &self.parameters;
        json_rule(Judged::whole(judged.root.clone(), &judged.definitions))
    }
}

/// A value that a schema allows, as a rule.
pub(super) fn json_rule(mut schema: Value) -> String {
    options().apply_to(&mut schema);
    format!("%json {schema}")
}

/// Calls as a format has them: what begins a block of them, and what follows that.
pub(super) struct Block {
    open: &'static str,
    rest: String,
}

/// The rules of an answer with calls, behind its reasoning. `text` is what an answer without calls
/// is; none where that is any text.
pub(super) fn answer(
    writer: &mut Writer,
    (format, opening): (AnswerFormat, Opening),
    calls: &CallGrammar,
    text: Option<&str>,
) -> Result<String, GrammarError> {
    let tools = judged(calls)?;
    let none = GrammarError::Unsupported("its calls have no known format".into());
    match format.calls {
        CallFormat::Llama3 => return llama(writer, calls, &tools, text),
        CallFormat::Harmony => return harmony(writer, calls, &tools, text),
        _ => {}
    }
    let (blocks, between, bars): (Vec<Block>, _, &[&str]) = match format.calls {
        CallFormat::Hermes => (vec![hermes(writer, &tools)], Some("\n"), tagged::HERMES.open),
        CallFormat::Qwen3Coder => {
            let tags = &tagged::QWEN3_CODER;
            (xml::blocks(writer, tags, &tools, false)?, Some("\n"), tags.open)
        }
        CallFormat::SeedOss => {
            let tags = &tagged::SEED_OSS;
            (xml::blocks(writer, tags, &tools, false)?, Some("\n"), tags.open)
        }
        CallFormat::Dsml => {
            let tags = &tagged::DSML;
            (xml::blocks(writer, tags, &tools, calls.parallel)?, None, tags.open)
        }
        CallFormat::FunctionGemma => {
            let marks = &marks::FUNCTION_GEMMA;
            (vec![gemma::block(writer, marks, &tools)?], Some(""), &[marks.open])
        }
        CallFormat::Gemma4 => {
            let marks = &marks::GEMMA4;
            (vec![gemma::block(writer, marks, &tools)?], Some(""), &[marks.open])
        }
        CallFormat::DeepSeek => {
            let bars: &[&str] = &[deepseek::CALLS, deepseek::CALL];
            (vec![deepseek(writer, &tools, calls.parallel)?], None, bars)
        }
        _ => return Err(none),
    };
    let mut bars = bars.to_vec();
    if let (Opening::Free, Some((open, close))) = (opening, format.reasoning_tags()) {
        // A text that began with one would be read as reasoning.
        bars.extend([open, close]);
    }
    let mut ways: Vec<String> = Vec::new();
    for Block { open, rest } in &blocks {
        let first = match (calls.must, text) {
            (false, None) => writer.until(ANY, &bars, open),
            _ => writer.literal(open),
        };
        ways.push(format!("{first} {rest}"));
    }
    writer.rule("block", &ways.join(" | "));
    let more = match between.filter(|_| calls.parallel) {
        Some(between) => format!(" ({} block)*", quoted(between)),
        None => String::new(),
    };
    Ok(match (calls.must, text) {
        (true, _) => format!("block{more}"),
        (false, Some(text)) => format!("(block{more} | {text})"),
        (false, None) => {
            let tail = without(ANY, &bars);
            format!("block{} {}", if calls.parallel { "*" } else { "?" }, writer.terminal(&tail))
        }
    })
}

/// Each tool's parameters, which are an object whatever their schema says.
fn judged(calls: &CallGrammar) -> Result<Vec<Judgement<'_>>, GrammarError> {
    let mut tools = Vec::with_capacity(calls.tools.len());
    for (index, tool) in calls.tools.iter().enumerate() {
        let any = json!({ "type": "object" });
        let schema = tool.parameters.as_ref().unwrap_or(&any);
        let parameters = judge(schema, &format!("t{index}r")).and_then(|mut judged| {
            check(&judged, &Judged::whole(judged.root.clone(), &judged.definitions))?;
            let root = std::mem::take(&mut judged.root);
            judged.root = json!({ "allOf": [{ "type": "object" }, root] });
            check(&judged, &Judged::whole(judged.root.clone(), &judged.definitions))?;
            Ok(judged)
        });
        let parameters = parameters.map_err(|error| {
            let (tool, error) = (tool.name.clone(), Box::new(error));
            GrammarError::Tool { index, tool, error }
        })?;
        tools.push(Judgement { tool, index, parameters });
    }
    Ok(tools)
}

/// A name that is written without quotes.
pub(super) fn bare_name<'a>(tool: &Judgement<'a>) -> Result<&'a str, GrammarError> {
    let name = tool.tool.name.as_str();
    let right = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:/".contains(&byte);
    if name.is_empty() || name.len() > TOOL_NAME_BYTES_MAX || !name.bytes().all(right) {
        let reason = "calls of this format need names of letters, digits and _ - . : /";
        return Err(tool.error(GrammarError::Unsupported(reason.into())));
    }
    Ok(name)
}

/// One of the calls as a JSON object with these keys.
fn object(tools: &[Judgement<'_>], arguments: &str) -> String {
    let mut definitions = Map::new();
    let mut calls = Vec::new();
    for tool in tools {
        definitions.extend(tool.parameters.definitions.clone());
        calls.push(json!({
            "type": "object",
            "properties": { "name": { "const": tool.tool.name }, arguments: tool.parameters.root },
            "required": ["name", arguments],
            "additionalProperties": false,
        }));
    }
    json_rule(Judged::whole(json!({ "anyOf": calls }), &definitions))
}

fn hermes(writer: &mut Writer, tools: &[Judgement<'_>]) -> Block {
    writer.rule("call", &object(tools, "arguments"));
    let tags = &tagged::HERMES;
    let close = writer.literal(&format!("\n{}", tags.close[0]));
    Block { open: tags.open[0], rest: format!("\"\\n\" call {close}") }
}

/// `{"name": …, "parameters": …}`, several with a semicolon between them.
fn llama(
    writer: &mut Writer,
    calls: &CallGrammar,
    tools: &[Judgement<'_>],
    text: Option<&str>,
) -> Result<String, GrammarError> {
    writer.rule("call", &object(tools, "parameters"));
    let more = if calls.parallel { " (\"; \" call)*" } else { "" };
    let all = format!("{}? call{more}", writer.literal(llama::PYTHON));
    Ok(match (calls.must, text) {
        (true, _) => all,
        (false, Some(text)) => format!("({all} | {text})"),
        (false, None) => {
            // What begins as a call would be one.
            let inside = without(r"/\s*[^\s{;](?s:.*)/", &[llama::PYTHON]);
            format!("({all} | {}?)", writer.terminal(&inside))
        }
    })
}

/// A message to the tool. The marker at its end, which ends the answer, is the model's to write.
fn harmony(
    writer: &mut Writer,
    calls: &CallGrammar,
    tools: &[Judgement<'_>],
    text: Option<&str>,
) -> Result<String, GrammarError> {
    let mut ways = Vec::new();
    for tool in tools {
        let name = bare_name(tool)?;
        let arguments = format!("arguments{}", tool.index);
        writer.rule(&arguments, &tool.json());
        ways.push(format!("{} {arguments}", writer.literal(&lead::harmony_call(name))));
    }
    match (calls.must, text) {
        (true, _) => {}
        (false, Some(text)) => ways.push(text.to_owned()),
        (false, None) => ways.push(lead::harmony_text(writer)),
    }
    Ok(format!("({})", ways.join(" | ")))
}

/// Calls as V3.1 writes them, and as V3 and R1 do.
fn deepseek(
    writer: &mut Writer,
    tools: &[Judgement<'_>],
    parallel: bool,
) -> Result<Block, GrammarError> {
    use deepseek::{CALL, CALL_END, CALLS, CALLS_END, SEPARATOR};
    let mut ways = Vec::new();
    for tool in tools {
        let name = bare_name(tool)?;
        let arguments = format!("arguments{}", tool.index);
        writer.rule(&arguments, &tool.json());
        let head = writer.literal(&format!("{name}{SEPARATOR}"));
        ways.push(format!("{head} {arguments}"));
        let head = writer.literal(&format!("function{SEPARATOR}{name}\n```json\n"));
        ways.push(format!("{head} {arguments} \"\\n```\""));
    }
    let (open, close) = (writer.literal(CALL), writer.literal(CALL_END));
    writer.rule("call", &format!("{open} ({}) {close}", ways.join(" | ")));
    let more = if parallel { " (\"\\n\"? call)*" } else { "" };
    Ok(Block { open: CALLS, rest: format!("call{more} {}", writer.literal(CALLS_END)) })
}

impl Block {
    pub(super) fn new(open: &'static str, rest: String) -> Block {
        Block { open, rest }
    }
}
