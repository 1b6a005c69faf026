//! Turns super-blocks of 256 columns into units and back: Q2_K to Q6_K.

use super::{
    BLOCK, Format, GROUP_ROWS, STEP, fifth_bit, nibble, pair, write_fifth_bits, write_half,
    write_nibbles, write_pairs,
};
use crate::block::Parts;
use crate::lanes::Lanes;

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
    unsafe fn minima<L: Lanes>(unit: *const u8, block: usize) -> [L; 2] {
        // SAFETY: inside the unit.
        unsafe {
            let dmin = L::load_f16(unit.add(Self::D + 32).cast());
            let minima = dmin.mul(L::load_u8(unit.add(Self::MINIMA_AT + GROUP_ROWS * block)));
            [L::splat(0.0).sub(minima); 2]
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
        unsafe { signed_scales::<L>(unit.add(Self::D), unit.add(Self::SCALES), block) }
    }
    #[inline(always)]
    unsafe fn minima<L: Lanes>(_unit: *const u8, _block: usize) -> [L; 2] {
        // SAFETY: touches no memory.
        unsafe { [L::splat(0.0); 2] }
    }
    fn write(unit: &mut [u8], row: usize, parts: &Parts) {
        for (block, levels) in parts.levels.chunks_exact(BLOCK).enumerate() {
            write_nibbles(&mut unit[4 * STEP * block..], row, levels);
            write_pairs(&mut unit[Self::PAIRS + 2 * STEP * block..], row, levels, 4);
        }
        for (half, scale) in parts.raw_scales.iter().enumerate() {
            unit[Self::SCALES + GROUP_ROWS * half + row] = *scale;
        }
        write_half(&mut unit[Self::D..], row, parts.d);
    }
}

/// Q2_K: pairs of bits, a nibble each of scale and minimum per 16 columns, d and dmin f16.
pub(crate) struct Two;

impl Two {
    const SCALES: usize = 8 * 2 * STEP;
    const D: usize = Self::SCALES + 16 * GROUP_ROWS;
}

impl Format for Two {
    const BIAS: i32 = 0;
    const MINIMA: bool = true;
    const HALVES: bool = true;
    const BITS: usize = 2;
    const BLOCKS: usize = 8;
    const BYTES: usize = Self::D + 64;

    #[inline(always)]
    unsafe fn level<L: Lanes>(unit: *const u8, block: usize, step: usize) -> L::Bytes {
        // SAFETY: inside the unit.
        unsafe { pair::<L>(unit.add(2 * STEP * block), step) }
    }
    #[inline(always)]
    unsafe fn scales<L: Lanes>(unit: *const u8, block: usize) -> [L; 2] {
        // SAFETY: inside the unit.
        unsafe {
            let d = L::load_f16(unit.add(Self::D).cast());
            let both = unit.add(Self::SCALES + 2 * GROUP_ROWS * block);
            [d.mul(L::load_low_nibbles(both)), d.mul(L::load_low_nibbles(both.add(GROUP_ROWS)))]
        }
    }
    #[inline(always)]
    unsafe fn minima<L: Lanes>(unit: *const u8, block: usize) -> [L; 2] {
        // SAFETY: inside the unit.
        unsafe {
            // Negated once for all blocks of the unit.
            let dmin = L::splat(0.0).sub(L::load_f16(unit.add(Self::D + 32).cast()));
            let both = unit.add(Self::SCALES + 2 * GROUP_ROWS * block);
            let second = L::load_high_nibbles(both.add(GROUP_ROWS));
            [dmin.mul(L::load_high_nibbles(both)), dmin.mul(second)]
        }
    }
    fn write(unit: &mut [u8], row: usize, parts: &Parts) {
        for (block, levels) in parts.levels.chunks_exact(BLOCK).enumerate() {
            write_pairs(&mut unit[2 * STEP * block..], row, levels, 0);
        }
        for half in 0..16 {
            unit[Self::SCALES + GROUP_ROWS * half + row] =
                parts.raw_scales[half] | (parts.raw_minima[half] << 4);
        }
        write_half(&mut unit[Self::D..], row, parts.d);
        write_half(&mut unit[Self::D + 32..], row, parts.m);
    }
}

/// Q3_K: pairs of low bits, high bits (bit `step` of a byte for each of eight steps), i8 scales per
/// 16 columns, d f16.
pub(crate) struct Three;

impl Three {
    const HIGH: usize = 8 * 2 * STEP;
    const SCALES: usize = Self::HIGH + 8 * STEP;
    const D: usize = Self::SCALES + 16 * GROUP_ROWS;
}

impl Format for Three {
    const BIAS: i32 = 4;
    const MINIMA: bool = false;
    const HALVES: bool = true;
    const BITS: usize = 3;
    const BLOCKS: usize = 8;
    const BYTES: usize = Self::D + 32;

    #[inline(always)]
    unsafe fn level<L: Lanes>(unit: *const u8, block: usize, step: usize) -> L::Bytes {
        // SAFETY: inside the unit.
        unsafe {
            let low = pair::<L>(unit.add(2 * STEP * block), step);
            let high = L::load_bytes(unit.add(Self::HIGH + STEP * block));
            L::or_bit2(low, high, step as u32)
        }
    }
    #[inline(always)]
    unsafe fn scales<L: Lanes>(unit: *const u8, block: usize) -> [L; 2] {
        // SAFETY: inside the unit.
        unsafe { signed_scales::<L>(unit.add(Self::D), unit.add(Self::SCALES), block) }
    }
    #[inline(always)]
    unsafe fn minima<L: Lanes>(_unit: *const u8, _block: usize) -> [L; 2] {
        // SAFETY: touches no memory.
        unsafe { [L::splat(0.0); 2] }
    }
    fn write(unit: &mut [u8], row: usize, parts: &Parts) {
        for (block, levels) in parts.levels.chunks_exact(BLOCK).enumerate() {
            write_pairs(&mut unit[2 * STEP * block..], row, levels, 0);
            for (column, level) in levels.iter().enumerate() {
                let at = Self::HIGH + STEP * block + 4 * row + column % 4;
                unit[at] |= (level >> 2) << (column / 4);
            }
        }
        for (half, scale) in parts.raw_scales.iter().enumerate() {
            unit[Self::SCALES + GROUP_ROWS * half + row] = *scale;
        }
        write_half(&mut unit[Self::D..], row, parts.d);
    }
}

/// A half-float scale times the i8 scales of a block's halves.
#[inline(always)]
unsafe fn signed_scales<L: Lanes>(d: *const u8, scales: *const u8, block: usize) -> [L; 2] {
    // SAFETY: the caller's unit holds them here.
    unsafe {
        let d = L::load_f16(d.cast());
        let scales = scales.add(2 * GROUP_ROWS * block).cast::<i8>();
        [d.mul(L::load_i8(scales)), d.mul(L::load_i8(scales.add(GROUP_ROWS)))]
    }
}
