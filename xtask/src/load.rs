//! Turns a server that plays a script into two verdicts: many streams of which some vanish leave
//! nothing behind, and what the server adds to a request is little.

use crate::live::Server;
use crate::{option, root};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

/// One of so many clients vanishes in mid-stream.
const VANISHES: u64 = 10;

/// Memory may be larger by this share at the end than after the start.
const MEMORY_GROWTH_MAX: f64 = 0.05;

/// What the server may add to a request: half of them, and 99 of 100.
const P50_MAX: Duration = Duration::from_micros(500);
const P99_MAX: Duration = Duration::from_millis(3);

/// Connections that send requests at a rate.
const CONNECTIONS: usize = 16;

const STREAM: &str = r#"{"messages":[{"role":"user","content":"Count."}],"stream":true}"#;
const SHORT: &str = r#"{"messages":[{"role":"user","content":"Hello?"}]}"#;

/// Runs both: `--seconds N` each (default 60), `--streams N` (256), `--rate N` (1,000 a second).
/// With `--report` latencies are shown and not judged: for machines that do other work.
pub fn run(arguments: &[String]) -> Result<()> {
    let number = |name: &str, usual: u64| -> Result<u64> {
        let text = option(arguments, name);
        text.map_or(Ok(usual), |text| text.parse().with_context(|| format!("{name} {text}")))
    };
    let seconds = Duration::from_secs(number("--seconds", 60)?);
    let folder = root().join("crates/server/tests/clients/scripted/load.json");
    let script = PathBuf::from(format!("script:{}", folder.display()));
    let server = Server::start_quiet(&script, &[])?;
    streams(&server, number("--streams", 256)?, seconds)?;
    let judged = !arguments.iter().any(|argument| argument == "--report");
    rate(&server, number("--rate", 1000)?, seconds, judged)
}

/// Many streams at once, of which some vanish: the others end well, and nothing is left behind.
fn streams(server: &Server, count: u64, length: Duration) -> Result<()> {
    let (whole, vanished) = (AtomicU64::new(0), AtomicU64::new(0));
    let (failures, done) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    let before = Held::of(server)?;
    let start = Instant::now();
    let memory = scope(|scope| {
        let clients: Vec<_> = (0..count)
            .map(|client| {
                let (whole, vanished, failures) = (&whole, &vanished, &failures);
                scope.spawn(move || {
                    let mut random = Random(client + 1);
                    while start.elapsed() < length {
                        let vanishes = random.next().is_multiple_of(VANISHES);
                        let after = vanishes.then(|| random.next() % 20_000);
                        match stream(server.port, after) {
                            Ok(true) => whole.fetch_add(1, Ordering::Relaxed),
                            Ok(false) => vanished.fetch_add(1, Ordering::Relaxed),
                            Err(error) => {
                                failures.lock().expect("no panic").push(format!("{error:#}"));
                                break;
                            }
                        };
                    }
                })
            })
            .collect();
        let watch = scope.spawn(|| {
            let mut memory = Vec::new();
            while !done.load(Ordering::Relaxed) {
                memory.extend(server.resident_bytes());
                sleep(Duration::from_millis(100));
            }
            memory
        });
        for client in clients {
            // What a client's thread panics with is said by the thread.
            let _ = client.join();
        }
        done.store(true, Ordering::Relaxed);
        watch.join().unwrap_or_default()
    });
    let failures = failures.into_inner().expect("no panic");
    ensure!(failures.is_empty(), "{} streams failed, one of them: {}", failures.len(), failures[0]);
    let third = memory.len() / 3;
    ensure!(third > 0, "the server's memory could not be read");
    let most = |part: &[u64]| part.iter().copied().max().unwrap_or(0) as f64;
    // The first third warms up: buffers of all connections are there at its end.
    let (early, late) = (most(&memory[..2 * third]), most(&memory[2 * third..]));
    println!(
        "load: {count} streams at once for {} s: {} ended well, {} vanished; memory {:.1} MB, then \
         {:.1} MB ({:+.1} %)",
        length.as_secs(),
        whole.load(Ordering::Relaxed),
        vanished.load(Ordering::Relaxed),
        early / 1e6,
        late / 1e6,
        (late / early - 1.0) * 100.0
    );
    ensure!(late <= early * (1.0 + MEMORY_GROWTH_MAX), "memory grows");
    before.is_left(server)
}

/// One stream; false where this client went away, after so many bytes.
fn stream(port: u16, vanishes_after: Option<u64>) -> Result<bool> {
    let mut stream = connect(port)?;
    stream.write_all(request("POST", "/v1/chat/completions", STREAM).as_bytes())?;
    let Some(bytes) = vanishes_after else {
        let mut text = String::new();
        let mut tail = BufReader::new(stream);
        let mut last = String::new();
        while tail.read_line(&mut text)? > 0 {
            if text.starts_with("data: ") {
                last = text.trim_end().to_owned();
            }
            // Chunks end with an empty one: a kept connection would not end by itself.
            if text.trim_end() == "data: [DONE]" {
                return Ok(true);
            }
            text.clear();
        }
        bail!("a stream ended with {last:?}");
    };
    let mut gone = std::io::sink();
    std::io::copy(&mut stream.take(bytes), &mut gone)?;
    Ok(false)
}

/// What a server holds while nobody asks anything.
#[derive(Debug, PartialEq)]
struct Held {
    sockets: usize,
}

impl Held {
    fn of(server: &Server) -> Result<Held> {
        let files = fs::read_dir(format!("/proc/{}/fd", server.id()))?;
        // A file that was closed since it was listed is no socket that is held.
        let links = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
        let sockets = links.filter(|link| link.to_string_lossy().starts_with("socket:"));
        Ok(Held { sockets: sockets.count() })
    }

    /// Whether the server comes back to this, with no request left in the engine.
    fn is_left(&self, server: &Server) -> Result<()> {
        let start = Instant::now();
        loop {
            let running = gauge(server.port, "myriad_num_requests_running")?;
            let waiting = gauge(server.port, "myriad_num_requests_waiting")?;
            let now = Held::of(server)?;
            if now.sockets <= self.sockets && running == 0.0 && waiting == 0.0 {
                println!("load: nothing is left behind: {now:?}, no request");
                return Ok(());
            }
            ensure!(
                start.elapsed() < Duration::from_secs(15),
                "left behind: {now:?} after {self:?}, {running} running, {waiting} waiting"
            );
            sleep(Duration::from_millis(100));
        }
    }
}

/// Requests at a rate: each is timed from the moment at which it should have been sent.
fn rate(server: &Server, rate: u64, length: Duration, judged: bool) -> Result<()> {
    let total = rate * length.as_secs();
    let (next, times) = (AtomicU64::new(0), Mutex::new(Vec::with_capacity(total as usize)));
    let start = Instant::now() + Duration::from_millis(100);
    let results: Vec<Result<()>> = scope(|scope| {
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    let mut connection = BufReader::new(connect(server.port)?);
                    let mut mine = Vec::new();
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= total {
                            times.lock().expect("no panic").extend(mine);
                            return Ok(());
                        }
                        let due = start + Duration::from_nanos(number * 1_000_000_000 / rate);
                        sleep(due.saturating_duration_since(Instant::now()));
                        exchange(&mut connection)?;
                        mine.push(due.elapsed());
                    }
                })
            })
            .collect();
        clients.into_iter().filter_map(|client| client.join().ok()).collect()
    });
    results.into_iter().collect::<Result<Vec<()>>>()?;
    let mut times = times.into_inner().expect("no panic");
    ensure!(times.len() as u64 == total, "{} of {total} requests were answered", times.len());
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    let (p50, p99) = (at(0.5), at(0.99));
    println!(
        "load: {rate} requests/s for {} s: p50 {:.3} ms, p99 {:.3} ms, longest {:.3} ms",
        length.as_secs(),
        p50.as_secs_f64() * 1e3,
        p99.as_secs_f64() * 1e3,
        at(1.0).as_secs_f64() * 1e3
    );
    ensure!(!judged || (p50 <= P50_MAX && p99 <= P99_MAX), "that is more than it may be");
    Ok(())
}

/// One request and its whole answer on a connection that stays.
fn exchange(connection: &mut BufReader<TcpStream>) -> Result<()> {
    let bytes = request("POST", "/v1/chat/completions", SHORT);
    connection.get_mut().write_all(bytes.as_bytes())?;
    let (status, body) = answer(connection)?;
    ensure!(status == 200, "{status}: {body}");
    Ok(())
}

/// A metric's value.
fn gauge(port: u16, name: &str) -> Result<f64> {
    let mut connection = BufReader::new(connect(port)?);
    connection.get_mut().write_all(request("GET", "/metrics", "").as_bytes())?;
    let (status, body) = answer(&mut connection)?;
    ensure!(status == 200, "{status}");
    let line = body.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.rsplit(' ').next()).context(name.to_owned())?;
    Ok(value.parse()?)
}

/// Status and body of an answer that says its length.
fn answer(connection: &mut BufReader<TcpStream>) -> Result<(u16, String)> {
    let mut line = String::new();
    connection.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.with_context(|| format!("no status: {line:?}"))?;
    let mut length = 0;
    loop {
        line.clear();
        ensure!(connection.read_line(&mut line)? > 0, "the head broke off");
        if line.trim_end().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body)?;
    Ok((status, String::from_utf8(body)?))
}

fn connect(port: u16) -> Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    Ok(stream)
}

fn request(method: &str, path: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Numbers that are the same in each run (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
