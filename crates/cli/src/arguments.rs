//! Turns the flags that several commands share into checked values.

use std::collections::HashSet;
use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use myriad_engine::Sampling;
use myriad_kernels::{BlockType, KvType};
use myriad_model::Precision;

use crate::load::Holding;

/// More threads than any machine has cores.
const THREADS_MAX: u32 = 1024;

/// The model, where a command can do without its name.
#[derive(Args)]
pub struct OptionalModel {
    /// Path of a GGUF file or a Hugging Face folder, or the name of a model in the cache. Without
    /// it: the default model, or the only one in the cache.
    #[arg(value_name = "MODEL", env = "MYRIAD_MODEL")]
    pub model: Option<PathBuf>,
}

/// The model, where a command needs it.
#[derive(Args)]
pub struct Model {
    /// Path of a GGUF file or a Hugging Face folder, or the name of a model in the cache.
    #[arg(value_name = "MODEL")]
    pub model: PathBuf,
}

/// How many threads compute.
#[derive(Args)]
pub struct Threads {
    /// Threads that compute. [default: one for each core]
    #[arg(long, short = 't', value_name = "N", help_heading = "Resources",
          value_parser = clap::value_parser!(u32).range(1..=THREADS_MAX as i64))]
    threads: Option<u32>,
}

impl Threads {
    /// As asked for, or as many as there are cores.
    pub fn count(&self) -> usize {
        self.threads.map_or_else(cores, |threads| threads as usize)
    }
}

/// Tokens and memory that one conversation may take.
#[derive(Args)]
pub struct Memory {
    /// Most tokens of prompt and answer together. [default: as the model was made for, if that fits
    /// in memory]
    #[arg(long, short = 'c', value_name = "TOKENS", help_heading = "Resources",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub context: Option<u32>,
    /// Memory for the keys and values of all tokens: 800MB, 2GB, 1.5GiB. [default: what the context
    /// needs]
    #[arg(long, value_name = "SIZE", help_heading = "Resources", value_parser = bytes)]
    pub kv_memory: Option<u64>,
    #[command(flatten)]
    pub kv: Kv,
}

/// How keys and values are kept.
#[derive(Args)]
pub struct Kv {
    /// Type of keys and values: f16, or q8_0 for about half the memory, and less to read for each
    /// token of a long context. Answers are hardly worse.
    #[arg(long = "kv", value_name = "TYPE", help_heading = "Resources", default_value = "f16")]
    pub kind: KvType,
}

/// Who guesses how answers go on.
#[derive(Args)]
pub struct Draft {
    /// A smaller model of the same vocabulary, which guesses how answers go on: where it is right,
    /// the model makes several tokens at a time. The answers are the same. Worth it where the model
    /// is ten times as large.
    #[arg(long, value_name = "MODEL", help_heading = "Resources")]
    pub draft: Option<PathBuf>,
    /// Leave out the layer that some models have to guess further tokens (multi-token prediction).
    /// The answers are the same; its weights take memory.
    #[arg(long, help_heading = "Resources", conflicts_with = "draft")]
    pub no_mtp: bool,
}

/// As which types weights are held.
#[derive(Args)]
pub struct Weights {
    /// Quantise weights while loading: q8_0, q6_k, q5_k, q4_k, mxfp4, iq4_nl … Takes less memory,
    /// and time for each token; answers get worse below q4_k. Norms and routers stay floats, the
    /// embedding and the output head get at least q6_k, and what the file has quantised already
    /// stays as it is.
    #[arg(long, alias = "quantise", value_name = "TYPE", help_heading = "Resources",
          value_parser = block_type)]
    quantize: Option<BlockType>,
    /// Leave weights on the disk, for models larger than the memory: what is used is read, and kept
    /// as long as memory is left. They are packed once into the cache folder, about as large as the
    /// model. Slower wherever memory is not enough; the same answers.
    #[arg(long, help_heading = "Resources")]
    mmap: bool,
}

impl Weights {
    /// For the loader.
    pub fn holding(&self) -> Holding {
        let precision = self.quantize.map_or(Precision::AsStored, Precision::quantised);
        Holding { precision, mmap: self.mmap }
    }
}

/// How tokens are chosen.
#[derive(Args)]
pub struct Choice {
    /// Most tokens of an answer. [default: what the context leaves]
    #[arg(long, short = 'n', value_name = "N", help_heading = "Sampling",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub max_tokens: Option<u32>,
    /// How freely tokens are chosen: 0 always takes the likeliest.
    #[arg(long, value_name = "T", help_heading = "Sampling", default_value_t = 0.7,
          value_parser = not_negative)]
    temperature: f32,
    /// Only the N likeliest tokens; 0: all.
    #[arg(long, value_name = "N", help_heading = "Sampling", default_value_t = 0)]
    top_k: u32,
    /// Only the likeliest tokens that together have this probability; 1: all.
    #[arg(long, value_name = "P", help_heading = "Sampling", default_value_t = 0.95,
          value_parser = share)]
    top_p: f32,
    /// Only tokens with this share of the likeliest one's probability; 0: all.
    #[arg(long, value_name = "P", help_heading = "Sampling", default_value_t = 0.0,
          value_parser = share)]
    min_p: f32,
    /// Makes tokens that are there already less likely; 1: not.
    #[arg(long, value_name = "R", help_heading = "Sampling", default_value_t = 1.0,
          value_parser = positive)]
    repetition_penalty: f32,
    /// Equal seeds give equal answers. [default: a new one each time]
    #[arg(long, value_name = "N", help_heading = "Sampling")]
    seed: Option<u64>,
    /// Ends the answer before this text; may be given several times.
    #[arg(long, value_name = "TEXT", help_heading = "Sampling")]
    pub stop: Vec<String>,
}

impl Choice {
    /// The seed asked for, or one that nobody knows.
    pub fn seed(&self) -> u64 {
        self.seed.unwrap_or_else(random)
    }

    /// For the engine, with this seed.
    pub fn sampling(&self, seed: u64) -> Sampling {
        Sampling {
            temperature: self.temperature,
            top_k: (self.top_k > 0).then_some(self.top_k),
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            seed,
            ..Sampling::default()
        }
    }
}

/// A number from the system's randomness, which seeds the standard library's hash tables; below
/// 2^53, so that every JSON reader keeps it exact.
pub fn random() -> u64 {
    RandomState::new().build_hasher().finish() >> 11
}

/// A text argument: itself, or for `-` all of standard input.
pub fn text_or_stdin(text: &str) -> Result<String> {
    if text != "-" {
        return Ok(text.to_owned());
    }
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes).context("reading standard input")?;
    String::from_utf8(bytes).map_err(|error| {
        let position = error.utf8_error().valid_up_to();
        anyhow::anyhow!("standard input is not UTF-8 text: the bytes at {position} are none")
    })
}

/// Cores that may be used. Two threads of one core share its arithmetic units, so that a second
/// thread per core is slower, not faster, than none.
fn cores() -> usize {
    let allowed = std::thread::available_parallelism().map_or(1, usize::from);
    let siblings = |cpu: usize| {
        let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        fs::read_to_string(path).ok()
    };
    let physical: HashSet<String> = (0..).map_while(siblings).collect();
    if physical.is_empty() { allowed } else { allowed.min(physical.len()) }
}

/// `2GB`, `1.5GiB`, `800M` or a number of bytes.
pub fn bytes(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "t" | "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return Err("right would be a size such as 800MB, 2GB or 1.5GiB".into()),
    };
    match number.parse::<f64>() {
        // Above 2^53 a product could be off, and below 1 there is nothing.
        Ok(number) if number * factor as f64 >= 1.0 && number * (factor as f64) < 9e15 => {
            Ok((number * factor as f64) as u64)
        }
        _ => Err("right would be a size such as 800MB, 2GB or 1.5GiB".into()),
    }
}

/// `q4_k`, `Q8_0` and so on.
pub fn block_type(text: &str) -> Result<BlockType, String> {
    BlockType::parse(text).ok_or_else(|| {
        let known = BlockType::ALL.map(|kind| kind.name().to_ascii_lowercase());
        format!("right would be one of {}", known.join(", "))
    })
}

fn not_negative(text: &str) -> Result<f32, String> {
    number(text, |value| value >= 0.0, "a number of at least 0")
}

fn positive(text: &str) -> Result<f32, String> {
    number(text, |value| value > 0.0, "a number above 0")
}

fn share(text: &str) -> Result<f32, String> {
    number(text, |value| (0.0..=1.0).contains(&value), "a number between 0 and 1")
}

fn number(text: &str, good: impl Fn(f32) -> bool, right: &str) -> Result<f32, String> {
    let value = text.parse::<f32>().ok().filter(|value| value.is_finite() && good(*value));
    value.ok_or_else(|| format!("right would be {right}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        assert_eq!(bytes("800MB"), Ok(800_000_000));
        assert_eq!(bytes("2g"), Ok(2_000_000_000));
        assert_eq!(bytes("1.5GiB"), Ok(3 << 29));
        assert_eq!(bytes("4096"), Ok(4096));
        for bad in ["", "G", "2XB", "-1", "0", "nan", "1e400", "9999999TB", "1.2.3M"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_stay_in_their_range() {
        assert_eq!(not_negative("0"), Ok(0.0));
        assert_eq!(share("0.95"), Ok(0.95));
        for bad in ["NaN", "inf", "-1", "two"] {
            assert!(not_negative(bad).is_err(), "{bad}");
        }
        assert!(share("1.1").is_err() && positive("0").is_err());
    }

    #[test]
    fn types_are_known_by_their_names_in_either_case() {
        assert_eq!(block_type("q4_k"), Ok(BlockType::Q4K));
        assert_eq!(block_type("BF16"), Ok(BlockType::BF16));
        let error = block_type("q4_k_m").unwrap_err();
        assert!(error.contains("q4_k,") && error.contains("mxfp4"), "{error}");
    }

    #[test]
    fn every_machine_has_a_core() {
        assert!(cores() >= 1);
    }
}
