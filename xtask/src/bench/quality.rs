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

/// Types that the default model is also made into: what rounds its weights is in the exact twin of
/// each file too, so that engines are compared, not types.
pub const KINDS: [&str; 8] = ["Q4_0", "Q5_0", "Q8_0", "Q4_K_M", "Q5_K_M", "Q6_K", "IQ4_NL", "BF16"];

/// An empty row, of a model as it is or made into a type.
pub fn row(model: &str, kind: Option<&str>) -> Row {
    Row {
        group: "quality".into(),
        model: kind.map_or(model.into(), |kind| format!("{model} as {kind}")),
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
pub fn sample(bench: &Bench, model: &Path, kind: Option<&str>, text: &Path) -> Result<Sample> {
    let scratch = env::temp_dir().join(format!("myriad-quality-{}", std::process::id()));
    fs::create_dir_all(&scratch)?;
    let result = both(bench, model, kind, text, &scratch);
    fs::remove_dir_all(&scratch)?;
    result
}

fn both(
    bench: &Bench,
    model: &Path,
    kind: Option<&str>,
    text: &Path,
    scratch: &Path,
) -> Result<Sample> {
    let made = scratch.join("model.gguf");
    if let Some(kind) = kind {
        quantise(bench, model, &made, kind)?;
    }
    let model = if kind.is_some() { &made } else { model };
    let mut command = Command::new(binary()?);
    command.arg("perplexity").arg(model).arg(text).args(["--divergence", "--json"]);
    let json: Value = serde_json::from_str(&printed(&mut command)?)?;
    let myriad = json["divergence"]["mean"].as_f64().context("perplexity --divergence")?;
    Ok(Sample { myriad, peer: divergence(bench, model, text, scratch)?, share: None })
}

/// Makes a file of another type.
fn quantise(bench: &Bench, model: &Path, to: &Path, kind: &str) -> Result<()> {
    let mut command = Command::new(bench.tools.join("llama-quantize"));
    printed(command.arg("--allow-requantize").arg(model).arg(to).arg(kind))?;
    Ok(())
}

/// llama.cpp's own measure: the logits of the file with floats, then those of the file.
fn divergence(bench: &Bench, model: &Path, text: &Path, scratch: &Path) -> Result<f64> {
    let (exact, base) = (scratch.join("exact.gguf"), scratch.join("base.kld"));
    quantise(bench, model, &exact, "F32")?;
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
