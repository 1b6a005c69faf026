//! Published templates say how their models answer, and what they write of past answers is read
//! back as what was in them.
//!
//! They are read in place from a folder beside the workspace (`../shared/templates`, or
//! `$MYRIAD_SHARED/templates`); the tests say that they skip where there is none.

mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;

use common::answers::{check, collected, cut, parse};
use common::{Random, tiny_spec};
use myriad_token::{
    AnswerFormat, AnswerTool, CallFormat, ChatTemplate, Message, ReasoningFormat, RenderOptions,
    TokenType, Tokenizer,
};
use serde_json::{Map, Value, json};

fn templates() -> Option<BTreeMap<String, String>> {
    let shared = std::env::var_os("MYRIAD_SHARED").map(PathBuf::from).unwrap_or_else(|| {
        PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"))
            .join("../../../shared")
    });
    let folder = shared.join("templates");
    if !folder.is_dir() {
        println!("skipped: there is no folder {}", folder.display());
        return None;
    }
    let files = std::fs::read_dir(&folder).expect("a folder").map(|entry| {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        (name, std::fs::read_to_string(&path).expect("a text"))
    });
    Some(files.collect())
}

/// What templates write calls in a known way, and what else they show of an answer with calls.
struct Row {
    name: &'static str,
    format: AnswerFormat,
    /// Whether two calls may be in one answer, and text before calls.
    calls: usize,
    text: bool,
    /// The field that reasoning stands in.
    reasoning: Option<&'static str>,
}

const fn row(
    name: &'static str,
    reasoning: ReasoningFormat,
    calls: CallFormat,
    shows: (usize, bool, Option<&'static str>),
) -> Row {
    let format = AnswerFormat { reasoning, calls };
    Row { name, format, calls: shows.0, text: shows.1, reasoning: shows.2 }
}

const ROWS: &[Row] = {
    use CallFormat::{DeepSeek, Dsml, Gemma4, Harmony, Hermes, Llama3, Qwen3Coder, SeedOss};
    use ReasoningFormat::{None as No, SeedThink, Think};
    const CONTENT: Option<&str> = Some("reasoning_content");
    &[
        row("Bielik-11B-v3.0-Instruct", Think, Hermes, (2, true, CONTENT)),
        row("ByteDance-Seed-OSS", SeedThink, SeedOss, (2, true, CONTENT)),
        row("MiMo-VL", No, Hermes, (2, true, None)),
        row("NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", Think, Qwen3Coder, (2, true, CONTENT)),
        row("NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use", No, Hermes, (2, false, None)),
        row("NousResearch-Hermes-3-Llama-3.1-8B-tool_use", No, Hermes, (2, false, None)),
        row("Qwen-QwQ-32B", Think, Hermes, (2, true, None)),
        row("Qwen-Qwen2.5-7B-Instruct", No, Hermes, (2, true, None)),
        row("Qwen-Qwen3-0.6B", Think, Hermes, (2, true, CONTENT)),
        row("Qwen3-Coder", No, Qwen3Coder, (2, true, None)),
        row("Qwen3.5-4B", Think, Qwen3Coder, (2, true, CONTENT)),
        row("Reka-Edge", Think, Hermes, (2, true, CONTENT)),
        row("StepFun3.5-Flash", Think, Qwen3Coder, (2, true, CONTENT)),
        row("deepseek-ai-DeepSeek-R1-Distill-Llama-8B", Think, DeepSeek, (2, false, None)),
        row("deepseek-ai-DeepSeek-R1-Distill-Qwen-32B", Think, DeepSeek, (2, false, None)),
        row("deepseek-ai-DeepSeek-V3.1", Think, DeepSeek, (2, true, None)),
        row("deepseek-ai-DeepSeek-V3.2", Think, Dsml, (2, true, CONTENT)),
        row("deepseek-ai-DeepSeek-V4", Think, Dsml, (2, true, CONTENT)),
        row("deepseek-ai-DeepSeek-V4-Flash-0731", Think, Dsml, (2, true, CONTENT)),
        row("google-gemma-4-31B-it", No, Gemma4, (2, true, None)),
        row("google-gemma-4-31B-it-interleaved", No, Gemma4, (2, true, None)),
        row("ibm-granite-granite-4.0", No, Hermes, (2, true, None)),
        row("ibm-granite-granite-4.1", No, Hermes, (2, true, None)),
        row("llama-cpp-deepseek-r1", Think, DeepSeek, (2, false, None)),
        row("meta-llama-Llama-3.1-8B-Instruct", No, Llama3, (1, false, None)),
        row("meta-llama-Llama-3.2-3B-Instruct", No, Llama3, (1, false, None)),
        row("meta-llama-Llama-3.3-70B-Instruct", No, Llama3, (1, false, None)),
        row("openai-gpt-oss-120b", No, Harmony, (1, false, Some("thinking"))),
    ]
};

/// Templates of other ways to write calls whose reasoning is told from the text.
const ONLY_THINK: &[&str] = &[
    "GLM-4.6",
    "GLM-4.7-Flash",
    "HuggingFaceTB-SmolLM3-3B",
    "Kimi-K2-Thinking",
    "LFM2.5-8B-A1B",
    "LFM2.5-Instruct",
    "MiniMax-M2",
    "NVIDIA-Nemotron-Nano-v2",
    "Spark2.5",
    "ibm-granite-granite-3.3-2B-Instruct",
    "inclusionai-ling-3.0-flash",
    "llama-cpp-rwkv-world",
    "openbmb-MiniCPM5-1B",
    "poolside-Laguna-S-2.1",
    "poolside-Laguna-XS-2.1",
    "poolside-Laguna-XS.2",
];

#[test]
fn every_template_has_its_format() {
    let Some(templates) = templates() else { return };
    for (name, template) in &templates {
        let expected = match ROWS.iter().find(|row| row.name == name) {
            Some(row) => row.format,
            None if ONLY_THINK.contains(&name.as_str()) => {
                AnswerFormat { reasoning: ReasoningFormat::Think, calls: CallFormat::None }
            }
            None => AnswerFormat::PLAIN,
        };
        assert_eq!(AnswerFormat::of(Some(template), |_| false), expected, "{name}");
    }
    for name in ROWS.iter().map(|row| row.name).chain(ONLY_THINK.iter().copied()) {
        assert!(templates.contains_key(name), "there is no template {name}");
    }
}

#[test]
fn a_vocabulary_decides_where_there_is_no_template() {
    let of =
        |template, tokens: &[&str]| AnswerFormat::of(template, |token| tokens.contains(&token));
    assert_eq!(of(None, &[]), AnswerFormat::PLAIN);
    let qwen = of(None, &["<think>", "</think>", "<tool_call>", "</tool_call>"]);
    assert_eq!((qwen.reasoning, qwen.calls), (ReasoningFormat::Think, CallFormat::Hermes));
    let harmony = ["start", "channel", "constrain", "message", "end", "call", "return"];
    let harmony = harmony.map(|name| format!("<|{name}|>"));
    let harmony: Vec<&str> = harmony.iter().map(String::as_str).collect();
    assert_eq!(of(None, &harmony).calls, CallFormat::Harmony);
    assert_eq!(of(None, &harmony[1..]).calls, CallFormat::None);
    let named = of(Some("no markers"), &["<think>", "<tool_call>", "</tool_call>"]);
    assert_eq!((named.reasoning, named.calls), (ReasoningFormat::Think, CallFormat::None));
}

fn tokenizer() -> Tokenizer {
    let texts = ["<s>", "</s>", "<pad>", "<unk>"];
    let mut spec = tiny_spec(&texts.map(|text| (text, TokenType::Control)), &[]);
    (spec.bos, spec.eos, spec.padding, spec.unknown) = (Some(256), Some(257), Some(258), Some(259));
    Tokenizer::new(&spec).expect("a vocabulary")
}

fn message(role: &str, content: &str, extra: Value) -> Message {
    let Value::Object(extra) = extra else { panic!("an object") };
    Message { role: role.to_owned(), content: content.to_owned(), extra }
}

/// What the parser knows of the tool.
fn parameters() -> Value {
    json!({
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
    })
}

/// The arguments of two calls. What XML formats cannot tell is left out: `None` as a text.
fn arguments() -> [Value; 2] {
    [
        json!({
            "city": "Zürich <&> 'x' \"y\" {z}",
            "days": 3,
            "exact": true,
            "note": null,
            "ratio": 0.5,
            "list": [1, "a", {"b": [false, null]}],
            "map": {"it's": "\"so\"", "c": {"d": []}},
        }),
        json!({
            "code": "if a < b:\n    print(\"</p> \\n 你好\")\n\n# </tool_call>\n\tend",
            "city": "12",
        }),
    ]
}

/// What a template writes of an answer behind `prompt`, without what ends it.
fn answer<'a>(whole: &'a str, base: &str, prompt: &'a str) -> (&'a str, &'a str) {
    let (prompt, answer) = match whole.strip_prefix(prompt) {
        Some(answer) => (prompt, answer),
        None => {
            // The prompt opens or skips the reasoning where the past answer does not: the answer
            // begins behind the last tag or line that both have.
            assert!(whole.starts_with(base), "{whole:?} does not begin with {base:?}");
            let same = whole.char_indices().zip(prompt.chars()).find(|((_, a), b)| a != b);
            let same = same.map_or(prompt.len().min(whole.len()), |((at, _), _)| at);
            let at = whole[..same].rfind(['>', '\n']).expect("a tag or a line") + 1;
            (&prompt[..at], &whole[at..])
        }
    };
    let ends = [
        "<|im_end|>",
        "<｜end▁of▁sentence｜>",
        "<seed:eos>",
        "<|eot_id|>",
        "<|eom_id|>",
        "<|end_of_text|>",
        "</s>",
        "<sep>",
        "<turn|>",
        "<|tool_response>",
    ];
    let end = ends.iter().filter_map(|end| answer.find(end)).min();
    (prompt, &answer[..end.unwrap_or(answer.len())])
}

/// One answer through a template and back.
fn round_trip(row: &Row, template: &ChatTemplate, calls: usize, text: &str, thought: Option<&str>) {
    // The oldest template of DeepSeek wants calls without text, and their arguments as text.
    let old = row.name == "deepseek-ai-DeepSeek-R1-Distill-Llama-8B" && calls > 0;
    let function = |arguments: &Value| {
        let arguments = if old { arguments.to_string().into() } else { arguments.clone() };
        json!({"id": "call12345", "type": "function",
            "function": {"name": "get_weather", "arguments": arguments}})
    };
    let arguments = &arguments()[..calls];
    let mut extra = Map::new();
    if calls > 0 {
        extra.insert("tool_calls".to_owned(), arguments.iter().map(function).collect());
    }
    if old {
        extra.insert("content".to_owned(), Value::Null);
    }
    if let (Some(field), Some(thought)) = (row.reasoning, thought) {
        extra.insert(field.to_owned(), thought.into());
    }
    let user = message("user", "Hi.", json!({}));
    // What the template shows of the tool does not matter, and some show simple types alone.
    let shown = json!({"type": "object", "required": ["city"],
        "properties": {"city": {"type": "string", "description": "A city."}}});
    let tool = json!([{"type": "function", "function": {"name": "get_weather",
        "description": "The weather.", "parameters": shown}}]);
    let render = |messages: &[Message], add_generation_prompt: bool| {
        let thinking = Value::from(thought.is_some());
        let extra = json!({"tools": tool, "enable_thinking": thinking, "thinking": thinking});
        let Value::Object(extra) = extra else { panic!("an object") };
        let options = RenderOptions { add_generation_prompt, extra, ..RenderOptions::default() };
        template.render(messages, &options).unwrap_or_else(|error| panic!("{}: {error}", row.name))
    };
    let asked = std::slice::from_ref(&user);
    let (base, prompt) = (render(asked, false), render(asked, true));
    let whole = render(&[user, message("assistant", text, Value::Object(extra))], false);
    let (prompt, answer) = answer(&whole, &base, &prompt);

    let tools = [AnswerTool { name: "get_weather".to_owned(), parameters: Some(parameters()) }];
    let told = format!("{}: {answer}", row.name);
    let events = parse(row.format, prompt, &tools, [answer]);
    check(&events, &told);
    let (found, found_text, found_thought) = collected(&events);
    let expected: Vec<(String, Value)> =
        arguments.iter().map(|value| ("get_weather".to_owned(), value.clone())).collect();
    assert_eq!(found, expected, "{told}");
    assert_eq!(found_text.trim(), text, "{told}");
    assert_eq!(found_thought.trim(), thought.unwrap_or_default(), "{told}");
    for seed in 0..8 {
        let pieces = cut(answer, &mut Random(seed), 1 + 2 * seed as usize);
        assert_eq!(parse(row.format, prompt, &tools, pieces), events, "seed {seed} of {told}");
    }
}

#[test]
fn past_answers_are_read_back() {
    let Some(templates) = templates() else { return };
    let tokenizer = tokenizer();
    for row in ROWS {
        let template = ChatTemplate::new(&templates[row.name], &tokenizer).expect("a template");
        let text = "I look.\n\n  <b>Now</b>: {1}";
        round_trip(row, &template, 0, text, None);
        for calls in 1..=row.calls {
            round_trip(row, &template, calls, "", None);
            if row.text {
                round_trip(row, &template, calls, text, None);
            }
            if row.reasoning.is_some() {
                let thought = Some("Hm.\n\nIs <tool_call> it?");
                round_trip(row, &template, calls, "", thought);
                if row.text {
                    round_trip(row, &template, calls, text, thought);
                }
            }
        }
    }
}
