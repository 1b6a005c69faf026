//! Turns float weights and float activations into products.

use std::ops::Range;

use super::Job;
use super::source::call_ahead;
use crate::block::BlockType;
use crate::lanes::Lanes;
use crate::level::leveled;
use crate::tiles::GROUP_ROWS;

leveled!(pub(super) fn multiply_floats(kernels, job: &Job<'_>, groups: Range<usize>) = float_lanes);

/// Float weights against float activations, four partial sums by column modulo 4.
#[inline(always)]
unsafe fn float_lanes<L: Lanes>(job: &Job<'_>, groups: Range<usize>) {
    // SAFETY: the caller's level runs here.
    unsafe {
        for group in groups {
            let mut row = 0;
            while row + 4 <= job.x.rows() {
                float_group::<L, 4>(job, group, row);
                row += 4;
            }
            while row < job.x.rows() {
                float_group::<L, 1>(job, group, row);
                row += 1;
            }
        }
    }
}

#[inline(always)]
unsafe fn float_group<L: Lanes, const R: usize>(job: &Job<'_>, group: usize, first: usize) {
    let tile = job.weight.group(group).as_ptr();
    let (columns, size) = (job.weight.columns(), job.weight.kind().block_bytes());
    let x: [*const f32; R] = std::array::from_fn(|r| {
        job.x.floats[(first + r) * job.x.columns() + job.first_column..].as_ptr()
    });
    // SAFETY: the caller's level runs here; tile and rows hold `columns` columns.
    unsafe {
        let mut sums = [[L::splat(0.0); 4]; R];
        for column in 0..columns {
            let weights = match job.weight.kind() {
                BlockType::F32 => L::load(tile.cast::<f32>().add(column * GROUP_ROWS)),
                BlockType::F16 => L::load_f16(tile.cast::<u16>().add(column * GROUP_ROWS)),
                _ => L::load_bf16(tile.cast::<u16>().add(column * GROUP_ROWS)),
            };
            call_ahead(tile.wrapping_add(column * GROUP_ROWS * size), GROUP_ROWS * size);
            for r in 0..R {
                let sum = &mut sums[r][column % 4];
                *sum = weights.mul_add(L::splat(*x[r].add(column)), *sum);
            }
        }
        for (r, sums) in sums.into_iter().enumerate() {
            let sum = sums[0].add(sums[1]).add(sums[2].add(sums[3]));
            job.finish(group, first + r, sum);
        }
    }
}
