//! Turns clients of a live server into what they waited for: tokens, first tokens, a shared prefix.

use super::cases::DEFAULT;
use super::engines::Bench;
use super::record::{Row, Sample};
use crate::live::{Server, default_model, free_port, healthy};
use anyhow::{Context, Result, bail, ensure};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

const CLIENTS: usize = 16;
const PROMPT: usize = 128;
const ANSWER: usize = 128;
/// Requests that each client sends, one after the other.
const REQUESTS: usize = 2;
/// Tokens of the system prompt that all share, and of each one's own words.
const SHARED: usize = 1000;
const OWN: usize = 8;

/// Context of a client at llama-server, which divides it by slots.
const CONTEXT: usize = 1280;

/// What one client saw of one answer.
struct Answer {
    /// Until the first token.
    first: Duration,
    /// Between tokens.
    gaps: Vec<Duration>,
}

/// Empty rows.
pub fn rows() -> Vec<Row> {
    let row = |work: &str, unit: &str, peer: &str, less_is_better, floor| Row {
        group: "serving".into(),
        model: DEFAULT.into(),
        work: work.into(),
        unit: unit.into(),
        peer: peer.into(),
        less_is_better,
        floor,
        share_floor: None,
        rounds: Vec::new(),
    };
    vec![
        row("16 clients: output", "tokens/s", "llama.cpp", false, 5.0),
        row("16 clients: first token, p50", "ms", "llama.cpp", true, 1.0),
        row("16 clients: between tokens, p99 against three times p50", "ms", "3 × p50", true, 1.0),
        row("second request with a shared prefix: first token", "ms", "a tenth", true, 1.0),
        row("16 more at once with it: first token, p50", "ms", "a tenth", true, 1.0),
        row("first token after the start", "ms", "300 ms", true, 1.0),
        row("resident memory", "MB", "1.3 × file, and KV cache", true, 1.0),
    ]
}

/// One round of all of them, in the order of [`rows`].
pub fn samples(bench: &Bench) -> Result<Vec<Sample>> {
    let model = default_model()?;
    let own = Server::start_quiet(&model, &["--threads", &bench.threads.to_string()])?;
    let mine = crowd(own.port)?;
    drop(own);
    let peer = Peer::start(bench, &model)?;
    let theirs = crowd(peer.port)?;
    drop(peer);
    let sample = |myriad, peer| Sample { myriad, peer, share: None };
    let mut samples = vec![
        sample(mine.tokens_per_second, theirs.tokens_per_second),
        sample(mine.first.as_secs_f64() * 1e3, theirs.first.as_secs_f64() * 1e3),
        sample(mine.gap_p99.as_secs_f64() * 1e3, mine.gap_p50.as_secs_f64() * 3e3),
    ];
    samples.extend(shared_prefix(&model, bench.threads)?);
    samples.extend(start(&model, bench.threads)?);
    Ok(samples)
}

struct Crowd {
    tokens_per_second: f64,
    first: Duration,
    gap_p50: Duration,
    gap_p99: Duration,
}

/// Sixteen clients, each with prompts of its own.
fn crowd(port: u16) -> Result<Crowd> {
    ask(port, &prompt(9999, PROMPT), 4)?; // warm
    let begin = Instant::now();
    let answers = at_once(|client| {
        (0..REQUESTS)
            .map(|number| ask(port, &prompt(100 * client + number, PROMPT), ANSWER))
            .collect::<Result<Vec<_>>>()
    })?;
    let seconds = begin.elapsed().as_secs_f64();
    let answers: Vec<Answer> = answers.into_iter().flatten().collect();
    let mut first: Vec<Duration> = answers.iter().map(|answer| answer.first).collect();
    let mut gaps: Vec<Duration> = answers.into_iter().flat_map(|answer| answer.gaps).collect();
    Ok(Crowd {
        tokens_per_second: (CLIENTS * REQUESTS * ANSWER) as f64 / seconds,
        first: at(&mut first, 0.5),
        gap_p50: at(&mut gaps, 0.5),
        gap_p99: at(&mut gaps, 0.99),
    })
}

/// First tokens with a prefix that the server has seen, against a tenth of the first one's.
fn shared_prefix(model: &Path, threads: usize) -> Result<[Sample; 2]> {
    let server = Server::start_quiet(model, &["--threads", &threads.to_string()])?;
    ask(server.port, &prompt(9999, PROMPT), 4)?; // warm
    // As people ask: not without a pause.
    let pause = || sleep(Duration::from_millis(500));
    let shared = prompt(7, SHARED);
    let with_own = |number: usize| [shared.clone(), prompt(number, OWN)].concat();
    pause();
    let cold = ask(server.port, &with_own(1000), 4)?.first;
    pause();
    let second = ask(server.port, &with_own(1001), 4)?.first;
    pause();
    let mut more = at_once(|client| Ok(ask(server.port, &with_own(2000 + client), 4)?.first))?;
    let tenth = cold.as_secs_f64() * 1e3 / 10.0;
    let sample =
        |time: Duration| Sample { myriad: time.as_secs_f64() * 1e3, peer: tenth, share: None };
    Ok([sample(second), sample(at(&mut more, 0.5))])
}

/// From the start of the process to its first token, and the memory that it then has.
fn start(model: &Path, threads: usize) -> Result<[Sample; 2]> {
    const KV_BYTES: u32 = 256 << 20;
    let begin = Instant::now();
    let (threads, kv_bytes) = (threads.to_string(), KV_BYTES.to_string());
    let server = Server::launch_quiet(model, &["--threads", &threads, "--kv-memory", &kv_bytes])?;
    while TcpStream::connect(("127.0.0.1", server.port)).is_err() {
        ensure!(begin.elapsed() < Duration::from_secs(60), "the server does not answer");
        sleep(Duration::from_millis(1));
    }
    let first = begin.elapsed() + ask(server.port, &prompt(1, 8), 1)?.first;
    let resident = server.resident_bytes().context("no resident memory")? as f64 / 1e6;
    let file = std::fs::metadata(model)?.len() as f64;
    let allowed = (1.3 * file + f64::from(KV_BYTES)) / 1e6;
    Ok([
        Sample { myriad: first.as_secs_f64() * 1e3, peer: 300.0, share: None },
        Sample { myriad: resident, peer: allowed, share: None },
    ])
}

/// A llama-server on a free port; killed when dropped.
struct Peer {
    process: Child,
    port: u16,
}

impl Peer {
    fn start(bench: &Bench, model: &Path) -> Result<Peer> {
        let port = free_port()?;
        let process = Command::new(bench.tools.join("llama-server"))
            .arg("-m")
            .arg(model)
            .args(["--port", &port.to_string(), "-np", &CLIENTS.to_string(), "-fa", "on"])
            .args(["-c", &(CLIENTS * CONTEXT).to_string(), "-t", &bench.threads.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("starting llama-server")?;
        let mut peer = Peer { process, port };
        let begin = Instant::now();
        while !healthy(port) {
            if let Some(status) = peer.process.try_wait()? {
                bail!("llama-server ended with {status}");
            }
            ensure!(begin.elapsed() < Duration::from_secs(60), "llama-server does not answer");
            sleep(Duration::from_millis(50));
        }
        Ok(peer)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The work of all clients at once.
fn at_once<T: Send>(client: impl Fn(usize) -> Result<T> + Sync) -> Result<Vec<T>> {
    scope(|scope| {
        let client = &client;
        let threads: Vec<_> =
            (0..CLIENTS).map(|number| scope.spawn(move || client(number))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| bail!("a client failed")))
            .collect()
    })
}

/// Ids of tokens that stand for words in the default model's vocabulary.
fn prompt(seed: usize, tokens: usize) -> Vec<u32> {
    let mut state = seed as u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        1_000 + (state >> 8) % 40_000
    };
    (0..tokens).map(|_| next()).collect()
}

/// One streamed answer of so many tokens.
fn ask(port: u16, prompt: &[u32], tokens: usize) -> Result<Answer> {
    let body = serde_json::json!({
        "prompt": prompt, "max_tokens": tokens, "stream": true, "ignore_eos": true,
        "temperature": 1.0, "seed": prompt[0],
    });
    let times = stream(port, "/v1/completions", &body)?;
    let first = *times.first().context("no token came")?;
    let gaps = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    Ok(Answer { first, gaps })
}

/// When each event of a streamed answer came.
pub fn stream(port: u16, path: &str, body: &serde_json::Value) -> Result<Vec<Duration>> {
    let body = body.to_string();
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(120)))?;
    let begin = Instant::now();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let (mut reader, mut line) = (BufReader::new(stream), String::new());
    let mut times = Vec::new();
    reader.read_line(&mut line)?;
    ensure!(line.contains(" 200 "), "{line}");
    loop {
        line.clear();
        ensure!(reader.read_line(&mut line)? > 0, "a stream broke off");
        let Some(data) = line.strip_prefix("data: ") else { continue };
        if data.trim_end() == "[DONE]" {
            return Ok(times);
        }
        times.push(begin.elapsed());
    }
}

/// The value below which that share of all is.
fn at(values: &mut [Duration], share: f64) -> Duration {
    values.sort();
    values.get((values.len() as f64 * share) as usize).copied().unwrap_or_default()
}
