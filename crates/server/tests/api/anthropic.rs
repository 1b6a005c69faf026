//! Turns Anthropic's requests into messages, events and errors in its own shape.

use serde_json::{Value, json};

use super::harness::{Live, MODEL, Reply, Setup, with};

const PATH: &str = "/v1/messages";

const ANSWER: &str = "<think>\nHm.\n</think>\n\nLet me see.\n<tool_call>\n\
    {\"name\": \"weather\", \"arguments\": {\"city\": \"Köln\"}}\n</tool_call>";

fn answering(text: &str) -> Live {
    let script =
        json!({ "control_tokens": ["<think>", "</think>"], "answers": [{ "text": text }] });
    Live::start(Setup { script: Some(script), ..Setup::default() })
}

fn body(fields: Value) -> Value {
    let mut body = json!({
        "model": MODEL, "max_tokens": 200,
        "messages": [{ "role": "user", "content": "How is it?" }],
        "tools": [{ "name": "weather", "description": "How it is there",
                    "input_schema": { "type": "object",
                                      "properties": { "city": { "type": "string" } } } }],
    });
    for (name, value) in fields.as_object().expect("an object") {
        body[name] = value.clone();
    }
    body
}

/// Events as (name, data), each in a write of its own.
fn events(reply: &Reply) -> Vec<(String, Value)> {
    assert_eq!(reply.status, 200, "{}", reply.text());
    let event = |chunk: &Vec<u8>| {
        let text = std::str::from_utf8(chunk).expect("text");
        let text = text.strip_suffix("\n\n").expect("a whole event");
        let (name, data) = text.split_once('\n').expect("two lines");
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").expect("data")).unwrap();
        let name = name.strip_prefix("event: ").expect("a name").to_owned();
        assert_eq!(data["type"], name.as_str());
        (name, data)
    };
    reply.chunks.iter().map(event).collect()
}

/// The error, in Anthropic's shape.
fn refused(reply: &Reply, status: u16, kind: &str) -> String {
    assert_eq!(reply.status, status, "{}", reply.text());
    let error = reply.json();
    assert_eq!(error["type"], "error");
    assert_eq!(error["error"]["type"], kind, "{error}");
    assert!(error["request_id"].as_str().is_some());
    assert_eq!(reply.header("request-id"), error["request_id"].as_str());
    error["error"]["message"].as_str().unwrap().to_owned()
}

#[test]
fn a_message_has_thinking_text_and_calls_as_blocks() {
    let live = answering(ANSWER);
    let message = live.post(PATH, &body(json!({}))).good();
    assert!(message["id"].as_str().unwrap().starts_with("msg_"));
    let content = message["content"].as_array().unwrap();
    assert_eq!(content[0]["thinking"], "Hm.");
    assert_eq!(content[0]["signature"], "");
    assert_eq!(content[1], json!({ "type": "text", "text": "Let me see." }));
    assert_eq!(content[2]["type"], "tool_use");
    assert!(content[2]["id"].as_str().unwrap().starts_with("toolu_"));
    assert_eq!(content[2]["input"], json!({ "city": "Köln" }));
    assert_eq!(content.len(), 3);
    assert_eq!(message["stop_reason"], "tool_use");
    assert_eq!(message["stop_sequence"], Value::Null);
    let usage = &message["usage"];
    let count = live
        .post("/v1/messages/count_tokens", &with(&body(json!({})), "max_tokens", Value::Null))
        .good();
    assert_eq!(usage["input_tokens"], count["input_tokens"]);
    assert_eq!(usage["cache_read_input_tokens"], 0);
    // "Hm.", a token each byte.
    assert_eq!(usage["output_tokens_details"]["thinking_tokens"], 3);
    assert_eq!(usage["cache_creation_input_tokens"], 0);
    assert!(usage["output_tokens"].as_u64().unwrap() > 20);
}

#[test]
fn a_stream_is_the_same_message_in_events() {
    let live = answering(ANSWER);
    let whole = live.post(PATH, &body(json!({}))).good();
    let events = events(&live.post(PATH, &body(json!({ "stream": true }))));
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names[..3], ["message_start", "ping", "content_block_start"]);
    assert_eq!(names[names.len() - 3..], ["content_block_stop", "message_delta", "message_stop"]);
    assert_eq!(events[0].1["message"]["content"], json!([]));
    assert!(events[0].1["message"]["usage"]["input_tokens"].as_u64().unwrap() > 0);
    let mut content: Vec<Value> = Vec::new();
    let mut input = String::new();
    let mut open = false;
    for (name, data) in &events {
        match name.as_str() {
            "content_block_start" => {
                assert!(!open);
                open = true;
                assert_eq!(data["index"], content.len());
                content.push(data["content_block"].clone());
            }
            "content_block_delta" => {
                assert!(open);
                assert_eq!(data["index"], content.len() - 1);
                let (delta, block) = (&data["delta"], content.last_mut().unwrap());
                let (field, text) = match delta["type"].as_str().unwrap() {
                    "text_delta" => ("text", &delta["text"]),
                    "thinking_delta" => ("thinking", &delta["thinking"]),
                    "input_json_delta" => {
                        input.push_str(delta["partial_json"].as_str().unwrap());
                        continue;
                    }
                    other => panic!("{other}"),
                };
                let all = block[field].as_str().unwrap().to_owned() + text.as_str().unwrap();
                block[field] = all.into();
            }
            "content_block_stop" => {
                assert!(open);
                open = false;
                if content.last().unwrap()["type"] == "tool_use" {
                    content.last_mut().unwrap()["input"] = serde_json::from_str(&input).unwrap();
                }
            }
            _ => {}
        }
    }
    let mut expected = whole["content"].clone();
    expected[2]["id"] = content[2]["id"].clone();
    assert_eq!(json!(content), expected);
    let (_, last) = &events[events.len() - 2];
    assert_eq!(last["delta"]["stop_reason"], "tool_use");
    assert_eq!(last["usage"], whole["usage"]);
}

#[test]
fn reasons_to_stop_have_their_names() {
    let live = answering("One two three");
    for (fields, text, reason, sequence) in [
        (json!({}), "One two three", "end_turn", Value::Null),
        (json!({ "max_tokens": 3 }), "One", "max_tokens", Value::Null),
        (json!({ "stop_sequences": ["two"] }), "One ", "stop_sequence", json!("two")),
    ] {
        let message = live.post(PATH, &body(fields)).good();
        assert_eq!(message["content"][0]["text"], text);
        assert_eq!(
            (message["stop_reason"].as_str(), &message["stop_sequence"]),
            (Some(reason), &sequence)
        );
    }
}

#[test]
fn history_becomes_the_templates_messages() {
    let live = answering("Good.");
    let text = |body: &Value| {
        // The same chat in OpenAI's words has the same prompt.
        live.post("/v1/messages/count_tokens", body).good()["input_tokens"].as_u64().unwrap()
    };
    let system = json!([
        { "type": "text", "text": "x-anthropic-billing-header: cc_version=1; cch=12345;" },
        { "type": "text", "text": "Be kind.", "cache_control": { "type": "ephemeral" } },
    ]);
    let messages = json!([
        { "role": "user", "content": "How is it in Köln?" },
        { "role": "assistant", "content": [
            { "type": "thinking", "thinking": "Hm.", "signature": "" },
            { "type": "text", "text": "I look." },
            { "type": "tool_use", "id": "toolu_1", "name": "weather",
              "input": { "city": "Köln" } } ] },
        { "role": "user", "content": [
            { "type": "tool_result", "tool_use_id": "toolu_1",
              "content": [{ "type": "text", "text": "rain" }] },
            { "type": "text", "text": "And?" } ] },
    ]);
    let count = text(&body(json!({ "system": system, "messages": messages })));
    let function = |arguments: &str| json!({ "name": "weather", "arguments": arguments });
    let schema = body(json!({}))["tools"][0]["input_schema"].clone();
    let same = json!({
        "messages": [
            { "role": "system", "content": "Be kind." },
            { "role": "user", "content": "How is it in Köln?" },
            { "role": "assistant", "content": "I look.", "reasoning": "Hm.", "tool_calls": [
                { "id": "toolu_1", "type": "function",
                  "function": function("{\"city\": \"Köln\"}") } ] },
            { "role": "tool", "tool_call_id": "toolu_1", "content": "rain" },
            { "role": "user", "content": "And?" },
        ],
        "tools": [{ "type": "function", "function": { "name": "weather",
                    "description": "How it is there", "parameters": schema } }],
    });
    assert_eq!(live.post("/tokenize", &same).good()["count"], count);
    // Begun answers go on.
    let begun =
        json!([{ "role": "user", "content": "Hi" }, { "role": "assistant", "content": "I" }]);
    let message = live.post(PATH, &body(json!({ "messages": begun }))).good();
    assert_eq!(message["content"][0]["text"], "Good.");
}

#[test]
fn errors_are_in_anthropics_shape() {
    let live = answering("Good.");
    for (fields, name) in [
        (json!({ "max_tokens": null }), "max_tokens"),
        (json!({ "max_tokens": 0 }), "max_tokens"),
        (json!({ "messages": [] }), "messages"),
        (json!({ "messages": [{ "role": "wizard", "content": "" }] }), "messages[0].role"),
        (
            json!({ "messages": [{ "role": "user", "content": [{ "type": "image" }] }] }),
            "messages[0].content[0].type",
        ),
        (
            json!({ "messages": [{ "role": "user", "content": [{ "type": "tool_result" }] }] }),
            "messages[0].content[0].tool_use_id",
        ),
        (
            json!({ "messages": [{ "role": "assistant", "content": [
            { "type": "tool_use", "id": "a", "name": "f", "input": "{}" }] }] }),
            "messages[0].content[0].input",
        ),
        (json!({ "temperature": 1.5 }), "temperature"),
        (json!({ "tool_choice": { "type": "perhaps" } }), "tool_choice.type"),
        (json!({ "tool_choice": { "type": "tool" } }), "tool_choice.name"),
        (json!({ "tool_choice": { "type": "tool", "name": "other" } }), "tool_choice.name"),
        (json!({ "tools": [{ "name": "f" }] }), "tools[0].input_schema"),
        (json!({ "tools": [{ "type": "bash_20250124", "name": "bash" }] }), "tools[0].type"),
        (json!({ "thinking": { "type": "perhaps" } }), "thinking.type"),
        (json!({ "stop_sequences": [""] }), "stop_sequences"),
        (json!({ "mcp_servers": [] }), "mcp_servers"),
        (json!({ "output_config": { "format": {} } }), "output_config.format"),
        (json!({ "output_config": { "effort": "much" } }), "output_config.effort"),
        (json!({ "odd": 1 }), "odd"),
    ] {
        let reply = live.post(PATH, &body(fields));
        let message = refused(&reply, 400, "invalid_request_error");
        assert!(message.contains(name), "{name}: {message}");
    }
    refused(&live.post(PATH, &body(json!({ "model": "no-such" }))), 404, "not_found_error");
    refused(&live.get(PATH), 405, "not_found_error");
    refused(&live.get("/v1/messages/batches"), 404, "not_found_error");
    let version = [("anthropic-version", "1999-01-01")];
    let reply = live.send("POST", PATH, &version, body(json!({})).to_string().as_bytes());
    refused(&reply, 400, "invalid_request_error");
    for version in ["2023-06-01", "2026-10-21"] {
        let version = [("anthropic-version", version)];
        live.send("POST", PATH, &version, body(json!({})).to_string().as_bytes()).good();
    }
}

#[test]
fn models_are_listed_in_anthropics_shape_for_its_clients() {
    let live = answering("Good.");
    let get =
        |path: &str| live.send("GET", path, &[("anthropic-version", "2026-10-21")], b"").good();
    let list = get("/v1/models");
    assert_eq!((&list["first_id"], &list["has_more"]), (&json!(MODEL), &json!(false)));
    assert_eq!(list["data"][0], get(&format!("/v1/models/{MODEL}")));
    assert_eq!(list["data"][0]["type"], "model");
}

#[test]
fn thinking_is_turned_on_and_off() {
    let live = answering("Good.");
    let count = |thinking: Value| {
        let body = body(json!({ "thinking": thinking }));
        live.post("/v1/messages/count_tokens", &body).good()["input_tokens"].as_u64().unwrap()
    };
    let usual = count(Value::Null);
    assert_eq!(count(json!({ "type": "enabled", "budget_tokens": 1024 })), usual);
    assert!(count(json!({ "type": "disabled" })) > usual, "an empty thought is in the prompt");
}

#[test]
fn a_key_is_asked_for_in_anthropics_words() {
    let mut setup =
        Setup { script: Some(json!({ "answers": [{ "text": "Good." }] })), ..Setup::default() };
    setup.config.api_keys = vec!["secret".into()];
    let live = Live::start(setup);
    let bytes = body(json!({ "tools": [] })).to_string();
    refused(&live.send("POST", PATH, &[], bytes.as_bytes()), 401, "authentication_error");
    live.send("POST", PATH, &[("x-api-key", "secret")], bytes.as_bytes()).good();
}

#[test]
fn a_silent_stream_has_pings() {
    let script = json!({ "answers": [{ "text": "Good.", "first_token_ms": 150 }] });
    let mut setup = Setup { script: Some(script), ..Setup::default() };
    setup.config.keep_alive = std::time::Duration::from_millis(40);
    let live = Live::start(setup);
    let events = events(&live.post(PATH, &body(json!({ "stream": true }))));
    let pings = events.iter().filter(|(name, _)| name == "ping").count();
    // The usual one, and at least two in the silence.
    assert!(pings >= 3, "{pings}");
    assert_eq!(events[0].0, "message_start");
}

#[test]
fn an_engine_that_fails_ends_the_stream_with_an_error() {
    let script = json!({ "answers": [{ "text": "Go", "fails": true }] });
    let live = Live::start(Setup { script: Some(script), ..Setup::default() });
    let events = events(&live.post(PATH, &body(json!({ "stream": true }))));
    let (name, data) = events.last().unwrap();
    assert_eq!(name, "error");
    assert_eq!(data["error"]["type"], "api_error");
}
