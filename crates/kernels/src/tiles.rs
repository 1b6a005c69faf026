//! Turns sixteen rows of quantised blocks into one interleaved tile, and tiles into levels and
//! scales.
//!
//! A *group* is sixteen rows; a *unit* is what one block of the file becomes for a whole group (32
//! columns, or 256 for K types); a *step* is four columns of sixteen rows: 64 bytes
//! `[16 rows][4 columns]`, one VNNI operand. Tiles hold as many bits as the file did.

use crate::block::{BlockType, Parts};
use crate::f16::f16_to_f32;
use crate::lanes::Lanes;

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
    /// Whether the two halves of a block of 32 have scales of their own.
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
    /// The addends of the block (only if `MINIMA`).
    unsafe fn minima<L: Lanes>(unit: *const u8, block: usize) -> L;
    /// Writes one row's block of the file into the unit.
    fn write(unit: &mut [u8], row: usize, parts: &Parts);
}

/// Q4_0, Q4_1, Q5_0, Q5_1: nibbles, fifth bits, scale f16, minimum f16.
pub(crate) struct Small<const FIFTH: bool, const MINIMA: bool>;

impl<const FIFTH: bool, const MINIMA: bool> Small<FIFTH, MINIMA> {
    const SCALES: usize = 4 * STEP + if FIFTH { STEP } else { 0 };
}

impl<const FIFTH: bool, const MINIMA: bool> Format for Small<FIFTH, MINIMA> {
    const BIAS: i32 = match (FIFTH, MINIMA) {
        (_, true) => 0,
        (false, false) => 8,
        (true, false) => 16,
    };
    const MINIMA: bool = MINIMA;
    const HALVES: bool = false;
    const BITS: usize = if FIFTH { 5 } else { 4 };
    const BLOCKS: usize = 1;
    const BYTES: usize = Self::SCALES + 32 + if MINIMA { 32 } else { 0 };

    #[inline(always)]
    unsafe fn level<L: Lanes>(unit: *const u8, _block: usize, step: usize) -> L::Bytes {
        // SAFETY: inside the unit.
        unsafe {
            let level = nibble::<L>(unit, step);
            if FIFTH { fifth_bit::<L>(level, unit.add(4 * STEP), step) } else { level }
        }
    }
    #[inline(always)]
    unsafe fn scales<L: Lanes>(unit: *const u8, _block: usize) -> [L; 2] {
        // SAFETY: inside the unit.
        unsafe { [L::load_f16(unit.add(Self::SCALES).cast()); 2] }
    }
    #[inline(always)]
    unsafe fn minima<L: Lanes>(unit: *const u8, _block: usize) -> L {
        // SAFETY: inside the unit.
        unsafe { L::load_f16(unit.add(Self::SCALES + 32).cast()) }
    }
    fn write(unit: &mut [u8], row: usize, parts: &Parts) {
        write_nibbles(unit, row, &parts.levels[..BLOCK]);
        if FIFTH {
            write_fifth_bits(&mut unit[4 * STEP..], row, &parts.levels[..BLOCK]);
        }
        write_half(&mut unit[Self::SCALES..], row, parts.d);
        if MINIMA {
            write_half(&mut unit[Self::SCALES + 32..], row, parts.m);
        }
    }
}

/// Q8_0: eight steps of bytes, scale f16.
pub(crate) struct Eight;

impl Format for Eight {
    const BIAS: i32 = 128;
    const MINIMA: bool = false;
    const HALVES: bool = false;
    const BITS: usize = 8;
    const BLOCKS: usize = 1;
    const BYTES: usize = 8 * STEP + 32;

    #[inline(always)]
    unsafe fn level<L: Lanes>(unit: *const u8, _block: usize, step: usize) -> L::Bytes {
        // SAFETY: inside the unit.
        unsafe { L::load_bytes(unit.add(STEP * step)) }
    }
    #[inline(always)]
    unsafe fn scales<L: Lanes>(unit: *const u8, _block: usize) -> [L; 2] {
        // SAFETY: inside the unit.
        unsafe { [L::load_f16(unit.add(8 * STEP).cast()); 2] }
    }
    #[inline(always)]
    unsafe fn minima<L: Lanes>(_unit: *const u8, _block: usize) -> L {
        // SAFETY: touches no memory.
        unsafe { L::splat(0.0) }
    }
    fn write(unit: &mut [u8], row: usize, parts: &Parts) {
        for (column, level) in parts.levels[..BLOCK].iter().enumerate() {
            unit[STEP * (column / 4) + 4 * row + column % 4] = *level;
        }
        write_half(&mut unit[8 * STEP..], row, parts.d);
    }
}

/// Q4_K, Q5_K: nibbles, fifth bits, u8 scales and minima per block, d and dmin f16 per unit.
pub(crate) struct Super<const FIFTH: bool>;

impl<const FIFTH: bool> Super<FIFTH> {
    const FIFTHS: usize = 8 * 4 * STEP;
    const SCALES: usize = Self::FIFTHS + if FIFTH { 8 * STEP } else { 0 };
    const MINIMA_AT: usize = Self::SCALES + 8 * GROUP_ROWS;
    const D: usize = Self::MINIMA_AT + 8 * GROUP_ROWS;
}

impl<const FIFTH: bool> Format for Super<FIFTH> {
    const BIAS: i32 = 0;
    const MINIMA: bool = true;
    const HALVES: bool = false;
    const BITS: usize = if FIFTH { 5 } else { 4 };
    const BLOCKS: usize = 8;
    const BYTES: usize = Self::D + 64;

    #[inline(always)]
    unsafe fn level<L: Lanes>(unit: *const u8, block: usize, step: usize) -> L::Bytes {
        // SAFETY: inside the unit.
        unsafe {
            let level = nibble::<L>(unit.add(4 * STEP * block), step);
            if FIFTH {
                fifth_bit::<L>(level, unit.add(Self::FIFTHS + STEP * block), step)
            } else {
                level
            }
        }
    }
    #[inline(always)]
    unsafe fn scales<L: Lanes>(unit: *const u8, block: usize) -> [L; 2] {
        // SAFETY: inside the unit.
        unsafe {
            let d = L::load_f16(unit.add(Self::D).cast());
            [d.mul(L::load_u8(unit.add(Self::SCALES + GROUP_ROWS * block))); 2]
        }
    }
    #[inline(always)]
    unsafe fn minima<L: Lanes>(unit: *const u8, block: usize) -> L {
        // SAFETY: inside the unit.
        unsafe {
            let dmin = L::load_f16(unit.add(Self::D + 32).cast());
            let minima = dmin.mul(L::load_u8(unit.add(Self::MINIMA_AT + GROUP_ROWS * block)));
            L::splat(0.0).sub(minima)
        }
    }
    fn write(unit: &mut [u8], row: usize, parts: &Parts) {
        for (block, levels) in parts.levels.chunks_exact(BLOCK).enumerate() {
            write_nibbles(&mut unit[4 * STEP * block..], row, levels);
            if FIFTH {
                write_fifth_bits(&mut unit[Self::FIFTHS + STEP * block..], row, levels);
            }
            unit[Self::SCALES + GROUP_ROWS * block + row] = parts.raw_scales[2 * block];
            unit[Self::MINIMA_AT + GROUP_ROWS * block + row] = parts.raw_minima[2 * block];
        }
        write_half(&mut unit[Self::D..], row, parts.d);
        write_half(&mut unit[Self::D + 32..], row, parts.m);
    }
}

/// Q6_K: nibbles, pairs of high bits, i8 scales per 16 columns, d f16.
pub(crate) struct Six;

impl Six {
    const PAIRS: usize = 8 * 4 * STEP;
    const SCALES: usize = Self::PAIRS + 8 * 2 * STEP;
    const D: usize = Self::SCALES + 16 * GROUP_ROWS;
}

impl Format for Six {
    const BIAS: i32 = 32;
    const MINIMA: bool = false;
    const HALVES: bool = true;
    const BITS: usize = 6;
    const BLOCKS: usize = 8;
    const BYTES: usize = Self::D + 32;

    #[inline(always)]
    unsafe fn level<L: Lanes>(unit: *const u8, block: usize, step: usize) -> L::Bytes {
        // SAFETY: inside the unit.
        unsafe {
            let low = nibble::<L>(unit.add(4 * STEP * block), step);
            let pairs = unit.add(Self::PAIRS + 2 * STEP * block + STEP * (step % 2));
            L::or_pair45(low, L::load_bytes(pairs), 2 * (step as u32 / 2))
        }
    }
    #[inline(always)]
    unsafe fn scales<L: Lanes>(unit: *const u8, block: usize) -> [L; 2] {
        // SAFETY: inside the unit.
        unsafe {
            let d = L::load_f16(unit.add(Self::D).cast());
            let scales = unit.add(Self::SCALES + 2 * GROUP_ROWS * block).cast::<i8>();
            [d.mul(L::load_i8(scales)), d.mul(L::load_i8(scales.add(GROUP_ROWS)))]
        }
    }
    #[inline(always)]
    unsafe fn minima<L: Lanes>(_unit: *const u8, _block: usize) -> L {
        // SAFETY: touches no memory.
        unsafe { L::splat(0.0) }
    }
    fn write(unit: &mut [u8], row: usize, parts: &Parts) {
        for (block, levels) in parts.levels.chunks_exact(BLOCK).enumerate() {
            write_nibbles(&mut unit[4 * STEP * block..], row, levels);
            for (column, level) in levels.iter().enumerate() {
                let (step, place) = (column / 4, 4 * row + column % 4);
                let at = Self::PAIRS + 2 * STEP * block + STEP * (step % 2) + place;
                unit[at] |= (level >> 4) << (2 * (step / 2));
            }
            for half in 0..2 {
                let scale = parts.raw_scales[2 * block + half];
                unit[Self::SCALES + (2 * block + half) * GROUP_ROWS + row] = scale;
            }
        }
        write_half(&mut unit[Self::D..], row, parts.d);
    }
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
    if kind.is_float() {
        return columns * GROUP_ROWS * kind.block_bytes();
    }
    with_format!(kind, F => columns / (F::BLOCKS * BLOCK) * F::BYTES)
}

/// Writes `row` (below 16) of a group from the file's bytes of that row.
pub(crate) fn write_row(kind: BlockType, group: &mut [u8], row: usize, bytes: &[u8]) {
    let size = kind.block_bytes();
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
                *out = crate::f16::bf16_to_f32(half((column * GROUP_ROWS + row) * 2));
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
                F::minima::<Scalar>(unit.as_ptr(), block).to_array(),
            )
        };
        for (column, out) in out.iter_mut().enumerate() {
            let level = i32::from(levels[column / 4][4 * row + column % 4]) - F::BIAS;
            let minimum = if F::MINIMA { minima[row] } else { 0.0 };
            *out = scales[column / 16][row] * level as f32 + minimum;
        }
    }
}
