//! Turns dialogues into shorter ones that go on, and what cannot be shortened into clear errors.

use serde_json::{Value, json};

use super::harness::{Keeps, Live, Setup, with};
use super::responses::{PATH, asking, judge_response, temperature};

const COMPACT: &str = "/v1/responses/compact";

/// A double that answers by the last thing that it reads.
fn scripted() -> Live {
    let script = json!({
        "control_tokens": ["<think>", "</think>", "<tool_call>", "</tool_call>"],
        "context": 4096,
        "answers": [
            { "when": "And at night?", "text": "At night it is 9 degrees." },
            { "when": "Summarise this conversation",
              "text": " They asked how warm it is in Rome: 18 degrees.\n" },
            { "text": "Hello there." },
        ],
    });
    let storage = Some(Keeps::Everything);
    Live::start(Setup { script: Some(script), storage, ..Setup::default() })
}

fn dialogue() -> Value {
    json!([
        { "role": "developer", "content": "Be brief." },
        { "role": "user", "content": "How warm is it in Rome?" },
        { "type": "reasoning", "summary": [],
          "content": [{ "type": "reasoning_text", "text": "I have to look." }] },
        { "type": "function_call", "call_id": "c1", "name": "temperature",
          "arguments": "{\"city\":\"Rome\"}" },
        { "type": "function_call_output", "call_id": "c1", "output": "18" },
        { "role": "assistant", "content": "It is 18 degrees." },
        { "role": "user", "content": "Thanks." },
    ])
}

fn kinds(output: &Value) -> Vec<&str> {
    let items = output.as_array().expect("items").iter();
    items.map(|item| item["type"].as_str().expect("a type")).collect()
}

#[test]
fn what_was_told_stays_and_a_summary_stands_for_the_rest() {
    let live = scripted();
    let body = json!({ "input": dialogue(), "instructions": "Keep the numbers." });
    let short = live.post(COMPACT, &body).good();
    assert_eq!(short["object"], "response.compaction");
    assert!(short["id"].as_str().unwrap().starts_with("resp_"));
    assert!(short["created_at"].as_u64().unwrap() > 1_700_000_000);
    assert_eq!(kinds(&short["output"]), ["message", "message", "message", "compaction"]);
    let said = |at: usize| short["output"][at]["content"][0]["text"].as_str().unwrap();
    assert_eq!([said(0), said(1), said(2)], ["Be brief.", "How warm is it in Rome?", "Thanks."]);
    let summary = &short["output"][3];
    assert!(summary["id"].as_str().unwrap().starts_with("cmp_"));
    let usage = &short["usage"];
    assert!(usage["input_tokens"].as_u64() > Some(50) && usage["output_tokens"].as_u64() > Some(9));

    // The output goes on as it came; the model reads the summary in its place.
    let mut input = short["output"].as_array().unwrap().clone();
    input.push(json!({ "role": "user", "content": "And at night?" }));
    let next = json!({ "input": input, "store": true });
    let answer = live.post(PATH, &next).good();
    judge_response(&answer);
    assert_eq!(answer["output"][0]["content"][0]["text"], "At night it is 9 degrees.");
    let messages = json!([
        { "role": "system", "content": "Be brief." },
        { "role": "user", "content": "How warm is it in Rome?" },
        { "role": "user", "content": "Thanks." },
        { "role": "user", "content": "Summary of the conversation before this point:\n\n\
            They asked how warm it is in Rome: 18 degrees." },
        { "role": "user", "content": "And at night?" },
    ]);
    let mut counted = json!({ "input": input });
    counted["input"][0]["role"] = "system".into();
    let counted = live.post(&format!("{PATH}/input_tokens"), &counted).good();
    let seen = live.post("/tokenize", &json!({ "messages": messages })).good();
    assert_eq!(counted["input_tokens"], seen["count"]);
    // It is kept like any item, and carried on.
    let id = answer["id"].as_str().unwrap();
    let items = live.get(&format!("{PATH}/{id}/input_items?order=asc")).good();
    assert_eq!(items["data"][3], *summary);
    let further = json!({ "previous_response_id": id, "input": "And at night?" });
    live.post(PATH, &further).good();
}

#[test]
fn a_chain_is_shortened_too_and_so_is_what_was_short_before() {
    let live = scripted();
    let first = live.post(PATH, &asking("Hi", json!({}))).good();
    let second = json!({ "previous_response_id": first["id"], "input": "Go on." });
    let second = live.post(PATH, &second).good();
    let short = live.post(COMPACT, &json!({ "previous_response_id": second["id"] })).good();
    assert_eq!(kinds(&short["output"]), ["message", "message", "compaction"]);
    let again = live.post(COMPACT, &json!({ "input": short["output"] })).good();
    assert_eq!(kinds(&again["output"]), ["message", "message", "compaction"]);
    assert_ne!(again["output"][2]["id"], short["output"][2]["id"]);
    // As part of a conversation.
    let items = json!({ "items": again["output"] });
    let conversation = live.post("/v1/conversations", &items).good();
    let asked = json!({ "conversation": conversation["id"], "input": "And at night?" });
    live.post(PATH, &asked).good();
}

#[test]
fn a_dialogue_longer_than_the_context_is_shortened() {
    let live = scripted();
    let turn = |at: usize| {
        let text = format!("{at}: {}", "a long word of the past, ".repeat(20));
        json!({ "role": if at.is_multiple_of(2) { "user" } else { "assistant" }, "content": text })
    };
    let input: Vec<Value> = (0..21).map(turn).collect();
    let error = live.post(PATH, &json!({ "input": input })).error(400);
    assert_eq!(error["code"], "context_length_exceeded");
    let short = live.post(COMPACT, &json!({ "input": input })).good();
    assert_eq!(kinds(&short["output"]).len(), 12);
}

#[test]
fn what_is_no_summary_of_ours_is_refused_by_its_place() {
    let live = scripted();
    let good = live.post(COMPACT, &json!({ "input": "Hi" })).good()["output"][1].clone();
    let wrong = |text: Value| with(&good, "encrypted_content", text);
    for (item, param) in [
        (wrong(json!("gAAAAABpM0Yj")), "input[0].encrypted_content"),
        (wrong(json!("")), "input[0].encrypted_content"),
        (wrong(json!(7)), "input[0].encrypted_content"),
        (wrong(Value::Null), "input[0].encrypted_content"),
        (with(&good, "odd", json!(1)), "input[0].odd"),
    ] {
        for path in [PATH, COMPACT] {
            let error = live.post(path, &json!({ "input": [item] })).error(400);
            assert_eq!(error["param"], param, "{item}");
        }
    }
    for (body, param) in [
        (json!({}), "input"),
        (json!({ "input": [] }), "input"),
        (json!({ "input": "x", "tools": temperature() }), "tools"),
        (json!({ "input": "x", "stream": true }), "stream"),
        (json!({ "input": "x", "odd": 1 }), "odd"),
        (json!({ "input": "x", "service_tier": "gold" }), "service_tier"),
    ] {
        assert_eq!(live.post(COMPACT, &body).error(400)["param"], param, "{body}");
    }
    let error = live.post(COMPACT, &json!({ "input": "x", "model": "y" })).error(404);
    assert_eq!(error["code"], "model_not_found");
    live.post(COMPACT, &json!({ "previous_response_id": "resp_x" })).error(404);
}
