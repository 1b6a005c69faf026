//! Turns keys, origins and request ids into who is let in, on every path.

use serde_json::{Value, json};

use crate::harness::{Keeps, Live, Setup, chat};
use myriad_server::ServerConfig;
use myriad_store::NewKey;

const PATHS: [(&str, &str); 13] = [
    ("GET", "/"),
    ("GET", "/metrics"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/alias"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions"),
    ("POST", "/tokenize"),
    ("POST", "/v1/tokenize"),
    ("POST", "/detokenize"),
    ("POST", "/v1/detokenize"),
    ("GET", "/nowhere"),
    ("DELETE", "/v1/models"),
    ("OPTIONS", "/v1/chat/completions"),
];

fn with_config(config: ServerConfig) -> Live {
    Live::start(Setup { config: ServerConfig { port: 0, ..config }, ..Setup::default() })
}

#[test]
fn without_the_key_only_health_answers() {
    let keys = vec!["first".to_owned(), "second".to_owned()];
    let live = with_config(ServerConfig { api_keys: keys, ..ServerConfig::default() });
    assert_eq!(live.get("/health").status, 200);
    for (method, path) in PATHS {
        let none = live.send(method, path, &[], b"");
        assert_eq!(none.error(401)["code"], "invalid_api_key", "{method} {path}");
        assert_eq!(none.header("www-authenticate"), Some("Bearer"));
        let wrong = live.send(method, path, &[("authorization", "Bearer third")], b"{}");
        wrong.error(401);
        for right in [("authorization", "Bearer first"), ("x-api-key", "second")] {
            let reply = live.send(method, path, &[right], b"");
            assert_ne!(reply.status, 401, "{method} {path}");
        }
    }
    let body = chat(json!({ "max_tokens": 2 })).to_string();
    let key = [("authorization", "Bearer second")];
    live.send("POST", "/v1/chat/completions", &key, body.as_bytes()).good();
}

#[test]
fn keys_of_the_store_open_until_they_are_revoked() {
    let live = Live::start(Setup { storage: Some(Keeps::Keys), ..Setup::default() });
    live.get("/v1/models").good();
    let keys = &live.storage.as_ref().unwrap().keys;
    let new = |name| NewKey { owner: "me", name, expires_at: None };
    let (_, text) = live.block_on(keys.create(new("first"), 0)).unwrap();
    let (other, revoked) = live.block_on(keys.create(new("second"), 0)).unwrap();
    assert!(live.block_on(keys.revoke(&other.id, 1)).unwrap());
    let over = NewKey { expires_at: Some(1), ..new("third") };
    let (_, over) = live.block_on(keys.create(over, 0)).unwrap();
    assert_eq!(live.get("/health").status, 200);
    for (method, path) in PATHS {
        assert_eq!(live.send(method, path, &[], b"").error(401)["code"], "invalid_api_key");
        for wrong in [&text[..49], &revoked, &over, "sk-myriad-", "\u{fc}"] {
            let bearer = format!("Bearer {wrong}");
            live.send(method, path, &[("authorization", &bearer)], b"").error(401);
            live.send(method, path, &[("x-api-key", wrong)], b"").error(401);
        }
        let reply = live.send(method, path, &[("x-api-key", &text)], b"");
        assert_ne!(reply.status, 401, "{method} {path}");
    }
}

#[test]
fn owners_do_not_learn_from_the_cache_what_others_asked() {
    let live = Live::start(Setup { storage: Some(Keeps::Keys), ..Setup::default() });
    let [one, other] = ["one", "other"].map(|owner| live.key_of(owner));
    let text = "The same long question of two people. ".repeat(6);
    let messages = json!([{ "role": "user", "content": text }]);
    let chat = json!({ "messages": messages, "max_tokens": 4, "temperature": 0 });
    let judged = json!({ "input": text, "questions": [
        { "type": "predicate", "name": "long", "instructions": "Is it long?" }] });
    let asked = |key: &str, path: &str, body: &Value| {
        let key = [("authorization", key)];
        live.send("POST", path, &key, body.to_string().as_bytes()).good()
    };
    for (path, body, cached) in [
        ("/v1/chat/completions", &chat, "/usage/prompt_tokens_details/cached_tokens"),
        ("/v1/decisions", &judged, "/usage/input_tokens_details/cached_tokens"),
    ] {
        let cached = |reply: &Value| reply.pointer(cached).and_then(Value::as_u64).unwrap();
        // The second path's prompt begins like the first's, which its owner has asked before.
        let first = cached(&asked(&one, path, body));
        assert!(first < 8, "{path}: {first}");
        let again = asked(&one, path, body);
        assert!(cached(&again) > 32, "{path}: {again}");
        let others = asked(&other, path, body);
        assert_eq!(cached(&others), first, "{path}");
        assert_eq!(others["choices"][0]["message"], again["choices"][0]["message"]);
        assert_eq!(others["answers"], again["answers"]);
    }
}

#[test]
fn pages_of_others_reach_nothing() {
    let live = with_config(ServerConfig {
        allowed_origins: vec!["https://chat.example.com".into()],
        ..ServerConfig::default()
    });
    let body = chat(json!({ "max_tokens": 2 })).to_string();
    let send = |headers: &[(&str, &str)]| {
        live.send("POST", "/v1/chat/completions", headers, body.as_bytes())
    };
    for (method, path) in PATHS {
        let reply = live.send(method, path, &[("origin", "https://evil.example")], b"");
        reply.error(403);
        assert_eq!(reply.header("access-control-allow-origin"), None);
        live.send(method, path, &[("host", "evil.example:8080")], b"").error(403);
    }
    for origin in ["https://chat.example.com", "http://localhost:3000"] {
        let reply = send(&[("origin", origin)]);
        reply.good();
        assert_eq!(reply.header("access-control-allow-origin"), Some(origin));
        assert!(reply.header("vary").unwrap().contains("origin"));
        let expose = reply.header("access-control-expose-headers").unwrap();
        assert!(expose.contains("x-request-id"));
    }
    send(&[("host", "127.0.0.1:8080")]).good();
    assert_eq!(send(&[]).header("access-control-allow-origin"), None);
}

#[test]
fn preflights_of_allowed_pages_are_answered_without_a_key() {
    let live = with_config(ServerConfig {
        api_keys: vec!["secret".into()],
        allowed_origins: vec!["https://chat.example.com".into()],
        ..ServerConfig::default()
    });
    let preflight = |origin: &str| {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization, x-stainless-os"),
        ];
        live.send("OPTIONS", "/v1/chat/completions", &headers, b"")
    };
    let allowed = preflight("https://chat.example.com");
    assert_eq!(allowed.status, 204);
    let header = |name: &str| allowed.header(name).unwrap_or_default().to_owned();
    assert_eq!(header("access-control-allow-origin"), "https://chat.example.com");
    assert!(header("access-control-allow-methods").contains("POST"));
    assert_eq!(header("access-control-allow-headers"), "authorization, x-stainless-os");
    let refused = preflight("https://evil.example");
    assert_eq!(refused.status, 401);
    assert_eq!(refused.header("access-control-allow-origin"), None);
    // A key is what a page of anyone's cannot have, under whatever name it comes.
    let key = [("authorization", "Bearer secret"), ("host", "models.example.org")];
    live.send("GET", "/v1/models", &key, b"").good();
}

#[test]
fn every_answer_has_a_request_id() {
    let live = Live::start(Setup::default());
    let own = [("x-request-id", "trace-7")];
    for (method, path) in PATHS {
        let reply = live.send(method, path, &own, b"");
        assert_eq!(reply.header("x-request-id"), Some("trace-7"), "{method} {path}");
        let reply = live.send(method, path, &[("x-request-id", "not {harmless}")], b"");
        let id = reply.header("x-request-id").unwrap_or_default();
        assert!(id.starts_with("req_") && id.len() == 36, "{id}");
    }
    let refused = live.send("GET", "/", &[("origin", "null")], b"");
    assert!(refused.header("x-request-id").is_some());
}
