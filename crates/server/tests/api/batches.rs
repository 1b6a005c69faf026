//! Turns files of requests into files of answers: as the requests would be answered by themselves.

use std::io::{Read, Write};

use myriad_server::ServerConfig;
use myriad_store::{Change, Document, Kind, NewKey};
use serde_json::{Value, json};

use crate::harness::{Keeps, Live, MODEL, Setup, chat, wait_for, with};

const PATH: &str = "/v1/batches";
const CHATS: &str = "/v1/chat/completions";

fn setup() -> Setup {
    Setup {
        storage: Some(Keeps::Everything),
        script: Some(json!({ "answers": [
            { "when": "slow", "text": "I think.", "first_token_ms": 60_000 },
            { "text": "I am a script." },
        ] })),
        config: ServerConfig { port: 0, ..ServerConfig::default() },
        ..Setup::default()
    }
}

fn start() -> Live {
    Live::start(setup())
}

fn line(id: &str, body: &Value) -> String {
    json!({ "custom_id": id, "method": "POST", "url": CHATS, "body": body }).to_string()
}

/// A batch of these lines, for the owner that the headers say.
fn begin(live: &Live, headers: &[(&str, &str)], lines: &[String]) -> Value {
    let file = live.upload(headers, "batch", lines.join("\n").as_bytes());
    let body = wish(&file["id"]).to_string();
    let batch = live.send("POST", PATH, headers, body.as_bytes()).good();
    assert_eq!(batch["status"], "validating");
    assert_eq!(batch["request_counts"], json!({ "total": 0, "completed": 0, "failed": 0 }));
    batch
}

fn wish(input: &Value) -> Value {
    json!({ "input_file_id": input, "endpoint": CHATS, "completion_window": "24h" })
}

fn show(live: &Live, headers: &[(&str, &str)], batch: &Value) -> Value {
    let path = format!("{PATH}/{}", batch["id"].as_str().unwrap());
    live.send("GET", &path, headers, b"").good()
}

/// The batch once it has this status.
fn until(live: &Live, batch: &Value, status: &str) -> Value {
    wait_for(|| Some(show(live, &[], batch)).filter(|batch| batch["status"] == status))
}

/// Lines of a file.
fn read(live: &Live, file: &Value) -> Vec<Value> {
    let path = format!("/v1/files/{}/content", file.as_str().unwrap());
    let reply = live.get(&path);
    assert_eq!(reply.status, 200);
    reply.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// An answer without what differs from request to request.
fn essence(body: &Value) -> Value {
    with(&with(body, "id", json!("")), "created", json!(0))
}

#[test]
fn each_line_is_answered_as_the_request_itself() {
    let live = start();
    let good = chat(json!({ "max_tokens": 9, "logprobs": true }));
    let wrong = chat(json!({ "temperature": "warm" }));
    let streamed = chat(json!({ "stream": true }));
    let lines = [line("a", &good), String::new(), line("ü", &wrong), line("s", &streamed)];
    let metadata = json!({ "who": "me" });
    let file = live.upload(&[], "batch", lines.join("\n").as_bytes());
    let wish = with(&wish(&file["id"]), "metadata", metadata.clone());
    let expiry = json!({ "anchor": "created_at", "seconds": 7200 });
    let batch = live.post(PATH, &with(&wish, "output_expires_after", expiry)).good();
    let done = until(&live, &batch, "completed");
    assert_eq!(done["request_counts"], json!({ "total": 3, "completed": 1, "failed": 2 }));
    assert_eq!((&done["metadata"], &done["errors"]), (&metadata, &Value::Null));
    let created = done["created_at"].as_i64().unwrap();
    assert_eq!(done["expires_at"].as_i64(), Some(created + 86_400));
    for time in ["in_progress_at", "finalizing_at", "completed_at"] {
        assert!(done[time].as_i64().unwrap() >= created, "{time}");
    }
    for time in ["failed_at", "expired_at", "cancelling_at", "cancelled_at"] {
        assert_eq!(done[time], Value::Null, "{time}");
    }

    let output = read(&live, &done["output_file_id"]);
    assert_eq!(output.len(), 1);
    assert!(output[0]["id"].as_str().unwrap().starts_with("batch_req_"));
    assert_eq!((&output[0]["custom_id"], &output[0]["error"]), (&json!("a"), &Value::Null));
    let response = &output[0]["response"];
    assert_eq!(response["status_code"], 200);
    assert!(response["request_id"].as_str().unwrap().starts_with("req_"));
    let direct = live.post(CHATS, &good).good();
    assert_eq!(essence(&response["body"]), essence(&direct));
    assert_eq!(done["usage"]["input_tokens"], direct["usage"]["prompt_tokens"]);
    assert_eq!(done["usage"]["total_tokens"], direct["usage"]["total_tokens"]);

    let errors = read(&live, &done["error_file_id"]);
    assert_eq!((&errors[0]["custom_id"], &errors[1]["custom_id"]), (&json!("ü"), &json!("s")));
    let direct = live.post(CHATS, &wrong);
    assert_eq!(errors[0]["response"]["body"]["error"], direct.error(400));
    assert_eq!(errors[0]["response"]["status_code"], 400);
    assert_eq!(errors[1]["response"]["body"]["error"]["param"], "stream");
    let file = format!("/v1/files/{}", done["error_file_id"].as_str().unwrap());
    let file = live.get(&file).good();
    assert_eq!(file["purpose"], "batch_output");
    let name = format!("{}_error.jsonl", batch["id"].as_str().unwrap());
    assert_eq!(file["filename"], name);
    let seconds = file["expires_at"].as_i64().unwrap() - file["created_at"].as_i64().unwrap();
    assert_eq!(seconds, 7200);
    let metrics = live.get("/metrics");
    assert!(metrics.text().contains(CHATS), "lines count as requests");
}

#[test]
fn vectors_are_made_in_batches_too() {
    let live = Live::start(Setup { script: None, ..setup() });
    let path = "/v1/embeddings";
    let body = json!({ "model": MODEL, "input": "the sea" });
    let line = json!({ "custom_id": "a", "method": "POST", "url": path, "body": body });
    let file = live.upload(&[], "batch", line.to_string().as_bytes());
    let batch = live.post(PATH, &with(&wish(&file["id"]), "endpoint", json!(path))).good();
    let done = until(&live, &batch, "completed");
    let output = read(&live, &done["output_file_id"]);
    let direct = live.post(path, &body).good();
    assert_eq!(output[0]["response"]["body"]["data"], direct["data"]);
    assert_eq!(done["model"], MODEL);
    assert_eq!(done["usage"]["input_tokens"], direct["usage"]["prompt_tokens"]);
}

#[test]
fn wrong_lines_fail_a_batch_before_it_begins() {
    let live = start();
    let good = chat(json!({}));
    let lines = [line("a", &good), line("a", &good), "no JSON".into()];
    let failed = until(&live, &begin(&live, &[], &lines), "failed");
    assert!(failed["failed_at"].is_i64() && failed["in_progress_at"].is_null());
    let errors = failed["errors"]["data"].as_array().unwrap();
    assert_eq!(failed["errors"]["object"], "list");
    assert_eq!(errors.len(), 2);
    assert_eq!(errors[0]["code"], "duplicate_custom_id");
    assert_eq!((&errors[0]["line"], &errors[0]["param"]), (&json!(2), &json!("custom_id")));
    assert_eq!((&errors[1]["code"], &errors[1]["line"]), (&json!("invalid_json_line"), &json!(3)));
    assert_eq!(failed["output_file_id"], Value::Null);
    let empty = until(&live, &begin(&live, &[], &["\n".into()]), "failed");
    assert_eq!(empty["errors"]["data"][0]["code"], "empty_file");
    let model = line("a", &chat(json!({ "model": "no-such" })));
    let failed = until(&live, &begin(&live, &[], &[model]), "failed");
    assert_eq!(failed["errors"]["data"][0]["code"], "model_not_found");
    live.post(&format!("{PATH}/{}/cancel", failed["id"].as_str().unwrap()), &json!({})).error(400);
}

#[test]
fn wishes_that_cannot_be_met_are_refused_by_name() {
    let live = start();
    let file = live.upload(&[], "batch", line("a", &chat(json!({}))).as_bytes());
    let other = live.upload(&[], "user_data", b"{}");
    let wish = wish(&file["id"]);
    for (name, value, param) in [
        ("input_file_id", json!(null), "input_file_id"),
        ("input_file_id", other["id"].clone(), "input_file_id"),
        ("endpoint", json!(null), "endpoint"),
        ("endpoint", json!("/v1/images/edits"), "endpoint"),
        ("endpoint", json!("/v1/models"), "endpoint"),
        ("completion_window", json!(null), "completion_window"),
        ("completion_window", json!("1h"), "completion_window"),
        ("metadata", json!([]), "metadata"),
        ("metadata", json!({ "a": 1 }), "metadata.a"),
        ("metadata", json!({ "a": "b".repeat(513) }), "metadata.a"),
        ("output_expires_after", json!({ "anchor": "created_at" }), "output_expires_after.seconds"),
        ("color", json!("red"), "color"),
    ] {
        let error = live.post(PATH, &with(&wish, name, value)).error(400);
        assert_eq!(error["param"], param, "{name}");
    }
    let error = live.post(PATH, &with(&wish, "input_file_id", json!("file-1"))).error(404);
    assert_eq!(error["param"], "input_file_id");
    live.get(&format!("{PATH}/batch_1")).error(404);
    live.post(&format!("{PATH}/batch_1/cancel"), &json!({})).error(404);
}

#[test]
fn a_batch_that_is_given_up_keeps_what_it_has() {
    let live = start();
    let slow = chat(json!({ "messages": [{ "role": "user", "content": "slow" }] }));
    let mut lines = vec![line("quick", &chat(json!({})))];
    lines.extend((0..20).map(|n| line(&format!("slow {n}"), &slow)));
    let batch = begin(&live, &[], &lines);
    let half = wait_for(|| {
        Some(show(&live, &[], &batch)).filter(|batch| batch["request_counts"]["completed"] == 1)
    });
    assert_eq!(
        (&half["status"], &half["request_counts"]["total"]),
        (&json!("in_progress"), &json!(21))
    );
    // Nobody waits behind a batch.
    live.post(CHATS, &chat(json!({}))).good();
    let path = format!("{PATH}/{}/cancel", batch["id"].as_str().unwrap());
    let cancelling = live.post(&path, &json!({})).good();
    assert!(cancelling["cancelling_at"].is_i64());
    assert_eq!(cancelling["status"], "cancelling");
    let done = until(&live, &batch, "cancelled");
    assert!(done["cancelled_at"].is_i64());
    assert_eq!(done["request_counts"], json!({ "total": 21, "completed": 1, "failed": 20 }));
    assert_eq!(read(&live, &done["output_file_id"])[0]["custom_id"], "quick");
    let errors = read(&live, &done["error_file_id"]);
    assert_eq!(errors.len(), 20);
    assert_eq!(errors[0]["error"]["code"], "batch_cancelled");
    assert_eq!(errors[0]["response"], Value::Null);
    live.post(&path, &json!({})).error(400);
    live.wait_until_idle();
}

#[test]
fn a_batch_whose_time_is_over_keeps_what_it_has() {
    let live = start();
    let file = live.upload(&[], "batch", line("a", &chat(json!({}))).as_bytes());
    // A batch as it would stand there if the server had been away for a day.
    let slow = chat(json!({ "messages": [{ "role": "user", "content": "slow" }] }));
    let batch = begin(&live, &[], &[line("b", &slow)]);
    until(&live, &batch, "in_progress");
    let store = &live.storage.as_ref().unwrap().store;
    let id = batch["id"].as_str().unwrap();
    let found = live.block_on(store.document(Kind::Batch, "default", id)).unwrap().unwrap();
    let mut body: Value = serde_json::from_str(&found.body).unwrap();
    body["batch"]["id"] = json!("batch_old");
    body["batch"]["expires_at"] = json!(1);
    body["output_file"] = json!("file-old-output");
    body["error_file"] = json!("file-old-error");
    let old = Document {
        id: "batch_old".into(),
        body: body.to_string(),
        ..Document::new(Kind::Batch, "default", "", found.position + 1)
    };
    let old = Document { state: "in_progress".into(), blob: found.blob, ..old };
    live.block_on(store.commit(Change::new().insert(old))).unwrap();
    // Any new batch makes the server look.
    live.post(PATH, &wish(&file["id"])).good();
    let done = until(&live, &json!({ "id": "batch_old" }), "expired");
    assert!(done["expired_at"].is_i64());
    let errors = read(&live, &done["error_file_id"]);
    assert_eq!(errors[0]["error"]["code"], "batch_expired");
}

#[test]
fn batches_go_on_when_their_input_is_deleted() {
    let live = start();
    let lines: Vec<_> = (0..50).map(|n| line(&n.to_string(), &chat(json!({})))).collect();
    let batch = begin(&live, &[], &lines);
    let file = format!("/v1/files/{}", batch["input_file_id"].as_str().unwrap());
    live.send("DELETE", &file, &[], b"").good();
    let done = until(&live, &batch, "completed");
    let output = read(&live, &done["output_file_id"]);
    let ids: Vec<_> = output.iter().map(|line| line["custom_id"].as_str().unwrap()).collect();
    let right: Vec<_> = (0..50).map(|n| n.to_string()).collect();
    assert_eq!(ids, right, "answers stand in the order of the requests");
    wait_for(|| (live.contents() == 1).then_some(()));
}

#[test]
fn batches_of_others_are_not_there() {
    let live = start();
    let keys = &live.storage.as_ref().unwrap().keys;
    let key = |owner| live.block_on(keys.create(NewKey { owner, name: "k", expires_at: None }, 0));
    let (mine, yours) = (key("me").unwrap().1, key("you").unwrap().1);
    let (mine, yours) = ([("x-api-key", &*mine)], [("x-api-key", &*yours)]);
    let batch = begin(&live, &mine, &[line("a", &chat(json!({})))]);
    let path = format!("{PATH}/{}", batch["id"].as_str().unwrap());
    live.send("GET", &path, &yours, b"").error(404);
    live.send("POST", &format!("{path}/cancel"), &yours, b"").error(404);
    let theirs = live.send("GET", PATH, &yours, b"").good();
    assert_eq!((&theirs["data"], &theirs["has_more"]), (&json!([]), &json!(false)));
    let input = wish(&batch["input_file_id"]).to_string();
    live.send("POST", PATH, &yours, input.as_bytes()).error(404);
    let done = wait_for(|| {
        Some(show(&live, &mine, &batch)).filter(|batch| batch["status"] == "completed")
    });
    let output = format!("/v1/files/{}/content", done["output_file_id"].as_str().unwrap());
    live.send("GET", &output, &yours, b"").error(404);
    assert_eq!(live.send("GET", &output, &mine, b"").status, 200);
}

#[test]
fn lists_of_batches_have_pages() {
    let live = start();
    let one = [line("a", &chat(json!({})))];
    let made: Vec<_> = (0..3).map(|_| begin(&live, &[], &one)["id"].clone()).collect();
    let page = live.get(&format!("{PATH}?limit=2")).good();
    let ids = |page: &Value| -> Vec<Value> {
        page["data"].as_array().unwrap().iter().map(|batch| batch["id"].clone()).collect()
    };
    assert_eq!(
        (ids(&page), &page["has_more"]),
        (vec![made[2].clone(), made[1].clone()], &json!(true))
    );
    let path = format!("{PATH}?limit=2&after={}", page["last_id"].as_str().unwrap());
    let rest = live.get(&path).good();
    assert_eq!((ids(&rest), &rest["has_more"]), (vec![made[0].clone()], &json!(false)));
    assert_eq!(live.get(&format!("{PATH}?order=asc")).error(400)["param"], "order");
    assert_eq!(live.get(&format!("{PATH}?limit=101")).error(400)["param"], "limit");
}

#[test]
fn requests_of_people_come_before_those_of_batches() {
    // One place: a batch that took no care would hold it always.
    let config = ServerConfig { port: 0, batch_lines: 4, ..ServerConfig::default() };
    let live = Live::start(Setup {
        script: None,
        parallel: 1,
        storage: Some(Keeps::Everything),
        config,
        ..Setup::default()
    });
    let body = chat(json!({ "max_tokens": 40, "ignore_eos": true }));
    let lines: Vec<_> = (0..400).map(|n| line(&n.to_string(), &body)).collect();
    let batch = begin(&live, &[], &lines);
    wait_for(|| {
        let count = show(&live, &[], &batch)["request_counts"]["completed"].as_u64();
        count.filter(|count| *count > 2)
    });
    let before = show(&live, &[], &batch)["request_counts"]["completed"].as_u64().unwrap();
    // Four people ask all the time.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5 {
                    live.post(CHATS, &body).good();
                }
            });
        }
    });
    let after = show(&live, &[], &batch)["request_counts"]["completed"].as_u64().unwrap();
    assert!(after - before <= 10, "{} lines were answered before 20 people", after - before);
    live.post(&format!("{PATH}/{}/cancel", batch["id"].as_str().unwrap()), &json!({})).good();
    until(&live, &batch, "cancelled");
}

#[test]
fn a_stopped_server_answers_no_more_lines() {
    let mut live = start();
    let slow = chat(json!({ "messages": [{ "role": "user", "content": "slow" }] }));
    let batch = begin(&live, &[], &[line("a", &slow)]);
    until(&live, &batch, "in_progress");
    let started = std::time::Instant::now();
    live.signal();
    live.join();
    assert!(started.elapsed().as_secs() < 9, "a line of a minute does not hold it up");
    let mut none = Vec::new();
    if let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", live.port)) {
        let _ = stream.write_all(b"GET /health HTTP/1.1\r\n\r\n");
        let _ = stream.read_to_end(&mut none);
    }
    assert!(none.is_empty());
}
