//! Turns parts in any order into one file, once, within limits of size, number and time.

use myriad_server::ServerConfig;
use myriad_store::{Change, Document, Kind, NewKey};
use serde_json::{Value, json};

use crate::harness::{FORM, Keeps, Live, Reply, Setup, form, with};

const PATH: &str = "/v1/uploads";

fn start(config: ServerConfig) -> Live {
    Live::start(Setup {
        storage: Some(Keeps::Everything),
        script: Some(json!({ "answers": [{ "text": "Yes." }] })),
        config: ServerConfig { port: 0, ..config },
        ..Setup::default()
    })
}

fn wish(bytes: usize) -> Value {
    json!({ "filename": "a.jsonl", "purpose": "batch", "bytes": bytes, "mime_type": "text/jsonl" })
}

fn create(live: &Live, bytes: usize) -> String {
    let upload = live.post(PATH, &wish(bytes)).good();
    assert_eq!((&upload["object"], &upload["status"]), (&json!("upload"), &json!("pending")));
    assert_eq!(upload["bytes"], bytes);
    assert_eq!(upload["file"], Value::Null);
    let seconds = upload["expires_at"].as_i64().unwrap() - upload["created_at"].as_i64().unwrap();
    assert_eq!(seconds, 3600);
    format!("{PATH}/{}", upload["id"].as_str().unwrap())
}

fn send(live: &Live, upload: &str, data: &[u8]) -> Reply {
    let body = form(&[("data", Some("blob"), data)]);
    live.send("POST", &format!("{upload}/parts"), &[FORM], &body)
}

fn add(live: &Live, upload: &str, data: &[u8]) -> Value {
    let part = send(live, upload, data).good();
    assert_eq!(part["object"], "upload.part");
    assert!(upload.ends_with(part["upload_id"].as_str().unwrap()));
    part["id"].clone()
}

fn complete(live: &Live, upload: &str, fields: Value) -> Reply {
    live.post(&format!("{upload}/complete"), &fields)
}

#[test]
fn parts_become_a_file_in_the_order_that_is_asked_for() {
    let live = start(ServerConfig::default());
    let upload = create(&live, 9);
    let (second, first) = (add(&live, &upload, b"World"), add(&live, &upload, b"Hell"));
    let unused = add(&live, &upload, b"unused");
    // md5sum of "HellWorld".
    let md5 = "1830f8936acf85a8eaa4c7e348093739";
    let right = json!({ "part_ids": [first, second] });
    let cases = [
        (json!({}), "part_ids"),
        (json!({ "part_ids": "all" }), "part_ids"),
        (json!({ "part_ids": [] }), "part_ids"),
        (json!({ "part_ids": [first] }), "part_ids"),
        (json!({ "part_ids": [first, second, unused] }), "part_ids"),
        (json!({ "part_ids": [first, first] }), "part_ids"),
        (json!({ "part_ids": [first, second, "part_1"] }), "part_ids"),
        (with(&right, "color", json!(1)), "color"),
        (with(&right, "md5", json!("0".repeat(32))), "md5"),
    ];
    for (fields, param) in cases {
        assert_eq!(complete(&live, &upload, fields).error(400)["param"], param);
    }
    let done = complete(&live, &upload, with(&right, "md5", json!(md5.to_uppercase()))).good();
    assert_eq!(done["status"], "completed");
    let file = &done["file"];
    assert_eq!((&file["bytes"], &file["filename"]), (&json!(9), &json!("a.jsonl")));
    assert_eq!(file["purpose"], "batch");
    let path = format!("/v1/files/{}", file["id"].as_str().unwrap());
    assert_eq!(live.get(&path).good(), *file);
    assert_eq!(live.get(&format!("{path}/content")).body, b"HellWorld");
    assert_eq!(live.contents(), 1, "the parts are gone");
    for reply in [
        complete(&live, &upload, right),
        send(&live, &upload, b"more"),
        live.send("POST", &format!("{upload}/cancel"), &[], b""),
    ] {
        assert_eq!(reply.error(400)["param"], "upload_id");
    }
}

#[test]
fn an_upload_that_is_given_up_or_over_leaves_nothing() {
    let live = start(ServerConfig::default());
    let upload = create(&live, 4);
    let part = add(&live, &upload, b"data");
    let cancelled = live.send("POST", &format!("{upload}/cancel"), &[], b"").good();
    assert_eq!(cancelled["status"], "cancelled");
    assert_eq!(live.contents(), 0);
    let error = complete(&live, &upload, json!({ "part_ids": [part] })).error(400);
    assert!(error["message"].as_str().unwrap().contains("cancelled"));

    let upload = create(&live, 4);
    let part = add(&live, &upload, b"data");
    let store = &live.storage.as_ref().unwrap().store;
    let id = upload.rsplit('/').next().unwrap();
    let document = live.block_on(store.document(Kind::Upload, "default", id)).unwrap().unwrap();
    let over = Document { expires_at: Some(1), ..document };
    live.block_on(store.commit(Change::new().update(over))).unwrap();
    let error = complete(&live, &upload, json!({ "part_ids": [part] })).error(400);
    assert!(error["message"].as_str().unwrap().contains("expired"));
    send(&live, &upload, b"more").error(400);
}

#[test]
fn wishes_that_cannot_be_met_are_refused_by_name() {
    let live = start(ServerConfig { owner_bytes_max: 100, ..ServerConfig::default() });
    for (name, value, param) in [
        ("filename", json!(null), "filename"),
        ("filename", json!("a/.."), "filename"),
        ("purpose", json!("fun"), "purpose"),
        ("bytes", json!(null), "bytes"),
        ("bytes", json!(-1), "bytes"),
        ("bytes", json!((8u64 << 30) + 1), "bytes"),
        ("bytes", json!("many"), "bytes"),
        ("bytes", json!(101), "file"),
        ("mime_type", json!(null), "mime_type"),
        ("expires_after", json!(7), "expires_after"),
        ("expires_after", json!({ "anchor": "created_at" }), "expires_after.seconds"),
        ("expires_after", json!({ "seconds": 3600 }), "expires_after.anchor"),
        ("expires_after", json!({ "anchor": "x", "seconds": 3600 }), "expires_after.anchor"),
        ("color", json!("red"), "color"),
    ] {
        let error = live.post(PATH, &with(&wish(9), name, value)).error(400);
        assert_eq!(error["param"], param, "{name}");
    }
    let upload = create(&live, 60);
    assert_eq!(send(&live, &upload, &[0; 61]).error(413)["code"], "request_too_large");
    add(&live, &upload, &[0; 60]);
    let error = send(&live, &upload, &[1; 60]).error(400);
    assert_eq!(error["code"], "storage_quota_exceeded", "parts count too");
    let parts = format!("{upload}/parts");
    let none = form(&[]);
    assert_eq!(live.send("POST", &parts, &[FORM], &none).error(400)["param"], "data");
    let other = form(&[("file", Some("a"), b"1")]);
    assert_eq!(live.send("POST", &parts, &[FORM], &other).error(400)["param"], "file");
    live.send("POST", "/v1/uploads/upload_1/parts", &[FORM], &other).error(404);
}

#[test]
fn uploads_of_others_are_not_there() {
    let live = start(ServerConfig::default());
    let keys = &live.storage.as_ref().unwrap().keys;
    let key = |owner| live.block_on(keys.create(NewKey { owner, name: "k", expires_at: None }, 0));
    let (mine, yours) = (key("me").unwrap().1, key("you").unwrap().1);
    let body = wish(3).to_string();
    let upload = live.send("POST", PATH, &[("x-api-key", &mine)], body.as_bytes()).good();
    let upload = format!("{PATH}/{}", upload["id"].as_str().unwrap());
    let data = form(&[("data", Some("blob"), b"abc")]);
    let headers = [FORM, ("x-api-key", &*yours)];
    live.send("POST", &format!("{upload}/parts"), &headers, &data).error(404);
    live.send("POST", &format!("{upload}/cancel"), &headers[1..], b"").error(404);
    let complete = json!({ "part_ids": [] }).to_string();
    live.send("POST", &format!("{upload}/complete"), &headers[1..], complete.as_bytes()).error(404);
    let headers = [FORM, ("x-api-key", &*mine)];
    live.send("POST", &format!("{upload}/parts"), &headers, &data).good();
}
