//! Turns interleaved runs of Myriad and llama.cpp into a record and the README's table.

use crate::live::{binary, default_model};
use crate::{option, readme, root};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// Tokens/s of one engine in one round.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Speed {
    prefill: f64,
    decode: f64,
}

/// One round: both engines, one after the other, and what the machine gave in the same minute.
#[derive(Serialize, Deserialize)]
struct Round {
    myriad: Speed,
    peer: Speed,
    memory_bytes_per_second: f64,
    int8_operations_per_second: f64,
}

#[derive(Serialize, Deserialize)]
struct Record {
    unix_seconds: u64,
    commit: String,
    machine: String,
    threads: usize,
    kernels: String,
    peer: String,
    model: String,
    prompt_tokens: usize,
    generated_tokens: usize,
    rounds: Vec<Round>,
    median_ratio_prefill: f64,
    median_ratio_decode: f64,
    median_share_of_int8_peak: f64,
    median_share_of_bandwidth: f64,
    median_prefill: f64,
    median_decode: f64,
    median_peer_prefill: f64,
    median_peer_decode: f64,
}

const PROMPT: usize = 512;
const GENERATE: usize = 128;

/// Measures and writes a record, or only rewrites the README's table (`--table`).
pub fn run(arguments: &[String]) -> Result<()> {
    if arguments.iter().any(|argument| argument == "--table") {
        return write_table();
    }
    let python = option(arguments, "--peer-python").context(
        "--peer-python PATH: a Python with llama-cpp-python built natively \
         (tools/llama_bench.py says how)",
    )?;
    let rounds: usize = option(arguments, "--rounds").map_or(Ok(5), |text| text.parse())?;
    let threads: usize = option(arguments, "--threads").map_or(Ok(2), |text| text.parse())?;
    let model = default_model()?;
    let mut measured = Vec::new();
    let mut shares = Vec::new();
    let mut kernels = String::new();
    for round in 1..=rounds {
        let own = measure_myriad(&model, threads)?;
        let peer = measure_peer(&python, &model, threads)?;
        let speed = own.speed;
        println!(
            "round {round}/{rounds}: Myriad {:.0} / {:.0}, llama.cpp {:.0} / {:.0} tokens/s",
            speed.prefill, speed.decode, peer.prefill, peer.decode
        );
        kernels = own.kernels;
        shares.push((own.share_of_int8_peak, own.share_of_bandwidth));
        measured.push(Round {
            myriad: speed,
            peer,
            memory_bytes_per_second: own.memory_bytes_per_second,
            int8_operations_per_second: own.int8_operations_per_second,
        });
    }
    let record = summarise(measured, &shares, &model, &python, threads, kernels)?;
    let path = write_record(&record)?;
    println!("wrote {}", path.display());
    write_table()
}

struct Own {
    speed: Speed,
    kernels: String,
    memory_bytes_per_second: f64,
    int8_operations_per_second: f64,
    share_of_int8_peak: f64,
    share_of_bandwidth: f64,
}

fn measure_myriad(model: &Path, threads: usize) -> Result<Own> {
    let output = Command::new(binary()?)
        .arg("bench")
        .arg(model)
        .args(["--prompt", &PROMPT.to_string(), "--generate", &GENERATE.to_string()])
        .args(["--repeat", "3", "--threads", &threads.to_string(), "--json"])
        .output()?;
    if !output.status.success() {
        bail!("myriad bench failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let json: Value = serde_json::from_slice(&output.stdout).context("myriad bench --json")?;
    let number = |key: &str| {
        json.get(key).and_then(Value::as_f64).with_context(|| format!("bench lacks {key}"))
    };
    Ok(Own {
        speed: Speed {
            prefill: number("prefill_tokens_per_second")?,
            decode: number("decode_tokens_per_second")?,
        },
        kernels: json.get("kernels").and_then(Value::as_str).unwrap_or("").into(),
        memory_bytes_per_second: number("memory_bytes_per_second")?,
        int8_operations_per_second: number("int8_operations_per_second")?,
        share_of_int8_peak: number("prefill_share_of_int8_peak")?,
        share_of_bandwidth: number("decode_share_of_bandwidth")?,
    })
}

fn measure_peer(python: &str, model: &Path, threads: usize) -> Result<Speed> {
    let output = Command::new(python)
        .arg(root().join("tools/llama_bench.py"))
        .arg(model)
        .args(["--prompt", &PROMPT.to_string(), "--generate", &GENERATE.to_string()])
        .args(["--repeat", "3", "--threads", &threads.to_string()])
        .output()
        .with_context(|| format!("running {python}"))?;
    if !output.status.success() {
        bail!("llama_bench.py failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let speeds: Vec<Speed> = String::from_utf8(output.stdout)?
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()
        .context("llama_bench.py's lines")?;
    Ok(Speed {
        prefill: median(speeds.iter().map(|speed| speed.prefill)),
        decode: median(speeds.iter().map(|speed| speed.decode)),
    })
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn summarise(
    rounds: Vec<Round>,
    shares: &[(f64, f64)],
    model: &Path,
    python: &str,
    threads: usize,
    kernels: String,
) -> Result<Record> {
    let peer_version = printed(
        Command::new(python).args(["-c", "import llama_cpp; print(llama_cpp.__version__)"]),
    )?;
    Ok(Record {
        unix_seconds: SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
        commit: printed(
            Command::new("git").args(["rev-parse", "--short", "HEAD"]).current_dir(root()),
        )?,
        machine: machine(),
        threads,
        kernels,
        peer: format!("llama.cpp of llama-cpp-python {peer_version}, native build"),
        model: model.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        prompt_tokens: PROMPT,
        generated_tokens: GENERATE,
        median_ratio_prefill: median(rounds.iter().map(|r| r.myriad.prefill / r.peer.prefill)),
        median_ratio_decode: median(rounds.iter().map(|r| r.myriad.decode / r.peer.decode)),
        median_share_of_int8_peak: median(shares.iter().map(|share| share.0)),
        median_share_of_bandwidth: median(shares.iter().map(|share| share.1)),
        median_prefill: median(rounds.iter().map(|round| round.myriad.prefill)),
        median_decode: median(rounds.iter().map(|round| round.myriad.decode)),
        median_peer_prefill: median(rounds.iter().map(|round| round.peer.prefill)),
        median_peer_decode: median(rounds.iter().map(|round| round.peer.decode)),
        rounds,
    })
}

fn printed(command: &mut Command) -> Result<String> {
    Ok(String::from_utf8(command.output()?.stdout)?.trim().to_string())
}

/// The processor's name and the number of cores, as Linux tells them.
fn machine() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split(':').nth(1)?.trim().to_string())
    };
    let cores = text.lines().filter(|line| line.starts_with("processor")).count();
    format!(
        "{} (family {}, model {}), {cores} cores",
        field("model name").unwrap_or_else(|| "unknown processor".into()),
        field("cpu family").unwrap_or_default(),
        text.lines()
            .find(|line| line.starts_with("model\t"))
            .and_then(|line| line.split(':').nth(1))
            .unwrap_or("")
            .trim(),
    )
}

fn write_record(record: &Record) -> Result<PathBuf> {
    let folder = root().join("bench/record");
    fs::create_dir_all(&folder)?;
    let path = folder.join(format!("{}.json", record.unix_seconds));
    fs::write(&path, serde_json::to_string_pretty(record)? + "\n")?;
    Ok(path)
}

fn latest_record() -> Result<(String, Record)> {
    let mut names: Vec<PathBuf> = fs::read_dir(root().join("bench/record"))
        .context("bench/record holds no record yet")?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    names.sort();
    let path = names.pop().context("bench/record holds no record yet")?;
    let record = serde_json::from_str(&fs::read_to_string(&path)?)
        .with_context(|| format!("{}", path.display()))?;
    Ok((path.file_name().unwrap_or_default().to_string_lossy().into_owned(), record))
}

fn write_table() -> Result<()> {
    let (name, record) = latest_record()?;
    let table = format!(
        "| {} | Myriad | llama.cpp | ratio | share of the machine's limit |\n\
         |---|---:|---:|---:|---|\n\
         | prefill, {} tokens | {:.0} tokens/s | {:.0} | **{:.1}×** | {:.0} % of the int8 peak |\n\
         | decode, {} tokens | {:.0} tokens/s | {:.0} | **{:.1}×** | \
         {:.0} % of the memory bandwidth |\n\
         \n\
         Medians of {} interleaved rounds, {} threads, {} kernels, on {}; \
         {}. Record: `bench/record/{name}`. Machines differ: the ratios carry over better than \
         the figures.\n",
        record.model,
        record.prompt_tokens,
        record.median_prefill,
        record.median_peer_prefill,
        record.median_ratio_prefill,
        record.median_share_of_int8_peak * 100.0,
        record.generated_tokens,
        record.median_decode,
        record.median_peer_decode,
        record.median_ratio_decode,
        record.median_share_of_bandwidth * 100.0,
        record.rounds.len(),
        record.threads,
        record.kernels,
        record.machine,
        record.peer,
    );
    readme::replace_table(&root().join("README.md"), &table)
}
