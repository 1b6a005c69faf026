//! Turns Ollama's requests into lines of JSON, and errors into its shape.

use serde_json::{Value, json};

use super::harness::{Live, MODEL, Reply, Setup};

const ANSWER: &str = "<think>\nHm.\n</think>\n\nLet me see.\n<tool_call>\n\
    {\"name\": \"weather\", \"arguments\": {\"city\": \"Köln\"}}\n</tool_call>";

fn answering(text: &str) -> Live {
    let script =
        json!({ "control_tokens": ["<think>", "</think>"], "answers": [{ "text": text }] });
    Live::start(Setup { script: Some(script), ..Setup::default() })
}

fn chat(fields: Value) -> Value {
    let parameters = json!({ "type": "object", "properties": { "city": { "type": "string" } } });
    let mut body = json!({
        "model": MODEL,
        "messages": [{ "role": "user", "content": "How is it?" }],
        "tools": [{ "type": "function",
                    "function": { "name": "weather", "parameters": parameters } }],
    });
    for (name, value) in fields.as_object().expect("an object") {
        body[name] = value.clone();
    }
    body
}

/// One JSON object a line, each line in a write of its own.
fn lines(reply: &Reply) -> Vec<Value> {
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.header("content-type"), Some("application/x-ndjson"));
    let line = |chunk: &Vec<u8>| {
        let text = std::str::from_utf8(chunk).expect("text");
        let text = text.strip_suffix('\n').expect("a whole line");
        assert!(!text.contains('\n'));
        serde_json::from_str(text).expect("JSON")
    };
    reply.chunks.iter().map(line).collect()
}

fn refused(reply: &Reply, status: u16) -> String {
    assert_eq!(reply.status, status, "{}", reply.text());
    let error = reply.json();
    assert_eq!(error.as_object().unwrap().len(), 1);
    error["error"].as_str().expect("a text").to_owned()
}

#[test]
fn chats_are_streamed_in_lines_unless_they_are_asked_for_whole() {
    let live = answering(ANSWER);
    let lines = lines(&live.post("/api/chat", &chat(json!({}))));
    let (last, others) = lines.split_last().unwrap();
    let text = |name: &str| -> String {
        others.iter().map(|line| line["message"][name].as_str().unwrap_or_default()).collect()
    };
    assert_eq!((text("content").as_str(), text("thinking").as_str()), ("Let me see.", "Hm."));
    assert!(others.iter().all(|line| line["done"] == false));
    assert_eq!((&last["done"], &last["done_reason"]), (&json!(true), &json!("stop")));
    for name in [
        "total_duration",
        "load_duration",
        "prompt_eval_count",
        "prompt_eval_duration",
        "eval_count",
        "eval_duration",
    ] {
        assert!(last[name].is_u64(), "{name}");
    }
    let whole = live.post("/api/chat", &chat(json!({ "stream": false }))).good();
    let message = &whole["message"];
    assert_eq!((&message["content"], &message["thinking"]), (&json!("Let me see."), &json!("Hm.")));
    let function = &message["tool_calls"][0]["function"];
    assert_eq!(function["name"], "weather");
    assert_eq!(function["arguments"], json!({ "city": "Köln" }));
    let calls = others.iter().filter_map(|line| line["message"].get("tool_calls"));
    assert_eq!(calls.collect::<Vec<_>>(), [&message["tool_calls"]]);
    assert_eq!(whole["eval_count"], last["eval_count"]);
}

#[test]
fn a_silent_stream_has_lines_that_say_nothing() {
    let script = json!({ "answers": [{ "text": "Good.", "first_token_ms": 150 }] });
    let mut setup = Setup { script: Some(script), ..Setup::default() };
    setup.config.keep_alive = std::time::Duration::from_millis(40);
    let live = Live::start(setup);
    let lines = lines(&live.post("/api/chat", &chat(json!({}))));
    let text = |line: &Value| line["message"]["content"].as_str().unwrap().to_owned();
    assert!(lines.iter().filter(|line| text(line).is_empty()).count() >= 3);
    assert_eq!(lines.iter().map(text).collect::<String>(), "Good.");
}

#[test]
fn an_engine_that_fails_ends_the_lines_with_an_error() {
    let script = json!({ "answers": [{ "text": "Go", "fails": true }] });
    let live = Live::start(Setup { script: Some(script), ..Setup::default() });
    let lines = lines(&live.post("/api/chat", &chat(json!({}))));
    assert!(lines.last().unwrap()["error"].is_string());
}

#[test]
fn calls_and_results_go_back_into_the_prompt() {
    let live = answering("Good.");
    let messages = json!([
        { "role": "user", "content": "How is it?" },
        { "role": "assistant", "content": "", "thinking": "Hm.", "tool_calls": [
            { "function": { "name": "weather", "arguments": { "city": "Köln" } } } ] },
        { "role": "tool", "tool_name": "weather", "content": "rain" },
    ]);
    let answer = live.post("/api/chat", &chat(json!({ "messages": messages, "stream": false })));
    assert_eq!(answer.good()["message"]["content"], "Good.");
}

#[test]
fn prompts_are_answered_raw_or_as_a_chat() {
    let live = answering("<think>\nHm.\n</think>\n\nGood.");
    let body = json!({ "model": MODEL, "prompt": "Hi", "system": "Be kind.", "stream": false });
    let answer = live.post("/api/generate", &body).good();
    assert_eq!((&answer["response"], &answer["thinking"]), (&json!("Good."), &json!("Hm.")));
    let raw = json!({ "model": MODEL, "prompt": "Hi", "raw": true, "stream": false });
    let raw = live.post("/api/generate", &raw).good();
    assert!(raw["response"].as_str().unwrap().ends_with("\n\nGood."), "{raw}");
    assert_eq!(raw["prompt_eval_count"], 2);
    assert!(answer["prompt_eval_count"].as_u64().unwrap() > 20);
    let loaded = live.post("/api/generate", &json!({ "model": MODEL })).good();
    assert_eq!((&loaded["done"], &loaded["done_reason"]), (&json!(true), &json!("load")));
}

#[test]
fn options_are_honoured_or_refused_by_name() {
    let live = answering("One two three");
    let ask = |options: Value| {
        live.post(
            "/api/chat",
            &chat(json!({ "options": options,
                                                                    "stream": false })),
        )
    };
    let cut = ask(json!({ "num_predict": 3 })).good();
    assert_eq!(
        (&cut["message"]["content"], &cut["done_reason"]),
        (&json!("One"), &json!("length"))
    );
    assert_eq!(ask(json!({ "stop": ["two"] })).good()["message"]["content"], "One ");
    ask(json!({ "num_ctx": 4096, "temperature": 0, "seed": 1, "top_k": 3 })).good();
    for (options, name) in [
        (json!({ "mirostat": 1 }), "options.mirostat"),
        (json!({ "temperature": 9 }), "options.temperature"),
        (json!({ "num_predict": 0 }), "options.num_predict"),
    ] {
        let message = refused(&ask(options), 400);
        assert!(message.contains(name), "{message}");
    }
}

#[test]
fn models_are_listed_and_shown() {
    let live = answering("Good.");
    let tags = live.get("/api/tags").good();
    assert_eq!(tags["models"][0]["model"], MODEL);
    assert_eq!(live.get("/api/ps").good()["models"][0]["name"], MODEL);
    assert!(live.get("/api/version").good()["version"].is_string());
    let shown = live.post("/api/show", &json!({ "model": format!("{MODEL}:latest") })).good();
    assert_eq!(shown["capabilities"], json!(["completion", "tools", "thinking"]));
    // One of the random model's kind, which cannot do either.
    let live = Live::start(Setup::default());
    let shown = live.post("/api/show", &json!({ "model": MODEL })).good();
    assert_eq!(shown["capabilities"], json!(["completion"]));
    assert_eq!(shown["details"]["family"], "llama");
}

#[test]
fn errors_are_in_ollamas_shape() {
    let live = answering("Good.");
    for (path, body, status, name) in [
        ("/api/chat", json!({}), 400, "model"),
        ("/api/chat", json!({ "model": "no-such" }), 404, "no-such"),
        ("/api/chat", chat(json!({ "format": "yaml" })), 400, "format"),
        ("/api/chat", chat(json!({ "think": "much" })), 400, "think"),
        (
            "/api/chat",
            chat(json!({ "messages": [{ "role": "user", "images": ["a"] }] })),
            400,
            "messages[0].images",
        ),
        ("/api/chat", chat(json!({ "odd": 1 })), 400, "odd"),
        ("/api/generate", json!({ "model": MODEL, "prompt": "a", "suffix": "b" }), 400, "suffix"),
        ("/api/generate", json!({ "model": MODEL, "context": [1] }), 400, "context"),
        ("/api/embed", json!({ "model": MODEL, "input": "a" }), 400, "makes no vectors"),
        ("/api/pull", json!({ "model": MODEL }), 400, "and no others"),
        ("/api/push", json!({ "model": MODEL }), 404, "uploads of models"),
        ("/api/nothing", json!({}), 404, "/api/nothing"),
    ] {
        let message = refused(&live.post(path, &body), status);
        assert!(message.contains(name), "{path}: {message}");
    }
}
