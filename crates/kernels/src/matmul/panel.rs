//! Turns many rows into products: weights are unpacked once, into a panel that stays in the core's
//! own cache, and all rows pass over it.

use std::cell::RefCell;
use std::ops::Range;

use super::source::{Block, PANEL_BLOCK, Packed, Source, Unpacked};
use super::{Job, PANEL_GROUPS, ToOut, all_rows};
use crate::activations::CORRECTED_BIAS;
use crate::lanes::Lanes;
use crate::level::{Kernels, leveled};
use crate::tiles::{Format, with_format};

thread_local! {
    /// The panel of the running task: it stays in the core's own cache.
    static PANEL: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

pub(super) fn multiply_panel(kernels: &Kernels, job: &Job<'_>, groups: Range<usize>) {
    with_panel(job, |panel| multiply_panel_at(kernels, job, groups, panel));
}

/// Gives room for two groups of the job's weights, unpacked.
pub(super) fn with_panel(job: &Job<'_>, work: impl FnOnce(&mut [u8])) {
    let bytes = PANEL_GROUPS * job.weight.blocks() * PANEL_BLOCK + 64;
    PANEL.with_borrow_mut(|panel| {
        panel.resize(bytes.max(panel.len()), 0);
        let offset = panel.as_ptr().align_offset(64);
        work(&mut panel[offset..]);
    });
}

leveled!(fn multiply_panel_at(
    kernels, job: &Job<'_>, groups: Range<usize>, panel: &mut [u8]
) = panel_lanes);

/// Many rows: one or two groups are unpacked into the panel, then all rows pass over it.
#[inline(always)]
unsafe fn panel_lanes<L: Lanes>(job: &Job<'_>, groups: Range<usize>, panel: &mut [u8]) {
    let bytes = job.weight.blocks() * PANEL_BLOCK;
    // SAFETY: the caller's level runs here; `multiply_panel` sized the panel.
    with_format!(job.weight.kind(), F => unsafe {
        for (place, group) in groups.clone().enumerate() {
            unpack::<L, F>(job, group, panel[place * bytes..].as_mut_ptr());
        }
        if groups.len() == PANEL_GROUPS && L::MANY_REGISTERS {
            let panels = [Unpacked(panel.as_ptr()), Unpacked(panel[bytes..].as_ptr())];
            let out = ToOut { job, group: groups.start };
            let ahead = job.ahead([groups.start, groups.start + 1], PANEL_GROUPS);
            all_rows::<L, F, Unpacked, 6, 2>(job, panels, ahead, out);
        } else {
            for (place, group) in groups.enumerate() {
                let panel = Unpacked(panel[place * bytes..].as_ptr());
                all_rows::<L, F, Unpacked, 4, 1>(job, [panel], None, ToOut { job, group });
            }
        }
    });
}

/// Unpacks a group.
#[inline(always)]
pub(super) unsafe fn unpack<L: Lanes, F: Format>(job: &Job<'_>, group: usize, panel: *mut u8) {
    let packed = Packed(job.weight.group(group).as_ptr());
    // SAFETY: the caller's level runs here; the panel holds every block.
    unsafe {
        for unit in 0..job.weight.blocks() / F::BLOCKS {
            for place in 0..F::BLOCKS {
                let at = Block { unit, place };
                let to = panel.add(at.number::<F>() * PANEL_BLOCK);
                for step in 0..8 {
                    let mut level = packed.level::<L, F>(at, step);
                    if Unpacked::bias::<L, F>() != F::BIAS {
                        level = L::add_to_bytes(level, (CORRECTED_BIAS - F::BIAS) as u8);
                    }
                    L::store_bytes(level, to.add(64 * step));
                }
                let scales = packed.scales::<L, F>(at);
                scales[0].store(to.add(512).cast());
                if F::HALVES {
                    scales[1].store(to.add(576).cast());
                }
                if F::MINIMA {
                    let minima = packed.minima::<L, F>(at);
                    minima[0].store(to.add(640).cast());
                    if F::HALVES {
                        minima[1].store(to.add(704).cast());
                    }
                }
            }
        }
    }
}
