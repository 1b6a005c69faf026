//! Turns random matrices into proof that every level, batch size and thread count gives equal bits.

use myriad_kernels::{
    Activations, BlockType, Compute, Kernels, Level, Matrix, Product, dequantise, matmul, quantise,
};

/// Numbers of a seeded sequence in -1..1 (Knuth's 64-bit linear congruence).
struct Random(u64);

impl Random {
    fn float(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    fn floats(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.float()).collect()
    }
}

fn computes() -> Vec<Compute> {
    Level::available()
        .into_iter()
        .flat_map(|level| [1, 2].map(|threads| (level, threads)))
        .map(|(level, threads)| Compute::new(Kernels::at(level).expect("available"), threads))
        .collect()
}

fn product(compute: &Compute, matrix: &Matrix, x: &[f32], rows: usize, bias: &[f32]) -> Vec<f32> {
    let mut activations = Activations::new();
    activations.set(compute, x, rows, matrix.columns());
    let stride = matrix.rows() + 3;
    let mut out = vec![0.5; rows * stride];
    let mut products = [Product {
        weight: matrix,
        bias: Some(bias),
        out: &mut out,
        out_stride: stride,
        accumulate: true,
    }];
    matmul(compute, &activations, &mut products);
    out
}

#[test]
fn levels_batches_and_threads_agree_to_the_bit_and_with_the_plain_sum() {
    let seed = 11;
    println!("seed {seed}");
    let mut random = Random(seed);
    for kind in BlockType::ALL {
        for (outputs, columns) in [(1, 256), (15, 512), (16, 256), (33, 768), (100, 256)] {
            let weights = quantise(kind, &random.floats(outputs * columns));
            let mut plain = vec![0.0; outputs * columns];
            dequantise(kind, &weights, &mut plain);
            let bias = random.floats(outputs);
            let x = random.floats(33 * columns);
            let mut expected: Option<Vec<f32>> = None;
            for compute in computes() {
                let matrix = Matrix::pack(&compute, kind, outputs, columns, &weights).expect("pack");
                let all = product(&compute, &matrix, &x, 33, &bias);
                for (rows, start) in [(1, 0), (2, 3), (3, 30), (7, 11), (8, 25), (13, 20)] {
                    let part = &x[start * columns..(start + rows) * columns];
                    let part = product(&compute, &matrix, part, rows, &bias);
                    let stride = outputs + 3;
                    assert_eq!(part, all[start * stride..(start + rows) * stride], "{kind:?}");
                }
                match &expected {
                    None => expected = Some(all),
                    Some(expected) => assert!(
                        expected.iter().zip(&all).all(|(a, b)| a.to_bits() == b.to_bits()),
                        "{kind:?} {outputs}x{columns} at {:?}",
                        compute.kernels.level()
                    ),
                }
            }
            check_against_plain(kind, &expected.expect("a level"), &plain, &x, &bias, outputs);
        }
    }
}

/// Every output is the f64 sum to within what rounding activations to int8 costs.
fn check_against_plain(
    kind: BlockType,
    found: &[f32],
    plain: &[f32],
    x: &[f32],
    bias: &[f32],
    outputs: usize,
) {
    let columns = plain.len() / outputs;
    for (row, x) in x.chunks_exact(columns).enumerate() {
        for (output, weights) in plain.chunks_exact(columns).enumerate() {
            let products = weights.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x));
            let expected = products.sum::<f64>() + f64::from(bias[output]) + 0.5;
            // A step is 1/127 of at most 1; errors of `columns` terms add like a random walk.
            let step = if kind.is_float() { 1e-6 } else { 1.0 / 127.0 };
            let bound = step * (columns as f64).sqrt() * 1.2;
            let found = f64::from(found[row * (outputs + 3) + output]);
            assert!((found - expected).abs() < bound, "{kind:?}: {found}, expected {expected}");
        }
    }
}

#[test]
fn rows_come_back_as_they_were() {
    let mut random = Random(5);
    let compute = &computes()[0];
    for kind in BlockType::ALL {
        let weights = quantise(kind, &random.floats(19 * 512));
        let mut plain = vec![0.0; 19 * 512];
        dequantise(kind, &weights, &mut plain);
        let (first, second) = weights.split_at(weights.len() / 19 * 7);
        let matrix =
            Matrix::pack_parts(compute, kind, 512, &[(7, first), (12, second)]).expect("pack");
        let mut row = vec![0.0; 512];
        for index in 0..19 {
            matrix.row(index, &mut row);
            assert_eq!(row, plain[index * 512..(index + 1) * 512], "{kind:?}");
        }
    }
}

#[test]
fn several_products_share_a_call() {
    let mut random = Random(9);
    for compute in computes() {
        let matrices: Vec<Matrix> = [(BlockType::Q4_1, 40), (BlockType::Q6K, 17), (BlockType::F16, 5)]
            .map(|(kind, rows)| {
                let weights = quantise(kind, &random.floats(rows * 256));
                Matrix::pack(&compute, kind, rows, 256, &weights).expect("pack")
            })
            .into();
        for rows in [1, 9] {
            let x = random.floats(rows * 256);
            let mut activations = Activations::new();
            activations.set(&compute, &x, rows, 256);
            let mut outs: Vec<Vec<f32>> =
                matrices.iter().map(|matrix| vec![0.0; rows * matrix.rows()]).collect();
            let mut products: Vec<Product<'_>> = matrices
                .iter()
                .zip(&mut outs)
                .map(|(weight, out)| Product {
                    weight,
                    bias: None,
                    out,
                    out_stride: weight.rows(),
                    accumulate: false,
                })
                .collect();
            matmul(&compute, &activations, &mut products);
            for (matrix, together) in matrices.iter().zip(&outs) {
                let mut alone = vec![0.0; rows * matrix.rows()];
                let product = Product {
                    weight: matrix,
                    bias: None,
                    out: &mut alone,
                    out_stride: matrix.rows(),
                    accumulate: false,
                };
                matmul(&compute, &activations, &mut [product]);
                assert_eq!(&alone, together);
            }
        }
    }
}
