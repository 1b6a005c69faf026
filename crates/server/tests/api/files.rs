//! Turns files into lists, contents and nothing, for their owner alone, whatever a client sends.

use std::io::Write;

use myriad_server::{ServerConfig, limits};
use myriad_store::NewKey;
use serde_json::{Value, json};

use crate::harness::{BOUNDARY, FORM, Keeps, Live, Reply, Setup, form, wait_for};

const PATH: &str = "/v1/files";

fn start() -> Live {
    with_config(ServerConfig::default())
}

fn with_config(config: ServerConfig) -> Live {
    Live::start(Setup {
        storage: Some(Keeps::Everything),
        script: Some(json!({ "answers": [{ "text": "Yes." }] })),
        config: ServerConfig { port: 0, ..config },
        ..Setup::default()
    })
}

fn ids(list: &Value) -> Vec<&str> {
    let data = list["data"].as_array().unwrap();
    data.iter().map(|file| file["id"].as_str().unwrap()).collect()
}

#[test]
fn a_file_is_kept_shown_sent_back_and_deleted() {
    let live = start();
    let content: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
    let body = form(&[
        ("file", Some("Grüße \\\"1\\\".bin"), &content),
        ("expires_after[seconds]", None, b"3600"),
        ("purpose", None, b"user_data"),
        ("expires_after[anchor]", None, b"created_at"),
    ]);
    let file = live.send("POST", PATH, &[FORM], &body).good();
    assert_eq!(file["object"], "file");
    assert_eq!(file["bytes"], content.len());
    assert_eq!(file["filename"], "Grüße \"1\".bin");
    assert_eq!(file["purpose"], "user_data");
    assert_eq!(file["status"], "processed");
    let seconds = file["expires_at"].as_i64().unwrap() - file["created_at"].as_i64().unwrap();
    assert_eq!(seconds, 3600);
    let id = file["id"].as_str().unwrap();
    assert!(id.starts_with("file-"));
    let path = format!("{PATH}/{id}");
    assert_eq!(live.get(&path).good(), file);
    let sent = live.get(&format!("{path}/content"));
    assert_eq!((sent.status, sent.body == content), (200, true));
    assert_eq!(sent.header("x-content-type-options"), Some("nosniff"));
    let name = "attachment; filename*=UTF-8''Gr%C3%BC%C3%9Fe%20%221%22.bin";
    assert_eq!(sent.header("content-disposition"), Some(name));
    let again = live.upload(&[], "assistants", &content);
    assert_eq!(again["expires_at"], Value::Null);
    assert_eq!(live.contents(), 1, "equal contents are kept once");
    let gone = live.send("DELETE", &path, &[], b"").good();
    assert_eq!(gone, json!({ "id": id, "object": "file", "deleted": true }));
    assert_eq!(live.contents(), 1);
    for reply in [
        live.get(&path),
        live.get(&format!("{path}/content")),
        live.send("DELETE", &path, &[], b""),
    ] {
        assert_eq!(reply.error(404)["code"], "not_found");
    }
    let other = format!("{PATH}/{}", again["id"].as_str().unwrap());
    live.send("DELETE", &other, &[], b"").good();
    assert_eq!(live.contents(), 0, "the last document takes the content along");
}

#[test]
fn lists_have_pages_orders_and_purposes() {
    let live = start();
    let none = live.get(PATH).good();
    assert_eq!((&none["object"], &none["data"]), (&json!("list"), &json!([])));
    assert_eq!((&none["first_id"], &none["has_more"]), (&Value::Null, &json!(false)));
    let made: Vec<String> = (0..5)
        .map(|n| {
            let purpose = if n % 2 == 0 { "batch" } else { "fine-tune" };
            let file = live.upload(&[], purpose, format!("{n}").as_bytes());
            assert_eq!(file["expires_at"].is_null(), purpose != "batch", "batches go in 30 days");
            file["id"].as_str().unwrap().to_owned()
        })
        .collect();
    let all = live.get(PATH).good();
    assert_eq!(ids(&all), made.iter().rev().collect::<Vec<_>>());
    assert_eq!(all["has_more"], false);
    let page = live.get(&format!("{PATH}?order=asc&limit=2&after={}", made[1])).good();
    assert_eq!(ids(&page), [&made[2], &made[3]]);
    assert_eq!(page["has_more"], true);
    assert_eq!(page["last_id"], made[3]);
    let tune = live.get(&format!("{PATH}?purpose=fine-tune&limit=2")).good();
    assert_eq!(ids(&tune), [&made[3], &made[1]]);
    assert_eq!(tune["has_more"], false);
    let batch = live.get(&format!("{PATH}?purpose=batch&limit=2")).good();
    assert_eq!((ids(&batch), &batch["has_more"]), (vec![&*made[4], &*made[2]], &json!(true)));
    live.get(&format!("{PATH}?after=file-unknown")).error(404);
    for (query, param) in [("limit=0", "limit"), ("limit=10001", "limit"), ("color=1", "color")] {
        assert_eq!(live.get(&format!("{PATH}?{query}")).error(400)["param"], param);
    }
}

#[test]
fn files_of_others_are_not_there() {
    let live = start();
    let keys = &live.storage.as_ref().unwrap().keys;
    let key = |owner| live.block_on(keys.create(NewKey { owner, name: "k", expires_at: None }, 0));
    let (mine, yours) = (key("me").unwrap().1, key("you").unwrap().1);
    let (mine, yours) = ([("x-api-key", &*mine)], [("x-api-key", &*yours)]);
    let file = live.upload(&mine, "batch", b"secret");
    let path = format!("{PATH}/{}", file["id"].as_str().unwrap());
    assert!(ids(&live.send("GET", PATH, &yours, b"").good()).is_empty());
    live.send("GET", &path, &yours, b"").error(404);
    live.send("GET", &format!("{path}/content"), &yours, b"").error(404);
    live.send("DELETE", &path, &yours, b"").error(404);
    live.send("GET", &path, &[], b"").error(401);
    let after = format!("{PATH}?after={}", file["id"].as_str().unwrap());
    live.send("GET", &after, &yours, b"").error(404);
    assert_eq!(live.send("GET", &path, &mine, b"").good(), file);
    assert_eq!(live.send("GET", &format!("{path}/content"), &mine, b"").body, b"secret");
}

#[test]
fn who_keeps_nothing_takes_no_files() {
    let none = Setup { storage: None, ..Setup::default() };
    let keys = Setup { storage: Some(Keeps::Keys), ..Setup::default() };
    for live in [Live::start(none), Live::start(keys)] {
        for (method, path) in [
            ("POST", "/v1/files"),
            ("GET", "/v1/files"),
            ("GET", "/v1/files/file-1"),
            ("DELETE", "/v1/files/file-1"),
            ("GET", "/v1/files/file-1/content"),
            ("POST", "/v1/uploads"),
            ("POST", "/v1/uploads/upload_1/parts"),
            ("POST", "/v1/uploads/upload_1/complete"),
            ("POST", "/v1/uploads/upload_1/cancel"),
            ("POST", "/v1/batches"),
            ("GET", "/v1/batches"),
            ("GET", "/v1/batches/batch_1"),
            ("POST", "/v1/batches/batch_1/cancel"),
        ] {
            let error = live.send(method, path, &[], b"").error(400);
            assert_eq!(error["code"], "unsupported_parameter", "{method} {path}");
            assert!(error["message"].as_str().unwrap().contains("--no-store"));
        }
    }
}

#[test]
fn forms_that_are_none_are_refused_by_name_and_leave_nothing() {
    let live = start();
    let purpose: (&str, Option<&str>, &[u8]) = ("purpose", None, b"batch");
    let file: (&str, Option<&str>, &[u8]) = ("file", Some("a.jsonl"), b"{}");
    let anchor: (&str, Option<&str>, &[u8]) = ("expires_after[anchor]", None, b"created_at");
    let long = "a".repeat(limits::FILE_NAME_BYTES_MAX + 1);
    let huge = "a".repeat(1 << 20);
    let value = vec![b'a'; 1 << 20];
    for (fields, param) in [
        (vec![purpose], json!("file")),
        (vec![file], json!("purpose")),
        (vec![], json!("purpose")),
        (vec![purpose, ("file", None, b"{}")], json!("file")),
        (vec![purpose, ("file", Some(""), b"{}")], json!("file")),
        (vec![purpose, ("file", Some("../.."), b"{}")], json!("file")),
        (vec![purpose, ("file", Some(&long), b"{}")], json!("file")),
        (vec![purpose, ("file", Some(&huge), b"{}")], Value::Null),
        (vec![purpose, file, file], json!("file")),
        (vec![purpose, file, purpose], json!("purpose")),
        (vec![file, ("purpose", None, b"batch_output")], json!("purpose")),
        (vec![file, ("purpose", None, b"\xff")], json!("purpose")),
        (vec![file, ("purpose", None, &value)], json!("purpose")),
        (vec![purpose, file, ("color", None, b"red")], json!("color")),
        (vec![purpose, file, anchor], json!("expires_after[seconds]")),
        (vec![file, anchor, ("expires_after[seconds]", None, b"9")], json!("purpose")),
        (
            vec![purpose, file, anchor, ("expires_after[seconds]", None, b"9")],
            json!("expires_after[seconds]"),
        ),
    ] {
        let error = live.send("POST", PATH, &[FORM], &form(&fields)).error(400);
        assert_eq!(error["param"], param, "{error}");
    }
    let body = form(&[purpose, file]);
    for headers in [
        vec![],
        vec![("content-type", "multipart/form-data")],
        vec![("content-type", "application/json")],
        vec![("content-type", "multipart/form-data; boundary=other")],
        vec![FORM, ("content-encoding", "gzip")],
    ] {
        live.send("POST", PATH, &headers, &body).error(400);
    }
    for cut in [0, 1, 40, body.len() - 8] {
        live.send("POST", PATH, &[FORM], &body[..cut]).error(400);
    }
    assert_eq!(live.contents(), 0);
    assert!(ids(&live.get(PATH).good()).is_empty());
}

#[test]
fn names_of_files_lead_nowhere() {
    let live = start();
    for (sent, kept) in [
        ("../../etc/passwd", "passwd"),
        ("/etc/shadow", "shadow"),
        ("C:\\\\Windows\\\\system.ini", "system.ini"),
        ("..%2f..%2fx", "..%2f..%2fx"),
        ("a; rm -rf", "a; rm -rf"),
        ("...", "..."),
    ] {
        let fields: [(&str, Option<&str>, &[u8]); 2] =
            [("purpose", None, b"batch"), ("file", Some(sent), b"{}")];
        let file = live.send("POST", PATH, &[FORM], &form(&fields)).good();
        assert_eq!(file["filename"], kept, "{sent}");
    }
    for path in ["/v1/files/..%2f..%2fstore.db", "/v1/files/%2e%2e/content", "/v1/files/%00"] {
        live.get(path).error(404);
    }
}

#[test]
fn files_that_are_too_large_or_too_many_are_refused() {
    let config = ServerConfig {
        file_bytes_max: 1 << 20,
        owner_bytes_max: (3 << 20) - 1,
        ..Default::default()
    };
    let live = with_config(config);
    let body = |bytes: usize| {
        form(&[("purpose", None, b"batch"), ("file", Some("a"), &vec![b'x'; bytes])])
    };
    live.send("POST", PATH, &[FORM], &body(1 << 20)).good();
    let error = live.send("POST", PATH, &[FORM], &body((1 << 20) + 1)).error(413);
    assert_eq!(error["code"], "request_too_large");
    live.send("POST", PATH, &[FORM], &body(8 << 20)).error(413);
    // Without a declared length it is noticed on the way.
    let mut stream = live.connect();
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: multipart/form-data; boundary=\"{BOUNDARY}\"\r\n\
         transfer-encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    for chunk in body(4 << 20).chunks(100_000) {
        stream.write_all(format!("{:x}\r\n", chunk.len()).as_bytes()).unwrap();
        stream.write_all(chunk).unwrap();
        stream.write_all(b"\r\n").unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    Reply::read(&mut stream).error(413);
    assert_eq!(live.contents(), 1);
    let second = live.upload(&[], "batch", &vec![b'y'; 1 << 20]);
    let third = form(&[("purpose", None, b"batch"), ("file", Some("a"), &vec![b'z'; 1 << 20])]);
    let error = live.send("POST", PATH, &[FORM], &third).error(400);
    assert_eq!(error["code"], "storage_quota_exceeded");
    live.send("DELETE", &format!("{PATH}/{}", second["id"].as_str().unwrap()), &[], b"").good();
    live.send("POST", PATH, &[FORM], &third).good();
}

#[test]
fn a_client_that_goes_away_in_the_middle_leaves_nothing() {
    let live = start();
    let body = form(&[("purpose", None, b"batch"), ("file", Some("a"), &vec![b'x'; 1 << 20])]);
    let mut stream = live.connect();
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\
         content-type: multipart/form-data; boundary=\"{BOUNDARY}\"\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&body[..body.len() / 2]).unwrap();
    wait_for(|| (live.contents() == 1).then_some(()));
    drop(stream);
    wait_for(|| (live.contents() == 0).then_some(()));
    assert!(ids(&live.get(PATH).good()).is_empty());
}
