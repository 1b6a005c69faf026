//! Turns the parts of segments into their sum, and the sum into outputs.
//!
//! A part is the softmax of one segment that is not yet divided: for each query the greatest score,
//! the sum of the weights e^(score - greatest), and the sums of weight times value.

use crate::kv::KvShape;
use crate::lanes::Lanes;
use crate::level::leveled;

/// Most queries (rows times heads of a group) in a tile: each value is read from the cache and
/// rounded once for all of them. Their scores, 64 KiB, pass through the second cache.
pub(super) const QUERIES_MAX: usize = 64;

/// Floats of a part: [64] greatest scores, [64] sums of weights, [queries][value_stride] outputs.
pub(super) fn part_length(queries: usize, shape: KvShape) -> usize {
    2 * QUERIES_MAX + queries * shape.value_stride()
}

/// Copies what some queries, from `first` on, have in the part of more into one of their own.
pub(super) fn pick(from: &[f32], first: usize, queries: usize, to: &mut [f32]) {
    let stride = (to.len() - 2 * QUERIES_MAX) / queries;
    for start in [0, QUERIES_MAX] {
        to[start..start + queries].copy_from_slice(&from[start + first..][..queries]);
    }
    let outputs = &from[2 * QUERIES_MAX + first * stride..][..queries * stride];
    to[2 * QUERIES_MAX..].copy_from_slice(outputs);
}

leveled!(
    /// Merges the part of a later segment into `total`, both as [`part_length`] says.
    pub(super) fn merge(kernels, total: &mut [f32], part: &[f32], queries: usize) = merge_lanes
);

leveled!(
    /// Divides the outputs of `total` by their sums of weights, where each query's sink takes part.
    pub(super) fn normalise(
        kernels,
        total: &mut [f32],
        queries: usize,
        sinks: Option<&[f32; QUERIES_MAX]>,
    ) = normalise_lanes
);

/// # Safety
///
/// The processor has the instructions of `V`.
#[inline(always)]
unsafe fn merge_lanes<V: Lanes>(total: &mut [f32], part: &[f32], queries: usize) {
    assert!(queries <= QUERIES_MAX && total.len() == part.len());
    let (greatest, rest) = total.split_at_mut(QUERIES_MAX);
    let (sums, outputs) = rest.split_at_mut(QUERIES_MAX);
    let (part_greatest, part_rest) = part.split_at(QUERIES_MAX);
    let (part_sums, part_outputs) = part_rest.split_at(QUERIES_MAX);
    let mut keep = [0.0; QUERIES_MAX];
    let mut take = [0.0; QUERIES_MAX];
    for first in (0..queries).step_by(16) {
        // SAFETY: each of these holds QUERIES_MAX floats, a multiple of 16 above `first`.
        unsafe {
            let (old, new) =
                (V::load(&raw const greatest[first]), V::load(&raw const part_greatest[first]));
            let both = old.max(new);
            let (old, new) = (old.sub(both).exp(), new.sub(both).exp());
            let sum = V::load(&raw const sums[first]).mul(old);
            new.mul_add(V::load(&raw const part_sums[first]), sum).store(&raw mut sums[first]);
            both.store(&raw mut greatest[first]);
            old.store(&raw mut keep[first]);
            new.store(&raw mut take[first]);
        }
    }
    let stride = outputs.len() / queries;
    for query in 0..queries {
        let outputs = outputs[query * stride..(query + 1) * stride].chunks_exact_mut(16);
        let parts = part_outputs[query * stride..].chunks_exact(16);
        for (output, part) in outputs.zip(parts) {
            // SAFETY: chunks of 16 floats.
            unsafe {
                let kept = V::load(output.as_ptr()).mul(V::splat(keep[query]));
                let part = V::load(part.as_ptr());
                part.mul_add(V::splat(take[query]), kept).store(output.as_mut_ptr());
            }
        }
    }
}

/// # Safety
///
/// The processor has the instructions of `V`.
#[inline(always)]
unsafe fn normalise_lanes<V: Lanes>(
    total: &mut [f32],
    queries: usize,
    sinks: Option<&[f32; QUERIES_MAX]>,
) {
    assert!(queries <= QUERIES_MAX);
    let (greatest, rest) = total.split_at_mut(QUERIES_MAX);
    let (sums, outputs) = rest.split_at_mut(QUERIES_MAX);
    let mut factors = [0.0; QUERIES_MAX];
    for first in (0..queries).step_by(16) {
        // SAFETY: each of these holds QUERIES_MAX floats, a multiple of 16 above `first`.
        unsafe {
            let sum = V::load(&raw const sums[first]);
            let factor = match sinks {
                None => V::splat(1.0).div(sum),
                Some(sinks) => {
                    let old = V::load(&raw const greatest[first]);
                    let sink = V::load(&raw const sinks[first]);
                    let both = old.max(sink);
                    let keep = old.sub(both).exp();
                    keep.div(keep.mul_add(sum, sink.sub(both).exp()))
                }
            };
            factor.store(&raw mut factors[first]);
        }
    }
    let stride = outputs.len() / queries;
    for (query, factor) in factors.iter().enumerate().take(queries) {
        for output in outputs[query * stride..(query + 1) * stride].chunks_exact_mut(16) {
            // SAFETY: a chunk of 16 floats.
            unsafe {
                V::load(output.as_ptr()).mul(V::splat(*factor)).store(output.as_mut_ptr());
            }
        }
    }
}
