//! Turns rows of floats into rows of floats: norms and activation functions.

use crate::compute::Compute;
use crate::lanes::Lanes;
use crate::level::leveled;
use crate::pool::Shares;

/// Floats above which a loop over rows is worth more than one thread: about 2 µs of work each.
const PARALLEL_MIN: usize = 8192;

/// Calls `one` for each row of so many floats, on all threads where that is worth it.
fn each_row(compute: &Compute, rows: usize, width: usize, one: impl Fn(usize) + Sync) {
    if rows * width < PARALLEL_MIN {
        (0..rows).for_each(one);
    } else {
        compute.pool.run(rows, &|row, _| one(row));
    }
}

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
    each_row(compute, rows, columns, one);
}

/// `out += x / rms(x) · weight`, row by row. `x`, `out`: [rows, columns], `weight`: [columns]
///
/// # Panics
///
/// If a slice is not as long as its shape says.
pub fn add_rms_norm(
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
        add_normalised_row(compute.kernels, &x[row * columns..][..columns], weight, eps, out);
    };
    each_row(compute, rows, columns, one);
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
    each_row(compute, rows, heads * head_size, one);
}

/// `x = (x - mean) / deviation · weight + bias`, row by row, in place. `x`: [rows, columns],
/// `weight`, `bias`: [columns]
///
/// Layer normalisation of Ba, Kiros and Hinton (2016).
///
/// # Panics
///
/// If a slice is not as long as its shape says.
pub fn layer_norm(
    compute: &Compute,
    x: &mut [f32],
    rows: usize,
    columns: usize,
    weight: &[f32],
    bias: &[f32],
    eps: f32,
) {
    assert_eq!(x.len(), rows * columns, "x: [rows, columns]");
    assert_eq!(weight.len(), columns, "weight: [columns]");
    assert_eq!(bias.len(), columns, "bias: [columns]");
    let shares = Shares::new(x);
    let one = |row: usize| {
        // SAFETY: each row writes its own part.
        let x = unsafe { shares.slice(row * columns, columns) };
        centre_in_place(compute.kernels, x, weight, bias, eps);
    };
    each_row(compute, rows, columns, one);
}

leveled!(
    fn centre_in_place(kernels, x: &mut [f32], weight: &[f32], bias: &[f32], eps: f32) = centre
);

/// Layer normalisation of one row; sums are made in sixteen lanes, then as a tree.
#[inline(always)]
unsafe fn centre<L: Lanes>(x: &mut [f32], weight: &[f32], bias: &[f32], eps: f32) {
    let length = x.len();
    let at = x.as_mut_ptr();
    // SAFETY: the caller's level runs here; the three slices have the same length.
    unsafe {
        let mut sums = L::splat(0.0);
        for start in (0..length).step_by(16) {
            sums = sums.add(L::load_first(at.add(start), (length - start).min(16)));
        }
        let means = [sums.sum() / length as f32; 16];
        let mut squares = L::splat(0.0);
        for start in (0..length).step_by(16) {
            let count = (length - start).min(16);
            // Lanes behind the row's end hold 0 - 0.
            let mean = L::load_first(means.as_ptr(), count);
            let lanes = L::load_first(at.add(start), count).sub(mean);
            lanes.store_first(at.add(start), count);
            squares = lanes.mul_add(lanes, squares);
        }
        let factor = L::splat(1.0 / (squares.sum() / length as f32 + eps).sqrt());
        for start in (0..length).step_by(16) {
            let count = (length - start).min(16);
            let weight = L::load_first(weight.as_ptr().add(start), count);
            let bias = L::load_first(bias.as_ptr().add(start), count);
            let lanes = L::load_first(at.add(start), count).mul(factor);
            lanes.mul_add(weight, bias).store_first(at.add(start), count);
        }
    }
}

leveled!(
    fn normalise_row(kernels, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) = normalise
);
leveled!(
    fn add_normalised_row(kernels, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) =
        add_normalised
);

#[inline(always)]
unsafe fn add_normalised<L: Lanes>(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    assert!(x.len() == weight.len() && x.len() == out.len(), "rows of one length");
    // SAFETY: the caller's level runs here; lengths agree.
    unsafe {
        let factor = L::splat(rms_factor::<L>(x, eps));
        for start in (0..x.len()).step_by(16) {
            let count = (x.len() - start).min(16);
            let weight = L::load_first(weight.as_ptr().add(start), count);
            let lanes = L::load_first(x.as_ptr().add(start), count).mul(factor).mul(weight);
            let out = out.as_mut_ptr().add(start);
            L::load_first(out, count).add(lanes).store_first(out, count);
        }
    }
}

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

/// x · Φ(x), Φ the normal distribution (Hendrycks and Gimpel 2016), to about 4e-7 of itself.
///
/// With e = erfc(|x| / √2), Φ is 1 - e/2 above 0 and e/2 below, so the product is
/// max(x, 0) - |x| · e/2. The complementary error function is Numerical Recipes' `erfcc`, a
/// Chebyshev fit of its logarithm in t = 1 / (1 + z/2) with a relative error below 1.2e-7.
#[inline(always)]
pub(crate) unsafe fn gelu<L: Lanes>(x: L) -> L {
    const FIT: [f32; 9] = [
        -0.822_152_23,
        1.488_515_9,
        -1.135_204,
        0.278_868_07,
        -0.186_288_06,
        0.096_784_18,
        0.374_091_96,
        1.000_023_7,
        -1.265_512_2,
    ];
    // SAFETY: the caller's level runs here.
    unsafe {
        let z = x.abs().mul(L::splat(std::f32::consts::FRAC_1_SQRT_2));
        let t = L::splat(1.0).div(z.mul_add(L::splat(0.5), L::splat(1.0)));
        let mut logarithm = L::splat(0.170_872_77);
        for coefficient in FIT {
            logarithm = logarithm.mul_add(t, L::splat(coefficient));
        }
        let half = t.mul(L::splat(0.5));
        let tail = half.mul(logarithm.sub(z.mul(z)).exp());
        // A NaN, the second operand, passes.
        L::splat(0.0).max(x).sub(x.abs().mul(tail))
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
