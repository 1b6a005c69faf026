//! Turns arbitrary answers into events: the same ones however they are cut, and nothing is lost.
#![no_main]

use libfuzzer_sys::fuzz_target;
use myriad_token::{
    AnswerEvent, AnswerFormat, AnswerParser, AnswerTool, CallFormat, ReasoningFormat,
};
use serde_json::{Value, json};

const REASONING: [ReasoningFormat; 3] =
    [ReasoningFormat::None, ReasoningFormat::Think, ReasoningFormat::SeedThink];
const CALLS: [CallFormat; 10] = [
    CallFormat::None,
    CallFormat::Hermes,
    CallFormat::Qwen3Coder,
    CallFormat::SeedOss,
    CallFormat::Dsml,
    CallFormat::DeepSeek,
    CallFormat::Llama3,
    CallFormat::FunctionGemma,
    CallFormat::Gemma4,
    CallFormat::Harmony,
];
const PROMPTS: [&str; 4] = ["", "<think>\n", "<seed:think>", "<|start|>assistant"];

// The first byte chooses the format of calls and the reasoning, the second the prompt and how the
// rest, the answer, is cut into pieces.
fuzz_target!(|data: &[u8]| {
    let [format, cut, text @ ..] = data else { return };
    let (format, cut) = (usize::from(*format), usize::from(*cut));
    let reasoning = REASONING[format / CALLS.len() % REASONING.len()];
    let format = AnswerFormat { reasoning, calls: CALLS[format % CALLS.len()] };
    let prompt = PROMPTS[cut % PROMPTS.len()];
    let text = String::from_utf8_lossy(text);

    let whole = events(format, prompt, [&*text]);
    check(&whole);
    let ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
    let mut from = 0;
    let pieces = ends.filter(|end| end % (1 + cut / PROMPTS.len()) == 0 || *end == text.len());
    let pieces = pieces.map(|end| &text[std::mem::replace(&mut from, end)..end]);
    assert_eq!(events(format, prompt, pieces), whole);

    let is_text = matches!(&whole[..], [AnswerEvent::Text(all)] if *all == text);
    if format.reasoning == ReasoningFormat::None && format.calls != CallFormat::Harmony {
        let is_call = |event: &AnswerEvent| matches!(event, AnswerEvent::ToolCallStart { .. });
        assert!(is_text || text.is_empty() || whole.iter().any(is_call), "lost: {whole:?}");
    }
});

fn events<'a>(
    format: AnswerFormat,
    prompt: &str,
    pieces: impl IntoIterator<Item = &'a str>,
) -> Vec<AnswerEvent> {
    let types = json!({"a": {"type": "integer"}, "b": {"type": "object"}, "c": {}});
    let tools = vec![
        AnswerTool { name: "stop".to_owned(), parameters: None },
        AnswerTool { name: "get".to_owned(), parameters: Some(json!({"properties": types})) },
    ];
    let mut parser = AnswerParser::new(format, prompt, tools);
    let mut all: Vec<AnswerEvent> = Vec::new();
    let mut join = |events: Vec<AnswerEvent>| {
        use AnswerEvent::{Reasoning, Text, ToolCallArguments};
        for event in events {
            match (all.last_mut(), &event) {
                (Some(Reasoning(last)), Reasoning(more))
                | (Some(Text(last)), Text(more))
                | (
                    Some(ToolCallArguments { json: last, .. }),
                    ToolCallArguments { json: more, .. },
                ) => last.push_str(more),
                _ => all.push(event),
            }
        }
    };
    pieces.into_iter().for_each(|piece| join(parser.push(piece)));
    join(parser.finish());
    all
}

/// Calls are started, filled and ended in order; arguments that are complete are an object.
fn check(events: &[AnswerEvent]) {
    let mut open: Option<&str> = None;
    let mut calls = 0;
    for event in events {
        match event {
            AnswerEvent::ToolCallStart { index, name } => {
                assert!(open.is_none() && *index == calls && !name.is_empty());
                (open, calls) = (Some(""), calls + 1);
            }
            AnswerEvent::ToolCallArguments { index, json } => {
                assert!(open == Some("") && index + 1 == calls);
                open = Some(json);
            }
            AnswerEvent::ToolCallEnd { index, complete } => {
                let json = open.take().expect("a call before its end");
                let is_value = serde_json::from_str::<Value>(json).is_ok();
                // Numbers and surrogates that serde_json has no value for are JSON nevertheless.
                let is_object = json.starts_with('{') && json.ends_with('}');
                assert!(index + 1 == calls && if *complete { is_object } else { !is_value });
            }
            AnswerEvent::Reasoning(text) | AnswerEvent::Text(text) => {
                assert!(open.is_none() && !text.is_empty());
            }
            _ => {}
        }
    }
    assert!(open.is_none());
}
