//! Turns a list of acts into a server elsewhere that does them, well or badly, and a server here
//! that sends chats on to it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use myriad_server::{ServerConfig, Upstreams};
use serde_json::{Value, json};

use super::harness::{Live, Setup, chat, with};

/// The key of this server for the one elsewhere.
pub const KEY: &str = "sk-UPSTREAM-SECRET";

/// What a server elsewhere does with one request.
#[derive(Clone)]
pub enum Act {
    /// Writes this, in pieces with pauses, and closes.
    Say(Vec<Vec<u8>>),
    /// Writes this, and then nothing more for a long time.
    Hang(Vec<u8>),
    /// Writes this, and breaks the connection with a reset.
    Reset(Vec<u8>),
}

/// A server elsewhere, which does one act after another, the last one again and again.
pub struct Elsewhere {
    pub port: u16,
    /// Whole requests, as they came.
    seen: Arc<Mutex<Vec<String>>>,
    /// How many connections the other side has ended while an act hung.
    pub gone: Arc<Mutex<usize>>,
}

impl Elsewhere {
    pub fn start(acts: Vec<Act>) -> Elsewhere {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (seen, gone) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<Mutex<usize>>::default());
        let (requests, ended) = (Arc::clone(&seen), Arc::clone(&gone));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let request = read_request(&mut stream);
                let mut all = requests.lock().unwrap();
                let act = acts[all.len().min(acts.len() - 1)].clone();
                all.push(request);
                drop(all);
                let ended = Arc::clone(&ended);
                std::thread::spawn(move || perform(stream, act, &ended));
            }
        });
        Elsewhere { port, seen, gone }
    }

    pub fn requests(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// The JSON of a request.
    pub fn body(&self, at: usize) -> Value {
        let requests = self.requests();
        serde_json::from_str(requests[at].split_once("\r\n\r\n").expect("a head").1).expect("JSON")
    }
}

fn read_request(stream: &mut TcpStream) -> String {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut buffer).expect("a request");
        bytes.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if count == 0 || body.len() >= length.map_or(0, |length| length.parse().expect("a length"))
        {
            return text;
        }
    }
}

fn perform(mut stream: TcpStream, act: Act, ended: &Mutex<usize>) {
    match act {
        Act::Say(pieces) => {
            for piece in pieces {
                if stream.write_all(&piece).is_err() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        Act::Hang(bytes) => {
            stream.write_all(&bytes).expect("it is read");
            stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
            if matches!(stream.read(&mut [0; 64]), Ok(0) | Err(_)) {
                *ended.lock().unwrap() += 1;
            }
        }
        Act::Reset(bytes) => {
            stream.write_all(&bytes).expect("it is read");
            std::thread::sleep(Duration::from_millis(50));
            // What was promised does not come.
        }
    }
}

pub fn reply(status: &str, headers: &str, body: &str) -> Act {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
    );
    Act::Say(vec![head.into_bytes(), body.as_bytes().to_vec()])
}

pub fn says(status: &str, body: &Value) -> Act {
    reply(status, "content-type: application/json\r\n", &body.to_string())
}

pub const STREAM: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";

pub fn streams(events: &[&str]) -> Act {
    let pieces = std::iter::once(STREAM).chain(events.iter().copied());
    Act::Say(pieces.map(|piece| piece.as_bytes().to_vec()).collect())
}

pub fn serve(port: u16, kind: &str, more: &str) -> Live {
    serve_with(port, kind, more, Setup::default())
}

/// A server with one upstream, called `far`.
pub fn serve_with(port: u16, kind: &str, more: &str, setup: Setup) -> Live {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("key"), format!("{KEY}\n")).expect("a key");
    let file = folder.path().join("upstreams.toml");
    let models = if more.contains("models") { "" } else { "models = [\"big\", \"small\"]" };
    let text = format!(
        "[[upstream]]\nname = \"far\"\nkind = \"{kind}\"\nurl = \"http://127.0.0.1:{port}/v1\"\n\
         key_file = \"key\"\nfirst_byte_seconds = 2\nidle_seconds = 1\n{models}\n{more}"
    );
    std::fs::write(&file, text).expect("a file");
    let upstreams = Arc::new(Upstreams::read(&file).expect("a right file"));
    let config = ServerConfig { upstreams, ..setup.config };
    Live::start(Setup { config, ..setup })
}

pub const PATH: &str = "/v1/chat/completions";

pub fn to_big(fields: Value) -> Value {
    with(&chat(fields), "model", json!("far/big"))
}

/// The text of a stream and its last reason.
pub fn put_together(events: &[Value]) -> (String, String, Value) {
    let (mut text, mut thoughts, mut reason) = (String::new(), String::new(), Value::Null);
    for event in events {
        let choice = &event["choices"][0];
        text.push_str(choice["delta"]["content"].as_str().unwrap_or_default());
        thoughts.push_str(choice["delta"]["reasoning"].as_str().unwrap_or_default());
        if !choice["finish_reason"].is_null() {
            reason = choice["finish_reason"].clone();
        }
    }
    (text, thoughts, reason)
}
