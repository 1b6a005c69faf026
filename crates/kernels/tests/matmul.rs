//! Products: equal bits on every level, for every number of rows and threads, and close to the
//! truth.

mod common;

use common::{Random, assert_same_bits, compute, product, product_of, rounded, weights};
use myriad_kernels::{
    Activation, Activations, BlockType, Forms, Level, Matrix, Product, bf16_to_f32, f32_to_bf16,
    matmul, matmul_beside, matmul_gated,
};
use proptest::prelude::*;

/// Numbers of rows around every path's edges: streaming 1, 2, 4, then 6 and their rests; panels
/// from 24 or 48 on.
const ROWS: [usize; 18] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 17, 23, 24, 33, 47, 48, 57];

/// Outputs around the groups of 16 and the panels of 32.
const OUTPUTS: [usize; 7] = [1, 15, 16, 17, 33, 48, 70];

fn columns_of(kind: BlockType, blocks: usize) -> usize {
    // Floats have no blocks: any number of columns.
    if kind.is_float() { 7 * blocks + 2 } else { kind.block_elements() * blocks }
}

/// The f64 dot products of dequantised weights with the activations as int8 holds them.
fn truth(plain: &[f32], x: &[f64], outputs: usize, columns: usize) -> Vec<(f64, f64)> {
    let dot = |row: &[f64], weights: &[f32]| {
        row.iter().zip(weights).fold((0.0, 0.0), |(sum, size), (x, w)| {
            let product = x * f64::from(*w);
            (sum + product, size + product.abs())
        })
    };
    x.chunks(columns)
        .flat_map(|row| (0..outputs).map(move |o| dot(row, &plain[o * columns..][..columns])))
        .collect()
}

fn check(kind: BlockType, outputs: usize, rows: usize, blocks: usize, seed: u64) {
    let columns = columns_of(kind, blocks);
    let what = format!("{} {outputs}x{columns}, {rows} rows, seed {seed}", kind.name());
    let scalar = compute(Level::Scalar, 1);
    let twin = weights(&scalar, kind, outputs, columns, seed);
    let x = Random(seed ^ 1).activations(rows * columns);
    let expected = product(&scalar, &twin.matrix, &x, rows);

    let exact: Vec<f64> = match kind {
        BlockType::F32 | BlockType::F16 => x.iter().map(|x| f64::from(*x)).collect(),
        BlockType::BF16 => x.iter().map(|x| f64::from(bf16_to_f32(f32_to_bf16(*x)))).collect(),
        _ => rounded(&x),
    };
    let truths = truth(&twin.plain, &exact, outputs, columns);
    for (at, (found, (truth, size))) in expected.iter().zip(truths).enumerate() {
        let error = (f64::from(*found) - truth).abs();
        assert!(error <= 2e-6 * size + 1e-30, "{what}, at {at}: {found}, but truly {truth}");
    }
    for level in Level::available() {
        for threads in [1, 2] {
            let compute = compute(level, threads);
            let packed = weights(&compute, kind, outputs, columns, seed);
            let found = product(&compute, &packed.matrix, &x, rows);
            let what = format!("{what}, {} with {threads} threads", level.name());
            assert_same_bits(&what, &found, &expected);
            let row = seed as usize % rows;
            let alone = product(&compute, &packed.matrix, &x[row * columns..][..columns], 1);
            let what = format!("{what}, row {row} alone");
            assert_same_bits(&what, &alone, &expected[row * outputs..][..outputs]);
        }
    }
}

#[test]
fn every_level_and_number_of_rows_gives_the_twins_bits() {
    let mut random = Random(1);
    for kind in BlockType::ALL {
        for rows in ROWS {
            let outputs = OUTPUTS[random.below(OUTPUTS.len())];
            let blocks = 1 + random.below(3);
            check(kind, outputs, rows, blocks, random.bits());
        }
    }
}

#[test]
fn ragged_outputs_give_the_twins_bits() {
    let mut random = Random(2);
    for kind in BlockType::ALL {
        for outputs in OUTPUTS {
            check(kind, outputs, 1 + random.below(10), 1 + random.below(2), random.bits());
        }
    }
}

#[test]
fn long_rows_give_the_twins_bits() {
    for (place, kind) in BlockType::ALL.into_iter().enumerate() {
        let blocks = if kind.is_float() { 219 } else { 1536 / kind.block_elements() };
        check(kind, 33, [3, 9, 50][place % 3], blocks, 3 + place as u64);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_shape_gives_the_twins_bits(
        kind in prop::sample::select(BlockType::ALL.to_vec()),
        outputs in 1..70usize,
        rows in 1..60usize,
        blocks in 1..4usize,
        seed in any::<u64>(),
    ) {
        check(kind, outputs, rows, blocks, seed);
    }
}

#[test]
fn the_result_does_not_depend_on_the_batch() {
    let (outputs, columns, rows) = (80, 512, 67);
    for level in Level::available() {
        let compute = compute(level, 2);
        for kind in BlockType::ALL {
            let packed = weights(&compute, kind, outputs, columns, 5);
            let x = Random(6).activations(rows * columns);
            let together = product(&compute, &packed.matrix, &x, rows);
            for (first, count) in [(0, 7), (7, 8), (15, 1), (16, 17), (3, 26), (20, 12), (18, 49)] {
                let part = &x[first * columns..][..count * columns];
                let found = product(&compute, &packed.matrix, part, count);
                let what = format!("{} {}, rows {first}+{count}", kind.name(), level.name());
                assert_same_bits(&what, &found, &together[first * outputs..][..count * outputs]);
            }
        }
    }
}

#[test]
fn a_broken_row_stays_alone() {
    let (outputs, columns, rows) = (40, 256, 9);
    for level in Level::available() {
        let compute = compute(level, 2);
        for kind in BlockType::ALL {
            let packed = weights(&compute, kind, outputs, columns, 7);
            for broken in [f32::NAN, f32::INFINITY, f32::MAX, 1e-42] {
                let mut x = Random(8).activations(rows * columns);
                let sound = product(&compute, &packed.matrix, &x, rows);
                x[4 * columns + 33] = broken;
                let found = product(&compute, &packed.matrix, &x, rows);
                let what = format!("{} {}, {broken}", kind.name(), level.name());
                assert_same_bits(&what, &found[..4 * outputs], &sound[..4 * outputs]);
                assert_same_bits(&what, &found[5 * outputs..], &sound[5 * outputs..]);
            }
        }
    }
}

#[test]
fn several_products_share_a_call() {
    let (columns, rows, stride) = (256, 51, 50);
    for level in Level::available() {
        let compute = compute(level, 2);
        for rows in [1, 3, 11, rows] {
            let a = weights(&compute, BlockType::Q4K, 48, columns, 9);
            let b = weights(&compute, BlockType::Q6K, 17, columns, 10);
            let c = weights(&compute, BlockType::F16, 33, columns, 11);
            let x = Random(12).activations(rows * columns);
            let bias = Random(13).values(17);
            let before = Random(14).values(rows * stride);
            let mut activations = Activations::new();
            activations.set(&compute, &x, rows, columns);
            let mut out_a = vec![7.0; rows * stride];
            // The last row needs no gap after it.
            let mut out_b = vec![7.0; (rows - 1) * stride + 17];
            let mut out_c = before.clone();
            let product = |weight, bias, out, accumulate| Product {
                weight,
                first_column: None,
                bias,
                out,
                out_stride: stride,
                accumulate,
            };
            matmul(
                &compute,
                &activations,
                &mut [
                    product(&a.matrix, None, &mut out_a[..], false),
                    product(&b.matrix, Some(&bias[..]), &mut out_b[..], false),
                    product(&c.matrix, None, &mut out_c[..], true),
                ],
            );
            let alone = [&a, &b, &c].map(|w| product_of(&compute, &w.matrix, &activations));
            for row in 0..rows {
                let what = format!("{}, row {row} of {rows}", level.name());
                assert_same_bits(&what, &out_a[row * stride..][..48], &alone[0][row * 48..][..48]);
                let gap = &out_a[row * stride + 48..(row + 1) * stride];
                assert!(gap.iter().all(|value| *value == 7.0), "{what}: the gap is untouched");
                let with_bias: Vec<f32> =
                    alone[1][row * 17..][..17].iter().zip(&bias).map(|(a, b)| a + b).collect();
                assert_same_bits(&what, &out_b[row * stride..][..17], &with_bias);
                let residual: Vec<f32> = alone[2][row * 33..][..33]
                    .iter()
                    .zip(&before[row * stride..])
                    .map(|(product, before)| before + product)
                    .collect();
                assert_same_bits(&what, &out_c[row * stride..][..33], &residual);
            }
        }
    }
}

/// Matrices of single heads, each on its own columns: the product of those columns alone.
#[test]
fn a_part_of_the_columns_is_multiplied_as_if_it_stood_alone() {
    let mut random = Random(20);
    for kind in BlockType::ALL {
        for rows in [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 25, 49] {
            let columns = columns_of(kind, 1 + random.below(2));
            let outputs = OUTPUTS[random.below(OUTPUTS.len())];
            let seed = random.bits();
            // Parts that overlap, stand in any order, and reach the last column, which ends a
            // block or not.
            let width = columns.next_multiple_of(32) + 96;
            let total = [width, width + columns % 32][random.below(2)];
            let last = (total - columns) / 32 * 32;
            let starts = [last, 0, 32 * random.below(last / 32 + 1)];
            let x = Random(seed).activations(rows * total);
            for level in Level::available() {
                let compute = compute(level, 2);
                let heads = starts.map(|at| weights(&compute, kind, outputs, columns, at as u64));
                let mut activations = Activations::new();
                activations.set(&compute, &x, rows, total);
                let mut out = vec![f32::NAN; starts.len() * rows * outputs];
                let heads = heads.iter().zip(starts).zip(out.chunks_exact_mut(rows * outputs));
                let mut products: Vec<Product<'_>> = heads
                    .map(|((head, start), out)| Product {
                        weight: &head.matrix,
                        first_column: Some(start),
                        bias: None,
                        out,
                        out_stride: outputs,
                        accumulate: false,
                    })
                    .collect();
                matmul(&compute, &activations, &mut products);
                for (product, start) in products.iter().zip(starts) {
                    let alone: Vec<f32> = x
                        .chunks_exact(total)
                        .flat_map(|row| &row[start..start + columns])
                        .copied()
                        .collect();
                    let expected = common::product(&compute, product.weight, &alone, rows);
                    let what = format!("{} at {level:?}: {columns} of {total}", kind.name());
                    assert_same_bits(&format!("{what} from {start}"), product.out, &expected);
                }
            }
        }
    }
}

/// The message of the panic that a product with 64 columns of 160 ends in.
fn refusal(first_column: Option<usize>) -> String {
    let compute = compute(Level::Scalar, 1);
    let packed = weights(&compute, BlockType::Q8_0, 16, 64, 21);
    let mut x = Activations::new();
    x.set(&compute, &[1.0; 160], 1, 160);
    let mut out = [0.0; 16];
    let (weight, out) = (&packed.matrix, &mut out[..]);
    let product =
        Product { weight, first_column, bias: None, out, out_stride: 16, accumulate: false };
    let multiply = std::panic::AssertUnwindSafe(|| matmul(&compute, &x, &mut [product]));
    let panic = std::panic::catch_unwind(multiply).expect_err("refused");
    panic.downcast_ref::<String>().expect("a message").clone()
}

#[test]
fn columns_that_are_not_there_are_refused() {
    assert!(refusal(None).contains("columns of weights and activations"));
    assert!(refusal(Some(16)).contains("first_column 16 is no multiple of 32"));
    assert!(refusal(Some(128)).contains("64 columns from column 128 on, of 160"));
    let far = usize::MAX - 31;
    assert!(refusal(Some(far)).contains(&format!("64 columns from column {far} on")));
}

/// Matrices of several types, their outputs in one row: each as if it stood alone.
#[test]
fn outputs_of_several_matrices_stand_side_by_side() {
    let (columns, widths) = (256, [33, 16, 50]);
    let kinds = [BlockType::Q4K, BlockType::Q6K, BlockType::BF16];
    for level in Level::available() {
        let compute = compute(level, 2);
        let parts: Vec<_> = kinds
            .into_iter()
            .zip(widths)
            .map(|(kind, width)| weights(&compute, kind, width, columns, 40 + width as u64))
            .collect();
        let bias = Random(41).values(widths[1]);
        for rows in [1, 5, 51] {
            let values = Random(42).activations(rows * columns);
            let mut x = Activations::new();
            x.set(&compute, &values, rows, columns);
            let stride: usize = widths.iter().sum();
            let mut out = vec![f32::NAN; rows * stride];
            let biases = [None, Some(&bias[..]), None];
            let beside = parts.iter().map(|part| &part.matrix).zip(biases);
            matmul_beside(&compute, &x, beside, &mut out);
            let mut first = 0;
            for (part, bias) in parts.iter().zip(biases) {
                let width = part.matrix.rows();
                let mut alone = product_of(&compute, &part.matrix, &x);
                for row in alone.chunks_exact_mut(width) {
                    let sums = row.iter_mut().zip(bias.into_iter().flatten());
                    sums.for_each(|(sum, bias)| *sum += bias);
                }
                for (row, alone) in alone.chunks_exact(width).enumerate() {
                    let found = &out[row * stride + first..][..width];
                    let what = format!("{}, row {row} of {rows}", part.matrix.kind().name());
                    assert_same_bits(&what, found, alone);
                }
                first += width;
            }
        }
    }
}

/// Gates and what they let through in one go: the bits of a product and the gating of it.
#[test]
fn gated_products_are_products_then_gated() {
    let columns = 256;
    for level in Level::available() {
        let compute = compute(level, 2);
        for kind in [BlockType::Q4_0, BlockType::Q4_1, BlockType::Q6K, BlockType::BF16] {
            for (size, rows) in [(32, 1), (96, 7), (96, 61), (48, 61), (64, 130)] {
                let packed = weights(&compute, kind, 2 * size, columns, 50);
                let down = weights(&compute, BlockType::Q8_0, 20, size / 32 * 32, 51);
                let mut x = Activations::new();
                x.set(&compute, &Random(52).activations(rows * columns), rows, columns);
                for activation in [Activation::Silu, Activation::GeluTanh] {
                    let (mut apart, mut fused) = (Activations::new(), Activations::new());
                    let products = product_of(&compute, &packed.matrix, &x);
                    apart.set_gated(&compute, &products, rows, size, activation);
                    fused.keep(Forms::NONE.and_of(BlockType::Q8_0));
                    let mut staging = Vec::new();
                    let weight = &packed.matrix;
                    matmul_gated(&compute, &x, weight, activation, &mut fused, &mut staging);
                    let of = |x: &Activations| {
                        let (mut out, out_stride) = (vec![f32::NAN; rows * 20], 20);
                        let (bias, first_column) = (None, Some(0));
                        let (weight, accumulate) = (&down.matrix, false);
                        let out_slice = &mut out;
                        let product = Product {
                            weight,
                            first_column,
                            bias,
                            out: out_slice,
                            out_stride,
                            accumulate,
                        };
                        matmul(&compute, x, &mut [product]);
                        out
                    };
                    let what = format!("{} {} {size} {rows}", kind.name(), level.name());
                    assert_same_bits(&what, &of(&fused), &of(&apart));
                }
            }
        }
    }
}

#[test]
fn activations_make_what_is_asked_for_and_nothing_else() {
    let compute = compute(*Level::available().last().expect("scalar is always there"), 2);
    let kinds = [BlockType::F32, BlockType::BF16, BlockType::Q4_0];
    let (columns, rows) = (96, 130); // enough for all threads
    let values = Random(30).activations(rows * columns);
    for kind in kinds {
        let mut x = Activations::new();
        x.keep(Forms::NONE.and_of(kind));
        x.set(&compute, &values, rows, columns);
        let packed = weights(&compute, kind, 20, columns, 31);
        let expected = product(&compute, &packed.matrix, &values, rows);
        assert_same_bits(kind.name(), &product_of(&compute, &packed.matrix, &x), &expected);
        for other in kinds.into_iter().filter(|other| *other != kind) {
            let packed = weights(&compute, other, 20, columns, 32);
            let multiply = || product_of(&compute, &packed.matrix, &x);
            let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(multiply));
            let message = *panic.expect_err("refused").downcast::<String>().expect("a message");
            assert!(message.contains(other.name()), "{message}");
        }
        // Rows that were made before more was asked for have not become more.
        x.keep(Forms::ALL);
        for other in kinds.into_iter().filter(|other| *other != kind) {
            let packed = weights(&compute, other, 20, columns, 32);
            let multiply = || product_of(&compute, &packed.matrix, &x);
            let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(multiply));
            assert!(panic.is_err(), "{} of {}", other.name(), kind.name());
        }
    }
}

#[test]
fn no_rows_and_no_products_are_no_work() {
    let compute = compute(Level::Scalar, 2);
    let packed = weights(&compute, BlockType::Q8_0, 16, 32, 15);
    assert!(product(&compute, &packed.matrix, &[], 0).is_empty());
    let mut x = Activations::new();
    x.set(&compute, &[1.0; 32], 1, 32);
    matmul(&compute, &x, &mut []);
    let empty = Matrix::pack(&compute, BlockType::Q8_0, 0, 32, &[]).expect("an empty tensor");
    assert!(product_of(&compute, &empty, &x).is_empty());
}

#[test]
fn activations_are_reusable_for_any_shape() {
    let compute = compute(*Level::available().last().expect("scalar is always there"), 2);
    let wide = weights(&compute, BlockType::Q5_1, 20, 256, 16);
    let narrow = weights(&compute, BlockType::Q4_0, 20, 32, 17);
    let (x, y) = (Random(18).activations(9 * 256), Random(19).activations(2 * 32));
    let mut activations = Activations::new();
    for _ in 0..2 {
        activations.set(&compute, &x, 9, 256);
        let found = product_of(&compute, &wide.matrix, &activations);
        assert_same_bits("wide", &found, &product(&compute, &wide.matrix, &x, 9));
        activations.set(&compute, &y, 2, 32);
        assert_eq!((activations.rows(), activations.columns()), (2, 32));
        let found = product_of(&compute, &narrow.matrix, &activations);
        assert_same_bits("narrow", &found, &product(&compute, &narrow.matrix, &y, 2));
    }
}
