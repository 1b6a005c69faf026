//! Turns questions with few possible answers into probabilities: moderations and decisions.

use std::sync::Arc;

use myriad_server::wire::moderation_policy::CATEGORIES;
use myriad_server::{LabelRequest, LabelScores, Runtime};
use serde_json::{Value, json};

use super::harness::{Live, MODEL, Setup, chat, runtime, with};

const DECISIONS: &str = "/v1/decisions";
const MODERATIONS: &str = "/v1/moderations";

/// A double that says this to a question with `when`, else no. Its tokens are bytes, so that what
/// has been said of an answer is part of the next prompt.
fn saying(answers: &[(&str, &str)]) -> Live {
    let behind =
        |begun: &str, rest: &str| json!({ "when": format!("</think>\n\n{begun}"), "text": rest });
    let mut all = vec![behind("Ye", "s"), behind("Y", "es"), behind("N", "o")];
    all.extend(answers.iter().map(|(when, text)| json!({ "when": when, "text": text })));
    all.push(json!({ "text": "No" }));
    let script = json!({ "control_tokens": ["<think>", "</think>"], "answers": all });
    Live::start(Setup { script: Some(script), ..Setup::default() })
}

/// Log-probabilities of labels as the server itself would ask for them.
fn scores(runtime: &Arc<Runtime>, prompt: &[u32], labels: &[Vec<u32>]) -> LabelScores {
    let executor = tokio::runtime::Builder::new_current_thread().build().expect("an executor");
    let (prompt, labels) = (prompt.to_vec(), labels.to_vec());
    let request = LabelRequest { prompt, labels, cache_salt: 0 };
    executor.block_on(runtime.score_labels(request)).expect("scores")
}

#[test]
fn labels_score_as_texts_do_that_end_with_them() {
    let live = Live::start(Setup::default());
    let prompt: Vec<u32> = (0..77).map(|at| 3 + (at * 31) % 250).collect();
    let labels = [vec![60], vec![60, 70, 80], vec![60, 70, 90, 100], vec![61], vec![200, 60]];
    let found = scores(&live.runtime, &prompt, &labels);
    assert_eq!(found.usage.prompt_tokens, prompt.len());
    for (label, found) in labels.iter().zip(&found.logprobs) {
        let ids = [prompt.as_slice(), label].concat();
        let body = json!({ "prompt": ids, "echo": true, "logprobs": 0, "max_tokens": 0 });
        let read = live.post("/v1/completions", &body).good();
        let list = read["choices"][0]["logprobs"]["token_logprobs"].as_array().unwrap();
        let right = list[prompt.len()..].iter().map(|it| f64::from(it.as_f64().unwrap() as f32));
        // To the last bit: both are sums of the same numbers in the same order.
        assert_eq!(*found, right.sum::<f64>(), "{label:?}");
    }
    live.wait_until_idle();
}

#[test]
fn labels_score_the_same_in_any_company() {
    let prompt: Vec<u32> = (0..100).map(|at| 3 + (at * 17) % 250).collect();
    let labels = [vec![5], vec![6, 7], vec![6, 8], vec![250, 3, 5]];
    let right = scores(&runtime(&Setup::default()), &prompt, &labels).logprobs;
    assert!(right.iter().all(|logprob| logprob.is_finite() && *logprob < 0.0));
    let live = Live::start(Setup { context: 4096, parallel: 4, ..Setup::default() });
    let endless = json!({ "ignore_eos": true, "stream": true, "n": 2 });
    let others = live.begin("/v1/chat/completions", &chat(endless));
    for round in 0..3 {
        let found = scores(&live.runtime, &prompt, &labels);
        assert_eq!(found.logprobs, right);
        // All but the last token of the prompt is found again.
        assert_eq!(found.usage.cached_tokens, if round == 0 { 0 } else { 99 });
    }
    drop(others);
    live.wait_until_idle();
}

#[test]
fn moderations_have_openais_shape_and_the_models_verdict() {
    let live = saying(&[("depict death, violence or physical injury?", "Yes")]);
    let answer = live.post(MODERATIONS, &json!({ "input": "He hit him." })).good();
    assert!(answer["id"].as_str().unwrap().starts_with("modr-"));
    assert_eq!(answer["model"], MODEL);
    let result = &answer["results"][0];
    assert_eq!(result["flagged"], true);
    for field in ["categories", "category_scores", "category_applied_input_types"] {
        let names: Vec<&str> =
            result[field].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, CATEGORIES.map(|category| category.name), "{field}");
    }
    for category in CATEGORIES {
        let yes = category.name == "violence";
        assert_eq!(result["categories"][category.name], yes, "{}", category.name);
        assert_eq!(result["category_scores"][category.name], f64::from(u8::from(yes)));
        assert_eq!(result["category_applied_input_types"][category.name], json!(["text"]));
    }
    let quiet = saying(&[]);
    let answer = quiet.post(MODERATIONS, &json!({ "input": "Hello.", "model": MODEL })).good();
    assert_eq!(answer["results"][0]["flagged"], false);
}

#[test]
fn moderations_take_texts_in_each_form_and_refuse_images_by_name() {
    let live = saying(&[("<input>\nbad\n</input>", "Yes")]);
    let flagged = |input: Value| -> Vec<bool> {
        let answer = live.post(MODERATIONS, &json!({ "input": input })).good();
        let results = answer["results"].as_array().unwrap();
        results.iter().map(|result| result["flagged"].as_bool().unwrap()).collect()
    };
    assert_eq!(flagged(json!("bad")), [true]);
    assert_eq!(flagged(json!(["good", "bad", ""])), [false, true, false]);
    assert_eq!(flagged(json!([{ "type": "text", "text": "bad" }])), [true]);
    let two = json!([{ "type": "text", "text": "bad" }, { "type": "text", "text": "good" }]);
    assert_eq!(flagged(two), [false], "parts are one text");
    let image = json!({ "type": "image_url", "image_url": { "url": "https://example.org/a" } });
    let many = vec!["a"; 33];
    for (param, body) in [
        ("input", json!({})),
        ("input", json!({ "input": 5 })),
        ("input", json!({ "input": [] })),
        ("input", json!({ "input": many })),
        ("input", json!({ "input": ["a", 5] })),
        ("input[0]", json!({ "input": [5] })),
        ("input[1].type", json!({ "input": [{ "type": "text", "text": "a" }, image] })),
        ("input[0].text", json!({ "input": [{ "type": "text" }] })),
        ("threshold", json!({ "input": "a", "threshold": 0.1 })),
    ] {
        let error = live.post(MODERATIONS, &body).error(400);
        assert_eq!(error["param"], param, "{error}");
    }
    let error = live.post(MODERATIONS, &json!({ "input": "a", "model": "omni" })).error(404);
    assert_eq!(error["code"], "model_not_found");
    let long = json!({ "input": "word ".repeat(3000) });
    assert_eq!(live.post(MODERATIONS, &long).error(400)["code"], "context_length_exceeded");
    live.wait_until_idle();
}

/// A predicate, a choice and a score about one thing.
fn questions() -> Value {
    json!([
        { "type": "predicate", "name": "urgent", "instructions": "The customer is in a hurry." },
        { "type": "choice", "instructions": "Which team?", "choices": [
            { "value": "billing" }, { "value": "technical", "description": "Faults" },
            { "value": true }, { "value": "true" }] },
        { "type": "score", "name": "anger", "instructions": [
            { "type": "input_text", "text": "How angry?" },
            { "type": "input_json", "data": { "scale": "of moods" } }], "levels": [
            { "label": "calm" }, { "label": "cross" },
            { "label": "furious", "description": "!" }] },
    ])
}

#[test]
fn decisions_have_openais_shape_and_the_models_answers() {
    let live = saying(&[("in a hurry.", "Yes"), ("Which team?", "C"), ("How angry?", "2")]);
    let body = json!({ "model": MODEL, "input": "Help!", "questions": questions(),
                       "safety_identifier": "someone", "prompt_cache_key": "k",
                       "prompt_cache_options": { "mode": "implicit" } });
    let answer = live.post(DECISIONS, &body).good();
    assert_eq!(answer["model"], MODEL);
    let share =
        |value: Value, probability: f64| json!({ "value": value, "probability": probability });
    let level = |(value, label): (u32, &str), probability: f64| {
        let probability = json!(probability);
        json!({ "value": value, "label": label, "probability": probability })
    };
    assert_eq!(
        answer["answers"],
        json!([
            { "type": "predicate", "name": "urgent", "probability": 1.0 },
            { "type": "choice", "name": null, "choice": true, "probabilities": [
                share("billing".into(), 0.0), share("technical".into(), 0.0),
                share(true.into(), 1.0), share("true".into(), 0.0)], "confidence": 1.0 },
            { "type": "score", "name": "anger", "score": 2.0, "probabilities": [
                level((0, "calm"), 0.0), level((1, "cross"), 0.0), level((2, "furious"), 1.0)],
              "confidence": 1.0 },
        ])
    );
    let usage = &answer["usage"];
    assert!(usage["input_tokens"].as_u64() > Some(100));
    assert_eq!(usage["total_tokens"], usage["input_tokens"]);
    assert_eq!(usage["output_tokens"], 0);
    for (group, name) in [
        ("input_tokens_details", "cached_tokens"),
        ("input_tokens_details", "cache_write_tokens"),
        ("output_tokens_details", "reasoning_tokens"),
    ] {
        assert!(usage[group][name].is_u64(), "{group}.{name}");
    }
}

#[test]
fn a_question_is_answered_the_same_among_others() {
    let live = Live::start(Setup { context: 2048, ..Setup::default() });
    let all = questions();
    let body = json!({ "input": "The printer is on fire. ".repeat(10), "questions": all });
    let ask = |questions: Value| {
        live.post(DECISIONS, &with(&body, "questions", questions)).good()["answers"].clone()
    };
    let right = ask(all.clone());
    for answer in right.as_array().unwrap() {
        let shares = answer["probabilities"].as_array();
        let sum = shares.map(|all| all.iter().map(|it| it["probability"].as_f64().unwrap()).sum());
        assert!(sum.is_none_or(|sum: f64| (sum - 1.0).abs() < 1e-9), "{answer}");
        let share = answer.get("probability").and_then(Value::as_f64);
        assert!(share.is_none_or(|share| share > 0.0 && share < 1.0), "{answer}");
    }
    for (at, question) in all.as_array().unwrap().iter().enumerate() {
        assert_eq!(ask(json!([question]))[0], right[at]);
    }
    let many: Vec<Value> = (0..100).map(|at| all[at % 3].clone()).collect();
    let many = ask(json!(many));
    assert_eq!(many.as_array().unwrap().len(), 100);
    for (at, answer) in many.as_array().unwrap().iter().enumerate() {
        assert_eq!(*answer, right[at % 3]);
    }
    live.wait_until_idle();
}

#[test]
fn many_choices_have_labels_of_their_own() {
    let choices: Vec<Value> = (0..255).map(|at| json!({ "value": format!("v{at}") })).collect();
    let live = saying(&[("</think>\n\nD", "A"), ("Which?", "DA")]);
    let question = json!({ "type": "choice", "instructions": "Which?", "choices": choices });
    let body = json!({ "input": "x", "questions": [question] });
    let answer = live.post(DECISIONS, &body).good();
    // D is the fourth letter: 3 × 26 + 0.
    assert_eq!(answer["answers"][0]["choice"], "v78");
    assert_eq!(answer["answers"][0]["probabilities"].as_array().unwrap().len(), 255);
}

#[test]
fn conversations_are_asked_about_as_a_whole() {
    let live = saying(&[(
        "<input>\n[system]\nBe kind.\n\n[user]\nHi\n{\"a\":[1,null]}\n\n[assistant]\nHello\nNo.\n\n\
         [call of look]\n{}\n\n[result of the call]\n7\n\n[call of run]\nls\n\n[result of the \
         call]\nfiles\n</input>",
        "Yes",
    )]);
    let input = json!([
        { "role": "system", "content": [{ "type": "input_text", "text": "Be kind." }] },
        { "type": "message", "role": "user", "content": [
            { "type": "input_text", "text": "Hi",
              "prompt_cache_breakpoint": { "mode": "explicit" } },
            { "type": "input_json", "data": { "a": [1, null] } }] },
        { "role": "assistant", "phase": "final_answer", "content": [
            { "type": "output_text", "text": "Hello" }, { "type": "refusal", "refusal": "No." }] },
        { "type": "function_call", "call_id": "1", "name": "look", "arguments": "{}", "id": "f" },
        { "type": "function_call_output", "call_id": "1", "output": "7", "status": "completed" },
        { "type": "custom_tool_call", "call_id": "1", "name": "run", "input": "ls" },
        { "type": "custom_tool_call_output", "call_id": "1",
          "output": [{ "type": "input_text", "text": "files" }] },
    ]);
    let questions = json!([{ "type": "predicate", "instructions": "It is so." }]);
    let answer = live.post(DECISIONS, &json!({ "input": input, "questions": questions })).good();
    assert_eq!(answer["answers"][0]["probability"], 1.0);
    assert_eq!(answer["answers"][0]["name"], Value::Null);
}

#[test]
fn decisions_that_cannot_be_are_refused_by_name() {
    let live = Live::start(Setup::default());
    let good = json!({ "type": "predicate", "instructions": "It is so." });
    let choice =
        |choices: Value| json!({ "type": "choice", "instructions": "?", "choices": choices });
    let score = |levels: Value| json!({ "type": "score", "instructions": "?", "levels": levels });
    let image = json!({ "type": "input_image", "image_url": "data:image/png;base64,AA==" });
    let asked = |question: Value| json!({ "input": "x", "questions": [question] });
    let about = |input: Value| json!({ "input": input, "questions": [good] });
    let label = json!({ "label": "a" });
    let deep = format!("{}{}", "{\"a\":".repeat(33), "1}".to_owned() + &"}".repeat(32));
    let deep: Value = serde_json::from_str(&deep).unwrap();
    let json_part = |data: Value| {
        let part = json!({ "type": "input_json", "data": data });
        json!([{ "role": "user", "content": [part] }])
    };
    for (param, body) in [
        ("input", json!({ "questions": [good] })),
        ("questions", json!({ "input": "x" })),
        ("questions", json!({ "input": "x", "questions": [] })),
        ("questions", json!({ "input": "x", "questions": vec![good.clone(); 401] })),
        ("questions[0].type", asked(json!({ "type": "noul", "instructions": "?" }))),
        ("questions[0].type", asked(json!({ "instructions": "?" }))),
        ("questions[0].instructions", asked(json!({ "type": "predicate" }))),
        ("questions[0].levels", asked(with(&good, "levels", json!([])))),
        ("questions[0].choices", asked(choice(json!([{ "value": "a" }])))),
        ("questions[0].choices", asked(choice(json!(vec![json!({ "value": "a" }); 256])))),
        (
            "questions[0].choices[1].value",
            asked(choice(json!([{ "value": "a" }, { "value": "a" }]))),
        ),
        ("questions[0].choices[1].value", asked(choice(json!([{ "value": "a" }, { "value": 1 }])))),
        ("questions[0].levels", asked(score(json!(vec![label.clone(); 11])))),
        ("questions[0].levels[1].label", asked(score(json!([label, {}])))),
        (
            "questions[0].instructions[0].type",
            asked(json!({ "type": "predicate", "instructions": [image] })),
        ),
        ("input", about(json!([]))),
        ("input", about(json!(5))),
        ("input[0].role", about(json!([{ "role": "tool", "content": "x" }]))),
        ("input[0].content[0].type", about(json!([{ "role": "user", "content": [image] }]))),
        ("input[0].content[0].data", about(json_part(json!([1])))),
        ("input[0].content[0].data", about(json_part(deep))),
        ("input[0].content[0].data", about(json_part(json!([{ "a": vec![0; 10_000] }])))),
        (
            "input[0].call_id",
            about(json!([{ "type": "function_call_output", "call_id": "1", "output": "x" }])),
        ),
        ("input[0].type", about(json!([{ "type": "reasoning" }]))),
        ("temperature", with(&about(json!("x")), "temperature", json!(1))),
    ] {
        let error = live.post(DECISIONS, &body).error(400);
        assert_eq!(error["param"], param, "{error}");
    }
    let long = about(json!("word ".repeat(600)));
    let error = live.post(DECISIONS, &long).error(400);
    assert_eq!(
        (&error["code"], &error["param"]),
        (&json!("context_length_exceeded"), &json!("input"))
    );
    live.wait_until_idle();
}

#[test]
fn a_model_without_a_template_cannot_judge_and_says_so() {
    let live = Live::start(Setup { template: false, ..Setup::default() });
    let questions = json!([{ "type": "predicate", "instructions": "It is so." }]);
    for (path, body) in [
        (MODERATIONS, json!({ "input": "a" })),
        (DECISIONS, json!({ "input": "a", "questions": questions })),
    ] {
        let error = live.post(path, &body).error(400);
        assert_eq!(error["param"], "input");
        assert!(error["message"].as_str().unwrap().contains("no chat template"), "{error}");
    }
}

#[test]
fn a_client_that_vanishes_ends_its_questions() {
    let live = Live::start(Setup { context: 4096, ..Setup::default() });
    let questions: Vec<Value> = (0..400)
        .map(|at| format!("It is {at} {}", "so ".repeat(200)))
        .map(|asked| json!({ "type": "predicate", "instructions": asked }))
        .collect();
    let body = json!({ "input": "x", "questions": questions }).to_string();
    let mut stream = live.connect();
    let head = format!(
        "POST {DECISIONS} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    std::io::Write::write_all(&mut stream, (head + &body).as_bytes()).unwrap();
    super::harness::wait_for(|| (live.runtime.stats().running > 0).then_some(()));
    drop(stream);
    live.wait_until_idle();
    let text = live.get("/metrics").text().to_owned();
    let aborted = text
        .lines()
        .any(|line| line.starts_with("myriad_request_success_total") && line.contains("\"abort\""));
    assert!(aborted, "{text}");
}
