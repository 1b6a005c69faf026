//! Turns answers in the way of each family, behind its published template, into the same API.
//!
//! The templates are read in place from a folder beside the workspace (`../shared/templates`, or
//! `$MYRIAD_SHARED/templates`); the test says that it skips where there is none.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::harness::{Live, Setup, chat, with};

fn template(name: &str) -> Option<String> {
    let shared = std::env::var_os("MYRIAD_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    );
    let path = shared.join(format!("templates/{name}.jinja"));
    let source = std::fs::read_to_string(&path).ok();
    if source.is_none() {
        println!("skipped: there is no {}", path.display());
    }
    source
}

/// What a model of a family writes that thinks, speaks and calls, as far as it can.
struct Family {
    template: &'static str,
    control: &'static [&'static str],
    answer: &'static str,
    thought: Option<&'static str>,
    text: Option<&'static str>,
}

const FAMILIES: &[Family] = &[
    Family {
        template: "Qwen-Qwen2.5-7B-Instruct",
        control: &[],
        answer: "I look.\n<tool_call>\n{\"name\": \"weather\", \"arguments\": \
                 {\"city\": \"Köln\"}}\n</tool_call>",
        thought: None,
        text: Some("I look."),
    },
    Family {
        template: "Qwen-Qwen3-0.6B",
        control: &[],
        answer: "<think>\nHm.\n</think>\n\n<tool_call>\n{\"name\": \"weather\", \"arguments\": \
                 {\"city\": \"Köln\"}}\n</tool_call>",
        thought: Some("Hm."),
        text: None,
    },
    Family {
        template: "Qwen3-Coder",
        control: &[],
        answer: "I look.\n\n<tool_call>\n<function=weather>\n<parameter=city>\nKöln\n</parameter>\n\
                 </function>\n</tool_call>",
        thought: None,
        text: Some("I look."),
    },
    // The prompt has opened the thought.
    Family {
        template: "Qwen3.5-4B",
        control: &[],
        answer: "Hm.\n</think>\n\nI look.\n\n<tool_call>\n<function=weather>\n<parameter=city>\n\
                 Köln\n</parameter>\n</function>\n</tool_call>",
        thought: Some("Hm."),
        text: Some("I look."),
    },
    Family {
        template: "ByteDance-Seed-OSS",
        control: &[
            "<seed:bos>",
            "<seed:eos>",
            "<seed:think>",
            "</seed:think>",
            "<seed:tool_call>",
            "</seed:tool_call>",
        ],
        answer: "<seed:think>Hm.</seed:think>I look.<seed:tool_call>\n<function=weather>\n\
                 <parameter=city>Köln</parameter>\n</function>\n</seed:tool_call>",
        thought: Some("Hm."),
        text: Some("I look."),
    },
    Family {
        template: "meta-llama-Llama-3.3-70B-Instruct",
        control: &["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|python_tag|>"],
        answer: "{\"name\": \"weather\", \"parameters\": {\"city\": \"Köln\"}}",
        thought: None,
        text: None,
    },
    Family {
        template: "openai-gpt-oss-120b",
        control: &[
            "<|start|>",
            "<|channel|>",
            "<|constrain|>",
            "<|message|>",
            "<|end|>",
            "<|call|>",
            "<|return|>",
        ],
        answer: "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary \
                 to=functions.weather <|constrain|>json<|message|>{\"city\": \"Köln\"}",
        thought: Some("Hm."),
        text: None,
    },
    Family {
        template: "deepseek-ai-DeepSeek-V3.2",
        control: &["｜DSML｜", "<think>", "</think>"],
        answer: "Hm.</think>I look.\n\n<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"weather\">\n\
                 <｜DSML｜parameter name=\"city\" string=\"true\">Köln</｜DSML｜parameter>\n\
                 </｜DSML｜invoke>\n</｜DSML｜function_calls>",
        thought: Some("Hm."),
        text: Some("I look."),
    },
];

#[test]
fn every_family_speaks_the_same_api() {
    let parameters = json!({ "type": "object", "properties": { "city": { "type": "string" } } });
    let function =
        json!({ "name": "weather", "description": "How it is", "parameters": parameters });
    let tools = json!([{ "type": "function", "function": function }]);
    for family in FAMILIES {
        let name = family.template;
        let Some(source) = template(name) else { return };
        let script = json!({ "chat_template": source, "control_tokens": family.control,
                             "answers": [{ "text": family.answer }] });
        let live = Live::start(Setup { script: Some(script), ..Setup::default() });
        let thinks = family.thought.map(|_| true);
        let body = chat(json!({ "tools": tools, "enable_thinking": thinks }));
        let answer = live.post("/v1/chat/completions", &body).good();
        let choice = &answer["choices"][0];
        let message = &choice["message"];
        assert_eq!(message["reasoning_content"].as_str(), family.thought, "{name}: {message}");
        assert_eq!(message["content"].as_str(), family.text, "{name}: {message}");
        let calls = message["tool_calls"].as_array().expect(name);
        assert_eq!(calls.len(), 1, "{name}");
        assert_eq!(calls[0]["function"]["name"], "weather", "{name}");
        let arguments = calls[0]["function"]["arguments"].as_str().expect(name);
        let arguments: Value = serde_json::from_str(arguments).expect(name);
        assert_eq!(arguments, json!({ "city": "Köln" }), "{name}");
        assert_eq!(choice["finish_reason"], "tool_calls", "{name}");
        // The same, streamed; then all of it goes back into a prompt.
        let events =
            live.post("/v1/chat/completions", &with(&body, "stream", json!(true))).events();
        let streamed: String = events
            .iter()
            .filter_map(|event| {
                event["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"].as_str()
            })
            .collect();
        assert_eq!(streamed, calls[0]["function"]["arguments"].as_str().expect(name), "{name}");
        let mut messages = body["messages"].as_array().expect(name).clone();
        messages.push(message.clone());
        messages.push(json!({ "role": "tool", "tool_call_id": calls[0]["id"],
                              "content": "eighteen" }));
        let history = with(&body, "messages", messages.into());
        let ids = live.post("/tokenize", &history).good()["tokens"].clone();
        let text = live.post("/detokenize", &json!({ "tokens": ids })).good()["prompt"].clone();
        let text = text.as_str().expect(name);
        for part in ["weather", "Köln", "eighteen"] {
            assert!(text.contains(part), "{name}: no {part} in {text}");
        }
    }
}

/// What a prompt ends with behind which the answer's own text begins, without reasoning.
const ANSWERS_BEGIN: &[(&str, &str)] = &[
    ("Qwen-Qwen2.5-7B-Instruct", "<|im_start|>assistant\n"),
    ("Qwen-Qwen3-0.6B", "<|im_start|>assistant\n<think>\n\n</think>\n\n"),
    ("Qwen3.5-4B", "<|im_start|>assistant\n<think>\n\n</think>\n\n"),
    ("HuggingFaceTB-SmolLM3-3B", "<|im_start|>assistant\n<think>\n\n</think>\n"),
    ("Qwen-QwQ-32B", "<|im_start|>assistant\n<think>\n</think>"),
    ("ByteDance-Seed-OSS", "answering the question.</seed:cot_budget_reflect>\n</seed:think>"),
    ("openai-gpt-oss-120b", "<|start|>assistant<|channel|>final<|message|>"),
    ("deepseek-ai-DeepSeek-R1-Distill-Qwen-32B", "<｜Assistant｜><think>\n</think>"),
    ("llama-cpp-deepseek-r1", "<｜Assistant｜><think>\n\n</think>\n\n"),
    ("deepseek-ai-DeepSeek-V3.1", "<｜Assistant｜><think></think>"),
    ("deepseek-ai-DeepSeek-V3.2", "<｜Assistant｜><think></think>"),
    ("google-gemma-2-2b-it", "<start_of_turn>model\n"),
    ("meta-llama-Llama-3.3-70B-Instruct", "<|start_header_id|>assistant<|end_header_id|>\n\n"),
];

#[test]
fn every_family_judges_where_its_answer_begins() {
    let questions = json!([{ "type": "predicate", "instructions": "It is so." }]);
    let body = json!({ "input": "x", "questions": questions });
    for (name, end) in ANSWERS_BEGIN {
        let Some(source) = template(name) else { return };
        // Each letter of the answer stands right behind what the prompt ends with.
        let says = |begun: &str, rest| json!({ "when": format!("{end}{begun}"), "text": rest });
        let answers = [says("Ye", "s"), says("Y", "es"), says("N", "o"), says("", "Yes")];
        let all: Vec<Value> = answers.into_iter().chain([json!({ "text": "No" })]).collect();
        let script = json!({ "chat_template": source, "answers": all });
        let live = Live::start(Setup { script: Some(script), ..Setup::default() });
        let reply = live.post("/v1/decisions", &body);
        assert_eq!(reply.status, 200, "{name}: the answer begins elsewhere");
        assert_eq!(reply.json()["answers"][0]["probability"], 1.0, "{name}");
    }
}
