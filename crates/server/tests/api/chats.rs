//! Turns conversations of the chat into rows that every device sees, and questions into answers
//! that go on by themselves.

use std::io::Read;
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::harness::{Keeps, Live, Reply, Setup, wait_for, with};

const CHATS: &str = "/app/chats";

fn start() -> Live {
    Live::start(Setup {
        storage: Some(Keeps::Everything),
        script: Some(json!({
            "control_tokens": ["<think>", "</think>"],
            "answers": [
                { "when": "short title", "text": "\"Of titles.\"" },
                { "when": "long", "text": "Ten letters".repeat(20), "token_ms": 100 },
                { "when": "slow", "text": "One two three four five.", "token_ms": 100 },
                { "when": "never", "text": "x", "first_token_ms": 60_000 },
                { "when": "fail", "text": "This begins well and", "fails": true },
                { "when": "think", "text": "<think>\nHm.\n</think>\n\nYes." },
                { "text": "I am a script." },
            ],
        })),
        ..Setup::default()
    })
}

fn put(live: &Live, path: &str, body: &Value) -> Reply {
    live.send("PUT", path, &[], body.to_string().as_bytes())
}

fn delete(live: &Live, path: &str) -> Reply {
    live.send("DELETE", path, &[], b"")
}

fn message(id: &str, parent: Option<&str>, role: &str, content: &str) -> Value {
    json!({ "id": id, "parent": parent, "role": role, "content": content, "created": 7 })
}

fn ask(text: &str) -> Value {
    json!({ "messages": [{ "role": "user", "content": text }], "seed": 5 })
}

/// A conversation with a question, and an answer that is to come. Returns the answer's path.
fn asked(live: &Live, chat: &str, text: &str) -> String {
    put(live, &format!("{CHATS}/{chat}"), &json!({ "title": text })).good();
    let answer = with(&message("a", Some("q"), "assistant", ""), "status", json!("streaming"));
    let body = json!({ "messages": [message("q", None, "user", text), answer], "leaf": "a" });
    put(live, &format!("{CHATS}/{chat}/messages"), &body).good();
    format!("{CHATS}/{chat}/messages/a/run")
}

/// Events of a stream, each with its number.
fn events(reply: &Reply) -> Vec<(usize, Value)> {
    assert_eq!(reply.status, 200, "{}", reply.text());
    let text = reply.text().strip_suffix("data: [DONE]\n\n").expect("the end");
    let events = text.split_terminator("\n\n").filter(|event| !event.starts_with(':'));
    let read = |event: &str| {
        let (id, data) = event.split_once('\n').expect("two lines");
        let id = id.strip_prefix("id: ").expect("an id").parse().expect("a number");
        (id, serde_json::from_str(data.strip_prefix("data: ").expect("data")).expect("JSON"))
    };
    events.map(read).collect()
}

fn text(events: &[(usize, Value)], field: &str) -> String {
    events.iter().filter_map(|(_, event)| event[field].as_str()).collect()
}

fn end(events: &[(usize, Value)]) -> Value {
    events.iter().find_map(|(_, event)| event.get("message").cloned()).expect("an end")
}

fn kept(live: &Live, chat: &str, id: &str) -> Value {
    let record = live.get(&format!("{CHATS}/{chat}")).good();
    let messages = record["messages"].as_array().unwrap();
    messages.iter().find(|message| message["id"] == id).expect("the message").clone()
}

#[test]
fn conversations_are_made_changed_listed_and_deleted() {
    let live = start();
    let made = put(&live, &format!("{CHATS}/one"), &json!({ "title": "One", "created": 3 })).good();
    assert_eq!(
        (&made["id"], &made["title"], &made["created"]),
        (&json!("one"), &json!("One"), &json!(3))
    );
    put(&live, &format!("{CHATS}/two"), &json!({ "title": "Two" })).good();
    let list = |query: &str| live.get(&format!("{CHATS}{query}")).good();
    let ids = |list: &Value| -> Vec<String> {
        let data = list["data"].as_array().unwrap().iter();
        data.map(|chat| chat["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&list("")), ["two", "one"]);
    let part =
        json!({ "pinned": true, "folder": "work", "settings": { "seed": 7, "system": "é" } });
    put(&live, &format!("{CHATS}/one"), &part).good();
    let changed = put(&live, &format!("{CHATS}/one"), &json!({ "titled": true })).good();
    assert_eq!((&changed["pinned"], &changed["folder"]), (&json!(true), &json!("work")));
    assert_eq!((&changed["title"], &changed["settings"]["seed"]), (&json!("One"), &json!(7)));
    assert_eq!(ids(&list("")), ["one", "two"], "what changed last comes first");
    let page = list("?limit=1");
    assert_eq!((ids(&page), &page["has_more"]), (vec!["one".to_owned()], &json!(true)));
    assert_eq!(ids(&list("?limit=1&after=one")), ["two"]);
    assert_eq!(ids(&list("?updated_since=99999999999999")), [""; 0]);
    live.get(&format!("{CHATS}?after=nothing")).error(404);

    let record = live.get(&format!("{CHATS}/two")).good();
    assert_eq!((&record["conversation"]["id"], &record["messages"]), (&json!("two"), &json!([])));
    assert_eq!(delete(&live, &format!("{CHATS}/two")).good()["deleted"], true);
    delete(&live, &format!("{CHATS}/two")).error(404);
    live.get(&format!("{CHATS}/two")).error(404);
    assert_eq!(ids(&list("")), ["one"]);
}

#[test]
fn messages_stand_in_a_tree_and_stay_as_they_are() {
    let live = start();
    let path = format!("{CHATS}/c/messages");
    let first = json!({ "messages": [message("q", None, "user", "Hello?")], "leaf": "q" });
    put(&live, &path, &first).error(404);
    put(&live, &format!("{CHATS}/c"), &json!({})).good();
    assert_eq!(put(&live, &path, &first).good()["leaf"], "q");
    put(&live, &path, &first).good();
    let branch =
        [message("a", Some("q"), "assistant", "Hi"), message("b", Some("q"), "assistant", "Ho")];
    put(&live, &path, &json!({ "messages": branch, "leaf": "b" })).good();
    let record = live.get(&format!("{CHATS}/c")).good();
    let ids: Vec<&Value> =
        record["messages"].as_array().unwrap().iter().map(|message| &message["id"]).collect();
    assert_eq!(ids, ["q", "a", "b"]);
    assert_eq!(record["messages"][1]["conversation"], "c");

    let other = json!({ "messages": [message("q", None, "user", "Something else")] });
    assert_eq!(put(&live, &path, &other).error(409)["code"], "conflict");
    put(&live, &format!("{CHATS}/d"), &json!({})).good();
    let strange = json!({ "messages": [message("x", Some("q"), "user", "y")] });
    let error = put(&live, &format!("{CHATS}/d/messages"), &strange).error(400);
    assert_eq!(error["param"], "messages[0].parent", "parents are of the same conversation");
    let many = vec![message("x", None, "user", "y"); 65];
    for (body, param) in [
        (json!({ "messages": [message("x", Some("gone"), "user", "y")] }), "messages[0].parent"),
        (json!({ "messages": [message("x y", None, "user", "y")] }), "messages[0].id"),
        (json!({ "messages": [message("x", None, "system", "y")] }), "messages[0].role"),
        (json!({ "messages": [], "leaf": "gone" }), "leaf"),
        (json!({ "messages": many }), "messages"),
        (json!({ "messages": 7 }), "messages"),
        (json!({}), "messages"),
        (json!({ "messages": [], "extra": 1 }), "extra"),
    ] {
        assert_eq!(put(&live, &path, &body).error(400)["param"], param, "{body}");
    }
    for (body, param) in [
        (json!({ "leaf": "gone" }), "leaf"),
        (json!({ "id": "d" }), "id"),
        (json!({ "settings": { "deep": {} } }), "settings"),
        (json!({ "colour": "red" }), "colour"),
    ] {
        assert_eq!(put(&live, &format!("{CHATS}/c"), &body).error(400)["param"], param, "{body}");
    }
    put(&live, &format!("{CHATS}/a.b"), &json!({})).error(400);
}

#[test]
fn an_answer_is_followed_taken_up_again_and_kept() {
    let live = start();
    let path = asked(&live, "c", "Please think");
    let all = events(&live.post(&path, &ask("Please think")));
    assert!(all.iter().map(|(id, _)| *id).eq(0..all.len()), "each has its number");
    assert_eq!((text(&all, "reasoning").trim(), text(&all, "content").trim()), ("Hm.", "Yes."));
    let end = end(&all);
    assert_eq!((&end["status"], &end["seed"]), (&json!("done"), &json!(5)));
    assert_eq!(end["content"].as_str().unwrap(), text(&all, "content"));
    for measure in ["promptTokens", "completionTokens", "firstTokenMs", "thinkingMs", "totalMs"] {
        assert!(end["measures"][measure].is_number(), "{measure} in {end}");
    }
    assert_eq!(kept(&live, "c", "a"), end);
    // From the third event on; by a header as browsers send it, too.
    assert_eq!(events(&live.get(&format!("{path}?after=1"))), all[2..]);
    let again = live.send("GET", &path, &[("last-event-id", "1")], b"");
    assert_eq!(events(&again), all[2..]);
    // It is whole: nothing is answered twice.
    assert_eq!(live.post(&path, &ask("Please think")).error(409)["code"], "conflict");
    assert_eq!(kept(&live, "c", "a"), end);
}

#[test]
fn an_answer_goes_on_without_its_page_and_two_devices_see_it() {
    let live = start();
    let path = asked(&live, "c", "slow");
    let mut page: TcpStream = live.begin(&path, &ask("slow"));
    let mut begun = [0; 200];
    page.read_exact(&mut begun).expect("the beginning");
    drop(page);
    // A page that sends the question again follows the same answer.
    let (one, two) = std::thread::scope(|scope| {
        let one = scope.spawn(|| events(&live.get(&path)));
        let two = scope.spawn(|| events(&live.post(&path, &ask("slow"))));
        (one.join().unwrap(), two.join().unwrap())
    });
    assert_eq!(one, two);
    assert_eq!(text(&one, "content"), "One two three four five.");
    assert_eq!(kept(&live, "c", "a")["status"], "done");
}

#[test]
fn an_answer_on_its_way_is_kept_now_and_then_and_stops_at_once() {
    let live = start();
    let path = asked(&live, "c", "long");
    drop(live.begin(&path, &ask("long")));
    wait_for(|| {
        let message = kept(&live, "c", "a");
        assert_eq!(message["status"], "streaming");
        (!message["content"].as_str().unwrap().is_empty()).then_some(())
    });
    let rival = with(&message("a", Some("q"), "assistant", "mine"), "status", json!("done"));
    put(&live, &format!("{CHATS}/c/messages"), &json!({ "messages": [rival] })).error(409);
    let stopped = delete(&live, &path).good();
    assert_eq!(stopped["status"], "stopped");
    let content = stopped["content"].as_str().unwrap();
    assert!(!content.is_empty() && "Ten letters".repeat(20).starts_with(content));
    assert_eq!(kept(&live, "c", "a"), stopped);
    assert_eq!(delete(&live, &path).good(), stopped, "twice is once");
    live.wait_until_idle();
}

#[test]
fn what_fails_says_so_and_is_answered_anew() {
    let live = start();
    let path = asked(&live, "c", "fail");
    let failed = end(&events(&live.post(&path, &ask("fail"))));
    assert_eq!(
        (&failed["status"], &failed["failure"]["kind"]),
        (&json!("failed"), &json!("server"))
    );
    assert_eq!(failed["content"], "This begins well and");
    let refused = json!({ "messages": [{ "role": "user", "content": "x" }], "temperature": 9 });
    let refused = end(&events(&live.post(&path, &refused)));
    assert_eq!(refused["failure"]["kind"], "refused");
    assert!(refused["failure"]["message"].as_str().unwrap().contains("temperature"));
    let long = with(&ask("hi"), "max_tokens", json!(4));
    let long = end(&events(&live.post(&path, &long)));
    assert_eq!((&long["status"], &long["content"]), (&json!("length"), &json!("I am")));
    for (body, param) in [(json!({}), "messages"), (with(&ask("x"), "n", json!(2)), "n")] {
        assert_eq!(live.post(&path, &body).error(400)["param"], param);
    }
    live.post(&format!("{CHATS}/c/messages/q/run"), &ask("x")).error(409);
    live.post(&format!("{CHATS}/c/messages/gone/run"), &ask("x")).error(404);
    live.get(&format!("{path}?after=-1")).error(400);
}

#[test]
fn a_deleted_conversation_takes_its_answers_with_it() {
    let live = start();
    let path = asked(&live, "c", "never");
    drop(live.begin(&path, &ask("never")));
    delete(&live, &format!("{CHATS}/c")).good();
    live.wait_until_idle();
    live.get(&path).error(404);
    assert_eq!(live.get(&format!("{CHATS}/search?q=never")).good()["data"], json!([]));
}

#[test]
fn an_owner_has_few_answers_on_their_way() {
    let live = start();
    for index in 0..16 {
        let chat = format!("c{index}");
        let path = asked(&live, &chat, "never");
        drop(live.begin(&path, &ask("never")));
    }
    let path = asked(&live, "more", "never");
    assert_eq!(live.post(&path, &ask("never")).error(429)["code"], "too_many_answers");
    delete(&live, &format!("{CHATS}/c0/messages/a/run")).good();
    drop(live.begin(&path, &ask("never")));
}

#[test]
fn the_first_answer_makes_a_title_and_a_persons_stays() {
    let live = start();
    let path = asked(&live, "c", "Who are you?");
    let all = events(&live.post(&path, &ask("Who are you?")));
    assert_eq!(text(&all, "title"), "Of titles");
    let chat = &live.get(&format!("{CHATS}/c")).good()["conversation"];
    assert_eq!((&chat["title"], &chat["titled"]), (&json!("Of titles"), &json!(false)));
    assert_eq!(
        live.get(&format!("{CHATS}/search?q=titles")).good()["data"][0]["message"],
        Value::Null
    );

    let next = [
        message("q2", Some("a"), "user", "And now?"),
        with(&message("a2", Some("q2"), "assistant", ""), "status", json!("streaming")),
    ];
    put(&live, &format!("{CHATS}/c/messages"), &json!({ "messages": next })).good();
    let all = events(&live.post(&format!("{CHATS}/c/messages/a2/run"), &ask("And now?")));
    assert_eq!(text(&all, "title"), "", "only the first answer names it");

    let path = asked(&live, "mine", "Who?");
    put(&live, &format!("{CHATS}/mine"), &json!({ "title": "My own", "titled": true })).good();
    assert_eq!(text(&events(&live.post(&path, &ask("Who?"))), "title"), "");
    assert_eq!(live.get(&format!("{CHATS}/mine")).good()["conversation"]["title"], "My own");
}

#[test]
fn words_are_found_in_titles_and_messages() {
    let live = start();
    put(&live, &format!("{CHATS}/c"), &json!({ "title": "Été à Paris" })).good();
    let long = format!("{}请解释注意力机制{}", "甲".repeat(300), "乙".repeat(300));
    let body = json!({ "messages": [message("q", None, "user", &long)] });
    put(&live, &format!("{CHATS}/c/messages"), &body).good();
    let search = |q: &str| live.get(&format!("{CHATS}/search?q={q}")).good()["data"].clone();
    let found = search("%E6%9C%BA%E5%88%B6"); // 机制
    assert_eq!((&found[0]["conversation"]["id"], &found[0]["message"]), (&json!("c"), &json!("q")));
    let excerpt = found[0]["excerpt"].as_str().unwrap();
    assert!(excerpt.contains("注意力机制") && excerpt.chars().count() < 200, "{excerpt}");
    let found = search("ETE+paris");
    assert_eq!((&found[0]["message"], &found[0]["excerpt"]), (&Value::Null, &json!("Été à Paris")));
    assert_eq!(search("nowhere"), json!([]));
    assert_eq!(search(""), json!([]));
    assert_eq!(live.get(&format!("{CHATS}/search")).error(400)["param"], "q");
    assert_eq!(live.get(&format!("{CHATS}/search?q=a&x=1")).error(400)["param"], "x");
    let long = "a".repeat(1025);
    assert_eq!(live.get(&format!("{CHATS}/search?q={long}")).error(400)["param"], "q");
}

#[test]
fn an_export_is_imported_under_fresh_ids() {
    let live = start();
    let path = asked(&live, "c", "Who are you?");
    live.post(&path, &ask("Who are you?"));
    put(&live, &format!("{CHATS}/empty"), &json!({ "title": "Empty", "folder": "f" })).good();
    let export = live.get(&format!("{CHATS}/export"));
    assert_eq!(export.header("content-type"), Some("application/x-ndjson"));
    assert_eq!(export.text().lines().count(), 2);
    let there = start();
    let import = |text: &[u8]| there.send("POST", &format!("{CHATS}/import"), &[], text);
    assert_eq!(import(export.text().as_bytes()).good()["imported"], 2);
    let list = there.get(CHATS).good();
    assert_eq!(list["data"].as_array().unwrap().len(), 2);
    let again = there.get(&format!("{CHATS}/export"));
    let essence = |text: &str| -> Vec<Value> {
        let line = |line: &str| {
            let record: Value = serde_json::from_str(line).unwrap();
            let messages = record["messages"].as_array().unwrap().iter();
            let said: Vec<Value> = messages
                .map(|it| json!([it["role"], it["content"], it["status"], it["measures"]]))
                .collect();
            json!([record["conversation"]["title"], record["conversation"]["folder"], said])
        };
        text.lines().map(line).collect()
    };
    assert_eq!(essence(again.text()), essence(export.text()));
    let record: Value = serde_json::from_str(again.text().lines().next().unwrap()).unwrap();
    assert_ne!(record["conversation"]["id"], "c");
    assert_eq!(record["messages"][1]["parent"], record["messages"][0]["id"]);
    assert_eq!(record["conversation"]["leaf"], record["messages"][1]["id"]);

    let good = export.text().lines().next().unwrap();
    for (line, param) in [
        ("{}", Some("conversation")),
        ("[]", None),
        (
            r#"{"conversation":{},"messages":[{"id":"a","role":"user","created":1,"parent":"b"}]}"#,
            Some("messages[0].parent"),
        ),
        (r#"{"conversation":{"x":1}}"#, Some("conversation.x")),
    ] {
        let error = import(format!("{good}\n\n{line}\n").as_bytes()).error(400);
        assert_eq!(error["param"].as_str(), param, "{error}");
        let message = error["message"].as_str().unwrap();
        assert!(
            message.starts_with("Line 3: ") && message.contains("the 1 conversations"),
            "{message}"
        );
    }
    let twice = vec![message("a", None, "user", "x"); 2];
    let twice = json!({ "conversation": {}, "messages": twice }).to_string();
    assert_eq!(import(twice.as_bytes()).error(400)["param"], "messages[1].id");
}

#[test]
fn conversations_of_others_are_not_there() {
    let live = start();
    let (me, you) = (live.key_of("me"), live.key_of("you"));
    let path = format!("{CHATS}/c");
    live.ask(&me, "PUT", &path, &json!({ "title": "mine" })).good();
    let body = json!({ "messages": [message("q", None, "user", "mine")] });
    live.ask(&me, "PUT", &format!("{path}/messages"), &body).good();
    live.ask(&you, "GET", &path, &Value::Null).error(404);
    live.ask(&you, "DELETE", &path, &Value::Null).error(404);
    live.ask(&you, "PUT", &format!("{path}/messages"), &body).error(404);
    live.ask(&you, "GET", &format!("{path}/messages/q/run"), &Value::Null).error(404);
    live.ask(&you, "DELETE", &format!("{path}/messages/q/run"), &Value::Null).error(404);
    let found = live.ask(&you, "GET", &format!("{CHATS}/search?q=mine"), &Value::Null).good();
    assert_eq!(found["data"], json!([]));
    assert_eq!(live.ask(&you, "GET", CHATS, &Value::Null).good()["data"], json!([]));
    assert_eq!(live.ask(&you, "GET", &format!("{CHATS}/export"), &Value::Null).text(), "");
    // The same id is free for everyone.
    live.ask(&you, "PUT", &path, &json!({ "title": "yours" })).good();
    let record = live.ask(&me, "GET", &path, &Value::Null).good();
    assert_eq!(record["conversation"]["title"], "mine");
}

#[test]
fn a_server_that_keeps_nothing_says_so() {
    let live = Live::start(Setup { storage: Some(Keeps::Keys), ..Setup::default() });
    for (method, path) in [
        ("GET", CHATS.to_owned()),
        ("GET", format!("{CHATS}/c")),
        ("PUT", format!("{CHATS}/c")),
        ("DELETE", format!("{CHATS}/c")),
        ("GET", format!("{CHATS}/export")),
        ("POST", format!("{CHATS}/import")),
        ("GET", format!("{CHATS}/search?q=a")),
        ("PUT", format!("{CHATS}/c/messages")),
        ("POST", format!("{CHATS}/c/messages/a/run")),
        ("GET", format!("{CHATS}/c/messages/a/run")),
        ("DELETE", format!("{CHATS}/c/messages/a/run")),
    ] {
        let error = live.send(method, &path, &[], b"").error(400);
        assert!(error["message"].as_str().unwrap().contains("--no-store"), "{method} {path}");
    }
    for (live, keeps) in [(live, false), (start(), true)] {
        let features = live.get("/app/features").good();
        assert_eq!((&features["history"], &features["tools"]), (&json!(keeps), &json!(false)));
        assert_eq!(features["files"], keeps);
    }
}

#[test]
fn devices_that_change_one_conversation_at_once_all_get_through() {
    let live = start();
    put(&live, &format!("{CHATS}/c"), &json!({ "title": "t" })).good();
    std::thread::scope(|scope| {
        for index in 0..8 {
            let live = &live;
            scope.spawn(move || {
                let body =
                    json!({ "messages": [message(&format!("m{index}"), None, "user", "x")] });
                put(live, &format!("{CHATS}/c/messages"), &body).good();
            });
        }
    });
    let record = live.get(&format!("{CHATS}/c")).good();
    assert_eq!(record["messages"].as_array().unwrap().len(), 8);
}

#[test]
fn a_link_shows_a_copy_until_it_is_taken_back() {
    let live = start();
    let me = live.key_of("me");
    let path = format!("{CHATS}/c");
    live.ask(&me, "PUT", &path, &json!({ "title": "Shared", "settings": { "system": "secret" } }));
    let thought = with(&message("a", Some("q"), "assistant", "Yes."), "reasoning", json!("Hm."));
    let aside = message("b", Some("q"), "assistant", "No.");
    let body =
        json!({ "messages": [message("q", None, "user", "Well?"), thought, aside], "leaf": "a" });
    live.ask(&me, "PUT", &format!("{path}/messages"), &body).good();
    let share = format!("{path}/share");
    let none = json!({ "token": null, "created": null });
    assert_eq!(live.ask(&me, "GET", &share, &Value::Null).good(), none);
    live.ask(&me, "DELETE", &share, &Value::Null).error(404);
    let made = live.ask(&me, "POST", &share, &Value::Null).good();
    assert_eq!(live.ask(&me, "GET", &share, &Value::Null).good(), made);
    let token = made["token"].as_str().unwrap();
    assert_eq!(token.len(), 32);
    let link = format!("/app/shared/{token}");
    let shown = live.get(&link);
    assert_eq!(shown.header("x-robots-tag"), Some("noindex"));
    let shown = shown.good();
    assert_eq!(shown["title"], "Shared");
    let said = json!([
        { "role": "user", "content": "Well?", "model": null },
        { "role": "assistant", "content": "Yes.", "model": null },
    ]);
    assert_eq!(shown["messages"], said, "the shown path alone, without thoughts and parameters");

    let more = json!({ "messages": [message("q2", Some("a"), "user", "Sure?")], "leaf": "q2" });
    live.ask(&me, "PUT", &format!("{path}/messages"), &more).good();
    assert_eq!(live.get(&link).good()["messages"], said, "it is a copy");
    assert_eq!(live.ask(&me, "POST", &share, &Value::Null).good()["token"], *token);
    assert_eq!(live.get(&link).good()["messages"][2]["content"], "Sure?");

    let you = live.key_of("you");
    for method in ["GET", "POST", "DELETE"] {
        live.ask(&you, method, &share, &Value::Null).error(404);
    }
    live.send("DELETE", &link, &[], b"").error(401);
    for wrong in ["", "short", "..", &"a".repeat(32), &format!("{token}0")] {
        live.get(&format!("/app/shared/{wrong}")).error(404);
    }
    live.ask(&me, "DELETE", &share, &Value::Null).good();
    live.get(&link).error(404);
    let again = live.ask(&me, "POST", &share, &Value::Null).good();
    let link = format!("/app/shared/{}", again["token"].as_str().unwrap());
    live.get(&link).good();
    live.ask(&me, "DELETE", &path, &Value::Null).good();
    live.get(&link).error(404);
}
