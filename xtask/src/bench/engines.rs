//! Turns a case into one measurement of each engine.

use super::cases::{Case, Work};
use super::record::{self, Row, Sample, median};
use crate::live::binary;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where what is measured is.
pub struct Bench {
    /// llama.cpp's tools.
    pub tools: PathBuf,
    pub threads: usize,
    /// Kernels that Myriad is to take; the best where none are named.
    pub level: Option<&'static str>,
    /// The level of Myriad's kernels, once it is known.
    pub kernels: String,
}

/// Speeds of one engine, and Myriad's shares of the limits.
#[derive(Default)]
struct Speeds {
    prefill: f64,
    decode: f64,
    peak: Option<f64>,
    bandwidth: Option<f64>,
}

impl Bench {
    /// Empty rows of a case: one for its prompts, one for its answers, where it has them.
    pub fn rows(case: &Case) -> Vec<Row> {
        let row = |group: &str, work: String, floor, share_floor| Row {
            group: group.into(),
            model: case.model.into(),
            work,
            unit: "tokens/s".into(),
            peer: "llama.cpp".into(),
            less_is_better: false,
            floor,
            share_floor,
            rounds: Vec::new(),
        };
        match case.work {
            Work::Batch { sequences } => {
                vec![row("batch", format!("{sequences} sequences at once"), case.decode, None)]
            }
            Work::Speed { prompt, generate, depth, kv } => {
                let mut rows = Vec::new();
                if prompt > 0 {
                    let work = format!("prefill, {prompt} tokens");
                    rows.push(row("prefill", work, case.prefill, case.peak));
                }
                if generate > 0 {
                    let after = match depth {
                        0 => String::new(),
                        _ => format!(" after {depth}, {kv}"),
                    };
                    let work = format!("decode, {generate} tokens{after}");
                    rows.push(row("decode", work, case.decode, case.bandwidth));
                }
                rows
            }
        }
    }

    /// One round: Myriad, then llama.cpp; a sample for each of the case's rows.
    pub fn samples(&mut self, case: &Case, model: &Path) -> Result<Vec<Sample>> {
        let own = self.myriad(&case.work, model)?;
        let peer = match case.work {
            Work::Batch { sequences } => self.batched_bench(model, sequences)?,
            Work::Speed { prompt, generate, depth, kv } => {
                self.llama_bench(model, prompt, generate, depth, kv)?
            }
        };
        let peak = own.peak.map(|share| share / peak_of(case.model));
        let prefill = Sample { myriad: own.prefill, peer: peer.prefill, share: peak };
        let decode = Sample { myriad: own.decode, peer: peer.decode, share: own.bandwidth };
        Ok(match case.work {
            Work::Batch { .. } => vec![Sample { share: None, ..decode }],
            Work::Speed { generate: 0, .. } => vec![prefill],
            Work::Speed { prompt: 0, .. } => vec![decode],
            Work::Speed { .. } => vec![prefill, decode],
        })
    }

    fn myriad(&mut self, work: &Work, model: &Path) -> Result<Speeds> {
        let (prompt, generate, depth, sequences, kv) = match *work {
            Work::Speed { prompt, generate, depth, kv } => (prompt, generate, depth, 1, kv),
            Work::Batch { sequences } => (0, 128, 128, sequences, "f16"),
        };
        let mut command = Command::new(binary()?);
        command.arg("bench").arg(model).args(["--repeat", "1", "--json", "--kv", kv]);
        for (name, value) in [
            ("--prompt", prompt.max(1)),
            ("--generate", generate.max(1)),
            ("--depth", depth),
            ("--sequences", sequences),
            ("--threads", self.threads),
        ] {
            command.args([name, &value.to_string()]);
        }
        if let Some(level) = self.level {
            command.env("MYRIAD_KERNELS", level);
        }
        let json: Value = serde_json::from_str(&printed(&mut command)?)?;
        self.kernels = json["kernels"].as_str().unwrap_or_default().into();
        let number = |key: &str| json[key].as_f64().with_context(|| format!("bench lacks {key}"));
        Ok(Speeds {
            prefill: number("prefill_tokens_per_second")?,
            decode: number("decode_tokens_per_second")?,
            peak: Some(number("prefill_share_of_int8_peak")?),
            bandwidth: Some(number("decode_share_of_bandwidth")?),
        })
    }

    /// A prompt on one thread, held against half of what two do.
    pub fn scaling(&self, model: &Path) -> Result<Sample> {
        let work = Work::Speed { prompt: 512, generate: 0, depth: 0, kv: "f16" };
        let speed = |threads| {
            let (tools, kernels) = (self.tools.clone(), String::new());
            Bench { tools, threads, level: self.level, kernels }.myriad(&work, model)
        };
        let (one, two) = (speed(1)?.prefill, speed(2)?.prefill);
        Ok(Sample { myriad: one, peer: two / 2.0, share: None })
    }

    fn llama_bench(
        &self,
        model: &Path,
        prompt: usize,
        generate: usize,
        depth: usize,
        kv: &str,
    ) -> Result<Speeds> {
        let mut command = Command::new(self.tools.join("llama-bench"));
        command.arg("-m").arg(model).args(["-fa", "1", "-r", "1", "-o", "json"]);
        command.args(["-ctk", kv, "-ctv", kv]);
        if prompt > 2048 {
            // It would compute the whole prompt once more, minutes against the milliseconds of a
            // first touch.
            command.arg("--no-warmup");
        }
        for (name, value) in [("-p", prompt), ("-n", generate), ("-d", depth), ("-t", self.threads)]
        {
            command.args([name, &value.to_string()]);
        }
        let tests: Vec<Value> = serde_json::from_str(&printed(&mut command)?)?;
        let speed = |key: &str| {
            let test = tests.iter().find(|test| test[key].as_u64().is_some_and(|n| n > 0));
            test.and_then(|test| test["avg_ts"].as_f64()).unwrap_or(f64::NAN)
        };
        let (prefill, decode) = (speed("n_prompt"), speed("n_gen"));
        Ok(Speeds { prefill, decode, ..Speeds::default() })
    }

    fn batched_bench(&self, model: &Path, sequences: usize) -> Result<Speeds> {
        let mut command = Command::new(self.tools.join("llama-batched-bench"));
        command.arg("-m").arg(model).args(["-npp", "128", "-ntg", "128", "-fa", "on"]);
        command.args(["-b", "2048", "-ub", "512", "--output-format", "jsonl"]);
        for (name, value) in [
            ("-c", sequences * 272),
            ("-npl", sequences),
            ("-t", self.threads),
            ("-tb", self.threads),
        ] {
            command.args([name, &value.to_string()]);
        }
        let text = printed(&mut command)?;
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let decode = median(lines.filter_map(|line| line["speed_tg"].as_f64()));
        Ok(Speeds { decode, ..Speeds::default() })
    }
}

/// The peak of the products which a model is made of, as a part of the int8 peak. Pairs of BF16 are
/// multiplied at half the rate of fours of int8 on every machine that has both; others take one
/// column at a time.
fn peak_of(model: &str) -> f64 {
    match model.ends_with("-bf16") {
        true if record::has_flag("avx512_bf16") => 0.5,
        true => 0.25,
        false => 1.0,
    }
}

/// What a command prints.
pub fn printed(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}
