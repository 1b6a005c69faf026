//! Turns a model file and a text into how far each engine is from exact arithmetic.

use super::engines::{Bench, printed};
use super::record::{Row, Sample};
use crate::live::binary;
use anyhow::{Context, Result};
use serde_json::Value;
use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

/// An empty row.
pub fn row(model: &str) -> Row {
    Row {
        group: "quality".into(),
        model: model.into(),
        work: "mean divergence from exact arithmetic".into(),
        unit: "nats".into(),
        peer: "llama.cpp".into(),
        less_is_better: true,
        floor: 1.0,
        share_floor: None,
        rounds: Vec::new(),
    }
}

/// Both are held against the same weights in floats, each engine's own.
pub fn sample(bench: &Bench, model: &Path, text: &Path) -> Result<Sample> {
    let mut command = Command::new(binary()?);
    command.arg("perplexity").arg(model).arg(text).args(["--divergence", "--json"]);
    let json: Value = serde_json::from_str(&printed(&mut command)?)?;
    let myriad = json["divergence"]["mean"].as_f64().context("perplexity --divergence")?;
    Ok(Sample { myriad, peer: peer(bench, model, text)?, share: None })
}

fn peer(bench: &Bench, model: &Path, text: &Path) -> Result<f64> {
    let scratch = env::temp_dir().join(format!("myriad-quality-{}", std::process::id()));
    fs::create_dir_all(&scratch)?;
    let result = divergence(bench, model, text, &scratch);
    fs::remove_dir_all(&scratch)?;
    result
}

/// llama.cpp's own measure: the logits of the file with floats, then those of the file.
fn divergence(bench: &Bench, model: &Path, text: &Path, scratch: &Path) -> Result<f64> {
    let (exact, base) = (scratch.join("exact.gguf"), scratch.join("base.kld"));
    let mut quantize = Command::new(bench.tools.join("llama-quantize"));
    printed(quantize.arg("--allow-requantize").arg(model).arg(&exact).arg("F32"))?;
    let perplexity = |model: &Path| {
        let mut command = Command::new(bench.tools.join("llama-perplexity"));
        command.arg("-m").arg(model).arg("-f").arg(text).arg("--kl-divergence-base").arg(&base);
        command.args(["-c", "512", "-t", &bench.threads.to_string()]);
        command
    };
    printed(perplexity(&exact).args(["-fa", "off", "-ctk", "f32", "-ctv", "f32"]))?;
    let text = printed(perplexity(model).args(["--kl-divergence", "-fa", "on"]))?;
    // "Mean    KLD:   0.005129 ±   0.000195"
    let line = text.lines().find(|line| line.starts_with("Mean") && line.contains("KLD:"));
    let number = line.and_then(|line| line.split("KLD:").nth(1)?.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).context("llama-perplexity gave no mean KLD")
}
