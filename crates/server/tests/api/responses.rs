//! Turns requests for responses into objects and events, each with every field that it must have.

use serde_json::{Value, json};

use super::harness::{Live, MODEL, Reply, Setup, with};

pub const PATH: &str = "/v1/responses";

const CALL: &str = "Let me see.\n<tool_call>\n{\"name\": \"temperature\", \"arguments\": \
                    {\"city\": \"Köln\"}}\n</tool_call>";

/// Answers to some questions.
pub fn script() -> Value {
    json!({
        "control_tokens": ["<think>", "</think>", "<tool_call>", "</tool_call>"],
        "context": 2048,
        "answers": [
            { "when": "18 degrees",
              "text": "<think>\nThat is warm.\n</think>\n\nIt is 18 degrees." },
            { "when": "Warm?", "text": format!("<think>\nI have to look.\n</think>\n\n{CALL}") },
            { "when": "Slowly.", "text": "one two three four five six seven eight",
              "token_ms": 15 },
            { "when": "Break.", "text": "half of", "fails": true },
            { "when": "Silence.", "text": "" },
            { "when": "Again.", "text": "Again it is." },
            { "text": "Hello there." },
        ],
    })
}

pub fn scripted() -> Live {
    Live::start(Setup { script: Some(script()), ..Setup::default() })
}

/// A question with these further fields.
pub fn asking(text: &str, fields: Value) -> Value {
    let mut body = json!({ "input": text });
    for (name, value) in fields.as_object().expect("an object") {
        body[name] = value.clone();
    }
    body
}

pub fn temperature() -> Value {
    let parameters = json!({
        "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"],
    });
    json!([{ "type": "function", "name": "temperature", "description": "How warm it is",
             "parameters": parameters, "strict": false }])
}

/// Events of a stream, each whole in one write and with its name; the last mark comes last.
pub fn events(reply: &Reply) -> Vec<Value> {
    assert_eq!(reply.status, 200, "{}", reply.text());
    let (last, others) = reply.chunks.split_last().expect("events");
    assert_eq!(last, b"data: [DONE]\n\n");
    let text = |chunk: &Vec<u8>| String::from_utf8(chunk.clone()).expect("an event of text");
    let parse = |chunk: String| {
        let event = chunk.strip_suffix("\n\n").expect("a whole event");
        let (name, data) = event.split_once('\n').expect("a name and data");
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").expect("data")).unwrap();
        assert_eq!(name, format!("event: {}", data["type"].as_str().expect("a type")));
        data
    };
    let others = others.iter().map(text).filter(|chunk| !chunk.starts_with(':'));
    others.map(parse).collect()
}

pub fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().expect("a type")).collect()
}

fn object(properties: Value) -> Value {
    let required: Vec<&String> = properties.as_object().expect("an object").keys().collect();
    json!({ "type": "object", "properties": properties, "required": required })
}

/// What OpenAI's document and Open Responses want of a response: every field, of its type.
fn response_schema() -> Value {
    let (text, number, yes) =
        (json!({ "type": "string" }), json!({ "type": "number" }), json!({ "type": "boolean" }));
    let maybe = |kind: &str| json!({ "type": [kind, "null"] });
    let count = json!({ "type": "integer", "minimum": 0 });
    let progress = json!({ "enum": ["in_progress", "completed", "incomplete"] });
    let list = |items: Value| json!({ "type": "array", "items": items });
    let mut score = json!({ "token": text, "logprob": number, "bytes": list(count.clone()) });
    score["top_logprobs"] = list(object(score.clone()));
    let score = object(score);
    let output_text = object(json!({
        "type": { "const": "output_text" }, "text": text,
        "annotations": { "type": "array", "maxItems": 0 }, "logprobs": list(score),
    }));
    let part = |kind: &str| object(json!({ "type": { "const": kind }, "text": text }));
    let id = |prefix: &str| json!({ "type": "string", "pattern": format!("^{prefix}_[0-9a-f]+$") });
    let item = json!({ "oneOf": [
        object(json!({ "type": { "const": "message" }, "id": id("msg"), "status": progress,
                       "role": { "const": "assistant" }, "content": list(output_text) })),
        object(json!({ "type": { "const": "reasoning" }, "id": id("rs"), "status": progress,
                       "summary": list(part("summary_text")),
                       "content": list(part("reasoning_text")),
                       "encrypted_content": { "type": "null" } })),
        object(json!({ "type": { "const": "function_call" }, "id": id("fc"), "call_id": id("call"),
                       "name": text, "arguments": text, "status": progress })),
    ] });
    let usage = object(json!({
        "input_tokens": count, "output_tokens": count, "total_tokens": count,
        "input_tokens_details":
            object(json!({ "cached_tokens": count, "cache_write_tokens": count })),
        "output_tokens_details": object(json!({ "reasoning_tokens": count })),
    }));
    let tool = object(json!({
        "type": { "const": "function" }, "name": text, "description": maybe("string"),
        "parameters": maybe("object"), "strict": yes,
    }));
    let mut fields = object(json!({
        "id": id("resp"), "object": { "const": "response" }, "created_at": count,
        "status": { "enum": ["completed", "failed", "in_progress", "cancelled", "queued",
                             "incomplete"] },
        "completed_at": maybe("integer"),
        "error":
            { "anyOf": [{ "type": "null" }, object(json!({ "code": text, "message": text }))] },
        "incomplete_details": { "anyOf": [{ "type": "null" }, object(json!({ "reason": text }))] },
        "instructions": maybe("string"), "max_output_tokens": maybe("integer"),
        "max_tool_calls": maybe("integer"), "model": { "const": MODEL }, "output": list(item),
        "parallel_tool_calls": yes, "previous_response_id": maybe("string"),
        "conversation": { "anyOf": [{ "type": "null" }, object(json!({ "id": text }))] },
        "reasoning": object(json!({ "effort": maybe("string"), "summary": maybe("string") })),
        "store": yes, "background": yes, "temperature": number, "top_p": number,
        "frequency_penalty": number, "presence_penalty": number, "top_logprobs": count,
        "text": object(json!({
            "format": { "type": "object", "required": ["type"] }, "verbosity": text,
        })),
        "tool_choice": { "type": ["string", "object"] }, "tools": list(tool),
        "truncation": { "enum": ["auto", "disabled"] },
        "usage": { "anyOf": [{ "type": "null" }, usage] },
        "safety_identifier": maybe("string"),
        "prompt": { "type": "null" },
        "prompt_cache_key": maybe("string"), "prompt_cache_retention": maybe("string"),
        "service_tier": { "const": "default" },
        "metadata": { "type": "object", "additionalProperties": text },
    }));
    // The only one that may be absent.
    fields["properties"]["user"] = text;
    fields["additionalProperties"] = false.into();
    fields
}

/// What an event of a type has besides `type` and `sequence_number`; nothing else may be there.
fn event_schema(kind: &str) -> Value {
    let whole = response_schema();
    let item = whole["properties"]["output"]["items"].clone();
    let part = json!({ "type": "object", "required": ["type", "text"] });
    let (text, index) = (json!({ "type": "string" }), json!({ "type": "integer", "minimum": 0 }));
    let zero = json!({ "const": 0 });
    let scores =
        item["oneOf"][0]["properties"]["content"]["items"]["properties"]["logprobs"].clone();
    let about = |fields: Value| {
        let mut all = json!({ "item_id": text, "output_index": index });
        all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        all
    };
    let fields = match kind {
        "response.output_item.added" | "response.output_item.done" => {
            json!({ "output_index": index, "item": item })
        }
        "response.content_part.added" | "response.content_part.done" => {
            about(json!({ "content_index": zero, "part": part }))
        }
        "response.output_text.delta" => {
            about(json!({ "content_index": zero, "delta": text, "logprobs": scores }))
        }
        "response.output_text.done" => {
            about(json!({ "content_index": zero, "text": text, "logprobs": scores }))
        }
        "response.reasoning_text.delta" => about(json!({ "content_index": zero, "delta": text })),
        "response.reasoning_text.done" => about(json!({ "content_index": zero, "text": text })),
        "response.reasoning_summary_part.added" | "response.reasoning_summary_part.done" => {
            about(json!({ "summary_index": zero, "part": part }))
        }
        "response.reasoning_summary_text.delta" => {
            about(json!({ "summary_index": zero, "delta": text }))
        }
        "response.reasoning_summary_text.done" => {
            about(json!({ "summary_index": zero, "text": text }))
        }
        "response.function_call_arguments.delta" => about(json!({ "delta": text })),
        "response.function_call_arguments.done" => {
            about(json!({ "name": text, "arguments": text }))
        }
        "response.created"
        | "response.queued"
        | "response.in_progress"
        | "response.completed"
        | "response.incomplete"
        | "response.failed" => json!({ "response": whole }),
        other => panic!("there is no event {other}"),
    };
    let mut fields = fields;
    fields["type"] = json!({ "const": kind });
    fields["sequence_number"] = index;
    let mut schema = object(fields);
    schema["additionalProperties"] = false.into();
    schema
}

fn judge(schema: &Value, value: &Value) {
    let validator = jsonschema::validator_for(schema).expect("a schema");
    let wrong: Vec<String> = validator
        .iter_errors(value)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?} in {value:#}");
}

/// A response of OpenAI's shape.
pub fn judge_response(response: &Value) {
    judge(&response_schema(), response);
}

/// Events of OpenAI's shape, numbered without gaps, whose parts make up what the last one shows.
pub fn judge_events(events: &[Value]) {
    let mut built: Vec<(String, String)> = Vec::new();
    for (number, event) in events.iter().enumerate() {
        let kind = event["type"].as_str().unwrap();
        judge(&event_schema(kind), event);
        assert_eq!(event["sequence_number"], json!(number));
        if kind == "response.output_item.added" {
            assert_eq!(event["output_index"], json!(built.len()));
            built.push((event["item"]["id"].as_str().unwrap().to_owned(), String::new()));
        }
        if let Some(delta) = event["delta"].as_str() {
            let (id, grown) = built.last_mut().expect("an item that grows");
            assert_eq!(event["item_id"], id.as_str());
            grown.push_str(delta);
        }
    }
    let last = &events.last().expect("an end")["response"];
    let words = |item: &Value| -> String {
        let parts =
            ["content", "summary"].iter().filter_map(|name| item[*name].as_array()).flatten();
        let text: String = parts.filter_map(|part| part["text"].as_str()).collect();
        item["arguments"].as_str().map_or(text, str::to_owned)
    };
    let shown: Vec<(String, String)> = last["output"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| (item["id"].as_str().unwrap().to_owned(), words(item)))
        .collect();
    assert_eq!(built, shown);
}

/// The whole response, whose stream says the same.
fn both(live: &Live, body: &Value) -> (Value, Vec<Value>) {
    let whole = live.post(PATH, body).good();
    judge_response(&whole);
    let events = events(&live.post(PATH, &with(body, "stream", json!(true))));
    judge_events(&events);
    let last = &events.last().unwrap()["response"];
    let bare = |response: &Value| {
        let text = response.to_string();
        let hex = response["id"].as_str().unwrap().trim_start_matches("resp_");
        let mut same: Value = serde_json::from_str(&text.replace(hex, "0")).unwrap();
        for name in ["created_at", "completed_at"] {
            same[name] = Value::Null;
        }
        for item in same["output"].as_array_mut().unwrap() {
            if item["type"] == "function_call" {
                item["call_id"] = Value::Null;
            }
        }
        same
    };
    assert_eq!(bare(&whole), bare(last));
    (whole, events)
}

#[test]
fn an_answer_has_all_its_fields_and_events() {
    let live = scripted();
    let (whole, events) = both(&live, &asking("Hi", json!({ "model": MODEL })));
    assert_eq!(whole["status"], "completed");
    assert_eq!(whole["output"][0]["content"][0]["text"], "Hello there.");
    assert_eq!((&whole["temperature"], &whole["tool_choice"]), (&json!(1.0), &json!("auto")));
    assert!(whole["completed_at"].is_u64());
    let mut order = kinds(&events);
    order.dedup();
    assert_eq!(
        order,
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
    );
    assert_eq!(events[0]["response"]["status"], "in_progress");
    assert_eq!(events[0]["response"]["output"], json!([]));
    let usage = &whole["usage"];
    let sum = usage["input_tokens"].as_u64().unwrap() + usage["output_tokens"].as_u64().unwrap();
    assert_eq!(usage["total_tokens"], json!(sum));
}

#[test]
fn thoughts_text_and_calls_are_items_and_go_back_as_they_came() {
    let live = scripted();
    let body = asking("Warm?", json!({ "tools": temperature() }));
    let (whole, events) = both(&live, &body);
    let output = whole["output"].as_array().unwrap();
    let types: Vec<_> = output.iter().map(|item| item["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["reasoning", "message", "function_call"]);
    assert_eq!(output[0]["content"][0]["text"], "I have to look.");
    assert_eq!(output[1]["content"][0]["text"], "Let me see.");
    assert_eq!(output[2]["arguments"], r#"{"city": "Köln"}"#);
    assert!(whole["usage"]["output_tokens_details"]["reasoning_tokens"].as_u64().unwrap() > 0);
    for kind in ["response.reasoning_text.done", "response.function_call_arguments.done"] {
        assert!(kinds(&events).contains(&kind));
    }
    let mut input = vec![json!({ "role": "user", "content": "Warm?" })];
    input.extend(output.iter().cloned());
    input.push(json!({ "type": "function_call_output", "call_id": output[2]["call_id"],
                       "output": "18 degrees" }));
    let next = live.post(PATH, &with(&body, "input", input.into())).good();
    assert_eq!(next["output"][1]["content"][0]["text"], "It is 18 degrees.");

    let (summed, events) = both(&live, &with(&body, "reasoning", json!({ "summary": "auto" })));
    assert_eq!(summed["output"][0]["summary"][0]["text"], "I have to look.");
    assert_eq!(summed["output"][0]["content"], json!([]));
    assert!(kinds(&events).contains(&"response.reasoning_summary_part.added"));
    assert!(!kinds(&events).contains(&"response.reasoning_text.delta"));
}

#[test]
fn what_was_asked_for_is_repeated_with_the_values_that_hold() {
    let live = scripted();
    let body = asking(
        "Hi",
        json!({
            "instructions": "Be short.", "temperature": 0.2, "top_p": 0.9, "max_output_tokens": 500,
            "metadata": { "a": "b" }, "tools": temperature(), "tool_choice": "none",
            "parallel_tool_calls": false, "max_tool_calls": 3, "truncation": "auto", "user": "u",
            "safety_identifier": "s", "prompt_cache_key": "k", "service_tier": "flex",
            "store": false,
            "text": { "format": { "type": "text" }, "verbosity": "medium" },
            "include": ["reasoning.encrypted_content"],
            "prompt_cache_options": { "mode": "implicit" },
        }),
    );
    let (whole, _) = both(&live, &body);
    for name in [
        "instructions",
        "temperature",
        "top_p",
        "max_output_tokens",
        "metadata",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "max_tool_calls",
        "truncation",
        "user",
        "safety_identifier",
        "prompt_cache_key",
        "store",
        "text",
    ] {
        assert_eq!(whole[name], body[name], "{name}");
    }
    assert_eq!(whole["service_tier"], "default");
    let path = format!("{PATH}/{}", whole["id"].as_str().unwrap());
    live.get(&path).error(404);
}

#[test]
fn logprobs_come_with_their_tokens() {
    let live = scripted();
    let body =
        asking("Hi", json!({ "include": ["message.output_text.logprobs"], "top_logprobs": 1 }));
    let (whole, events) = both(&live, &body);
    let part = &whole["output"][0]["content"][0];
    let tokens = part["logprobs"].as_array().unwrap();
    let joined: String = tokens.iter().map(|it| it["token"].as_str().unwrap()).collect();
    assert_eq!(joined, part["text"].as_str().unwrap());
    assert_eq!(tokens[0]["top_logprobs"].as_array().unwrap().len(), 1);
    let done = events.iter().find(|it| it["type"] == "response.output_text.done").unwrap();
    assert_eq!(&done["logprobs"], &part["logprobs"]);
    let (without, _) = both(&live, &asking("Hi", json!({})));
    assert_eq!(without["output"][0]["content"][0]["logprobs"], json!([]));
}

#[test]
fn a_cut_answer_is_incomplete_and_an_empty_one_is_not() {
    let live = scripted();
    let (cut, events) = both(&live, &asking("Hi", json!({ "max_output_tokens": 4 })));
    assert_eq!((&cut["status"], &cut["completed_at"]), (&json!("incomplete"), &Value::Null));
    assert_eq!(cut["incomplete_details"], json!({ "reason": "max_output_tokens" }));
    assert_eq!(cut["output"][0]["status"], "incomplete");
    assert_eq!(kinds(&events).last(), Some(&"response.incomplete"));
    let (empty, _) = both(&live, &asking("Silence.", json!({})));
    assert_eq!(empty["output"][0]["content"][0]["text"], "");
    assert_eq!(empty["status"], "completed");
}

#[test]
fn a_failed_answer_says_so_whole_and_streamed() {
    let live = scripted();
    live.post(PATH, &asking("Break.", json!({}))).error(500);
    let events = events(&live.post(PATH, &asking("Break.", json!({ "stream": true }))));
    judge_events(&events);
    let last = &events.last().unwrap();
    assert_eq!(last["type"], "response.failed");
    assert_eq!(last["response"]["error"]["code"], "server_error");
    assert_eq!(last["response"]["output"][0]["status"], "incomplete");
}

#[test]
fn formats_and_forced_calls_hold() {
    let live = Live::start(Setup { context: 2048, ..Setup::default() });
    let schema = json!({ "type": "object", "properties": { "yes": { "type": "boolean" } },
                         "required": ["yes"], "additionalProperties": false });
    let format =
        json!({ "type": "json_schema", "name": "answer", "schema": schema, "strict": true });
    let body = asking("Hi", json!({ "text": { "format": format } }));
    let whole = live.post(PATH, &body).good();
    judge_response(&whole);
    let text = whole["output"][0]["content"][0]["text"].as_str().unwrap();
    judge(&schema, &serde_json::from_str(text).unwrap());
    assert_eq!(whole["text"]["format"]["schema"], schema);
    for (format, param) in [
        (json!({ "type": "json_schema", "name": "a" }), "text.format.schema"),
        (json!({ "type": "json_schema", "schema": {} }), "text.format.name"),
        (
            json!({ "type": "json_schema", "name": "a", "schema": { "type": "x" } }),
            "text.format.schema",
        ),
        (json!({ "type": "xml" }), "text.format.type"),
    ] {
        let body = asking("Hi", json!({ "text": { "format": format } }));
        assert_eq!(live.post(PATH, &body).error(400)["param"], param);
    }
}

#[test]
fn too_long_a_dialogue_is_refused_or_cut_at_its_beginning() {
    let live = scripted();
    let mut input: Vec<Value> =
        (0..40).map(|_| json!({ "role": "user", "content": "x".repeat(100) })).collect();
    input.push(json!({ "role": "user", "content": "Again." }));
    let body = json!({ "input": input, "instructions": "Be short." });
    let error = live.post(PATH, &body).error(400);
    assert_eq!(
        (&error["code"], &error["param"]),
        (&json!("context_length_exceeded"), &json!("input"))
    );
    let cut = live.post(PATH, &with(&body, "truncation", json!("auto"))).good();
    assert_eq!(cut["output"][0]["content"][0]["text"], "Again it is.");
    let tokens = cut["usage"]["input_tokens"].as_u64().unwrap();
    // As much as fits, and not less by more than a message.
    assert!((1900..2048).contains(&tokens), "{tokens}");
    let one = json!({ "input": "x".repeat(5000), "truncation": "auto" });
    assert_eq!(live.post(PATH, &one).error(400)["code"], "context_length_exceeded");
}

#[test]
fn tokens_are_counted_without_an_answer() {
    let live = scripted();
    let body = asking("Hi", json!({ "instructions": "Be short.", "tools": temperature() }));
    let count = live.post("/v1/responses/input_tokens", &body).good();
    assert_eq!(count["object"], "response.input_tokens");
    let whole = live.post(PATH, &body).good();
    assert_eq!(count["input_tokens"], whole["usage"]["input_tokens"]);
    let long =
        live.post("/v1/responses/input_tokens", &asking(&"x".repeat(9000), json!({}))).good();
    assert!(long["input_tokens"].as_u64().unwrap() > 9000);
}
