//! Turns a server that is killed in the middle of an answer into a conversation that is whole but
//! for the answer's end, and says so.

mod common;

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use common::Home;
use common::serving::Serving;
use serde_json::{Value, json};

const JSON: &str = "application/json";
const ANSWER: &str = "/app/chats/c/messages/a/run";

fn put(serving: &Serving, path: &str, body: &Value) {
    serving.json("PUT", path, JSON, body.to_string().as_bytes());
}

fn answer(serving: &Serving) -> Value {
    let record = serving.json("GET", "/app/chats/c", JSON, b"");
    assert_eq!(record["messages"][0]["content"], "Please count");
    record["messages"][1].clone()
}

#[test]
fn an_answer_that_a_kill_broke_off_keeps_its_beginning_and_is_made_anew() {
    let home = Home::new();
    let text = "one two three ".repeat(30);
    let script = json!({ "answers": [
        { "when": "short title", "text": "" },
        { "when": "count", "text": text, "token_ms": 30 },
    ] });
    fs::write(home.path().join("script.json"), script.to_string()).unwrap();
    let mut serving = Serving::start(&home, 1);
    put(&serving, "/app/chats/c", &json!({ "title": "Counting" }));
    let messages = json!([
        { "id": "q", "role": "user", "content": "Please count", "created": 1 },
        { "id": "a", "parent": "q", "role": "assistant", "status": "streaming", "created": 2 },
    ]);
    put(&serving, "/app/chats/c/messages", &json!({ "messages": messages, "leaf": "a" }));
    let ask = json!({ "messages": [{ "role": "user", "content": "Please count" }] });
    // Nobody waits for its end.
    serving.begin("POST", ANSWER, ask.to_string().as_bytes());
    let started = Instant::now();
    let seen = loop {
        let content = answer(&serving)["content"].as_str().unwrap().to_owned();
        if content.len() > 8 {
            break content;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "it is kept while it comes");
        thread::sleep(Duration::from_millis(50));
    };
    drop(serving);

    serving = Serving::start(&home, 1);
    let started = Instant::now();
    let failed = loop {
        let message = answer(&serving);
        if message["status"] == "failed" {
            break message;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "{message}");
        thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(failed["failure"]["code"], "interrupted");
    let kept = failed["content"].as_str().unwrap();
    assert!(kept.starts_with(&seen) && text.starts_with(kept), "{kept}");
    let found = serving.json("GET", "/app/chats/search?q=ONE+two", JSON, b"");
    assert_eq!(found["data"][0]["message"], "a");

    let events = serving.send("POST", ANSWER, JSON, ask.to_string().as_bytes());
    assert!(String::from_utf8(events).unwrap().ends_with("data: [DONE]\n\n"));
    let whole = answer(&serving);
    assert_eq!((&whole["status"], &whole["content"]), (&json!("done"), &json!(text)));
}
