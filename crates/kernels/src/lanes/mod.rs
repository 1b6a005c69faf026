//! Turns sixteen lanes of numbers into sixteen lanes of numbers: one trait, one type per level.
//!
//! Every kernel above is written once over [`Lanes`]; a level is an implementation of the trait and
//! nothing else. All levels do the same operations in the same order, so they agree bit for bit.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod scalar;
#[cfg(target_arch = "x86_64")]
mod x86;

/// Sixteen f32 lanes, sixteen i32 lanes and sixty-four byte lanes of one instruction-set level.
///
/// # Safety
///
/// Every method may be called only on a processor that has the level's instructions, and with
/// pointers valid for the lanes named. The methods are `inline(always)`, so that they melt into the
/// `#[target_feature]` function that calls them.
pub(crate) trait Lanes: Copy {
    /// Sixteen i32.
    type Ints: Copy;
    /// Sixty-four u8.
    type Bytes: Copy;
    /// Sums of dot products, as narrow as the level can keep them.
    type Chain: Copy;

    /// How many dot products one chain takes, by the bits of the levels.
    const CHAIN_STEPS: [usize; 9];

    /// Whether there are registers enough for a tile of six rows times two groups.
    const MANY_REGISTERS: bool;

    /// Whether levels of eight bits cost no more than narrower ones: then all unpacked ones with a
    /// bias have that of signed bytes, for which activations bring the correction.
    const WIDE_PANELS: bool;

    /// All lanes `value`.
    unsafe fn splat(value: f32) -> Self;
    /// Sixteen f32 from memory.
    unsafe fn load(from: *const f32) -> Self;
    /// The first `count` (≤ 16) f32 from memory, the rest 0.
    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> Self {
        // SAFETY: as for the caller; `lanes` holds sixteen f32.
        unsafe {
            if count == 16 {
                return Self::load(from);
            }
            let mut lanes = [0.0f32; 16];
            for (i, lane) in lanes.iter_mut().enumerate().take(count) {
                *lane = *from.add(i);
            }
            Self::load(lanes.as_ptr())
        }
    }
    /// Sixteen f16 from memory, widened.
    unsafe fn load_f16(from: *const u16) -> Self;
    /// Thirty-two bf16 from memory, widened: those at even places, and those at odd ones.
    unsafe fn load_bf16_pairs(from: *const u32) -> (Self, Self);
    /// Sixteen i8 from memory, converted.
    unsafe fn load_i8(from: *const i8) -> Self;
    /// Sixteen u8 from memory, converted.
    unsafe fn load_u8(from: *const u8) -> Self;
    /// The low nibbles of sixteen bytes from memory, converted.
    unsafe fn load_low_nibbles(from: *const u8) -> Self;
    /// The high nibbles of sixteen bytes from memory, converted.
    unsafe fn load_high_nibbles(from: *const u8) -> Self;
    /// Half of sixteen powers of two (e8m0: 2^(byte − 127)) from memory; exact, the least two
    /// subnormal.
    unsafe fn load_half_e8m0(from: *const u8) -> Self;
    /// Sixteen f32 to memory.
    unsafe fn store(self, to: *mut f32);
    /// The first `count` (≤ 16) f32 to memory.
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize) {
        // SAFETY: as for the caller.
        unsafe {
            if count == 16 {
                return self.store(to);
            }
            for (i, lane) in self.to_array().into_iter().enumerate().take(count) {
                *to.add(i) = lane;
            }
        }
    }
    /// Sixteen f16 to memory, rounded to nearest even.
    unsafe fn store_f16(self, to: *mut u16);
    /// Sixteen i8 to memory: lanes rounded to nearest even; they must fit. Gives their sum.
    unsafe fn store_rounded_i8(self, to: *mut i8) -> i32;
    /// `self + other`.
    unsafe fn add(self, other: Self) -> Self;
    /// `self - other`.
    unsafe fn sub(self, other: Self) -> Self;
    /// `self * other`.
    unsafe fn mul(self, other: Self) -> Self;
    /// `self / other`.
    unsafe fn div(self, other: Self) -> Self;
    /// `self * factor + addend`, rounded once.
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self;
    /// The greater of each lane; `other` where one is NaN.
    unsafe fn max(self, other: Self) -> Self;
    /// The lesser of each lane; `other` where one is NaN.
    unsafe fn min(self, other: Self) -> Self;
    /// Absolute values.
    unsafe fn abs(self) -> Self;
    /// Lanes rounded to the nearest integer, ties to even; |lane| < 2^22.
    unsafe fn round(self) -> Self;
    /// Lanes rounded to the nearest number of BF16, ties to even; none is subnormal.
    unsafe fn round_to_bf16(self) -> Self;
    /// 2^lane for integral lanes in -126..=127, by their exponent bits.
    unsafe fn exp2_integral(self) -> Self;
    /// `self` · 2^`n`, for integral `n` in -126..=127 and normal results.
    #[inline(always)]
    unsafe fn times_exp2(self, n: Self) -> Self {
        // SAFETY: as for the caller.
        unsafe { self.mul(n.exp2_integral()) }
    }
    /// Sixteen i32 converted.
    unsafe fn from_ints(ints: Self::Ints) -> Self;

    /// All lanes `value`.
    unsafe fn splat_int(value: i32) -> Self::Ints;
    /// Lane sums.
    unsafe fn add_ints(a: Self::Ints, b: Self::Ints) -> Self::Ints;

    /// An empty chain. Chains end as Σ (level − bias)·value, and `correction` is −bias · Σ values:
    /// it goes to both ends of the chain, which decides where it is cheapest.
    ///
    /// `WIDE`: levels have eight bits and a bias of 128; others have at most six.
    unsafe fn begin_chain<const WIDE: bool>(correction: i32) -> Self::Chain;
    /// Lane i: chain + Σ₄ levels[4i..4i+4]·values[0..4], levels unsigned bytes, values signed ones
    /// from -127 to 127.
    unsafe fn dot4<const WIDE: bool>(
        chain: Self::Chain,
        levels: Self::Bytes,
        values: i32,
    ) -> Self::Chain;
    /// What the chain sums up to.
    unsafe fn end_chain<const WIDE: bool>(chain: Self::Chain, correction: i32) -> Self::Ints;

    /// Sixty-four bytes from memory.
    unsafe fn load_bytes(from: *const u8) -> Self::Bytes;
    /// Sixty-four bytes to memory.
    unsafe fn store_bytes(bytes: Self::Bytes, to: *mut u8);
    /// `bytes + value`, wrapping. Only where there are [wide panels](Lanes::WIDE_PANELS).
    unsafe fn add_to_bytes(bytes: Self::Bytes, value: u8) -> Self::Bytes;
    /// The low four bits of each byte.
    unsafe fn low_nibbles(bytes: Self::Bytes) -> Self::Bytes;
    /// The high four bits of each byte.
    unsafe fn high_nibbles(bytes: Self::Bytes) -> Self::Bytes;
    /// `bytes | 16` where the mask has a bit.
    unsafe fn or_bit4(bytes: Self::Bytes, mask: u64) -> Self::Bytes;
    /// `bytes | (((pairs >> shift) & 3) << 4)`, shift 0, 2, 4 or 6.
    unsafe fn or_pair45(bytes: Self::Bytes, pairs: Self::Bytes, shift: u32) -> Self::Bytes;
    /// `(bytes >> shift) & 3`, shift 0, 2, 4 or 6.
    unsafe fn pairs(bytes: Self::Bytes, shift: u32) -> Self::Bytes;
    /// `bytes | (((bits >> shift) & 1) << 2)`, shift 0 to 7.
    unsafe fn or_bit2(bytes: Self::Bytes, bits: Self::Bytes, shift: u32) -> Self::Bytes;
    /// `table[byte]` of each byte; they are below 16.
    unsafe fn look_up(table: &[u8; 16], bytes: Self::Bytes) -> Self::Bytes;

    /// The lanes as an array, lane 0 first.
    #[inline(always)]
    unsafe fn to_array(self) -> [f32; 16] {
        let mut lanes = [0.0; 16];
        // SAFETY: `lanes` holds sixteen f32.
        unsafe { self.store(lanes.as_mut_ptr()) };
        lanes
    }

    /// The sum of the lanes, as a tree of halves: the same order on every level.
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        // SAFETY: as for the caller.
        let mut lanes = unsafe { self.to_array() };
        for width in [8, 4, 2, 1] {
            for lane in 0..width {
                lanes[lane] += lanes[lane + width];
            }
        }
        lanes[0]
    }

    /// The greatest lane.
    #[inline(always)]
    unsafe fn greatest(self) -> f32 {
        // SAFETY: as for the caller.
        let mut lanes = unsafe { self.to_array() };
        for width in [8, 4, 2, 1] {
            for lane in 0..width {
                let other = lanes[lane + width];
                lanes[lane] = if other > lanes[lane] { other } else { lanes[lane] };
            }
        }
        lanes[0]
    }

    /// e^lane, to about 1 ulp, for lanes ≤ 88; 0 below -87.
    #[inline(always)]
    unsafe fn exp(self) -> Self {
        // SAFETY: as for the caller.
        unsafe { self.exp_above(-87.0) }
    }

    /// e^lane, to about 1 ulp, for lanes ≤ 88; 0 below `floor`, -87 or more.
    ///
    /// Cephes' method: x = n·ln 2 + r, a polynomial of degree 6 in r.
    #[inline(always)]
    unsafe fn exp_above(self, floor: f32) -> Self {
        // SAFETY: as for the caller.
        unsafe {
            let floor = Self::splat(floor);
            // A NaN, the second operand of both, passes.
            let x = Self::splat(88.0).min(floor.max(self));
            let n = x.mul(Self::splat(std::f32::consts::LOG2_E)).round();
            // ln 2 in two parts, so that the reduction is exact to beyond f32.
            let r = n.mul_add(Self::splat(-0.693_359_4), x);
            let r = n.mul_add(Self::splat(2.121_944_4e-4), r);
            let mut p = Self::splat(1.987_569_1e-4);
            p = p.mul_add(r, Self::splat(1.398_199_9e-3));
            p = p.mul_add(r, Self::splat(8.333_452e-3));
            p = p.mul_add(r, Self::splat(4.166_579_6e-2));
            p = p.mul_add(r, Self::splat(1.666_666_5e-1));
            p = p.mul_add(r, Self::splat(0.5));
            let y = p.mul_add(r.mul(r), r).add(Self::splat(1.0));
            let result = y.mul(n.exp2_integral());
            result.zero_below(self, floor)
        }
    }

    /// e^lane, to 2^-18 of it and exact for 0, for lanes ≤ 0; 0 below `floor`, -87 or more. Enough
    /// for what is rounded to BF16, at half the cost of [`Lanes::exp`].
    ///
    /// As there; the polynomial is the one of degree 4 whose greatest relative error is least.
    #[inline(always)]
    unsafe fn exp_for_bf16(self, floor: f32) -> Self {
        // SAFETY: as for the caller.
        unsafe {
            let n = self.mul(Self::splat(std::f32::consts::LOG2_E)).round();
            let r = n.mul_add(Self::splat(-std::f32::consts::LN_2), self);
            let mut p = Self::splat(0.041_513_85);
            p = p.mul_add(r, Self::splat(0.167_874_74));
            p = p.mul_add(r, Self::splat(0.500_030_16));
            p = p.mul_add(r, Self::splat(0.999_966_86));
            p = p.mul_add(r, Self::splat(1.0));
            // Far below the floor this is no number, but 0 then.
            p.times_exp2(n).zero_below(self, Self::splat(floor))
        }
    }

    /// The lanes, but 0 where `probe` < `floor`.
    unsafe fn zero_below(self, probe: Self, floor: Self) -> Self;
}
