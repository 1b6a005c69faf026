//! Turns models and prompts into logits in the several ways that tests compare.
#![allow(dead_code)] // each test file uses some of it

use std::path::PathBuf;

use myriad_formats::Gguf;
use myriad_kernels::{Compute, Kernels, KvType, Level, PAGE_TOKENS};
use myriad_model::synthetic::Shape;
use myriad_model::{Batch, Cache, Family, LogitRows, Model, Scratch, Segment, synthetic};

/// A compute context of each level that this machine has.
pub fn levels() -> Vec<&'static Kernels> {
    Level::available().into_iter().map(|level| Kernels::at(level).expect("available")).collect()
}

pub fn best(threads: usize) -> Compute {
    Compute::new(Kernels::detect().expect("kernels"), threads)
}

/// The synthetic model of a shape.
pub fn synthetic_model(shape: &Shape, seed: u64, compute: &Compute) -> Model {
    load(&synthetic::gguf(shape, seed), compute)
}

pub fn load(bytes: &[u8], compute: &Compute) -> Model {
    let gguf = Gguf::from_bytes(bytes.to_vec()).expect("a well-formed file");
    Model::load(&gguf, compute, &mut |_| ()).expect("a loadable model")
}

/// Pseudo-random tokens below `vocab`.
pub fn prompt(length: usize, vocab: usize, seed: u64) -> Vec<u32> {
    let mut random = Random(seed);
    (0..length).map(|_| random.below(vocab) as u32).collect()
}

/// Logits of all positions, the prompt fed in pieces of these sizes (the last one repeats).
pub fn logits_in_chunks(
    model: &Model,
    compute: &Compute,
    tokens: &[u32],
    chunks: &[usize],
    pages: &[u32],
) -> Vec<f32> {
    let cache_pages = pages.iter().max().map_or(1, |&page| page as usize + 1);
    let cache = model.new_cache(cache_pages, 1).expect("a small cache");
    logits_through(cache, model, compute, tokens, chunks, pages)
}

/// Logits of all positions, the prompt fed at once, keys and values as they were computed.
pub fn exact_logits(model: &Model, compute: &Compute, tokens: &[u32]) -> Vec<f32> {
    let pages: Vec<u32> = (0..pages_for(tokens.len()) as u32).collect();
    let cache = model.new_cache_of(KvType::F32, pages.len(), 1).expect("a small cache");
    logits_through(cache, model, compute, tokens, &[tokens.len()], &pages)
}

fn logits_through(
    mut cache: Cache,
    model: &Model,
    compute: &Compute,
    tokens: &[u32],
    chunks: &[usize],
    pages: &[u32],
) -> Vec<f32> {
    let mut scratch = Scratch::new();
    let mut sizes = chunks.iter().copied().chain(std::iter::repeat(*chunks.last().unwrap()));
    let mut all = Vec::new();
    let mut start = 0;
    while start < tokens.len() {
        let end = tokens.len().min(start + sizes.next().unwrap());
        let segment = Segment::alone(&tokens[start..end], start as u32, pages, LogitRows::All);
        let batch = Batch { sequences: &[segment] };
        all.extend_from_slice(model.forward(compute, &batch, &mut cache, &mut scratch).values());
        start = end;
    }
    all
}

/// Logits of all positions, the prompt fed at once, pages in order.
pub fn logits(model: &Model, compute: &Compute, tokens: &[u32]) -> Vec<f32> {
    let pages: Vec<u32> = (0..pages_for(tokens.len()) as u32).collect();
    logits_in_chunks(model, compute, tokens, &[tokens.len()], &pages)
}

pub fn pages_for(tokens: usize) -> usize {
    tokens.div_ceil(PAGE_TOKENS)
}

/// How far logits are from the right ones.
#[derive(Clone, Copy, Debug, Default)]
pub struct Distance {
    /// Largest absolute difference, in standard deviations of the right logits of its row.
    pub max: f64,
    /// Root of the mean square difference, in the same unit.
    pub rms: f64,
    /// Mean Kullback-Leibler divergence of the two distributions, in nats.
    pub kl: f64,
    /// Share of rows whose most likely token is the same.
    pub same_best: f64,
}

pub fn distance(found: &[f32], right: &[f32], vocab: usize) -> Distance {
    assert_eq!(found.len(), right.len());
    let rows = right.len() / vocab;
    let mut sum = Distance::default();
    for (found, right) in found.chunks_exact(vocab).zip(right.chunks_exact(vocab)) {
        let mean = right.iter().map(|&x| f64::from(x)).sum::<f64>() / vocab as f64;
        let variance =
            right.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / vocab as f64;
        let spread = variance.sqrt();
        let differences = found.iter().zip(right).map(|(&a, &b)| f64::from(a) - f64::from(b));
        let squares = differences.clone().map(|x| x * x).sum::<f64>() / vocab as f64;
        let max = differences.fold(0.0, |max, x| larger(max, x.abs()));
        sum.max = larger(sum.max, max / spread);
        sum.rms += squares.sqrt() / spread / rows as f64;
        sum.kl += kl_divergence(right, found) / rows as f64;
        sum.same_best += f64::from(u8::from(best_of(found) == best_of(right))) / rows as f64;
    }
    sum
}

/// As `f64::max`, which would drop a NaN: it must fail every bound.
fn larger(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

pub fn best_of(row: &[f32]) -> usize {
    (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).expect("a vocabulary")
}

/// Log-probabilities of a row of logits.
pub fn log_softmax(row: &[f32]) -> Vec<f64> {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = row.iter().map(|&x| f64::from(x - max).exp()).sum();
    row.iter().map(|&x| f64::from(x - max) - sum.ln()).collect()
}

fn kl_divergence(right: &[f32], found: &[f32]) -> f64 {
    let (p, q) = (log_softmax(right), log_softmax(found));
    p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum()
}

/// The default model's file; `make test` gets it first.
pub fn default_model_path() -> PathBuf {
    let path = match std::env::var_os("MYRIAD_TEST_MODEL") {
        Some(path) => PathBuf::from(path),
        None => {
            let cache =
                std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).unwrap_or_else(|| {
                    PathBuf::from(std::env::var_os("HOME").expect("HOME")).join(".cache")
                });
            cache.join("myriad/models/SmolLM2-135M-Instruct.Q4_1.gguf")
        }
    };
    assert!(
        path.exists(),
        "the default model is not at {}; `tools/default_model.sh` gets it, \
         or MYRIAD_TEST_MODEL names another place",
        path.display()
    );
    path
}

/// xorshift64*: small numbers for tests.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        // A seed of 0 would stay 0.
        self.0 = self.0.max(1);
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    pub fn below(&mut self, limit: usize) -> usize {
        self.next() as usize % limit
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// The families that continue texts.
pub fn decoders() -> Vec<Family> {
    Family::ALL.into_iter().filter(|family| !family.is_encoder()).collect()
}
