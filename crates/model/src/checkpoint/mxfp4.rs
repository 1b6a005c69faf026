//! Turns 4-bit floats as gpt-oss publishes them into the blocks that GGUF has.
//!
//! A folder has the numbers in one tensor, [experts, rows, columns / 32, 16] bytes of two each, and
//! their scales in another, [experts, rows, columns / 32]. A block of GGUF is a scale and then 16
//! bytes, whose low halves are the first 16 numbers; in folders, low halves are the even ones.

use myriad_formats::TensorView;

use crate::error::ModelError;

/// Numbers of one scale, and bytes that hold them.
const BLOCK: usize = 32;
const BYTES: usize = BLOCK / 2;

/// Experts, rows of each and columns.
///
/// # Errors
/// [`ModelError::TensorShape`] where the two do not belong together.
pub(super) fn check(
    blocks: TensorView<'_>,
    scales: TensorView<'_>,
) -> Result<[usize; 3], ModelError> {
    let wrong = |view: TensorView<'_>, expected: Vec<usize>| ModelError::TensorShape {
        name: view.name.to_owned(),
        found: view.shape.to_vec(),
        expected,
    };
    for view in [blocks, scales] {
        if view.bytes.len() != view.elements() {
            let (name, kind) = (view.name.to_owned(), view.kind.name());
            return Err(ModelError::WeightKind { name, kind });
        }
    }
    let [BYTES, per_row, rows, experts] = *blocks.shape else {
        return Err(wrong(blocks, vec![BYTES, scales.columns()]));
    };
    if *scales.shape != [per_row, rows, experts] {
        return Err(wrong(scales, vec![per_row, rows, experts]));
    }
    Ok([experts, rows, per_row * BLOCK])
}

/// The blocks of some rows, counted through all experts.
pub(super) fn blocks(
    blocks: TensorView<'_>,
    scales: TensorView<'_>,
    rows: impl Iterator<Item = usize>,
) -> Vec<u8> {
    let per_row = scales.columns();
    let mut out = Vec::new();
    for row in rows {
        let scales = &scales.bytes[row * per_row..][..per_row];
        let blocks = &blocks.bytes[row * per_row * BYTES..][..per_row * BYTES];
        for (scale, pairs) in scales.iter().zip(blocks.chunks_exact(BYTES)) {
            // The half byte of a number.
            let half = |index: usize| (pairs[index / 2] >> (4 * (index % 2))) & 0xf;
            out.push(*scale);
            out.extend((0..BYTES).map(|index| half(index) | (half(index + BYTES) << 4)));
        }
    }
    out
}
