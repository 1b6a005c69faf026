//! Turns prompts in all their forms into completions, and texts into their scores.

use serde_json::{Value, json};

use crate::harness::{END, Live, Setup, letters, with};

const PATH: &str = "/v1/completions";

fn text(answer: &Value, index: usize) -> &str {
    answer["choices"][index]["text"].as_str().expect("text")
}

fn list<'a>(answer: &'a Value, index: usize, name: &str) -> &'a Vec<Value> {
    answer["choices"][index]["logprobs"][name].as_array().expect("a list")
}

#[test]
fn prompts_in_every_form_are_continued_alike() {
    let live = Live::start(Setup::default());
    let body = json!({ "prompt": "The sea", "max_tokens": 8, "seed": 3, "ignore_eos": true });
    let one = live.post(PATH, &body).good();
    assert!(one["id"].as_str().unwrap().starts_with("cmpl-"));
    assert_eq!(one["object"], "text_completion");
    assert_eq!(one["choices"][0]["finish_reason"], "length");
    assert_eq!(one["usage"]["completion_tokens"], 8);
    let ids = live.post("/tokenize", &json!({ "prompt": "The sea" })).good()["tokens"].clone();
    for prompt in [json!(["The sea"]), ids.clone(), json!([ids])] {
        let other = live.post(PATH, &with(&body, "prompt", prompt)).good();
        assert_eq!(text(&other, 0), text(&one, 0));
    }
    let many = with(&body, "prompt", json!(["A", "The sea", "B"]));
    let many = live.post(PATH, &with(&many, "n", json!(2))).good();
    assert_eq!(many["choices"].as_array().unwrap().len(), 6);
    assert_eq!(text(&many, 2), text(&one, 0), "the same in any company");
    assert_ne!(text(&many, 3), text(&one, 0), "choices differ");
    assert_eq!(many["choices"][5]["index"], 5);
    let usual = live.post(PATH, &json!({ "prompt": "a", "ignore_eos": true })).good();
    assert_eq!(usual["usage"]["completion_tokens"], 16);
}

#[test]
fn a_text_is_scored_without_a_token_of_answer() {
    let live = Live::start(Setup::default());
    let prompt = "The sea <|im_end|> is über 🌊 all.".repeat(3);
    let body = json!({ "prompt": prompt, "echo": true, "logprobs": 2, "max_tokens": 0,
                       "return_token_ids": true });
    let answer = live.post(PATH, &body).good();
    assert_eq!(text(&answer, 0), prompt);
    assert_eq!(answer["usage"]["completion_tokens"], 0);
    let ids = answer["choices"][0]["prompt_token_ids"].as_array().unwrap().clone();
    assert_eq!(answer["choices"][0]["token_ids"], json!([]));
    assert!(ids.contains(&json!(END)), "control tokens count as such in prompts");
    let logprobs = list(&answer, 0, "token_logprobs");
    let tops = list(&answer, 0, "top_logprobs");
    for name in ["tokens", "text_offset", "token_logprobs", "top_logprobs"] {
        assert_eq!(list(&answer, 0, name).len(), ids.len(), "{name}");
    }
    assert!(logprobs[0].is_null() && tops[0].is_null());
    let characters: Vec<char> = prompt.chars().collect();
    for (at, token) in list(&answer, 0, "tokens").iter().enumerate().skip(1) {
        let (token, logprob) = (token.as_str().unwrap(), logprobs[at].as_f64().unwrap());
        assert!(logprob < 0.0 && logprob.is_finite());
        assert_eq!(tops[at][token].as_f64(), Some(logprob), "the token itself is listed");
        let offset = list(&answer, 0, "text_offset")[at].as_u64().unwrap() as usize;
        if !token.starts_with("bytes:") {
            let there: String = characters[offset..][..token.chars().count()].iter().collect();
            assert_eq!(there, token);
        }
    }
    // A second time from the cache, which holds no scores, and streamed: the same.
    let again = live.post(PATH, &body).good();
    assert_eq!(again["choices"], answer["choices"]);
}

#[test]
fn answers_score_the_same_when_they_are_read_as_when_they_were_written() {
    let live = Live::start(Setup::default());
    let body = json!({ "prompt": "The sea", "max_tokens": 12, "logprobs": 0, "seed": 9,
                       "ignore_eos": true, "return_token_ids": true, "echo": true });
    let written = live.post(PATH, &body).good();
    let mut ids = written["choices"][0]["prompt_token_ids"].as_array().unwrap().clone();
    ids.extend(written["choices"][0]["token_ids"].as_array().unwrap().clone());
    let body = json!({ "prompt": ids, "max_tokens": 0, "logprobs": 0, "echo": true });
    let read = live.post(PATH, &body).good();
    for name in ["token_logprobs", "tokens"] {
        assert_eq!(list(&read, 0, name), list(&written, 0, name), "{name}");
    }
}

#[test]
fn every_token_has_an_entry_the_end_too() {
    let live = Live::start(Setup::default());
    let body = json!({ "prompt": "abc", "max_tokens": 1, "logprobs": 1, "echo": true,
                       "logit_bias": { "2": 100 } });
    let answer = live.post(PATH, &body).good();
    assert_eq!(text(&answer, 0), "abc");
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert_eq!(*list(&answer, 0, "tokens"), ["a", "b", "c", "<|im_end|>"]);
    assert_eq!(*list(&answer, 0, "text_offset"), [0, 1, 2, 3]);
    assert!(list(&answer, 0, "token_logprobs")[3].is_f64());
}

#[test]
fn streamed_and_whole_completions_say_the_same() {
    let live = Live::start(Setup::default());
    for fields in [
        json!({ "prompt": "The sea", "max_tokens": 20 }),
        json!({ "prompt": ["The", "sea"], "n": 2, "max_tokens": 20, "logprobs": 2, "echo": true }),
        json!({ "prompt": "über 🌊", "max_tokens": 0, "logprobs": 0, "echo": true }),
        json!({ "prompt": "über 🌊", "max_tokens": 20, "echo": true, "return_token_ids": true }),
        json!({ "prompt": "a", "max_tokens": 30, "logprobs": 0, "logit_bias": letters(),
                "stop": ["b", "cd"], "return_token_ids": true }),
        json!({ "prompt": "a", "max_tokens": 3, "logprobs": 1, "logit_bias": { "2": 100 } }),
    ] {
        let body = with(&fields, "seed", json!(4));
        let whole = live.post(PATH, &body).good();
        let body = with(&body, "stream", json!(true));
        let body = with(&body, "stream_options", json!({ "include_usage": true }));
        let events = live.post(PATH, &body).events();
        let (last, pieces) = events.split_last().unwrap();
        assert_eq!(last["choices"], json!([]));
        assert_eq!(last["usage"]["total_tokens"], whole["usage"]["total_tokens"]);
        for (index, choice) in whole["choices"].as_array().unwrap().iter().enumerate() {
            let own: Vec<&Value> = pieces
                .iter()
                .map(|event| &event["choices"][0])
                .filter(|piece| piece["index"] == index)
                .collect();
            let said: String = own.iter().map(|piece| piece["text"].as_str().unwrap()).collect();
            assert_eq!(said, choice["text"], "{fields}");
            let (end, before) = own.split_last().unwrap();
            assert_eq!(end["finish_reason"], choice["finish_reason"]);
            assert!(before.iter().all(|piece| piece["finish_reason"].is_null()));
            let sum = |get: &dyn Fn(&Value) -> Value| -> Vec<Value> {
                own.iter()
                    .flat_map(|piece| get(piece).as_array().cloned().unwrap_or_default())
                    .collect()
            };
            assert_eq!(
                sum(&|it| it["token_ids"].clone()),
                *choice["token_ids"].as_array().unwrap_or(&vec![])
            );
            for name in ["tokens", "token_logprobs", "text_offset", "top_logprobs"] {
                let whole = choice["logprobs"][name].as_array().cloned().unwrap_or_default();
                assert_eq!(sum(&|it| it["logprobs"][name].clone()), whole, "{fields} {name}");
            }
        }
    }
}

#[test]
fn prompts_that_cannot_be_are_refused_by_name() {
    let live = Live::start(Setup::default());
    for (prompt, code) in [
        (json!(""), None),
        (json!([""]), None),
        (json!([[]]), None),
        (json!([]), Some("invalid_value")),
        (json!([100_000]), Some("invalid_value")),
        (json!("word ".repeat(600)), Some("context_length_exceeded")),
    ] {
        for stream in [false, true] {
            let body = json!({ "prompt": prompt, "stream": stream });
            let error = live.post(PATH, &body).error(400);
            assert_eq!(error["param"], "prompt", "{error}");
            if let Some(code) = code {
                assert_eq!(error["code"], code);
            }
        }
    }
    live.wait_until_idle();
}

#[test]
fn the_best_of_several_answers_are_those_of_the_likeliest_tokens() {
    let live = Live::start(Setup::default());
    let body = json!({ "prompt": ["The sea", "A"], "max_tokens": 12, "seed": 5, "logprobs": 0,
                       "logit_bias": { "2": 3 }, "return_token_ids": true });
    // What is chosen from, prompt by prompt.
    let all = live.post(PATH, &with(&body, "n", json!(6))).good();
    let best = with(&with(&body, "n", json!(2)), "best_of", json!(6));
    let shown = live.post(PATH, &best).good();
    assert_eq!(shown["choices"].as_array().unwrap().len(), 4);
    for prompt in 0..2 {
        let mut own: Vec<(f64, &Value)> = (0..6)
            .map(|at| {
                let logprobs = list(&all, prompt * 6 + at, "token_logprobs");
                let sum: f64 = logprobs.iter().map(|it| it.as_f64().unwrap()).sum();
                (sum / logprobs.len() as f64, &all["choices"][prompt * 6 + at])
            })
            .collect();
        own.sort_by(|a, b| b.0.total_cmp(&a.0));
        assert!(own[0].0 > own[5].0, "answers differ");
        for (place, (_, choice)) in own.iter().take(2).enumerate() {
            let index = prompt * 2 + place;
            assert_eq!(shown["choices"][index], with(choice, "index", json!(index)));
        }
    }
    let made = "completion_tokens";
    assert_eq!(shown["usage"][made], all["usage"][made], "all that were made count");
    // Scores are made for the choice, and not shown where nobody asks for them.
    let silent = live.post(PATH, &with(&best, "logprobs", Value::Null)).good();
    assert!(silent["choices"][0]["logprobs"].is_null());
    assert_eq!(text(&silent, 0), text(&shown, 0));
    for (param, fields) in [
        ("best_of", json!({ "n": 3, "best_of": 2 })),
        ("best_of", json!({ "best_of": 3, "stream": true })),
        ("best_of", json!({ "best_of": 16, "prompt": vec!["a"; 9] })),
    ] {
        let mut body = body.clone();
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        assert_eq!(live.post(PATH, &body).error(400)["param"], param);
    }
}

#[test]
fn a_suffix_asks_for_the_middle_where_the_model_has_tokens_for_that() {
    let control = ["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"];
    let around = "<|fim_prefix|>fn f(<|fim_middle|><|fim_suffix|>) {}<|fim_middle|>";
    let script = json!({ "control_tokens": control, "answers": [
        { "when": around, "text": "x: u32" }, { "text": "?" }] });
    let live = Live::start(Setup { script: Some(script), ..Setup::default() });
    // The text speaks of a token itself, which steers nothing.
    let body = json!({ "prompt": "fn f(<|fim_middle|>", "suffix": ") {}", "max_tokens": 20,
                       "return_token_ids": true });
    let answer = live.post(PATH, &body).good();
    assert_eq!(text(&answer, 0), "x: u32");
    let ids = answer["choices"][0]["prompt_token_ids"].as_array().unwrap();
    let of_control = ids.iter().filter(|id| (3..6).contains(&id.as_u64().unwrap())).count();
    assert_eq!(of_control, 3);
    assert_eq!(ids.first(), Some(&json!(3)));
    assert_eq!(ids.last(), Some(&json!(5)));
    let events = live.post(PATH, &with(&body, "stream", json!(true))).events();
    let said: String =
        events.iter().filter_map(|event| event["choices"][0]["text"].as_str()).collect();
    assert_eq!(said, "x: u32");
    // Ids are taken as they are.
    let prompt = live.post("/tokenize", &json!({ "prompt": "fn f(" })).good()["tokens"].clone();
    let plain = live.post(PATH, &with(&body, "prompt", json!("fn f("))).good();
    let given = live.post(PATH, &with(&body, "prompt", prompt)).good();
    assert_eq!(given["choices"], plain["choices"]);
    assert_eq!(live.post(PATH, &with(&body, "echo", json!(true))).error(400)["param"], "suffix");
    let empty = json!({ "prompt": "a", "suffix": "", "max_tokens": 1 });
    live.post(PATH, &empty).good();
    let without = Live::start(Setup::default());
    without.post(PATH, &empty).good();
    let error = without.post(PATH, &body).error(400);
    assert_eq!(
        (&error["param"], &error["code"]),
        (&json!("suffix"), &json!("unsupported_parameter"))
    );
}
