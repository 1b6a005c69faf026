//! Turns every reply that the tests see into a check of `/openapi.json`: its status, its content
//! type and its body must be described there.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use jsonschema::Validator;
use serde_json::{Value, json};

use crate::harness::{Live, Reply, Setup};

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(myriad_server::openapi_document()).expect("JSON"));

/// By the schema's place in the document.
static VALIDATORS: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);

/// Fails where a reply of a known route is not as the document says.
pub fn check(method: &str, path: &str, reply: &Reply) {
    let path = path.split('?').next().unwrap_or_default();
    let Some(operation) = operation(method, path) else { return };
    // "Go on", "go there", and "as you have it": HTTP's own words, without a body.
    if [100, 303, 304].contains(&reply.status) {
        return;
    }
    let what = format!("{method} {path} {}", reply.status);
    let response = &operation["responses"][reply.status.to_string()];
    assert!(response.is_object(), "{what} is not in /openapi.json");
    let content = reply.header("content-type").unwrap_or_default();
    let content = content.split(';').next().unwrap_or_default().trim();
    let schema = &response["content"][content]["schema"];
    assert!(schema.is_object(), "{what}: {content:?} is not in /openapi.json");
    match content {
        "application/json" => hold(schema, &reply.json(), &what),
        "text/event-stream" => {
            let events = reply.text().split("\n\n").flat_map(str::lines);
            for data in events.filter_map(|line| line.strip_prefix("data: ")) {
                // What breaks off says so by an error, which has a shape of its own.
                let Ok(event) = serde_json::from_str::<Value>(data) else { continue };
                if event.get("error").is_none_or(Value::is_null) {
                    hold(&schema["properties"]["data"]["anyOf"][1]["contentSchema"], &event, &what);
                }
            }
        }
        "application/x-ndjson" => {
            for line in reply.text().lines() {
                let line = serde_json::from_str(line).expect("a line of JSON");
                hold(&schema["contentSchema"], &line, &what);
            }
        }
        _ => {}
    }
}

fn operation(method: &str, path: &str) -> Option<&'static Value> {
    let paths = DOCUMENT["paths"].as_object().expect("paths");
    let item = paths.get(path).or_else(|| {
        let mut fitting = paths.iter().filter(|(template, _)| fits(template, path));
        fitting.next().map(|(_, item)| item)
    });
    item?.get(method.to_lowercase())
}

/// Whether a path is one of a template's. Names of models hold slashes.
fn fits(template: &str, path: &str) -> bool {
    if let Some(models) = template.strip_suffix("models/{id}") {
        return path.starts_with(&format!("{models}models/"));
    }
    let parts: Vec<&str> = template.split('/').collect();
    let found: Vec<&str> = path.split('/').collect();
    let fits = |(part, found): (&&str, &&str)| part == found || part.starts_with('{');
    parts.len() == found.len() && parts.iter().zip(&found).all(fits)
}

fn hold(schema: &Value, value: &Value, what: &str) {
    let validator = validator(schema);
    let faults: Vec<_> = validator.iter_errors(value).map(|error| error.to_string()).collect();
    assert!(faults.is_empty(), "{what}: {faults:?} in {value}");
}

fn validator(schema: &Value) -> Arc<Validator> {
    let key = schema.to_string();
    let mut known = VALIDATORS.lock().expect("no panic while it is held");
    let made = known.entry(key).or_insert_with(|| {
        let mut whole = schema.clone();
        whole["components"] = DOCUMENT["components"].clone();
        Arc::new(jsonschema::draft202012::new(&whole).expect("a schema"))
    });
    Arc::clone(made)
}

#[test]
fn the_document_is_served_and_has_every_route() {
    let live = Live::start(Setup::default());
    let served = live.get("/openapi.json").good();
    assert_eq!(served, *DOCUMENT);
    let listed = live.get("/").good();
    for endpoint in listed["endpoints"].as_array().unwrap() {
        let (method, path) = endpoint.as_str().unwrap().split_once(' ').unwrap();
        let item = &served["paths"][path][method.to_lowercase()];
        assert!(item["summary"].is_string(), "{endpoint}");
    }
}

/// Each route of the document, without a key, with a wrong one, with the right one.
#[test]
fn every_route_of_the_document_asks_for_a_key() {
    let mut setup = Setup::default();
    setup.config.api_keys = vec!["right".into()];
    let live = Live::start(setup);
    let mut open = Vec::new();
    for (path, item) in DOCUMENT["paths"].as_object().unwrap() {
        let path = path.replace(['{', '}'], "");
        for (method, operation) in item.as_object().unwrap() {
            let method = method.to_uppercase();
            if operation["security"] == json!([{}]) {
                open.push(path.clone());
                assert_ne!(live.send(&method, &path, &[], b"").status, 401);
                continue;
            }
            let wrong = [("authorization", "Bearer wrong")];
            for headers in [&[][..], &wrong[..]] {
                let reply = live.send(&method, &path, headers, b"{}");
                assert_eq!(reply.status, 401, "{method} {path}");
            }
            let reply = live.send(&method, &path, &[("x-api-key", "right")], b"{}");
            assert_ne!(reply.status, 401, "{method} {path}");
        }
    }
    open.sort();
    open.dedup();
    let right = [
        "/app/features",
        "/app/invitations/accept",
        "/app/oidc",
        "/app/oidc/callback",
        "/app/session",
        "/app/setup",
        "/app/shared/token",
        "/health",
    ];
    assert_eq!(open, right);
    assert!(DOCUMENT["paths"].as_object().unwrap().len() > 15);
}
