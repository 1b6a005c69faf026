//! Holds each broken file to its error: the right variant, in words that name the field, at once.

mod common;

use std::time::{Duration, Instant};

use common::hostile::{Case, cases};
use common::{Raw, sound};
use myriad_formats::{Gguf, GgufError};

/// A hostile file may not hold anyone up; parsing takes microseconds.
const TIME_MAX: Duration = Duration::from_millis(10);

#[test]
fn each_broken_file_ends_in_its_error_at_once() {
    let mut failures = Vec::new();
    for case in cases() {
        let (error, took) = outcome(&case);
        let Some(error) = error else {
            failures.push(format!("{}: it was accepted", case.name));
            continue;
        };
        let message = error.to_string();
        if !(case.is)(&error) {
            failures.push(format!("{}: the wrong error: {error:?}", case.name));
        }
        let missing: Vec<_> = case.says.iter().filter(|word| !message.contains(**word)).collect();
        if !missing.is_empty() || message.len() > 400 || message.contains(char::is_control) {
            failures.push(format!("{}: {missing:?} not in: {message:?}", case.name));
        }
        if took > TIME_MAX {
            failures.push(format!("{}: took {took:?}", case.name));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// What becomes of a case, and the least time of a few: the machine may be busy with others.
fn outcome(case: &Case) -> (Option<GgufError>, Duration) {
    let once = || {
        let bytes = case.bytes.clone();
        let start = Instant::now();
        let result = Gguf::from_bytes(bytes).and_then(|file| file.vocab().map(|_| ()));
        (result.err(), start.elapsed())
    };
    (0..5).map(|_| once()).min_by_key(|(_, took)| *took).expect("five runs")
}

#[test]
fn a_file_that_ends_anywhere_is_refused() {
    let whole = sound().to_bytes();
    let tensors = Gguf::from_bytes(whole.clone()).expect("a sound file");
    let last = tensors.tensors().iter().map(|tensor| tensor.offset() + tensor.bytes()).max();
    // The data section begins at the first multiple of 32 behind the header; padding behind the
    // last tensor may be missing.
    let padding = 32 - last.expect("tensors") % 32;
    for length in 0..whole.len() - padding {
        let error = match Gguf::from_bytes(whole[..length].to_vec()) {
            Ok(_) => panic!("{length} of {} bytes are no whole file", whole.len()),
            Err(error) => error,
        };
        assert!(!error.to_string().is_empty());
    }
    Gguf::from_bytes(whole[..whole.len() - padding].to_vec()).expect("only padding is missing");
}

#[test]
fn a_vocabulary_beyond_every_model_is_refused() {
    let count = (1 << 21) + 1;
    let mut file = Raw::new(0, 2).key("tokenizer.ggml.model", 8).text(b"gpt2");
    file =
        file.key("tokenizer.ggml.tokens", 9).u32(8).u64(count).bytes(&vec![0; 8 * count as usize]);
    let error = Gguf::from_bytes(file.0).expect("a sound header").vocab().unwrap_err();
    assert!(matches!(error, GgufError::TokenCount { .. }), "{error}");
}

#[test]
fn a_path_that_is_no_file_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    for path in [folder.path().to_owned(), folder.path().join("absent.gguf")] {
        let error = Gguf::open(&path).unwrap_err();
        assert!(matches!(error, GgufError::Io { .. }), "{error}");
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }
    let empty = folder.path().join("empty.gguf");
    std::fs::write(&empty, b"").expect("written");
    let error = Gguf::open(&empty).unwrap_err();
    assert!(matches!(error, GgufError::Truncated { .. } | GgufError::Io { .. }), "{error}");
}
