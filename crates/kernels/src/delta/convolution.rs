//! Turns the inputs of some tokens into a head of queries, keys or values, and into gates.

use crate::lanes::Lanes;
use crate::level::leveled;
use crate::vector::{softplus, times_sigmoid};

/// Added to the sum of a head's squares before it becomes a length of 1.
const LENGTH_EPS: f32 = 1e-6;

leveled!(
    /// One head of one token: SiLU of the causal convolution, then, for queries and keys, made
    /// `length` long. `taps`: [kernel][width], the inputs of the tokens up to this one; `weights`:
    /// [kernel][width], `stride` floats from one row to the next; `out`: [width].
    pub(super) fn convolve(
        kernels,
        taps: &[&[f32]],
        weights: &[f32],
        stride: usize,
        length: Option<f32>,
        out: &mut [f32],
    ) = convolve_lanes
);

/// Each channel is one chain over the taps, the oldest first; squares are summed in sixteen lanes,
/// then as a tree.
///
/// # Safety
///
/// The processor has the instructions of `L`.
#[inline(always)]
unsafe fn convolve_lanes<L: Lanes>(
    taps: &[&[f32]],
    weights: &[f32],
    stride: usize,
    length: Option<f32>,
    out: &mut [f32],
) {
    let width = out.len();
    assert!(taps.iter().all(|tap| tap.len() == width), "taps: [kernel][width]");
    assert!(weights.len() >= (taps.len() - 1) * stride + width, "weights: [kernel][width]");
    // SAFETY: the caller's promise; the slices hold `width` numbers of each tap.
    unsafe {
        let mut squares = L::splat(0.0);
        for start in (0..width).step_by(16) {
            let count = (width - start).min(16);
            let mut sum = L::splat(0.0);
            for (number, tap) in taps.iter().enumerate() {
                let weight = L::load_first(weights.as_ptr().add(number * stride + start), count);
                sum = L::load_first(tap.as_ptr().add(start), count).mul_add(weight, sum);
            }
            let result = times_sigmoid(sum, sum);
            squares = result.mul_add(result, squares);
            result.store_first(out.as_mut_ptr().add(start), count);
        }
        let Some(length) = length else { return };
        let factor = L::splat(length / (squares.sum() + LENGTH_EPS).sqrt());
        for start in (0..width).step_by(16) {
            let count = (width - start).min(16);
            let at = out.as_mut_ptr().add(start);
            L::load_first(at, count).mul(factor).store_first(at, count);
        }
    }
}

leveled!(
    /// Of each head of one token, which part of its state it keeps, e^(decay · softplus(a +
    /// dt_bias)), and which part of what it reads it writes, sigmoid(b). All: [heads]
    pub(super) fn gates(
        kernels,
        a: &[f32],
        b: &[f32],
        decay: &[f32],
        dt_bias: &[f32],
        keep: &mut [f32],
        write: &mut [f32],
    ) = gates_lanes
);

/// # Safety
///
/// The processor has the instructions of `L`.
#[inline(always)]
unsafe fn gates_lanes<L: Lanes>(
    a: &[f32],
    b: &[f32],
    decay: &[f32],
    dt_bias: &[f32],
    keep: &mut [f32],
    write: &mut [f32],
) {
    let heads = keep.len();
    assert!([a, b, decay, dt_bias, write].iter().all(|x| x.len() == heads), "all: [heads]");
    for start in (0..heads).step_by(16) {
        let count = (heads - start).min(16);
        // SAFETY: the caller's promise; `count` numbers are left of each slice.
        unsafe {
            let load = |x: &[f32]| L::load_first(x.as_ptr().add(start), count);
            let step = softplus(load(a).add(load(dt_bias)));
            load(decay).mul(step).exp().store_first(keep.as_mut_ptr().add(start), count);
            let write = write.as_mut_ptr().add(start);
            times_sigmoid(L::splat(1.0), load(b)).store_first(write, count);
        }
    }
}
