//! Turns calls of a scripted model into permissions, results of a scripted server of tools, and
//! answers that go on.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Live, Reply, wait_for, with};
use crate::tool_server::{SECRET, ToolServer, Ways, as_events, as_json, with_tools};

const RUN: &str = "/app/chats/c/messages/a/run";
const FORECAST: &str = "weather__forecast";

fn call(name: &str, arguments: &str) -> String {
    format!("<tool_call>\n{{\"name\": \"{name}\", \"arguments\": {arguments}}}\n</tool_call>")
}

/// A model that asks for the weather where it is asked, and tells it once it knows.
fn script() -> Value {
    let paris = call(FORECAST, "{\"city\": \"Paris\"}");
    let rome = call(FORECAST, "{\"city\": \"Rome\"}");
    json!({
        "control_tokens": ["<think>", "</think>", "<tool_call>", "</tool_call>"],
        "answers": [
            { "when": "short title", "text": "Weather" },
            { "when": "again", "text": paris },
            { "when": "Sunny in", "text": "It is sunny." },
            { "when": "did not permit", "text": "Then not." },
            { "when": "tool server", "text": "It is broken." },
            { "when": "no tool of this name", "text": "My mistake." },
            { "when": "Nothing was found", "text": "Nobody knows." },
            { "when": "both", "text": format!("Two.\n{paris}\n{rome}") },
            { "when": "wrong", "text": call("weather__nothing", "{}") },
            { "when": "search", "text": call("web_search", "{\"query\": \"a b\"}") },
            { "when": "weather", "text": format!("Let me look.\n{paris}") },
            { "text": "I am a script." },
        ],
    })
}

fn start(ways: Ways, more: &str) -> (ToolServer, Live) {
    let server = ToolServer::start(ways);
    let live = with_tools(server.port, more, script());
    (server, live)
}

fn put(live: &Live, path: &str, body: &Value) -> Value {
    live.send("PUT", path, &[], body.to_string().as_bytes()).good()
}

/// A conversation with a question whose answer is to come.
fn asked(live: &Live, text: &str) {
    let message = |id: &str, role: &str| json!({ "id": id, "role": role, "created": 7 });
    let question = with(&message("q", "user"), "content", json!(text));
    let answer = with(&message("a", "assistant"), "status", json!("streaming"));
    let answer = with(&answer, "parent", json!("q"));
    put(live, "/app/chats/c", &json!({ "title": text }));
    let body = json!({ "messages": [question, answer], "leaf": "a" });
    put(live, "/app/chats/c/messages", &body);
}

fn question(text: &str, tools: &[&str]) -> Value {
    json!({ "messages": [{ "role": "user", "content": text }], "app_tools": tools })
}

/// The whole answer of a question that needs nobody's permission.
fn answered(live: &Live, text: &str, tools: &[&str]) -> Value {
    asked(live, text);
    end(&live.post(RUN, &question(text, tools)))
}

fn events(reply: &Reply) -> Vec<Value> {
    assert_eq!(reply.status, 200, "{}", reply.text());
    let data = reply.text().lines().filter_map(|line| line.strip_prefix("data: "));
    data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
}

fn end(reply: &Reply) -> Value {
    let events = events(reply);
    events.iter().find_map(|event| event.get("message").cloned()).expect("an end")
}

fn kept(live: &Live) -> Value {
    live.get("/app/chats/c").good()["messages"][1].clone()
}

/// Begins an answer and returns the calls that wait for a permission, as they are kept.
fn waiting(live: &Live, count: usize) -> Vec<Value> {
    wait_for(|| {
        let message = kept(live);
        let calls = message["calls"].as_array().cloned().unwrap_or_default();
        let waiting = calls.iter().filter(|call| call["state"] == "waiting").count();
        (waiting == count).then_some(calls)
    })
}

fn begun(live: &Live, text: &str, tools: &[&str]) -> TcpStream {
    asked(live, text);
    live.begin(RUN, &question(text, tools))
}

fn decide(live: &Live, call: &Value, decision: &str) -> Reply {
    let path = format!("/app/chats/c/messages/a/calls/{}", call["id"].as_str().unwrap());
    live.post(&path, &json!({ "decision": decision }))
}

#[test]
fn tools_are_listed_with_what_cannot_be_called() {
    for modern in [false, true] {
        let (server, live) = start(Ways { modern, ..Ways::default() }, "");
        let servers = live.get("/app/tools").good()["servers"].clone();
        assert_eq!(servers[0]["tools"][0]["name"], "web_search");
        assert_eq!((&servers[1]["name"], &servers[1]["ask"]), (&json!("weather"), &json!(true)));
        let tools = servers[1]["tools"].as_array().unwrap();
        let names: Vec<&str> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
        assert_eq!(names[0], FORECAST);
        assert!(names[1].starts_with("weather__odd_one_"), "{names:?}");
        assert_eq!((&tools[0]["own"], &tools[1]["own"]), (&json!("forecast"), &json!("odd one")));
        assert!(tools[0]["unavailable"].is_null());
        let reason = tools[2]["unavailable"].as_str().unwrap();
        assert!(reason.contains("'type'"), "{reason}");
        // It is known for a while, and no secret is shown.
        let again = live.get("/app/tools");
        assert_eq!(again.good()["servers"], servers);
        assert_eq!(server.of("tools/list").len(), 2, "two pages, once");
        assert!(!again.text().contains("SECRET"));
        let first = &server.of("tools/list")[0];
        assert_eq!(first.headers["authorization"], format!("Bearer {SECRET}"));
        let version = if modern { "2026-07-28" } else { "2025-06-18" };
        assert_eq!(first.headers["mcp-protocol-version"], version);
        let ended = usize::from(!modern);
        wait_for(|| (server.of("DELETE").len() == ended).then_some(()));
        let features = live.get("/app/features").good();
        assert_eq!((&features["history"], &features["tools"]), (&json!(true), &json!(true)));
    }
}

#[test]
fn an_allowed_call_is_made_and_the_model_goes_on() {
    for modern in [false, true] {
        for streams in [false, true] {
            let ways = Ways { modern, streams, asks: !modern, ..Ways::default() };
            let (server, live) = start(ways, "ask = false");
            let message = answered(&live, "weather", &[FORECAST]);
            assert_eq!((&message["status"], &message["failure"]), (&json!("done"), &Value::Null));
            assert_eq!(message["content"], "Let me look.\n\nIt is sunny.");
            let calls = message["calls"].as_array().unwrap();
            let right = json!({
                "id": calls[0]["id"], "round": 0, "at": 12, "name": FORECAST,
                "server": "weather", "tool": "forecast", "arguments": "{\"city\": \"Paris\"}",
                "state": "done", "result": "Sunny in Paris.",
            });
            assert_eq!(calls[..], [right]);
            assert_eq!(kept(&live), message);
            let sent = server.of("tools/call").remove(0);
            assert_eq!(sent.body["params"]["name"], "forecast");
            assert_eq!(sent.body["params"]["arguments"], json!({ "city": "Paris" }));
            if modern {
                assert_eq!(sent.headers["mcp-name"], "forecast");
                assert_eq!(sent.headers["mcp-param-city"], "Paris");
                assert_eq!(sent.headers["mcp-method"], "tools/call");
            } else {
                assert_eq!(sent.headers["mcp-session-id"], "s-1");
                assert_eq!(server.of("notifications/initialized").len(), 2, "listed, and called");
            }
            if streams && !modern {
                let replies = server.seen().into_iter().map(|seen| seen.body);
                let replies: Vec<Value> = replies.filter(|it| it.get("method").is_none()).collect();
                let of = |id: &str| replies.iter().find(|reply| reply["id"] == id).unwrap();
                assert_eq!(of("p")["result"], json!({}));
                assert_eq!(of("q")["error"]["code"], -32601);
            }
        }
    }
}

#[test]
fn calls_wait_for_a_person_and_only_once() {
    let (server, live) = start(Ways::default(), "");
    drop(begun(&live, "weather", &[FORECAST]));
    let calls = waiting(&live, 1);
    assert!(server.of("tools/call").is_empty(), "nothing goes out before");
    let elsewhere = json!({ "id": "gone" });
    assert_eq!(decide(&live, &elsewhere, "once").error(404)["code"], "not_found");
    assert_eq!(decide(&live, &calls[0], "perhaps").error(400)["param"], "decision");
    // Two devices follow; one of them decides.
    let (one, two) = std::thread::scope(|scope| {
        let one = scope.spawn(|| events(&live.get(RUN)));
        let two = scope.spawn(|| events(&live.get(RUN)));
        assert_eq!(decide(&live, &calls[0], "once").good()["decision"], "once");
        decide(&live, &calls[0], "refuse").error(404);
        (one.join().unwrap(), two.join().unwrap())
    });
    assert_eq!(one, two);
    let states: Vec<&Value> = one.iter().filter_map(|event| event["call"].get("state")).collect();
    assert_eq!(states, ["running", "waiting", "running", "done"]);
    assert_eq!(kept(&live)["content"], "Let me look.\n\nIt is sunny.");
    // It was this one call: the next one is asked for.
    drop(begun_next(&live, "weather"));
    wait_for(|| next(&live).is_some_and(|state| state == "waiting").then_some(()));
}

/// A second question in the conversation.
fn begun_next(live: &Live, text: &str) -> TcpStream {
    let next = json!([
        { "id": "q2", "parent": "a", "role": "user", "content": text, "created": 8 },
        { "id": "a2", "parent": "q2", "role": "assistant", "created": 9, "status": "streaming" },
    ]);
    put(live, "/app/chats/c/messages", &json!({ "messages": next }));
    live.begin("/app/chats/c/messages/a2/run", &question(text, &[FORECAST]))
}

/// The state of the second question's call.
fn next(live: &Live) -> Option<String> {
    let messages = live.get("/app/chats/c").good()["messages"].clone();
    messages[3]["calls"][0]["state"].as_str().map(str::to_owned)
}

#[test]
fn a_permission_for_the_chat_holds_for_the_tool_in_it() {
    let (server, live) = start(Ways::default(), "");
    drop(begun(&live, "both", &[FORECAST]));
    let calls = waiting(&live, 2);
    decide(&live, &calls[1], "chat").good();
    let message = end(&live.get(RUN));
    assert_eq!(message["status"], "done");
    let results: Vec<&Value> =
        message["calls"].as_array().unwrap().iter().map(|call| &call["result"]).collect();
    assert_eq!(results, ["Sunny in Paris.", "Sunny in Rome."]);
    drop(begun_next(&live, "weather"));
    wait_for(|| next(&live).is_some_and(|state| state == "done").then_some(()));
    assert_eq!(server.of("tools/call").len(), 3);
    // With the conversation the permission goes.
    live.send("DELETE", "/app/chats/c", &[], b"").good();
    drop(begun(&live, "weather", &[FORECAST]));
    waiting(&live, 1);
}

#[test]
fn a_refused_call_is_not_made_and_the_model_is_told() {
    let (server, live) = start(Ways::default(), "");
    drop(begun(&live, "weather", &[FORECAST]));
    decide(&live, &waiting(&live, 1)[0], "refuse").good();
    let message = end(&live.get(RUN));
    assert_eq!(message["content"], "Let me look.\n\nThen not.");
    assert_eq!(message["calls"][0]["state"], "refused");
    assert!(server.of("tools/call").is_empty());
}

#[test]
fn stopping_ends_what_waits_and_what_runs() {
    let (server, live) = start(Ways::default(), "");
    drop(begun(&live, "weather", &[FORECAST]));
    let calls = waiting(&live, 1);
    let stopped = live.send("DELETE", RUN, &[], b"").good();
    assert_eq!(
        (&stopped["status"], &stopped["calls"][0]["state"]),
        (&json!("stopped"), &json!("stopped"))
    );
    decide(&live, &calls[0], "once").error(404);
    assert!(server.of("tools/call").is_empty());

    let (server, live) = start(Ways { call_ms: 1500, ..Ways::default() }, "ask = false");
    drop(begun(&live, "weather", &[FORECAST]));
    let sent = wait_for(|| server.of("tools/call").pop());
    let start = Instant::now();
    live.send("DELETE", RUN, &[], b"").good();
    assert!(start.elapsed() < Duration::from_millis(1000), "it does not wait for the tool");
    let cancelled = wait_for(|| server.of("notifications/cancelled").pop());
    assert_eq!(cancelled.body["params"]["requestId"], sent.body["id"]);
    // The list of tools had a session of its own.
    wait_for(|| (server.of("DELETE").len() == 2).then_some(()));
    live.wait_until_idle();
}

#[test]
fn a_session_that_is_over_is_opened_anew() {
    let (server, live) = start(Ways::default(), "ask = false");
    live.get("/app/tools").good();
    server.ways.lock().unwrap().ends_session = true;
    let message = answered(&live, "weather", &[FORECAST]);
    assert_eq!(message["calls"][0]["state"], "done");
    assert_eq!(server.of("initialize").len(), 3, "listed, called, called again");
    assert_eq!(server.of("tools/call").len(), 2);
}

#[test]
fn news_of_other_tools_are_looked_up() {
    let ways = Ways { streams: true, changes: true, ..Ways::default() };
    let (server, live) = start(ways, "ask = false");
    answered(&live, "weather", &[FORECAST]);
    let before = server.of("tools/list").len();
    live.get("/app/tools").good();
    assert_eq!(server.of("tools/list").len(), before + 2);
}

#[test]
fn servers_that_misbehave_are_told_of_and_the_model_goes_on() {
    let answer = |body: Value| json!({ "jsonrpc": "2.0", "id": 3, "result": body });
    let moved = b"HTTP/1.1 302 Go\r\nlocation: http://127.0.0.1:1/\r\n\r\n".to_vec();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n";
    let huge = format!("{head}{}", "x".repeat(9 << 20)).into_bytes();
    let error = json!({ "code": -32602, "message": format!("no {SECRET}") });
    let error = json!({ "jsonrpc": "2.0", "id": 2, "error": error });
    for (raw, words) in [
        (moved, "a redirect (302"),
        (huge, "more than 8388608 bytes"),
        (format!("{head}{{").into_bytes(), "no JSON"),
        (as_json("200 OK", &answer(json!({}))), "no answer to what was asked"),
        (as_json("200 OK", &json!({ "id": 2, "result": {} })), "no JSON-RPC"),
        (as_events(&[]), "ended before the answer"),
        (as_events(&[json!({ "jsonrpc": "2.0", "id": 2, "result": 7 })]), "without a result"),
        (as_json("200 OK", &error), "says: no [key] (-32602)"),
        (as_json("500 Oh", &json!({})), "the status 500"),
        (as_json("401 No", &json!({})), "refuses the headers that this server's operator"),
        (b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n<html>".to_vec(), "'text/html'"),
        (b"SSH-2.0\r\n\r\n".to_vec(), "no answer that can be read"),
    ] {
        let (_server, live) = start(Ways { raw: Some(raw), ..Ways::default() }, "ask = false");
        let message = answered(&live, "weather", &[FORECAST]);
        assert_eq!(message["content"], "Let me look.\n\nIt is broken.");
        let call = &message["calls"][0];
        assert_eq!(call["state"], "failed");
        let result = call["result"].as_str().unwrap();
        assert!(result.contains(words) && !result.contains("SECRET"), "{words}: {result}");
    }
    let (server, live) = start(Ways { call_ms: 4000, ..Ways::default() }, "ask = false");
    let message = answered(&live, "weather", &[FORECAST]);
    let result = message["calls"][0]["result"].as_str().unwrap();
    assert!(result.contains("did not answer within 2 s"), "{result}");
    wait_for(|| server.of("notifications/cancelled").pop());
}

#[test]
fn a_result_is_bounded_and_an_error_of_a_tool_is_one() {
    let content = json!([{ "type": "text", "text": "Sunny in ".repeat(10_000) }]);
    let result = json!({ "jsonrpc": "2.0", "id": 2, "result": { "content": content } });
    let raw = Some(as_json("200 OK", &result));
    let (server, live) = start(Ways { raw, ..Ways::default() }, "ask = false");
    // Longer than the context of the script: the answer says so.
    let message = answered(&live, "weather", &[FORECAST]);
    let text = message["calls"][0]["result"].as_str().unwrap();
    assert!(text.len() < 33_000 && text.ends_with("bytes more are left out]"));
    assert_eq!(message["failure"]["code"], "context_length_exceeded");
    let wrong =
        json!({ "content": [{ "type": "text", "text": "Sunny in hell." }], "isError": true });
    let wrong = json!({ "jsonrpc": "2.0", "id": 2, "result": wrong });
    server.ways.lock().unwrap().raw = Some(as_json("200 OK", &wrong));
    let message = end(&live.post(RUN, &question("weather", &[FORECAST])));
    let call = &message["calls"][0];
    assert_eq!((&call["state"], &call["result"]), (&json!("failed"), &json!("Sunny in hell.")));
}

#[test]
fn a_model_that_never_answers_is_stopped_and_one_that_errs_is_told() {
    let (server, live) = start(Ways::default(), "ask = false");
    let message = answered(&live, "again", &[FORECAST]);
    assert_eq!(message["failure"]["code"], "too_many_tool_rounds");
    assert_eq!(server.of("tools/call").len(), 16);
    let message = answered_anew(&live, "wrong", &[FORECAST]);
    assert_eq!((&message["content"], &message["status"]), (&json!("My mistake."), &json!("done")));
    assert_eq!(message["calls"][0]["state"], "failed");
}

/// Another conversation, as the first one's answer is whole.
fn answered_anew(live: &Live, text: &str, tools: &[&str]) -> Value {
    live.send("DELETE", "/app/chats/c", &[], b"").good();
    answered(live, text, tools)
}

#[test]
fn tools_that_are_not_there_fail_the_answer_by_name() {
    let (_server, live) = start(Ways::default(), "tools = [\"forecast\"]");
    for (tool, words) in [
        ("weather__odd", "does not have it any more"),
        ("weather__unheld", "does not have it any more"),
        ("other__tool", "No server has it"),
    ] {
        let message = answered_anew_or_first(&live, tool);
        assert_eq!(message["failure"]["code"], "tool_unavailable");
        let said = message["failure"]["message"].as_str().unwrap();
        assert!(said.contains(words) && said.contains(tool), "{said}");
    }
    let many = vec![FORECAST; 65];
    asked(&live, "weather");
    assert_eq!(live.post(RUN, &question("weather", &many)).error(400)["param"], "app_tools");
    let both = with(&question("weather", &[FORECAST]), "tools", json!([]));
    assert_eq!(live.post(RUN, &both).error(400)["param"], "tools");
    let nobody = with_tools(1, "", script());
    let servers = nobody.get("/app/tools").good()["servers"].clone();
    assert!(servers[1]["failure"].as_str().unwrap().contains("no connection"), "{servers}");
    let message = answered(&nobody, "weather", &[FORECAST]);
    assert!(message["failure"]["message"].as_str().unwrap().contains("no connection"));
}

fn answered_anew_or_first(live: &Live, tool: &str) -> Value {
    live.send("DELETE", "/app/chats/c", &[], b"");
    answered(live, "weather", &[tool])
}

#[test]
fn others_calls_are_not_there() {
    let (server, live) = start(Ways::default(), "");
    let (me, you) = (live.key_of("me"), live.key_of("you"));
    live.ask(&me, "PUT", "/app/chats/c", &json!({})).good();
    let messages = json!({ "messages": [
        { "id": "q", "role": "user", "content": "weather", "created": 7 },
        { "id": "a", "parent": "q", "role": "assistant", "created": 8, "status": "streaming" },
    ] });
    live.ask(&me, "PUT", "/app/chats/c/messages", &messages).good();
    let headers = [("authorization", me.as_str())];
    let body = question("weather", &[FORECAST]).to_string();
    let record = || live.ask(&me, "GET", "/app/chats/c", &Value::Null).good();
    let (reply, call) = std::thread::scope(|scope| {
        let reply = scope.spawn(|| live.send("POST", RUN, &headers, body.as_bytes()));
        let call = wait_for(|| {
            let call = record()["messages"][1]["calls"][0].clone();
            (call["state"] == "waiting").then_some(call)
        });
        let path = format!("/app/chats/c/messages/a/calls/{}", call["id"].as_str().unwrap());
        let yes = json!({ "decision": "once" });
        live.ask(&you, "POST", &path, &yes).error(404);
        assert!(server.of("tools/call").is_empty());
        live.ask(&me, "POST", &path, &yes).good();
        (reply.join().unwrap(), call)
    });
    assert_eq!(end(&reply)["calls"][0]["id"], call["id"]);
}

#[test]
fn a_search_gives_lines_of_text() {
    let (server, live) = start(Ways::default(), "");
    let message = answered(&live, "search", &["web_search"]);
    let call = &message["calls"][0];
    let right = "1. Sunny in <b>May</b>\nhttps://example.com/may\nSome words.";
    assert_eq!((&call["state"], &call["result"]), (&json!("done"), &json!(right)));
    assert_eq!((&call["server"], &message["content"]), (&json!(""), &json!("It is sunny.")));
    let sent = server.of("GET");
    assert_eq!((sent.len(), sent[0].path.as_str()), (1, "/search?q=a%20b&format=json"));
    assert!(!sent[0].headers.contains_key("authorization"), "no other server's secret");
}
