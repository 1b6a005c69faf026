//! Turns tools, calls and results into text, for templates that have no place for them.
//!
//! Most models have read enough of one way to write calls, that of Hermes and Qwen, to follow it
//! when it is described to them; DeepSeek's are told of their own, as their makers do it.

use myriad_token::{CallFormat, Message};
use serde_json::{Map, Value};

/// What a model is told of its tools.
pub fn tools(calls: CallFormat, definitions: &[Value]) -> String {
    match calls {
        CallFormat::DeepSeek => deepseek(definitions),
        _ => hermes(definitions),
    }
}

fn hermes(definitions: &[Value]) -> String {
    let lines: Vec<_> = definitions.iter().map(Value::to_string).collect();
    format!(
        "# Tools\n\nYou may call one or more functions to assist with the user query. These are \
         their signatures, one a line:\n<tools>\n{}\n</tools>\n\nFor each call, return a JSON \
         object with the function's name and arguments within <tool_call></tool_call> \
         tags:\n<tool_call>\n{{\"name\": <name>, \"arguments\": <arguments>}}\n</tool_call>",
        lines.join("\n")
    )
}

/// As the model card of DeepSeek-V3.1 wants it.
fn deepseek(definitions: &[Value]) -> String {
    let mut text = "## Tools\n\nYou have access to the following tools:\n".to_owned();
    for definition in definitions {
        let function = &definition["function"];
        let field = |name: &str| function[name].as_str().unwrap_or_default();
        text.push_str(&format!(
            "\n### {}\nDescription: {}\n\nParameters: {}\n",
            field("name"),
            field("description"),
            function.get("parameters").unwrap_or(&Value::Object(Map::new()))
        ));
    }
    text + "\nIMPORTANT: ALWAYS adhere to this exact format for tool use:\n\
            <｜tool▁calls▁begin｜><｜tool▁call▁begin｜>NAME<｜tool▁sep｜>ARGUMENTS<｜tool▁call▁end｜>\
            <｜tool▁calls▁end｜>\n\nNAME is the exact name of one of the tools, ARGUMENTS a JSON \
            object that keeps to its parameters. Several calls stand directly one after another."
}

/// Puts a text before all messages: into the system's, or where the template has none, the user's.
pub fn tell(messages: &mut Vec<Message>, text: String, system: bool) {
    let told = |first: &Message| if system { first.role == "system" } else { first.role == "user" };
    match messages.iter_mut().find(|message| told(message)) {
        Some(first) => {
            let joined = match system {
                true => format!("{}\n\n{text}", first.content),
                false => format!("{text}\n\n{}", first.content),
            };
            first.content = joined.trim().to_owned();
        }
        None => {
            let role = if system { "system" } else { "user" };
            let told = Message { role: role.into(), content: text, extra: Map::new() };
            messages.insert(0, told);
        }
    }
}

/// Calls and results as text of their messages; results of one turn are one message of the user's.
pub fn written(messages: Vec<Message>) -> Vec<Message> {
    let mut out: Vec<Message> = Vec::with_capacity(messages.len());
    let mut after_result = false;
    for mut message in messages {
        let is_result = message.role == "tool";
        if is_result {
            let text = format!("<tool_response>\n{}\n</tool_response>", message.content);
            match out.last_mut().filter(|_| after_result) {
                Some(last) => {
                    last.content.push('\n');
                    last.content.push_str(&text);
                }
                None => {
                    out.push(Message { role: "user".into(), content: text, extra: Map::new() });
                }
            }
        } else {
            let calls = message.extra.remove("tool_calls");
            for call in calls.as_ref().and_then(Value::as_array).into_iter().flatten() {
                let function = &call["function"];
                // Arguments are JSON already.
                let (name, arguments) = (&function["name"], function["arguments"].as_str());
                let arguments = arguments.unwrap_or("{}");
                let call = format!(
                    "<tool_call>\n{{\"name\": {name}, \"arguments\": {arguments}}}\n</tool_call>"
                );
                if !message.content.is_empty() {
                    message.content.push('\n');
                }
                message.content.push_str(&call);
            }
            out.push(message);
        }
        after_result = is_result;
    }
    out
}
