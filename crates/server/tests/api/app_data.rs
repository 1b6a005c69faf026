//! Turns what one keeps and uses into what one is shown of it, and what is deleted into nothing.

use serde_json::{Value, json};

use crate::harness::{Keeps, Live, Setup, chat, wait_for};

fn start() -> Live {
    Live::start(Setup { storage: Some(Keeps::Everything), ..Setup::default() })
}

/// Count and bytes of a sort, for the owner of a key.
fn kept(live: &Live, key: &str, sort: &str) -> (u64, u64) {
    let list = live.ask(key, "GET", "/app/data", &Value::Null).good();
    assert_eq!(list["data"].as_array().unwrap().len(), 1, "one's own");
    let sorts = list["data"][0]["sorts"].as_array().unwrap();
    let found = sorts.iter().find(|it| it["sort"] == sort);
    found.map_or((0, 0), |it| (it["count"].as_u64().unwrap(), it["bytes"].as_u64().unwrap()))
}

#[test]
fn presets_and_prompts_are_their_owners() {
    let live = start();
    let [me, you] = ["me", "you"].map(|owner| live.key_of(owner));
    let preset = json!({ "id": "p1", "name": "Terse", "model": null, "settings": { "topP": 0.5 } });
    let prompt = json!({ "id": "q", "name": "Ask", "text": "Ask {{who}}" });
    let put = |key: &str, path: &str, item: &Value| live.ask(key, "PUT", path, item);
    assert_eq!(put(&me, "/app/library/presets/p1", &preset).good(), preset);
    assert_eq!(put(&me, "/app/library/prompts/q", &prompt).good(), prompt);
    // What is written later stands, whoever wrote it.
    let later = json!({ "name": "Curt", "settings": {} });
    put(&me, "/app/library/presets/p1", &later).good();
    let all = |key: &str| live.ask(key, "GET", "/app/library", &Value::Null).good();
    assert_eq!(all(&me)["presets"][0]["name"], "Curt");
    assert_eq!(all(&me)["prompts"], json!([prompt]));
    assert_eq!(all(&you), json!({ "presets": [], "prompts": [] }));
    // The same ids are nobody else's.
    put(&you, "/app/library/presets/p1", &preset).good();
    assert_eq!(all(&me)["presets"][0]["name"], "Curt");
    let large = "x".repeat(70_000);
    for (path, item) in [
        ("presets/p1", json!({ "name": " " })),
        ("presets/p1", json!({ "name": "x", "settings": [] })),
        ("presets/p1", json!({ "name": "x", "settings": { "system": large } })),
        ("presets/p1", json!({ "name": "x", "id": "other" })),
        ("presets/p1", json!({ "name": "x", "colour": "red" })),
        ("prompts/q", json!({ "name": "x" })),
        ("prompts/q", json!({ "name": "x", "text": large })),
        ("prompts/a:b", json!({ "name": "x", "text": "y" })),
    ] {
        put(&me, &format!("/app/library/{path}"), &item).error(400);
    }
    live.ask(&me, "DELETE", "/app/library/prompts/q", &Value::Null).good();
    live.ask(&me, "DELETE", "/app/library/prompts/q", &Value::Null).error(404);
    assert_eq!(all(&me)["prompts"], json!([]));
    assert_eq!(kept(&live, &me, "library").0, 1);
}

#[test]
fn what_is_kept_is_told_and_deleted_by_sort_and_age() {
    let live = start();
    let [me, you] = ["me", "you"].map(|owner| live.key_of(owner));
    let header = [("authorization", me.as_str())];
    live.upload(&header, "user_data", b"0123456789");
    let twin = [("authorization", you.as_str())];
    live.upload(&twin, "user_data", b"0123456789");
    live.upload(&header, "user_data", b"mine alone");
    live.ask(&me, "POST", "/v1/conversations", &json!({})).good();
    let body = json!({ "title": "A walk", "settings": {} });
    live.ask(&me, "PUT", "/app/chats/c1", &body).good();
    let stored = chat(json!({ "store": true, "max_tokens": 2 }));
    live.ask(&me, "POST", "/v1/chat/completions", &stored).good();
    assert_eq!(kept(&live, &me, "files"), (2, 20));
    let (count, bytes) = kept(&live, &me, "completions");
    assert!((count, bytes > 20) == (1, true), "parts have bytes, too: {bytes}");
    // Everything, as lines.
    let lines = live.ask(&me, "GET", "/app/data/export", &Value::Null);
    let lines: Vec<Value> =
        lines.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<&str> = lines.iter().map(|line| line["kind"].as_str().unwrap()).collect();
    for kind in ["file", "conversation", "app_chat", "chat", "chat_message"] {
        assert!(kinds.contains(&kind), "{kinds:?}");
    }
    assert!(lines.iter().any(|line| line["body"]["title"] == "A walk"));
    let delete =
        |key: &str, path: &str| live.ask(key, "DELETE", &format!("/app/data/{path}"), &Value::Null);
    // Nothing is so old.
    assert_eq!(delete(&me, "files?older_than_days=1").good()["deleted"], 0);
    assert_eq!(kept(&live, &me, "files"), (2, 20));
    assert_eq!(live.contents(), 2);
    assert_eq!(delete(&me, "files").good()["deleted"], 2);
    assert_eq!(live.contents(), 1, "the twin is another's");
    assert_eq!((kept(&live, &me, "files"), kept(&live, &you, "files")), ((0, 0), (1, 10)));
    for sort in ["chats", "completions", "conversations"] {
        assert_eq!(delete(&me, sort).good()["deleted"], 1, "{sort}");
        assert_eq!(kept(&live, &me, sort), (0, 0));
    }
    live.ask(&me, "GET", "/app/chats/c1", &Value::Null).error(404);
    for (path, status) in [
        ("keys", 404),
        ("files?older_than_days=x", 400),
        ("files?odd=1", 400),
        ("files?owner=you", 403),
    ] {
        delete(&me, path).error(status);
    }
    live.ask(&me, "GET", "/app/data?all=true", &Value::Null).error(403);
    // Who runs the server sees all, and may delete what is another's.
    let key = live.key_of("default");
    let all = live.ask(&key, "GET", "/app/data?all=true", &Value::Null).good();
    let owners: Vec<&str> =
        all["data"].as_array().unwrap().iter().map(|it| it["owner"].as_str().unwrap()).collect();
    assert_eq!(owners, ["default", "you", "me"]);
    assert_eq!(all["data"][1]["keys"], 1);
    assert_eq!(delete(&key, "files?owner=you").good()["deleted"], 1);
    assert_eq!(live.contents(), 0);
}

#[test]
fn hundreds_go_at_once_and_none_is_left() {
    let live = start();
    let key = live.key_of("me");
    for number in 0..150 {
        let body = json!({ "title": "x", "settings": {} });
        live.ask(&key, "PUT", &format!("/app/chats/c{number}"), &body).good();
    }
    let deleted = live.ask(&key, "DELETE", "/app/data/chats", &Value::Null).good();
    assert_eq!(deleted["deleted"], 150);
    assert_eq!(kept(&live, &key, "chats"), (0, 0));
}

#[test]
fn what_is_used_is_counted_for_who_used_it() {
    let live = start();
    let [me, you] = ["me", "you"].map(|owner| live.key_of(owner));
    let usage = |key: &str, query: &str| {
        live.ask(key, "GET", &format!("/app/usage{query}"), &Value::Null).good()
    };
    assert_eq!(usage(&me, "")["days"], json!([]));
    let asked = |body: &Value| live.ask(&me, "POST", "/v1/chat/completions", body).good();
    let first = asked(&chat(json!({ "max_tokens": 3, "ignore_eos": true })));
    let told = |answer: &Value, name: &str| answer["usage"][name].as_i64().unwrap();
    let (prompt, answer) = (told(&first, "prompt_tokens"), told(&first, "completion_tokens"));
    assert_eq!(answer, 3);
    // Two answers of one prompt are one request; a stream is as a whole answer.
    asked(&chat(json!({ "max_tokens": 3, "ignore_eos": true, "n": 2 })));
    let stream = chat(json!({ "max_tokens": 3, "ignore_eos": true, "stream": true }));
    live.ask(&me, "POST", "/v1/chat/completions", &stream).events();
    live.ask(&me, "POST", "/v1/embeddings", &json!({ "input": "abc" })).good();
    live.ask(&you, "POST", "/v1/completions", &json!({ "prompt": "a", "max_tokens": 1 })).good();
    let day = wait_for(|| {
        let day = usage(&me, "")["days"][0].clone();
        (day["requests"] == 4).then_some(day)
    });
    assert_eq!(day["generated_tokens"], 4 * answer);
    let vectors = day["prompt_tokens"].as_i64().unwrap() - 3 * prompt;
    assert!((1..10).contains(&vectors), "{vectors} of the text of three letters");
    let mine = usage(&me, "?days=7");
    assert_eq!(mine["keys"][0]["label"], "me");
    assert_eq!(mine["models"][0]["name"], crate::harness::MODEL);
    assert_eq!(mine["owners"].as_array().unwrap().len(), 1);
    let key = live.key_of("default");
    let all = usage(&key, "?all=true");
    assert_eq!(all["owners"].as_array().unwrap().len(), 2);
    assert_eq!(all["days"][0]["requests"], 5);
    live.ask(&me, "GET", "/app/usage?all=true", &Value::Null).error(403);
    live.ask(&me, "GET", "/app/usage?days=0", &Value::Null).error(400);
    let rows = live.ask(&key, "GET", "/app/usage/export?all=true", &Value::Null);
    assert_eq!(rows.header("content-type"), Some("text/csv; charset=utf-8"));
    let rows: Vec<&str> = rows.text().lines().collect();
    assert!(rows[0].starts_with("day,owner,account,key,key_name,model,requests,"), "{rows:?}");
    assert_eq!(rows.len(), 3, "{rows:?}");
    assert!(rows[1].contains(",me,,key_"), "{rows:?}");
}

#[test]
fn where_nothing_is_kept_nothing_is_counted() {
    let live = Live::start(Setup { storage: Some(Keeps::Keys), ..Setup::default() });
    live.post("/v1/completions", &json!({ "prompt": "a", "max_tokens": 1 })).good();
    for path in ["/app/usage", "/app/usage/export", "/app/library", "/app/data/export"] {
        live.get(path).error(400);
    }
}
