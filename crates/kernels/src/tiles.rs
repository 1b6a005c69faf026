//! Turns sixteen rows of quantised blocks into one interleaved tile, and tiles into levels and
//! scales.
//!
//! A *group* is sixteen rows; a *unit* is what one block of the file becomes for a whole group (32
//! columns, or 256 for K types); a *step* is four columns of sixteen rows: 64 bytes
//! `[16 rows][4 columns]`, one VNNI operand. Tiles hold as many bits as the file did.

mod blocks;
mod super_blocks;
mod tables;

pub(crate) use blocks::{Eight, Small};
pub(crate) use super_blocks::{Six, Super, Three, Two};
pub(crate) use tables::{FourFloat, Nonlinear, NonlinearSuper};

use crate::block::{BlockType, Parts};
use crate::f16::f16_to_f32;
use crate::lanes::Lanes;
use crate::matmul::pairs::PAIR_BYTES;

/// Rows interleaved in one group: the i32 lanes of the widest register.
pub(crate) const GROUP_ROWS: usize = 16;

/// Columns that share one scale of the activations.
pub(crate) const BLOCK: usize = 32;

/// Bytes of one step.
const STEP: usize = 64;

/// How the units of one weight type are laid out and read.
pub(crate) trait Format {
    /// What is taken from each unsigned level (folded into the integer sum).
    const BIAS: i32;
    /// Whether weights have an addend.
    const MINIMA: bool;
    /// Whether the two halves of a block of 32 have scales (and addends) of their own.
    const HALVES: bool;
    /// Bits of a level: at most 6, or 8.
    const BITS: usize;
    /// Blocks of 32 columns in a unit.
    const BLOCKS: usize;
    /// Bytes of a unit.
    const BYTES: usize;

    /// One of the eight steps of block `block` of the unit.
    ///
    /// # Safety
    ///
    /// `unit` points to `BYTES` bytes; the level of `L` runs here. So for all three.
    unsafe fn level<L: Lanes>(unit: *const u8, block: usize, step: usize) -> L::Bytes;
    /// The scales of the block's two halves (equal unless `HALVES`).
    unsafe fn scales<L: Lanes>(unit: *const u8, block: usize) -> [L; 2];
    /// The addends of the block's two halves (only if `MINIMA`; equal unless `HALVES`).
    unsafe fn minima<L: Lanes>(unit: *const u8, block: usize) -> [L; 2];
    /// Writes one row's block of the file into the unit.
    fn write(unit: &mut [u8], row: usize, parts: &Parts);
}

/// One of eight steps out of 256 bytes: low nibbles are steps 0–3, high nibbles 4–7.
#[inline(always)]
unsafe fn nibble<L: Lanes>(from: *const u8, step: usize) -> L::Bytes {
    // SAFETY: the caller's unit holds 256 bytes here.
    unsafe {
        let bytes = L::load_bytes(from.add(STEP * (step % 4)));
        if step < 4 { L::low_nibbles(bytes) } else { L::high_nibbles(bytes) }
    }
}

/// One of eight steps out of 128 bytes, as pairs of bits.
#[inline(always)]
unsafe fn pair<L: Lanes>(from: *const u8, step: usize) -> L::Bytes {
    // SAFETY: the caller's unit holds 128 bytes here.
    unsafe { L::pairs(L::load_bytes(from.add(STEP * (step % 2))), 2 * (step as u32 / 2)) }
}

/// A step's levels with their fifth bits, one 64-bit mask for each step.
#[inline(always)]
unsafe fn fifth_bit<L: Lanes>(level: L::Bytes, masks: *const u8, step: usize) -> L::Bytes {
    // SAFETY: the caller's unit holds eight masks here.
    unsafe { L::or_bit4(level, masks.cast::<u64>().add(step).read_unaligned()) }
}

fn write_nibbles(to: &mut [u8], row: usize, levels: &[u8]) {
    for (column, level) in levels.iter().enumerate() {
        let step = column / 4;
        let shift = if step < 4 { 0 } else { 4 };
        to[STEP * (step % 4) + 4 * row + column % 4] |= (level & 15) << shift;
    }
}

fn write_fifth_bits(to: &mut [u8], row: usize, levels: &[u8]) {
    for (column, level) in levels.iter().enumerate() {
        let place = 4 * row + column % 4;
        // Little-endian u64 masks, written by the byte.
        to[8 * (column / 4) + place / 8] |= ((level >> 4) & 1) << (place % 8);
    }
}

/// Writes the two bits of each level from bit `from` on.
fn write_pairs(to: &mut [u8], row: usize, levels: &[u8], from: u32) {
    for (column, level) in levels.iter().enumerate() {
        let (step, place) = (column / 4, 4 * row + column % 4);
        to[STEP * (step % 2) + place] |= ((level >> from) & 3) << (2 * (step / 2));
    }
}

fn write_half(to: &mut [u8], row: usize, half: u16) {
    to[2 * row..2 * row + 2].copy_from_slice(&half.to_le_bytes());
}

/// Calls `$body` with `$format` standing for the layout of a quantised `$kind`.
macro_rules! with_format {
    ($kind:expr, $format:ident => $body:expr) => {
        match $kind {
            $crate::block::BlockType::Q4_0 => {
                type $format = $crate::tiles::Small<false, false>;
                $body
            }
            $crate::block::BlockType::Q4_1 => {
                type $format = $crate::tiles::Small<false, true>;
                $body
            }
            $crate::block::BlockType::Q5_0 => {
                type $format = $crate::tiles::Small<true, false>;
                $body
            }
            $crate::block::BlockType::Q5_1 => {
                type $format = $crate::tiles::Small<true, true>;
                $body
            }
            $crate::block::BlockType::Q8_0 => {
                type $format = $crate::tiles::Eight;
                $body
            }
            $crate::block::BlockType::Q4K => {
                type $format = $crate::tiles::Super<false>;
                $body
            }
            $crate::block::BlockType::Q5K => {
                type $format = $crate::tiles::Super<true>;
                $body
            }
            $crate::block::BlockType::Q6K => {
                type $format = $crate::tiles::Six;
                $body
            }
            $crate::block::BlockType::IQ4NL => {
                type $format = $crate::tiles::Nonlinear;
                $body
            }
            $crate::block::BlockType::Q3K => {
                type $format = $crate::tiles::Three;
                $body
            }
            $crate::block::BlockType::Q2K => {
                type $format = $crate::tiles::Two;
                $body
            }
            $crate::block::BlockType::IQ4XS => {
                type $format = $crate::tiles::NonlinearSuper;
                $body
            }
            $crate::block::BlockType::MXFP4 => {
                type $format = $crate::tiles::FourFloat;
                $body
            }
            $crate::block::BlockType::F32
            | $crate::block::BlockType::F16
            | $crate::block::BlockType::BF16 => {
                unreachable!("floats have layouts of their own")
            }
        }
    };
}
pub(crate) use with_format;

/// Bytes of one group of `columns` columns.
pub(crate) fn group_bytes(kind: BlockType, columns: usize) -> usize {
    if kind == BlockType::BF16 {
        return columns.div_ceil(2) * PAIR_BYTES;
    }
    if kind.is_float() {
        return columns * GROUP_ROWS * kind.block_bytes();
    }
    with_format!(kind, F => columns / (F::BLOCKS * BLOCK) * F::BYTES)
}

/// Where a BF16 weight stands in its group: pairs of columns of each row are neighbours.
/// `[columns / 2][16 rows][2 columns]`
fn pair_place(row: usize, column: usize) -> usize {
    column / 2 * PAIR_BYTES + 4 * row + 2 * (column % 2)
}

/// Writes `row` (below 16) of a group from the file's bytes of that row.
pub(crate) fn write_row(kind: BlockType, group: &mut [u8], row: usize, bytes: &[u8]) {
    let size = kind.block_bytes();
    if kind == BlockType::BF16 {
        for (column, value) in bytes.chunks_exact(size).enumerate() {
            let at = pair_place(row, column);
            group[at..at + size].copy_from_slice(value);
        }
        return;
    }
    if kind.is_float() {
        for (column, value) in bytes.chunks_exact(size).enumerate() {
            let at = (column * GROUP_ROWS + row) * size;
            group[at..at + size].copy_from_slice(value);
        }
        return;
    }
    with_format!(kind, F => {
        for (block, unit) in bytes.chunks_exact(size).zip(group.chunks_exact_mut(F::BYTES)) {
            F::write(unit, row, &Parts::of(kind, block));
        }
    });
}

/// Reads `row` (below 16) of a group back as floats: the same values as `dequantise` of the file.
pub(crate) fn read_row(kind: BlockType, group: &[u8], row: usize, out: &mut [f32]) {
    let half = |at: usize| u16::from_le_bytes([group[at], group[at + 1]]);
    match kind {
        BlockType::F32 => {
            for (column, out) in out.iter_mut().enumerate() {
                let at = (column * GROUP_ROWS + row) * 4;
                let bytes = [group[at], group[at + 1], group[at + 2], group[at + 3]];
                *out = f32::from_le_bytes(bytes);
            }
        }
        BlockType::F16 => {
            for (column, out) in out.iter_mut().enumerate() {
                *out = f16_to_f32(half((column * GROUP_ROWS + row) * 2));
            }
        }
        BlockType::BF16 => {
            for (column, out) in out.iter_mut().enumerate() {
                *out = crate::f16::bf16_to_f32(half(pair_place(row, column)));
            }
        }
        _ => with_format!(kind, F => read_levels::<F>(group, row, out)),
    }
}

fn read_levels<F: Format>(group: &[u8], row: usize, out: &mut [f32]) {
    use crate::lanes::scalar::Scalar;
    for (index, out) in out.chunks_exact_mut(BLOCK).enumerate() {
        let unit = &group[index / F::BLOCKS * F::BYTES..][..F::BYTES];
        let block = index % F::BLOCKS;
        // SAFETY: `unit` holds the unit's bytes; the scalar level runs everywhere.
        let (levels, scales, minima) = unsafe {
            let level = |step| F::level::<Scalar>(unit.as_ptr(), block, step);
            (
                [0, 1, 2, 3, 4, 5, 6, 7].map(level),
                F::scales::<Scalar>(unit.as_ptr(), block).map(|scales| scales.to_array()),
                F::minima::<Scalar>(unit.as_ptr(), block).map(|minima| minima.to_array()),
            )
        };
        for (column, out) in out.iter_mut().enumerate() {
            let level = i32::from(levels[column / 4][4 * row + column % 4]) - F::BIAS;
            let minimum = if F::MINIMA { minima[column / 16][row] } else { 0.0 };
            *out = scales[column / 16][row] * level as f32 + minimum;
        }
    }
}
