//! Turns random queries and caches into scores of positions, held against their definition in f64,
//! and against themselves: alone, among others, on threads, at every level.

mod common;

use common::world::{LAYER, Shape, World, shape};
use common::{Random, assert_same_bits, best, compute};
use myriad_kernels::{
    AttentionRow, AttentionScratch, Compute, IndexCall, KvType, Level, index_scores, top_positions,
};

/// Heads around every block of them, DeepSeek's own size, and a layer that has values too.
const SHAPES: [Shape; 7] = [
    shape(1, 64, 128, 0),
    shape(1, 1, 16, 0),
    shape(1, 6, 32, 0),
    shape(1, 7, 24, 8),
    shape(1, 13, 5, 0),
    shape(1, 3, 1, 0),
    shape(1, 11, 40, 0),
];

/// A world whose queries choose, with weights for each of its rows.
struct Indexer {
    world: World,
    /// Per sequence: [tokens, heads]
    weights: Vec<Vec<f32>>,
}

impl Indexer {
    fn new(kind: KvType, shape: Shape, lengths: &[usize], seed: u64) -> Indexer {
        let mut random = Random(seed ^ 1);
        let weights = lengths.iter().map(|length| random.values(length * shape.heads())).collect();
        Indexer { world: World::of(kind, shape, lengths, seed), weights }
    }

    fn score(&self, compute: &Compute, rows: &[(usize, usize)]) -> Vec<Vec<f32>> {
        let world = &self.world;
        let (q_width, heads) = (world.shape.q_width(), world.shape.heads());
        let (q_stride, weight_stride) = (q_width + 3, heads + 2);
        let mut q = vec![f32::NAN; rows.len() * q_stride];
        let mut weights = vec![f32::NAN; rows.len() * weight_stride];
        let mut index_rows = vec![];
        for (index, &(sequence, position)) in rows.iter().enumerate() {
            q[index * q_stride..][..q_width]
                .copy_from_slice(&world.q[sequence][position * q_width..][..q_width]);
            weights[index * weight_stride..][..heads]
                .copy_from_slice(&self.weights[sequence][position * heads..][..heads]);
            let pages = &world.pages[sequence];
            index_rows.push(AttentionRow { pages, position: position as u32, selection: None });
        }
        let call = IndexCall {
            cache: &world.cache,
            layer: LAYER,
            rows: &index_rows,
            q: &q,
            q_stride,
            weights: &weights,
            weight_stride,
            heads,
            scale: world.scale(),
        };
        // Of any length before.
        let mut scores: Vec<Vec<f32>> = (0..rows.len()).map(|i| vec![7.0; 90 * i]).collect();
        index_scores(compute, &call, &mut scores);
        scores
    }

    /// The score of a position by the definition, and the sum of what is added up in it.
    fn plain(&self, (sequence, row): (usize, usize), position: usize) -> (f64, f64) {
        let world = &self.world;
        let (heads, size) = (world.shape.heads(), world.shape.key_size);
        let key = &world.k[sequence][position * size..][..size];
        let (mut sum, mut total) = (0.0, 0.0);
        for head in 0..heads {
            let q = &world.q[sequence][row * heads * size + head * size..][..size];
            let products = q.iter().zip(key).map(|(q, k)| f64::from(*q) * f64::from(*k));
            let weight = f64::from(self.weights[sequence][row * heads + head]);
            sum += weight * products.clone().sum::<f64>().max(0.0);
            total += weight.abs() * products.map(f64::abs).sum::<f64>();
        }
        (sum * f64::from(world.scale()), total * f64::from(world.scale()))
    }
}

#[test]
fn scores_are_those_of_the_definition_and_equal_at_every_level() {
    for (index, shape) in SHAPES.into_iter().enumerate() {
        let lengths =
            if index == 0 { vec![1, 70, 300] } else { vec![1, 31, 32, 33, 256, 257, 600] };
        for kind in [KvType::F16, KvType::F32, KvType::Q8_0] {
            let indexer = Indexer::new(kind, shape, &lengths, 1000 + index as u64);
            let rows: Vec<(usize, usize)> = lengths
                .iter()
                .enumerate()
                .flat_map(|(sequence, length)| [(sequence, length - 1), (sequence, length / 2)])
                .collect();
            let found = indexer.score(&compute(best(), 2), &rows);
            for (&row, scores) in rows.iter().zip(&found) {
                assert_eq!(scores.len(), row.1 + 1, "a score for each position");
                for (position, score) in scores.iter().enumerate() {
                    let (plain, size) = indexer.plain(row, position);
                    let error = (f64::from(*score) - plain).abs();
                    let what = format!("{shape:?} of {kind:?}, row {row:?}, position {position}");
                    assert!(error <= 1e-6 * size, "{what}: {score}, but truly {plain}");
                }
            }
            for level in Level::available() {
                for threads in 1..=3 {
                    let others = indexer.score(&compute(level, threads), &rows);
                    for (scores, other) in found.iter().zip(&others) {
                        assert_same_bits(&format!("{shape:?} at {level:?}"), other, scores);
                    }
                }
            }
        }
    }
}

#[test]
fn companions_do_not_show() {
    for (index, shape) in SHAPES.into_iter().enumerate() {
        let indexer = Indexer::new(KvType::F16, shape, &[90, 300], 1100 + index as u64);
        let two = compute(best(), 2);
        // A prompt, the other way round, with rows of the other sequence in between.
        let rows: Vec<(usize, usize)> =
            (0..300).rev().step_by(7).flat_map(|row| [(1, row), (0, row % 90)]).collect();
        for (row, scores) in rows.iter().zip(indexer.score(&two, &rows)) {
            let alone = indexer.score(&two, &[*row]).remove(0);
            assert_same_bits(&format!("{shape:?}, row {row:?}"), &scores, &alone);
        }
    }
}

#[test]
fn what_is_no_number_shows_where_it_is_and_nowhere_else() {
    let shape = SHAPES[6];
    for level in Level::available() {
        let mut indexer = Indexer::new(KvType::F16, shape, &[70], 1200);
        let one = compute(level, 1);
        let sound = indexer.score(&one, &[(0, 69)]).remove(0);
        let mut key = indexer.world.k[0][40 * shape.key_size..][..shape.key_size].to_vec();
        key[3] = f32::NAN;
        indexer.world.store(0, 40, &key, &[]);
        let found = indexer.score(&one, &[(0, 69)]).remove(0);
        assert!(found[40].is_nan(), "{level:?}");
        assert_same_bits(level.name(), &found[..40], &sound[..40]);
        assert_same_bits(level.name(), &found[41..], &sound[41..]);
    }
}

#[test]
fn the_best_positions_are_those_of_a_sort() {
    let mut random = Random(1300);
    let special = [0.0, -0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.0, -1.0];
    for length in [0usize, 1, 2, 17, 100, 1000] {
        for _ in 0..20 {
            // Few different scores: most are equal to some other.
            let scores: Vec<f32> = (0..length)
                .map(|_| match random.below(2) {
                    0 => special[random.below(special.len())],
                    _ => (4.0 * random.value()).round() / 2.0,
                })
                .collect();
            // A stable sort leaves the earlier of equals before the later.
            let mut sorted: Vec<u32> = (0..length as u32).collect();
            let order = |position: &u32| match scores[*position as usize] {
                score if score.is_nan() => f32::NEG_INFINITY,
                score => score,
            };
            sorted.sort_by(|a, b| order(b).partial_cmp(&order(a)).expect("numbers"));
            for count in [0, 1, 2, length / 2, length.saturating_sub(1), length, length + 1] {
                let mut expected = sorted[..count.min(length)].to_vec();
                expected.sort();
                assert_eq!(top_positions(&scores, count), expected, "{count} of {scores:?}");
            }
        }
    }
    assert_eq!(top_positions(&[1.0, 3.0, 3.0, 2.0, 3.0], 2), [1, 2]);
    assert_eq!(top_positions(&[0.0, -0.0, 0.0], 2), [0, 1]);
    assert_eq!(top_positions(&[f32::NAN, 1.0, -1e38], 2), [1, 2]);
}

/// Scores of an indexer choose what another layer attends to.
#[test]
fn attention_takes_what_was_chosen() {
    let indexer = Indexer::new(KvType::F16, SHAPES[2], &[400], 1400);
    let two = compute(best(), 2);
    let rows: Vec<(usize, usize)> = (0..400).map(|position| (0, position)).collect();
    let mut world = World::new(shape(2, 3, 24, 16), &[400], 1401);
    let chosen = indexer.score(&two, &rows).into_iter().map(|scores| top_positions(&scores, 48));
    world.selections[0] = chosen.map(Some).collect();
    let out = world.attend(&two, &rows, &mut AttentionScratch::new());
    for (&row, out) in rows.iter().zip(out.chunks_exact(world.shape.width())) {
        assert_eq!(world.attended(0, row.1).len(), 48.min(row.1 + 1));
        world.check(row, out);
    }
}

/// The message of the panic that scoring one row ends in.
fn refusal(shape: Shape, change: impl FnOnce(&mut IndexCall<'_>)) -> String {
    let world = World::new(shape, &[40], 1);
    let rows = [AttentionRow { pages: &world.pages[0], position: 39, selection: None }];
    let weights = vec![0.0; shape.heads()];
    let mut call = IndexCall {
        cache: &world.cache,
        layer: LAYER,
        rows: &rows,
        q: &world.q[0][..shape.q_width()],
        q_stride: shape.q_width(),
        weights: &weights,
        weight_stride: shape.heads(),
        heads: shape.heads(),
        scale: 1.0,
    };
    change(&mut call);
    let one = compute(Level::Scalar, 1);
    let score = || index_scores(&one, &call, &mut [vec![]]);
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(score)).expect_err("refused");
    panic
        .downcast_ref::<String>()
        .cloned()
        .unwrap_or_else(|| panic.downcast_ref::<&str>().expect("a message").to_string())
}

#[test]
fn what_cannot_be_scored_is_refused() {
    let good = SHAPES[2];
    assert!(refusal(shape(2, 3, 32, 0), |_| {}).contains("kv heads of layer 1"));
    assert!(refusal(good, |call| call.layer = 2).contains("layer 2 of 2"));
    assert!(refusal(good, |call| call.q = &call.q[1..]).contains("q: [rows, q_stride]"));
    let weights = refusal(good, |call| call.weights = &call.weights[1..]);
    assert!(weights.contains("weights: [rows, weight_stride]"));
    assert!(refusal(good, |call| call.heads = usize::MAX).contains("q: [rows, q_stride]"));
    assert!(refusal(good, |call| call.rows = &[]).contains("a vector of scores for each row"));
    let far = refusal(good, |call| {
        call.rows = &[AttentionRow { pages: &[0], position: 32, selection: None }];
    });
    assert!(far.contains("1 pages for position 32"));
    let outside = refusal(good, |call| {
        call.rows = &[AttentionRow { pages: &[99], position: 0, selection: None }];
    });
    assert!(outside.contains("out of range"));
}
