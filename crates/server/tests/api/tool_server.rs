//! Turns a script into a server of tools that speaks MCP, well or badly, and a server here that has
//! its tools.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use myriad_server::{ServerConfig, Tools};
use serde_json::{Value, json};

use super::harness::{Keeps, Live, Setup};

/// The secret of the operator's for this server.
pub const SECRET: &str = "mcp-SECRET";

/// How a server behaves.
#[derive(Clone, Default)]
pub struct Ways {
    /// Whether it speaks the protocol of 2026-07-28, without sessions.
    pub modern: bool,
    /// Whether answers to calls are streams.
    pub streams: bool,
    /// What a call is answered, in place of a result: whole HTTP.
    pub raw: Option<Vec<u8>>,
    /// How long a call takes.
    pub call_ms: u64,
    /// The next request in a session finds it ended.
    pub ends_session: bool,
    /// Whether a call brings the news that the tools are others.
    pub changes: bool,
    /// Whether the server asks for things during a call.
    pub asks: bool,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub headers: HashMap<String, String>,
    pub body: Value,
}

/// A server of tools.
pub struct ToolServer {
    pub port: u16,
    pub ways: Arc<Mutex<Ways>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl ToolServer {
    pub fn start(ways: Ways) -> ToolServer {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (ways, seen) = (Arc::new(Mutex::new(ways)), Arc::<Mutex<Vec<Seen>>>::default());
        let (shared, requests) = (Arc::clone(&ways), Arc::clone(&seen));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let (ways, seen) = (Arc::clone(&shared), Arc::clone(&requests));
                std::thread::spawn(move || serve(stream, &ways, &seen));
            }
        });
        ToolServer { port, ways, seen }
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Requests of a method of JSON-RPC's, or of HTTP's.
    pub fn of(&self, method: &str) -> Vec<Seen> {
        let all = self.seen().into_iter();
        all.filter(|seen| seen.body["method"] == method || seen.method == method).collect()
    }
}

fn read(stream: &mut TcpStream) -> Option<Seen> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let mut lines = head.lines();
        let mut first = lines.next()?.split(' ').map(str::to_owned);
        let (method, path) = (first.next()?, first.next()?);
        let headers: HashMap<String, String> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
        if body.len() >= length {
            let body = serde_json::from_str(body).unwrap_or(Value::Null);
            return Some(Seen { method, path, headers, body });
        }
    }
}

fn http(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    )
    .into_bytes()
}

pub fn as_json(status: &str, body: &Value) -> Vec<u8> {
    http(status, "content-type: application/json\r\n", &body.to_string())
}

pub fn as_events(events: &[Value]) -> Vec<u8> {
    let events: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    http("200 OK", "content-type: text/event-stream\r\n", &format!("id: 1\ndata:\n\n{events}"))
}

fn serve(mut stream: TcpStream, ways: &Mutex<Ways>, seen: &Mutex<Vec<Seen>>) {
    let Some(request) = read(&mut stream) else { return };
    seen.lock().unwrap().push(request.clone());
    let now = ways.lock().unwrap().clone();
    let _ = stream.write_all(&answer(&request, &now, ways));
}

fn answer(request: &Seen, now: &Ways, ways: &Mutex<Ways>) -> Vec<u8> {
    let id = request.body["id"].clone();
    let result = |result: Value| json!({ "jsonrpc": "2.0", "id": id, "result": result });
    let method = request.body["method"].as_str().unwrap_or_default();
    let in_session = request.headers.get("mcp-session-id").is_some_and(|id| id.starts_with("s-"));
    if request.path.starts_with("/search?") {
        let found = json!({ "title": "Sunny in <b>May</b>", "url": "https://example.com/may",
                            "content": "Some words." });
        return as_json("200 OK", &json!({ "query": "", "results": [found] }));
    }
    if request.method == "DELETE" || id.is_null() || request.body.get("method").is_none() {
        return http("202 Accepted", "", "");
    }
    let is_modern = request.body["params"].get("_meta").is_some();
    match method {
        "server/discover" if now.modern => as_json(
            "200 OK",
            &result(json!({ "resultType": "complete", "supportedVersions": ["2026-07-28"] })),
        ),
        "initialize" if !now.modern => {
            let about = json!({ "protocolVersion": "2025-06-18", "capabilities": {},
                                "serverInfo": { "name": "scripted", "version": "1" } });
            let headers = "content-type: application/json\r\nmcp-session-id: s-1\r\n";
            http("200 OK", headers, &result(about).to_string())
        }
        _ if now.modern == is_modern && (is_modern || in_session) => {
            in_order(request, now, ways, &result)
        }
        _ => {
            let error = json!({ "code": -32000, "message": "Bad Request: No valid session ID" });
            let error = json!({ "jsonrpc": "2.0", "id": null, "error": error });
            as_json("400 Bad Request", &error)
        }
    }
}

fn in_order(
    request: &Seen,
    now: &Ways,
    ways: &Mutex<Ways>,
    result: &dyn Fn(Value) -> Value,
) -> Vec<u8> {
    if now.ends_session {
        ways.lock().unwrap().ends_session = false;
        return http("404 Not Found", "", "");
    }
    let params = &request.body["params"];
    match request.body["method"].as_str().unwrap_or_default() {
        "tools/list" => as_json("200 OK", &result(listed(params))),
        "tools/call" => {
            std::thread::sleep(Duration::from_millis(now.call_ms));
            if let Some(raw) = &now.raw {
                return raw.clone();
            }
            let text = format!("Sunny in {}.", params["arguments"]["city"].as_str().unwrap_or("?"));
            let content = json!([{ "type": "text", "text": text }]);
            let given = result(json!({ "content": content }));
            if !now.streams {
                return as_json("200 OK", &given);
            }
            let note = |method: &str| json!({ "jsonrpc": "2.0", "method": method });
            let mut events = vec![note("notifications/progress")];
            if now.changes {
                events.push(note("notifications/tools/list_changed"));
            }
            if now.asks {
                for (id, method) in [("p", "ping"), ("q", "sampling/createMessage")] {
                    events.push(json!({ "jsonrpc": "2.0", "id": id, "method": method }));
                }
            }
            events.push(json!({ "jsonrpc": "2.0", "id": 999_999, "result": {} }));
            events.push(given);
            as_events(&events)
        }
        _ => as_json(
            "404 Not Found",
            &json!({ "jsonrpc": "2.0", "id": request.body["id"],
            "error": { "code": -32601, "message": "Method not found" } }),
        ),
    }
}

/// Two pages of tools.
fn listed(params: &Value) -> Value {
    let schema = json!({ "type": "object", "properties": { "city": { "type": "string",
        "x-mcp-header": "City" } }, "required": ["city"] });
    let tool = |name: &str, schema: &Value| {
        json!({ "name": name, "title": "A title", "description": "How it is there",
                "inputSchema": schema })
    };
    match params["cursor"].as_str() {
        None => json!({ "tools": [tool("forecast", &schema)], "nextCursor": "two" }),
        Some(_) => {
            let odd = json!({ "type": "object", "properties": { "a": { "type": "colour" } } });
            json!({ "tools": [tool("odd one", &schema), tool("unheld", &odd)] })
        }
    }
}

/// A server here with the tools of a server there, under the name `weather`.
pub fn with_tools(port: u16, more: &str, script: Value) -> Live {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("secret"), SECRET).expect("a secret");
    let file = folder.path().join("tools.toml");
    let server = format!(
        "[[server]]\nname = \"weather\"\naddress = \"http://127.0.0.1:{port}/mcp\"\nseconds = 2\n\
         {more}\n[[server.header]]\nname = \"Authorization\"\nfile = \"secret\"\nprefix = \
         \"Bearer \"\n[search]\naddress = \"http://127.0.0.1:{port}\"\nask = false\n"
    );
    std::fs::write(&file, server).expect("a file");
    let tools = Arc::new(Tools::read(&file).expect("a right file"));
    let config = ServerConfig { port: 0, tools, ..ServerConfig::default() };
    let storage = Some(Keeps::Everything);
    Live::start(Setup { script: Some(script), storage, config, ..Setup::default() })
}
