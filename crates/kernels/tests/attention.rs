//! Turns random caches and queries into attention, held against plain sums in f64 and against
//! itself in other batches, chunks, threads and levels.

mod common;

use common::world::{Shape, World, shape};
use common::{Random, assert_same_bits, best, compute};
use myriad_kernels::{AttentionScratch, KvType, Level, PAGE_TOKENS};

const SHAPES: [Shape; 16] = [
    shape(1, 1, 16, 16),
    shape(3, 3, 64, 64),
    shape(2, 7, 64, 64),
    shape(1, 8, 80, 80),
    shape(2, 6, 128, 128),
    shape(1, 2, 96, 96),
    shape(4, 1, 8, 8),
    shape(2, 5, 72, 72),
    shape(1, 16, 24, 24),
    shape(2, 17, 16, 16),
    shape(1, 35, 8, 8),
    shape(1, 4, 512, 512),
    shape(1, 16, 576, 512),
    shape(2, 3, 24, 16),
    shape(1, 5, 12, 40),
    shape(2, 2, 192, 128),
];

const LENGTHS: [usize; 14] = [1, 2, 15, 16, 17, 31, 32, 33, 255, 256, 257, 511, 513, 1000];

#[test]
fn last_rows_equal_plain_sums_at_every_level() {
    for (index, shape) in SHAPES.into_iter().enumerate() {
        let lengths: Vec<usize> =
            LENGTHS.into_iter().filter(|length| length * shape.q_width() < 300_000).collect();
        for kind in [KvType::F16, KvType::F32, KvType::Q8_0] {
            let world = World::of(kind, shape, &lengths, 100 + index as u64);
            let rows: Vec<(usize, usize)> =
                lengths.iter().enumerate().map(|(i, length)| (i, length - 1)).collect();
            let mut scratch = AttentionScratch::new();
            let out = world.attend(&compute(best(), 1), &rows, &mut scratch);
            for (&row, out) in rows.iter().zip(out.chunks_exact(shape.width())) {
                world.check(row, out);
            }
            for level in Level::available() {
                let other = world.attend(&compute(level, 2), &rows, &mut scratch);
                assert_eq!(out, other, "{shape:?} of {kind:?} at level {level:?}");
            }
        }
    }
}

/// Every position of sequences alone, in chunks of random sizes, among other sequences' rows, on
/// one, two and three threads, with a fresh and a used scratch: the same bits.
#[test]
fn batches_chunks_and_threads_do_not_show() {
    for (index, shape) in SHAPES.into_iter().enumerate() {
        let seed = 200 + index as u64;
        println!("seed {seed}");
        let mut random = Random(seed);
        let lengths = if index < 2 { vec![1, 47, 260, 530] } else { vec![40, 265] };
        let world = World::new(shape, &lengths, seed);
        let one = compute(best(), 1);
        let alone: Vec<Vec<Vec<f32>>> = lengths
            .iter()
            .enumerate()
            .map(|(sequence, &length)| {
                let mut scratch = AttentionScratch::new();
                (0..length)
                    .map(|position| world.attend(&one, &[(sequence, position)], &mut scratch))
                    .collect()
            })
            .collect();
        world.check((1, 39), &alone[1][39]);

        for threads in 1..=3 {
            let several = compute(best(), threads);
            world.attend_in_chunks(&several, &mut random, |(sequence, position), out| {
                let alone = &alone[sequence][position];
                assert_eq!(out, alone, "{shape:?}, sequence {sequence}, position {position}");
            });
        }
    }
}

/// Sequences that begin alike, as behind one system prompt, with one or some rows each, next to
/// each other or not: the bits of each row alone.
#[test]
fn what_sequences_share_does_not_show() {
    for seed in 800..824 {
        println!("seed {seed}");
        let mut random = Random(seed);
        let shape = SHAPES[random.below(SHAPES.len())];
        let count = 2 + random.below(8);
        let lengths: Vec<usize> = (0..count).map(|_| 300 + random.below(600)).collect();
        let kind = [KvType::F16, KvType::F32, KvType::Q8_0][random.below(3)];
        let mut world = World::of(kind, shape, &lengths, seed);
        if random.below(2) == 0 {
            world.sinks = Some(random.values(shape.heads()));
        }
        for to in 1..count {
            let from = random.below(to);
            let most = lengths[from].min(lengths[to]) / PAGE_TOKENS;
            let pages = [most, random.below(most + 1)][random.below(2)];
            world.share(from, to, pages);
        }
        let mut rows = vec![];
        for (sequence, &length) in lengths.iter().enumerate() {
            let several = [1, 1, 5][random.below(3)];
            let end = length - random.below(length - several);
            rows.extend((end - several..end).map(|position| (sequence, position)));
        }
        if random.below(4) == 0 {
            rows.reverse();
        }
        let one = compute(Level::Scalar, 1);
        let mut scratch = AttentionScratch::new();
        let alone: Vec<Vec<f32>> =
            rows.iter().map(|&row| world.attend(&one, &[row], &mut scratch)).collect();
        world.check(rows[0], &alone[0]);
        for (round, level) in Level::available().into_iter().enumerate() {
            let several = compute(level, 1 + (round + seed as usize) % 3);
            let out = world.attend(&several, &rows, &mut scratch);
            let all = rows.iter().zip(out.chunks_exact(shape.width())).zip(&alone);
            for ((row, out), alone) in all {
                assert_same_bits(&format!("{shape:?} at {level:?}, {row:?}"), out, alone);
            }
        }
    }
}

#[test]
fn prompts_have_equal_bits_at_every_level() {
    for (index, shape) in SHAPES.into_iter().enumerate().take(4) {
        let world = World::new(shape, &[275], 300 + index as u64);
        let rows: Vec<(usize, usize)> = (0..275).map(|position| (0, position)).collect();
        let mut outs = Level::available().into_iter().map(|level| {
            (level, world.attend(&compute(level, 2), &rows, &mut AttentionScratch::new()))
        });
        let (_, scalar) = outs.next().expect("scalar at least");
        for (level, out) in outs {
            assert_eq!(scalar, out, "{shape:?} at level {level:?}");
        }
    }
}

#[test]
fn far_apart_scores_give_the_greatest_key_alone() {
    let shape = shape(1, 1, 16, 16);
    for level in Level::available() {
        let compute = compute(level, 2);
        let mut world = World::new(shape, &[600], 7);
        // A key far along the query, in the middle segment.
        let q = world.q[0][599 * 16..].to_vec();
        let k: Vec<f32> = q.iter().map(|x| 20_000.0 * x).collect();
        let v: Vec<f32> = (0..16).map(|i| i as f32).collect();
        world.store(0, 300, &k, &v);
        let out = world.attend(&compute, &[(0, 599)], &mut AttentionScratch::new());
        assert_eq!(out, v, "{level:?}");
    }
}

#[test]
fn a_query_that_is_no_number_gives_none() {
    let shape = shape(1, 2, 16, 16);
    let kinds = [KvType::F16, KvType::F32, KvType::Q8_0];
    for (level, kind) in
        Level::available().into_iter().flat_map(|level| kinds.map(|kind| (level, kind)))
    {
        let mut world = World::of(kind, shape, &[300], 8);
        world.q[0][299 * 32 + 3] = f32::NAN;
        let out = world.attend(&compute(level, 1), &[(0, 299)], &mut AttentionScratch::new());
        assert!(out[..16].iter().all(|x| x.is_nan()), "{kind:?} at {level:?}");
        assert!(out[16..].iter().all(|x| x.is_finite()), "{kind:?} at {level:?}");
    }
}

#[test]
#[should_panic(expected = "1 pages for position 32")]
fn a_position_outside_the_page_table_is_refused() {
    let shape = shape(1, 1, 8, 8);
    let mut world = World::new(shape, &[33], 1);
    world.pages[0].pop();
    world.attend(&compute(Level::Scalar, 1), &[(0, 32)], &mut AttentionScratch::new());
}
