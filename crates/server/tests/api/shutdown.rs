//! Turns the signal to end into answers that finish, or are cut off when their grace is over.

use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Live, Setup, chat, wait_for};
use myriad_server::ServerConfig;

const PATH: &str = "/v1/chat/completions";

fn start(grace: Duration) -> Live {
    let config = ServerConfig { port: 0, shutdown_grace: grace, ..ServerConfig::default() };
    Live::start(Setup { context: 65_536, config, ..Setup::default() })
}

#[test]
fn running_answers_finish_and_new_ones_are_not_taken() {
    let mut live = start(Duration::from_secs(60));
    // Longer than it takes to ask the server to end.
    let body = chat(json!({ "stream": true, "max_tokens": 1500, "ignore_eos": true }));
    let mut stream = live.begin(PATH, &body);
    let idle = live.connect();
    live.signal();
    wait_for(|| TcpStream::connect(("127.0.0.1", live.port)).err());
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("\"finish_reason\":\"length\""));
    assert!(rest.contains("data: [DONE]"));
    live.join();
    drop(idle);
}

#[test]
fn what_outlasts_the_grace_is_cut_off() {
    let mut live = start(Duration::from_millis(100));
    let body = chat(json!({ "stream": true, "ignore_eos": true }));
    let mut stream = live.begin(PATH, &body);
    wait_for(|| (live.runtime.stats().running == 1).then_some(()));
    let started = Instant::now();
    live.signal();
    live.join();
    assert!(started.elapsed() < Duration::from_secs(10));
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(!String::from_utf8_lossy(&rest).contains("[DONE]"));
    live.wait_until_idle();
}

#[test]
fn an_idle_server_ends_at_once() {
    let mut live = start(Duration::from_secs(60));
    live.get("/health").good();
    let _silent = live.connect();
    let started = Instant::now();
    live.signal();
    live.join();
    assert!(started.elapsed() < Duration::from_secs(10));
}
