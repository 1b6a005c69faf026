//! Turns answers with guesses and without into how much faster the guesses make them.

use super::cases::DEFAULT;
use super::engines::Bench;
use super::record::{Row, Sample, median};
use super::serving::stream;
use crate::live::{Server, default_model};
use anyhow::{Context, Result};
use serde_json::json;

/// A task, its prompts and the least that guesses are to bring.
struct Task {
    work: &'static str,
    prompts: &'static [&'static str],
    tokens: usize,
    floor: f64,
}

const TASKS: [Task; 2] = [
    Task {
        work: "a text to be written again",
        prompts: &[
            "Write this text again, word for word:\n\nThe harbour of Oldhaven lies behind two \
             walls of grey stone. Fishermen built them in 1846, when the sea had taken the \
             third pier in ten years. It took eleven years. The east wall was finished first, \
             then the lighthouse, and last of all the long pier that the fishermen still call \
             the Arm. In 1901 a storm broke the Arm in three places; it was mended with iron, \
             which has rusted since, so that the stones are red at low tide.",
            "Write this code again, with the same comments:\n\n```python\ndef mean(values):\n    \
             # The sum of all values, divided by their number.\n    total = 0.0\n    for value in \
             values:\n        total += value\n    return total / len(values)\n\n\ndef \
             variance(values):\n    # The mean of the squares of what each differs from the \
             mean.\n    centre = mean(values)\n    total = 0.0\n    for value in values:\n        \
             total += (value - centre) ** 2\n    return total / len(values)\n```",
        ],
        tokens: 128,
        floor: 1.5,
    },
    Task {
        work: "plain chat",
        prompts: &[
            "Tell me a story about a dog.",
            "What is a black hole?",
            "How do I bake bread?",
            "List ten cities in Europe and what they are known for.",
        ],
        tokens: 192,
        floor: 0.98,
    },
];

/// Empty rows.
pub fn rows() -> Vec<Row> {
    let row = |task: &Task| Row {
        group: "speculation".into(),
        model: DEFAULT.into(),
        work: task.work.into(),
        unit: "tokens/s".into(),
        peer: "without guesses".into(),
        less_is_better: false,
        floor: task.floor,
        share_floor: None,
        rounds: Vec::new(),
    };
    TASKS.iter().map(row).collect()
}

/// One round: each prompt by both, one after the other.
pub fn samples(bench: &Bench) -> Result<Vec<Sample>> {
    let (model, threads) = (default_model()?, bench.threads.to_string());
    // Whoever is not asked uses no processor.
    let with = Server::start_quiet(&model, &["--threads", &threads])?;
    let without = Server::start_quiet(&model, &["--threads", &threads, "--no-speculation"])?;
    let sample = |task: &Task| {
        let mut pairs = Vec::new();
        for prompt in task.prompts {
            pairs.push((speed(&with, prompt, task)?, speed(&without, prompt, task)?));
        }
        let (mine, theirs) = (pairs.iter().map(|pair| pair.0), pairs.iter().map(|pair| pair.1));
        Ok(Sample { myriad: median(mine), peer: median(theirs), share: None })
    };
    TASKS.iter().map(sample).collect()
}

/// Tokens a second behind the first.
fn speed(server: &Server, prompt: &str, task: &Task) -> Result<f64> {
    let body = json!({
        "messages": [{ "role": "user", "content": prompt }], "max_tokens": task.tokens,
        "stream": true, "ignore_eos": true, "temperature": 0.0,
    });
    // The prompt is in the cache the second time, and what is measured comes behind it.
    let mut speeds = Vec::new();
    for _ in 0..2 {
        let times = stream(server.port, "/v1/chat/completions", &body)?;
        let (first, last) = times.first().zip(times.last()).context("no token came")?;
        speeds.push((task.tokens - 1) as f64 / (*last - *first).as_secs_f64());
    }
    Ok(speeds[1])
}
