//! Turns requests into log lines, and holds them to ids, sizes and times: never a word of content.

use std::io::Write;
use std::sync::{Arc, Mutex};

use serde_json::json;
use tracing_subscriber::filter::LevelFilter;

use crate::harness::{Live, Setup, chat, wait_for};

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Sink {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

#[test]
fn logs_tell_ids_and_sizes_and_no_content() {
    let sink = Sink::default();
    let writer = sink.clone();
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let live = Live::start(Setup::default());
    let secret = "MARKER-OF-CONTENT";
    let send = |id: &str, path: &str, body: &str| {
        live.send("POST", path, &[("x-request-id", id)], body.as_bytes())
    };
    let messages = json!([{ "role": "user", "content": secret }]);
    let good = chat(json!({ "messages": messages, "max_tokens": 3, "ignore_eos": true }));
    send("log-test-good", "/v1/chat/completions", &good.to_string()).good();
    let streamed = json!({ "prompt": secret, "stream": true, "max_tokens": 3, "echo": true });
    send("log-test-stream", "/v1/completions", &streamed.to_string()).events();
    for wrong in [
        json!({ "messages": messages, "temperature": secret }).to_string(),
        json!({ "messages": messages, secret: 1 }).to_string(),
        json!({ "messages": [{ "role": secret, "content": secret }] }).to_string(),
        json!({ "messages": messages, "model": secret }).to_string(),
        format!("{secret} is no JSON"),
    ] {
        assert!(send("log-test-wrong", "/v1/chat/completions", &wrong).status >= 400);
    }
    let path = format!("/{secret}?{secret}");
    live.send("GET", &path, &[("authorization", secret), ("x-request-id", "log-test-path")], b"");
    let ids = ["good", "stream", "wrong", "path"].map(|name| format!("log-test-{name}"));
    let text = wait_for(|| {
        let text = sink.text();
        ids.iter().all(|id| text.contains(id.as_str())).then_some(text)
    });
    assert!(!text.contains(secret), "{text}");
    let line = text.lines().find(|line| line.contains("log-test-good")).unwrap();
    let generation = line.contains("generation") && line.contains("completion_tokens=3");
    assert!(generation, "what was generated is counted: {line}");
    assert!(text.contains("route=/v1/chat/completions") && text.contains("status=404"));
}
