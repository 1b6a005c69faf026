//! Turns blocks of 32 columns into units and back: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0.

use super::{BLOCK, Format, STEP, fifth_bit, nibble, write_fifth_bits, write_half, write_nibbles};
use crate::block::Parts;
use crate::lanes::Lanes;

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
    unsafe fn minima<L: Lanes>(unit: *const u8, _block: usize) -> [L; 2] {
        // SAFETY: inside the unit.
        unsafe { [L::load_f16(unit.add(Self::SCALES + 32).cast()); 2] }
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
    unsafe fn minima<L: Lanes>(_unit: *const u8, _block: usize) -> [L; 2] {
        // SAFETY: touches no memory.
        unsafe { [L::splat(0.0); 2] }
    }
    fn write(unit: &mut [u8], row: usize, parts: &Parts) {
        for (column, level) in parts.levels[..BLOCK].iter().enumerate() {
            unit[STEP * (column / 4) + 4 * row + column % 4] = *level;
        }
        write_half(&mut unit[8 * STEP..], row, parts.d);
    }
}
