//! Turns chats that ask to be stored into lists, chats and messages, for their owner alone.

use serde_json::{Value, json};

use super::harness::{Keeps, Live, MODEL, Reply, Setup, chat, with};

const PATH: &str = "/v1/chat/completions";

fn keeping() -> Live {
    let script = json!({
        "control_tokens": ["<think>", "</think>", "<tool_call>", "</tool_call>"],
        "answers": [
            { "when": "slow", "text": "one two three four five six", "token_ms": 20 },
            { "when": "breaks", "text": "half", "fails": true },
            { "text": "<think>\nHm.\n</think>\n\nHello there." },
        ],
    });
    Live::start(Setup {
        script: Some(script),
        storage: Some(Keeps::Everything),
        ..Setup::default()
    })
}

fn ids(list: &Value) -> Vec<String> {
    let data = list["data"].as_array().expect("a list").iter();
    data.map(|entry| entry["id"].as_str().expect("an id").to_owned()).collect()
}

#[test]
fn a_stored_chat_is_listed_shown_changed_and_deleted() {
    let live = keeping();
    let parts = json!([{ "type": "text", "text": "a" }, { "type": "text", "text": "b" }]);
    let messages = json!([
        { "role": "system", "content": "Be short." },
        { "role": "user", "content": parts, "name": "Ann" },
    ]);
    let body = json!({ "messages": messages, "store": true, "metadata": { "team": "red" } });
    let answer = live.post(PATH, &body).good();
    let id = answer["id"].as_str().unwrap();
    let path = format!("{PATH}/{id}");

    let shown = live.get(&path).good();
    assert_eq!(shown["metadata"], json!({ "team": "red" }));
    assert_eq!(shown["choices"], answer["choices"]);
    assert_eq!(shown["usage"], answer["usage"]);
    assert_eq!(live.get(PATH).good()["data"], json!([shown]));

    let kept = live.get(&format!("{path}/messages")).good();
    assert_eq!(ids(&kept), [format!("{id}-0"), format!("{id}-1")]);
    assert_eq!(kept["first_id"], kept["data"][0]["id"]);
    assert_eq!(kept["last_id"], kept["data"][1]["id"]);
    assert_eq!(kept["data"][0]["content"], "Be short.");
    assert_eq!(kept["data"][0]["content_parts"], Value::Null);
    let second = &kept["data"][1];
    assert_eq!((&second["content"], &second["name"]), (&json!("a\nb"), &json!("Ann")));
    assert_eq!(second["content_parts"], parts);
    let page = live.get(&format!("{path}/messages?order=desc&limit=1")).good();
    assert_eq!((ids(&page), &page["has_more"]), (vec![format!("{id}-1")], &json!(true)));
    let rest = live.get(&format!("{path}/messages?order=desc&after={id}-1")).good();
    assert_eq!(ids(&rest), [format!("{id}-0")]);

    let changed = live.post(&path, &json!({ "metadata": { "team": "blue" } })).good();
    assert_eq!(changed["metadata"], json!({ "team": "blue" }));
    assert_eq!(live.get(&path).good(), changed);
    live.post(&path, &json!({})).error(400);
    assert_eq!(
        live.post(&path, &json!({ "metadata": {}, "model": "x" })).error(400)["param"],
        "model"
    );

    let gone = live.send("DELETE", &path, &[], b"").good();
    assert_eq!(gone, json!({ "object": "chat.completion.deleted", "id": id, "deleted": true }));
    for path in [path.clone(), format!("{path}/messages")] {
        assert_eq!(live.get(&path).error(404)["code"], "not_found");
    }
    live.send("DELETE", &path, &[], b"").error(404);
    let empty = json!({
        "object": "list", "data": [], "first_id": "", "last_id": "", "has_more": false,
    });
    assert_eq!(live.get(PATH).good(), empty);
}

#[test]
fn a_streamed_chat_is_stored_when_it_ends_and_says_what_was_streamed() {
    let live = keeping();
    let body = chat(json!({ "store": true, "stream": true, "n": 2 }));
    let events = live.post(PATH, &body).events();
    let id = events[0]["id"].as_str().unwrap();
    let shown = live.get(&format!("{PATH}/{id}")).good();
    for (index, choice) in shown["choices"].as_array().unwrap().iter().enumerate() {
        let of_choice = events.iter().map(|event| &event["choices"][0]);
        let of_choice = of_choice.filter(|piece| piece["index"] == json!(index));
        let joined: String =
            of_choice.filter_map(|piece| piece["delta"]["content"].as_str()).collect();
        assert_eq!(choice["message"]["content"], joined.as_str());
        assert_eq!(choice["message"]["reasoning_content"], "Hm.");
        assert_eq!(choice["finish_reason"], "stop");
    }
    assert_eq!(shown["choices"].as_array().unwrap().len(), 2);
    assert!(shown["usage"]["completion_tokens"].as_u64().unwrap() > 0);
}

#[test]
fn what_does_not_ask_or_does_not_end_is_not_stored() {
    let live = keeping();
    live.post(PATH, &chat(json!({}))).good();
    live.post(PATH, &chat(json!({ "store": false, "metadata": { "n": 1 } }))).good();
    let slow = json!({ "role": "user", "content": "slow" });
    let slow = json!({ "messages": [slow], "store": true, "stream": true });
    drop(live.begin(PATH, &slow));
    live.wait_until_idle();
    let breaks = json!({ "messages": [{ "role": "user", "content": "breaks" }], "store": true });
    live.post(PATH, &breaks).error(500);
    assert_eq!(live.get(PATH).good()["data"], json!([]));
}

#[test]
fn lists_have_pages_and_filters() {
    let live = keeping();
    let store = |number: usize| {
        let metadata =
            json!({ "number": number.to_string(), "odd": (number % 2 == 1).to_string() });
        let answer = live.post(PATH, &chat(json!({ "store": true, "metadata": metadata }))).good();
        answer["id"].as_str().unwrap().to_owned()
    };
    let all: Vec<String> = (0..5).map(store).collect();
    let list = |query: &str| ids(&live.get(&format!("{PATH}?{query}")).good());
    assert_eq!(list(""), all);
    assert_eq!(list("order=desc&limit=2"), [all[4].clone(), all[3].clone()]);
    assert_eq!(list(&format!("after={}&limit=2", all[1])), all[2..4]);
    assert_eq!(list("metadata%5Bodd%5D=true"), [all[1].clone(), all[3].clone()]);
    assert_eq!(list("metadata[odd]=true&metadata[number]=3"), [all[3].clone()]);
    assert_eq!(list("metadata[none]=x"), Vec::<String>::new());
    assert_eq!(list(&format!("model={}", MODEL.replace('/', "%2F"))), all);
    assert_eq!(list("model=other"), Vec::<String>::new());
    let page = live.get(&format!("{PATH}?metadata[odd]=false&limit=2")).good();
    assert_eq!((ids(&page).len(), &page["has_more"]), (2, &json!(true)));
    let last = page["last_id"].as_str().unwrap();
    let rest = live.get(&format!("{PATH}?metadata[odd]=false&limit=2&after={last}")).good();
    assert_eq!((ids(&rest), &rest["has_more"]), (vec![all[4].clone()], &json!(false)));
}

#[test]
fn nobody_sees_the_chats_of_another() {
    let live = keeping();
    let (ann, bob) = (live.key_of("ann"), live.key_of("bob"));
    let body = chat(json!({ "store": true }));
    let answer = live.ask(&ann, "POST", PATH, &body).good();
    let path = format!("{PATH}/{}", answer["id"].as_str().unwrap());
    let none = Value::Null;
    assert_eq!(live.ask(&ann, "GET", PATH, &none).good()["data"].as_array().unwrap().len(), 1);
    assert_eq!(live.ask(&bob, "GET", PATH, &none).good()["data"], json!([]));
    let refused = |reply: Reply| assert_eq!(reply.error(404)["code"], "not_found");
    refused(live.ask(&bob, "GET", &path, &none));
    refused(live.ask(&bob, "GET", &format!("{path}/messages"), &none));
    refused(live.ask(&bob, "POST", &path, &json!({ "metadata": {} })));
    refused(live.ask(&bob, "DELETE", &path, &none));
    let after = format!("{PATH}?after={}", answer["id"].as_str().unwrap());
    refused(live.ask(&bob, "GET", &after, &none));
    live.ask(&ann, "GET", &path, &none).good();
}

#[test]
fn where_nothing_is_kept_a_store_is_refused_by_name() {
    for storage in [None, Some(Keeps::Keys)] {
        let live = Live::start(Setup { storage, ..Setup::default() });
        let error = live.post(PATH, &chat(json!({ "store": true }))).error(400);
        assert_eq!(
            (&error["param"], &error["code"]),
            (&json!("store"), &json!("unsupported_parameter"))
        );
        for path in [PATH.to_owned(), format!("{PATH}/chatcmpl-1")] {
            assert_eq!(live.get(&path).error(400)["param"], "store");
        }
    }
}

#[test]
fn hostile_ids_cursors_and_metadata_are_refused() {
    let live = keeping();
    let long = "a".repeat(4000);
    for id in ["%00", "..%2F..", "a'b", "%F0%9F%98%80", "a%20OR%201=1", "chatcmpl-", &long] {
        for (method, path) in [
            ("GET", format!("{PATH}/{id}")),
            ("DELETE", format!("{PATH}/{id}")),
            ("GET", format!("{PATH}/{id}/messages")),
            ("GET", format!("{PATH}?after={id}")),
        ] {
            live.send(method, &path, &[], b"").error(404);
        }
    }
    live.get(&format!("{PATH}/%FF")).error(400);
    for query in ["limit=0", "limit=1000", "limit=1e9", "limit=-1", "order=x", "odd=1"] {
        live.get(&format!("{PATH}?{query}")).error(400);
    }
    let many: serde_json::Map<String, Value> =
        (0..17).map(|number| (number.to_string(), json!("x"))).collect();
    for (metadata, param) in [
        (json!([]), "metadata"),
        (json!({ "a": 1 }), "metadata.a"),
        (json!({ "a": null }), "metadata.a"),
        (json!({ "a": "x".repeat(513) }), "metadata.a"),
        (json!({ "k".repeat(65): "x" }), "metadata"),
        (Value::from(many), "metadata"),
    ] {
        let body = with(&chat(json!({ "store": true })), "metadata", metadata);
        assert_eq!(live.post(PATH, &body).error(400)["param"], param);
    }
}
