//! Turns files of a chat into text that their owner's model reads, and that goes with the chat.

use std::path::PathBuf;
use std::sync::Arc;

use myriad_server::{ServerConfig, limits};
use serde_json::{Value, json};

use crate::harness::{FORM, Keeps, Live, Reply, Setup, form, wait_for};

const FILES: &str = "/app/files";

fn start(embedder: bool) -> Live {
    start_with(Setup { embedder, ..Setup::default() })
}

fn start_with(setup: Setup) -> Live {
    Live::start(Setup {
        storage: Some(Keeps::Everything),
        script: Some(json!({
            "answers": [
                { "when": "short title", "text": "" },
                { "when": "The boiler has the number 4711.\n[End of file, mark", "text": "Whole." },
                { "when": "password of the cellar is Zebra-91", "text": "It is Zebra-91 [1]." },
                { "when": "has been deleted", "text": "Gone." },
                { "text": "Nothing." },
            ],
        })),
        ..setup
    })
}

fn send(live: &Live, name: &str, content: &[u8]) -> Reply {
    let body = form(&[("file", Some(name), content)]);
    live.send("POST", FILES, &[FORM], &body)
}

/// A text that is much larger than the context of a script, with one fact in its middle.
fn book() -> String {
    let sentence = |number: usize| {
        format!("Chapter {number} tells of harvests, weather and the price of wool in that year. ")
    };
    let fact = "The password of the cellar is Zebra-91. ";
    let mut sentences: Vec<String> = (0..400).map(sentence).collect();
    sentences.insert(211, fact.to_owned());
    sentences.concat()
}

/// Asks about files in a conversation; returns the events of the answer.
fn ask(live: &Live, chat: &str, question: &str, files: &[Value]) -> Vec<Value> {
    let put = |path: &str, body: Value| live.send("PUT", path, &[], body.to_string().as_bytes());
    put(&format!("/app/chats/{chat}"), json!({ "title": "t", "titled": true })).good();
    let messages = json!({ "messages": [
        { "id": "q", "role": "user", "content": question, "created": 1, "files": files },
        { "id": "a", "parent": "q", "role": "assistant", "created": 2, "status": "streaming" },
    ]});
    put(&format!("/app/chats/{chat}/messages"), messages).good();
    let ids: Vec<&Value> = files.iter().map(|file| &file["id"]).collect();
    let request = json!({ "messages": [{ "role": "user", "content": question, "files": ids }] });
    let reply = live.post(&format!("/app/chats/{chat}/messages/a/run"), &request);
    assert_eq!(reply.status, 200, "{}", reply.text());
    let data = reply.text().lines().filter_map(|line| line.strip_prefix("data: "));
    data.filter_map(|data| serde_json::from_str(data).ok()).collect()
}

fn answer(events: &[Value]) -> Value {
    events.iter().find(|event| event["message"].is_object()).expect("an end")["message"].clone()
}

#[test]
fn a_small_file_stands_whole_in_the_question() {
    let live = start(false);
    let file = send(&live, "boiler.md", b"# Cellar\r\nThe boiler has the number 4711.").good();
    assert_eq!((&file["kind"], &file["name"]), (&json!("markdown"), &json!("boiler.md")));
    assert_eq!((&file["pages"], &file["bytes"]), (&Value::Null, &json!(41)));
    let path = format!("{FILES}/{}", file["id"].as_str().unwrap());
    assert_eq!(live.get(&path).good(), file);
    let text = live.get(&format!("{path}/text")).good();
    assert_eq!(text["text"], "# Cellar\nThe boiler has the number 4711.");
    live.get(&format!("{path}/text?page=2")).error(400);
    let events = ask(&live, "c", "Which number?", &[file]);
    let message = answer(&events);
    assert_eq!(message["content"], "Whole.");
    assert_eq!(message["sources"], Value::Null);
    let kept = live.get("/app/chats/c").good();
    assert_eq!(kept["messages"][0]["files"][0]["name"], "boiler.md");
    assert_eq!(kept["messages"][0]["content"], "Which number?");
}

#[test]
fn passages_of_a_large_file_are_found_and_kept() {
    for embedder in [false, true] {
        let live = start(embedder);
        let file = send(&live, "book.txt", book().as_bytes()).good();
        assert!(file["tokens"].as_u64().unwrap() > 8192);
        let events =
            ask(&live, "c", "What is the password of the cellar?", std::slice::from_ref(&file));
        let message = answer(&events);
        assert_eq!(message["content"], "It is Zebra-91 [1].", "{events:?}");
        let sources = message["sources"].as_array().unwrap();
        assert!(sources.iter().any(|it| it["text"].as_str().unwrap().contains("Zebra-91")));
        assert!(sources.iter().all(|it| it["file"] == file["id"] && it["page"].is_null()));
        let told = |name: &str| events.iter().filter(|event| !event[name].is_null()).count();
        assert_eq!(told("sources"), 1);
        assert_eq!(told("reading") > 0, embedder);
        let kept = live.get("/app/chats/c").good();
        assert_eq!(kept["messages"][1]["sources"], message["sources"]);
        if embedder {
            // The text and its vectors.
            assert_eq!(live.contents(), 2);
            let again = ask(&live, "d", "And the password?", &[file]);
            assert!(again.iter().all(|event| event["reading"].is_null()), "they were kept");
        }
    }
}

/// Where `tools/minilm_model.sh` puts a real embedder.
fn minilm() -> Option<PathBuf> {
    let cache = || match std::env::var_os("XDG_CACHE_HOME") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache"),
    };
    let folder = match std::env::var_os("MYRIAD_TEST_EMBEDDER") {
        Some(folder) => PathBuf::from(folder),
        None => cache().join("myriad/models/all-MiniLM-L6-v2"),
    };
    folder.join("model.safetensors").exists().then_some(folder)
}

#[test]
fn a_real_embedder_finds_what_the_words_do_not_say() {
    // None of its words stands beside the fact.
    let question = "Which secret code opens the basement?";
    let content = |sources: &Value| sources.to_string().contains("Zebra-91");
    let words = start(false);
    let file = send(&words, "book.txt", book().as_bytes()).good();
    let message = answer(&ask(&words, "c", question, &[file]));
    assert!(!content(&message["sources"]), "it is no test of meaning otherwise");
    let Some(folder) = minilm() else {
        println!("skipped: there is no embedder; `tools/minilm_model.sh` gets it");
        return;
    };
    let live = start_with(Setup { embedder_folder: Some(folder), ..Setup::default() });
    let file = send(&live, "book.txt", book().as_bytes()).good();
    let message = answer(&ask(&live, "c", question, &[file]));
    assert!(content(&message["sources"]), "{message}");
    assert_eq!(message["content"], "It is Zebra-91 [1].");
}

#[test]
fn a_file_goes_with_the_last_conversation_that_has_it() {
    let live = start(true);
    let file = send(&live, "book.txt", book().as_bytes()).good();
    let path = format!("{FILES}/{}", file["id"].as_str().unwrap());
    ask(&live, "c", "Harvests?", std::slice::from_ref(&file));
    ask(&live, "d", "Wool?", std::slice::from_ref(&file));
    let delete = |chat: &str| live.send("DELETE", &format!("/app/chats/{chat}"), &[], b"").good();
    delete("c");
    live.get(&path).good();
    delete("d");
    live.get(&path).error(404);
    assert_eq!(live.contents(), 0);
    let events = ask(&live, "e", "And now?", &[file]);
    assert_eq!(answer(&events)["content"], "Gone.");
}

#[test]
fn an_export_carries_texts_and_an_import_reads_them() {
    let live = start(false);
    let file = send(&live, "boiler.md", b"The boiler has the number 4711.").good();
    ask(&live, "c", "Which number?", std::slice::from_ref(&file));
    let shown = live.get("/app/chats/c").good();
    assert!(shown["files"].is_null(), "what opens a conversation has no texts");
    let one = live.get("/app/chats/c?files=true").good();
    let text = json!([{ "about": file, "text": ["The boiler has the number 4711."] }]);
    assert_eq!(one["files"], text);
    let lines = live.get("/app/chats/export");
    assert_eq!(serde_json::from_str::<Value>(lines.text().trim()).unwrap(), one);
    let other = start(false);
    let lines_sent = [("content-type", "application/x-ndjson")];
    other.send("POST", "/app/chats/import", &lines_sent, lines.text().as_bytes()).good();
    let list = other.get("/app/chats").good();
    let chat = list["data"][0]["id"].as_str().unwrap();
    let kept = other.get(&format!("/app/chats/{chat}?files=true")).good();
    assert_eq!(kept["files"][0]["text"], one["files"][0]["text"]);
    let fresh = &kept["files"][0]["about"]["id"];
    assert_eq!(&kept["messages"][0]["files"][0]["id"], fresh);
    assert_ne!(fresh, &file["id"]);
    let path = format!("{FILES}/{}", fresh.as_str().unwrap());
    other.get(&path).good();
    other.send("DELETE", &format!("/app/chats/{chat}"), &[], b"").good();
    other.get(&path).error(404);
}

#[test]
fn files_are_their_owners_alone_and_expire_unasked() {
    let live = start(false);
    let (me, you) = (live.key_of("me"), live.key_of("you"));
    let body = form(&[("file", Some("a.txt"), b"mine")]);
    let headers = [("authorization", me.as_str()), FORM];
    let file = live.send("POST", FILES, &headers, &body).good();
    let path = format!("{FILES}/{}", file["id"].as_str().unwrap());
    for path in [path.clone(), format!("{path}/text")] {
        live.ask(&you, "GET", &path, &Value::Null).error(404);
        live.ask(&me, "GET", &path, &Value::Null).good();
    }
    live.ask(&you, "DELETE", &path, &Value::Null).error(404);
    let storage = Arc::clone(live.storage.as_ref().unwrap());
    let soon = live.block_on(storage.store.expired(i64::MAX, 9)).unwrap();
    assert_eq!(soon.len(), 1, "nobody has asked about it");
    live.ask(&me, "DELETE", &path, &Value::Null).good();
    assert_eq!(wait_for(|| (live.contents() == 0).then_some(())), ());
}

#[test]
fn what_is_no_text_is_refused_by_name_and_reason() {
    let live = start(false);
    for (name, content, words) in [
        ("a.png", &b"\x89PNG\r\n\x1a\n"[..], "a picture (PNG)"),
        ("a.zip", b"PK\x03\x04", "an archive (ZIP)"),
        ("a.pdf", b"%PDF-1.7\n", "damaged"),
        ("a.txt", b"", "empty"),
        ("a.txt", b" \n ", "empty"),
    ] {
        let error = send(&live, name, content).error(400);
        assert_eq!((&error["code"], &error["param"]), (&json!("file_unreadable"), &json!("file")));
        assert!(error["message"].as_str().unwrap().contains(words), "{error}");
    }
    assert_eq!(live.contents(), 0, "nothing of them is kept");
    for fields in [
        &[("file", None, &b"x"[..])][..],
        &[("other", Some("a.txt"), b"x")],
        &[("file", Some("../.."), b"x")],
        &[("file", Some("a\u{7}.txt"), b"x")],
        &[("file", Some("a.txt"), b"x"), ("file", Some("b.txt"), b"y")],
        &[],
    ] {
        live.send("POST", FILES, &[FORM], &form(fields)).error(400);
    }
}

#[test]
fn too_large_files_are_refused_before_they_are_read() {
    let config = ServerConfig { port: 0, file_bytes_max: 1000, ..ServerConfig::default() };
    let script = Some(json!({ "answers": [{ "text": "Yes." }] }));
    let storage = Some(Keeps::Everything);
    let live = Live::start(Setup { storage, script, config, ..Setup::default() });
    let features = live.get("/app/features").good();
    assert_eq!((&features["files"], &features["file_bytes_max"]), (&json!(true), &json!(1000)));
    send(&live, "a.txt", &[b'a'; 1001]).error(413);
    send(&live, "a.txt", &[b'a'; 1000]).good();
    const { assert!(limits::APP_FILE_BYTES_MAX <= limits::FILE_BYTES_MAX) };
    let script = Some(json!({ "answers": [{ "text": "Yes." }] }));
    let nothing = Live::start(Setup { script, ..Setup::default() });
    send(&nothing, "a.txt", b"a").error(400);
    assert_eq!(nothing.get("/app/features").good()["files"], false);
}
