//! Turns requests into JSON-RPC and JSON-RPC into what it is: an answer, a request, a notice.

use serde_json::{Map, Value, json};

use super::super::failure::Failure;
use super::MODERN;

/// Characters of a server's words.
const WORDS_CHARS_MAX: usize = 400;

/// What a method that is not here is answered with.
const METHOD_NOT_FOUND: i64 = -32601;

/// What came from a server.
#[derive(Debug, PartialEq)]
pub enum Message {
    /// The answer to a request of this number.
    Answer(u64, Result<Value, Failure>),
    /// A request of the server's own, with what it is answered.
    Request(Value),
    /// The tools are others now.
    ToolsChanged,
    /// Progress, logs, answers to what nobody asked.
    Other,
}

/// A request.
pub fn request(id: u64, method: &str, params: Map<String, Value>) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

/// What needs no answer.
pub fn notice(method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "method": method, "params": params })
}

/// Who asks, as every request of the modern era says it.
pub fn about_client() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientInfo": client(),
        "io.modelcontextprotocol/clientCapabilities": {},
    })
}

/// The name and version of this program.
pub fn client() -> Value {
    json!({ "name": "myriad", "title": "Myriad", "version": env!("CARGO_PKG_VERSION") })
}

/// Reads a message.
///
/// # Errors
/// Where it is no JSON-RPC.
pub fn read(text: &[u8]) -> Result<Message, Failure> {
    let unreadable = |what: &str| Failure::Unreadable(what.to_owned());
    let mut value: Value =
        serde_json::from_slice(text).map_err(|_| unreadable("a message that is no JSON"))?;
    if value["jsonrpc"] != "2.0" {
        return Err(unreadable("a message that is no JSON-RPC"));
    }
    let id = value.get("id").filter(|id| !id.is_null()).cloned();
    if let Some(method) = value["method"].as_str() {
        return Ok(match id {
            Some(id) => Message::Request(reply(&id, method)),
            None if method == "notifications/tools/list_changed" => Message::ToolsChanged,
            None => Message::Other,
        });
    }
    // Numbers are ours; all else was not asked for.
    let Some(id) = id.as_ref().and_then(Value::as_u64) else { return Ok(Message::Other) };
    if let Some(failure) = error_in(&value) {
        return Ok(Message::Answer(id, Err(failure)));
    }
    match value["result"].take() {
        result @ Value::Object(_) => Ok(Message::Answer(id, Ok(result))),
        _ => Err(unreadable("an answer without a result")),
    }
}

/// The error in a body whose status says no, if it is one of the protocol's.
pub fn error_of(text: &[u8]) -> Option<Failure> {
    error_in(&serde_json::from_slice(text).ok()?)
}

fn error_in(value: &Value) -> Option<Failure> {
    let error = value.get("error").filter(|error| error.is_object())?;
    let supported = error.pointer("/data/supported").and_then(Value::as_array);
    let supported = supported.into_iter().flatten().take(16).filter_map(Value::as_str);
    Some(Failure::Told {
        code: error["code"].as_i64()?,
        message: words(error["message"].as_str().unwrap_or_default()),
        supported: supported.map(words).collect(),
    })
}

/// A server's own words, which may be anything.
pub fn words(text: &str) -> String {
    text.chars().filter(|char| !char.is_control()).take(WORDS_CHARS_MAX).collect()
}

/// This client gives nothing to servers: no model, no files, no forms to people.
fn reply(id: &Value, method: &str) -> Value {
    match method {
        "ping" => json!({ "jsonrpc": "2.0", "id": id, "result": {} }),
        _ => {
            let error = json!({ "code": METHOD_NOT_FOUND, "message": "Method not found" });
            json!({ "jsonrpc": "2.0", "id": id, "error": error })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_apart() {
        let read = |value: Value| read(value.to_string().as_bytes());
        let answer = json!({ "jsonrpc": "2.0", "id": 3, "result": { "a": 1 } });
        assert_eq!(read(answer), Ok(Message::Answer(3, Ok(json!({ "a": 1 })))));
        let error = json!({ "code": -32022, "message": "No\n", "data": { "supported": ["x"] } });
        let told =
            Failure::Told { code: -32022, message: "No".into(), supported: vec!["x".into()] };
        let wrong = json!({ "jsonrpc": "2.0", "id": 3, "error": error });
        assert_eq!(read(wrong), Ok(Message::Answer(3, Err(told))));
        let ping = json!({ "jsonrpc": "2.0", "id": "p", "method": "ping" });
        let pong = json!({ "jsonrpc": "2.0", "id": "p", "result": {} });
        assert_eq!(read(ping), Ok(Message::Request(pong)));
        let sampling = json!({ "jsonrpc": "2.0", "id": 9, "method": "sampling/createMessage" });
        let Ok(Message::Request(no)) = read(sampling) else { panic!("a request") };
        assert_eq!((&no["id"], &no["error"]["code"]), (&json!(9), &json!(-32601)));
        let changed = "notifications/tools/list_changed";
        assert_eq!(read(json!({ "jsonrpc": "2.0", "method": changed })), Ok(Message::ToolsChanged));
        for other in [
            json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": {} }),
            json!({ "jsonrpc": "2.0", "id": "3", "result": {} }),
            json!({ "jsonrpc": "2.0", "id": null, "error": { "code": 1, "message": "" } }),
        ] {
            assert_eq!(read(other.clone()), Ok(Message::Other), "{other}");
        }
        for wrong in [json!([]), json!({}), json!({ "jsonrpc": "2.0", "id": 1, "result": 7 })] {
            assert!(matches!(read(wrong), Err(Failure::Unreadable(_))));
        }
    }
}
