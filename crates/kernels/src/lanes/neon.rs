//! Turns sixteen lanes into sixteen lanes by NEON with dot products: four registers each.

use super::Lanes;
use std::arch::aarch64::*;
use std::arch::asm;

/// Sixteen f32 in four 128-bit registers.
#[derive(Clone, Copy)]
pub(crate) struct Neon([float32x4_t; 4]);

/// Four registers of bytes.
type Bytes = [uint8x16_t; 4];

/// Four sums of four products each, of signed bytes. (The intrinsic is not in stable Rust yet.)
#[inline(always)]
unsafe fn sdot(sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    let mut sum = sum;
    // SAFETY: an instruction on registers; the level has it.
    unsafe {
        asm!(
            ".arch_extension dotprod",
            "sdot {0:v}.4s, {1:v}.16b, {2:v}.16b",
            inout(vreg) sum, in(vreg) a, in(vreg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sum
}

/// Four half floats widened. (The intrinsic needs a type that is not in stable Rust yet.)
#[inline(always)]
unsafe fn widen_f16(halves: uint16x4_t) -> float32x4_t {
    let floats: float32x4_t;
    // SAFETY: an instruction on registers, which every NEON has.
    unsafe {
        asm!(
            "fcvtl {0:v}.4s, {1:v}.4h",
            out(vreg) floats, in(vreg) halves,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    floats
}

/// Four floats rounded to half floats, to nearest even.
#[inline(always)]
unsafe fn narrow_f16(floats: float32x4_t) -> uint16x4_t {
    let halves: uint16x4_t;
    // SAFETY: as above.
    unsafe {
        asm!(
            "fcvtn {0:v}.4h, {1:v}.4s",
            out(vreg) halves, in(vreg) floats,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    halves
}

/// Sixteen bytes as sixteen u32.
#[inline(always)]
unsafe fn widen_bytes(bytes: uint8x16_t) -> [uint32x4_t; 4] {
    // SAFETY: NEON.
    unsafe {
        let (low, high) = (vmovl_u8(vget_low_u8(bytes)), vmovl_u8(vget_high_u8(bytes)));
        [
            vmovl_u16(vget_low_u16(low)),
            vmovl_u16(vget_high_u16(low)),
            vmovl_u16(vget_low_u16(high)),
            vmovl_u16(vget_high_u16(high)),
        ]
    }
}

#[inline(always)]
unsafe fn bytes_as_floats(bytes: uint8x16_t) -> Neon {
    // SAFETY: NEON.
    unsafe { Neon(widen_bytes(bytes).map(|ints| vcvtq_f32_u32(ints))) }
}

/// Byte i of the result is 16 where bit i of the mask is set.
#[inline(always)]
unsafe fn spread_bits(mask: u16) -> uint8x16_t {
    const BITS: [u8; 16] = [1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128];
    // SAFETY: NEON; the array holds sixteen bytes.
    unsafe {
        let bytes = vcombine_u8(vdup_n_u8(mask as u8), vdup_n_u8((mask >> 8) as u8));
        vandq_u8(vtstq_u8(bytes, vld1q_u8(BITS.as_ptr())), vdupq_n_u8(16))
    }
}

/// Bytes shifted right.
#[inline(always)]
unsafe fn shift_down(bytes: uint8x16_t, shift: u32) -> uint8x16_t {
    // SAFETY: NEON. To shift left by less than nothing is to shift right.
    unsafe { vshlq_u8(bytes, vdupq_n_s8(-(shift as i8))) }
}

/// An operation on each pair of registers.
macro_rules! each {
    ($a:expr, $b:expr, $operation:expr) => {
        std::array::from_fn(|i| $operation($a[i], $b[i]))
    };
}

// SAFETY (all of this implementation): the trait's contract says that the processor has NEON and
// its dot products, and that the pointers are valid for the lanes named.
impl Lanes for Neon {
    type Ints = [int32x4_t; 4];
    type Bytes = Bytes;
    type Chain = [int32x4_t; 4];
    const CHAIN_STEPS: [usize; 9] = [8; 9];
    const MANY_REGISTERS: bool = false;
    const WIDE_PANELS: bool = false;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        unsafe { Neon([vdupq_n_f32(value); 4]) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        Neon(std::array::from_fn(|i| unsafe { vld1q_f32(from.add(4 * i)) }))
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> Self {
        Neon(std::array::from_fn(|i| unsafe { widen_f16(vld1_u16(from.add(4 * i))) }))
    }
    #[inline(always)]
    unsafe fn load_bf16_pairs(from: *const u32) -> (Self, Self) {
        let pairs: [uint32x4_t; 4] = std::array::from_fn(|i| unsafe { vld1q_u32(from.add(4 * i)) });
        let even = |pairs| unsafe { vreinterpretq_f32_u32(vshlq_n_u32::<16>(pairs)) };
        let odd =
            |pairs| unsafe { vreinterpretq_f32_u32(vandq_u32(pairs, vdupq_n_u32(0xffff_0000))) };
        (Neon(pairs.map(even)), Neon(pairs.map(odd)))
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> Self {
        unsafe {
            let bytes = vld1q_s8(from);
            let (low, high) = (vmovl_s8(vget_low_s8(bytes)), vmovl_s8(vget_high_s8(bytes)));
            Neon([
                vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))),
                vcvtq_f32_s32(vmovl_s16(vget_high_s16(low))),
                vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))),
                vcvtq_f32_s32(vmovl_s16(vget_high_s16(high))),
            ])
        }
    }
    #[inline(always)]
    unsafe fn load_u8(from: *const u8) -> Self {
        unsafe { bytes_as_floats(vld1q_u8(from)) }
    }
    #[inline(always)]
    unsafe fn load_low_nibbles(from: *const u8) -> Self {
        unsafe { bytes_as_floats(vandq_u8(vld1q_u8(from), vdupq_n_u8(15))) }
    }
    #[inline(always)]
    unsafe fn load_high_nibbles(from: *const u8) -> Self {
        unsafe { bytes_as_floats(vshrq_n_u8::<4>(vld1q_u8(from))) }
    }
    #[inline(always)]
    unsafe fn load_half_e8m0(from: *const u8) -> Self {
        // 2^(exponent - 128): below 2 a subnormal number, else in the exponent's bits.
        let half = |exponents: uint32x4_t| unsafe {
            let normal = vshlq_n_u32::<23>(vsubq_u32(exponents, vdupq_n_u32(1)));
            let subnormal = vshlq_u32(vdupq_n_u32(0x0020_0000), vreinterpretq_s32_u32(exponents));
            let below = vcltq_u32(exponents, vdupq_n_u32(2));
            vreinterpretq_f32_u32(vbslq_u32(below, subnormal, normal))
        };
        unsafe { Neon(widen_bytes(vld1q_u8(from)).map(half)) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        for (i, lanes) in self.0.into_iter().enumerate() {
            unsafe { vst1q_f32(to.add(4 * i), lanes) }
        }
    }
    #[inline(always)]
    unsafe fn store_f16(self, to: *mut u16) {
        for (i, lanes) in self.0.into_iter().enumerate() {
            unsafe { vst1_u16(to.add(4 * i), narrow_f16(lanes)) }
        }
    }
    #[inline(always)]
    unsafe fn store_rounded_i8(self, to: *mut i8) -> i32 {
        unsafe {
            let words = self.0.map(|lanes| vqmovn_s32(vcvtnq_s32_f32(lanes)));
            let low = vqmovn_s16(vcombine_s16(words[0], words[1]));
            let high = vqmovn_s16(vcombine_s16(words[2], words[3]));
            let bytes = vcombine_s8(low, high);
            vst1q_s8(to, bytes);
            i32::from(vaddlvq_s8(bytes))
        }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        Neon(each!(self.0, other.0, |a, b| unsafe { vaddq_f32(a, b) }))
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        Neon(each!(self.0, other.0, |a, b| unsafe { vsubq_f32(a, b) }))
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        Neon(each!(self.0, other.0, |a, b| unsafe { vmulq_f32(a, b) }))
    }
    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        Neon(each!(self.0, other.0, |a, b| unsafe { vdivq_f32(a, b) }))
    }
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        let fma = |i: usize| unsafe { vfmaq_f32(addend.0[i], self.0[i], factor.0[i]) };
        Neon(std::array::from_fn(fma))
    }
    // NEON's own maximum and minimum pass a NaN from either side: these choose as the others do.
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        Neon(each!(self.0, other.0, |a, b| unsafe { vbslq_f32(vcgtq_f32(a, b), a, b) }))
    }
    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        Neon(each!(self.0, other.0, |a, b| unsafe { vbslq_f32(vcltq_f32(a, b), a, b) }))
    }
    #[inline(always)]
    unsafe fn abs(self) -> Self {
        Neon(self.0.map(|lanes| unsafe { vabsq_f32(lanes) }))
    }
    #[inline(always)]
    unsafe fn round(self) -> Self {
        Neon(self.0.map(|lanes| unsafe { vrndnq_f32(lanes) }))
    }
    #[inline(always)]
    unsafe fn exp2_integral(self) -> Self {
        let exponent = |lanes| unsafe {
            let biased = vaddq_s32(vcvtnq_s32_f32(lanes), vdupq_n_s32(127));
            vreinterpretq_f32_s32(vshlq_n_s32::<23>(biased))
        };
        Neon(self.0.map(exponent))
    }
    #[inline(always)]
    unsafe fn round_to_bf16(self) -> Self {
        Neon(self.0.map(|lanes| unsafe {
            let bits = vreinterpretq_u32_f32(lanes);
            let odd = vandq_u32(vshrq_n_u32::<16>(bits), vdupq_n_u32(1));
            let up = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
            let rounded = vandq_u32(up, vdupq_n_u32(0xffff_0000));
            // A NaN stays as it is.
            vreinterpretq_f32_u32(vbslq_u32(vceqq_f32(lanes, lanes), rounded, bits))
        }))
    }
    #[inline(always)]
    unsafe fn zero_below(self, probe: Self, floor: Self) -> Self {
        let keep = |i: usize| unsafe {
            let below = vcltq_f32(probe.0[i], floor.0[i]);
            let bits = vreinterpretq_u32_f32(self.0[i]);
            vreinterpretq_f32_u32(vbicq_u32(bits, below))
        };
        Neon(std::array::from_fn(keep))
    }
    #[inline(always)]
    unsafe fn from_ints(ints: [int32x4_t; 4]) -> Self {
        Neon(ints.map(|ints| unsafe { vcvtq_f32_s32(ints) }))
    }

    #[inline(always)]
    unsafe fn splat_int(value: i32) -> [int32x4_t; 4] {
        unsafe { [vdupq_n_s32(value); 4] }
    }
    #[inline(always)]
    unsafe fn add_ints(a: [int32x4_t; 4], b: [int32x4_t; 4]) -> [int32x4_t; 4] {
        each!(a, b, |a, b| unsafe { vaddq_s32(a, b) })
    }
    #[inline(always)]
    unsafe fn begin_chain<const WIDE: bool>(correction: i32) -> [int32x4_t; 4] {
        // The bias of wide levels is taken from the levels themselves, which makes them signed.
        unsafe { Self::splat_int(if WIDE { 0 } else { correction }) }
    }
    #[inline(always)]
    unsafe fn dot4<const WIDE: bool>(
        chain: [int32x4_t; 4],
        levels: Bytes,
        values: i32,
    ) -> [int32x4_t; 4] {
        unsafe {
            let values = vreinterpretq_s8_s32(vdupq_n_s32(values));
            each!(chain, levels, |sum, levels| {
                let levels = if WIDE { veorq_u8(levels, vdupq_n_u8(128)) } else { levels };
                sdot(sum, vreinterpretq_s8_u8(levels), values)
            })
        }
    }
    #[inline(always)]
    unsafe fn end_chain<const WIDE: bool>(
        chain: [int32x4_t; 4],
        _correction: i32,
    ) -> [int32x4_t; 4] {
        chain
    }

    #[inline(always)]
    unsafe fn load_bytes(from: *const u8) -> Bytes {
        std::array::from_fn(|i| unsafe { vld1q_u8(from.add(16 * i)) })
    }
    #[inline(always)]
    unsafe fn store_bytes(bytes: Bytes, to: *mut u8) {
        for (i, bytes) in bytes.into_iter().enumerate() {
            unsafe { vst1q_u8(to.add(16 * i), bytes) }
        }
    }
    #[inline(always)]
    unsafe fn add_to_bytes(bytes: Bytes, value: u8) -> Bytes {
        bytes.map(|bytes| unsafe { vaddq_u8(bytes, vdupq_n_u8(value)) })
    }
    #[inline(always)]
    unsafe fn low_nibbles(bytes: Bytes) -> Bytes {
        bytes.map(|bytes| unsafe { vandq_u8(bytes, vdupq_n_u8(15)) })
    }
    #[inline(always)]
    unsafe fn high_nibbles(bytes: Bytes) -> Bytes {
        bytes.map(|bytes| unsafe { vshrq_n_u8::<4>(bytes) })
    }
    #[inline(always)]
    unsafe fn or_bit4(bytes: Bytes, mask: u64) -> Bytes {
        let or = |i: usize| unsafe { vorrq_u8(bytes[i], spread_bits((mask >> (16 * i)) as u16)) };
        std::array::from_fn(or)
    }
    #[inline(always)]
    unsafe fn or_pair45(bytes: Bytes, pairs: Bytes, shift: u32) -> Bytes {
        each!(bytes, pairs, |bytes, pairs| unsafe {
            let pair = vandq_u8(shift_down(pairs, shift), vdupq_n_u8(3));
            vorrq_u8(bytes, vshlq_n_u8::<4>(pair))
        })
    }
    #[inline(always)]
    unsafe fn pairs(bytes: Bytes, shift: u32) -> Bytes {
        bytes.map(|bytes| unsafe { vandq_u8(shift_down(bytes, shift), vdupq_n_u8(3)) })
    }
    #[inline(always)]
    unsafe fn or_bit2(bytes: Bytes, bits: Bytes, shift: u32) -> Bytes {
        each!(bytes, bits, |bytes, bits| unsafe {
            let bit = vandq_u8(shift_down(bits, shift), vdupq_n_u8(1));
            vorrq_u8(bytes, vshlq_n_u8::<2>(bit))
        })
    }
    #[inline(always)]
    unsafe fn look_up(table: &[u8; 16], bytes: Bytes) -> Bytes {
        unsafe {
            let table = vld1q_u8(table.as_ptr());
            bytes.map(|bytes| vqtbl1q_u8(table, bytes))
        }
    }
}
