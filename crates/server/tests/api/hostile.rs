//! Turns clients that send too much, too slowly, or vanish into errors of theirs alone.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Live, Reply, Setup, chat, letters, wait_for, with};
use myriad_server::{ServerConfig, limits};

const PATH: &str = "/v1/chat/completions";

/// An answer that takes minutes, if nobody ends it.
fn endless() -> Value {
    chat(json!({ "ignore_eos": true, "stream": true, "logit_bias": letters() }))
}

fn large() -> Setup {
    Setup { context: 65_536, ..Setup::default() }
}

#[test]
fn a_body_of_100_mb_gets_an_answer_not_a_broken_pipe() {
    let keys = vec!["secret".to_owned()];
    let config = ServerConfig { port: 0, api_keys: keys, ..ServerConfig::default() };
    let live = Live::start(Setup { config, ..Setup::default() });
    let body = vec![b' '; 100 << 20];
    let key = ("authorization", "Bearer secret");
    let reply = live.send("POST", PATH, &[key], &body);
    assert_eq!(reply.error(413)["code"], "request_too_large");
    live.send("POST", PATH, &[], &body).error(401);
    live.send("POST", "/nowhere", &[key], &body).error(404);
    live.send("PUT", PATH, &[key], &body).error(405);
    // Without a declared length it is noticed on the way.
    let mut stream = live.connect();
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer secret\r\n\
         connection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let chunk = [b"100000\r\n".as_slice(), &body[..1 << 20], b"\r\n"].concat();
    for _ in 0..40 {
        stream.write_all(&chunk).unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    Reply::read(&mut stream).error(413);
}

#[test]
fn who_asks_before_sending_is_told_without_sending() {
    let live = Live::start(Setup::default());
    let mut stream = live.connect();
    let length = 100 << 20;
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\
         expect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    Reply::read(&mut stream).error(413);
    let body = chat(json!({ "max_tokens": 1 })).to_string();
    let small = [("expect", "100-continue")];
    let reply = live.send("POST", PATH, &small, body.as_bytes());
    assert_eq!(reply.status, 100, "small ones are told to go on");
}

#[test]
fn hostile_bodies_are_errors_of_the_client() {
    let live = Live::start(Setup::default());
    let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    let carets = json!({ "messages": [{ "role": "user", "content": "^".repeat(1_000_000) }] });
    for body in [
        b"\xff\xfe\x00".to_vec(),
        b"{\"temperature\":NaN}".to_vec(),
        deep.into_bytes(),
        carets.to_string().into_bytes(),
        vec![0; 1 << 20],
        vec![b'{'; 1 << 20],
        Vec::new(),
    ] {
        for path in [PATH, "/v1/completions", "/detokenize"] {
            let started = Instant::now();
            live.send("POST", path, &[], &body).error(400);
            assert!(started.elapsed() < Duration::from_secs(10));
        }
    }
    let caret = json!({ "prompt": "^".repeat(1_000_000) });
    assert!(live.post("/tokenize", &caret).good()["count"].as_u64() > Some(1000));
    let zipped = live.send("POST", PATH, &[("content-encoding", "gzip")], b"\x1f\x8b");
    assert!(zipped.error(400)["message"].as_str().unwrap().contains("gzip"));
    for garbage in ["GARBAGE\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\0\0\0\0\r\n\r\n"] {
        let mut stream = live.connect();
        stream.write_all(garbage.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"), "{garbage:?}");
    }
    let mut stream = live.connect();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n").unwrap();
    let header = format!("x: {}\r\n\r\n", "a".repeat(4 * limits::HTTP_BUFFER_BYTES));
    // The server may close before it has read all of this.
    let _ = stream.write_all(header.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let told = answer.is_empty() || answer.starts_with(b"HTTP/1.1 431");
    assert!(told, "{}", String::from_utf8_lossy(&answer));
    live.post(PATH, &chat(json!({ "max_tokens": 2 }))).good();
    live.wait_until_idle();
}

/// A chat's body with one more field, written as JSON text.
fn body_with(name: &str, value: &str) -> String {
    let message = r#""messages":[{"role":"user","content":"Hi"}]"#;
    format!("{{{message},\"max_tokens\":1,\"{name}\":{value}}}")
}

#[test]
fn hostile_parameters_are_refused_by_name_and_at_once() {
    let live = Live::start(Setup::default());
    let many = |count: usize, item: &dyn Fn(usize) -> String| {
        (0..count).map(item).collect::<Vec<_>>().join(",")
    };
    let biases = many(1_000_000, &|id| format!("\"{id}\":1"));
    let stops = many(5000, &|at| format!("\"stop {at}\""));
    let numbers = many(1_000_000, &|_| "1".to_owned());
    let format = |schema: &str| {
        let named = format!(r#"{{"name":"x","schema":{schema}}}"#);
        format!(r#"{{"type":"json_schema","json_schema":{named}}}"#)
    };
    // No value of it is finite: an answer goes on as long as it may.
    let endless = r##"{"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"]}"##;
    let circle = r##"{"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/b"},
                     "b":{"$ref":"#/$defs/a"}}}"##;
    let deep = "{\"not\":".repeat(40) + "{}" + &"}".repeat(40);
    let tool = |parameters: &str| {
        let function = format!(r#"{{"name":"f","parameters":{parameters}}}"#);
        format!(r#"[{{"type":"function","function":{function}}}]"#)
    };
    let schema = "response_format.json_schema.schema";
    for (param, name, value) in [
        ("logit_bias", "logit_bias", format!("{{{biases}}}")),
        ("stop", "stop", format!("[{stops}]")),
        ("stop", "stop", format!("\"{}\"", "a".repeat(1 << 20))),
        ("stop_token_ids", "stop_token_ids", format!("[{numbers}]")),
        ("temperature", "temperature", "1e400".to_owned()),
        ("temperature", "temperature", "\"NaN\"".to_owned()),
        ("top_p", "top_p", "-1e400".to_owned()),
        ("n", "n", "1000000000".to_owned()),
        ("seed", "seed", "9".repeat(1 << 20)),
        ("chat_template", "chat_template", "\"{{ messages }}\"".to_owned()),
        (
            "chat_template_kwargs",
            "chat_template_kwargs",
            format!("{{\"a\":\"{}\"}}", "a".repeat(1 << 20)),
        ),
        (schema, "response_format", format(circle)),
        ("tools[0].function.parameters", "tools", tool(&deep)),
        ("tools", "tools", format!("[{}]", many(10_000, &|_| tool("{}")[1..].replace(']', "")))),
        ("messages", "messages", format!("[{}]", many(100_000, &|_| "{}".to_owned()))),
    ] {
        let started = Instant::now();
        let reply = live.send("POST", PATH, &[], body_with(name, &value).as_bytes());
        let error = reply.error(400);
        assert_eq!(error["param"], param, "{error}");
        assert!(error["message"].as_str().unwrap().len() < 600, "{param}");
        assert!(started.elapsed() < Duration::from_secs(10), "{param}");
    }
    let started = Instant::now();
    let cut =
        live.send("POST", PATH, &[], body_with("response_format", &format(endless)).as_bytes());
    assert_eq!(cut.good()["choices"][0]["finish_reason"], "length");
    assert!(started.elapsed() < Duration::from_secs(10));
    live.wait_until_idle();
}

#[test]
fn floods_of_headers_and_half_open_connections_hold_up_nobody() {
    let live = Live::start(Setup::default());
    let flood: String = (0..10_000).map(|at| format!("x-{at}: 1\r\n")).collect();
    let mut stream = live.connect();
    // The server may close before it has read all of this.
    let _ =
        stream.write_all(format!("GET / HTTP/1.1\r\nhost: localhost\r\n{flood}\r\n").as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let told = answer.is_empty() || answer.starts_with(b"HTTP/1.1 431");
    assert!(told, "{}", String::from_utf8_lossy(&answer));
    // Nothing sent, half a head, half a body, no end of the chunks: each a hundred times.
    let halves = [
        String::new(),
        format!("POST {PATH} HTTP/1.1\r\nhost"),
        format!("POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99\r\n\r\n{{"),
        format!(
            "POST {PATH} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{{"
        ),
    ];
    let mut open = Vec::new();
    for half in halves.iter().cycle().take(400) {
        let mut stream = live.connect();
        stream.write_all(half.as_bytes()).unwrap();
        open.push(stream);
    }
    let started = Instant::now();
    live.post(PATH, &chat(json!({ "max_tokens": 2 }))).good();
    live.get("/health").good();
    assert!(started.elapsed() < Duration::from_secs(10));
    drop(open);
    live.wait_until_idle();
}

#[test]
fn a_client_that_vanishes_frees_its_pages() {
    let live = Live::start(large());
    let running = || wait_for(|| (live.runtime.stats().running > 0).then_some(()));
    // In the middle of a stream.
    let stream = live.begin(PATH, &endless());
    running();
    drop(stream);
    live.wait_until_idle();
    // While it waits for a whole answer.
    let mut stream = live.connect();
    let body = with(&with(&endless(), "stream", json!(false)), "n", json!(4)).to_string();
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    running();
    assert!(live.runtime.stats().pages_used > 0);
    drop(stream);
    live.wait_until_idle();
    let text = live.get("/metrics").text().to_owned();
    let aborted = text.lines().find(|line| {
        line.starts_with("myriad_request_success_total") && line.contains("\"abort\"")
    });
    assert!(aborted.expect("aborts are counted").ends_with(" 5"));
}

#[test]
fn a_slow_reader_and_a_slow_writer_hold_up_nobody() {
    let live = Live::start(large());
    // Reads nothing; has sent half a head; has sent half a body.
    let reader = live.begin(PATH, &endless());
    let mut heads = live.connect();
    heads.write_all(b"POST /v1/chat/completions HTTP/1.1\r\nhost: loc").unwrap();
    let mut bodies = live.connect();
    let half = format!("POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{{");
    bodies.write_all(half.as_bytes()).unwrap();
    for _ in 0..3 {
        let answer = live.post(PATH, &chat(json!({ "max_tokens": 20, "ignore_eos": true }))).good();
        assert_eq!(answer["usage"]["completion_tokens"], 20);
        let events = with(&chat(json!({ "max_tokens": 20 })), "stream", json!(true));
        assert!(live.post(PATH, &events).events().len() > 2);
    }
    // The slow one still runs.
    wait_for(|| (live.runtime.stats().running == 1).then_some(()));
    drop(reader);
    live.wait_until_idle();
}

#[test]
fn a_full_queue_says_when_to_come_back() {
    let live = Live::start(Setup { parallel: 1, queue_max: 1, ..large() });
    let first = live.begin(PATH, &endless());
    wait_for(|| (live.runtime.stats().running == 1).then_some(()));
    let second = live.begin(PATH, &endless());
    wait_for(|| (live.runtime.stats().waiting == 1).then_some(()));
    let reply = live.post(PATH, &chat(json!({ "max_tokens": 1 })));
    assert_eq!(reply.error(429)["code"], "queue_full");
    assert_eq!(reply.header("retry-after"), Some("2"));
    drop((first, second));
    live.wait_until_idle();
    live.post(PATH, &chat(json!({ "max_tokens": 1 }))).good();
    assert!(live.get("/metrics").text().contains("myriad_admission_rejections_total"));
}

#[test]
fn a_request_with_more_choices_than_fit_leaves_none_behind() {
    let live = Live::start(Setup { parallel: 1, queue_max: 3, ..large() });
    let reply = live.post(PATH, &with(&endless(), "n", json!(16)));
    reply.error(429);
    live.wait_until_idle();
}

#[test]
fn a_stream_that_waits_shows_that_it_lives() {
    let config =
        ServerConfig { port: 0, keep_alive: Duration::from_millis(20), ..ServerConfig::default() };
    let live = Live::start(Setup { parallel: 1, config, ..large() });
    let first = live.begin(PATH, &endless());
    wait_for(|| (live.runtime.stats().running == 1).then_some(()));
    let mut second = live.begin(PATH, &endless());
    let mut seen = String::new();
    while !seen.contains(": keep-alive\n\n") {
        let mut buffer = [0; 1024];
        let count = second.read(&mut buffer).expect("life");
        assert_ne!(count, 0, "{seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    assert!(seen.contains("\"role\":\"assistant\""), "the role comes before the answer");
    drop((first, second));
    live.wait_until_idle();
}
