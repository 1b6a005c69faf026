//! Turns the answers of a scripted server with Anthropic's API into OpenAI's, and its errors too.

use serde_json::{Value, json};

use super::elsewhere::{Elsewhere, KEY, PATH, put_together, says, serve, streams, to_big};
use super::harness::with;

/// The same answer as `whole`, in events.
fn streamed_events() -> Vec<String> {
    let call = json!({ "type": "tool_use", "id": "t1", "name": "look", "input": {} });
    let usage = json!({ "input_tokens": 5, "cache_read_input_tokens": 2, "output_tokens": 1 });
    let start = |index, block| json!({ "index": index, "content_block": block });
    let grow = |index, name: &str, text| json!({ "index": index, "delta": { name: text } });
    let stop = json!({ "stop_reason": "tool_use" });
    let events = [
        ("message_start", json!({ "message": { "usage": usage } })),
        ("ping", json!({})),
        ("content_block_start", start(0, json!({ "type": "thinking", "thinking": "" }))),
        ("content_block_delta", grow(0, "thinking", "Hm")),
        ("content_block_delta", grow(0, "signature", "s")),
        ("content_block_stop", json!({ "index": 0 })),
        ("content_block_start", start(1, json!({ "type": "text", "text": "" }))),
        ("content_block_delta", grow(1, "text", "Let me look.")),
        ("content_block_start", start(2, call)),
        ("content_block_delta", grow(2, "partial_json", "{\"a\":")),
        ("content_block_delta", grow(2, "partial_json", "1}")),
        ("message_delta", json!({ "delta": stop, "usage": { "output_tokens": 9 } })),
        ("message_stop", json!({})),
    ];
    let text =
        |(name, event)| format!("event: {name}\ndata: {}\n\n", with(&event, "type", json!(name)));
    events.into_iter().map(text).collect()
}

#[test]
fn anthropics_answers_become_openais_whole_and_streamed() {
    let whole = json!({
        "type": "message", "role": "assistant", "stop_reason": "tool_use",
        "content": [{ "type": "thinking", "thinking": "Hm", "signature": "s" },
                    { "type": "text", "text": "Let me look." },
                    { "type": "tool_use", "id": "t1", "name": "look", "input": { "a": 1 } }],
        "usage": { "input_tokens": 5, "cache_read_input_tokens": 2, "output_tokens": 9 },
    });
    let events = streamed_events();
    let events: Vec<&str> = events.iter().map(String::as_str).collect();
    let far = Elsewhere::start(vec![says("200 OK", &whole), streams(&events)]);
    let live = serve(far.port, "anthropic", "");
    let tool = json!([{ "type": "function", "function": { "name": "look" } }]);
    let body = to_big(json!({ "tools": tool, "max_tokens": 50 }));
    let answer = live.post(PATH, &body).good();
    let message = &answer["choices"][0]["message"];
    assert_eq!(
        (&message["content"], &message["reasoning"]),
        (&json!("Let me look."), &json!("Hm"))
    );
    let call = json!({ "id": "t1", "type": "function",
                       "function": { "name": "look", "arguments": "{\"a\":1}" } });
    assert_eq!(message["tool_calls"], json!([call]));
    assert_eq!(answer["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(answer["usage"]["prompt_tokens"], 7);
    let request = &far.requests()[0];
    assert!(request.starts_with("POST /v1/messages HTTP/1.1\r\n"), "{request}");
    assert!(request.contains(&format!("x-api-key: {KEY}\r\n")), "{request}");
    assert!(request.contains("anthropic-version: 2023-06-01\r\n"), "{request}");
    assert_eq!(far.body(0)["max_tokens"], 50);
    let wish = json!({ "include_usage": true });
    let streamed = with(&with(&body, "stream", json!(true)), "stream_options", wish);
    let told = live.post(PATH, &streamed).events();
    assert_eq!(put_together(&told), ("Let me look.".into(), "Hm".into(), json!("tool_calls")));
    let arguments: String = told
        .iter()
        .filter_map(|event| event.pointer("/choices/0/delta/tool_calls/0/function/arguments"))
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(arguments, "{\"a\":1}");
    assert_eq!(told.last().unwrap()["usage"], answer["usage"]);
}

#[test]
fn anthropics_errors_are_told_before_and_within_a_stream() {
    let error = json!({ "type": "error", "error": { "type": "x", "message": "too much" } });
    let within = format!("event: error\ndata: {error}\n\n");
    let far = Elsewhere::start(vec![
        says("400 No", &error),
        streams(&["data: {\"type\":\"message_start\"}\n\n", &within]),
        streams(&["data: {\"type\":\"message_start\"}\n\n"]),
        streams(&["data: {\"type\":\"content_block_delta\",\"index\":3,\
             \"delta\":{\"partial_json\":\"{\"}}

"]),
    ]);
    let live = serve(far.port, "anthropic", "");
    let told = live.post(PATH, &to_big(json!({}))).error(400);
    assert!(told["message"].as_str().unwrap().contains("too much"), "{told}");
    for words in ["too much", "before it was whole", "did not begin"] {
        let reply = live.post(PATH, &to_big(json!({ "stream": true })));
        assert!(
            reply.text().contains(words) && !reply.text().contains("[DONE]"),
            "{}",
            reply.text()
        );
    }
    let refused = live.post(PATH, &to_big(json!({ "seed": 1 }))).error(400);
    assert_eq!(refused["param"], "seed");
}
