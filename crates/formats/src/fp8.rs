//! Turns 8-bit floats and their block scales into weights.

use std::ops::Range;

use crate::error::shown;
use crate::source::{TensorKind, TensorSource, TensorView};

/// Rows and columns that share one scale: `quantization_config.weight_block_size` of DeepSeek-V3
/// and its relatives.
pub const FP8_BLOCK: usize = 128;

/// What the name of a weight's scales has behind the weight's own.
const SCALE_SUFFIX: &str = "_scale_inv";

/// A matrix of 8-bit floats (E4M3) and one scale for each 128×128 of them.
#[derive(Clone, Copy, Debug)]
pub struct Fp8Weights<'a> {
    /// [columns, rows] bytes.
    weights: TensorView<'a>,
    /// [⌈columns / 128⌉, ⌈rows / 128⌉] floats, by which weights are multiplied.
    scales: TensorView<'a>,
}

/// Why two tensors are no scaled 8-bit floats.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // the fields are the words of the sentences
pub enum Fp8Error {
    /// The scales are not there.
    #[error("`{tensor}` is F8_E4M3, but its scales `{scales}` are missing")]
    MissingScales { tensor: String, scales: String },

    /// The weights are of another kind.
    #[error("`{tensor}` is {kind}; F8_E4M3 is needed")]
    WeightKind { tensor: String, kind: &'static str },

    /// The weights are no matrix.
    #[error("`{tensor}` has sizes {shape:?} (columns first); a matrix is needed")]
    WeightShape { tensor: String, shape: Vec<usize> },

    /// The scales are no floats.
    #[error("`{tensor}` is {kind}; scales are F32, F16 or BF16")]
    ScaleKind { tensor: String, kind: &'static str },

    /// Not one scale for each block.
    #[error("`{tensor}` has sizes {found:?} (columns first); {expected:?} are needed")]
    ScaleShape { tensor: String, found: Vec<usize>, expected: Vec<usize> },
}

impl<'a> Fp8Weights<'a> {
    /// The weights of that view with the scales that stand beside them in `source`.
    pub fn find(
        source: &'a dyn TensorSource,
        weights: TensorView<'a>,
    ) -> Result<Fp8Weights<'a>, Fp8Error> {
        let scales = format!("{}{SCALE_SUFFIX}", weights.name);
        let Some(view) = source.find_tensor(&scales) else {
            let (tensor, scales) = (shown(weights.name), shown(&scales));
            return Err(Fp8Error::MissingScales { tensor, scales });
        };
        Fp8Weights::new(weights, view)
    }

    /// Puts weights and scales together, if they fit.
    pub fn new(weights: TensorView<'a>, scales: TensorView<'a>) -> Result<Self, Fp8Error> {
        let tensor = || shown(weights.name);
        if weights.kind != TensorKind::F8E4M3 {
            return Err(Fp8Error::WeightKind { tensor: tensor(), kind: weights.kind.name() });
        }
        if weights.shape.len() != 2 {
            let shape = weights.shape.to_vec();
            return Err(Fp8Error::WeightShape { tensor: tensor(), shape });
        }
        if !scales.kind.block_type().is_some_and(|kind| kind.is_float()) {
            let (tensor, kind) = (shown(scales.name), scales.kind.name());
            return Err(Fp8Error::ScaleKind { tensor, kind });
        }
        let expected: Vec<usize> =
            weights.shape.iter().map(|size| size.div_ceil(FP8_BLOCK)).collect();
        if scales.shape != expected {
            let (tensor, found) = (shown(scales.name), scales.shape.to_vec());
            return Err(Fp8Error::ScaleShape { tensor, found, expected });
        }
        Ok(Fp8Weights { weights, scales })
    }

    /// Weights in one row.
    pub fn columns(&self) -> usize {
        self.weights.columns()
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.weights.rows()
    }

    /// Writes the weights of some rows to `out`, scaled.
    ///
    /// # Panics
    ///
    /// If there are not so many rows, or `out` is not as long as they are.
    pub fn dequantise_rows(&self, rows: Range<usize>, out: &mut [f32]) {
        let columns = self.columns();
        assert_eq!(rows.len() * columns, out.len(), "{} rows", rows.len());
        let bytes = self.weights.row_range(rows.clone());
        let mut scales = vec![0.0; self.scales.columns()];
        let mut held = None;
        let lines = out.chunks_exact_mut(columns).zip(bytes.chunks_exact(columns));
        for (row, (out, bytes)) in rows.zip(lines) {
            let line = row / FP8_BLOCK;
            if held.replace(line) != Some(line) {
                let read = self.scales.dequantise_rows(line..line + 1, &mut scales);
                read.expect("scales are floats, which `new` checked");
            }
            let blocks = out.chunks_mut(FP8_BLOCK).zip(bytes.chunks(FP8_BLOCK));
            for ((out, bytes), scale) in blocks.zip(&scales) {
                for (out, &byte) in out.iter_mut().zip(bytes) {
                    *out = e4m3_to_f32(byte) * scale;
                }
            }
        }
    }
}

/// The value of an 8-bit float of the kind E4M3FN: bias 7, no infinities, one NaN of each sign
/// (OCP 8-bit Floating Point Specification, revision 1.0). Exact.
pub fn e4m3_to_f32(byte: u8) -> f32 {
    let sign = u32::from(byte & 0x80) << 24;
    let exponent = u32::from(byte >> 3) & 15;
    let mantissa = u32::from(byte & 7);
    let magnitude = match (exponent, mantissa) {
        (15, 7) => 0x7fc0_0000,
        // Subnormal: multiples of 2^-9.
        (0, _) => (mantissa as f32 / 512.0).to_bits(),
        _ => ((exponent + 120) << 23) | (mantissa << 20),
    };
    f32::from_bits(sign | magnitude)
}

#[cfg(test)]
mod tests {
    use super::*;
    use myriad_kernels::BlockType;

    #[test]
    fn bytes_have_the_values_of_the_specification() {
        let known = [
            (0x00, 0.0),
            (0x01, 0.001953125), // 2^-9, the least subnormal
            (0x07, 0.013671875), // 7/8 · 2^-6, the largest subnormal
            (0x08, 0.015625),    // 2^-6, the least normal
            (0x38, 1.0),
            (0x3c, 1.5),
            (0x40, 2.0),
            (0x77, 240.0),
            (0x78, 256.0),
            (0x7e, 448.0), // the largest
            (0xb8, -1.0),
            (0xfe, -448.0),
        ];
        for (byte, value) in known {
            assert_eq!(e4m3_to_f32(byte), value, "{byte:#04x}");
        }
        assert!(e4m3_to_f32(0x80).is_sign_negative() && e4m3_to_f32(0x80) == 0.0);
        assert!(e4m3_to_f32(0x7f).is_nan() && e4m3_to_f32(0xff).is_nan());
        // Every positive byte is larger than the one before: no gap and no fold.
        assert!((0..0x7e).all(|byte| e4m3_to_f32(byte) < e4m3_to_f32(byte + 1)));
        assert!((0..0x7e).all(|byte| e4m3_to_f32(byte | 0x80) == -e4m3_to_f32(byte)));
    }

    fn view<'a>(kind: TensorKind, shape: &'a [usize], bytes: &'a [u8]) -> TensorView<'a> {
        TensorView { name: "w", kind, shape, bytes }
    }

    const F32: TensorKind = TensorKind::Blocks(BlockType::F32);

    #[test]
    fn each_block_has_its_scale_even_at_ragged_ends() {
        let shape = [130, 257]; // 2 blocks across, 3 down
        let bytes: Vec<u8> = (0..130 * 257).map(|index| (index % 251) as u8).collect();
        let scales: Vec<f32> = vec![1.0, 0.5, 2.0, 0.25, 4.0, -3.0];
        let scale_bytes: Vec<u8> = scales.iter().flat_map(|scale| scale.to_le_bytes()).collect();
        let weights = view(TensorKind::F8E4M3, &shape, &bytes);
        let scale_view = view(F32, &[2, 3], &scale_bytes);
        let fp8 = Fp8Weights::new(weights, scale_view).unwrap();
        for rows in [0..257, 0..1, 120..140, 127..129, 256..257, 5..5] {
            let mut out = vec![f32::NAN; rows.len() * 130];
            fp8.dequantise_rows(rows.clone(), &mut out);
            for (index, value) in out.iter().enumerate() {
                let (row, column) = (rows.start + index / 130, index % 130);
                let scale = scales[row / 128 * 2 + column / 128];
                let expected = e4m3_to_f32(bytes[row * 130 + column]) * scale;
                assert!(*value == expected || (value.is_nan() && expected.is_nan()));
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let bytes = vec![0; 4 * 130 * 257];
        let weights = view(TensorKind::F8E4M3, &[130, 257], &bytes[..130 * 257]);
        let refused = |weights, scales| Fp8Weights::new(weights, scales).unwrap_err();
        let scales = view(F32, &[2, 3], &bytes[..24]);
        let transposed = view(F32, &[3, 2], &bytes[..24]);
        assert!(matches!(refused(weights, transposed), Fp8Error::ScaleShape { .. }));
        let whole = view(TensorKind::I32, &[2, 3], &bytes[..24]);
        assert!(matches!(refused(weights, whole), Fp8Error::ScaleKind { .. }));
        let floats = view(F32, &[130, 257], &bytes);
        assert!(matches!(refused(floats, scales), Fp8Error::WeightKind { .. }));
        let flat = view(TensorKind::F8E4M3, &[130], &bytes[..130]);
        assert!(matches!(refused(flat, scales), Fp8Error::WeightShape { .. }));
    }
}
