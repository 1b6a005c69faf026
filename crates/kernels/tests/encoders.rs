//! What encoders need besides: layer norms, GELU, attention in both directions; equal bits on every
//! level, close to the truth, and the same alone as in company.

mod common;

use common::world::{Shape, World, shape};
use common::{Random, assert_same_bits, best, compute};
use myriad_kernels::{
    Activations, AttentionScratch, BlockType, Level, Matrix, layer_norm, quantise,
};

/// Below and above what is done by several threads; full and ragged registers.
const SHAPES: [(usize, usize); 8] =
    [(1, 1), (1, 31), (3, 64), (2, 100), (1, 384), (33, 384), (17, 1536), (0, 32)];

fn norm(row: &[f32], weight: &[f32], bias: &[f32], eps: f64) -> Vec<f64> {
    let count = row.len() as f64;
    let mean = row.iter().map(|x| f64::from(*x)).sum::<f64>() / count;
    let variance = row.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / count;
    let factor = 1.0 / (variance + eps).sqrt();
    let shifted = |((x, weight), bias): ((&f32, &f32), &f32)| {
        (f64::from(*x) - mean) * factor * f64::from(*weight) + f64::from(*bias)
    };
    row.iter().zip(weight).zip(bias).map(shifted).collect()
}

#[test]
fn layer_norms_are_close_and_equal_on_every_level() {
    for (rows, columns) in SHAPES {
        let mut random = Random((rows * columns) as u64);
        let x: Vec<f32> = random.activations(rows * columns).iter().map(|x| x + 0.75).collect();
        let (weight, bias) = (random.values(columns), random.values(columns));
        let mut twin: Option<Vec<f32>> = None;
        for level in Level::available() {
            let mut found = x.clone();
            layer_norm(&compute(level, 2), &mut found, rows, columns, &weight, &bias, 1e-12);
            for (row, found) in x.chunks(columns).zip(found.chunks(columns)) {
                for (found, truth) in found.iter().zip(norm(row, &weight, &bias, 1e-12)) {
                    let error = (f64::from(*found) - truth).abs();
                    assert!(error <= 4e-6 * truth.abs().max(1.0), "{found}, but truly {truth}");
                }
            }
            assert_same_bits(level.name(), &found, twin.get_or_insert(found.clone()));
        }
    }
}

/// The normal distribution: its series around 0, its continued fraction in the tails.
fn normal(x: f64) -> f64 {
    let density = (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    if x < -4.0 {
        let fraction = (1..200).rev().fold(-x, |rest, k| -x + f64::from(k) / rest);
        return density / fraction;
    }
    if x > 4.0 {
        return 1.0 - normal(-x);
    }
    let (mut term, mut sum) = (x, x);
    for k in 1..200 {
        term *= x * x / f64::from(2 * k + 1);
        sum += term;
    }
    0.5 + density * sum
}

#[test]
fn gelu_is_close_everywhere_and_equal_on_every_level() {
    let mut values: Vec<f32> = (-1300..=1300).map(|step| step as f32 / 100.0).collect();
    values.extend([-0.0, 1e-30, -1e-30, 1e-5, -1e-5, 30.0, -30.0, 5e3, -5e3, 1e18, -1e18]);
    let ones = quantise(BlockType::F32, &[1.0]);
    let mut twin: Option<Vec<f32>> = None;
    for level in Level::available() {
        let compute = compute(level, 2);
        let one = Matrix::pack(&compute, BlockType::F32, 1, 1, &ones).expect("F32");
        let mut x = Activations::new();
        x.set_gelu(&compute, &values, values.len(), 1);
        let found = common::product_of(&compute, &one, &x);
        for (x, found) in values.iter().zip(&found) {
            let x = f64::from(*x);
            let truth = x * normal(x);
            // The error of e^y is one of y, which is about x²/2 far left.
            let close = 6e-7 * truth.abs() * (x * x / 4.0).clamp(1.0, 50.0) + 1e-35;
            let error = (f64::from(*found) - truth).abs();
            assert!(error <= close, "{level:?}: gelu({x}) = {found}, but truly {truth}");
        }
        assert_same_bits(level.name(), &found, twin.get_or_insert(found.clone()));
        let mut x = Activations::new();
        x.set_gelu(&compute, &[f32::NAN], 1, 1);
        assert!(common::product_of(&compute, &one, &x)[0].is_nan(), "{level:?}");
    }
}

const HEADS: [Shape; 4] =
    [shape(3, 1, 32, 32), shape(2, 1, 64, 64), shape(1, 4, 24, 16), shape(2, 7, 16, 16)];

/// Texts shorter and longer than a tile, a page and a segment, among each other in any order.
#[test]
fn whole_texts_are_seen_alone_as_in_company() {
    for (index, shape) in HEADS.into_iter().enumerate() {
        let seed = 500 + index as u64;
        println!("seed {seed}");
        let mut random = Random(seed);
        let lengths = [1, 2, 17, 33, 270, 40];
        let mut world = World::new(shape, &lengths, seed);
        world.whole = true;
        let one = compute(best(), 1);
        let mut rows: Vec<(usize, usize)> = (0..lengths.len())
            .flat_map(|text| (0..lengths[text]).map(move |position| (text, position)))
            .collect();
        let alone: Vec<Vec<f32>> = rows
            .iter()
            .map(|row| world.attend(&one, &[*row], &mut AttentionScratch::new()))
            .collect();
        for (row, alone) in rows.iter().zip(&alone).step_by(7) {
            world.check(*row, alone);
        }
        let alone = alone.concat();
        for level in Level::available() {
            for threads in 1..=3 {
                let several = compute(level, threads);
                let out = world.attend(&several, &rows, &mut AttentionScratch::new());
                assert_same_bits(level.name(), &out, &alone);
            }
        }
        let expected = |rows: &[(usize, usize)]| -> Vec<f32> {
            let attend = |row| world.attend(&one, &[row], &mut AttentionScratch::new());
            rows.iter().flat_map(|row| attend(*row)).collect()
        };
        for place in (1..rows.len()).rev() {
            rows.swap(place, random.below(place + 1));
        }
        rows.truncate(60);
        let out = world.attend(&compute(best(), 2), &rows, &mut AttentionScratch::new());
        assert_same_bits("in any order", &out, &expected(&rows));
    }
}
