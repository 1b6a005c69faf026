//! Events of answers as one line of text, and answers cut into pieces.

use myriad_token::{
    AnswerEvent, AnswerFormat, AnswerParser, AnswerTool, CallFormat, ReasoningFormat,
};
use serde_json::{Value, json};

use super::Random;

pub fn format(reasoning: ReasoningFormat, calls: CallFormat) -> AnswerFormat {
    AnswerFormat { reasoning, calls }
}

/// Two tools: one with parameters of all types, one whose parameters are not described.
pub fn tools() -> Vec<AnswerTool> {
    let parameters = json!({
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "code": {"type": "string"},
            "days": {"type": "integer"},
            "exact": {"type": "boolean"},
            "note": {"type": ["string", "null"]},
            "ratio": {"type": "number"},
            "list": {"type": "array"},
            "map": {"type": "object"},
        },
    });
    vec![
        AnswerTool { name: "get_weather".to_owned(), parameters: Some(parameters) },
        AnswerTool { name: "stop".to_owned(), parameters: None },
    ]
}

/// The same events with neighbours of a kind as one.
pub fn joined(events: impl IntoIterator<Item = AnswerEvent>) -> Vec<AnswerEvent> {
    use AnswerEvent::{Reasoning, Text, ToolCallArguments};
    let mut all: Vec<AnswerEvent> = Vec::new();
    for event in events {
        match (all.last_mut(), &event) {
            (Some(Reasoning(last)), Reasoning(text)) | (Some(Text(last)), Text(text)) => {
                last.push_str(text);
            }
            (Some(ToolCallArguments { json: last, .. }), ToolCallArguments { json, .. }) => {
                last.push_str(json);
            }
            _ => all.push(event),
        }
    }
    all
}

/// What a parser makes of pieces.
pub fn parse<'a>(
    format: AnswerFormat,
    prompt: &str,
    tools: &[AnswerTool],
    pieces: impl IntoIterator<Item = &'a str>,
) -> Vec<AnswerEvent> {
    let mut parser = AnswerParser::new(format, prompt, tools.to_vec());
    let mut events: Vec<AnswerEvent> =
        pieces.into_iter().flat_map(|piece| parser.push(piece)).collect();
    events.extend(parser.finish());
    joined(events)
}

/// A text in pieces of one to `most` characters.
pub fn cut<'a>(text: &'a str, random: &mut Random, most: usize) -> Vec<&'a str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let count = 1 + random.below(most);
        let end = rest.char_indices().nth(count).map_or(rest.len(), |(at, _)| at);
        pieces.push(&rest[..end]);
        rest = &rest[end..];
    }
    pieces
}

/// Checks that calls are started, filled and ended in order, that those that end as complete have
/// an object as arguments, and that no event is empty.
pub fn check(events: &[AnswerEvent], told: &str) {
    let mut open: Option<(usize, String)> = None;
    let mut calls = 0;
    for event in events {
        match event {
            AnswerEvent::Reasoning(text) | AnswerEvent::Text(text) => {
                assert!(open.is_none() && !text.is_empty(), "{told}: {events:?}");
            }
            AnswerEvent::ToolCallStart { index, name } => {
                assert!(open.is_none() && *index == calls, "{told}: {events:?}");
                assert!(!name.is_empty(), "{told}: {events:?}");
                calls += 1;
                open = Some((*index, String::new()));
            }
            AnswerEvent::ToolCallArguments { index, json } => {
                let (open, arguments) = open.as_mut().expect("a call before its arguments");
                assert!(open == index && !json.is_empty(), "{told}: {events:?}");
                arguments.push_str(json);
            }
            AnswerEvent::ToolCallEnd { index, complete } => {
                let (open, arguments) = open.take().expect("a call before its end");
                assert_eq!(open, *index, "{told}: {events:?}");
                let is_object = arguments.starts_with('{')
                    && serde_json::from_str::<serde::de::IgnoredAny>(&arguments).is_ok();
                assert_eq!(is_object, *complete, "{told}: {events:?}");
            }
            _ => unreachable!("an event that this test does not know: {event:?}"),
        }
    }
    assert!(open.is_none(), "{told}: a call without an end in {events:?}");
}

/// `R reasoning | T text | C name {arguments}`, with `!` behind a call that is incomplete.
pub fn show(events: &[AnswerEvent]) -> String {
    let mut out = String::new();
    for event in events {
        let bar = if out.is_empty() { "" } else { " | " };
        match event {
            AnswerEvent::Reasoning(text) => out.push_str(&format!("{bar}R {text}")),
            AnswerEvent::Text(text) => out.push_str(&format!("{bar}T {text}")),
            AnswerEvent::ToolCallStart { name, .. } => out.push_str(&format!("{bar}C {name} ")),
            AnswerEvent::ToolCallArguments { json, .. } => out.push_str(json),
            AnswerEvent::ToolCallEnd { complete: true, .. } => {}
            AnswerEvent::ToolCallEnd { .. } => out.push('!'),
            _ => out.push_str("unknown"),
        }
    }
    out
}

/// Names and arguments of all calls, all text and all reasoning.
pub fn collected(events: &[AnswerEvent]) -> (Vec<(String, Value)>, String, String) {
    let (mut calls, mut text, mut reasoning) = (Vec::new(), String::new(), String::new());
    for event in events {
        match event {
            AnswerEvent::Reasoning(more) => reasoning.push_str(more),
            AnswerEvent::Text(more) => text.push_str(more),
            AnswerEvent::ToolCallStart { name, .. } => calls.push((name.clone(), Value::Null)),
            AnswerEvent::ToolCallArguments { json, .. } => {
                let value = serde_json::from_str(json).expect("whole arguments");
                calls.last_mut().expect("a call").1 = value;
            }
            _ => {}
        }
    }
    (calls, text, reasoning)
}
