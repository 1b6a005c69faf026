//! Turns a scripted server elsewhere, which behaves well or badly, into chats, and into errors that
//! say whose they are and never a key.

use std::io::Write;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use myriad_server::ServerConfig;
use serde_json::{Value, json};

use super::elsewhere::{
    Act, Elsewhere, KEY, PATH, STREAM, put_together, reply, says, serve, serve_with, streams,
    to_big,
};
use super::harness::{Live, Setup, chat, wait_for, with};

fn good() -> Value {
    json!({
        "id": "x", "object": "chat.completion", "created": 1, "model": "big-2026",
        "choices": [{ "index": 0, "finish_reason": "stop",
                      "message": { "role": "assistant", "content": "Hi", "reasoning": "Hm" } }],
        "usage": { "prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7,
                   "prompt_tokens_details": { "cached_tokens": 3 } },
    })
}

#[test]
fn a_whole_answer_comes_through_and_nothing_of_the_client_goes_out() {
    let far = Elsewhere::start(vec![says("200 OK", &good())]);
    let live = serve(far.port, "openai", "");
    let body = to_big(json!({ "temperature": 0.5, "top_secret_extension": 1, "seed": 3 }));
    let headers =
        [("authorization", "Bearer CLIENT"), ("x-custom", "CLIENT"), ("cookie", "CLIENT")];
    let whole = live.send("POST", PATH, &headers, body.to_string().as_bytes()).good();
    assert_eq!(whole["choices"][0]["message"]["content"], "Hi");
    assert_eq!(whole["choices"][0]["message"]["reasoning_content"], "Hm");
    assert_eq!(whole["model"], "far/big");
    assert_eq!(whole["usage"]["prompt_tokens_details"]["cached_tokens"], 3);
    let sent = far.body(0);
    assert_eq!(sent, with(&body, "model", json!("big")), "the body is passed on");
    let request = &far.requests()[0];
    assert!(request.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{request}");
    assert!(request.contains(&format!("authorization: Bearer {KEY}\r\n")), "{request}");
    assert!(!request.contains("CLIENT"), "{request}");
    // A name that one alone has needs no prefix, and models are listed.
    live.post(PATH, &with(&body, "model", json!("small"))).good();
    assert_eq!(far.body(1)["model"], "small");
    let list = live.get("/v1/models").good();
    let all = list["data"].as_array().unwrap().iter();
    let far_ones: Vec<_> = all.filter(|model| model["owned_by"] == "far").collect();
    assert_eq!((far_ones.len(), &far_ones[0]["id"]), (2, &json!("far/big")));
    assert_eq!(live.get("/v1/models/far/small").good()["owned_by"], "far");
    let metrics = live.get("/metrics");
    let line = "myriad_upstream_requests_total{upstream=\"far\",outcome=\"ok\"} 2";
    assert!(metrics.text().contains(line), "{}", metrics.text());
}

#[test]
fn a_stream_comes_event_by_event_with_usage_only_where_it_is_wanted() {
    let events = [
        "data: {\"id\":\"a\",\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n",
        ": comment\n\ndata: {\"choices\":[{\"delta\":{\"reasoning_con",
        "tent\":\"Hm\"}}]}\r\n\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"H\"}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"i\"},\"finish_reason\":\"stop\"}]}\n\n",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n",
        "data: [DONE]\n\n",
    ];
    let far = Elsewhere::start(vec![streams(&events)]);
    let live = serve(far.port, "openai", "");
    let body = to_big(json!({ "stream": true }));
    let plain = live.post(PATH, &body).events();
    assert_eq!(put_together(&plain), ("Hi".into(), "Hm".into(), json!("stop")));
    assert!(plain.iter().all(|event| event.get("usage").is_none()));
    assert_eq!(far.body(0)["stream_options"], json!({ "include_usage": true }));
    let wish = json!({ "include_usage": true });
    let told = live.post(PATH, &with(&body, "stream_options", wish)).events();
    let (last, others) = told.split_last().unwrap();
    assert_eq!(last["usage"]["total_tokens"], 3);
    assert!(others.iter().all(|event| event["usage"].is_null()));
    assert!(told.iter().all(|event| event["id"] == told[0]["id"]));
}

#[test]
fn refusals_are_shown_as_what_they_are_without_a_key() {
    let error = |message: &str| json!({ "error": { "message": message } });
    let html = reply("500 Oh", "content-type: text/html\r\n", "<html>secret</html>");
    for (act, status, code, words) in [
        (says("401 No", &error(KEY)), 502, "upstream_key_refused", "'far' refuses the key"),
        (says("403 No", &error(KEY)), 502, "upstream_key_refused", "Yours is fine"),
        (says("400 No", &error("bad temperature")), 400, "upstream_refused", "bad temperature"),
        (says("400 No", &error(&format!("odd {KEY}"))), 400, "upstream_refused", "odd [key]"),
        (says("404 No", &error("no such model")), 404, "upstream_refused", "no such model"),
        (says("500 Oh", &error("broken")), 502, "upstream_error", "(500): broken"),
        (html, 502, "upstream_error", "a page of HTML"),
        (says("200 OK", &error("odd")), 502, "upstream_error", "odd"),
        (says("200 OK", &json!({ "choices": [] })), 502, "upstream_unreadable", "no choices"),
        (says("200 OK", &json!([1])), 502, "upstream_unreadable", "no choices"),
    ] {
        let far = Elsewhere::start(vec![act]);
        let live = serve(far.port, "openai", "");
        let reply = live.post(PATH, &to_big(json!({})));
        let error = reply.error(status);
        assert_eq!(error["code"], code, "{error}");
        assert!(error["message"].as_str().unwrap().contains(words), "{error}");
        assert!(error["message"].as_str().unwrap().contains("upstream 'far'"), "{error}");
        assert!(!reply.text().contains("SECRET"), "{error}");
        assert_eq!(far.requests().len(), 1, "it is not sent again");
    }
}

#[test]
fn what_is_no_answer_is_an_error() {
    let json_head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let huge = format!("{json_head}content-length: {}\r\n\r\n", 1u64 << 30);
    let huge = std::iter::once(huge.into_bytes()).chain((0..20).map(|_| vec![b' '; 1 << 20]));
    for (act, status, words) in [
        (reply("200 OK", "content-type: application/json\r\n", "{\"a"), 502, "no JSON"),
        (reply("200 OK", "content-type: text/html\r\n", "<html>"), 502, "'text/html' instead"),
        (reply("302 Go", "location: http://127.0.0.1:1/\r\n", ""), 502, "a redirect (302"),
        (reply("200 OK", "content-encoding: gzip\r\n", "x"), 502, "'gzip', which was not asked"),
        (Act::Say(huge.collect()), 502, "more than 16777216 bytes"),
        (Act::Say(vec![b"220 smtp.example.com\r\n\r\n".to_vec()]), 502, "no answer that can"),
        (Act::Hang(Vec::new()), 504, "no answer within 2 s"),
        (Act::Hang(format!("{json_head}\r\n{{").into()), 504, "silence for 1 s"),
        (Act::Reset(format!("{json_head}content-length: 9\r\n\r\n{{").into()), 502, "broke off"),
    ] {
        let far = Elsewhere::start(vec![act]);
        let live = serve(far.port, "openai", "");
        let error = live.post(PATH, &to_big(json!({}))).error(status);
        assert!(error["message"].as_str().unwrap().contains(words), "{words}: {error}");
    }
}

#[test]
fn streams_that_go_wrong_end_with_an_error_and_without_the_usual_end() {
    const PIECE: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"H\"}}]}\n\n";
    let begun = |rest: &str| format!("{STREAM}{PIECE}{rest}").into_bytes();
    let endless = std::iter::once(begun("data: ")).chain((0..5).map(|_| vec![b'a'; 1 << 20]));
    for (act, words) in [
        (Act::Say(vec![begun("")]), "ended before it was whole"),
        (Act::Say(vec![begun("data: {\"choices\":[{\"delta\":{\"con")]), "before it was whole"),
        (Act::Say(vec![begun("data: garbage\n\n")]), "no JSON"),
        (Act::Say(vec![begun("data: {\"a\":1}\n\n")]), "no choices"),
        (Act::Say(vec![begun("data: {\"error\":{\"message\":\"overloaded\"}}\n\n")]), "overloaded"),
        (Act::Say(endless.collect()), "more than 4194304 bytes"),
        (Act::Hang(begun("")), "silence for 1 s"),
        (
            Act::Reset(
                format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                         content-length: 999\r\n\r\n{PIECE}"
                )
                .into_bytes(),
            ),
            "broke off",
        ),
    ] {
        let far = Elsewhere::start(vec![act]);
        let live = serve(far.port, "openai", "");
        let reply = live.post(PATH, &to_big(json!({ "stream": true })));
        let text = reply.text();
        assert_eq!(reply.status, 200, "{text}");
        assert!(text.contains("\"content\":\"H\""), "what came is shown: {text}");
        assert!(!text.contains("[DONE]"), "{text}");
        let last = text.trim_end().rsplit("data: ").next().unwrap();
        let error: Value = serde_json::from_str(last).unwrap();
        assert!(error["error"]["message"].as_str().unwrap().contains(words), "{words}: {error}");
    }
    let far = Elsewhere::start(vec![says("200 OK", &good())]);
    let live = serve(far.port, "openai", "");
    let error = live.post(PATH, &to_big(json!({ "stream": true }))).error(502);
    assert!(error["message"].as_str().unwrap().contains("instead of an event stream"), "{error}");
}

#[test]
fn a_slow_trickle_is_whole_in_the_end_and_proxies_see_life() {
    let body =
        "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"},\"finish_reason\":\"stop\"}]}\n\n";
    let letters = body.bytes().map(|byte| vec![byte]);
    let act = Act::Say(std::iter::once(STREAM.into()).chain(letters).collect());
    let far = Elsewhere::start(vec![act]);
    let keep_alive = Duration::from_millis(20);
    let config = ServerConfig { port: 0, keep_alive, ..ServerConfig::default() };
    let live = serve_with(far.port, "openai", "", Setup { config, ..Setup::default() });
    let reply = live.post(PATH, &to_big(json!({ "stream": true })));
    assert!(reply.text().starts_with(": keep-alive\n\n"), "{}", reply.text());
    assert_eq!(put_together(&reply.events()).0, "Hi", "an end without the mark is one");
}

#[test]
fn busy_servers_are_asked_again_as_they_wish_and_not_for_ever() {
    let busy =
        |seconds: &str| reply("429 Busy", &format!("retry-after: {seconds}\r\n"), "slow down");
    let far =
        Elsewhere::start(vec![busy("1"), says("503 Busy", &json!({})), says("200 OK", &good())]);
    let live = serve(far.port, "openai", "");
    let since = Instant::now();
    live.post(PATH, &to_big(json!({}))).good();
    assert!(since.elapsed() >= Duration::from_secs(1), "{:?}", since.elapsed());
    assert_eq!(far.requests().len(), 3);
    let far = Elsewhere::start(vec![busy("0")]);
    let live = serve(far.port, "openai", "");
    let error = live.post(PATH, &to_big(json!({}))).error(429);
    assert!(error["message"].as_str().unwrap().contains("slow down"), "{error}");
    assert_eq!(far.requests().len(), 3, "three tries");
    let far = Elsewhere::start(vec![busy("3600")]);
    let live = serve(far.port, "openai", "");
    live.post(PATH, &to_big(json!({}))).error(429);
    assert_eq!(far.requests().len(), 1, "nobody waits an hour");
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let live = serve(nobody, "openai", "");
    let error = live.post(PATH, &to_big(json!({}))).error(502);
    assert!(error["message"].as_str().unwrap().contains("no connection"), "{error}");
    let metrics = live.get("/metrics");
    let line = "{upstream=\"far\",outcome=\"unreachable\"} 1";
    assert!(metrics.text().contains(line), "{}", metrics.text());
}

#[test]
fn a_client_that_goes_away_ends_the_work_elsewhere() {
    for (stream, begun) in [(true, STREAM), (false, "")] {
        let far = Elsewhere::start(vec![Act::Hang(begun.into())]);
        let live = serve(far.port, "openai", "");
        let body = to_big(json!({ "stream": stream }));
        let since = Instant::now();
        match stream {
            true => drop(live.begin(PATH, &body)),
            false => {
                let (mut connection, body) = (live.connect(), body.to_string());
                let head = format!(
                    "POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                connection.write_all((head + &body).as_bytes()).unwrap();
                wait_for(|| (!far.requests().is_empty()).then_some(()));
            }
        }
        wait_for(|| (*far.gone.lock().unwrap() == 1).then_some(()));
        assert!(since.elapsed() < Duration::from_millis(900), "before any limit of time");
        let line = "{upstream=\"far\",outcome=\"aborted\"} 1";
        wait_for(|| live.get("/metrics").text().contains(line).then_some(()));
    }
}

#[test]
fn other_endpoints_say_that_they_are_not_for_such_models() {
    let far = Elsewhere::start(vec![says("200 OK", &good())]);
    let live = serve(far.port, "openai", "");
    let messages = json!([{ "role": "user", "content": "Hi" }]);
    for (path, body) in [
        ("/v1/completions", json!({ "prompt": "x" })),
        ("/v1/embeddings", json!({ "input": "x" })),
        ("/v1/responses", json!({ "input": "x" })),
        ("/v1/messages", json!({ "messages": messages, "max_tokens": 1 })),
        ("/api/chat", json!({ "messages": messages })),
        ("/tokenize", json!({ "prompt": "x" })),
    ] {
        let reply = live.post(path, &with(&body, "model", json!("far/big")));
        assert_eq!(reply.status, 400, "{path}: {}", reply.text());
        assert!(reply.text().contains("takes POST /v1/chat/completions"), "{}", reply.text());
    }
    let error = live.post(PATH, &to_big(json!({ "store": true }))).error(400);
    assert_eq!(error["param"], "store");
    let error = live.post(PATH, &with(&chat(json!({})), "model", json!("far/other"))).error(404);
    assert!(error["message"].as_str().unwrap().contains("far/big, far/small"), "{error}");
    assert!(far.requests().is_empty(), "nothing went out");
}

#[test]
fn lists_of_models_come_from_the_server_where_none_are_configured() {
    let list = json!({ "data": [{ "id": "new" }, { "id": "" }, { "name": "odd" }] });
    let far = Elsewhere::start(vec![says("200 OK", &list), says("200 OK", &good())]);
    let live = serve(far.port, "openai", "prefix = \"Far: \" # all its models");
    let listed = wait_for(|| {
        let list = live.get("/v1/models").good();
        let mut ids = list["data"].as_array().unwrap().clone().into_iter();
        ids.find(|model| model["owned_by"] == "far")
    });
    assert_eq!(listed["id"], "Far: new");
    assert!(far.requests()[0].starts_with("GET /v1/models HTTP/1.1\r\n"));
    live.post(PATH, &with(&chat(json!({})), "model", json!("Far: new"))).good();
    assert_eq!(far.body(1)["model"], "new");
}

#[test]
fn myriad_is_an_upstream_of_either_kind() {
    let script = json!({
        "control_tokens": ["<think>", "</think>", "<tool_call>", "</tool_call>"],
        "answers": [{ "text": "<think>\nHm\n</think>\n\nIt is **Köln**." }],
    });
    let other = Live::start(Setup { script: Some(script), ..Setup::default() });
    for kind in ["openai", "anthropic"] {
        let live = serve(other.port, kind, "max_tokens = 100\nmodels = [\"tests/synthetic\"]");
        let mut body = with(&chat(json!({})), "model", json!("far/tests/synthetic"));
        let whole = live.post(PATH, &body).good();
        let message = &whole["choices"][0]["message"];
        assert_eq!(message["content"], "It is **Köln**.", "{kind}: {whole}");
        assert_eq!(message["reasoning"].as_str().unwrap().trim(), "Hm", "{kind}");
        body["stream"] = json!(true);
        let (text, thoughts, reason) = put_together(&live.post(PATH, &body).events());
        assert_eq!((text.as_str(), reason), ("It is **Köln**.", json!("stop")), "{kind}");
        assert_eq!(thoughts.trim(), "Hm", "{kind}");
    }
}

/// Alone in its process, as it takes the log.
#[test]
fn no_log_line_holds_a_key_or_a_word_of_content() {
    use tracing_subscriber::filter::LevelFilter;
    let lines = Arc::new(Mutex::new(Vec::<u8>::new()));
    #[derive(Clone)]
    struct Sink(Arc<Mutex<Vec<u8>>>);
    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let sink = Sink(Arc::clone(&lines));
    let log = tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE).with_ansi(false);
    // Another test of this process may have taken it, where tests share one.
    let _ = log.with_writer(move || sink.clone()).try_init();
    let error = json!({ "error": { "message": format!("{KEY} CONTENT") } });
    let far = Elsewhere::start(vec![
        says("401 No", &error),
        says("400 No", &error),
        says("200 OK", &good()),
    ]);
    let live = serve(far.port, "openai", "");
    let messages = json!([{ "role": "user", "content": "CONTENT" }]);
    for _ in 0..3 {
        live.post(PATH, &json!({ "model": "far/big", "messages": messages }));
    }
    let text = wait_for(|| {
        let text = String::from_utf8(lines.lock().unwrap().clone()).unwrap();
        (text.matches("upstream request").count() >= 3).then_some(text)
    });
    assert!(text.contains("outcome=\"key_refused\"") && text.contains("outcome=\"ok\""), "{text}");
    assert!(!text.contains("SECRET") && !text.contains("CONTENT"), "{text}");
}
