//! Turns the built binary into a running server that can be killed at any moment.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::thread;

use serde_json::Value;

use super::Home;

/// A running server; killed, as by `kill -9`, when it is dropped.
pub struct Serving {
    child: Child,
    port: u16,
}

impl Serving {
    /// Serves `script.json` of this home, with so many lines of batches at the same time.
    pub fn start(home: &Home, batch_lines: usize) -> Serving {
        let parallel = batch_lines.to_string();
        let log = fs::File::options().create(true).append(true).open(home.path().join("log"));
        let mut command = home.myriad(&["serve", "script:script.json", "--port", "0"]);
        command.args(["--batch-lines", &parallel]);
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the binary runs");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let banner = lines.next().expect("a banner").expect("text");
        let port = banner.split("http://127.0.0.1:").nth(1).expect("an address");
        let port = port.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap();
        let mut log = log.expect("a log");
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = writeln!(log, "{line}");
            }
        });
        Serving { child, port }
    }

    /// Sends a request and goes away once its answer has begun.
    pub fn begin(&self, method: &str, path: &str, body: &[u8]) {
        let mut stream = self.request(method, path, "application/json", body);
        let mut first = [0; 12];
        stream.read_exact(&mut first).expect("an answer");
        assert_eq!(&first, b"HTTP/1.1 200");
    }

    fn request(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-type: {kind}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body].concat()).expect("a request");
        stream
    }

    /// The body of a good answer.
    pub fn send(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> Vec<u8> {
        let mut stream = self.request(method, path, kind, body);
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let (head, body) = (&answer[..end], &answer[end + 4..]);
        match String::from_utf8_lossy(head).to_lowercase().contains("transfer-encoding: chunked") {
            true => whole(body),
            false => body.to_vec(),
        }
    }

    /// The same, as JSON.
    pub fn json(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> Value {
        serde_json::from_slice(&self.send(method, path, kind, body)).expect("JSON")
    }
}

/// The body that came in chunks, each behind a line with its length.
fn whole(mut chunks: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let line = chunks.windows(2).position(|two| two == b"\r\n").expect("a length");
        let length = std::str::from_utf8(&chunks[..line]).expect("digits");
        let length = usize::from_str_radix(length, 16).expect("a length");
        if length == 0 {
            return body;
        }
        body.extend(&chunks[line + 2..][..length]);
        chunks = &chunks[line + 2 + length + 2..];
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
