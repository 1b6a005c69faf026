//! Turns conversations into items that stay, and responses into items of theirs.

use serde_json::{Value, json};

use super::harness::{Keeps, Live, Setup};
use super::responses::{
    PATH as RESPONSES, asking, events, judge_events, judge_response, script, temperature,
};

const PATH: &str = "/v1/conversations";

fn keeping() -> Live {
    Live::start(Setup {
        script: Some(script()),
        storage: Some(Keeps::Everything),
        ..Setup::default()
    })
}

fn path_of(conversation: &Value) -> String {
    format!("{PATH}/{}", conversation["id"].as_str().expect("an id"))
}

fn delete(live: &Live, path: &str) -> Value {
    live.send("DELETE", path, &[], b"").good()
}

/// Types of the items, the oldest first.
fn items(live: &Live, conversation: &Value) -> Vec<Value> {
    let page = live.get(&format!("{}/items?order=asc&limit=100", path_of(conversation))).good();
    page["data"].as_array().expect("items").clone()
}

fn types(items: &[Value]) -> Vec<&str> {
    items.iter().map(|item| item["type"].as_str().expect("a type")).collect()
}

#[test]
fn a_conversation_is_made_shown_changed_and_deleted() {
    let live = keeping();
    let made = live.post(PATH, &json!({ "metadata": { "a": "b" } })).good();
    assert!(made["id"].as_str().unwrap().starts_with("conv_"));
    assert_eq!(made["object"], "conversation");
    assert_eq!(made["metadata"], json!({ "a": "b" }));
    assert!(made["created_at"].as_u64().unwrap() > 1_700_000_000);
    let path = path_of(&made);
    assert_eq!(live.get(&path).good(), made);
    let changed = live.post(&path, &json!({ "metadata": { "c": "d" } })).good();
    assert_eq!(changed["metadata"], json!({ "c": "d" }));
    assert_eq!((&changed["id"], &changed["created_at"]), (&made["id"], &made["created_at"]));
    assert_eq!(live.get(&path).good(), changed);
    live.post(&path, &json!({})).error(400);
    let gone = json!({ "id": made["id"], "object": "conversation.deleted", "deleted": true });
    assert_eq!(delete(&live, &path), gone);
    live.get(&path).error(404);
    live.get(&format!("{path}/items")).error(404);
    // A body is not needed.
    assert_eq!(live.send("POST", PATH, &[], b"").good()["metadata"], json!({}));
}

#[test]
fn items_are_added_listed_shown_and_deleted() {
    let live = keeping();
    let first = json!([{ "role": "user", "content": "0" }]);
    let made = live.post(PATH, &json!({ "items": first })).good();
    let path = format!("{}/items", path_of(&made));
    let more = json!([
        { "type": "message", "role": "assistant", "id": "msg_own", "content": "1" },
        { "type": "function_call", "call_id": "c", "name": "f", "arguments": "{}" },
        { "type": "function_call_output", "call_id": "c", "output": "2" },
        { "type": "reasoning", "id": "rs", "summary": [{ "type": "summary_text", "text": "3" }] },
    ]);
    let added = live.post(&path, &json!({ "items": more })).good();
    assert_eq!((&added["object"], &added["has_more"]), (&json!("list"), &json!(false)));
    let all = items(&live, &made);
    let order = ["message", "message", "function_call", "function_call_output", "reasoning"];
    assert_eq!(types(&all), order);
    assert_eq!(all[1..], *added["data"].as_array().unwrap());
    assert_ne!(all[1]["id"], "msg_own", "items get names of their own");
    assert_eq!(all[0]["content"], json!([{ "type": "input_text", "text": "0" }]));

    let id = |at: usize| all[at]["id"].as_str().unwrap();
    let page = live.get(&format!("{path}?limit=2&after={}", id(4))).good();
    assert_eq!(page["data"], json!([all[3], all[2]]));
    assert_eq!((&page["last_id"], &page["has_more"]), (&all[2]["id"], &json!(true)));
    assert_eq!(live.get(&format!("{path}/{}?include[]=x", id(2))).good(), all[2]);
    assert_eq!(delete(&live, &format!("{path}/{}", id(2))), made);
    live.get(&format!("{path}/{}", id(2))).error(404);
    live.get(&format!("{path}?after={}", id(2))).error(404);
    assert_eq!(items(&live, &made).len(), 4);

    let many: Vec<Value> = (0..21).map(|_| json!({ "role": "user", "content": "x" })).collect();
    assert_eq!(live.post(&path, &json!({ "items": many })).error(400)["param"], "items");
    assert_eq!(live.post(&path, &json!({})).error(400)["param"], "items");
    let odd = json!({ "items": [{ "role": "user" }] });
    assert_eq!(live.post(&path, &odd).error(400)["param"], "items[0].content");
    assert_eq!(live.post(PATH, &json!({ "odd": 1 })).error(400)["param"], "odd");
}

#[test]
fn a_response_goes_on_in_a_conversation_and_adds_to_it() {
    let live = keeping();
    let made =
        live.post(PATH, &json!({ "items": [{ "role": "developer", "content": "Look." }] })).good();
    let fields = json!({ "conversation": made["id"], "tools": temperature() });
    let first = live.post(RESPONSES, &asking("Warm?", fields)).good();
    judge_response(&first);
    assert_eq!(first["conversation"], json!({ "id": made["id"] }));
    let all = items(&live, &made);
    assert_eq!(types(&all), ["message", "message", "reasoning", "message", "function_call"]);
    assert_eq!(all[2..], first["output"].as_array().unwrap()[..]);
    let input =
        live.get(&format!("{RESPONSES}/{}/input_items", first["id"].as_str().unwrap())).good();
    assert_eq!(input["data"], json!([all[1]]));

    let result = json!([{ "type": "function_call_output", "call_id": all[4]["call_id"],
                          "output": "18 degrees" }]);
    let next = json!({ "input": result, "conversation": { "id": made["id"] }, "stream": true });
    let streamed = events(&live.post(RESPONSES, &next));
    judge_events(&streamed);
    let said = &streamed.last().unwrap()["response"]["output"][1]["content"][0]["text"];
    assert_eq!(said, "It is 18 degrees.");
    assert_eq!(items(&live, &made).len(), 8);

    // What breaks adds nothing.
    let other = live.post(PATH, &json!({})).good();
    let breaks = asking("Break.", json!({ "conversation": other["id"] }));
    live.post(RESPONSES, &breaks).error(500);
    assert_eq!(items(&live, &other), Vec::<Value>::new());
    let none = json!({ "conversation": "conv_none", "input": "x" });
    assert_eq!(live.post(RESPONSES, &none).error(404)["param"], "conversation");
}

#[test]
fn responses_at_the_same_time_all_add_to_a_conversation() {
    let live = keeping();
    let made = live.post(PATH, &json!({})).good();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let (live, made) = (&live, &made);
            scope.spawn(move || {
                let body = asking("Hi", json!({ "conversation": made["id"] }));
                live.post(RESPONSES, &body).good();
            });
        }
    });
    assert_eq!(items(&live, &made).len(), 8);
}

#[test]
fn a_conversation_that_is_deleted_meanwhile_gets_nothing() {
    let live = keeping();
    let made = live.post(PATH, &json!({})).good();
    let body = asking("Slowly.", json!({ "conversation": made["id"], "background": true }));
    let begun = live.post(RESPONSES, &body).good();
    delete(&live, &path_of(&made));
    live.wait_until_idle();
    let path = format!("{RESPONSES}/{}", begun["id"].as_str().unwrap());
    super::harness::wait_for(|| (live.get(&path).status == 404).then_some(()));
    let store = &live.storage.as_ref().unwrap().store;
    let parts = store.count_parts(myriad_store::Kind::Item, made["id"].as_str().unwrap());
    assert_eq!(live.block_on(parts).unwrap(), 0);
}

#[test]
fn nobody_sees_the_conversations_of_another_and_hostile_names_do_no_harm() {
    let live = keeping();
    let (ann, bob) = (live.key_of("ann"), live.key_of("bob"));
    let body = json!({ "items": [{ "role": "user", "content": "secret" }] });
    let made = live.ask(&ann, "POST", PATH, &body).good();
    let path = path_of(&made);
    let listed = live.ask(&ann, "GET", &format!("{path}/items"), &Value::Null).good();
    let item = listed["data"][0]["id"].as_str().unwrap();
    let mut others = vec![path.clone()];
    for id in ["%00", "..%2F..", "a'b", "%F0%9F%98%80", &"a".repeat(3000)] {
        others.push(format!("{PATH}/{id}"));
    }
    let metadata = json!({ "metadata": {} });
    for path in &others {
        for (method, path, body) in [
            ("GET", path.clone(), &Value::Null),
            ("POST", path.clone(), &metadata),
            ("DELETE", path.clone(), &Value::Null),
            ("GET", format!("{path}/items"), &Value::Null),
            ("POST", format!("{path}/items"), &body),
            ("GET", format!("{path}/items/{item}"), &Value::Null),
            ("DELETE", format!("{path}/items/{item}"), &Value::Null),
        ] {
            live.ask(&bob, method, &path, body).error(404);
        }
    }
    let next = json!({ "input": "x", "conversation": made["id"] });
    live.ask(&bob, "POST", RESPONSES, &next).error(404);
    for query in ["after=%00", "after=x", "after=.."] {
        live.ask(&ann, "GET", &format!("{path}/items?{query}"), &Value::Null).error(404);
    }
    let kept = live.ask(&ann, "GET", &format!("{path}/items"), &Value::Null).good();
    assert_eq!(kept, listed);
}
