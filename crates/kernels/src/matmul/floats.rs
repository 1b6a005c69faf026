//! Turns F32 and F16 weights and float activations into products.

use std::ops::Range;

use super::source::call_ahead;
use super::{FLOAT_TILE_ROWS_MIN, Job, PANEL_GROUPS};
use crate::block::BlockType;
use crate::lanes::Lanes;
use crate::level::leveled;
use crate::tiles::GROUP_ROWS;

/// Partial sums of each output, by column modulo this.
const PARTS: usize = 4;

leveled!(pub(super) fn multiply_floats(kernels, job: &Job<'_>, groups: Range<usize>) = float_lanes);

/// Float weights against float activations.
#[inline(always)]
unsafe fn float_lanes<L: Lanes>(job: &Job<'_>, groups: Range<usize>) {
    // SAFETY: the caller's level runs here.
    unsafe {
        match job.weight.kind() {
            BlockType::F32 => float_groups::<L, F32>(job, groups),
            _ => float_groups::<L, F16>(job, groups),
        }
    }
}

/// A float type of weights.
trait Float {
    const BYTES: usize;

    /// Sixteen of them.
    ///
    /// # Safety
    ///
    /// As for [`Lanes`].
    unsafe fn load<L: Lanes>(from: *const u8) -> L;
}

struct F32;
struct F16;

// SAFETY (both): as for the caller.
impl Float for F32 {
    const BYTES: usize = 4;
    #[inline(always)]
    unsafe fn load<L: Lanes>(from: *const u8) -> L {
        unsafe { L::load(from.cast()) }
    }
}
impl Float for F16 {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn load<L: Lanes>(from: *const u8) -> L {
        unsafe { L::load_f16(from.cast()) }
    }
}
#[inline(always)]
unsafe fn float_groups<L: Lanes, F: Float>(job: &Job<'_>, groups: Range<usize>) {
    let (rows, mut done) = (job.x.rows(), 0);
    // SAFETY: the caller's level runs here.
    unsafe {
        if rows >= FLOAT_TILE_ROWS_MIN && groups.len() == PANEL_GROUPS && L::MANY_REGISTERS {
            while done + 6 <= rows {
                part_by_part::<L, F, 6, PANEL_GROUPS>(job, groups.start, done);
                done += 6;
            }
        }
        for group in groups {
            let mut row = done;
            while row + 4 <= rows {
                all_parts::<L, F, 4>(job, group, row);
                row += 4;
            }
            while row < rows {
                all_parts::<L, F, 1>(job, group, row);
                row += 1;
            }
        }
    }
}

/// One pass over the weights, with all partial sums: for weights that come from memory.
#[inline(always)]
unsafe fn all_parts<L: Lanes, F: Float, const R: usize>(job: &Job<'_>, group: usize, first: usize) {
    let tile = job.weight.group(group).as_ptr();
    let x: [*const f32; R] = std::array::from_fn(|r| floats(job, first + r));
    let bytes = GROUP_ROWS * F::BYTES;
    // SAFETY: the caller's level runs here; tile and rows hold `columns` columns.
    unsafe {
        let mut sums = [[L::splat(0.0); PARTS]; R];
        for column in 0..job.weight.columns() {
            let at = tile.add(column * bytes);
            let weights = F::load::<L>(at);
            call_ahead(at, bytes);
            for r in 0..R {
                let sum = &mut sums[r][column % PARTS];
                *sum = weights.mul_add(L::splat(*x[r].add(column)), *sum);
            }
        }
        for (r, sums) in sums.into_iter().enumerate() {
            job.finish(group, first + r, total(sums));
        }
    }
}

/// A pass for each partial sum, so that those of R rows and G groups stay in registers: for weights
/// that are in the core's own cache, since other rows have just used them.
#[inline(always)]
unsafe fn part_by_part<L: Lanes, F: Float, const R: usize, const G: usize>(
    job: &Job<'_>,
    group: usize,
    first: usize,
) {
    let tiles: [*const u8; G] = std::array::from_fn(|g| job.weight.group(group + g).as_ptr());
    let x: [*const f32; R] = std::array::from_fn(|r| floats(job, first + r));
    // SAFETY: the caller's level runs here; tiles and rows hold `columns` columns.
    unsafe {
        let mut parts = [[[L::splat(0.0); R]; G]; PARTS];
        for (part, sums_of_part) in parts.iter_mut().enumerate() {
            let mut sums = [[L::splat(0.0); R]; G];
            for column in (part..job.weight.columns()).step_by(PARTS) {
                let mut weights = [L::splat(0.0); G];
                for g in 0..G {
                    weights[g] = F::load::<L>(tiles[g].add(column * GROUP_ROWS * F::BYTES));
                }
                for r in 0..R {
                    let value = L::splat(*x[r].add(column));
                    for g in 0..G {
                        sums[g][r] = weights[g].mul_add(value, sums[g][r]);
                    }
                }
            }
            *sums_of_part = sums;
        }
        let [first_part, second, third, fourth] = parts;
        for (g, sums) in first_part.into_iter().enumerate() {
            for (r, sum) in sums.into_iter().enumerate() {
                let sums = [sum, second[g][r], third[g][r], fourth[g][r]];
                job.finish(group + g, first + r, total(sums));
            }
        }
    }
}

/// Where the product's part of a row of activations begins.
fn floats(job: &Job<'_>, row: usize) -> *const f32 {
    job.x.floats[row * job.x.columns() + job.first_column..].as_ptr()
}

#[inline(always)]
unsafe fn total<L: Lanes>(parts: [L; PARTS]) -> L {
    // SAFETY: the caller's level runs here.
    unsafe { parts[0].add(parts[1]).add(parts[2].add(parts[3])) }
}
