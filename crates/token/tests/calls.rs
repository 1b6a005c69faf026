//! Turns grammars of calls into answers by chance, and those back into calls that their tools take.

mod common;

use std::sync::Arc;

use common::walk::{Walk, is_answer, oracle, tamed, text};
use common::{Random, chatml_tokenizer, default_tokenizer, tiny_spec};
use myriad_token::{
    AnswerEvent, AnswerFormat, AnswerGrammar, AnswerParser, AnswerTool, CallFormat, CallGrammar,
    GrammarCompiler, GrammarError, Opening, ReasoningFormat, Specials, StreamDecoder, TextGrammar,
    TokenType, Tokenizer,
};
use serde_json::{Value, json};

/// Answers for each format and schema.
const ANSWERS: usize = 300;

/// The schema of a tool, with its name.
fn schemas() -> Vec<(&'static str, Value)> {
    let object = |properties: Value, required: Value| {
        json!({ "type": "object", "properties": properties, "required": required,
                "additionalProperties": false })
    };
    let nested = object(
        json!({ "at": { "type": "array", "items": { "type": "number" }, "maxItems": 2 },
                "deep": { "type": "object", "properties": { "x": { "type": "boolean" } } } }),
        json!(["at"]),
    );
    let mut referred = object(
        json!({ "kind": { "$ref": "#/$defs/kind" }, "count": { "$ref": "#/$defs/count" } }),
        json!(["kind", "count"]),
    );
    referred["$defs"] = json!({
        "kind": { "enum": ["a b", "<c>", "\"d\""] },
        "count": { "type": "integer", "minimum": -3, "maximum": 40 },
    });
    vec![
        ("text", object(json!({ "city": { "type": "string" } }), json!(["city"]))),
        (
            "bounded",
            object(
                json!({ "a": { "type": "string", "minLength": 2, "maxLength": 5 },
                        "b": { "type": "string", "pattern": "^[a-c/]+$" },
                        "c": { "type": "string", "pattern": "x\\d" },
                        "d": { "type": "string", "format": "date" } }),
                json!(["a", "b", "d"]),
            ),
        ),
        (
            "scalars",
            object(
                json!({ "i": { "type": "integer" }, "f": { "type": "number" },
                        "t": { "type": "boolean" }, "n": { "type": "null" } }),
                json!(["i", "t"]),
            ),
        ),
        (
            "unions",
            object(
                json!({ "a": { "type": ["string", "null"] }, "b": { "type": ["integer", "null"] },
                        "c": { "anyOf": [{ "type": "string", "maxLength": 3 },
                                         { "type": "null" }] },
                        "d": { "type": ["integer", "string"], "maxLength": 2 } }),
                json!(["a", "b", "c", "d"]),
            ),
        ),
        ("nested", nested),
        ("referred", referred),
        ("free", json!({ "type": "object", "properties": { "any": {} } })),
        ("nothing", object(json!({}), json!([]))),
    ]
}

/// A vocabulary of bytes and the markers of a format as control tokens, or as no tokens at all.
fn vocabulary(format: AnswerFormat, control: bool) -> Arc<Tokenizer> {
    let markers = format.markers().filter(|_| control);
    let specials: Vec<(&str, TokenType)> =
        markers.map(|marker| (marker, TokenType::Control)).collect();
    let mut spec = tiny_spec(&specials, &[("h", "e"), ("l", "l"), ("he", "ll")]);
    spec.eos = Some(0);
    Arc::new(Tokenizer::new(&spec).expect("a vocabulary"))
}

/// What leads chance out of a text in each format.
const ENDS: &[&str] = &[
    "</think>",
    "</seed:think>",
    "<|end|>",
    "\n</parameter>",
    "</parameter>",
    "</｜DSML｜parameter>",
    "</function>",
    "\n</tool_call>",
    "<tool_call>",
    "<seed:tool_call>",
    "<｜DSML｜tool_calls>",
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁calls▁end｜>",
    "<|channel|>final<|message|>",
    "<escape>",
    "<|\"|>",
    "}<end_function_call>",
    "}<tool_call|>",
];

/// An answer as the server reads it: reasoning, text, and calls with their arguments.
#[derive(Debug, Default)]
struct Read {
    reasoning: String,
    text: String,
    calls: Vec<(String, String, bool)>,
}

fn read(
    tokenizer: &Tokenizer,
    format: AnswerFormat,
    prompt: &str,
    tools: &[AnswerTool],
    answer: &[u32],
) -> Read {
    let mut parser = AnswerParser::new(format, prompt, tools.to_vec());
    let mut decoder = StreamDecoder::for_answer(tokenizer, &format);
    let mut events = Vec::new();
    for token in answer {
        events.extend(parser.push(&decoder.push(tokenizer, *token)));
    }
    events.extend(parser.push(&decoder.finish()));
    events.extend(parser.finish());
    let mut read = Read::default();
    for event in events {
        match event {
            AnswerEvent::Reasoning(text) => read.reasoning.push_str(&text),
            AnswerEvent::Text(text) => read.text.push_str(&text),
            AnswerEvent::ToolCallStart { name, .. } => {
                read.calls.push((name, String::new(), false));
            }
            AnswerEvent::ToolCallArguments { index, json } => read.calls[index].1.push_str(&json),
            AnswerEvent::ToolCallEnd { index, complete } => read.calls[index].2 = complete,
            other => panic!("{other:?}"),
        }
    }
    read
}

/// Whether every call is whole, names one of the tools and has the arguments that it takes.
fn assert_calls(read: &Read, tools: &[AnswerTool], shown: &str) {
    for (name, arguments, complete) in &read.calls {
        assert!(complete, "{shown}: {read:?}");
        let tool = tools.iter().find(|tool| tool.name == *name);
        let tool = tool.unwrap_or_else(|| panic!("{shown}: {read:?}"));
        let value: Value = serde_json::from_str(&tamed(arguments))
            .unwrap_or_else(|error| panic!("{shown}: {error}: {read:?}"));
        let schema = tool.parameters.clone().unwrap_or(json!({ "type": "object" }));
        assert!(oracle(&schema).is_valid(&value), "{shown}: {value}");
    }
}

/// The prompt's end for each way to begin.
fn prompt(format: AnswerFormat, opening: Opening) -> &'static str {
    match (format.calls, format.reasoning, opening) {
        (CallFormat::Harmony, ..) => "<|start|>assistant",
        (_, ReasoningFormat::Think, Opening::Reasoning) => "<think>\n",
        (_, ReasoningFormat::Think, Opening::Text) => "<think>\n\n</think>\n\n",
        (_, ReasoningFormat::SeedThink, Opening::Reasoning) => "<seed:think>",
        (_, ReasoningFormat::SeedThink, Opening::Text) => "<seed:think></seed:think>",
        _ => "",
    }
}

/// Answers of forced calls by chance, all read back; how many had reasoning, and several calls.
fn forced(format: AnswerFormat, control: bool, answers: usize) -> (usize, usize) {
    let seed = 17;
    let tokenizer = vocabulary(format, control);
    let compiler = GrammarCompiler::new(Arc::clone(&tokenizer));
    let openings = match (format.calls, format.reasoning) {
        (CallFormat::Harmony, _) => &[Opening::Free][..],
        (_, ReasoningFormat::None) => &[Opening::Text],
        _ => &[Opening::Text, Opening::Reasoning, Opening::Free],
    };
    let (mut thoughtful, mut several) = (0, 0);
    for (number, (name, schema)) in schemas().into_iter().enumerate() {
        let tool = |name: &str, parameters| AnswerTool { name: name.into(), parameters };
        let tools = [tool(name, Some(schema)), tool("no-schema", None)];
        let mut random = Random(seed + number as u64);
        let mut ended = 0;
        for opening in openings {
            assert_eq!(format.opening(prompt(format, *opening)), *opening);
            let calls = CallGrammar { tools: tools.to_vec(), parallel: true, must: true };
            let source =
                AnswerGrammar { format, opening: *opening, calls: Some(calls), text: None };
            let grammar =
                compiler.compile(source).unwrap_or_else(|error| panic!("{name}: {error}"));
            let walk = Walk::new(&grammar, &tokenizer).with_ends(15, ENDS);
            let mut own = 0;
            let mut begun = 0;
            while own < answers.div_ceil(openings.len()) {
                begun += 1;
                assert!(begun < 20 * answers, "{name}: {own} of {begun} answers came to an end");
                let Some(answer) = walk.answer(&mut random) else { continue };
                own += 1;
                let read = read(&tokenizer, format, prompt(format, *opening), &tools, &answer);
                let shown = format!("seed {seed}, {format:?}: {:?}", text(&tokenizer, &answer));
                assert!(!read.calls.is_empty() && read.text.is_empty(), "{shown}: {read:?}");
                assert_calls(&read, &tools, &shown);
                thoughtful += usize::from(!read.reasoning.is_empty());
                several += usize::from(read.calls.len() > 1);
            }
            ended += own;
        }
        assert!(ended >= answers);
    }
    (thoughtful, several)
}

fn check_forced(reasoning: ReasoningFormat, calls: CallFormat) {
    let format = AnswerFormat { reasoning, calls };
    // Where markers are text, the rules differ in nothing but how those are written.
    for (control, answers) in [(true, ANSWERS), (false, ANSWERS / 10)] {
        let (thoughtful, several) = forced(format, control, answers);
        println!("{format:?}: {thoughtful} answers with reasoning, {several} with several calls");
        let reasons = reasoning != ReasoningFormat::None || calls == CallFormat::Harmony;
        assert_eq!(thoughtful > 0, reasons);
    }
}

macro_rules! formats {
    ($($name:ident: $reasoning:ident, $calls:ident;)*) => {
        mod forced_calls_are_calls {
            use super::*;
            $(
                #[test]
                fn $name() {
                    check_forced(ReasoningFormat::$reasoning, CallFormat::$calls);
                }
            )*
        }

        mod strict_calls_are_calls_where_they_come {
            use super::*;
            $(
                #[test]
                fn $name() {
                    check_optional(ReasoningFormat::$reasoning, CallFormat::$calls);
                }
            )*
        }
    };
}

formats! {
    hermes: Think, Hermes;
    qwen3_coder: Think, Qwen3Coder;
    seed_oss: SeedThink, SeedOss;
    deepseek: Think, DeepSeek;
    dsml: Think, Dsml;
    llama3: None, Llama3;
    function_gemma: None, FunctionGemma;
    gemma4: None, Gemma4;
    harmony: None, Harmony;
}

/// Two calls as models write them.
const WRITTEN: &[(CallFormat, &str)] = &[
    (
        CallFormat::Hermes,
        "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": \"x y\", \"n\": [1, 2]}}\n\
         </tool_call>\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": \"\"}}\n</tool_call>",
    ),
    (
        CallFormat::Qwen3Coder,
        "<tool_call>\n<function=f>\n<parameter=a>\nx y\n</parameter>\n<parameter=n>\n[1, 2]\n\
         </parameter>\n</function>\n</tool_call>\n<tool_call>\n<function=f>\n<parameter=a>\n\n\
         </parameter>\n</function>\n</tool_call>",
    ),
    (
        CallFormat::SeedOss,
        "<seed:tool_call>\n<function=f>\n<parameter=a>x y</parameter>\n<parameter=n>[1, 2]\
         </parameter>\n</function>\n</seed:tool_call>\n<seed:tool_call>\n<function=f>\n\
         <parameter=a></parameter>\n</function>\n</seed:tool_call>",
    ),
    (
        CallFormat::Dsml,
        "<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"a\" \
         string=\"true\">x y</｜DSML｜parameter>\n<｜DSML｜parameter name=\"n\" string=\"false\">\
         [1, 2]</｜DSML｜parameter>\n</｜DSML｜invoke>\n<｜DSML｜invoke name=\"f\">\n\
         <｜DSML｜parameter name=\"a\" string=\"true\"></｜DSML｜parameter>\n</｜DSML｜invoke>\n\
         </｜DSML｜function_calls>",
    ),
    (
        CallFormat::DeepSeek,
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"a\": \"x y\", \"n\": [1, 2]}\
         <｜tool▁call▁end｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"a\": \"\"}<｜tool▁call▁end｜>\
         <｜tool▁calls▁end｜>",
    ),
    (
        CallFormat::DeepSeek,
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{\"a\": \"x y\", \
         \"n\": [1, 2]}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n\
         {\"a\": \"\"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    ),
    (
        CallFormat::FunctionGemma,
        "<start_function_call>call:f{a:<escape>x y<escape>,n:[1, 2]}<end_function_call>\
         <start_function_call>call:f{a:<escape><escape>}<end_function_call>",
    ),
    (
        CallFormat::Gemma4,
        "<|tool_call>call:f{a:<|\"|>x y<|\"|>,n:[1, 2]}<tool_call|><|tool_call>call:f{a:<|\"|>\
         <|\"|>}<tool_call|>",
    ),
    (
        CallFormat::Llama3,
        "{\"name\": \"f\", \"parameters\": {\"a\": \"x y\", \"n\": [1, 2]}}; {\"name\": \"f\", \
         \"parameters\": {\"a\": \"\"}}",
    ),
];

#[test]
fn what_models_write_is_an_answer() {
    let schema = json!({
        "type": "object", "required": ["a"], "additionalProperties": false,
        "properties": { "a": { "type": "string" }, "n": { "type": "array" } },
    });
    let tools = [AnswerTool { name: "f".into(), parameters: Some(schema) }];
    for (calls, written) in WRITTEN {
        let reasoning = match calls {
            CallFormat::SeedOss => ReasoningFormat::SeedThink,
            CallFormat::Llama3 => ReasoningFormat::None,
            _ => ReasoningFormat::Think,
        };
        let format = AnswerFormat { reasoning, calls: *calls };
        let tokenizer = vocabulary(format, true);
        let compiler = GrammarCompiler::new(Arc::clone(&tokenizer));
        let thought = match reasoning {
            ReasoningFormat::None => "",
            ReasoningFormat::SeedThink => "<seed:think>Hm.</seed:think>",
            _ => "<think>\nHm </th.\n</think>\n\n",
        };
        for (opening, parallel, must) in [
            (Opening::Text, true, true),
            (Opening::Text, false, true),
            (Opening::Free, true, true),
            (Opening::Free, true, false),
        ] {
            let calls = CallGrammar { tools: tools.to_vec(), parallel, must };
            let source = AnswerGrammar { format, opening, calls: Some(calls), text: None };
            let grammar = compiler.compile(source).expect("a grammar");
            let before = if opening == Opening::Free { thought } else { "" };
            let answer = format!("{before}{written}");
            assert_eq!(is_answer(&grammar, &tokenizer, &answer), parallel, "{answer}");
            if must {
                assert!(!is_answer(&grammar, &tokenizer, "Hello."));
                assert!(!is_answer(&grammar, &tokenizer, before));
            } else {
                assert!(is_answer(&grammar, &tokenizer, "Hello."));
                let both = format!("{thought}Hello.\n\n{written}");
                assert!(is_answer(&grammar, &tokenizer, &both), "{both}");
            }
        }
        let read =
            read(&tokenizer, format, "", &tools, &tokenizer.encode(written, Specials::Parse));
        assert_eq!(read.calls.len(), 2, "{written}");
        assert_calls(&read, &tools, written);
    }
}

/// What a call begins with.
fn begin(calls: CallFormat) -> &'static str {
    match calls {
        CallFormat::SeedOss => "<seed:tool_call>",
        CallFormat::DeepSeek => "<｜tool▁calls▁begin｜>",
        CallFormat::Dsml => "<｜DSML｜tool_calls>",
        CallFormat::Llama3 => "{",
        CallFormat::FunctionGemma => "<start_function_call>",
        CallFormat::Gemma4 => "<|tool_call>",
        CallFormat::Harmony => "<|channel|>commentary",
        _ => "<tool_call>",
    }
}

/// Answers that may have calls, or text, or JSON instead.
fn check_optional(reasoning: ReasoningFormat, calls: CallFormat) {
    let format = AnswerFormat { reasoning, calls };
    let opening = format.opening("<|start|>assistant");
    let schema = json!({ "type": "array", "items": { "type": "boolean" }, "minItems": 1 });
    for (control, other) in [(true, None), (false, None), (true, Some(schema))] {
        let tokenizer = vocabulary(format, control);
        let compiler = GrammarCompiler::new(Arc::clone(&tokenizer));
        let (name, parameters) = schemas().swap_remove(1);
        let tools = [AnswerTool { name: name.into(), parameters: Some(parameters) }];
        let calls = CallGrammar { tools: tools.to_vec(), parallel: true, must: false };
        let text_grammar = other.clone().map(TextGrammar::Json);
        let source = AnswerGrammar { format, opening, calls: Some(calls), text: text_grammar };
        let grammar = compiler.compile(source).expect("a grammar");
        let walk = Walk::new(&grammar, &tokenizer).with_ends(12, ENDS);
        let mut random = Random(5);
        let (mut with_calls, mut with_text) = (0, 0);
        for number in 0..ANSWERS {
            // By chance alone a text would end before it came to a call.
            let begin = if number % 2 == 0 { begin(format.calls) } else { "" };
            let Some(answer) = walk.answer_after(begin, &mut random) else { continue };
            let read = read(&tokenizer, format, prompt(format, opening), &tools, &answer);
            let shown = format!("{format:?}: {:?}", text(&tokenizer, &answer));
            assert_calls(&read, &tools, &shown);
            if let Some(schema) = &other
                && read.calls.is_empty()
            {
                let value = serde_json::from_str(&read.text).expect(&shown);
                assert!(oracle(schema).is_valid(&value), "{shown}");
            }
            with_calls += usize::from(!read.calls.is_empty());
            with_text += usize::from(!read.text.is_empty());
        }
        println!("{format:?}: {with_calls} answers with calls, {with_text} with text");
        assert!(with_calls > 0 && with_text > 0, "{format:?}: {with_calls}, {with_text}");
    }
}

#[test]
fn calls_are_forced_in_a_real_vocabulary() {
    let tokenizer = Arc::new(default_tokenizer());
    let compiler = GrammarCompiler::new(Arc::clone(&tokenizer));
    let format = AnswerFormat { reasoning: ReasoningFormat::None, calls: CallFormat::Qwen3Coder };
    let (name, schema) = schemas().swap_remove(1);
    let tools = [AnswerTool { name: name.into(), parameters: Some(schema) }];
    let calls = CallGrammar { tools: tools.to_vec(), parallel: false, must: true };
    let source = AnswerGrammar { format, opening: Opening::Text, calls: Some(calls), text: None };
    let grammar = compiler.compile(source).expect("a grammar");
    let walk = Walk::new(&grammar, &tokenizer).with_ends(20, ENDS);
    let mut random = Random(3);
    let mut ended = 0;
    for _ in 0..20 {
        let Some(answer) = walk.answer(&mut random) else { continue };
        let read = read(&tokenizer, format, "", &tools, &answer);
        assert_eq!(read.calls.len(), 1);
        assert_calls(&read, &tools, &text(&tokenizer, &answer));
        ended += 1;
    }
    assert!(ended > 0);
}

fn forced_error(calls: CallFormat, parameters: Value) -> GrammarError {
    let compiler = GrammarCompiler::new(Arc::new(chatml_tokenizer()));
    let format = AnswerFormat { reasoning: ReasoningFormat::None, calls };
    let tools = vec![AnswerTool { name: "f".into(), parameters: Some(parameters) }];
    let calls = CallGrammar { tools, parallel: true, must: true };
    let source = AnswerGrammar { format, opening: Opening::Text, calls: Some(calls), text: None };
    compiler.compile(source).expect_err("what cannot be forced")
}

#[test]
fn tools_that_cannot_be_forced_are_named() {
    let (json, tags) = (CallFormat::Hermes, CallFormat::Qwen3Coder);
    let one = |schema: Value| json!({ "properties": { "a": schema }, "required": ["a"] });
    let string = |key: &str, value: Value| one(json!({ "type": "string", key: value }));
    let pair = json!([{ "type": "string" }, { "type": "string", "maxLength": 2 }]);
    for (format, parameters, pointer, keyword) in [
        (json, one(json!({ "not": {} })), "/properties/a", "not"),
        (tags, one(json!({ "not": {} })), "/properties/a", "not"),
        (tags, string("format", json!("ipv6")), "/properties/a", "format"),
        (tags, string("pattern", json!("^a|b$")), "/properties/a", "pattern"),
        (tags, one(json!({ "oneOf": pair })), "/properties/a", "oneOf"),
        (tags, json!({ "required": ["b"] }), "", "required"),
        (tags, json!({ "minProperties": 1 }), "", "minProperties"),
        (tags, json!({ "patternProperties": { "a": {} } }), "", "patternProperties"),
        (tags, json!({ "properties": { "a>": {} }, "required": ["a>"] }), "/properties", "a>"),
    ] {
        let error = forced_error(format, parameters.clone());
        let GrammarError::Tool { index: 0, error, .. } = &error else { panic!("{error}") };
        match &**error {
            GrammarError::Keyword { pointer: place, keyword: word, .. } => {
                assert_eq!((place.as_str(), word.as_str()), (pointer, keyword), "{parameters}");
            }
            other => panic!("{parameters}: {other}"),
        }
    }
    let error = forced_error(json, json!({ "type": "string" }));
    assert!(matches!(error, GrammarError::Tool { index: 0, .. }), "{error}");
    let error = forced_error(CallFormat::None, json!({}));
    assert!(matches!(error, GrammarError::Unsupported(_)), "{error}");
}
