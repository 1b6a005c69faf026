//! Answers of each format, cut in any way, become the same events; nothing of them is lost.

mod common;

use common::answers::{check, cut, format, parse, show, tools};
use common::{Random, golden, tiny_spec};
use myriad_token::limits::{JSON_DEPTH_MAX, TOOL_CALLS_MAX, TOOL_NAME_BYTES_MAX};
use myriad_token::{
    AnswerEvent, AnswerFormat, AnswerParser, CallFormat, ReasoningFormat, StreamDecoder, TokenType,
    Tokenizer,
};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::Value;

const CALLS: [CallFormat; 10] = [
    CallFormat::None,
    CallFormat::Hermes,
    CallFormat::Qwen3Coder,
    CallFormat::SeedOss,
    CallFormat::DeepSeek,
    CallFormat::Dsml,
    CallFormat::Llama3,
    CallFormat::FunctionGemma,
    CallFormat::Gemma4,
    CallFormat::Harmony,
];

/// Asserts what an answer becomes, whole and in pieces.
fn assert_parses(format: AnswerFormat, prompt: &str, text: &str, expected: &str) {
    let events = parse(format, prompt, &tools(), [text]);
    check(&events, text);
    assert_eq!(show(&events), expected, "{format:?}, {prompt:?} of {text:?}");
    for seed in 0..20 {
        let pieces = cut(text, &mut Random(seed), 1 + seed as usize);
        let streamed = parse(format, prompt, &tools(), pieces.iter().copied());
        assert_eq!(show(&streamed), expected, "{format:?}, {prompt:?}, seed {seed}: {pieces:?}");
    }
}

#[test]
fn answers_become_what_the_golden_file_says() {
    let golden = golden("answers.json");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let mut seen = 0;
    for group in golden.as_array().expect("groups") {
        let reasoning = match text(&group["reasoning"]).as_str() {
            "none" => ReasoningFormat::None,
            "think" => ReasoningFormat::Think,
            "seed_think" => ReasoningFormat::SeedThink,
            other => panic!("reasoning as {other}"),
        };
        for name in group["calls"].as_array().expect("names").iter().map(text) {
            let calls = CALLS.into_iter().find(|calls| calls.name() == name).expect("a format");
            for answer in group["answers"].as_array().expect("answers") {
                let format = format(reasoning, calls);
                assert_parses(
                    format,
                    &text(&group["prompt"]),
                    &text(&answer[0]),
                    &text(&answer[1]),
                );
                seen += 1;
            }
        }
    }
    assert!(seen >= 140, "{seen} answers");
}

#[test]
fn without_tools_there_are_no_calls() {
    let text = "<|channel|>commentary to=functions.stop<|message|>{}<|call|>";
    let harmony = format(ReasoningFormat::None, CallFormat::Harmony);
    assert_eq!(show(&parse(harmony, "", &[], [text])), "T {}");
    let text = "a \n<tool_call>{\"name\": \"stop\"}</tool_call>\n";
    let hermes = format(ReasoningFormat::None, CallFormat::Hermes);
    assert_eq!(show(&parse(hermes, "", &[], [text])), format!("T {text}"));
}

#[test]
fn limits_end_calls_and_names() {
    let call = |name: &str| {
        format!("<tool_call>{{\"name\": \"{name}\", \"arguments\": {{}}}}</tool_call>")
    };
    let hermes = format(ReasoningFormat::None, CallFormat::Hermes);
    let events = parse(hermes, "", &tools(), [call("stop").repeat(TOOL_CALLS_MAX + 1).as_str()]);
    check(&events, "many calls");
    let calls = events.iter().filter(|e| matches!(e, AnswerEvent::ToolCallStart { .. })).count();
    assert_eq!(calls, TOOL_CALLS_MAX);
    assert_eq!(events.last(), Some(&AnswerEvent::Text(call("stop"))));

    for (length, expected) in [(TOOL_NAME_BYTES_MAX, 1), (TOOL_NAME_BYTES_MAX + 1, 0)] {
        let name = "n".repeat(length);
        let wide = format!("{}n", "é".repeat(length / 2)) + &"n".repeat(length % 2);
        let texts = [
            (CallFormat::Hermes, call(&name)),
            (CallFormat::Qwen3Coder, format!("<function={name}></function>")),
            (CallFormat::DeepSeek, format!("<｜tool▁call▁begin｜>{name}<｜tool▁sep｜>{{}}")),
            (
                CallFormat::Dsml,
                format!("<｜DSML｜tool_calls><｜DSML｜invoke name=\"{name}\"></｜DSML｜invoke>"),
            ),
            (CallFormat::Harmony, format!("<|channel|>x to=functions.{name}<|message|>{{}}")),
        ];
        for (calls, text) in texts {
            let format = format(ReasoningFormat::None, calls);
            let events = parse(format, "", &tools(), [text.as_str()]);
            let started = events.iter().any(|e| matches!(e, AnswerEvent::ToolCallStart { .. }));
            assert_eq!(usize::from(started), expected, "{calls:?} with {length} bytes");
            if !started {
                assert_eq!(events, [AnswerEvent::Text(text.clone())]);
            }
            let wide = text.replace(&name, &wide);
            for (name, text) in [("ascii", text), ("wide", wide)] {
                let whole = parse(format, "", &tools(), [text.as_str()]);
                let pieces = cut(&text, &mut Random(length as u64), 9);
                assert_eq!(parse(format, "", &tools(), pieces), whole, "{calls:?} {name}");
            }
        }
    }
    let header = format!("<|channel|>{}<|message|>a<|end|>", "x".repeat(600));
    let harmony = format(ReasoningFormat::None, CallFormat::Harmony);
    let expected = format!("T {}", header.trim_end_matches("<|end|>"));
    assert_parses(harmony, "", &header, &expected);

    let deep = "[".repeat(JSON_DEPTH_MAX);
    let text = format!("<｜tool▁call▁begin｜>stop<｜tool▁sep｜>{{\"a\": {deep}");
    let expected = format!("C stop {{\"a\": {}! | T [[", "[".repeat(JSON_DEPTH_MAX - 2));
    assert_parses(format(ReasoningFormat::None, CallFormat::DeepSeek), "", &text, &expected);
}

/// Texts that are made of what the formats are made of.
fn random_text(random: &mut Random) -> String {
    let parts = [
        "<think>",
        "</think>",
        "<seed:think>",
        "</seed:think>",
        "<tool_call>",
        "</tool_call>",
        "<function=stop>",
        "<function=",
        "</function>",
        "<parameter=days>",
        "</parameter>",
        "3",
        "<seed:tool_call>",
        "</seed:tool_call>",
        "<｜DSML｜tool_calls>",
        "</｜DSML｜tool_calls>",
        "<｜DSML｜invoke name=\"stop\">",
        "</｜DSML｜invoke>",
        "</｜DSML｜parameter>",
        "<｜DSML｜parameter name=\"a\" string=\"false\">",
        "<｜tool▁calls▁begin｜>",
        "<｜tool▁call▁begin｜>",
        "<｜tool▁sep｜>",
        "<｜tool▁call▁end｜>",
        "<｜tool▁calls▁end｜>",
        "function",
        "stop",
        "\n```json\n",
        "\n```",
        "<|python_tag|>",
        "<|start|>assistant",
        "<|channel|>analysis",
        "<|channel|>final",
        "<|channel|>commentary",
        " to=functions.stop ",
        "<|constrain|>json",
        "<|message|>",
        "<|end|>",
        "<|call|>",
        "<|return|>",
        "{",
        "}",
        "{}",
        "{\"name\": \"stop\", \"arguments\": {\"a\": [1, \"é\"]}}",
        "\"name\": ",
        "\"stop\"",
        ", ",
        "{\"name\": \"stop\", ",
        "\"parameters\": {",
        "\"a\": ",
        "true",
        "; ",
        "<",
        ">",
        " ",
        "\n",
        "é",
        "a",
    ];
    let count = 1 + random.below(12);
    let part = |random: &mut Random| {
        let part = *random.pick(&parts);
        let end = part.char_indices().map(|(at, _)| at).nth(random.below(40));
        // Most parts are whole.
        if random.below(6) > 0 { part } else { &part[..end.unwrap_or(part.len())] }
    };
    (0..count).map(|_| part(random)).collect()
}

/// Texts that are nearly what a format has: two calls with something between them, then up to two
/// places where a bit is lost or added.
fn near_text(calls: CallFormat, random: &mut Random) -> String {
    let call = match calls {
        CallFormat::None | CallFormat::Llama3 => {
            "{\"name\": \"stop\", \"parameters\": {\"a\": \"é\", \"b\": [1, {}]}}; "
        }
        CallFormat::Hermes => {
            "<tool_call>\n{\"name\": \"stop\", \"arguments\": {\"a\": -1.5}}\n</tool_call>\n"
        }
        CallFormat::Qwen3Coder => {
            "<tool_call>\n<function=get_weather>\n<parameter=days>\n1\n</parameter>\n\
             <parameter=city>\né\n</parameter>\n</function>\n</tool_call>\n"
        }
        CallFormat::SeedOss => {
            "<seed:tool_call>\n<function=get_weather>\n<parameter=days>1</parameter>\n\
             </function>\n</seed:tool_call>\n"
        }
        CallFormat::DeepSeek => {
            "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>stop\n```json\n{\"a\": \
             null}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>stop<｜tool▁sep｜>{\"a\": \"é\"}\
             <｜tool▁call▁end｜><｜tool▁calls▁end｜>"
        }
        CallFormat::Dsml => {
            "<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"stop\">\n<｜DSML｜parameter name=\"a\" \
             string=\"false\">[1]</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>"
        }
        _ => {
            "<|channel|>analysis<|message|>é<|end|><|start|>assistant<|channel|>commentary \
             to=functions.stop <|constrain|>json<|message|>{\"a\": 1}<|call|><|start|>assistant"
        }
    };
    let think = *random.pick(&["", "", "<think>\né\n</think>\n", "<seed:think>é</seed:think>"]);
    let between = *random.pick(&["", "\n", "é ", "{", "<"]);
    let mut text = format!("{think}{call}{between}{call}");
    for _ in 0..random.below(3) {
        let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        let at = *random.pick(&places);
        if random.below(2) == 0 {
            text.remove(at);
        } else {
            text.insert_str(at, &random_text(random));
        }
    }
    text
}

#[test]
fn cuts_make_no_difference_and_text_without_markers_stays() {
    use ReasoningFormat::{None, SeedThink, Think};
    let prompts = ["", "<think>\n", "<seed:think>", "<|start|>assistant"];
    let (mut calls, mut reasoning) = (0, 0);
    for seed in 0..20_000 {
        let mut random = Random(seed);
        let format = format(*random.pick(&[None, Think, SeedThink]), *random.pick(&CALLS));
        let prompt = *random.pick(&prompts);
        let text = match random.below(3) {
            0 => random_text(&mut random),
            _ => near_text(format.calls, &mut random),
        };
        let told = format!("seed {seed}, {format:?}, {prompt:?}, {text:?}");
        let whole = parse(format, prompt, &tools(), [text.as_str()]);
        check(&whole, &told);
        let most = 1 + random.below(20);
        let pieces = cut(&text, &mut random, most);
        let streamed = parse(format, prompt, &tools(), pieces.iter().copied());
        assert_eq!(streamed, whole, "{told} in {pieces:?}");
        let is_call = |e: &AnswerEvent| matches!(e, AnswerEvent::ToolCallStart { .. });
        let is_reasoning = |e: &AnswerEvent| matches!(e, AnswerEvent::Reasoning(_));
        calls += usize::from(whole.iter().any(is_call));
        reasoning += usize::from(whole.iter().any(is_reasoning));
        if format.calls != CallFormat::Harmony && !whole.iter().any(is_call) {
            let tags = ["<think>", "</think>", "<seed:think>", "</seed:think>"];
            if format.reasoning == None || !tags.iter().any(|tag| text.contains(tag)) {
                let all = show(&whole);
                let all = all.strip_prefix("T ").or(all.strip_prefix("R ")).unwrap_or(&all);
                let trims = !whole.iter().all(|event| matches!(event, AnswerEvent::Text(_)));
                let expected = if trims { text.trim_start() } else { text.as_str() };
                // White space alone after an opened reasoning is its frame.
                assert!(all == expected || text.trim().is_empty(), "{told}: {all:?}");
            }
        }
    }
    assert!(calls > 7000 && reasoning > 4000, "{calls} calls, {reasoning} with reasoning");
}

#[test]
fn no_more_is_held_back_than_needed() {
    let hermes = format(ReasoningFormat::Think, CallFormat::Hermes);
    let mut parser = AnswerParser::new(hermes, "", tools());
    let mut push = |text: &str| show(&parser.push(text));
    assert_eq!(push("<think> a"), "R a");
    assert_eq!(push(" "), "");
    assert_eq!(push("</th"), "");
    assert_eq!(push("e"), "R  </the");
    assert_eq!(push("</think>"), "");
    assert_eq!(push("\nb"), "T b");
    assert_eq!(push(" <"), "");
    assert_eq!(push("c> "), "T  <c>");
    assert_eq!(push("<tool_call>\n{\"name\": \"stop\", \"arguments\": "), "");
    assert_eq!(push("{\"a\":"), "C stop {\"a\":");
    assert_eq!(push(" \"b"), " \"b");
    assert_eq!(push("\"}"), "\"}");
    assert_eq!(push("}"), "");
    assert_eq!(push("\n</tool_"), "");
    assert_eq!(push("call> d"), "T d");
    let mut parser =
        AnswerParser::new(format(ReasoningFormat::None, CallFormat::Llama3), "", tools());
    assert_eq!(show(&parser.push("{\"a\"")), "T {\"a\"");
}

#[test]
fn markers_are_the_control_tokens_that_a_parser_needs_to_see() {
    use ReasoningFormat::{None, SeedThink, Think};
    let texts = [
        "<|im_end|>",
        "<|channel|>",
        "</think>",
        "<seed:cot_budget_reflect>",
        "<｜tool▁sep｜>",
        "<|python_tag|>",
        "</seed:tool_call>",
        "</tool_call>",
    ];
    let spec = tiny_spec(&texts.map(|text| (text, TokenType::Control)), &[]);
    let tokenizer = Tokenizer::new(&spec).expect("a vocabulary");
    let cases = [
        (None, CallFormat::None, vec![]),
        (Think, CallFormat::None, vec!["</think>"]),
        (Think, CallFormat::Hermes, vec!["</think>", "</tool_call>"]),
        (None, CallFormat::Harmony, vec!["<|channel|>"]),
        (None, CallFormat::DeepSeek, vec!["<｜tool▁sep｜>"]),
        (None, CallFormat::Llama3, vec!["<|python_tag|>"]),
        (SeedThink, CallFormat::SeedOss, vec!["<seed:cot_budget_reflect>", "</seed:tool_call>"]),
    ];
    for (reasoning, calls, expected) in cases {
        let mut decoder = StreamDecoder::for_answer(&tokenizer, &format(reasoning, calls));
        let shown = (256..264).map(|id| decoder.push(&tokenizer, id));
        let shown: Vec<String> = shown.filter(|text| !text.is_empty()).collect();
        assert_eq!(shown, expected, "{reasoning:?}, {calls:?}");
    }
}

/// What formats are made of, as a regular expression.
const MARKS: &str = concat!(
    r#"([<>{}"|:,/a-z\[\]\\ \n]|<tool_call>|</think>|<\|channel\|>|<\|message\|>|<function=|"#,
    r#"\{"name": |"stop"|"arguments": |<｜tool▁sep｜>|<｜DSML｜tool_calls>){0,60}"#
);

proptest! {
    #[test]
    fn no_text_panics_or_depends_on_its_pieces(
        calls in select(&CALLS[..]),
        opened in any::<bool>(),
        text in any::<String>(),
        marks in MARKS,
        seed in any::<u64>(),
    ) {
        let format = format(ReasoningFormat::Think, calls);
        let prompt = if opened { "<think>" } else { "" };
        let text = format!("{marks}{text}");
        let whole = parse(format, prompt, &tools(), [text.as_str()]);
        check(&whole, &text);
        let pieces = cut(&text, &mut Random(seed), 6);
        prop_assert_eq!(parse(format, prompt, &tools(), pieces), whole);
    }
}

#[test]
fn what_skips_reasoning_depends_on_how_the_prompt_ends() {
    let think = AnswerFormat { reasoning: ReasoningFormat::Think, calls: CallFormat::Hermes };
    let harmony = AnswerFormat { reasoning: ReasoningFormat::None, calls: CallFormat::Harmony };
    for (format, end, off, right) in [
        (think, "assistant\n", false, "<think>\n\n</think>\n\n"),
        (think, "assistant\n", true, ""),
        (think, "assistant\n<think>\n", false, "\n</think>\n\n"),
        (think, "assistant\n<think>", true, "\n\n</think>\n\n"),
        (think, "assistant\n<think>\n\n</think>\n\n", true, ""),
        (think, "<｜Assistant｜></think>", false, ""),
        (harmony, "<|start|>assistant", false, "<|channel|>final<|message|>"),
        (AnswerFormat::PLAIN, "assistant\n", false, ""),
    ] {
        assert_eq!(format.skip_reasoning(end, off), right, "{end:?}");
    }
}
