//! Turns responses into what outlives their request: chains, retrievals, background work, streams
//! that are taken up again, for their owner alone.

use serde_json::{Value, json};

use super::harness::{Keeps, Live, Reply, Setup, wait_for, with};
use super::responses::{
    PATH, asking, events, judge_events, judge_response, kinds, script, scripted, temperature,
};

fn keeping() -> Live {
    Live::start(Setup {
        script: Some(script()),
        storage: Some(Keeps::Everything),
        ..Setup::default()
    })
}

fn path_of(response: &Value) -> String {
    format!("{PATH}/{}", response["id"].as_str().expect("an id"))
}

fn said(response: &Value) -> &str {
    let output = response["output"].as_array().expect("items");
    let last = output.last().expect("an item");
    last["content"][0]["text"].as_str().expect("text")
}

fn delete(live: &Live, path: &str) -> Reply {
    live.send("DELETE", path, &[], b"")
}

#[test]
fn a_chain_goes_on_from_memory_and_from_the_store() {
    for (live, store) in
        [(scripted(), Value::Null), (keeping(), Value::Null), (keeping(), json!(true))]
    {
        let tools = json!({ "tools": temperature(), "store": store, "instructions": "Look." });
        let first = live.post(PATH, &asking("Warm?", tools.clone())).good();
        let call = first["output"][2]["call_id"].clone();
        let result =
            json!([{ "type": "function_call_output", "call_id": call, "output": "18 degrees" }]);
        let next = with(&asking("", tools), "input", result);
        let next = with(&next, "previous_response_id", first["id"].clone());
        let second = live.post(PATH, &next).good();
        judge_response(&second);
        assert_eq!(said(&second), "It is 18 degrees.");
        assert_eq!(second["previous_response_id"], first["id"]);
        // More of the dialogue, less of the instructions, which are not carried over.
        let third =
            json!({ "input": "And?", "previous_response_id": second["id"], "store": store });
        let third = live.post(PATH, &third).good();
        assert_eq!(third["instructions"], Value::Null);
        assert_eq!(said(&third), "It is 18 degrees.");
        let streamed = json!({ "input": "x", "previous_response_id": third["id"], "stream": true });
        judge_events(&events(&live.post(PATH, &streamed)));

        delete(&live, &path_of(&first)).good();
        let lost = json!({ "input": "x", "previous_response_id": third["id"] });
        let error = live.post(PATH, &lost).error(404);
        assert_eq!(error["param"], "previous_response_id");
        assert_eq!(error["code"], "previous_response_not_found");
    }
}

#[test]
fn a_stored_response_takes_what_is_in_memory_alone_with_it() {
    let live = keeping();
    let first = live.post(PATH, &asking("Nothing. 18 degrees", json!({}))).good();
    let next = json!({ "input": "And?", "previous_response_id": first["id"], "store": true });
    let second = live.post(PATH, &next).good();
    delete(&live, &path_of(&first)).good();
    let last = json!({ "input": "And?", "previous_response_id": second["id"] });
    assert_eq!(said(&live.post(PATH, &last).good()), "It is 18 degrees.");
}

#[test]
fn a_response_is_found_again_where_it_is_kept_and_nowhere_else() {
    let live = keeping();
    for (store, stored) in [(Value::Null, 0), (json!(true), 1)] {
        let whole = live.post(PATH, &asking("Hi", json!({ "store": store }))).good();
        let path = path_of(&whole);
        assert_eq!(live.get(&path).good(), whole);
        assert_eq!(whole["store"], true);
        let rows = &live.storage.as_ref().unwrap().store;
        let query = myriad_store::Query::of(myriad_store::Kind::Response, "default");
        let page = live.block_on(rows.list(&query)).unwrap().unwrap();
        assert_eq!(page.documents.len(), stored, "only what asks for it reaches the disk");
        let input = live.get(&format!("{path}/input_items")).good();
        assert_eq!(input["data"][0]["content"], json!([{ "type": "input_text", "text": "Hi" }]));
        assert_eq!(input["first_id"], input["data"][0]["id"]);
        let gone = delete(&live, &path).good();
        assert_eq!(gone, json!({ "id": whole["id"], "object": "response", "deleted": true }));
        live.get(&path).error(404);
        live.get(&format!("{path}/input_items")).error(404);
        delete(&live, &path).error(404);
    }
    let nowhere = live.post(PATH, &asking("Hi", json!({ "store": false }))).good();
    live.get(&path_of(&nowhere)).error(404);
    let next = json!({ "input": "x", "previous_response_id": nowhere["id"] });
    live.post(PATH, &next).error(404);
}

#[test]
fn input_items_have_pages_and_references_find_outputs() {
    let live = scripted();
    let items: Vec<Value> =
        (0..5).map(|at| json!({ "role": "user", "content": at.to_string() })).collect();
    let whole = live.post(PATH, &json!({ "input": items })).good();
    let path = format!("{}/input_items", path_of(&whole));
    let texts = |query: &str| -> Vec<String> {
        let page = live.get(&format!("{path}?{query}")).good();
        let data = page["data"].as_array().unwrap().iter();
        data.map(|item| item["content"][0]["text"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(texts(""), ["4", "3", "2", "1", "0"]);
    assert_eq!(texts("order=asc&limit=2"), ["0", "1"]);
    let page = live.get(&format!("{path}?order=asc&limit=2")).good();
    let last = page["last_id"].as_str().unwrap();
    assert_eq!(page["has_more"], true);
    assert_eq!(texts(&format!("order=asc&after={last}&include[]=x")), ["2", "3", "4"]);
    live.get(&format!("{path}?after=nothing")).error(404);

    let answer = &whole["output"][0]["id"];
    let input = json!([
        { "role": "user", "content": "a" }, { "type": "item_reference", "id": answer },
        { "role": "user", "content": "b" },
    ]);
    let next = live.post(PATH, &json!({ "input": input })).good();
    let listed = live.get(&format!("{}/input_items?order=asc", path_of(&next))).good();
    assert_eq!(listed["data"][1], whole["output"][0]);
    let odd = json!([{ "type": "item_reference", "id": format!("{}9", answer.as_str().unwrap()) }]);
    assert_eq!(live.post(PATH, &json!({ "input": odd })).error(404)["param"], "input[0]");
}

#[test]
fn background_work_goes_on_without_its_client() {
    let live = scripted();
    let begun = live.post(PATH, &asking("Slowly.", json!({ "background": true }))).good();
    judge_response(&begun);
    assert!(["queued", "in_progress"].contains(&begun["status"].as_str().unwrap()));
    assert_eq!(begun["background"], true);
    let path = path_of(&begun);
    let next = json!({ "input": "x", "previous_response_id": begun["id"] });
    assert_eq!(live.post(PATH, &next).error(400)["param"], "previous_response_id");
    let whole = wait_for(|| Some(live.get(&path).good()).filter(|it| it["status"] == "completed"));
    judge_response(&whole);
    assert_eq!(said(&whole), "one two three four five six seven eight");
    live.post(PATH, &next).good();
    // What has ended stays as it is.
    assert_eq!(live.post(&format!("{path}/cancel"), &json!({})).good(), whole);

    let streamed = asking("Slowly.", json!({ "background": true, "stream": true }));
    let mut stream = live.begin(PATH, &streamed);
    let mut seen = Vec::new();
    let mut piece = [0; 4096];
    while !String::from_utf8_lossy(&seen).contains("response.output_text.delta") {
        let count = std::io::Read::read(&mut stream, &mut piece).expect("events");
        seen.extend_from_slice(&piece[..count]);
    }
    drop(stream);
    let seen = String::from_utf8_lossy(&seen).into_owned();
    let id = &seen[seen.find("resp_").expect("an id")..][.."resp_".len() + 32];
    let taken_up = events(&live.get(&format!("{PATH}/{id}?stream=true&starting_after=3")));
    assert_eq!(taken_up[0]["sequence_number"], 4);
    assert_eq!(taken_up.last().unwrap()["type"], "response.completed");
    let all = events(&live.get(&format!("{PATH}/{id}?stream=true")));
    judge_events(&all);
    assert_eq!(kinds(&all)[..3], ["response.created", "response.queued", "response.in_progress"]);
    assert_eq!(all[4..], taken_up[..]);
}

#[test]
fn background_work_can_be_cancelled_deleted_and_can_fail() {
    let live = scripted();
    let slow = asking("Slowly.", json!({ "background": true }));
    let begun = live.post(PATH, &slow).good();
    let cancelled = live.post(&format!("{}/cancel", path_of(&begun)), &json!({})).good();
    judge_response(&cancelled);
    assert_eq!(cancelled["status"], "cancelled");
    assert_eq!(live.get(&path_of(&begun)).good(), cancelled);
    assert_eq!(live.post(&format!("{}/cancel", path_of(&begun)), &json!({})).good(), cancelled);
    judge_events(&events(&live.get(&format!("{}?stream=true", path_of(&begun)))));

    let begun = live.post(PATH, &slow).good();
    delete(&live, &path_of(&begun)).good();
    live.get(&path_of(&begun)).error(404);
    live.wait_until_idle();

    let begun = live.post(PATH, &asking("Break.", json!({ "background": true }))).good();
    let path = path_of(&begun);
    let failed = wait_for(|| Some(live.get(&path).good()).filter(|it| it["status"] == "failed"));
    judge_response(&failed);
    assert_eq!(failed["error"]["code"], "server_error");

    let whole = live.post(PATH, &asking("Hi", json!({}))).good();
    let error = live.post(&format!("{}/cancel", path_of(&whole)), &json!({})).error(400);
    assert_eq!(error["param"], "background");
    assert_eq!(live.get(&format!("{}?stream=true", path_of(&whole))).error(400)["param"], "stream");
    let error = live.get(&format!("{}?starting_after=1", path_of(&whole))).error(400);
    assert_eq!(error["param"], "starting_after");
}

#[test]
fn a_client_that_goes_away_ends_what_runs_for_it_alone() {
    let live = scripted();
    let tokens = || {
        let metrics = live.get("/metrics");
        let mut lines = metrics.text().lines();
        let line = lines.find(|line| line.starts_with("vllm:generation_tokens_total"));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).expect("a count")
    };
    for stream in [true, false] {
        let before = tokens();
        let body = asking("Slowly.", json!({ "stream": stream })).to_string();
        let mut connection = live.connect();
        let length = body.len();
        let head =
            format!("POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n");
        std::io::Write::write_all(&mut connection, (head + &body).as_bytes()).expect("a request");
        wait_for(|| (live.runtime.stats().running == 1).then_some(()));
        drop(connection);
        wait_for(|| (live.runtime.stats().running == 0).then_some(()));
        // The whole answer would be 39 tokens.
        assert!(tokens() - before < 30.0, "{} tokens", tokens() - before);
    }
}

#[test]
fn a_finished_stream_can_be_read_again() {
    let live = keeping();
    for store in [Value::Null, json!(true)] {
        let body =
            asking("Warm?", json!({ "stream": true, "tools": temperature(), "store": store }));
        let first = events(&live.post(PATH, &body));
        let path = path_of(&first[0]["response"]);
        assert_eq!(events(&live.get(&format!("{path}?stream=true"))), first);
        let after = first.len() - 2;
        let rest = events(&live.get(&format!("{path}?stream=true&starting_after={after}")));
        assert_eq!(rest, first[first.len() - 1..]);
        assert_eq!(live.get(&path).good(), first.last().unwrap()["response"]);
        let end = format!("{path}?stream=true&starting_after={}", u32::MAX);
        assert_eq!(events(&live.get(&end)), Vec::<Value>::new());
    }
}

#[test]
fn nobody_sees_the_responses_of_another() {
    let live = keeping();
    let (ann, bob) = (live.key_of("ann"), live.key_of("bob"));
    let none = Value::Null;
    for fields in [json!({}), json!({ "store": true }), json!({ "background": true })] {
        let whole = live.ask(&ann, "POST", PATH, &asking("Slowly.", fields)).good();
        let path = path_of(&whole);
        live.ask(&ann, "GET", &path, &none).good();
        for (method, path) in [
            ("GET", path.clone()),
            ("GET", format!("{path}?stream=true")),
            ("GET", format!("{path}/input_items")),
            ("POST", format!("{path}/cancel")),
            ("DELETE", path.clone()),
        ] {
            live.ask(&bob, method, &path, &none).error(404);
        }
        let next = json!({ "input": "x", "previous_response_id": whole["id"] });
        assert_eq!(live.ask(&bob, "POST", PATH, &next).error(404)["param"], "previous_response_id");
        if let Some(item) = whole["output"][0]["id"].as_str() {
            let input = json!([{ "type": "item_reference", "id": item }]);
            live.ask(&bob, "POST", PATH, &json!({ "input": input })).error(404);
        }
        live.ask(&ann, "GET", &path, &none).good();
    }
}

#[test]
fn without_content_memory_remembers_and_the_disk_does_not() {
    let setup = Setup { script: Some(script()), storage: Some(Keeps::Keys), ..Setup::default() };
    let live = Live::start(setup);
    let whole = live.post(PATH, &asking("Hi", json!({}))).good();
    assert_eq!(live.get(&path_of(&whole)).good(), whole);
    let error = live.post(PATH, &asking("Hi", json!({ "store": true }))).error(400);
    assert_eq!(
        (&error["param"], &error["code"]),
        (&json!("store"), &json!("unsupported_parameter"))
    );
    assert_eq!(live.post("/v1/conversations", &json!({})).error(400)["param"], "conversation");
}
