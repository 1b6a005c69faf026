//! Turns gates and what they let through into the input of the next product, without writing either
//! to memory: many rows make more of both than caches hold.

use std::cell::RefCell;

use super::panel::{unpack, with_panel};
use super::source::{PANEL_BLOCK, Unpacked};
use super::{Finish, Job, Out, all_rows, matmul_beside, panel_rows_min};
use crate::activations::{Activations, Blocks};
use crate::compute::Compute;
use crate::lanes::Lanes;
use crate::level::{Level, leveled};
use crate::matrix::Matrix;
use crate::pool::Shares;
use crate::tiles::{BLOCK, GROUP_ROWS, with_format};
use crate::vector::Activation;

/// `out = activation(gate) · up`, where gate and up are products of `x`. `weight`: gate, then up,
/// [2 · size, columns]; `out`: [x.rows(), size]; `staging`: working memory
///
/// The bits are those of a product, and [`Activations::set_gated`] of it.
///
/// # Panics
///
/// If shapes do not agree.
pub fn matmul_gated(
    compute: &Compute,
    x: &Activations,
    weight: &Matrix,
    activation: Activation,
    out: &mut Activations,
    staging: &mut Vec<f32>,
) {
    let (rows, size) = (x.rows(), weight.rows() / 2);
    assert!(weight.rows().is_multiple_of(2), "weight: [2 · size, columns]");
    assert_eq!(weight.columns(), x.columns(), "columns of weights and activations");
    let fuses = compute.kernels.level() == Level::Avx512Vnni
        && !weight.kind().is_float()
        && rows >= panel_rows_min(compute.kernels, weight.kind())
        && size.is_multiple_of(BLOCK);
    if fuses && let Some(blocks) = out.reserve_ints(rows, size) {
        let nowhere = Out { values: Shares::new(&mut []), stride: 0, first: 0, accumulate: false };
        let job = Job::new(compute, x, 0, weight, None, nowhere, &[]);
        compute.pool.run(size / BLOCK, &|block, _| {
            GATED.with_borrow_mut(|gated| {
                gated.resize((rows * BLOCK).max(gated.len()), 0.0);
                let task = Task { job: &job, activation, block, blocks, gated };
                with_panel(&job, |panel| multiply_gated(compute.kernels, task, panel));
            });
        });
        return;
    }
    let length = rows * weight.rows();
    staging.resize(length.max(staging.len()), 0.0);
    let products = &mut staging[..length];
    matmul_beside(compute, x, std::iter::once((weight, None)), products);
    out.set_gated(compute, products, rows, size, activation);
}

thread_local! {
    /// A block of 32 columns of all rows. [rows, 32]
    static GATED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Thirty-two gated columns.
struct Task<'a> {
    job: &'a Job<'a>,
    activation: Activation,
    block: usize,
    blocks: Blocks,
    gated: &'a mut [f32],
}

leveled!(fn multiply_gated(kernels, task: Task<'_>, panel: &mut [u8]) = gated_lanes);

#[inline(always)]
unsafe fn gated_lanes<L: Lanes>(task: Task<'_>, panel: &mut [u8]) {
    let Task { job, activation, block, blocks, gated } = task;
    let bytes = job.weight.blocks() * PANEL_BLOCK;
    // SAFETY: the caller's level runs here; `with_panel` sized the panel.
    with_format!(job.weight.kind(), F => unsafe {
        for half in 0..BLOCK / GROUP_ROWS {
            let gate = block * (BLOCK / GROUP_ROWS) + half;
            let up = gate + job.weight.groups() / 2;
            unpack::<L, F>(job, gate, panel.as_mut_ptr());
            unpack::<L, F>(job, up, panel[bytes..].as_mut_ptr());
            let panels = [Unpacked(panel.as_ptr()), Unpacked(panel[bytes..].as_ptr())];
            let to = ToGate { activation, out: gated[half * GROUP_ROWS..].as_mut_ptr() };
            let ahead = job.ahead([gate, up], 1);
            all_rows::<L, F, Unpacked, 6, 2>(job, panels, ahead, to);
        }
        for (row, gated) in gated.chunks_exact(BLOCK).take(job.x.rows()).enumerate() {
            blocks.of_row(row, block..block + 1).write::<L>(gated);
        }
    });
}

/// Sums of gates, and of what they let through, go here. [rows, 32], the first sixteen
#[derive(Clone, Copy)]
struct ToGate {
    activation: Activation,
    out: *mut f32,
}

impl<L: Lanes> Finish<L> for ToGate {
    #[inline(always)]
    unsafe fn finish<const R: usize, const G: usize>(self, first: usize, sums: [[L; R]; G]) {
        let (gates, ups) = (sums[0], sums[1]);
        for (r, (gate, up)) in gates.into_iter().zip(ups).enumerate() {
            // SAFETY: the caller's level runs here; there is room for all rows.
            unsafe { self.activation.apply(gate, up).store(self.out.add((first + r) * BLOCK)) }
        }
    }
}
