//! Turns a chat template into how its model is spoken to: what it shows of tools, calls, thoughts.
//!
//! Templates cannot be asked, but they can be tried: what changes nothing in a small chat is not
//! known to the template, and a call whose arguments do not come out readable was not given in the
//! way that the template wants.

use myriad_token::{
    AnswerFormat, CallFormat, ChatTemplate, Message, ReasoningFormat, RenderOptions,
};
use serde_json::{Map, Value, json};

use super::described;

/// How the model of a template is spoken to.
#[derive(Clone, Debug)]
pub struct Manners {
    /// How it writes its answers.
    pub format: AnswerFormat,
    /// Whether the template shows tools to it; where not, they are described to it.
    pub shows_tools: bool,
    /// The variable that turns reasoning on and off.
    pub switch: Option<&'static str>,
    /// Whether the template knows `reasoning_effort`.
    pub effort: bool,
    /// Whether the template knows `thinking_budget`.
    pub budget: bool,
    /// How earlier calls are given to the template; none where it has no place for them.
    calls: Option<CallStyle>,
    /// Whether the template has a place for a system's message.
    system: bool,
}

/// How earlier calls are given to a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CallStyle {
    /// Arguments as the JSON text that the API has, instead of as an object.
    as_text: bool,
    /// A message that has no text has `None` for it, instead of an empty text.
    null_content: bool,
}

const STYLES: [CallStyle; 4] = [
    CallStyle { as_text: false, null_content: false },
    CallStyle { as_text: false, null_content: true },
    CallStyle { as_text: true, null_content: false },
    CallStyle { as_text: true, null_content: true },
];

impl Manners {
    /// Those of a model without a template.
    pub fn none() -> Manners {
        Manners {
            format: AnswerFormat::PLAIN,
            shows_tools: false,
            switch: None,
            effort: false,
            budget: false,
            calls: None,
            system: false,
        }
    }

    /// Tries a template.
    pub fn of(template: &ChatTemplate) -> Manners {
        let differs = |name: &str, values: &[Value]| {
            let mut rendered = values.iter().map(|value| {
                // Some know an effort only while they think.
                let mut variables = Map::from_iter([("thinking".to_owned(), Value::Bool(true))]);
                variables.insert(name.to_owned(), value.clone());
                render(template, &[user()], variables)
            });
            let first = rendered.next().flatten();
            first.is_some() && rendered.any(|other| other.is_some() && other != first)
        };
        let on_off = [Value::Bool(true), Value::Bool(false)];
        let efforts = ["low", "medium", "high", "max"].map(Value::from);
        let readable = |style: &&CallStyle| reads_well(template, **style);
        let mut format = template.answer_format();
        let shows_tools = format.calls != CallFormat::None && shows_tools(template);
        if !shows_tools && format.calls != CallFormat::DeepSeek {
            format.calls = CallFormat::Hermes;
        }
        Manners {
            format,
            shows_tools,
            switch: ["enable_thinking", "thinking"].into_iter().find(|it| differs(it, &on_off)),
            effort: differs("reasoning_effort", &efforts),
            budget: differs("thinking_budget", &[json!(512), json!(1024)]),
            calls: STYLES.iter().find(readable).copied(),
            system: shows_system(template),
        }
    }

    /// Whether reasoning can be told from text.
    pub fn reasons(&self) -> bool {
        self.format.reasoning != ReasoningFormat::None || self.format.calls == CallFormat::Harmony
    }

    /// A chat as the template wants it, with tools that it has no place for described in it.
    /// Arguments of calls are JSON texts in `messages`.
    pub fn messages(&self, messages: &[Message], tools: &[Value]) -> Vec<Message> {
        let mut messages = messages.to_vec();
        match self.calls {
            Some(style) => messages.iter_mut().for_each(|message| self.give(style, message)),
            None => messages = described::written(messages),
        }
        if !self.shows_tools && !tools.is_empty() {
            let text = described::tools(self.format.calls, tools);
            described::tell(&mut messages, text, self.system);
        }
        messages
    }

    fn give(&self, style: CallStyle, message: &mut Message) {
        if !message.extra.contains_key("tool_calls") {
            return;
        }
        if self.format.calls == CallFormat::Harmony && !message.content.trim().is_empty() {
            // gpt-oss's template takes one of the two; what was said weighs more.
            message.extra.remove("thinking");
        }
        style.apply(message);
    }
}

impl CallStyle {
    fn apply(self, message: &mut Message) {
        if self.null_content && message.content.is_empty() {
            message.extra.insert("content".to_owned(), Value::Null);
        }
        let calls = message.extra.get_mut("tool_calls").and_then(Value::as_array_mut);
        for call in calls.into_iter().flatten().filter(|_| !self.as_text) {
            let Some(arguments) = call.pointer_mut("/function/arguments") else { continue };
            // Texts that are no JSON stay texts.
            let object = arguments.as_str().and_then(|text| serde_json::from_str(text).ok());
            *arguments = object.unwrap_or_else(|| arguments.take());
        }
    }
}

fn user() -> Message {
    Message { role: "user".into(), content: "Hi".into(), ..Message::default() }
}

fn render(
    template: &ChatTemplate,
    messages: &[Message],
    extra: Map<String, Value>,
) -> Option<String> {
    let options = RenderOptions { add_generation_prompt: true, extra, ..RenderOptions::default() };
    template.render(messages, &options).ok()
}

fn tools() -> Map<String, Value> {
    let parameters = json!({
        "type": "object", "properties": { "probe_key": { "type": "string", "description": "A" } },
        "required": ["probe_key"],
    });
    let function =
        json!({ "name": "probe_tool", "description": "A tool", "parameters": parameters });
    let tools = json!([{ "type": "function", "function": function }]);
    Map::from_iter([("tools".to_owned(), tools)])
}

fn shows_system(template: &ChatTemplate) -> bool {
    let system = Message { role: "system".into(), content: "probe_rule".into(), extra: Map::new() };
    render(template, &[system, user()], Map::new()).is_some_and(|text| text.contains("probe_rule"))
}

fn shows_tools(template: &ChatTemplate) -> bool {
    render(template, &[user()], tools()).is_some_and(|text| text.contains("probe_tool"))
}

/// Whether a call given in this way is written with its arguments, as JSON or in tags, and not in
/// Python's quotes or with quotes escaped.
fn reads_well(template: &ChatTemplate, style: CallStyle) -> bool {
    let arguments = r#"{"probe_key": "probe_value"}"#;
    let function = json!({ "name": "probe_tool", "arguments": arguments });
    let calls = json!([{ "id": "call_00001", "type": "function", "function": function }]);
    let mut call = Message { role: "assistant".into(), ..Message::default() };
    call.extra.insert("tool_calls".to_owned(), calls);
    style.apply(&mut call);
    let mut result = Message { role: "tool".into(), content: "1".into(), ..Message::default() };
    result.extra.insert("tool_call_id".to_owned(), "call_00001".into());
    result.extra.insert("name".to_owned(), "probe_tool".into());
    let rendered = render(template, &[user(), call, result], tools());
    rendered.is_some_and(|text| {
        // In the call itself: templates show tools too.
        let odd = ["'probe_key'", "\\\"probe_key", "'probe_value'", ">None<", "\nNone\n"];
        text.contains("probe_value") && !odd.iter().any(|odd| text.contains(odd))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::scripted::vocabulary;
    use myriad_token::Tokenizer;
    use std::path::PathBuf;

    /// The manners of a published template, or none where the folder of them is missing.
    fn published(name: &str) -> Option<Manners> {
        let own = || std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it");
        let shared = std::env::var_os("MYRIAD_SHARED")
            .map_or_else(|| PathBuf::from(own()).join("../../../shared"), PathBuf::from);
        let path = shared.join(format!("templates/{name}.jinja"));
        let Ok(source) = std::fs::read_to_string(&path) else {
            println!("skipped: there is no {}", path.display());
            return None;
        };
        let tokenizer = Tokenizer::new(&vocabulary(&[])).unwrap();
        Some(Manners::of(&ChatTemplate::new(&source, &tokenizer).unwrap()))
    }

    #[test]
    fn published_templates_show_their_manners() {
        let text = Some(true);
        let object = Some(false);
        for (name, tools, as_text, switch, effort, budget) in [
            ("Qwen-Qwen2.5-7B-Instruct", true, object, None, false, false),
            ("Qwen-Qwen3-0.6B", true, object, Some("enable_thinking"), false, false),
            ("Qwen3-Coder", true, object, None, false, false),
            ("Qwen3.5-4B", true, object, Some("enable_thinking"), false, false),
            ("ByteDance-Seed-OSS", true, object, None, false, true),
            ("openai-gpt-oss-120b", true, object, None, true, false),
            ("meta-llama-Llama-3.3-70B-Instruct", true, object, None, false, false),
            ("deepseek-ai-DeepSeek-R1-Distill-Llama-8B", false, text, None, false, false),
            ("deepseek-ai-DeepSeek-V3.1", false, object, Some("thinking"), false, false),
            ("google-gemma-2-2b-it", false, None, None, false, false),
        ] {
            let Some(manners) = published(name) else { return };
            let found = (
                manners.shows_tools,
                manners.calls.map(|calls| calls.as_text),
                manners.switch,
                manners.effort,
                manners.budget,
            );
            assert_eq!(found, (tools, as_text, switch, effort, budget), "{name}");
        }
    }
}
