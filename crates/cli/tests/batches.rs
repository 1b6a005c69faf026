//! Turns a server that is killed again and again into a batch that is answered once, in full.

mod common;

use std::collections::HashSet;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use common::Home;
use common::serving::Serving;
use serde_json::{Value, json};

const LINES: usize = 120;
const KILLS: usize = 6;
/// Lines that are answered at the same time.
const PARALLEL: usize = 3;

#[test]
fn kills_lose_nothing_and_repeat_nothing() {
    let home = Home::new();
    let script = json!({ "answers": [{ "text": "Yes.", "first_token_ms": 60 }] });
    fs::write(home.path().join("script.json"), script.to_string()).unwrap();
    let mut serving = Serving::start(&home, PARALLEL);
    let lines: Vec<String> = (0..LINES)
        .map(|n| {
            let body = json!({ "messages": [{ "role": "user", "content": format!("{n}?") }] });
            let line = json!({ "custom_id": format!("line {n}"), "method": "POST",
                               "url": "/v1/chat/completions", "body": body });
            line.to_string()
        })
        .collect();
    let form = format!(
        "--x\r\nContent-Disposition: form-data; name=purpose\r\n\r\nbatch\r\n--x\r\n\
         Content-Disposition: form-data; name=file; filename=in.jsonl\r\n\r\n{}\r\n--x--\r\n",
        lines.join("\n")
    );
    let kind = "multipart/form-data; boundary=x";
    let file = serving.json("POST", "/v1/files", kind, form.as_bytes());
    let wish = json!({ "input_file_id": file["id"], "endpoint": "/v1/chat/completions",
                       "completion_window": "24h" });
    let batch =
        serving.json("POST", "/v1/batches", "application/json", wish.to_string().as_bytes());
    let path = format!("/v1/batches/{}", batch["id"].as_str().unwrap());
    let show = |serving: &Serving| serving.json("GET", &path, "application/json", b"");

    let mut completed = 0;
    for kill in 0..KILLS {
        // At no particular moment: in the middle of the checks, of an answer, of a commit.
        thread::sleep(Duration::from_millis(100 + 37 * kill as u64));
        let seen = show(&serving)["request_counts"]["completed"].as_u64().unwrap();
        drop(serving);
        serving = Serving::start(&home, PARALLEL);
        let found = show(&serving)["request_counts"]["completed"].as_u64().unwrap();
        assert!(found >= seen && seen >= completed, "{completed} {seen} {found}");
        completed = found;
    }
    assert!((1..LINES as u64).contains(&completed), "{completed}: the kills came in the middle");

    let started = Instant::now();
    let done = loop {
        let batch = show(&serving);
        if batch["status"] == "completed" {
            break batch;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "{batch}");
        thread::sleep(Duration::from_millis(50));
    };
    let counts = json!({ "total": LINES, "completed": LINES, "failed": 0 });
    assert_eq!(done["request_counts"], counts);
    let output = format!("/v1/files/{}/content", done["output_file_id"].as_str().unwrap());
    let output = serving.send("GET", &output, "application/json", b"");
    let output = String::from_utf8(output).expect("text");
    let ids: Vec<String> = output
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["custom_id"].to_string())
        .collect();
    assert_eq!(ids.len(), LINES);
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), LINES, "each line once");

    // Of what was answered twice, none had been kept: at most the lines that a kill cut off.
    let log = fs::read_to_string(home.path().join("log")).unwrap();
    let asked = log.lines().filter(|line| line.contains("route=/v1/chat/completions")).count();
    assert!((LINES - KILLS * PARALLEL..=LINES + KILLS * PARALLEL).contains(&asked), "{asked}");
}
