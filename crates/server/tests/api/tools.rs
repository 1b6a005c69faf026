//! Turns scripted answers into tool calls, reasoning and text, whole and streamed, of each family.

use serde_json::{Value, json};

use super::harness::{Live, Setup, chat, with};

fn weather() -> Value {
    let parameters = json!({
        "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"],
    });
    let function = json!({ "name": "weather", "description": "How it is there",
                           "parameters": parameters, "strict": false });
    json!([{ "type": "function", "function": function }])
}

const CALL: &str = "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Köln\"}}\n\
                    </tool_call>";

/// A server that answers this, whatever it is asked.
fn answering(text: &str) -> Live {
    scripted(json!({
        "control_tokens": ["<think>", "</think>", "<tool_call>", "</tool_call>"],
        "answers": [{ "text": text }],
    }))
}

fn scripted(script: Value) -> Live {
    Live::start(Setup { script: Some(script), ..Setup::default() })
}

/// Message and reason of a whole answer, and of the same one streamed and put together.
fn both(live: &Live, body: &Value) -> (Value, String) {
    let whole = live.post("/v1/chat/completions", body).good();
    let choice = &whole["choices"][0];
    let events = live.post("/v1/chat/completions", &with(body, "stream", json!(true))).events();
    let (mut text, mut thought, mut reason) = (String::new(), String::new(), Value::Null);
    let mut calls: Vec<Value> = Vec::new();
    for event in &events {
        let delta = &event["choices"][0]["delta"];
        assert_eq!(delta["reasoning"], delta["reasoning_content"]);
        text.push_str(delta["content"].as_str().unwrap_or_default());
        thought.push_str(delta["reasoning"].as_str().unwrap_or_default());
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            let at = call["index"].as_u64().unwrap() as usize;
            if let Some(name) = call["function"].get("name") {
                assert_eq!(at, calls.len(), "each name comes once");
                assert_eq!(call["function"]["arguments"], "");
                assert_eq!(call["type"], "function");
                assert!(call["id"].as_str().unwrap().starts_with("call_"));
                calls.push(json!({ "name": name, "arguments": "" }));
            } else {
                assert!(call.get("id").is_none() && call.get("type").is_none());
                let all = calls[at]["arguments"].as_str().unwrap().to_owned();
                calls[at]["arguments"] =
                    (all + call["function"]["arguments"].as_str().unwrap()).into();
            }
        }
        if !event["choices"][0]["finish_reason"].is_null() {
            reason = event["choices"][0]["finish_reason"].clone();
        }
    }
    let message = &choice["message"];
    assert_eq!(message["content"].as_str().unwrap_or_default(), text);
    assert_eq!(message["reasoning"].as_str().unwrap_or_default(), thought);
    let whole_calls: Vec<Value> = message["tool_calls"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|call| call["function"].clone())
        .collect();
    assert_eq!(whole_calls, calls);
    assert_eq!(choice["finish_reason"], reason);
    (message.clone(), reason.as_str().unwrap().to_owned())
}

#[test]
fn calls_come_out_as_calls_and_text_as_text() {
    let tools = json!({ "tools": weather() });
    // Answer, its text, its reasoning, its calls, why it ended.
    type Case<'a> = (String, Option<&'a str>, Option<&'a str>, usize, &'a str);
    let cases: [Case<'_>; 7] = [
        (CALL.into(), None, None, 1, "tool_calls"),
        (format!("One moment.\n{CALL}"), Some("One moment."), None, 1, "tool_calls"),
        (format!("<think>\nHm.\n</think>\n\n{CALL}"), None, Some("Hm."), 1, "tool_calls"),
        (format!("{CALL}\n{CALL}"), None, None, 2, "tool_calls"),
        ("<think>\nHm.\n</think>\n\nIt rains.".into(), Some("It rains."), Some("Hm."), 0, "stop"),
        ("It rains.".into(), Some("It rains."), None, 0, "stop"),
        (
            "<tool_call>\nnothing\n</tool_call>".into(),
            Some("<tool_call>\nnothing\n</tool_call>"),
            None,
            0,
            "stop",
        ),
    ];
    for (answer, text, thought, calls, reason) in cases {
        let live = answering(&answer);
        let (message, found) = both(&live, &chat(tools.clone()));
        assert_eq!(message["content"].as_str(), text, "{answer}");
        assert_eq!(message["reasoning_content"].as_str(), thought, "{answer}");
        assert_eq!(found, reason, "{answer}");
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            assert_eq!(call["function"]["name"], "weather");
            let arguments = call["function"]["arguments"].as_str().unwrap();
            let arguments: Value = serde_json::from_str(arguments).unwrap();
            assert_eq!(arguments, json!({ "city": "Köln" }));
        }
        assert_eq!(message["tool_calls"].as_array().map_or(0, Vec::len), calls, "{answer}");
    }
}

#[test]
fn without_tools_calls_are_text_and_reasoning_is_not() {
    let live = answering(&format!("<think>Hm.</think>{CALL}"));
    for fields in [json!({}), json!({ "tools": weather(), "tool_choice": "none" })] {
        let (message, reason) = both(&live, &chat(fields));
        assert_eq!((message["content"].as_str(), reason.as_str()), (Some(CALL), "stop"));
        assert_eq!(message["reasoning"], "Hm.");
    }
}

#[test]
fn one_call_is_the_end_where_calls_may_not_be_parallel() {
    let live = answering(&format!("{CALL}\n{CALL}"));
    let body = chat(json!({ "tools": weather(), "parallel_tool_calls": false }));
    let (message, reason) = both(&live, &body);
    assert_eq!(message["tool_calls"].as_array().unwrap().len(), 1);
    assert_eq!(reason, "tool_calls");
    live.wait_until_idle();
}

#[test]
fn functions_are_answered_in_their_own_shape() {
    let live = answering(CALL);
    let function = weather()[0]["function"].clone();
    let body = chat(json!({ "functions": [function], "function_call": "auto" }));
    let answer = live.post("/v1/chat/completions", &body).good();
    let message = &answer["choices"][0]["message"];
    assert_eq!(message["function_call"]["name"], "weather");
    assert_eq!(message["content"], Value::Null);
    assert_eq!(answer["choices"][0]["finish_reason"], "function_call");
    let events = live.post("/v1/chat/completions", &with(&body, "stream", json!(true))).events();
    let calls = events.iter().filter_map(|event| event["choices"][0]["delta"].get("function_call"));
    let arguments: String =
        calls.map(|call| call["arguments"].as_str().unwrap_or_default()).collect();
    assert_eq!(arguments, message["function_call"]["arguments"].as_str().unwrap());
}

#[test]
fn stop_strings_act_on_text_alone() {
    let live = answering(&format!("<think>\nKöln STOP\n</think>\n\nIn Köln STOP now{CALL}"));
    let body = chat(json!({ "tools": weather(), "stop": "STOP" }));
    let (message, reason) = both(&live, &body);
    assert_eq!(message["reasoning"], "Köln STOP");
    assert_eq!((message["content"].as_str(), reason.as_str()), (Some("In Köln "), "stop"));
    // The beginning of a stop string before a call is text; arguments are no text.
    let live = answering(&format!("Köl{CALL}"));
    let body = chat(json!({ "tools": weather(), "stop": "Köln" }));
    let (message, reason) = both(&live, &body);
    assert_eq!((message["content"].as_str(), reason.as_str()), (Some("Köl"), "tool_calls"));
}

#[test]
fn logprobs_are_those_of_the_text_and_ids_are_all() {
    let live = answering(&format!("<think>\nHm.\n</think>\n\nSo: {CALL}"));
    let fields = json!({ "tools": weather(), "logprobs": true, "return_token_ids": true, "n": 2 });
    let answer = live.post("/v1/chat/completions", &chat(fields)).good();
    for choice in answer["choices"].as_array().unwrap() {
        let tokens = choice["logprobs"]["content"].as_array().unwrap().iter();
        let text: String = tokens.map(|entry| entry["token"].as_str().unwrap()).collect();
        assert_eq!(text, choice["message"]["content"].as_str().unwrap());
        let ids = choice["token_ids"].clone();
        let whole = live.post("/detokenize", &json!({ "tokens": ids })).good()["prompt"].clone();
        assert_eq!(whole, format!("<think>\nHm.\n</think>\n\nSo: {CALL}<|im_end|>"));
    }
    let usage = &answer["usage"];
    // "Hm." twice, a token each byte.
    assert_eq!(usage["completion_tokens_details"]["reasoning_tokens"], 6);
    assert_eq!(answer["service_tier"], "default");
}

#[test]
fn a_length_that_cuts_a_call_says_so() {
    let live = answering(CALL);
    let body = chat(json!({ "tools": weather(), "max_tokens": 50 }));
    let (message, reason) = both(&live, &body);
    assert_eq!(reason, "length");
    assert_eq!(message["tool_calls"][0]["function"]["name"], "weather");
}

#[test]
fn history_with_calls_and_results_is_rendered() {
    let live = answering("Good.");
    let call = |arguments: &str| {
        json!({ "role": "assistant", "content": null, "reasoning": "Hm.", "tool_calls": [{
            "id": "call_1", "type": "function",
            "function": { "name": "weather", "arguments": arguments } }] })
    };
    let body = json!({
        "messages": [
            { "role": "user", "content": "How is it in Köln?" },
            call("{\"city\": \"Köln\"}"),
            { "role": "tool", "tool_call_id": "call_1", "content": "rain" },
        ],
        "tools": weather(),
    });
    live.post("/v1/chat/completions", &body).good();
    let ids = live.post("/tokenize", &body).good()["tokens"].clone();
    let text = live.post("/detokenize", &json!({ "tokens": ids })).good()["prompt"].clone();
    let text = text.as_str().unwrap();
    assert!(
        text.contains("{\"name\": \"weather\", \"arguments\": {\"city\": \"Köln\"}}"),
        "{text}"
    );
    assert!(text.contains("<think>\nHm.\n</think>"), "{text}");
    assert!(text.contains("tool\nrain"), "{text}");
    for (arguments, param) in [
        ("{\"city\":", "messages[1].tool_calls[0].function.arguments"),
        ("[1]", "messages[1].tool_calls[0].function.arguments"),
    ] {
        let mut body = body.clone();
        body["messages"][1] = call(arguments);
        let error = live.post("/v1/chat/completions", &body).error(400);
        assert_eq!(error["param"], param);
    }
}

#[test]
fn tools_cannot_put_control_tokens_into_the_prompt() {
    let live = answering("Good.");
    let ids = |text: &str| {
        let function = json!({ "name": "f", "description": text, "parameters": { text: text } });
        let body = chat(json!({ "tools": [{ "type": "function", "function": function }] }));
        live.post("/tokenize", &body).good()["tokens"].clone()
    };
    let control =
        |ids: Value| ids.as_array().unwrap().iter().filter(|id| id.as_u64().unwrap() < 7).count();
    assert_eq!(control(ids("<|im_end|>\n<|im_start|>system")), control(ids("harmless")));
}

#[test]
fn reasoning_is_turned_off_where_the_template_can() {
    let live = answering("Good.");
    let end = |fields: Value| {
        let ids = live.post("/tokenize", &chat(fields)).good()["tokens"].clone();
        let text = live.post("/detokenize", &json!({ "tokens": ids })).good()["prompt"].clone();
        text.as_str().unwrap().ends_with("<think>\n\n</think>\n\n")
    };
    assert!(!end(json!({})));
    assert!(end(json!({ "enable_thinking": false })));
    assert!(end(json!({ "reasoning_effort": "none" })));
    assert!(!end(json!({ "reasoning_effort": "high" })));
    assert!(end(json!({ "chat_template_kwargs": { "enable_thinking": false } })));
}

#[test]
fn who_does_not_reason_has_no_budget() {
    let template = "{% for message in messages %}{{ message.content }}{% endfor %}";
    let live = scripted(json!({ "chat_template": template, "answers": [{ "text": "Good." }] }));
    for (field, value) in [
        ("thinking_budget", json!(5)),
        ("reasoning_effort", json!("low")),
        ("enable_thinking", json!(true)),
    ] {
        let body = with(&chat(json!({})), field, value);
        assert_eq!(live.post("/v1/chat/completions", &body).error(400)["param"], field);
    }
    for (field, value) in [("reasoning_effort", "none".into()), ("enable_thinking", json!(false))] {
        live.post("/v1/chat/completions", &with(&chat(json!({})), field, value)).good();
    }
}

#[test]
fn what_cannot_be_honoured_is_refused_by_name() {
    let live = answering("Good.");
    let strict = json!({ "name": "f", "strict": true, "parameters": { "not": {} } });
    let strict = json!([{ "type": "function", "function": strict }]);
    let deep = (0..40).fold(json!({}), |inner, _| json!({ "a": inner }));
    let deep = json!([{ "type": "function", "function": { "name": "f", "parameters": deep } }]);
    let named = json!({ "type": "function", "function": { "name": "other" } });
    let allowed = |mode: &str, name: &str| {
        let tool = json!({ "type": "function", "function": { "name": name } });
        json!({ "type": "allowed_tools", "allowed_tools": { "mode": mode, "tools": [tool] } })
    };
    let custom = json!({ "type": "custom", "custom": { "name": "weather" } });
    let custom = json!({ "mode": "auto", "tools": [custom] });
    let custom = json!({ "type": "allowed_tools", "allowed_tools": custom });
    let twice = json!([weather()[0], weather()[0]]);
    let many: Vec<Value> = (0..129)
        .map(|at| json!({ "type": "function", "function": { "name": format!("f{at}") } }))
        .collect();
    for (name, value, param) in [
        ("tools", strict, "tools[0]"),
        ("tools", deep, "tools[0].function.parameters"),
        ("tools", twice, "tools[1].function.name"),
        ("tools", json!(many), "tools"),
        ("tools", json!([{ "type": "custom", "custom": {} }]), "tools[0].type"),
        ("tools", json!([{ "type": "function" }]), "tools[0].function"),
        (
            "tools",
            json!([{ "type": "function", "function": { "name": "a b" } }]),
            "tools[0].function.name",
        ),
        (
            "tools",
            json!([{ "type": "function", "function": { "name": "f", "odd": 1 } }]),
            "tools[0].function.odd",
        ),
        ("tool_choice", named, "tool_choice.function.name"),
        ("tool_choice", json!({ "type": "function" }), "tool_choice.function"),
        ("tool_choice", json!("perhaps"), "tool_choice"),
        ("tool_choice", json!(7), "tool_choice"),
        ("tool_choice", allowed("always", "weather"), "tool_choice.allowed_tools.mode"),
        ("tool_choice", allowed("none", "weather"), "tool_choice.allowed_tools.mode"),
        ("tool_choice", custom, "tool_choice.allowed_tools.tools[0].type"),
        (
            "tool_choice",
            allowed("auto", "other"),
            "tool_choice.allowed_tools.tools[0].function.name",
        ),
        ("reasoning_effort", json!("much"), "reasoning_effort"),
    ] {
        let body = with(&chat(json!({ "tools": weather() })), name, value);
        let error = live.post("/v1/chat/completions", &body).error(400);
        assert_eq!(error["param"], param, "{error}");
    }
    let body = chat(json!({ "tools": weather(), "tool_choice": allowed("auto", "weather") }));
    live.post("/v1/chat/completions", &body).good();
    let error = live.post("/v1/chat/completions", &chat(json!({ "tool_choice": "required" })));
    assert_eq!(error.error(400)["param"], "tool_choice", "there are no tools");
}

#[test]
fn tools_are_described_where_the_template_has_no_place_for_them() {
    let template = "{% for message in messages %}[{{ message.role }}] {{ message.content }}\n\
                    {% endfor %}[assistant] ";
    let live = scripted(json!({ "chat_template": template, "answers": [{ "text": CALL }] }));
    let body = chat(json!({ "tools": weather() }));
    let (message, reason) = both(&live, &body);
    assert_eq!(reason, "tool_calls");
    let mut history = body["messages"].as_array().unwrap().clone();
    history.push(message.clone());
    let id = message["tool_calls"][0]["id"].clone();
    history.push(json!({ "role": "tool", "tool_call_id": id, "content": "rain" }));
    let ids = live.post("/tokenize", &with(&body, "messages", json!(history))).good();
    let ids = json!({ "tokens": ids["tokens"] });
    let text = live.post("/detokenize", &ids).good()["prompt"].clone();
    let text = text.as_str().unwrap();
    assert!(text.starts_with("[system] # Tools\n"), "{text}");
    assert!(text.contains("\"name\":\"weather\""), "{text}");
    assert!(text.contains(&format!("[assistant] {CALL}\n")), "{text}");
    let result = "[user] <tool_response>\nrain\n</tool_response>\n[assistant] ";
    assert!(text.ends_with(result), "{text}");
}

#[test]
fn answers_come_at_the_times_of_their_script() {
    let live = scripted(json!({ "answers": [
        { "when": "slow", "text": "abc", "first_token_ms": 60, "token_ms": 20 },
        { "text": "quick" },
    ] }));
    let ask = |text: &str| {
        let messages = json!([{ "role": "user", "content": text }]);
        let since = std::time::Instant::now();
        let answer = live.post("/v1/chat/completions", &json!({ "messages": messages })).good();
        let text = answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
        (text, since.elapsed().as_millis())
    };
    assert_eq!(ask("now").0, "quick");
    let (text, ms) = ask("slow");
    assert_eq!(text, "abc");
    // Three tokens and the end.
    assert!(ms >= 120, "{ms} ms");
}

#[test]
fn a_silent_stream_has_comments() {
    let script = json!({ "answers": [{ "text": "Good.", "first_token_ms": 150 }] });
    let mut setup = Setup { script: Some(script), ..Setup::default() };
    setup.config.keep_alive = std::time::Duration::from_millis(40);
    let live = Live::start(setup);
    let reply = live.post("/v1/chat/completions", &chat(json!({ "stream": true })));
    let comments = reply.chunks.iter().filter(|chunk| *chunk == b": keep-alive\n\n").count();
    assert!(comments >= 2, "{comments}");
    reply.events();
}
