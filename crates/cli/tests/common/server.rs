//! Turns a function from requests to replies into an HTTP server on a free port of this machine.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What a client asked.
#[derive(Clone, Debug)]
pub struct Request {
    pub path: String,
    /// Names in lower case.
    pub headers: HashMap<String, String>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The start of `bytes=START-`.
    pub fn range_start(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.split('-').next()?.parse().ok()
    }
}

/// What a client gets.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Close the connection after so many bytes of the body.
    pub cut_after: Option<usize>,
}

impl Reply {
    pub fn status(status: u16) -> Reply {
        Reply { status, ..Reply::default() }
    }

    pub fn json(value: serde_json::Value) -> Reply {
        Reply { status: 200, body: value.to_string().into_bytes(), ..Reply::default() }
    }

    pub fn redirect(to: &str) -> Reply {
        Reply::status(302).with("location", to)
    }

    /// The whole of a file, or the part that is asked for.
    pub fn file(request: &Request, body: &[u8]) -> Reply {
        let etag = "\"version-1\"";
        match request.range_start().filter(|start| *start < body.len()) {
            Some(start) if request.header("if-range").is_none_or(|wanted| wanted == etag) => {
                let range = format!("bytes {start}-{}/{}", body.len() - 1, body.len());
                let body = body[start..].to_vec();
                let reply = Reply { status: 206, body, ..Reply::default() };
                reply.with("content-range", &range).with("etag", etag)
            }
            _ => Reply { status: 200, body: body.to_vec(), ..Reply::default() }.with("etag", etag),
        }
    }

    pub fn with(mut self, name: &str, value: &str) -> Reply {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn cut_after(mut self, bytes: usize) -> Reply {
        self.cut_after = Some(bytes);
        self
    }
}

/// A server; its thread ends with the test's process.
pub struct Server {
    pub port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Answers every request with what `reply` makes of it and of the number of those before.
    pub fn start(reply: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that goes away in the middle is part of some tests.
                let _ = answer(stream, &seen, &reply);
            }
        });
        Server { port, requests }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What was asked so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// What was asked of paths that contain `part`.
    pub fn requests_of(&self, part: &str) -> Vec<Request> {
        self.requests().into_iter().filter(|request| request.path.contains(part)).collect()
    }
}

fn answer(
    stream: TcpStream,
    seen: &Mutex<Vec<Request>>,
    reply: &(impl Fn(&Request, usize) -> Reply + Send + Sync),
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = HashMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let request = Request { path, headers };
    let before = {
        let mut seen = seen.lock().unwrap();
        seen.push(request.clone());
        seen.len() - 1
    };
    let reply = reply(&request, before);
    let mut stream = stream;
    write!(stream, "HTTP/1.1 {} x\r\nconnection: close\r\n", reply.status)?;
    write!(stream, "content-length: {}\r\n", reply.body.len())?;
    for (name, value) in &reply.headers {
        write!(stream, "{name}: {value}\r\n")?;
    }
    stream.write_all(b"\r\n")?;
    stream.write_all(&reply.body[..reply.cut_after.unwrap_or(reply.body.len())])
}
