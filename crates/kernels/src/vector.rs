//! Turns rows of floats into rows of floats: norms and activation functions.

use crate::compute::Compute;
use crate::lanes::Lanes;
use crate::level::leveled;
use crate::pool::Shares;

/// Floats above which a loop over rows is worth more than one thread: about 2 µs of work each.
const PARALLEL_MIN: usize = 8192;

/// `out = x / rms(x) · weight`, row by row. `x`, `out`: [rows, columns], `weight`: [columns]
///
/// RMSNorm of Zhang and Sennrich (2019).
///
/// # Panics
///
/// If a slice is not as long as its shape says.
pub fn rms_norm(
    compute: &Compute,
    x: &[f32],
    rows: usize,
    columns: usize,
    weight: &[f32],
    eps: f32,
    out: &mut [f32],
) {
    assert_eq!(x.len(), rows * columns, "x: [rows, columns]");
    assert_eq!(out.len(), rows * columns, "out: [rows, columns]");
    assert_eq!(weight.len(), columns, "weight: [columns]");
    let shares = Shares::new(out);
    let one = |row: usize| {
        // SAFETY: each row writes its own part.
        let out = unsafe { shares.slice(row * columns, columns) };
        normalise_row(compute.kernels, &x[row * columns..][..columns], weight, eps, out);
    };
    if rows * columns < PARALLEL_MIN {
        (0..rows).for_each(one);
    } else {
        compute.pool.run(rows, &|row, _| one(row));
    }
}

/// RMSNorm of each head in place: `heads` heads of `head_size` at the start of each row of `x`.
/// `x`: [rows, stride], `weight`: [head_size]
///
/// # Panics
///
/// If a slice is not as long as its shape says.
pub fn rms_norm_heads(
    compute: &Compute,
    x: &mut [f32],
    rows: usize,
    stride: usize,
    heads: usize,
    head_size: usize,
    weight: &[f32],
    eps: f32,
) {
    assert!(heads * head_size <= stride, "the heads fit into the row");
    assert!(rows == 0 || x.len() >= (rows - 1) * stride + heads * head_size, "x: [rows, stride]");
    assert_eq!(weight.len(), head_size, "weight: [head_size]");
    let shares = Shares::new(x);
    let one = |row: usize| {
        for head in 0..heads {
            // SAFETY: each row writes its own part.
            let part = unsafe { shares.slice(row * stride + head * head_size, head_size) };
            normalise_in_place(compute.kernels, part, weight, eps);
        }
    };
    if rows * heads * head_size < PARALLEL_MIN {
        (0..rows).for_each(one);
    } else {
        compute.pool.run(rows, &|row, _| one(row));
    }
}

leveled!(
    fn normalise_row(kernels, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) = normalise
);
leveled!(fn normalise_in_place(kernels, x: &mut [f32], weight: &[f32], eps: f32) = normalise_same);

#[inline(always)]
unsafe fn normalise_same<L: Lanes>(x: &mut [f32], weight: &[f32], eps: f32) {
    // SAFETY: the caller's level runs here; both slices have the same length.
    unsafe {
        let factor = rms_factor::<L>(x, eps);
        scale::<L>(x.as_ptr(), weight, factor, x.as_mut_ptr());
    }
}

/// RMSNorm of one row, at the level of `L`.
#[inline(always)]
pub(crate) unsafe fn normalise<L: Lanes>(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    assert!(x.len() == weight.len() && x.len() == out.len(), "rows of one length");
    // SAFETY: the caller's level runs here; lengths agree.
    unsafe {
        let factor = rms_factor::<L>(x, eps);
        scale::<L>(x.as_ptr(), weight, factor, out.as_mut_ptr());
    }
}

/// 1 / √(mean of squares + eps); the squares are summed in sixteen lanes, then as a tree.
#[inline(always)]
unsafe fn rms_factor<L: Lanes>(x: &[f32], eps: f32) -> f32 {
    // SAFETY: the caller's level runs here; reads stay inside `x`.
    unsafe {
        let mut squares = L::splat(0.0);
        for start in (0..x.len()).step_by(16) {
            let lanes = L::load_first(x.as_ptr().add(start), (x.len() - start).min(16));
            squares = lanes.mul_add(lanes, squares);
        }
        1.0 / (squares.sum() / x.len() as f32 + eps).sqrt()
    }
}

#[inline(always)]
unsafe fn scale<L: Lanes>(x: *const f32, weight: &[f32], factor: f32, out: *mut f32) {
    // SAFETY: the caller's level runs here; `x` and `out` are as long as `weight`.
    unsafe {
        let factor = L::splat(factor);
        for start in (0..weight.len()).step_by(16) {
            let count = (weight.len() - start).min(16);
            let weight = L::load_first(weight.as_ptr().add(start), count);
            let lanes = L::load_first(x.add(start), count);
            lanes.mul(factor).mul(weight).store_first(out.add(start), count);
        }
    }
}

/// What a gate does to the numbers that it lets through: `up` comes out as a product with some
/// function of `gate`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// `gate · sigmoid(gate) · up` (SwiGLU, Shazeer 2020).
    Silu,
    /// `gelu(gate) · up` (GeGLU), the normal distribution by its approximation with tanh
    /// (Hendrycks and Gimpel 2016).
    GeluTanh,
    /// `g · sigmoid(alpha · g) · (u + 1)`, where `g` is the gate, at most `limit`, and `u` is
    /// `up`, from -`limit` to `limit` (gpt-oss).
    ClampedSwiglu {
        /// Largest gate, and largest magnitude of `up`.
        limit: f32,
        /// Steepness of the sigmoid.
        alpha: f32,
    },
}

impl Activation {
    /// Sixteen gated numbers.
    #[inline(always)]
    pub(crate) unsafe fn apply<L: Lanes>(self, gate: L, up: L) -> L {
        // SAFETY: the caller's level runs here.
        unsafe {
            match self {
                Activation::Silu => times_sigmoid(gate, gate).mul(up),
                Activation::GeluTanh => {
                    // (1 + tanh(y)) / 2 = sigmoid(2 y), y = √(2/π) · (x + 0.044715 x³).
                    let slope = L::splat(0.071_354_814);
                    let twice = slope.mul_add(gate.mul(gate), L::splat(1.595_769_2)).mul(gate);
                    times_sigmoid(gate, twice).mul(up)
                }
                Activation::ClampedSwiglu { limit, alpha } => {
                    // A NaN is the second operand, and passes.
                    let gate = L::splat(limit).min(gate);
                    let up = L::splat(-limit).max(L::splat(limit).min(up));
                    let gated = times_sigmoid(gate, gate.mul(L::splat(alpha)));
                    gated.mul(up.add(L::splat(1.0)))
                }
            }
        }
    }
}

/// x · sigmoid(y), but 0 where y < -87: there the exponential ends.
#[inline(always)]
pub(crate) unsafe fn times_sigmoid<L: Lanes>(x: L, y: L) -> L {
    // SAFETY: the caller's level runs here.
    unsafe {
        let x = x.zero_below(y, L::splat(-87.0));
        x.div(L::splat(1.0).add(L::splat(0.0).sub(y).exp()))
    }
}

/// ln(1 + e^x), to about 2 ulp; x itself where that is as good, and 0 below -87.
///
/// max(x, 0) + ln(1 + u), u = e^-|x| at most 1: ln(1 + u) = 2 artanh(z), z = u / (2 + u) at most a
/// third, and so few terms of its series are enough: all of one sign, nothing cancels.
#[inline(always)]
pub(crate) unsafe fn softplus<L: Lanes>(x: L) -> L {
    // SAFETY: the caller's level runs here.
    unsafe {
        let u = L::splat(0.0).sub(x.abs()).exp();
        let z = u.div(L::splat(2.0).add(u));
        let square = z.mul(z);
        let mut series = L::splat(1.0 / 15.0);
        for divisor in [13.0, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0] {
            series = series.mul_add(square, L::splat(1.0 / divisor));
        }
        // A NaN, the second operand, passes.
        z.add(z).mul_add(series, L::splat(0.0).max(x))
    }
}
