//! Turns the goals of speed into a list: which model does what, and how much faster it is to be.

/// What both engines do.
pub enum Work {
    /// A prompt and then answers, after `depth` tokens, with keys and values of that type.
    Speed { prompt: usize, generate: usize, depth: usize, kv: &'static str },
    /// Sequences that are decoded together, each with a prompt of 128 tokens.
    Batch { sequences: usize },
}

/// One of the goals.
pub struct Case {
    /// A file in the folder of models, or the default model.
    pub model: &'static str,
    pub work: Work,
    /// How many times as fast as llama.cpp; 0 where only to be shown.
    pub prefill: f64,
    pub decode: f64,
    /// Shares of the integer peak (of BF16's, where weights are BF16) and of the bandwidth.
    pub peak: Option<f64>,
    pub bandwidth: Option<f64>,
}

impl Case {
    /// Rounds of so many that are worth their time: a long text takes one engine minutes.
    pub fn rounds(&self, rounds: usize) -> usize {
        match self.work {
            Work::Speed { prompt, depth, .. } if prompt + depth > 1024 => rounds.min(3),
            _ => rounds,
        }
    }
}

/// The default model.
pub const DEFAULT: &str = "SmolLM2-135M-Instruct.Q4_1";

/// 512 tokens of prompt, 128 of an answer.
const fn short(
    model: &'static str,
    prefill: f64,
    decode: f64,
    peak: Option<f64>,
    bandwidth: Option<f64>,
) -> Case {
    let work = Work::Speed { prompt: 512, generate: 128, depth: 0, kv: "f16" };
    Case { model, work, prefill, decode, peak, bandwidth }
}

/// A long prompt.
const fn prompt(model: &'static str, prompt: usize, prefill: f64) -> Case {
    let work = Work::Speed { prompt, generate: 0, depth: 0, kv: "f16" };
    Case { model, work, prefill, decode: 0.0, peak: None, bandwidth: None }
}

/// Answers after a long text.
const fn deep(model: &'static str, kv: &'static str, decode: f64, bandwidth: Option<f64>) -> Case {
    let work = Work::Speed { prompt: 0, generate: 64, depth: 8192, kv };
    Case { model, work, prefill: 0.0, decode, peak: None, bandwidth }
}

const fn batch(model: &'static str, sequences: usize, decode: f64) -> Case {
    let work = Work::Batch { sequences };
    Case { model, work, prefill: 0.0, decode, peak: None, bandwidth: None }
}

/// Prompts on kernels that most machines have.
pub const PORTABLE: &[Case] = &[
    prompt(DEFAULT, 512, 0.9),
    prompt("qwen2.5-0.5b-q4_k_m", 512, 0.9),
    prompt("qwen2.5-0.5b-q4_0", 512, 0.9),
    prompt("qwen2.5-0.5b-q8_0", 512, 0.9),
];

/// Models whose prompts are computed by one thread, too.
pub const SCALING: &[&str] = &[DEFAULT, "qwen2.5-1.5b-q4_k_m"];

pub const CASES: &[Case] = &[
    short(DEFAULT, 8.0, 2.2, Some(0.40), Some(0.70)),
    short("gemma-3-270m-q4_k_m", 4.0, 1.7, Some(0.35), Some(0.75)),
    short("qwen2.5-0.5b-q4_k_m", 4.0, 1.9, Some(0.45), Some(0.80)),
    short("qwen2.5-0.5b-q4_0", 2.2, 1.35, Some(0.45), Some(0.80)),
    short("qwen2.5-0.5b-q8_0", 4.0, 1.3, Some(0.45), Some(0.80)),
    short("qwen2.5-1.5b-q4_k_m", 1.7, 1.2, Some(0.50), Some(0.85)),
    short("qwen2.5-1.5b-q4_0", 2.2, 1.15, Some(0.50), Some(0.88)),
    short("qwen2.5-1.5b-q8_0", 4.0, 1.2, Some(0.50), Some(0.88)),
    short("qwen2.5-1.5b-bf16", 1.4, 1.0, Some(0.65), Some(0.90)),
    short("qwen3-moe-8-layers-q4_k_m", 2.5, 1.5, Some(0.35), Some(0.85)),
    short("deepseek-v2-lite-6-layers-q4_k_m", 2.8, 1.3, Some(0.35), Some(0.80)),
    prompt(DEFAULT, 2048, 6.0),
    batch(DEFAULT, 4, 2.5),
    batch(DEFAULT, 8, 3.0),
    batch(DEFAULT, 16, 4.0),
    batch(DEFAULT, 32, 4.5),
    batch("qwen2.5-0.5b-q4_0", 16, 2.0),
];

/// What takes one engine minutes a round: last, so that the rest is recorded by then.
pub const LONG: &[Case] = &[
    prompt(DEFAULT, 8192, 5.0),
    deep(DEFAULT, "f16", 3.0, Some(0.65)),
    deep(DEFAULT, "q8_0", 3.0, Some(0.65)),
    prompt("qwen2.5-1.5b-q4_k_m", 2048, 1.8),
    deep("qwen2.5-1.5b-q4_k_m", "f16", 1.7, Some(0.65)),
    prompt("qwen2.5-1.5b-q4_k_m", 8192, 1.8),
    deep("qwen2.5-1.5b-q4_k_m", "q8_0", 1.7, Some(0.65)),
];
