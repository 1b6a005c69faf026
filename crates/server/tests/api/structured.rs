//! Turns `response_format` into answers that follow it, whatever else is asked for.

use serde_json::{Value, json};

use crate::harness::{Live, Setup, chat};

const PATH: &str = "/v1/chat/completions";

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "kind": { "enum": ["a", "bc"] },
            "count": { "type": "integer", "minimum": 0, "maximum": 99 },
            "flags": { "type": "array", "items": { "type": "boolean" }, "maxItems": 2 },
        },
        "required": ["kind", "count", "flags"],
        "additionalProperties": false,
    })
}

fn format(schema: &Value) -> Value {
    let named = json!({ "name": "x", "schema": schema, "strict": true });
    json!({ "type": "json_schema", "json_schema": named })
}

/// Whether a value is what [`schema`] says.
fn is_right(value: &Value) -> bool {
    let object = value.as_object().expect("an object");
    let flags = value["flags"].as_array().expect("a list");
    object.keys().eq(["kind", "count", "flags"])
        && (value["kind"] == "a" || value["kind"] == "bc")
        && value["count"].as_u64().is_some_and(|count| count <= 99)
        && flags.len() <= 2
        && flags.iter().all(Value::is_boolean)
}

#[test]
fn answers_follow_their_schema_whatever_else_is_asked_for() {
    let live = Live::start(Setup::default());
    let bias: serde_json::Map<String, Value> =
        (0..280).map(|token| (token.to_string(), json!(-100))).collect();
    let pulls = [
        json!({}),
        json!({ "temperature": 2 }),
        json!({ "temperature": 2, "top_p": 0.1, "frequency_penalty": 2, "presence_penalty": -2 }),
        json!({ "logit_bias": bias }),
        json!({ "logit_bias": { "2": 100 } }),
        json!({ "min_tokens": 100 }),
        json!({ "ignore_eos": true }),
        json!({ "stop": ["\"", "a", "{", "1", ","] }),
        json!({ "stop_token_ids": [20, 30, 40, 50, 60, 70, 80, 90, 100, 110] }),
        json!({ "repetition_penalty": 10 }),
    ];
    for (number, pull) in pulls.into_iter().enumerate() {
        let mut fields = json!({ "n": 4, "seed": number, "max_tokens": 300 });
        fields["response_format"] = format(&schema());
        for (name, value) in pull.as_object().expect("an object") {
            fields[name] = value.clone();
        }
        let answer = live.post(PATH, &chat(fields));
        assert_eq!(answer.status, 200, "{}", answer.text());
        let answer = answer.json();
        for choice in answer["choices"].as_array().expect("choices") {
            let content = choice["message"]["content"].as_str().expect("content");
            assert_eq!(choice["finish_reason"], "stop", "{pull}: {content}");
            let value = serde_json::from_str(content);
            let value: Value = value.unwrap_or_else(|error| panic!("{pull}: {content}: {error}"));
            assert!(is_right(&value), "{pull}: {content}");
        }
    }
}

#[test]
fn a_length_cuts_an_answer() {
    let live = Live::start(Setup::default());
    let body = json!({ "max_tokens": 3, "response_format": format(&schema()) });
    let answer = live.post(PATH, &chat(body)).json();
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert_eq!(answer["usage"]["completion_tokens"], 3);
}

#[test]
fn any_object_is_an_object() {
    let live = Live::start(Setup::default());
    let mut ended = 0;
    for seed in 0..12 {
        let format = json!({ "type": "json_object" });
        let body = json!({ "seed": seed, "max_tokens": 200, "response_format": format });
        let answer = live.post(PATH, &chat(body)).json();
        let choice = &answer["choices"][0];
        let content = choice["message"]["content"].as_str().expect("content");
        assert!(content.starts_with('{'), "{content}");
        if choice["finish_reason"] == "stop" {
            ended += 1;
            let value: Value = serde_json::from_str(content).expect("JSON");
            assert!(value.is_object());
        }
    }
    assert!(ended > 0);
}

#[test]
fn what_cannot_be_enforced_is_named() {
    let live = Live::start(Setup::default());
    let schema = json!({ "type": "object", "properties": { "a": { "not": { "type": "null" } } } });
    let body = json!({ "response_format": format(&schema) });
    let answer = live.post(PATH, &chat(body));
    assert_eq!(answer.status, 400);
    let error = answer.json()["error"].clone();
    assert_eq!(error["param"], "response_format.json_schema.schema");
    let message = error["message"].as_str().expect("a message");
    assert!(message.contains("/properties/a") && message.contains("'not'"), "{message}");
}

/// The content of each choice that came to an end.
fn ended(answer: &Value) -> Vec<String> {
    let choices = answer["choices"].as_array().expect("choices").iter();
    let ended = choices.filter(|choice| choice["finish_reason"] == "stop");
    ended.map(|choice| choice["message"]["content"].as_str().expect("content").into()).collect()
}

#[test]
fn every_answer_of_a_random_model_is_valid() {
    let live = Live::start(Setup { parallel: 16, ..Setup::default() });
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../token/tests/golden/schemas.json");
    let cases = std::fs::read_to_string(path).expect("the corpus of schemas");
    let cases: Vec<Value> = serde_json::from_str(&cases).expect("JSON");
    // Chance would write strings without end: what closes is likelier.
    let closing = b"\"}]0".map(|byte| ((3 + u32::from(byte)).to_string(), json!(2.5)));
    let bias = Value::Object(closing.into_iter().collect());
    let mut count = 0;
    for case in cases.iter().filter(|case| case["refused"] != true && case["schema"].is_object()) {
        let schema = &case["schema"];
        let judge = jsonschema::options().should_validate_formats(true).build(schema);
        let judge = judge.expect("a schema");
        let fields = json!({
            "n": 6, "seed": 1, "max_tokens": 200, "temperature": 2, "logit_bias": bias,
            "response_format": format(schema),
        });
        for content in ended(&live.post(PATH, &chat(fields)).good()) {
            match serde_json::from_str(&content) {
                Ok(value) => assert!(judge.is_valid(&value), "{}: {content}", case["name"]),
                // JSON that has no room in 64 bits.
                Err(error) if error.to_string().contains("out of range") => {}
                Err(error) => panic!("{}: {content}: {error}", case["name"]),
            }
            count += 1;
        }
    }
    assert!(count > 3 * cases.len(), "{count} answers of {} schemas", cases.len());
}

#[test]
fn company_changes_no_answer() {
    let live = Live::start(Setup::default());
    let request = |seed: u64| {
        let format = format(&schema());
        let fields = json!({ "seed": seed, "temperature": 2, "response_format": format });
        ended(&live.post(PATH, &chat(fields)).good())
    };
    let alone: Vec<_> = (0..8).map(request).collect();
    let together: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|seed| {
                scope.spawn({
                    let request = &request;
                    move || request(seed)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("an answer")).collect()
    });
    assert_eq!(together, alone);
    assert!(alone.iter().all(|contents| contents.len() == 1));
}

/// The same schema for a tool's arguments: calls that must come keep to it, in both dialects.
#[test]
fn forced_calls_come_and_keep_to_their_schemas() {
    let live = Live::start(Setup { context: 4096, ..Setup::default() });
    let tool = |name: &str| {
        let function = json!({ "name": name, "parameters": schema(), "strict": true });
        json!({ "type": "function", "function": function })
    };
    let named = json!({ "type": "function", "function": { "name": "second" } });
    for (choice, names) in [(json!("required"), &["first", "second"][..]), (named, &["second"][..])]
    {
        let body = chat(json!({
            "tools": [tool("first"), tool("second")], "tool_choice": choice, "temperature": 2,
            "parallel_tool_calls": false, "max_tokens": 400, "n": 4, "seed": 3,
        }));
        let answer = live.post(PATH, &body).good();
        for choice in answer["choices"].as_array().unwrap() {
            assert_eq!(choice["finish_reason"], "tool_calls", "{choice}");
            let calls = choice["message"]["tool_calls"].as_array().unwrap();
            let function = &calls[0]["function"];
            assert!(calls.len() == 1 && names.contains(&function["name"].as_str().unwrap()));
            let arguments = function["arguments"].as_str().unwrap();
            assert!(is_right(&serde_json::from_str(arguments).unwrap()), "{arguments}");
        }
    }
    let body = json!({
        "model": "tests/synthetic", "max_tokens": 400, "temperature": 1,
        "messages": [{ "role": "user", "content": "Hi" }],
        "tools": [{ "name": "only", "input_schema": schema() }],
        "tool_choice": { "type": "any", "disable_parallel_tool_use": true },
    });
    let answer = live.post("/v1/messages", &body).good();
    assert_eq!(answer["stop_reason"], "tool_use", "{answer}");
    let block = &answer["content"][0];
    assert_eq!((&block["type"], &block["name"]), (&json!("tool_use"), &json!("only")));
    assert!(is_right(&block["input"]), "{block}");
}
