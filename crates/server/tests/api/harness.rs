//! Turns a synthetic model into a live server on a free port, and bytes of HTTP into replies.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use myriad_engine::EngineConfig;
use myriad_formats::{Gguf, ModelFolder};
use myriad_kernels::{BlockType, Compute, Kernels, KvType};
use myriad_model::synthetic::{self, Parts, Shape, Tensor};
use myriad_model::{Family, Model, PAGE_TOKENS, Source};
use myriad_server::runtime::scripted::Script;
use myriad_server::{
    LoadedModel, Models, Others, Runtime, RuntimeConfig, ServerConfig, Storage, bind, serve_on,
};
use myriad_store::NewKey;
use myriad_token::{ChatTemplate, Tokenizer, VocabSpec};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::contract;

/// The name under which the model is served; names of hubs have slashes.
pub const MODEL: &str = "tests/synthetic";

/// The name of an encoder.
pub const ENCODER: &str = "tests/encoder";

/// `<|im_end|>`, which ends an answer.
pub const END: u32 = 2;

/// What a test's server is made of.
pub struct Setup {
    pub context: usize,
    pub parallel: usize,
    pub queue_max: usize,
    pub template: bool,
    /// Whether the only model is an encoder.
    pub encoder: bool,
    /// Whether encoders score pairs.
    pub classifier: bool,
    /// Whether there is an encoder beside the model, of the name [`ENCODER`].
    pub embedder: bool,
    /// The folder of a real encoder, in place of a random one.
    pub embedder_folder: Option<PathBuf>,
    /// Another template than that of the model.
    pub chat_template: Option<&'static str>,
    /// What can be loaded besides.
    pub others: Option<Others>,
    /// What a test double answers, instead of the random model.
    pub script: Option<Value>,
    /// Whether there is a data folder; without `content` for keys alone.
    pub storage: Option<Keeps>,
    pub config: ServerConfig,
}

/// What a test's server keeps.
#[derive(Clone, Copy, PartialEq)]
pub enum Keeps {
    Everything,
    Keys,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            context: 512,
            parallel: 8,
            queue_max: 256,
            template: true,
            encoder: false,
            classifier: false,
            embedder: false,
            embedder_folder: None,
            chat_template: None,
            others: None,
            script: None,
            storage: None,
            config: ServerConfig { port: 0, ..ServerConfig::default() },
        }
    }
}

/// A random model with its engine, on one thread.
pub fn runtime(setup: &Setup) -> Arc<Runtime> {
    if let Some(script) = &setup.script {
        let script = Script::parse(&script.to_string()).expect("a script");
        return Runtime::start_scripted(script, vec![MODEL.into()]).expect("a runtime");
    }
    if setup.encoder {
        return encoder(setup);
    }
    let shape = Shape { context: setup.context, ..Shape::small(Family::Llama, BlockType::Q8_0) };
    let file = Gguf::from_bytes(synthetic::gguf(&shape, 7)).expect("a file");
    let compute = Compute::new(Kernels::detect().expect("kernels"), 1);
    let tokenizer = Arc::new(Tokenizer::new(&file.vocab().expect("a vocabulary")).expect("ids"));
    let own = file.vocab().expect("a vocabulary").chat_template.expect("a template");
    let source = setup.chat_template.unwrap_or(&own);
    let template = ChatTemplate::new(source, &tokenizer).expect("a template");
    let model = LoadedModel {
        names: vec![MODEL.into(), "alias".into()],
        model: Arc::new(Model::load(&file, &compute, &mut |_| ()).expect("a model")),
        draft: None,
        compute,
        tokenizer,
        template: setup.template.then(|| Arc::new(template)),
    };
    let engine = EngineConfig {
        context: setup.context,
        parallel: setup.parallel,
        step_tokens: 64,
        pages: setup.context.div_ceil(PAGE_TOKENS) + 256,
        kv: KvType::F16,
        snapshots: 4,
        speculate: true,
    };
    let config = RuntimeConfig { queue_max: setup.queue_max, ..RuntimeConfig::from(engine) };
    Runtime::start(model, config).expect("a runtime")
}

/// A random encoder, on one thread.
pub fn encoder(setup: &Setup) -> Arc<Runtime> {
    let file = Gguf::from_bytes(encoder_file(setup.classifier)).expect("a file");
    start_encoder(&file, &file.vocab().expect("a vocabulary"), setup.queue_max)
}

/// An encoder that somebody trained.
fn real_encoder(folder: &Path) -> Arc<Runtime> {
    let folder = ModelFolder::open(folder).expect("a model");
    start_encoder(&folder, &folder.vocab().expect("a vocabulary"), 256)
}

fn start_encoder<'a>(
    source: impl Into<Source<'a>>,
    vocab: &VocabSpec,
    queue_max: usize,
) -> Arc<Runtime> {
    let compute = Compute::new(Kernels::detect().expect("kernels"), 1);
    let tokenizer = Tokenizer::new(vocab).expect("ids");
    let model = LoadedModel {
        names: vec![ENCODER.into()],
        model: Arc::new(Model::load(source, &compute, &mut |_| ()).expect("a model")),
        draft: None,
        compute,
        tokenizer: Arc::new(tokenizer),
        template: None,
    };
    let (context, parallel, step_tokens, pages) = (512, 1, 64, 16);
    let engine = EngineConfig {
        context,
        parallel,
        step_tokens,
        pages,
        kv: KvType::F16,
        snapshots: 0,
        speculate: true,
    };
    let config = RuntimeConfig { queue_max, ..RuntimeConfig::from(engine) };
    Runtime::start(model, config).expect("a runtime")
}

/// The file of the encoder.
pub fn encoder_file(classifier: bool) -> Vec<u8> {
    let mut parts = Parts::new(&Shape::small(Family::Bert, BlockType::Q8_0), 7);
    if classifier {
        for (name, shape) in [
            ("cls.weight", vec![256, 256]),
            ("cls.bias", vec![256]),
            ("cls.output.weight", vec![256, 1]),
            ("cls.output.bias", vec![1]),
        ] {
            let value = |index: usize| ((index * 37 % 101) as f32 - 50.0) / 200.0;
            let values = (0..shape.iter().product()).map(value).collect();
            let (name, kind) = (name.to_owned(), BlockType::F32);
            parts.tensors.push(Tensor { name, kind, shape, values });
        }
    }
    parts.to_bytes()
}

/// A server with threads of its own; it ends with this value.
pub struct Live {
    pub port: u16,
    pub runtime: Arc<Runtime>,
    pub storage: Option<Arc<Storage>>,
    executor: tokio::runtime::Handle,
    folder: TempDir,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Live {
    pub fn start(mut setup: Setup) -> Live {
        let folder = tempfile::tempdir().expect("a folder");
        let runtime = runtime(&setup);
        let executor = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("an executor");
        let storage = setup.storage.map(|keeps| {
            let content = keeps == Keeps::Everything;
            let storage = executor.block_on(Storage::open(folder.path(), None, content));
            Arc::new(storage.expect("a data folder"))
        });
        setup.config.storage = storage.clone();
        let handle = executor.handle().clone();
        let listener = executor.block_on(bind(&setup.config)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (stop, stopped) = oneshot::channel::<()>();
        let embedder = match &setup.embedder_folder {
            Some(folder) => Some(real_encoder(folder)),
            None => setup.embedder.then(|| encoder(&setup)),
        };
        let others = setup.others.take();
        let models = Models {
            main: Arc::clone(&runtime).into(),
            embedder: embedder.map(Into::into),
            others,
        };
        let thread = std::thread::spawn(move || {
            let shutdown = async move { drop(stopped.await) };
            executor
                .block_on(serve_on(listener, models, setup.config, shutdown))
                .expect("a server that ends well");
        });
        let (stop, thread) = (Some(stop), Some(thread));
        Live { port, runtime, storage, executor: handle, folder, stop, thread }
    }

    /// A key of the store for this owner, as a header.
    pub fn key_of(&self, owner: &str) -> String {
        let keys = &self.storage.as_ref().expect("a data folder").keys;
        let new = NewKey { owner, name: owner, expires_at: None };
        format!("Bearer {}", self.block_on(keys.create(new, 0)).expect("a key").1)
    }

    /// A request with a key, whose body is JSON or nothing.
    pub fn ask(&self, key: &str, method: &str, path: &str, body: &Value) -> Reply {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(method, path, &[("authorization", key)], body.as_bytes())
    }

    /// Runs what needs the server's executor.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.executor.block_on(future)
    }

    /// Asks the server to end.
    pub fn signal(&mut self) {
        self.stop.take();
    }

    /// Waits until it has ended.
    pub fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the server's thread");
        }
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("a connection");
        // A test that waits longer has failed.
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        stream
    }

    pub fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], b"")
    }

    pub fn post(&self, path: &str, body: &Value) -> Reply {
        self.send("POST", path, &[], body.to_string().as_bytes())
    }

    /// Sends all of a request, then reads all of the answer.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let mut stream = self.connect();
        let head = head(method, path, headers, body.len());
        stream.write_all(head.as_bytes()).expect("the head is taken");
        stream.write_all(body).expect("the body is taken");
        let reply = Reply::read(&mut stream);
        contract::check(method, path, &reply);
        reply
    }

    /// Sends a file; the answer is its object.
    pub fn upload(&self, headers: &[(&str, &str)], purpose: &str, content: &[u8]) -> Value {
        let headers = [&[FORM], headers].concat();
        let fields = [("purpose", None, purpose.as_bytes()), ("file", Some("a.jsonl"), content)];
        self.send("POST", "/v1/files", &headers, &form(&fields)).good()
    }

    /// Contents of files that lie in the data folder.
    pub fn contents(&self) -> usize {
        fn walk(folder: &std::path::Path) -> usize {
            let entries = std::fs::read_dir(folder).expect("a folder");
            let paths = entries.map(|entry| entry.expect("an entry").path());
            paths.map(|path| if path.is_dir() { walk(&path) } else { 1 }).sum()
        }
        walk(&self.folder.path().join("blobs"))
    }

    /// Begins a streamed request and returns once its answer has begun.
    pub fn begin(&self, path: &str, body: &Value) -> TcpStream {
        let mut stream = self.connect();
        let body = body.to_string();
        stream.write_all(head("POST", path, &[], body.len()).as_bytes()).expect("a head");
        stream.write_all(body.as_bytes()).expect("a body");
        let mut first = [0; 12];
        stream.read_exact(&mut first).expect("an answer");
        assert_eq!(&first, b"HTTP/1.1 200");
        stream
    }

    /// Waits until the engine has nothing left to do and holds no pages.
    pub fn wait_until_idle(&self) {
        let stats = wait_for(|| {
            let stats = self.runtime.stats();
            (stats.running == 0 && stats.waiting == 0 && stats.pages_used == 0).then_some(stats)
        });
        assert!(stats.pages_total > 0 || self.runtime.model().is_none());
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.signal();
        if let Some(thread) = self.thread.take() {
            // A test that fails already says why.
            let _ = thread.join();
        }
    }
}

/// Tries until there is a value; fails after 30 seconds.
pub fn wait_for<T>(mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(30) {
        if let Some(value) = probe() {
            return value;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("waited 30 s in vain");
}

fn head(method: &str, path: &str, headers: &[(&str, &str)], length: usize) -> String {
    let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
    if !headers.iter().any(|(name, _)| *name == "host") {
        head.push_str("host: localhost\r\n");
    }
    if length > 0 {
        head.push_str(&format!("content-length: {length}\r\n"));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head + "\r\n"
}

/// An answer.
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Pieces in which the body came.
    pub chunks: Vec<Vec<u8>>,
}

impl Reply {
    /// Reads until the connection ends.
    pub fn read(stream: &mut TcpStream) -> Reply {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("an answer");
        Reply::parse(&bytes)
    }

    pub fn parse(bytes: &[u8]) -> Reply {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole head");
        let head = std::str::from_utf8(&bytes[..end]).expect("a head of text");
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status");
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let rest = &bytes[end + 4..];
        let chunked = headers.iter().any(|(name, _)| name == "transfer-encoding");
        let chunks = if chunked { dechunk(rest) } else { vec![rest.to_vec()] };
        Reply { status: status.parse().expect("a status"), headers, body: chunks.concat(), chunks }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body of text")
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {}", self.text()))
    }

    /// The body of a 200.
    pub fn good(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()
    }

    /// The error, which has OpenAI's shape and this status.
    pub fn error(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        let error = self.json()["error"].clone();
        for key in ["message", "type", "param", "code"] {
            assert!(error.get(key).is_some(), "no {key} in {error}");
        }
        error
    }

    /// Events of a stream that ended well, each in a write of its own, without the final mark.
    pub fn events(&self) -> Vec<Value> {
        assert_eq!(self.status, 200, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("text/event-stream; charset=utf-8"));
        let mut events = Vec::new();
        let (last, others) = self.chunks.split_last().expect("events");
        assert_eq!(last, b"data: [DONE]\n\n");
        for chunk in others {
            let text = std::str::from_utf8(chunk).expect("an event of text");
            let event = text.strip_suffix("\n\n").expect("a whole event");
            assert!(!event.contains('\n'), "one event per write: {event:?}");
            if event.starts_with(':') {
                continue;
            }
            let data = event.strip_prefix("data: ").expect("data");
            events.push(serde_json::from_str(data).expect("JSON"));
        }
        events
    }
}

/// The chunks of a body; one that breaks off gives those before.
fn dechunk(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut chunks = Vec::new();
    while let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&bytes[..end]).expect("a size");
        let size = usize::from_str_radix(size, 16).expect("a size");
        if size == 0 || bytes.len() < end + 2 + size {
            break;
        }
        chunks.push(bytes[end + 2..end + 2 + size].to_vec());
        bytes = &bytes[(end + 4 + size).min(bytes.len())..];
    }
    chunks
}

/// A bias that leaves the letters a to z: answers are readable, and go on to the end.
pub fn letters() -> Value {
    // Three control tokens, then the bytes.
    let ids = (b'a'..=b'z').map(|letter| (3 + u32::from(letter)).to_string());
    Value::Object(ids.map(|id| (id, json!(100))).collect())
}

/// A chat with one question and these further fields.
pub fn chat(fields: Value) -> Value {
    let mut body = json!({ "messages": [{ "role": "user", "content": "Who are you?" }] });
    for (name, value) in fields.as_object().expect("an object") {
        body[name] = value.clone();
    }
    body
}

/// The boundary of [`form`].
pub const BOUNDARY: &str = "a boundary";

/// The header that says so.
pub const FORM: (&str, &str) = ("content-type", "multipart/form-data; boundary=\"a boundary\"");

/// A form of fields, each with its name, the name of its file if it is one, and its content.
pub fn form(fields: &[(&str, Option<&str>, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, filename, content) in fields {
        let filename = filename.map(|filename| format!("; filename=\"{filename}\""));
        let filename = filename.unwrap_or_default();
        let disposition = format!("Content-Disposition: form-data; name=\"{name}\"{filename}");
        body.extend(format!("--{BOUNDARY}\r\n{disposition}\r\n\r\n").into_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend(format!("--{BOUNDARY}--\r\n").into_bytes());
    body
}

/// `body` with one more field.
pub fn with(body: &Value, name: &str, value: Value) -> Value {
    let mut body = body.clone();
    body[name] = value;
    body
}
