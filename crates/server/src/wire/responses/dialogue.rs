//! Turns items into the messages of a chat: what one turn of the model wrote becomes one message.

use std::collections::HashSet;

use myriad_token::Message;
use serde_json::{Map, Value, json};

use super::items::{Item, Part};
use crate::errors::ApiError;
use crate::wire::messages::name_results;

/// The messages of a dialogue, with the instructions before them.
pub fn messages(instructions: Option<&str>, items: &[Item]) -> Vec<Message> {
    let mut dialogue = Dialogue::default();
    if let Some(text) = instructions {
        dialogue.say("system", text.to_owned());
    }
    for item in items {
        dialogue.add(item);
    }
    dialogue.end_turn();
    name_results(&mut dialogue.messages);
    dialogue.messages
}

/// Each result must be of a call before it.
///
/// # Errors
/// 400 naming the call that is not there.
pub fn check_results(items: &[Item]) -> Result<(), ApiError> {
    let mut calls = HashSet::new();
    for item in items {
        match item {
            Item::FunctionCall { call_id, .. } => {
                calls.insert(call_id);
            }
            Item::FunctionCallOutput { call_id, .. } if !calls.contains(call_id) => {
                let shown: String = call_id.chars().take(64).collect();
                let message =
                    format!("No tool call found for function call output with call_id {shown}.");
                return Err(ApiError::invalid("input", message));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The dialogue without its oldest `count` messages: what instructs stays, and so do no results
/// whose calls are gone.
pub fn shortened(messages: &[Message], count: usize) -> Vec<Message> {
    let instructs = |message: &Message| matches!(message.role.as_str(), "system" | "developer");
    let mut dropped = 0;
    let mut within_turn = true;
    let kept = messages.iter().filter(|message| {
        if instructs(message) {
            return true;
        }
        if dropped < count {
            dropped += 1;
            return false;
        }
        within_turn &= message.role == "tool";
        !within_turn || count == 0
    });
    kept.cloned().collect()
}

#[derive(Default)]
struct Dialogue {
    messages: Vec<Message>,
    /// The model's turn that is being put together.
    turn: Option<Turn>,
}

#[derive(Default)]
struct Turn {
    thoughts: String,
    text: String,
    calls: Vec<Value>,
}

impl Dialogue {
    fn add(&mut self, item: &Item) {
        match item {
            Item::Message { role, content, .. } if role == "assistant" => {
                let text = joined(content);
                let turn = self.turn.get_or_insert_default();
                if !turn.text.is_empty() || !turn.calls.is_empty() {
                    self.end_turn();
                }
                self.turn.get_or_insert_default().text = text;
            }
            Item::Message { role, content, .. } => self.say(role, joined(content)),
            Item::Reasoning { summary, content, .. } => {
                let thoughts = if content.is_empty() { summary } else { content };
                let thoughts = joined(thoughts);
                let turn = self.turn.get_or_insert_default();
                if !turn.text.is_empty() || !turn.calls.is_empty() {
                    self.end_turn();
                }
                let turn = self.turn.get_or_insert_default();
                let between = if turn.thoughts.is_empty() { "" } else { "\n" };
                turn.thoughts.push_str(between);
                turn.thoughts.push_str(&thoughts);
            }
            Item::FunctionCall { call_id, name, arguments, .. } => {
                let function = json!({ "name": name, "arguments": arguments });
                let call = json!({ "id": call_id, "type": "function", "function": function });
                self.turn.get_or_insert_default().calls.push(call);
            }
            Item::Compaction { encrypted_content, .. } => {
                self.say("user", encrypted_content.told());
            }
            Item::FunctionCallOutput { call_id, output, .. } => {
                let text = match output {
                    Value::String(text) => text.clone(),
                    parts => {
                        let parts = serde_json::from_value::<Vec<Part>>(parts.clone());
                        joined(&parts.unwrap_or_default())
                    }
                };
                self.end_turn();
                let id = Value::from(call_id.as_str());
                let extra = Map::from_iter([("tool_call_id".to_owned(), id)]);
                self.messages.push(Message { role: "tool".to_owned(), content: text, extra });
            }
        }
    }

    fn say(&mut self, role: &str, content: String) {
        self.end_turn();
        self.messages.push(Message { role: role.to_owned(), content, extra: Map::new() });
    }

    fn end_turn(&mut self) {
        let Some(turn) = self.turn.take() else { return };
        let mut extra = Map::new();
        if !turn.thoughts.is_empty() {
            // gpt-oss's template has a name of its own for them.
            extra.insert("thinking".to_owned(), turn.thoughts.clone().into());
            extra.insert("reasoning_content".to_owned(), turn.thoughts.into());
        }
        if !turn.calls.is_empty() {
            extra.insert("tool_calls".to_owned(), turn.calls.into());
        }
        self.messages.push(Message { role: "assistant".to_owned(), content: turn.text, extra });
    }
}

fn joined(parts: &[Part]) -> String {
    parts.iter().map(Part::text).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::responses::items::{Sent, read};

    fn items(json: Value) -> Vec<Item> {
        let raw = serde_json::value::to_raw_value(&json).unwrap();
        let read = read(&raw, "input").unwrap();
        let item = |sent| match sent {
            Sent::Item(item) => item,
            Sent::Reference { .. } => panic!("no references here"),
        };
        read.into_iter().map(item).collect()
    }

    fn turns() -> Vec<Item> {
        items(json!([
            { "role": "user", "content": "Warm?" },
            { "type": "reasoning", "summary": [], "id": "rs_1",
              "content": [{ "type": "reasoning_text", "text": "Look." }] },
            { "type": "message", "role": "assistant",
              "content": [{ "type": "output_text", "text": "I look.", "annotations": [] }] },
            { "type": "function_call", "call_id": "c1", "name": "temperature", "arguments": "" },
            { "type": "function_call", "call_id": "c2", "name": "wind", "arguments": "{}" },
            { "type": "function_call_output", "call_id": "c1", "output": "18" },
            { "type": "function_call_output", "call_id": "c2",
              "output": [{ "type": "input_text", "text": "none" }] },
            { "role": "assistant", "content": "It is." },
            { "role": "user", "content": [{ "type": "input_text", "text": "Thanks" }] },
        ]))
    }

    #[test]
    fn what_one_turn_wrote_is_one_message() {
        let messages = messages(Some("Be short."), &turns());
        let seen: Vec<_> =
            messages.iter().map(|it| (it.role.as_str(), it.content.as_str())).collect();
        assert_eq!(
            seen,
            [
                ("system", "Be short."),
                ("user", "Warm?"),
                ("assistant", "I look."),
                ("tool", "18"),
                ("tool", "none"),
                ("assistant", "It is."),
                ("user", "Thanks"),
            ]
        );
        assert_eq!(messages[2].extra["reasoning_content"], "Look.");
        assert_eq!(messages[2].extra["tool_calls"].as_array().unwrap().len(), 2);
        assert_eq!(messages[4].extra["name"], "wind");
    }

    #[test]
    fn results_need_their_calls_and_go_with_them() {
        assert!(check_results(&turns()).is_ok());
        let lost = items(json!([{ "type": "function_call_output", "call_id": "x", "output": "" }]));
        assert_eq!(check_results(&lost).unwrap_err().param.as_deref(), Some("input"));
        let all = messages(Some("Be short."), &turns());
        let roles = |count| {
            let left = shortened(&all, count);
            left.iter().map(|it| it.role.clone()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(roles(0), "system user assistant tool tool assistant user");
        assert_eq!(roles(1), "system assistant tool tool assistant user");
        for count in [2, 3, 4] {
            assert_eq!(roles(count), "system assistant user");
        }
        assert_eq!(roles(5), "system user");
    }
}
