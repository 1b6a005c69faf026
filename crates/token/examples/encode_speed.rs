//! Measures how fast a text becomes ids and text again: `encode_speed MODEL.gguf TEXT_FILE`.

use std::path::Path;
use std::time::Instant;

use myriad_formats::Gguf;
use myriad_token::{Specials, Tokenizer};

/// Rounds of each measurement; the best counts.
const ROUNDS: usize = 5;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, model, file] = arguments.as_slice() else {
        return Err("usage: encode_speed MODEL.gguf TEXT_FILE".into());
    };
    let text = String::from_utf8_lossy(&std::fs::read(file)?).into_owned();
    let spec = Gguf::open(Path::new(model))?.vocab()?;
    let start = Instant::now();
    let tokenizer = Tokenizer::new(&spec)?;
    println!("load: {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    let ids = tokenizer.encode(&text, Specials::Parse);
    let (megabytes, tokens) = (text.len() as f64 / 1e6, ids.len());
    println!("text: {megabytes:.1} MB, {tokens} tokens");
    report("encode", megabytes, || tokenizer.encode(&text, Specials::Parse).len());
    let lines: Vec<&str> = text.lines().collect();
    report("encode line by line", megabytes, || {
        lines.iter().map(|line| tokenizer.encode(line, Specials::Parse).len()).sum()
    });
    report("decode", megabytes, || tokenizer.decode(&ids, true).len());
    Ok(())
}

fn report(name: &str, megabytes: f64, mut work: impl FnMut() -> usize) {
    let rounds = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        std::hint::black_box(work());
        start.elapsed().as_secs_f64()
    });
    let best = rounds.fold(f64::INFINITY, f64::min);
    println!("{name}: {:.1} MB/s", megabytes / best);
}
