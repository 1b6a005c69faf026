//! Turns `myriad serve` on a free port into what operators see: banner, refusals, shutdown.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::Home;

/// A running server; killed where a test fails.
struct Serving {
    child: Child,
    banner: String,
    port: u16,
}

impl Serving {
    fn start(home: &Home, arguments: &[&str]) -> Serving {
        let arguments = [&["serve", "tiny", "--port", "0"], arguments].concat();
        let mut command = home.myriad(&arguments);
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs");
        let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        let mut banner = String::new();
        while !banner.contains("Ctrl-C") {
            let line = lines.next().expect("a banner before the end").unwrap();
            banner += &line;
            banner.push('\n');
        }
        let port = banner.split("http://127.0.0.1:").nth(1).expect("an address");
        let port = port.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap();
        Serving { child, banner, port }
    }

    /// Ctrl-C.
    fn interrupt(&self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    }

    /// The exit code, and what was written to standard error.
    fn end(mut self) -> (Option<i32>, String) {
        let start = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(start.elapsed() < Duration::from_secs(20), "the server does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut text = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        (self.child.wait().unwrap().code(), text)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_banner_says_where_and_how_and_ctrl_c_ends_it() {
    let home = Home::with_model("tiny");
    let serving = Serving::start(&home, &["--context", "256", "--parallel", "2", "--threads", "1"]);
    for part in ["Myriad serves tiny at", "1 threads", "256 tokens", "2 requests", "curl -s http"] {
        assert!(serving.banner.contains(part), "{part}: {}", serving.banner);
    }
    drop(TcpStream::connect(("127.0.0.1", serving.port)).expect("it listens"));
    serving.interrupt();
    let (code, err) = serving.end();
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("stopping") && !err.contains("warning"), "{err}");
}

#[test]
fn a_second_ctrl_c_waits_for_nobody() {
    let home = Home::with_model("tiny");
    let mut serving = Serving::start(&home, &[]);
    // A request that never ends holds the first, graceful stop.
    let mut stream = TcpStream::connect(("127.0.0.1", serving.port)).expect("it listens");
    let head = "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\n\
                content-type: application/json\r\ncontent-length: 1000\r\n\r\n{";
    stream.write_all(head.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    serving.interrupt();
    let mut stderr = BufReader::new(serving.child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("stopping") {
        line.clear();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "no word of stopping");
    }
    serving.child.stderr = Some(stderr.into_inner());
    serving.interrupt();
    assert_eq!(serving.end().0, Some(130));
}

#[test]
fn doors_without_keys_are_this_machines_alone() {
    let home = Home::with_model("tiny");
    let error = home.run(&["serve", "tiny", "--port", "0", "--host", "0.0.0.0"]).bad();
    assert!(error.contains("there are no keys"), "{error}");
    assert!(error.contains("myriad keys create"), "{error}");
    let open = ["--host", "0.0.0.0", "--name", "mine", "--without-key"];
    let serving = Serving::start(&home, &open);
    assert!(serving.banner.contains("Myriad serves mine at"), "{}", serving.banner);
    serving.interrupt();
    let (_, err) = serving.end();
    assert!(err.contains("warning: other machines can reach this server"), "{err}");
    let locked = Serving::start(&home, &["--host", "0.0.0.0", "--api-key", "k"]);
    assert!(locked.banner.contains("with your key"), "{}", locked.banner);
    assert!(locked.banner.contains("Bearer $MYRIAD_API_KEY"), "{}", locked.banner);
    locked.interrupt();
    assert!(!locked.end().1.contains("warning"));
}

#[test]
fn what_cannot_be_served_is_refused_with_what_to_do() {
    let home = Home::with_model("tiny");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let error = home.run(&["serve", "tiny", "--port", &port]).bad();
    assert!(error.contains(&format!("port {port} of 127.0.0.1 is taken")), "{error}");
    assert!(error.contains("myriad serve --port"), "{error}");
    let error = home.run(&["serve", "tiny", "--port", "0", "--host", "192.0.2.1"]).bad();
    assert!(error.contains("no address of this machine"), "{error}");
    let error = home.run(&["serve", "tiny", "--port", "0", "--api-key", ""]).bad();
    assert!(error.contains("an API key is empty"), "{error}");
    let issuer = ["serve", "tiny", "--port", "0", "--oidc-issuer", "https://id.example.com"];
    let error = home.run(&issuer).bad();
    assert!(error.contains("--oidc-client-id ID"), "{error}");
    let client = [&issuer[..], &["--oidc-client-id", "myriad"]].concat();
    let error = home.run(&client).bad();
    assert!(error.contains("--public-url https://"), "{error}");
    let plain = [&client[..], &["--public-url", "chat.example.com"]].concat();
    assert!(home.run(&plain).bad().contains("does not begin with 'https://'"));
    let nowhere = [&client[..], &["--public-url", "https://a.example"]].concat();
    let nowhere = [&nowhere[..], &["--oidc-client-secret-file", "/nowhere/at/all"]].concat();
    assert!(home.run(&nowhere).bad().contains("--oidc-client-secret-file /nowhere/at/all"));
    let mut empty = home.myriad(&["serve", "tiny", "--port", "0"]);
    let ran = common::Ran::from(empty.env("MYRIAD_API_KEY", "").output().unwrap());
    assert!(ran.bad().contains("MYRIAD_API_KEY"));
}
