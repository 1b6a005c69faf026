//! Turns one shape of attention into figures: bytes of cache read and operations done per second.
//!
//! `cargo run --release -p myriad-kernels --example attention_speed [threads]`

use myriad_kernels::{
    AttentionCall, AttentionRow, AttentionScratch, Compute, Kernels, KvCache, KvShape, PAGE_TOKENS,
    RowSlot, attention, memory_read_bandwidth,
};
use std::time::Instant;

/// SmolLM2-135M.
const LAYERS: usize = 30;
const KV_HEADS: usize = 3;

struct Bench {
    compute: Compute,
    cache: KvCache,
    pages: Vec<u32>,
    group: usize,
    head_size: usize,
}

impl Bench {
    fn new(compute: Compute, tokens: usize, group: usize, head_size: usize) -> Bench {
        let pages = tokens.div_ceil(PAGE_TOKENS);
        let shape = KvShape { kv_heads: KV_HEADS, key_size: head_size, value_size: head_size };
        let mut cache = KvCache::new(&[shape; LAYERS], pages).expect("memory for the cache");
        let rows: Vec<RowSlot> = (0..pages * PAGE_TOKENS)
            .map(|token| RowSlot {
                page: (token / PAGE_TOKENS) as u32,
                slot: (token % PAGE_TOKENS) as u32,
            })
            .collect();
        let width = KV_HEADS * head_size;
        let x: Vec<f32> =
            (0..rows.len() * width).map(|i| ((i * 7919) % 1009) as f32 / 500.0 - 1.0).collect();
        for name in ["first", "again"] {
            let start = Instant::now();
            for layer in 0..LAYERS {
                for (rows, x) in rows.chunks(512).zip(x.chunks(512 * width)) {
                    cache.store(&compute, layer, rows, x, width, x, width);
                }
            }
            let seconds = start.elapsed().as_secs_f64() / rows.len() as f64;
            println!("store, {name}: {:.2} µs a row", seconds * 1e6);
        }
        Bench { compute, cache, pages: (0..pages as u32).collect(), group, head_size }
    }

    /// Rows of `sequences` sequences of equal length that share the pages out among them.
    fn rows(&self, sequences: usize, position: usize, count: usize) -> Vec<AttentionRow<'_>> {
        self.pages
            .chunks_exact(self.pages.len() / sequences)
            .flat_map(|pages| {
                (position..position + count)
                    .map(|position| position as u32)
                    .map(move |position| AttentionRow { pages, position, selection: None })
            })
            .collect()
    }

    /// Seconds for all layers of some rows: the best of several rounds each.
    fn seconds(&self, rows: &[AttentionRow<'_>], rounds: usize) -> f64 {
        let (heads, count) = (self.group * KV_HEADS, rows.len());
        let width = heads * self.head_size;
        let q: Vec<f32> = (0..count * width).map(|i| ((i * 31) % 77) as f32 / 40.0 - 1.0).collect();
        let mut out = vec![0.0; count * width];
        let mut scratch = AttentionScratch::new();
        let scale = 1.0 / (self.head_size as f32).sqrt();
        // Layer by layer, so that what else runs on the machine spoils little of it.
        let mut best = [f64::INFINITY; LAYERS];
        for _ in 0..rounds {
            for (layer, best) in best.iter_mut().enumerate() {
                let start = Instant::now();
                let call = AttentionCall {
                    cache: &self.cache,
                    layer,
                    rows,
                    q: &q,
                    q_stride: width,
                    heads,
                    scale,
                    exact: false,
                    window: None,
                    sinks: None,
                };
                attention(&self.compute, &call, &mut out, &mut scratch);
                *best = best.min(start.elapsed().as_secs_f64());
            }
        }
        assert!(out.iter().all(|x| x.is_finite()));
        best.iter().sum()
    }

    fn decode(&self, sequences: usize, depth: usize) {
        let seconds = self.seconds(&self.rows(sequences, depth - 1, 1), 30);
        let bytes = sequences * depth * KV_HEADS * self.head_size * 2 * 2 * LAYERS;
        println!(
            "decode of {sequences} at {depth}: {:.1} µs a step, {:.1} GB/s of cache",
            seconds * 1e6,
            bytes as f64 / seconds / 1e9
        );
    }

    fn prefill(&self, start: usize, count: usize) {
        let seconds = self.seconds(&self.rows(1, start, count), 10);
        let pairs = count * start + count * (count + 1) / 2;
        let operations = pairs * KV_HEADS * self.group * self.head_size * 4 * LAYERS;
        println!(
            "prefill of {count} at {start}: {:.2} ms, {:.0} tokens/s, {:.1} GFLOP/s",
            seconds * 1e3,
            count as f64 / seconds,
            operations as f64 / seconds / 1e9
        );
    }
}

fn main() {
    let threads = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(2);
    let kernels = Kernels::detect().expect("a level that this machine has");
    let compute = || Compute::new(kernels, threads);
    println!("{} threads, level {:?}", threads, kernels.level());
    println!("memory: {:.1} GB/s", memory_read_bandwidth(&compute()) / 1e9);
    for (group, head_size) in [(3, 64), (7, 64), (6, 128)] {
        println!("{KV_HEADS} kv heads, {group} heads each, {LAYERS} layers, head size {head_size}");
        let bench = Bench::new(compute(), 8192, group, head_size);
        for depth in [128, 2048, 8192] {
            bench.decode(1, depth);
        }
        bench.decode(16, 512);
        bench.prefill(0, 512);
        bench.prefill(2048, 512);
    }
}
