//! Turns every way to ask for a format or a budget into answers that keep to it, of a random model.

use serde_json::{Value, json};

use super::harness::{Live, Setup, chat, with};

const PATH: &str = "/v1/chat/completions";

/// A template whose model reasons, and whose prompt has begun with that.
const OPENED: &str = "{% for message in messages %}{{ message.content }}\n{% endfor %}\
                      {% if enable_thinking is defined and not enable_thinking %}<think></think>\
                      {% else %}<think>\n{% endif %}";

/// One that leaves it to the model, which then has never reasoned so far.
const FREE: &str = "{# </think> #}{% for message in messages %}{{ message.content }}\n{% endfor %}";

/// One that has no way to turn it off.
const ALWAYS: &str = "{% for message in messages %}{{ message.content }}\n{% endfor %}<think>\n\
                      {# </think> #}";

fn live(template: &'static str) -> Live {
    Live::start(Setup { context: 1024, chat_template: Some(template), ..Setup::default() })
}

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": { "kind": { "enum": ["a", "bc"] }, "count": { "type": "integer",
                        "minimum": 0, "maximum": 99 } },
        "required": ["kind", "count"], "additionalProperties": false,
    })
}

fn is_right(text: &str) -> bool {
    let value: Value = serde_json::from_str(text).unwrap_or_default();
    let count = value["count"].as_u64().is_some_and(|count| count <= 99);
    count && (value["kind"] == "a" || value["kind"] == "bc")
}

fn format() -> Value {
    json!({ "type": "json_schema", "json_schema": { "name": "x", "schema": schema() } })
}

#[test]
fn reasoning_comes_before_what_follows_a_schema() {
    let fields = json!({ "n": 4, "seed": 1, "temperature": 2, "max_tokens": 400,
                         "response_format": format(), "thinking_budget": 12 });
    for (template, off) in [(OPENED, false), (OPENED, true), (FREE, false), (ALWAYS, false)] {
        let live = live(template);
        let mut body = chat(fields.clone());
        if off {
            body["enable_thinking"] = json!(false);
        }
        let answer = live.post(PATH, &body).good();
        for choice in answer["choices"].as_array().unwrap() {
            let message = &choice["message"];
            assert_eq!(choice["finish_reason"], "stop", "{message}");
            assert!(is_right(message["content"].as_str().unwrap()), "{message}");
            let reasoned = message["reasoning_content"].is_string();
            assert_eq!(reasoned, template != FREE && !off, "{message}");
        }
        let details = &answer["usage"]["completion_tokens_details"];
        // At most three more for the rest of a character.
        assert!(details["reasoning_tokens"].as_u64().unwrap() <= 4 * 15, "{details}");
    }
}

#[test]
fn a_budget_ends_the_reasoning_and_changes_nothing_before_or_in_company() {
    let live = live(ALWAYS);
    let ask = |fields: Value| {
        let mut body = chat(json!({ "max_tokens": 60, "return_token_ids": true, "logit_bias":
                                    super::harness::letters() }));
        for (name, value) in fields.as_object().unwrap() {
            body[name] = value.clone();
        }
        live.post(PATH, &body).good()["choices"][0].clone()
    };
    let ids = |choice: &Value| -> Vec<u64> {
        choice["token_ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect()
    };
    let round = |seed: u64| {
        let unbounded = ask(json!({ "seed": seed }));
        let bounded = ask(json!({ "seed": seed, "thinking_budget": 7 }));
        assert_eq!(ids(&bounded)[..7], ids(&unbounded)[..7]);
        let message = &bounded["message"];
        assert_eq!(message["reasoning"].as_str().unwrap().len(), 7, "{message}");
        assert_eq!(unbounded["message"]["content"].as_str().unwrap_or_default(), "", "{unbounded}");
        // What the marker and its lines leave of the tokens.
        assert!(message["content"].as_str().unwrap().len() >= 60 - 7 - 11, "{message}");
        ids(&bounded)
    };
    let alone: Vec<_> = (0..4).map(round).collect();
    let together: Vec<_> = std::thread::scope(|scope| {
        let round = &round;
        let threads: Vec<_> = (0..4).map(|seed| scope.spawn(move || round(seed))).collect();
        threads.into_iter().map(|thread| thread.join().expect("an answer")).collect()
    });
    assert_eq!(together, alone);
    // Every way to say that there is to be none.
    for none in [
        json!({ "thinking_budget": 0 }),
        json!({ "reasoning_effort": "none" }),
        json!({ "enable_thinking": false }),
    ] {
        let message = ask(none.clone())["message"].clone();
        assert!(message["content"].is_string() && message.get("reasoning").is_none(), "{none}");
    }
}

#[test]
fn every_dialect_has_formats() {
    let live = Live::start(Setup { context: 1024, ..Setup::default() });
    let (user, model) = (json!([{ "role": "user", "content": "Hi" }]), "tests/synthetic");
    let claude = json!({ "model": model, "max_tokens": 300, "messages": user });
    let own = json!({ "type": "json_schema", "schema": schema() });
    for (name, value) in
        [("output_config", json!({ "effort": "low", "format": own })), ("output_format", own)]
    {
        let answer = live.post("/v1/messages", &with(&claude, name, value)).good();
        assert!(is_right(answer["content"][0]["text"].as_str().unwrap_or_default()), "{answer}");
    }
    let both = with(&claude, "output_config", json!({ "format": { "type": "grammar" } }));
    let refused = live.post("/v1/messages", &both);
    assert!(refused.text().contains("output_config.format.type"), "{}", refused.text());

    let ollama = json!({ "model": model, "messages": user, "stream": false, "format": schema() });
    let answer = live.post("/api/chat", &ollama).good();
    assert!(is_right(answer["message"]["content"].as_str().unwrap_or_default()), "{answer}");
    for raw in [false, true] {
        let body = json!({ "model": model, "prompt": "Hi", "raw": raw, "stream": false,
                           "format": schema() });
        let answer = live.post("/api/generate", &body).good();
        assert!(is_right(answer["response"].as_str().unwrap_or_default()), "{raw}: {answer}");
    }
    let any = json!({ "model": model, "messages": user, "stream": false, "format": "json",
                      "options": { "num_predict": 30 } });
    let answer = live.post("/api/chat", &any).good();
    assert!(answer["message"]["content"].as_str().unwrap().starts_with('{'), "{answer}");
    let wrong = with(&ollama, "format", json!({ "not": {} }));
    let error = live.post("/api/chat", &wrong);
    assert!(error.status == 400 && error.text().contains("'not'"), "{}", error.text());
}

/// A way to ask for a text, and whether a text is one.
type Asked = (Value, fn(&str) -> bool);

fn is_number(text: &str) -> bool {
    let (left, right) = text.split_once('-').unwrap_or_default();
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    left.len() == 3 && right.len() == 4 && digits(left) && digits(right)
}

fn is_one(text: &str) -> bool {
    ["yes", "no", "<think>"].contains(&text)
}

fn is_sum(text: &str) -> bool {
    text.split('+').all(|part| part == "1" || part == "22")
}

#[test]
fn regular_expressions_choices_and_grammars_are_followed() {
    let sum = "start: NUMBER (\"+\" NUMBER)*\nNUMBER: \"1\" | \"22\"";
    let text = schema().to_string();
    let asked: [Asked; 9] = [
        (json!({ "structured_outputs": { "regex": "^\\d{3}-\\d{4}$" } }), is_number),
        (json!({ "guided_regex": "[0-9]{3}-[0-9]{4}" }), is_number),
        (json!({ "structured_outputs": { "choice": ["yes", "no", "<think>"] } }), is_one),
        (json!({ "guided_choice": ["yes", "no"] }), is_one),
        (json!({ "structured_outputs": { "grammar": sum } }), is_sum),
        (json!({ "guided_grammar": sum }), is_sum),
        (json!({ "structured_outputs": { "json": schema() } }), is_right),
        (json!({ "guided_json": text }), is_right),
        (json!({ "response_format": format() }), is_right),
    ];
    let live = Live::start(Setup::default());
    for (fields, is_so) in asked {
        let mut body = json!({ "prompt": "Hi", "max_tokens": 200, "temperature": 1, "seed": 3 });
        for (name, value) in fields.as_object().unwrap() {
            body[name] = value.clone();
        }
        let answer = live.post("/v1/completions", &body).good();
        let text = answer["choices"][0]["text"].as_str().unwrap();
        assert!(is_so(text), "{fields}: {text}");
        body.as_object_mut().unwrap().remove("prompt");
        let answer = live.post(PATH, &chat(body)).good();
        let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
        assert!(is_so(text), "{fields}: {text}");
    }
    for (field, value, param) in [
        ("guided_regex", json!("(?=a)b"), "guided_regex"),
        ("guided_regex", json!("(a"), "guided_regex"),
        ("guided_choice", json!([""]), "guided_choice"),
        ("guided_grammar", json!("start: %json {}"), "guided_grammar"),
        ("guided_grammar", json!("start: other"), "guided_grammar"),
        ("structured_outputs", json!({ "json": { "not": {} } }), "structured_outputs.json"),
    ] {
        let error = live.post(PATH, &with(&chat(json!({})), field, value.clone())).error(400);
        assert_eq!(error["param"], param, "{value}: {error}");
    }
}

#[test]
fn strict_tools_are_called_by_their_schemas_or_not_at_all() {
    let live = Live::start(Setup { context: 4096, ..Setup::default() });
    let function = json!({ "name": "first", "parameters": schema(), "strict": true });
    let body = chat(json!({
        "tools": [{ "type": "function", "function": function }], "max_tokens": 200, "n": 8,
        "temperature": 1, "seed": 3, "stop": "e",
    }));
    let answer = live.post(PATH, &body).good();
    for choice in answer["choices"].as_array().unwrap() {
        // The text is free: a stop string ends it.
        let content = choice["message"]["content"].as_str().unwrap_or_default();
        assert!(!content.contains('e'), "{content}");
        for call in choice["message"]["tool_calls"].as_array().into_iter().flatten() {
            assert!(is_right(call["function"]["arguments"].as_str().unwrap()), "{call}");
        }
    }
    // With a format too, it is that or a call.
    let both = with(&body, "response_format", format());
    let answer = live.post(PATH, &both).good();
    for choice in answer["choices"].as_array().unwrap() {
        let message = &choice["message"];
        let called = choice["finish_reason"] == "tool_calls";
        let right = called || is_right(message["content"].as_str().unwrap_or_default());
        assert!(right, "{choice}");
    }
}
