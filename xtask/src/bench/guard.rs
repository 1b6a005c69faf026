//! Turns three fixed pieces of work into counts of instructions, and more of them into a failure.
//!
//! Instructions are counted by valgrind, whose processor is the same everywhere: AVX2, one thread.
//! So a count hardly depends on the machine, and not at all on what else it does.

use crate::live::{binary, default_model};
use crate::root;
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

/// Instructions may grow by this share.
const GROWTH_MAX: f64 = 0.03;

fn record() -> PathBuf {
    root().join("bench/instructions.json")
}

/// What was counted, of a binary that this compiler made: another one makes other instructions.
#[derive(Serialize, Deserialize)]
struct Counts {
    compiler: String,
    instructions: BTreeMap<String, u64>,
}

/// Counts, and compares with the record; `--write` writes it instead.
pub fn run(writes: bool) -> Result<()> {
    let counts = Counts { compiler: compiler()?, instructions: instructions_of_all()? };
    if writes {
        fs::write(record(), serde_json::to_string_pretty(&counts)? + "\n")?;
        println!("wrote {}", record().display());
        return Ok(());
    }
    let text = fs::read_to_string(record())
        .context("bench/instructions.json: `cargo xtask bench --guard --write` makes it")?;
    let before: Counts = serde_json::from_str(&text)?;
    let mut grown = Vec::new();
    for (name, count) in &counts.instructions {
        let Some(&known) = before.instructions.get(name) else {
            bail!("bench/instructions.json lacks {name}")
        };
        let growth = *count as f64 / known as f64 - 1.0;
        println!("{name}: {count} instructions, {:+.2} %", growth * 100.0);
        if growth > GROWTH_MAX {
            grown.push(name.as_str());
        }
    }
    if before.compiler != counts.compiler {
        println!("not judged: {} made them, the record is of {}", counts.compiler, before.compiler);
        return Ok(());
    }
    let limit = GROWTH_MAX * 100.0;
    ensure!(grown.is_empty(), "more than {limit} % more instructions: {}", grown.join(", "));
    Ok(())
}

fn compiler() -> Result<String> {
    let output = Command::new("rustc").arg("--version").output().context("rustc --version")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_string())
}

/// The work: a short answer, a text that is scored, a text that is cut into tokens.
fn instructions_of_all() -> Result<BTreeMap<String, u64>> {
    const WORDS: &str = "The engine reads a page, and the page is full of words about engines. ";
    let model = default_model()?;
    let model = model.to_str().context("the cache folder's name is no UTF-8")?;
    let (short, long) = (WORDS.repeat(6), WORDS.repeat(15_000));
    let work: [(&str, &[&str], &str); 3] = [
        (
            "an answer of 16 tokens",
            &["run", model, WORDS, "--threads", "1", "--temperature", "0", "--max-tokens", "16"],
            "",
        ),
        ("a text of 96 tokens, scored", &["perplexity", model, "-", "--threads", "1"], &short),
        ("a megabyte of text into tokens", &["tokenize", model, "-", "--count"], &long),
    ];
    // All at once: what else a machine does is not counted.
    thread::scope(|scope| {
        let counting = work.map(|(name, arguments, input)| {
            scope.spawn(move || {
                let count = instructions(arguments, input).with_context(|| name.to_string())?;
                Ok((name.to_string(), count))
            })
        });
        counting.into_iter().map(|thread| thread.join().expect("it does not panic")).collect()
    })
}

fn instructions(arguments: &[&str], input: &str) -> Result<u64> {
    let mut process = Command::new("valgrind")
        .args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"])
        .arg(binary()?)
        .args(arguments)
        .env("MYRIAD_KERNELS", "avx2")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("valgrind counts the instructions: apt-get install valgrind")?;
    process.stdin.take().context("no standard input")?.write_all(input.as_bytes())?;
    let output = process.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}");
    // "==1234== I refs:        12,345,678", in some versions "I   refs:".
    let counts = said.lines().filter_map(|line| line.split_once(" refs:"));
    let mut counts = counts.filter(|(what, _)| what.trim_end().ends_with(" I"));
    let (_, number) = counts.next().context("valgrind gave no count")?;
    Ok(number.trim().replace(',', "").parse()?)
}
