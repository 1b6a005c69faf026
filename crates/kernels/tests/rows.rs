//! Norms and activation functions: equal bits on every level, close to the truth, fused as apart.

mod common;

use common::{Random, assert_same_bits, compute, product_of};
use myriad_kernels::{
    Activations, BlockType, Level, Matrix, dequantise, quantise, rms_norm, rms_norm_heads,
};

/// Below and above what is done by several threads; full and ragged registers.
const SHAPES: [(usize, usize); 7] =
    [(1, 1), (1, 31), (3, 64), (2, 100), (1, 576), (33, 576), (17, 1536)];

fn norm(x: &[f32], columns: usize, weight: &[f32], eps: f32) -> Vec<f64> {
    x.chunks(columns)
        .flat_map(|row| {
            let squares: f64 = row.iter().map(|x| f64::from(*x).powi(2)).sum();
            let factor = 1.0 / (squares / columns as f64 + f64::from(eps)).sqrt();
            row.iter().zip(weight).map(move |(x, w)| f64::from(*x) * factor * f64::from(*w))
        })
        .collect()
}

fn assert_close(what: &str, found: &[f32], truth: &[f64]) {
    for (at, (found, truth)) in found.iter().zip(truth).enumerate() {
        let error = (f64::from(*found) - truth).abs();
        assert!(error <= 5e-7 * truth.abs() + 1e-36, "{what}, at {at}: {found}, but truly {truth}");
    }
}

/// What activations hold, as floats: the products with a matrix of ones on the diagonal.
fn held(compute: &myriad_kernels::Compute, x: &Activations) -> Vec<f32> {
    let columns = x.columns();
    let ones: Vec<f32> = (0..columns * columns)
        .map(|i| if i / columns == i % columns { 1.0 } else { 0.0 })
        .collect();
    let bytes = quantise(BlockType::F32, &ones);
    let diagonal = Matrix::pack(compute, BlockType::F32, columns, columns, &bytes).expect("F32");
    product_of(compute, &diagonal, x)
}

#[test]
fn norms_are_close_and_equal_on_every_level() {
    for (rows, columns) in SHAPES {
        let mut random = Random((rows * columns) as u64);
        let (x, weight) = (random.activations(rows * columns), random.values(columns));
        let truth = norm(&x, columns, &weight, 1e-5);
        let mut expected = vec![f32::NAN; x.len()];
        rms_norm(&compute(Level::Scalar, 1), &x, rows, columns, &weight, 1e-5, &mut expected);
        assert_close("scalar", &expected, &truth);
        for level in Level::available() {
            let mut found = vec![f32::NAN; x.len()];
            rms_norm(&compute(level, 2), &x, rows, columns, &weight, 1e-5, &mut found);
            assert_same_bits(level.name(), &found, &expected);
        }
    }
}

#[test]
fn heads_are_normed_in_place_and_nothing_else_is() {
    let (rows, heads, head_size, stride, eps) = (5, 3, 40, 200, 1e-6);
    let mut random = Random(31);
    let (x, weight) = (random.activations(rows * stride), random.values(head_size));
    for level in Level::available() {
        for threads in [1, 2] {
            let mut found = x.clone();
            let compute = compute(level, threads);
            rms_norm_heads(&compute, &mut found, rows, stride, heads, head_size, &weight, eps);
            for row in 0..rows {
                let (heads_end, row_start) = (heads * head_size, row * stride);
                let mut apart = vec![f32::NAN; heads_end];
                let part = &x[row_start..][..heads_end];
                rms_norm(&compute, part, heads, head_size, &weight, eps, &mut apart);
                assert_same_bits(level.name(), &found[row_start..][..heads_end], &apart);
                let (rest, before) = (row_start + heads_end, (row + 1) * stride);
                assert_same_bits("the rest", &found[rest..before], &x[rest..before]);
            }
        }
    }
}

#[test]
fn a_fused_norm_is_the_norm_then_the_activations() {
    for (rows, columns) in [(1, 64), (5, 576), (20, 576)] {
        let mut random = Random(32);
        let (x, weight) = (random.activations(rows * columns), random.values(columns));
        for level in Level::available() {
            let compute = compute(level, 2);
            let matrix = common::weights(&compute, BlockType::Q4_1, 40, columns, 33).matrix;
            let mut normed = vec![0.0; x.len()];
            rms_norm(&compute, &x, rows, columns, &weight, 1e-5, &mut normed);
            let (mut apart, mut fused) = (Activations::new(), Activations::new());
            apart.set(&compute, &normed, rows, columns);
            fused.set_rms_norm(&compute, &x, rows, columns, &weight, 1e-5);
            let expected = product_of(&compute, &matrix, &apart);
            assert_same_bits(level.name(), &product_of(&compute, &matrix, &fused), &expected);
        }
    }
}

#[test]
fn silu_is_close_everywhere_and_equal_on_every_level() {
    let special =
        [0.0, -0.0, 1e-30, -1e-30, 20.0, -20.0, 87.5, -86.9, -87.5, 100.0, -100.0, 3e38, -3e38];
    for rows in [1, 40] {
        let columns = 256;
        let mut random = Random(34);
        let mut gate_up: Vec<f32> =
            (0..rows * 2 * columns).map(|_| 12.0 * random.value()).collect();
        gate_up[..special.len()].copy_from_slice(&special);
        gate_up[columns..columns + special.len()].fill(0.75);
        let truth: Vec<f64> = gate_up
            .chunks(2 * columns)
            .flat_map(|row| {
                let (gate, up) = row.split_at(columns);
                gate.iter().zip(up).map(|(gate, up)| {
                    let gate = f64::from(*gate);
                    gate / (1.0 + (-gate).exp()) * f64::from(*up)
                })
            })
            .collect();
        let mut twin: Option<Vec<f32>> = None;
        for level in Level::available() {
            let compute = compute(level, 2);
            let mut x = Activations::new();
            x.set_silu_mul(&compute, &gate_up, rows, columns);
            let found = held(&compute, &x);
            for (at, (found, truth)) in found.iter().zip(&truth).enumerate() {
                // Far left the exponential is cut off: both are next to nothing there.
                let error = (f64::from(*found) - truth).abs();
                assert!(error <= 1e-6 * truth.abs() + 1e-35, "at {at}: {found}, but truly {truth}");
            }
            assert_same_bits(level.name(), &found, twin.get_or_insert(found.clone()));
        }
    }
}

#[test]
fn quantised_weights_come_back_within_their_step() {
    // Largest error for values in -1..1, in units of the type's own step there.
    let step = |kind| match kind {
        BlockType::F32 => 0.0,
        BlockType::F16 => 2.5e-4,
        BlockType::BF16 => 2e-3,
        BlockType::Q8_0 => 0.51 / 127.0,
        BlockType::Q6K => 0.6 / 32.0 + 0.02,
        BlockType::Q5_0 => 1.02 / 16.0,
        BlockType::Q5_1 => 0.51 * 2.0 / 31.0,
        BlockType::Q5K => 0.6 * 2.0 / 31.0 + 0.02,
        BlockType::Q4_0 => 1.02 / 8.0,
        BlockType::Q4_1 => 0.51 * 2.0 / 15.0,
        BlockType::Q4K => 0.6 * 2.0 / 15.0 + 0.02,
        // These minimise the sum of squares: a single value may lose more than half a step.
        BlockType::Q2K => 0.7 * 2.0 / 3.0,
        BlockType::Q3K => 1.15 / 4.0,
        BlockType::IQ4NL | BlockType::IQ4XS => 0.15,
        BlockType::MXFP4 => 0.15,
    };
    for kind in BlockType::ALL {
        for seed in 0..20 {
            let values = Random(seed).values(1024);
            let mut back = vec![f32::NAN; 1024];
            dequantise(kind, &quantise(kind, &values), &mut back);
            for (value, back) in values.iter().zip(&back) {
                let error = (value - back).abs();
                assert!(error <= step(kind), "{} seed {seed}: {value} → {back}", kind.name());
            }
        }
    }
}
