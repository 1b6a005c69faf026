//! Turns wrong and hostile requests for responses into errors that name what is wrong.

use serde_json::{Value, json};

use super::harness::{Live, Setup};
use super::responses::{PATH, asking, scripted, temperature};

/// Each request with these fields is refused, naming the parameter.
fn refused(live: &Live, cases: &[(Value, &str)]) {
    for (fields, param) in cases {
        let reply = live.post(PATH, &asking("Hi", fields.clone()));
        assert!([400, 404].contains(&reply.status), "{fields}: {}", reply.text());
        assert_eq!(reply.json()["error"]["param"], *param, "{fields}: {}", reply.text());
    }
}

#[test]
fn wrong_items_are_named() {
    refused(
        &scripted(),
        &[
            (json!({ "input": Value::Null }), "input"),
            (json!({ "input": [] }), "input"),
            (json!({ "input": 1 }), "input"),
            (json!({ "input": [1] }), "input[0]"),
            (json!({ "input": [{}] }), "input[0].type"),
            (json!({ "input": [{ "role": "tool", "content": "x" }] }), "input[0].role"),
            (json!({ "input": [{ "role": "user" }] }), "input[0].content"),
            (
                json!({ "input": [{ "role": "user", "content": [{ "type": "input_image",
            "image_url": "x" }] }] }),
                "input[0].content[0].type",
            ),
            (
                json!({ "input": [{ "role": "user", "content": [{ "type": "input_file" }] }] }),
                "input[0].content[0].type",
            ),
            (json!({ "input": [{ "type": "web_search_call", "id": "x" }] }), "input[0].type"),
            (
                json!({ "input": [{ "type": "function_call", "name": "f", "arguments": "{}" }] }),
                "input[0].call_id",
            ),
            (
                json!({ "input": [{ "type": "function_call", "call_id": "c", "name": "f",
            "arguments": "[" }] }),
                "input[0].arguments",
            ),
            (
                json!({ "input": [{ "type": "function_call_output", "call_id": "c",
                    "output": "" }] }),
                "input",
            ),
            (json!({ "input": [{ "role": "user", "content": "x", "odd": 1 }] }), "input[0].odd"),
            (json!({ "input": [{ "type": "item_reference", "id": "msg_1" }] }), "input[0]"),
        ],
    );
}

#[test]
fn what_is_wrong_or_not_there_is_named() {
    let live = scripted();
    refused(
        &live,
        &[
            (json!({ "tools": [{ "type": "web_search" }] }), "tools[0].type"),
            (json!({ "tools": [{ "type": "function" }] }), "tools[0].name"),
            (json!({ "tool_choice": "required" }), "tool_choice"),
            (
                json!({ "tools": temperature(),
                    "tool_choice": { "type": "function", "name": "x" } }),
                "tool_choice.name",
            ),
            (
                json!({ "tools": temperature(), "tool_choice": { "type": "mcp" } }),
                "tool_choice.type",
            ),
            (json!({ "max_output_tokens": 0 }), "max_output_tokens"),
            (json!({ "temperature": 3 }), "temperature"),
            (json!({ "top_logprobs": 21 }), "top_logprobs"),
            (json!({ "include": ["odd"] }), "include"),
            (json!({ "truncation": "some" }), "truncation"),
            (json!({ "text": { "verbosity": "low" } }), "text.verbosity"),
            (json!({ "reasoning": { "effort": "huge" } }), "reasoning.effort"),
            (json!({ "reasoning": { "summary": "concise" } }), "reasoning.summary"),
            (json!({ "metadata": { "a": 1 } }), "metadata.a"),
            (json!({ "service_tier": "gold" }), "service_tier"),
            (json!({ "stream_options": {} }), "stream_options"),
            (
                json!({ "stream": true, "stream_options": { "include_obfuscation": true } }),
                "stream_options.include_obfuscation",
            ),
            (json!({ "n": 2 }), "n"),
            (json!({ "prompt": { "id": "x" } }), "prompt"),
            (json!({ "moderation": { "model": "x" } }), "moderation"),
            (json!({ "context_management": [{ "type": "compaction" }] }), "context_management"),
            (json!({ "background": true, "store": false }), "background"),
            (json!({ "store": true }), "store"),
            (json!({ "previous_response_id": "a", "conversation": "b" }), "previous_response_id"),
            (json!({ "conversation": "b" }), "conversation"),
            (json!({ "odd": 1 }), "odd"),
        ],
    );
    let error = live.post(PATH, &asking("Hi", json!({ "model": "x" }))).error(404);
    assert_eq!(error["code"], "model_not_found");
}

#[test]
fn a_model_without_a_template_and_hostile_bodies_do_no_harm() {
    let live = Live::start(Setup { template: false, ..Setup::default() });
    assert_eq!(live.post(PATH, &asking("Hi", json!({}))).error(400)["param"], "input");
    let deep = format!("{{\"input\": {}1{}}}", "[".repeat(1000), "]".repeat(1000));
    let wide = format!("{{\"input\": [{}1]}}", "1,".repeat(20_000));
    for body in ["", "[]", "{", "\"x\"", "\u{0}", &deep, &wide, "{\"input\": \"\\ud800\"}"] {
        live.send("POST", PATH, &[], body.as_bytes()).error(400);
    }
    for id in ["%00", "..%2F..", "resp_", "%F0%9F%98%80", &"a".repeat(3000)] {
        live.get(&format!("{PATH}/{id}")).error(404);
        live.send("DELETE", &format!("{PATH}/{id}"), &[], b"").error(404);
        live.send("POST", &format!("{PATH}/{id}/cancel"), &[], b"").error(404);
        live.get(&format!("{PATH}/{id}/input_items")).error(404);
    }
    live.get(&format!("{PATH}/%FF")).error(400);
    for query in ["stream=maybe", "starting_after=-1", "stream=true&starting_after=x", "odd=1"] {
        live.get(&format!("{PATH}/resp_1?{query}")).error(400);
    }
}
