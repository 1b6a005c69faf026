//! Turns the small endpoints (models, tokenize, health, metrics, the list) into what they promise.

use serde_json::json;

use crate::harness::{Live, MODEL, Setup, chat};

#[test]
fn models_are_listed_and_found_by_names_with_slashes() {
    let live = Live::start(Setup::default());
    let list = live.get("/v1/models").good();
    assert_eq!(list["object"], "list");
    assert_eq!(list["data"][0]["id"], MODEL);
    assert_eq!(list["data"][0]["object"], "model");
    assert_eq!(list["data"][0]["max_model_len"], 512);
    assert_eq!(list["data"][1]["id"], "alias");
    assert_eq!(live.get(&format!("/v1/models/{MODEL}")).good(), list["data"][0]);
    assert_eq!(live.get("/v1/models/tests%2Fsynthetic").good(), list["data"][0]);
    assert_eq!(live.get("/v1/models/tests/other").error(404)["code"], "model_not_found");
}

#[test]
fn texts_become_ids_and_ids_texts() {
    let live = Live::start(Setup::default());
    for prefix in ["", "/v1"] {
        for text in ["the sea", "über 🌊\n\n  x", "<|im_end|>", ""] {
            let body = json!({ "prompt": text, "return_token_strs": true });
            let ids = live.post(&format!("{prefix}/tokenize"), &body).good();
            let count = ids["tokens"].as_array().unwrap().len();
            assert_eq!(ids["count"], count);
            assert_eq!(ids["max_model_len"], 512);
            assert_eq!(ids["token_strs"].as_array().unwrap().len(), count);
            let body = json!({ "tokens": ids["tokens"] });
            let back = live.post(&format!("{prefix}/detokenize"), &body).good();
            assert_eq!(back["prompt"], text);
        }
    }
    let half = live.post("/detokenize", &json!({ "tokens": [3 + 0xe2] })).good();
    assert_eq!(half["prompt"], "\u{fffd}");
    assert!(live.post("/tokenize", &json!({ "prompt": "a" })).good()["token_strs"].is_null());
}

#[test]
fn a_chat_is_shown_as_its_prompt() {
    let live = Live::start(Setup::default());
    let body = chat(json!({ "stream": true, "max_tokens": 3, "temperature": 0.5 }));
    let ids = live.post("/tokenize", &chat(json!({}))).good()["tokens"].clone();
    for path in ["/v1/chat/completions/render", "/apply-template"] {
        let shown = live.post(path, &body).good();
        assert_eq!(shown["model"], MODEL);
        assert_eq!(
            shown["prompt"],
            "<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\n"
        );
        assert_eq!(shown["token_ids"], ids);
        let error = live.post(path, &chat(json!({ "temperature": 3 }))).error(400);
        assert_eq!(error["param"], "temperature");
    }
    let returned = json!({ "max_tokens": 1, "return_token_ids": true });
    let answer = live.post("/v1/chat/completions", &chat(returned)).good();
    assert_eq!(answer["prompt_token_ids"], ids, "it is what is computed");
    assert_eq!(live.get("/version").good(), json!({ "version": env!("CARGO_PKG_VERSION") }));
}

#[test]
fn the_root_lists_what_is_there() {
    let live = Live::start(Setup::default());
    let root = live.get("/").good();
    assert_eq!(root["models"], json!([MODEL, "alias"]));
    for endpoint in root["endpoints"].as_array().unwrap() {
        let (method, path) = endpoint.as_str().unwrap().split_once(' ').unwrap();
        let id = if path.starts_with("/v1/models") { MODEL } else { "nothing" };
        let path = path.replace("{id}", id).replace("{item}", id);
        let reply = live.send(method, &path, &[], b"");
        // An object that is not there is not a path that is not there.
        let missing = [404, 405].contains(&reply.status) && !reply.text().contains("not_found\"");
        assert!(!missing, "{endpoint}: {}", reply.status);
    }
}

#[test]
fn paths_and_methods_that_are_not_there_have_openais_shape() {
    let live = Live::start(Setup::default());
    for path in ["/v1", "/v1/chat", "/v1/models/", "/v2/models", "/../etc/passwd", "/health/"] {
        assert_eq!(live.get(path).error(404)["code"], "unknown_url", "{path}");
    }
    for (path, what) in [
        ("/v1/fine_tuning/jobs", "fine-tuning"),
        ("/v1/audio/speech", "speech"),
        ("/v1/images/generations", "images"),
        ("/v1/videos", "videos"),
        ("/v1/realtime", "realtime"),
        ("/v1/vector_stores/vs_1/files", "vector stores"),
    ] {
        for method in ["GET", "POST"] {
            let error = live.send(method, path, &[], b"").error(404);
            assert_eq!(error["code"], "not_implemented", "{path}");
            assert!(error["message"].as_str().unwrap().contains(what), "{error}");
        }
    }
    for (method, path) in [
        ("PUT", "/v1/chat/completions"),
        ("GET", "/v1/responses"),
        ("PUT", "/v1/completions"),
        ("DELETE", "/v1/models/alias"),
        ("POST", "/v1/models"),
        ("POST", "/health"),
    ] {
        let reply = live.send(method, path, &[], b"");
        assert_eq!(reply.error(405)["code"], "method_not_allowed", "{method} {path}");
        assert!(reply.header("allow").is_some());
    }
}

#[test]
fn health_is_good_and_metrics_count() {
    let live = Live::start(Setup::default());
    assert_eq!(live.get("/health").good()["status"], "ok");
    assert_eq!(live.send("HEAD", "/health", &[], b"").status, 200);
    let path = "/v1/chat/completions";
    live.post(path, &chat(json!({ "max_tokens": 7, "ignore_eos": true }))).good();
    live.post(path, &json!({})).error(400);
    live.wait_until_idle();
    let reply = live.get("/metrics");
    let kind = reply.header("content-type").unwrap();
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    let text = reply.text();
    for prefix in ["myriad_", "vllm:"] {
        let value = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(&format!("{prefix}{name}{{")));
            let line = line.unwrap_or_else(|| panic!("no {prefix}{name} in {text}"));
            line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
        };
        assert_eq!(value("num_requests_running"), 0.0);
        assert_eq!(value("num_requests_waiting"), 0.0);
        assert_eq!(value("kv_cache_usage_perc"), 0.0);
        assert_eq!(value("generation_tokens_total"), 7.0);
        assert_eq!(value("request_success_total"), 1.0);
        assert_eq!(value("time_to_first_token_seconds_count"), 1.0);
        assert!(value("prompt_tokens_total") > 10.0);
    }
    for status in [200, 400] {
        let counted = text.lines().any(|line| {
            line.starts_with("myriad_http_requests_total")
                && line.contains(&format!("route=\"{path}\""))
                && line.contains(&format!("status=\"{status}\""))
                && line.ends_with(" 1")
        });
        assert!(counted, "{status} in {text}");
    }
    assert!(text.ends_with("# EOF\n"));
}
