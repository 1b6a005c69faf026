//! Turns the machine into the two numbers that kernels are held against: memory bandwidth and int8
//! peak.

use crate::compute::Compute;
use crate::lanes::Lanes;
use crate::level::leveled;
use crate::memory::Memory;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Memory that one pass reads: many times the largest common last-level cache share, so that next
/// to nothing of it stays cached from one pass to the next.
const READ_BYTES: usize = 512 << 20;

/// What one task reads: a whole number of large pages.
const CHUNK_BYTES: usize = 4 << 20;

/// Sums that do not wait for each other: latency × throughput of the slowest multiply (4 × 2).
const CHAINS: usize = 8;

/// Rounds of multiplications in one task: some tens of microseconds at the widest level.
const ROUNDS: usize = 4096;

/// Dot products in one chain: a block of 32 columns.
const CHAIN: usize = 8;

/// How long the peak is measured for; the best of this many.
const TRIES: usize = 3;

leveled!(fn read_bytes(kernels, bytes: &[u8]) -> f32 = read);
leveled!(fn multiply_rounds(kernels, rounds: usize, seed: i32) -> f32 = multiply);

/// Bytes per second that all threads together read from memory, sequentially; the best of a few
/// passes. If memory is short, less of it is read.
pub fn memory_read_bandwidth(compute: &Compute) -> f64 {
    let mut bytes = READ_BYTES;
    let mut memory = loop {
        match Memory::zeroed(bytes) {
            Some(memory) => break memory,
            None if bytes > CHUNK_BYTES => bytes /= 2,
            None => return 0.0,
        }
    };
    memory.bytes_mut().iter_mut().step_by(64).for_each(|byte| *byte = 0); // a page of its own each
    let chunks: Vec<&[u8]> = memory.bytes().chunks_exact(CHUNK_BYTES).collect();
    let best = (0..TRIES)
        .map(|_| {
            let start = Instant::now();
            compute.pool.run(chunks.len(), &|task, _| {
                black_box(read_bytes(compute.kernels, black_box(chunks[task])));
            });
            start.elapsed()
        })
        .min()
        .unwrap_or(Duration::MAX);
    bytes as f64 / best.as_secs_f64()
}

/// Operations per second (a multiplication and an addition count as two) of int8 dot products out
/// of registers on all threads, at the level of `compute`; the best of a few tries.
pub fn int8_peak(compute: &Compute) -> f64 {
    // One call does 64 products a chain and a round.
    let operations = (2 * 64 * CHAINS * ROUNDS) as f64;
    let mut tasks = 16 * compute.pool.threads();
    let mut best = 0.0f64;
    for _ in 0..TRIES {
        loop {
            let start = Instant::now();
            compute.pool.run(tasks, &|task, _| {
                black_box(multiply_rounds(compute.kernels, ROUNDS, black_box(task as i32)));
            });
            let elapsed = start.elapsed();
            best = best.max(operations * tasks as f64 / elapsed.as_secs_f64());
            if elapsed > Duration::from_millis(10) {
                break;
            }
            tasks *= 4; // too short to be measured, and the processor may still speed up
        }
    }
    best
}

/// Loads every byte once.
#[inline(always)]
unsafe fn read<L: Lanes>(bytes: &[u8]) -> f32 {
    const STRIDE: usize = 256;
    // SAFETY: each chunk holds four times sixteen f32; the level of `L` runs here.
    unsafe {
        let mut sums = [L::splat(0.0); 4];
        for chunk in bytes.chunks_exact(STRIDE) {
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = sum.add(L::load(chunk.as_ptr().cast::<f32>().add(16 * i)));
            }
        }
        sums[0].add(sums[1]).add(sums[2].add(sums[3])).sum()
    }
}

/// `rounds` dot products in each of the chains.
#[inline(always)]
unsafe fn multiply<L: Lanes>(rounds: usize, seed: i32) -> f32 {
    let levels = black_box([3u8; 64]);
    let words = [seed; CHAINS * CHAIN];
    // SAFETY: `levels` holds 64 bytes; the level of `L` runs here.
    unsafe {
        let levels = L::load_bytes(levels.as_ptr());
        // Chains as long as four bits allow: what the most common weights are multiplied with.
        // They start from different sums, so that the compiler keeps them apart.
        let mut sums: [L::Ints; CHAINS] = std::array::from_fn(|i| L::splat_int(i as i32));
        for _ in 0..rounds / CHAIN {
            // Hidden, and different for each product: or the compiler would multiply once for all.
            let words = black_box(&words);
            for (i, sum) in sums.iter_mut().enumerate() {
                let mut chain = L::begin_chain::<false>(i as i32);
                for step in 0..CHAIN {
                    chain = L::dot4::<false>(chain, levels, words[i * CHAIN + step]);
                }
                *sum = L::add_ints(*sum, L::end_chain::<false>(chain, i as i32));
            }
        }
        let total = sums.into_iter().fold(L::splat_int(0), |a, b| L::add_ints(a, b));
        L::from_ints(total).sum()
    }
}
