//! Turns blocks whose nibbles are places in a table into units and back: IQ4_NL, IQ4_XS, MXFP4.

use super::{BLOCK, Format, GROUP_ROWS, STEP, nibble, write_half, write_nibbles};
use crate::block::{FOUR_FLOAT_LEVELS, NONLINEAR_LEVELS, Parts};
use crate::lanes::Lanes;

/// IQ4_NL: nibbles, scale f16.
pub(crate) struct Nonlinear;

impl Nonlinear {
    const SCALES: usize = 4 * STEP;
}

impl Format for Nonlinear {
    const BIAS: i32 = 128;
    const MINIMA: bool = false;
    const HALVES: bool = false;
    const BITS: usize = 8;
    const BLOCKS: usize = 1;
    const BYTES: usize = Self::SCALES + 32;

    #[inline(always)]
    unsafe fn level<L: Lanes>(unit: *const u8, _block: usize, step: usize) -> L::Bytes {
        // SAFETY: inside the unit.
        unsafe { L::look_up(&NONLINEAR_LEVELS, nibble::<L>(unit, step)) }
    }
    #[inline(always)]
    unsafe fn scales<L: Lanes>(unit: *const u8, _block: usize) -> [L; 2] {
        // SAFETY: inside the unit.
        unsafe { [L::load_f16(unit.add(Self::SCALES).cast()); 2] }
    }
    #[inline(always)]
    unsafe fn minima<L: Lanes>(_unit: *const u8, _block: usize) -> [L; 2] {
        // SAFETY: touches no memory.
        unsafe { [L::splat(0.0); 2] }
    }
    fn write(unit: &mut [u8], row: usize, parts: &Parts) {
        write_nibbles(unit, row, &parts.levels[..BLOCK]);
        write_half(&mut unit[Self::SCALES..], row, parts.d);
    }
}

/// IQ4_XS: nibbles, i8 scales per block, d f16 per unit.
pub(crate) struct NonlinearSuper;

impl NonlinearSuper {
    const SCALES: usize = 8 * 4 * STEP;
    const D: usize = Self::SCALES + 8 * GROUP_ROWS;
}

impl Format for NonlinearSuper {
    const BIAS: i32 = 128;
    const MINIMA: bool = false;
    const HALVES: bool = false;
    const BITS: usize = 8;
    const BLOCKS: usize = 8;
    const BYTES: usize = Self::D + 32;

    #[inline(always)]
    unsafe fn level<L: Lanes>(unit: *const u8, block: usize, step: usize) -> L::Bytes {
        // SAFETY: inside the unit.
        unsafe { L::look_up(&NONLINEAR_LEVELS, nibble::<L>(unit.add(4 * STEP * block), step)) }
    }
    #[inline(always)]
    unsafe fn scales<L: Lanes>(unit: *const u8, block: usize) -> [L; 2] {
        // SAFETY: inside the unit.
        unsafe {
            let d = L::load_f16(unit.add(Self::D).cast());
            [d.mul(L::load_i8(unit.add(Self::SCALES + GROUP_ROWS * block).cast())); 2]
        }
    }
    #[inline(always)]
    unsafe fn minima<L: Lanes>(_unit: *const u8, _block: usize) -> [L; 2] {
        // SAFETY: touches no memory.
        unsafe { [L::splat(0.0); 2] }
    }
    fn write(unit: &mut [u8], row: usize, parts: &Parts) {
        for (block, levels) in parts.levels.chunks_exact(BLOCK).enumerate() {
            write_nibbles(&mut unit[4 * STEP * block..], row, levels);
            unit[Self::SCALES + GROUP_ROWS * block + row] = parts.raw_scales[2 * block];
        }
        write_half(&mut unit[Self::D..], row, parts.d);
    }
}

/// MXFP4: nibbles, one byte of exponent.
pub(crate) struct FourFloat;

impl FourFloat {
    const SCALES: usize = 4 * STEP;
}

impl Format for FourFloat {
    const BIAS: i32 = 12;
    const MINIMA: bool = false;
    const HALVES: bool = false;
    /// Levels are 0 to 24.
    const BITS: usize = 5;
    const BLOCKS: usize = 1;
    const BYTES: usize = Self::SCALES + GROUP_ROWS;

    #[inline(always)]
    unsafe fn level<L: Lanes>(unit: *const u8, _block: usize, step: usize) -> L::Bytes {
        // SAFETY: inside the unit.
        unsafe { L::look_up(&FOUR_FLOAT_LEVELS, nibble::<L>(unit, step)) }
    }
    #[inline(always)]
    unsafe fn scales<L: Lanes>(unit: *const u8, _block: usize) -> [L; 2] {
        // SAFETY: inside the unit.
        unsafe { [L::load_half_e8m0(unit.add(Self::SCALES)); 2] }
    }
    #[inline(always)]
    unsafe fn minima<L: Lanes>(_unit: *const u8, _block: usize) -> [L; 2] {
        // SAFETY: touches no memory.
        unsafe { [L::splat(0.0); 2] }
    }
    fn write(unit: &mut [u8], row: usize, parts: &Parts) {
        write_nibbles(unit, row, &parts.levels[..BLOCK]);
        unit[Self::SCALES + row] = parts.raw_scales[0];
    }
}
