//! Turns models that lie beside the first one into answers: they are loaded when they are named.

use std::io::Read;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use myriad_server::runtime::scripted::Script;
use myriad_server::{Description, Download, Loader, Others, Runtime, ServerConfig};
use serde_json::{Value, json};

use crate::harness::{Keeps, Live, MODEL, Reply, Setup, chat, wait_for, with};

/// `quick` and `slow` answer, `broken` breaks in a second and a half, `huge` never fits.
struct Shop;

impl Loader for Shop {
    fn list(&self) -> Vec<Description> {
        let all = [("broken", 1), ("huge", 1000), ("quick", 60), ("slow", 60), ("vectors", 1)];
        all.map(|(name, memory_bytes)| Description {
            name: name.to_owned(),
            architecture: "scripted".to_owned(),
            parameters: Some(135_000_000),
            context: Some(8192),
            embeds: name == "vectors",
            deletable: name == "quick",
            memory_bytes,
            ..Description::default()
        })
        .to_vec()
    }

    fn load(&self, name: &str, progress: &mut dyn FnMut(f32)) -> Result<Arc<Runtime>, String> {
        progress(0.25);
        match name {
            "slow" => sleep(Duration::from_millis(3000)),
            "broken" => sleep(Duration::from_millis(1500)),
            _ => {}
        }
        if name == "broken" {
            return Err("/secret/place: it is cut off".to_owned());
        }
        let slowly = json!({ "when": "slowly", "text": "I take my time for it.", "token_ms": 100 });
        let answer = json!({ "text": format!("I am {name}."), "token_ms": 5 });
        let script = json!({ "answers": [slowly, answer] }).to_string();
        let script = Script::parse(&script).map_err(|error| error.to_string())?;
        Runtime::start_scripted(script, vec![name.to_owned()]).map_err(|error| error.to_string())
    }

    fn check_source(&self, source: &str) -> Result<(), String> {
        if source.starts_with("hf:") { Ok(()) } else { Err("right would be hf:…".to_owned()) }
    }

    fn pull(&self, source: &str, download: &dyn Download) -> Result<String, String> {
        for step in 0..500 {
            download.at("file.gguf", step, Some(500));
            if download.is_cancelled() {
                return Err("it was cancelled".to_owned());
            }
            match source {
                "hf:a/endless" => sleep(Duration::from_millis(10)),
                _ => return Ok("file".to_owned()),
            }
        }
        Err("nobody wanted it".to_owned())
    }

    fn delete(&self, _: &str) -> Result<(), String> {
        Ok(())
    }
}

/// Beside the model that stays there is room for one other.
fn live() -> Live {
    let others = Some(Others { loader: Arc::new(Shop), memory_bytes: 100, on_request: true });
    let script = Some(json!({ "answers": [{ "text": "I am the first." }] }));
    let keep_alive = Duration::from_millis(50);
    let config = ServerConfig { port: 0, keep_alive, ..ServerConfig::default() };
    Live::start(Setup { others, script, config, ..Setup::default() })
}

fn text(reply: &Reply) -> String {
    reply.good()["choices"][0]["message"]["content"].as_str().expect("a text").to_owned()
}

fn state(live: &Live, name: &str) -> Value {
    let list = live.get("/app/models").good();
    let models = list["data"].as_array().expect("models");
    models.iter().find(|model| model["id"] == name).expect("a known model").clone()
}

fn until(live: &Live, name: &str, right: &str) {
    wait_for(|| (state(live, name)["state"] == right).then_some(()));
}

#[test]
fn a_model_is_loaded_by_the_request_that_names_it() {
    let live = live();
    let list = live.get("/v1/models").good();
    let names: Vec<_> = list["data"].as_array().expect("models").iter().collect();
    assert_eq!(names[0]["id"], MODEL);
    assert_eq!(names.len(), 6);
    assert_eq!(names[0]["capabilities"], json!(["completion"]));
    assert_eq!(names[5]["id"], "vectors");
    assert_eq!(names[5]["capabilities"], json!(["embedding"]));
    assert_eq!(live.get("/v1/models/quick").good()["id"], "quick");
    assert_eq!(live.get("/api/tags").good()["models"].as_array().expect("models").len(), 6);
    assert_eq!(live.get("/api/ps").good()["models"].as_array().expect("models").len(), 1);

    assert_eq!(text(&live.post("/v1/chat/completions", &chat(json!({})))), "I am the first.");
    let asked = chat(json!({ "model": "quick" }));
    let reply = live.post("/v1/chat/completions", &asked);
    assert_eq!(reply.json()["model"], "quick");
    assert_eq!(text(&reply), "I am quick.");
    let loaded = live.get("/api/ps").good();
    assert_eq!(loaded["models"][1]["name"], "quick");
    assert!(live.get("/metrics").text().contains("model_name=\"quick\""));
    let shown = live.post("/api/show", &json!({ "model": "slow" })).good();
    assert_eq!(shown["details"]["parameter_size"], "135M");
    assert_eq!(shown["capabilities"], json!(["completion"]));

    // The other has to go, and its series with it.
    let asked = chat(json!({ "model": "slow" }));
    assert_eq!(text(&live.post("/v1/chat/completions", &asked)), "I am slow.");
    assert_eq!(state(&live, "quick")["state"], "cold");
    assert!(!live.get("/metrics").text().contains("model_name=\"quick\""));
    assert_eq!(live.get("/health").good()["status"], "ok");
}

#[test]
fn every_dialect_waits_for_its_model() {
    let live = live();
    let messages = json!([{ "role": "user", "content": "Who are you?" }]);
    let ask = |path: &str, name: &str| {
        let body = json!({ "model": name, "messages": messages, "max_tokens": 90 });
        let body = if path == "/api/chat" {
            json!({ "model": format!("{name}:latest"), "messages": messages, "stream": false })
        } else if path == "/v1/responses" {
            json!({ "model": name, "input": "Who are you?" })
        } else if path == "/v1/completions" {
            json!({ "model": name, "prompt": "Who are you?", "max_tokens": 90 })
        } else {
            body
        };
        let reply = live.post(path, &body);
        let found = reply.good();
        assert_eq!(found["model"], name, "{path}");
        assert!(reply.text().contains(&format!("I am {name}.")), "{path}: {}", reply.text());
    };
    for path in ["/v1/messages", "/api/chat", "/v1/responses", "/v1/completions"] {
        ask(path, "quick");
        live.post("/app/models/quick/unload", &Value::Null).good();
        until(&live, "quick", "cold");
    }
    let ids = live.post("/tokenize", &json!({ "model": "quick", "prompt": "ab" })).good();
    assert_eq!(ids["count"], 2);
}

#[test]
fn streams_show_life_while_their_model_is_loaded() {
    let live = live();
    let asked = chat(json!({ "model": "slow", "stream": true }));
    let mut stream = live.begin("/v1/chat/completions", &asked);
    let loading = state(&live, "slow");
    assert_eq!((&loading["state"], &loading["progress"]), (&json!("loading"), &json!(0.25)));
    let mut rest = String::new();
    stream.read_to_string(&mut rest).expect("a stream");
    let (before, after) = rest.split_once("data: ").expect("events");
    assert!(before.contains(": keep-alive\n\n"), "{before}");
    assert!(
        after.contains("\"content\":\"I\"") && after.ends_with("data: [DONE]\n\n\r\n0\r\n\r\n")
    );

    // What breaks after the beginning is told in the stream, in each dialect's words.
    let asked = chat(json!({ "model": "broken", "stream": true }));
    let reply = live.post("/v1/chat/completions", &asked);
    assert_eq!(reply.status, 200);
    assert!(reply.text().contains("\"code\":\"model_load_failed\""), "{}", reply.text());
    assert!(!reply.text().contains("secret") && !reply.text().contains("[DONE]"));
    let asked = with(
        &with(&chat(json!({ "model": "broken" })), "stream", json!(true)),
        "max_tokens",
        json!(5),
    );
    let reply = live.post("/v1/messages", &asked);
    assert!(reply.text().contains("event: error\n"), "{}", reply.text());
    let reply = live.post("/api/chat", &chat(json!({ "model": "broken" })));
    let last = reply.text().lines().last().expect("a line").to_owned();
    assert!(last.contains("\"error\""), "{last}");
    assert_eq!(live.post("/v1/chat/completions", &chat(json!({ "model": "broken" }))).status, 500);
    assert_eq!(state(&live, "broken")["error"], "/secret/place: it is cut off");
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_loaded() {
    let live = live();
    let refused = |name: &str| {
        live.post("/v1/chat/completions", &chat(json!({ "model": name, "stream": true })))
    };
    let error = refused("huge").error(400);
    assert_eq!(error["code"], "model_too_large");
    assert_eq!(refused("vectors").error(400)["code"], "model_not_supported");
    let error = refused("nobody").error(404);
    assert!(error["message"].as_str().expect("words").contains("quick"), "{error}");
    let error = live.post("/app/models/huge/load", &Value::Null).error(400);
    assert_eq!(error["code"], "model_too_large");
    assert_eq!(live.post("/app/models/nobody/load", &Value::Null).status, 404);
    let own = MODEL.replace('/', "%2F");
    let pinned = live.post(&format!("/app/models/{own}/unload"), &Value::Null).error(409);
    assert_eq!(pinned["code"], "model_pinned");
    let delete = |name: &str| live.send("DELETE", &format!("/app/models/{name}"), &[], b"");
    assert_eq!(delete("slow").error(409)["code"], "model_not_deletable");
    live.post("/app/models/quick/load", &Value::Null).good();
    until(&live, "quick", "ready");
    assert_eq!(delete("quick").error(409)["code"], "model_loaded");
    live.post("/app/models/quick/unload", &Value::Null).good();
    until(&live, "quick", "cold");
    assert_eq!(delete("quick").good()["deleted"], true);
}

#[test]
fn downloads_are_watched_and_given_up() {
    let live = live();
    let pull = |source: &str| live.post("/app/models/pull", &json!({ "source": source }));
    let latest = || live.get("/app/models").good()["pull"].clone();
    assert_eq!(pull("/etc/passwd").error(400)["param"], "source");
    assert_eq!(live.post("/app/models/pull/cancel", &Value::Null).status, 409);
    assert_eq!(pull("hf:a/b").good()["state"], "running");
    wait_for(|| (latest()["state"] == "done").then_some(()));
    assert_eq!(latest()["model"], "file");
    pull("hf:a/endless").good();
    assert_eq!(pull("hf:a/b").error(409)["code"], "pull_running");
    wait_for(|| (latest()["bytes"].as_u64() > Some(2)).then_some(()));
    assert_eq!(latest()["bytes_total"], 500);
    live.post("/app/models/pull/cancel", &Value::Null).good();
    wait_for(|| (latest()["state"] == "cancelled").then_some(()));
    let told = live.post("/api/pull", &json!({ "model": "hf:a/b" }));
    assert!(told.text().ends_with("{\"status\":\"success\"}\n"), "{}", told.text());
    let told = live.post("/api/pull", &json!({ "model": "hf:a/b", "stream": false })).good();
    assert_eq!(told["status"], "success");
}

#[test]
fn users_see_and_use_models_and_administrators_manage_them() {
    let others = Some(Others { loader: Arc::new(Shop), memory_bytes: 100, on_request: true });
    let script = Some(json!({ "answers": [{ "text": "I am the first." }] }));
    let config = ServerConfig { port: 0, api_keys: vec!["boss".into()], ..ServerConfig::default() };
    let storage = Some(Keeps::Keys);
    let live = Live::start(Setup { others, script, storage, config, ..Setup::default() });
    let (user, boss) = (live.key_of("anna"), "Bearer boss");
    let list = live.ask(&user, "GET", "/app/models", &Value::Null).good();
    assert_eq!(list["data"].as_array().expect("models").len(), 6);
    assert_eq!(list["pull"], Value::Null);
    for (method, path, body) in [
        ("POST", "/app/models/quick/load", Value::Null),
        ("POST", "/app/models/quick/unload", Value::Null),
        ("POST", "/app/models/pull", json!({ "source": "hf:a/b" })),
        ("POST", "/app/models/pull/cancel", Value::Null),
        ("POST", "/api/pull", json!({ "model": "hf:a/b" })),
        ("DELETE", "/app/models/quick", Value::Null),
        ("GET", "/app/engine", Value::Null),
    ] {
        assert_eq!(live.ask(&user, method, path, &body).status, 403, "{method} {path}");
    }
    let asked = chat(json!({ "model": "quick" }));
    assert_eq!(text(&live.ask(&user, "POST", "/v1/chat/completions", &asked)), "I am quick.");
    let engines = live.ask(boss, "GET", "/app/engine", &Value::Null).good();
    assert_eq!(engines["data"][1]["id"], "quick");
}

#[test]
fn the_engine_shows_what_it_does() {
    let live = live();
    let messages = json!([{ "role": "user", "content": "Say it slowly." }]);
    let script = json!({ "model": "quick", "stream": true, "messages": messages });
    live.post("/app/models/quick/load", &Value::Null).good();
    until(&live, "quick", "ready");
    let engine = || live.get("/app/engine").good()["data"][1].clone();
    let before = engine();
    assert_eq!((&before["running"], &before["generation_tokens"]), (&json!(0), &json!(0)));
    let mut stream = live.begin("/v1/chat/completions", &script);
    wait_for(|| (engine()["running"] == 1).then_some(()));
    stream.read_to_end(&mut Vec::new()).expect("an answer");
    assert!(engine()["generation_tokens"].as_u64() >= Some(10));
    wait_for(|| (engine()["generation_tokens_per_second"].as_f64() > Some(0.0)).then_some(()));
}

#[test]
fn a_server_with_one_model_shows_it_and_loads_nothing() {
    let live = Live::start(Setup::default());
    let engine = &live.get("/app/engine").good()["data"][0];
    assert_eq!(engine["experts"], json!([]));
    assert!(engine["pages_total"].as_u64() > Some(0));
    let list = live.get("/app/models").good();
    assert_eq!(list["memory_bytes_max"], Value::Null);
    assert_eq!(list["data"][0]["pinned"], true);
    let pull = live.post("/app/models/pull", &json!({ "source": "hf:a/b" }));
    assert!(pull.error(400)["message"].as_str().expect("words").contains("no others"));
}
