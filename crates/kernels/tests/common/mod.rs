//! Turns seeds into numbers, weights and products for the tests of kernels.
#![allow(dead_code)] // each test file uses a part

pub mod world;

use myriad_kernels::{
    Activations, BlockType, Compute, Kernels, Level, Matrix, Product, dequantise, matmul, quantise,
};

/// A small generator (SplitMix64): the same numbers from the same seed, everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub fn below(&mut self, end: usize) -> usize {
        (self.bits() % end as u64) as usize
    }
    /// From -1 to 1.
    pub fn value(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
    pub fn values(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.value()).collect()
    }
    /// Activations as models have them: most are small, a few stand out.
    pub fn activations(&mut self, count: usize) -> Vec<f32> {
        (0..count)
            .map(|_| if self.below(50) == 0 { 20.0 * self.value() } else { self.value() })
            .collect()
    }
    /// Valid blocks with every bit pattern of levels and small scales as `kind` allows.
    pub fn blocks(&mut self, kind: BlockType, count: usize) -> Vec<u8> {
        let amplitude = 0.01 + self.value().abs();
        let mut values = self.values(count * kind.block_elements());
        // Rows differ in size, so that a mixed-up scale shows.
        for chunk in values.chunks_mut(32) {
            let factor = amplitude * (0.1 + self.value().abs());
            chunk.iter_mut().for_each(|value| *value *= factor);
        }
        quantise(kind, &values)
    }
}

pub fn compute(level: Level, threads: usize) -> Compute {
    Compute::new(Kernels::at(level).expect("only available levels are asked for"), threads)
}

/// The best level here.
pub fn best() -> Level {
    Level::available().pop().expect("scalar at least")
}

/// A matrix with the rows it was packed from.
pub struct Weights {
    pub matrix: Matrix,
    pub bytes: Vec<u8>,
    pub plain: Vec<f32>,
}

pub fn weights(
    compute: &Compute,
    kind: BlockType,
    rows: usize,
    columns: usize,
    seed: u64,
) -> Weights {
    let bytes = Random(seed).blocks(kind, rows * columns / kind.block_elements());
    let mut plain = vec![0.0; rows * columns];
    dequantise(kind, &bytes, &mut plain);
    let matrix = Matrix::pack(compute, kind, rows, columns, &bytes).expect("whole blocks");
    Weights { matrix, bytes, plain }
}

/// [rows, outputs] of one product.
pub fn product(compute: &Compute, matrix: &Matrix, x: &[f32], rows: usize) -> Vec<f32> {
    let mut activations = Activations::new();
    activations.set(compute, x, rows, matrix.columns());
    product_of(compute, matrix, &activations)
}

pub fn product_of(compute: &Compute, matrix: &Matrix, x: &Activations) -> Vec<f32> {
    let mut out = vec![f32::NAN; x.rows() * matrix.rows()];
    let out_stride = matrix.rows();
    matmul(
        compute,
        x,
        &mut [Product {
            weight: matrix,
            first_column: None,
            bias: None,
            out: &mut out,
            out_stride,
            accumulate: false,
        }],
    );
    out
}

/// Activations as int8 with one scale for each 32, as floats again; rounded as the kernels round,
/// so that no value near the middle of two steps goes the other way.
pub fn rounded(x: &[f32]) -> Vec<f64> {
    let mut out = Vec::with_capacity(x.len());
    for block in x.chunks(32) {
        let greatest = block.iter().fold(0.0f32, |a, b| a.max(b.abs()));
        let inverse = if greatest > 0.0 { 127.0 / greatest } else { 0.0 };
        let scale = f64::from(greatest / 127.0);
        out.extend(
            block.iter().map(|value| f64::from((value * inverse).round_ties_even()) * scale),
        );
    }
    out
}

pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Fails with the first place where two results differ in a bit.
pub fn assert_same_bits(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}: lengths");
    let place = found.iter().zip(expected).position(|(a, b)| a.to_bits() != b.to_bits());
    if let Some(at) = place {
        panic!("{what}: at {at} of {}: {} instead of {}", found.len(), found[at], expected[at]);
    }
}
