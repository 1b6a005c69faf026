//! Turns `cargo xtask COMMAND` into care of the repository: checks, fuzzing, benchmark records.

mod bench;
mod clients;
mod fuzz;
mod live;
mod load;
mod readme;
mod tidy;

use anyhow::{Result, bail};
use std::path::PathBuf;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  tidy                    check arrows between rooms, file heads and lengths, dependencies, …
  fuzz [--seconds N] [--target NAME]
                          run every fuzz target, or one, for N seconds each (default 10)
  clients --python PATH --node PATH --modules FOLDER
                          run the official clients against a live server
  load [--seconds N] [--streams N] [--rate N] [--report]
                          many streams and many requests against a scripted server
  readme --python PATH    run the README's own commands
  bench --peers FOLDER [--models FOLDER] [--text FILE] [--rounds N] [--threads N] [--only NAME]
        [--resume]        measure Myriad, interleaved with llama.cpp, and write bench/record/
                          (tools/llama_cpp.sh and tools/bench_models.py make the folders);
                          with --only those whose name has it, and no record; with --resume
                          what the latest record lacks is added to it, if nothing has changed
  bench --guard [--write] count the instructions of three pieces of work, and compare with the
                          record (or write it); needs valgrind
  bench --table           write the README's tables from the latest record that is whole
";

/// The repository's root folder.
pub fn root() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"))
        .parent()
        .expect("xtask has a parent")
        .to_path_buf()
}

/// The value after `name` among the arguments, if there.
pub fn option(arguments: &[String], name: &str) -> Option<String> {
    let at = arguments.iter().position(|argument| argument == name)?;
    arguments.get(at + 1).cloned()
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(command) = arguments.first() else { bail!("{USAGE}") };
    if arguments.iter().any(|argument| ["help", "--help", "-h"].contains(&argument.as_str())) {
        print!("{USAGE}");
        return Ok(());
    }
    match command.as_str() {
        "tidy" => tidy::run(),
        "fuzz" => fuzz::run(&arguments),
        "clients" => clients::run(&arguments),
        "load" => load::run(&arguments),
        "readme" => readme::run(&arguments),
        "bench" => bench::run(&arguments),
        other => bail!("unknown command {other:?}\n{USAGE}"),
    }
}
