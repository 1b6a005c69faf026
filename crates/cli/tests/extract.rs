//! Turns hostile files into answers of `myriad extract`, which breaks alone, and within limits.

#[path = "../../extract/tests/common/mod.rs"]
mod pdfs;

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// What the server waits.
const TIME_MAX: Duration = Duration::from_secs(30);

fn run(name: &str, file: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_myriad"))
        .arg("extract")
        .env_clear()
        .env("MYRIAD_EXTRACT_NAME", name)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let file = file.to_vec();
    // It may end before it has read all.
    let writer = std::thread::spawn(move || drop(input.write_all(&file)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

fn said(output: &Output) -> Value {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {errors}", output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn texts_and_errors_come_as_json() {
    let text = said(&run("notes.py", b"print('hi')\n"));
    assert_eq!(text["Ok"]["kind"], "code");
    assert_eq!(text["Ok"]["language"], "python");
    assert_eq!(text["Ok"]["pages"][0], "print('hi')\n");
    let paper = pdfs::of_pages(&[pdfs::lines(&["Hello"]), pdfs::lines(&["you"])], &[], "");
    assert_eq!(said(&run("a.pdf", &paper))["Ok"]["pages"], serde_json::json!(["Hello", "you"]));
    assert_eq!(said(&run("a.txt", b""))["Err"], "Empty");
    assert!(said(&run("a.txt", b"\x89PNG\r\n\x1a\n"))["Err"]["NotText"]["what"].is_string());
}

#[test]
fn hostile_files_break_nothing_but_their_reader() {
    let mut files = pdfs::hostile();
    // Half a gigabyte, and sixteen of them.
    files.push(("a bomb", pdfs::bomb(2048, 3)));
    files.push(("a large bomb", pdfs::bomb(65_536, 3)));
    for (what, file) in files {
        let started = Instant::now();
        let output = run("a.pdf", &file);
        assert!(started.elapsed() < TIME_MAX, "{what}");
        if output.status.success() {
            let found = said(&output);
            assert!(!found["Err"].is_null() || found["Ok"]["pages"].is_array(), "{what}: {found}");
        } else {
            // It asked for more than it may have.
            assert!(output.stdout.is_empty(), "{what}");
        }
    }
}
