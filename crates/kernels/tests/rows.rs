//! Norms and activation functions: equal bits on every level, close to the truth, fused as apart.

mod common;

use common::{Random, assert_same_bits, compute, product_of};
use myriad_kernels::{
    Activation, Activations, BlockType, Level, Matrix, add_rms_norm, dequantise, quantise,
    rms_norm, rms_norm_heads,
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
            // Added to what is there: one rounding more.
            let before = Random(5).values(x.len());
            let mut sums = before.clone();
            add_rms_norm(&compute(level, 2), &x, rows, columns, &weight, 1e-5, &mut sums);
            let right: Vec<f32> = before.iter().zip(&expected).map(|(a, b)| a + b).collect();
            assert_same_bits(level.name(), &sums, &right);
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

const ACTIVATIONS: [Activation; 4] = [
    Activation::Silu,
    Activation::GeluTanh,
    Activation::ClampedSwiglu { limit: 7.0, alpha: 1.702 },
    Activation::ClampedSwiglu { limit: 2.5, alpha: 0.01 },
];

/// The function by its definition, and how far from 0 the sigmoid's argument is: its relative error
/// grows with it.
fn truth(activation: Activation, gate: f32, up: f32) -> (f64, f64) {
    let (gate, up) = (f64::from(gate), f64::from(up));
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    match activation {
        Activation::Silu => (gate * sigmoid(gate) * up, gate),
        Activation::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (gate + 0.044715 * gate.powi(3));
            // 1 + tanh(x) without its cancellation.
            (gate * sigmoid(2.0 * inner) * up, 2.0 * inner)
        }
        Activation::ClampedSwiglu { limit, alpha } => {
            let (limit, alpha) = (f64::from(limit), f64::from(alpha));
            let (gate, up) = (gate.min(limit), up.clamp(-limit, limit));
            (gate * sigmoid(alpha * gate) * (up + 1.0), alpha * gate)
        }
    }
}

fn assert_gated(what: &str, found: f32, (truth, argument): (f64, f64)) {
    // Far left the exponential is cut off: both are next to nothing there.
    let close = 1e-6 * truth.abs() * argument.abs().clamp(1.0, 100.0) + 1e-35;
    let error = (f64::from(found) - truth).abs();
    assert!(error <= close, "{what}: {found}, but truly {truth}");
}

#[test]
fn activations_are_close_everywhere_and_equal_on_every_level() {
    let special = [
        0.0, -0.0, 1e-30, -1e-30, 2.4999, -7.0, 7.01, 20.0, -20.0, 87.5, -86.9, -87.5, 100.0,
        -100.0, 5e3, -5e3, 3e38, -3e38,
    ];
    for (rows, columns) in [(1, 256), (40, 256), (3, 57)] {
        let mut random = Random(34);
        let mut gate_up: Vec<f32> =
            (0..rows * 2 * columns).map(|_| 12.0 * random.value()).collect();
        gate_up[..special.len()].copy_from_slice(&special);
        gate_up[columns..columns + special.len()].fill(0.75);
        for activation in ACTIVATIONS {
            let mut twin: Option<Vec<f32>> = None;
            for level in Level::available() {
                let compute = compute(level, 2);
                let mut x = Activations::new();
                x.set_gated(&compute, &gate_up, rows, columns, activation);
                let found = held(&compute, &x);
                for (at, found) in found.iter().enumerate() {
                    let gate = at / columns * 2 * columns + at % columns;
                    let truth = truth(activation, gate_up[gate], gate_up[gate + columns]);
                    assert_gated(&format!("{activation:?} at {at}"), *found, truth);
                }
                assert_same_bits(level.name(), &found, twin.get_or_insert(found.clone()));
            }
        }
    }
}

#[test]
fn what_is_no_number_passes_through_gates() {
    for level in Level::available() {
        let compute = compute(level, 1);
        for activation in ACTIVATIONS {
            let mut x = Activations::new();
            x.set_gated(&compute, &[f32::NAN, 1.0, 1.0, f32::NAN, 1.0, 1.0], 3, 1, activation);
            let found = held(&compute, &x);
            assert!(found[0].is_nan() && found[1].is_nan(), "{activation:?} at {level:?}");
            assert!(found[2].is_finite(), "{activation:?} at {level:?}");
        }
    }
}

#[test]
fn outputs_are_gated_by_sigmoids_from_among_other_numbers() {
    for (rows, columns) in [(1, 256), (40, 256), (3, 57)] {
        let mut random = Random(35);
        let stride = columns + 70;
        let x = random.activations(rows * columns);
        let gate: Vec<f32> = (0..rows * stride).map(|_| 30.0 * random.value()).collect();
        // The last row ends with its last gate.
        let gate = &gate[..(rows - 1) * stride + columns];
        let mut twin: Option<Vec<f32>> = None;
        for level in Level::available() {
            let compute = compute(level, 2);
            let mut gated = Activations::new();
            gated.set_sigmoid_mul(&compute, &x, rows, columns, gate, stride);
            let found = held(&compute, &gated);
            for (at, found) in found.iter().enumerate() {
                let argument = f64::from(gate[at / columns * stride + at % columns]);
                let truth = f64::from(x[at]) / (1.0 + (-argument).exp());
                assert_gated(&format!("at {at}"), *found, (truth, argument));
            }
            assert_same_bits(level.name(), &found, twin.get_or_insert(found.clone()));
        }
    }
}

#[test]
fn heads_are_normed_and_gated_by_what_stands_among_other_numbers() {
    for (rows, heads, size) in [(1, 2, 128), (40, 3, 80), (3, 4, 23), (2, 1, 1), (0, 2, 16)] {
        let mut random = Random(38);
        let (columns, stride) = (heads * size, heads * size + 9);
        let (x, weight) = (random.activations(rows * columns), random.values(size));
        let gate: Vec<f32> = (0..rows * stride).map(|_| 30.0 * random.value()).collect();
        // The last row ends with its last gate.
        let gate = &gate[..gate.len().saturating_sub(9)];
        let normed = norm(&x, size, &weight, 1e-6);
        let mut twin: Option<Vec<f32>> = None;
        for level in Level::available() {
            let compute = compute(level, 2);
            let mut gated = Activations::new();
            gated.set_gated_rms_norm(&compute, &x, rows, columns, &weight, 1e-6, gate, stride);
            let found = held(&compute, &gated);
            for (at, found) in found.iter().enumerate() {
                let argument = f64::from(gate[at / columns * stride + at % columns]);
                let truth = normed[at] * argument / (1.0 + (-argument).exp());
                assert_gated(&format!("at {at}"), *found, (truth, argument));
            }
            assert_same_bits(level.name(), &found, twin.get_or_insert(found.clone()));
        }
    }
}

#[test]
#[should_panic(expected = "24 columns in heads of 16")]
fn heads_that_do_not_fill_the_row_are_refused() {
    let compute = compute(Level::Scalar, 1);
    let x = [1.0; 24];
    Activations::new().set_gated_rms_norm(&compute, &x, 1, 24, &x[..16], 1e-6, &x, 24);
}

#[test]
fn fused_gates_are_gates_then_the_activations() {
    let (rows, columns) = (20, 576);
    let mut random = Random(36);
    let gate_up = random.activations(rows * 2 * columns);
    for level in Level::available() {
        let compute = compute(level, 2);
        let matrix = common::weights(&compute, BlockType::Q4_1, 40, columns, 37).matrix;
        let check = |what: &str, fused: &Activations| {
            let mut apart = Activations::new();
            apart.set(&compute, &held(&compute, fused), rows, columns);
            let expected = product_of(&compute, &matrix, &apart);
            assert_same_bits(what, &product_of(&compute, &matrix, fused), &expected);
        };
        let mut fused = Activations::new();
        for activation in ACTIVATIONS {
            fused.set_gated(&compute, &gate_up, rows, columns, activation);
            check(&format!("{activation:?} at {level:?}"), &fused);
        }
        let (x, gate) = gate_up.split_at(rows * columns);
        fused.set_sigmoid_mul(&compute, x, rows, columns, gate, columns);
        check(&format!("sigmoid at {level:?}"), &fused);
        let weight = &gate[..64];
        fused.set_gated_rms_norm(&compute, x, rows, columns, weight, 1e-6, gate, columns);
        check(&format!("gated norm at {level:?}"), &fused);
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
