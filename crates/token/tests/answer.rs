//! Answers of each format, cut in any way, become the same events; nothing of them is lost.

mod common;

use common::Random;
use common::answers::{check, cut, format, parse, show, tools};
use myriad_token::limits::{JSON_DEPTH_MAX, TOOL_CALLS_MAX, TOOL_NAME_BYTES_MAX};
use myriad_token::{AnswerEvent, AnswerFormat, AnswerParser, CallFormat, ReasoningFormat};

const CALLS: [CallFormat; 8] = [
    CallFormat::None,
    CallFormat::Hermes,
    CallFormat::Qwen3Coder,
    CallFormat::SeedOss,
    CallFormat::DeepSeek,
    CallFormat::Dsml,
    CallFormat::Llama3,
    CallFormat::Harmony,
];

/// Asserts what an answer becomes, whole and in pieces.
fn assert_parses(format: AnswerFormat, prompt: &str, text: &str, expected: &str) {
    let events = parse(format, prompt, &tools(), [text]);
    check(&events, text);
    assert_eq!(show(&events), expected, "{format:?} of {text:?}");
    for seed in 0..20 {
        let pieces = cut(text, &mut Random(seed), 1 + seed as usize);
        let streamed = parse(format, prompt, &tools(), pieces.iter().copied());
        assert_eq!(show(&streamed), expected, "{format:?}, seed {seed}: {pieces:?}");
    }
}

fn assert_all(calls: CallFormat, cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_parses(format(ReasoningFormat::None, calls), "", text, expected);
    }
}

#[test]
fn plain_answers_are_text() {
    let texts = ["", "Hi.", "  <think> \n", "<tool_call>{}</tool_call>\n", "<|channel|>"];
    for text in texts {
        let expected = if text.is_empty() { String::new() } else { format!("T {text}") };
        assert_parses(AnswerFormat::PLAIN, "<think>", text, &expected);
    }
}

#[test]
fn reasoning_is_told_from_text() {
    let think = [
        ("", "<think>\nHm.\n\nOh.\n</think>\n\nYes.\n", "R Hm.\n\nOh. | T Yes.\n"),
        ("", "\n <think></think>Yes.", "T Yes."),
        ("", "Yes. <think>No.</think>", "T Yes. <think>No.</think>"),
        ("", "\n Yes.", "T \n Yes."),
        ("", "</think>Yes.</think>", "T Yes.</think>"),
        ("", "</thin", "T </thin"),
        ("", "<think>Hm. ", "R Hm. "),
        ("", "<think>Hm.</thin", "R Hm.</thin"),
        ("", "<think>a </thin b</think>c", "R a </thin b | T c"),
        ("", "<think>Hm.</think>\n\n", "R Hm."),
        ("", "<thin", "T <thin"),
        ("", "<b>", "T <b>"),
        ("assistant\n<think>\n", "Hm.\n</think>\n\nYes.", "R Hm. | T Yes."),
        ("assistant\n<think>\n", "<think>\nHm.</think>Yes.", "R Hm. | T Yes."),
        ("assistant\n<think>\n", "Hm. <think> again", "R Hm. <think> again"),
        ("assistant\n<think>\n", "<thin", "R <thin"),
        ("assistant\n<think>\n", "</think>Yes.", "T Yes."),
        ("<think>\n\n</think>\n\n", "Yes. </think>", "T Yes. </think>"),
    ];
    for (prompt, text, expected) in think {
        for calls in [CallFormat::None, CallFormat::Hermes, CallFormat::DeepSeek] {
            assert_parses(format(ReasoningFormat::Think, calls), prompt, text, expected);
        }
    }
    let text = "<seed:think>Hm.<seed:cot_budget_reflect>9 left.</seed:cot_budget_reflect> Oh.\n\
                </seed:think>Yes.";
    let expected = "R Hm.<seed:cot_budget_reflect>9 left.</seed:cot_budget_reflect> Oh. | T Yes.";
    let seed = format(ReasoningFormat::SeedThink, CallFormat::SeedOss);
    assert_parses(seed, "<seed:bos>assistant\n", text, expected);
}

#[test]
fn hermes_calls() {
    assert_all(
        CallFormat::Hermes,
        &[
            (
                "Let me see. \n<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \
             \"Zürich <&> </tool_call>\", \"days\": 3}}\n</tool_call>\n",
                "T Let me see. | C get_weather {\"city\": \"Zürich <&> </tool_call>\", \"days\": 3}",
            ),
            (
                "<tool_call>{\"name\": \"stop\", \"arguments\": {}}</tool_call>\n<tool_call>\n\
             {\"arguments\": {\"a\": [{}, -1.5e3]}, \"id\": 7, \"name\": \"st\\u006fp\"}</tool_call>\
             \n\nDone.",
                "C stop {} | C stop {\"a\": [{}, -1.5e3]} | T Done.",
            ),
            ("<tool_call>\n{\"name\": \"stop\"}\n</tool_call>", "C stop {}"),
            // Without what belongs around it, or with two in one.
            ("<tool_call>{\"name\": \"stop\", \"arguments\": {}}", "C stop {}"),
            (
                "<tool_call>{\"name\": \"a\"}\n{\"name\": \"b\"}</tool_call> </tool_call>",
                "C a {} | C b {} | T </tool_call>",
            ),
            ("<tool_call>{\"name\": \"a\"}<tool_call>{\"name\": \"b\"}", "C a {} | C b {}"),
            ("<tool_call>{\"name\": \"a\"} so.</tool_call>", "C a {} | T so.</tool_call>"),
            (
                "<tool_call>{\"name\": \"a\", \"arguments\": {\"b\": 1}\n</tool_call> c",
                "C a {\"b\": 1} | T c",
            ),
            // As tags.
            ("<tool_call><function=stop></function></tool_call>", "C stop {}"),
            // No calls.
            ("<tool_call>", "T <tool_call>"),
            ("a <tool_call> b", "T a <tool_call> b"),
            ("a\n<tool_call>\n</tool_call> b", "T a\n<tool_call>\n</tool_call> b"),
            ("<tool_call>[]</tool_call>", "T <tool_call>[]</tool_call>"),
            ("<tool_call>{}</tool_call>", "T <tool_call>{}</tool_call>"),
            ("<tool_call>{'name': 1}", "T <tool_call>{'name': 1}"),
            ("<tool_call>{\"name\": \"a\",}", "T <tool_call>{\"name\": \"a\",}"),
            ("<tool_call>{\"name\": \"\"}", "T <tool_call>{\"name\": \"\"}"),
            ("<tool_call>{\"name\": \"a\\n\"}", "T <tool_call>{\"name\": \"a\\n\"}"),
            (
                "<tool_call>{\"name\": \"a\", \"arguments\": []}",
                "T <tool_call>{\"name\": \"a\", \"arguments\": []}",
            ),
            (
                "<tool_call>{\"name\": \"a\", \"name\": \"b\"}",
                "T <tool_call>{\"name\": \"a\", \"name\": \"b\"}",
            ),
            ("<tool_call>{\"arguments\": {\"a\": 1}}", "T <tool_call>{\"arguments\": {\"a\": 1}}"),
            (
                "<tool_call>{bad <tool_call>{\"name\": \"stop\", \"arguments\": {}}</tool_call>",
                "T <tool_call>{bad | C stop {}",
            ),
            // Broken off or broken in the middle of the arguments.
            ("<tool_call>{\"name\": \"a\", \"argum", "T <tool_call>{\"name\": \"a\", \"argum"),
            ("<tool_call>{\"name\": \"a\", \"arguments\": {\"b\": \"c", "C a {\"b\": \"c!"),
            ("<tool_call>{\"name\": \"a\", \"arguments\": {\"b\": é} d", "C a {\"b\": ! | T é} d"),
        ],
    );
}

#[test]
fn calls_of_tags() {
    let text = "I look.\n\n<tool_call>\n<function=get_weather>\n<parameter=city>\n12\n</parameter>\n\
                <parameter=days>\n3\n</parameter>\n<parameter=code>\n\n  if a < b:\n\tc(\"</p>\")\n\n\
                </parameter>\n<parameter=exact>\nTrue\n</parameter>\n<parameter=list>\n[1, {}]\n\
                </parameter>\n<parameter=other>4</parameter>\n</function>\n</tool_call>\n\
                <tool_call><function=stop></function></tool_call>";
    let expected = "T I look. | C get_weather {\"city\": \"12\", \"days\": 3, \
                    \"code\": \"\\n  if a < b:\\n\\tc(\\\"</p>\\\")\\n\", \"exact\": true, \
                    \"list\": [1, {}], \"other\": \"4\"} | C stop {}";
    assert_all(
        CallFormat::Qwen3Coder,
        &[
            (text, expected),
            ("<function=stop>\n</function>\n</tool_call>", "C stop {}"),
            ("<tool_call>{\"name\": \"stop\", \"arguments\": {}}</tool_call>", "C stop {}"),
            (
                "<tool_call><function=a></function>\n<function=b></function></tool_call>",
                "C a {} | C b {}",
            ),
            ("Use <function=NAME> for it.", "T Use <function=NAME> for it."),
            ("<function=a>b</function> c", "T <function=a>b</function> c"),
            ("<function=></function>", "T <function=></function>"),
            ("<function=a\nb></function>", "T <function=a\nb></function>"),
            (
                "<function=a><parameter=b>1</parameter><parameter=b>2</parameter></function>",
                "T <function=a><parameter=b>1</parameter><parameter=b>2</parameter></function>",
            ),
            ("<function=a><parameter=b>c</param", "T <function=a><parameter=b>c</param"),
            ("<function=a>\n<param", "T <function=a>\n<param"),
        ],
    );
    assert_all(
        CallFormat::SeedOss,
        &[
            (
                "\nOh.\n\n<seed:tool_call>\n<function=get_weather>\n<parameter=city>\n a</parameter>\n\
             <parameter=map>{'b': [None, 'c']}</parameter>\n</function>\n</seed:tool_call>",
                "T \nOh. | C get_weather {\"city\": \"\\n a\", \"map\": {\"b\": [null, \"c\"]}}",
            ),
            ("<tool_call>{\"name\": \"stop\"}", "T <tool_call>{\"name\": \"stop\"}"),
            ("<function=stop></function>", "T <function=stop></function>"),
            ("<seed:tool_call>{\"name\": \"stop\"}", "T <seed:tool_call>{\"name\": \"stop\"}"),
        ],
    );
    assert_all(
        CallFormat::Dsml,
        &[
            (
                "Oh.\n\n<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"get_weather\">\n<｜DSML｜parameter \
             name=\"city\" string=\"true\">1</｜DSML｜parameter>\n<｜DSML｜parameter name=\"days\" \
             string=\"false\">2</｜DSML｜parameter>\n</｜DSML｜invoke>\n<｜DSML｜invoke name=\"stop\">\n\
             </｜DSML｜invoke>\n</｜DSML｜function_calls>",
                "T Oh. | C get_weather {\"city\": \"1\", \"days\": 2} | C stop {}",
            ),
            (
                "<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"stop\">\n\n</｜DSML｜invoke>\n\
             </｜DSML｜tool_calls>\n",
                "C stop {}",
            ),
            (
                "<｜DSML｜tool_calls><｜DSML｜invoke name=\"stop\"><｜DSML｜parameter name=\"a\">",
                "T <｜DSML｜tool_calls><｜DSML｜invoke name=\"stop\"><｜DSML｜parameter name=\"a\">",
            ),
            (
                "<｜DSML｜tool_calls><｜DSML｜invoke name=\"stop\"><｜DSML｜parameter name=\"a\">b\
             </｜DSML｜parameter>c",
                "T <｜DSML｜tool_calls><｜DSML｜invoke name=\"stop\"><｜DSML｜parameter name=\"a\">b\
             </｜DSML｜parameter>c",
            ),
        ],
    );
}

#[test]
fn deepseek_calls() {
    assert_all(
        CallFormat::DeepSeek,
        &[
            (
                "Oh.\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n\
             ```json\n{\"days\": 3}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>\
             stop\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
                "T Oh. | C get_weather {\"days\": 3} | C stop {}",
            ),
            (
                "Oh.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{\"a\": \"```\"}\
             <｜tool▁call▁end｜><｜tool▁call▁begin｜>stop<｜tool▁sep｜>{}<｜tool▁call▁end｜>\
             <｜tool▁calls▁end｜>",
                "T Oh. | C get_weather {\"a\": \"```\"} | C stop {}",
            ),
            ("<｜tool▁call▁begin｜>stop<｜tool▁sep｜>{}", "C stop {}"),
            (
                "<｜tool▁calls▁begin｜> <｜tool▁calls▁end｜>",
                "T <｜tool▁calls▁begin｜> <｜tool▁calls▁end｜>",
            ),
            ("<｜tool▁calls▁begin｜>x", "T <｜tool▁calls▁begin｜>x"),
            (
                "<｜tool▁call▁begin｜>stop<｜tool▁sep｜>[]",
                "T <｜tool▁call▁begin｜>stop<｜tool▁sep｜>[]",
            ),
            (
                "<｜tool▁call▁begin｜>a<｜tool▁sep｜>b {}",
                "T <｜tool▁call▁begin｜>a<｜tool▁sep｜>b {}",
            ),
            ("<｜tool▁call▁begin｜>stop<｜tool▁sep｜>{\"a", "C stop {\"a!"),
            (
                "<｜tool▁call▁begin｜>stop<｜tool▁sep｜>{a}<｜tool▁call▁end｜>",
                "C stop {! | T a}<｜tool▁call▁end｜>",
            ),
        ],
    );
}

#[test]
fn llama_calls() {
    assert_all(
        CallFormat::Llama3,
        &[
            ("{\"name\": \"stop\", \"parameters\": {\"a\": \"b\"}}", "C stop {\"a\": \"b\"}"),
            ("\n{\"type\": \"function\", \"name\": \"stop\", \"parameters\": {}}\n", "C stop {}"),
            (
                "{\"name\": \"stop\", \"parameters\": {}}; {\"name\": \"stop\", \"parameters\": {}}",
                "C stop {} | C stop {}",
            ),
            ("<|python_tag|>{\"name\": \"other\", \"parameters\": {}}", "C other {}"),
            ("Oh. <|python_tag|>{\"name\": \"other\"}", "T Oh. | C other {}"),
            // JSON that is an answer, and code.
            ("{\"city\": \"Bern\"}", "T {\"city\": \"Bern\"}"),
            ("{\"name\": \"Bern\"}", "T {\"name\": \"Bern\"}"),
            ("{\"name\": \"stop\"}", "T {\"name\": \"stop\"}"),
            (
                "{\"parameters\": {\"a\": 1}, \"name\": \"x\"} y",
                "T {\"parameters\": {\"a\": 1}, \"name\": \"x\"} y",
            ),
            (
                "So: {\"name\": \"stop\", \"parameters\": {}}",
                "T So: {\"name\": \"stop\", \"parameters\": {}}",
            ),
            ("<|python_tag|>stop.call(a=\"b\")", "T <|python_tag|>stop.call(a=\"b\")"),
            ("<|python_tag|> <|python_tag|>", "T <|python_tag|> <|python_tag|>"),
            ("{\"name\": \"stop\", \"parameters\": {}}; so", "C stop {} | T ; so"),
        ],
    );
}

#[test]
fn harmony_messages() {
    let prompt = "<|end|><|start|>assistant";
    let cases = [
        ("<|channel|>final<|message|>Yes.<|return|>", "T Yes."),
        (
            "<|channel|>analysis<|message|>Hm.\n<|end|><|start|>assistant<|channel|>final<|message|> \
             Yes. ",
            "R Hm.\n | T  Yes. ",
        ),
        (
            "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary \
             to=functions.get_weather <|constrain|>json<|message|>{\"code\": \"<|end|>\"}<|call|>",
            "R Hm. | C get_weather {\"code\": \"<|end|>\"}",
        ),
        (
            "<|channel|>commentary<|message|>I look.<|end|><|start|>assistant to=functions.stop\
             <|channel|>commentary json<|message|>{}<|call|>",
            "T I look. | C stop {}",
        ),
        (
            "<|channel|>commentary<|message|>One.<|end|><|start|>assistant<|channel|>final<|message|>\
             Two.<|return|>",
            "T One.\n\nTwo.",
        ),
        (" to=functions.stop<|channel|>commentary<|message|><|call|>", "C stop {}"),
        (" to=stop<|channel|>commentary<|message|> {} <|call|>", "C stop {}"),
        ("<|channel|>analysis to=python code<|message|>1 + 1<|call|>", "R 1 + 1"),
        ("<|message|>Yes.", "T Yes."),
        ("<|channel|>final<|message|>Yes.<|channel|>final<|message|>No.", "T Yes.\n\nNo."),
        // What does not follow the format.
        ("Yes.<|return|>", "T Yes."),
        ("to be", "T to be"),
        ("<|channel|>final", "T <|channel|>final"),
        ("<|channel|>final<|message|>a<|e", "T a<|e"),
        ("<|channel|>analysis<|message|>a<|e", "R a<|e"),
        ("<|channel|>final<|message|>a<|end|> b", "T ab"),
        ("<|start|>user<|message|>Hi<|end|>", "T <|start|>user<|message|>Hi"),
        (
            "<|channel|>commentary to=functions.stop<|message|> [1]<|call|>",
            "T <|channel|>commentary to=functions.stop<|message|> [1]",
        ),
        (
            "<|channel|>commentary to=functions.stop<|message|>{\"a\": 1<|call|>",
            "C stop {\"a\": 1!",
        ),
        ("<|channel|>commentary to=functions.stop<|message|>{} x<|call|>", "C stop {} | T x"),
    ];
    let harmony = format(ReasoningFormat::None, CallFormat::Harmony);
    for (text, expected) in cases {
        assert_parses(harmony, prompt, text, expected);
    }
    let open = "<|start|>assistant<|channel|>analysis<|message|>Well, ";
    assert_parses(harmony, open, "so.<|end|>", "R so.");
    assert_parses(harmony, "<|start|>assistant<|channel|>final<|message|>", "so.", "T so.");
    let text = "<|channel|>commentary to=functions.stop<|message|>{}<|call|>";
    assert_eq!(show(&parse(harmony, prompt, &[], [text])), "T {}", "no tool was offered");
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
    assert_all(CallFormat::DeepSeek, &[(&text, &expected)]);
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
    for seed in 0..60_000 {
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
    assert!(calls > 20_000 && reasoning > 10_000, "{calls} calls, {reasoning} with reasoning");
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
fn markers_are_the_tokens_that_a_parser_needs_to_see() {
    let has = |reasoning, calls, token: &str| format(reasoning, calls).is_marker(token);
    use ReasoningFormat::{None, SeedThink, Think};
    assert!(has(Think, CallFormat::None, "</think>") && !has(None, CallFormat::None, "</think>"));
    assert!(has(None, CallFormat::Harmony, "<|channel|>"));
    assert!(has(None, CallFormat::DeepSeek, "<｜tool▁sep｜>"));
    assert!(has(None, CallFormat::Llama3, "<|python_tag|>"));
    assert!(has(SeedThink, CallFormat::SeedOss, "<seed:cot_budget_reflect>"));
    assert!(!has(Think, CallFormat::Hermes, "<|im_end|>"));
}
