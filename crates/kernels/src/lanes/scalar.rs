//! Turns sixteen lanes into sixteen lanes by plain loops: the twin that every other level must
//! equal.

use super::Lanes;
use crate::block::half_e8m0;
use crate::f16::{bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
use std::array::from_fn;

/// Sixteen f32 in an array.
#[derive(Clone, Copy)]
pub(crate) struct Scalar([f32; 16]);

// SAFETY (all of this implementation): plain loads and stores through pointers that the trait's
// contract makes valid.
impl Lanes for Scalar {
    type Ints = [i32; 16];
    type Bytes = [u8; 64];
    type Chain = [i32; 16];
    const CHAIN_STEPS: [usize; 9] = [8; 9];
    const MANY_REGISTERS: bool = false;
    const WIDE_PANELS: bool = false;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Scalar([value; 16])
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        Scalar(unsafe { from.cast::<[f32; 16]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> Self {
        Scalar(from_fn(|i| if i < count { unsafe { *from.add(i) } } else { 0.0 }))
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> Self {
        Scalar(from_fn(|i| f16_to_f32(unsafe { *from.add(i) })))
    }
    #[inline(always)]
    unsafe fn load_bf16_pairs(from: *const u32) -> (Self, Self) {
        let pairs: [u32; 16] = from_fn(|i| unsafe { from.add(i).read_unaligned() });
        let even = pairs.map(|pair| f32::from_bits(pair << 16));
        let odd = pairs.map(|pair| f32::from_bits(pair & 0xffff_0000));
        (Scalar(even), Scalar(odd))
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> Self {
        Scalar(from_fn(|i| f32::from(unsafe { *from.add(i) })))
    }
    #[inline(always)]
    unsafe fn load_u8(from: *const u8) -> Self {
        Scalar(from_fn(|i| f32::from(unsafe { *from.add(i) })))
    }
    #[inline(always)]
    unsafe fn load_low_nibbles(from: *const u8) -> Self {
        Scalar(from_fn(|i| f32::from(unsafe { *from.add(i) } & 15)))
    }
    #[inline(always)]
    unsafe fn load_high_nibbles(from: *const u8) -> Self {
        Scalar(from_fn(|i| f32::from(unsafe { *from.add(i) } >> 4)))
    }
    #[inline(always)]
    unsafe fn load_half_e8m0(from: *const u8) -> Self {
        Scalar(from_fn(|i| half_e8m0(unsafe { *from.add(i) })))
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { to.cast::<[f32; 16]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize) {
        for i in 0..count {
            unsafe { *to.add(i) = self.0[i] }
        }
    }
    #[inline(always)]
    unsafe fn store_f16(self, to: *mut u16) {
        for i in 0..16 {
            unsafe { *to.add(i) = f32_to_f16(self.0[i]) }
        }
    }
    #[inline(always)]
    unsafe fn store_rounded_i8(self, to: *mut i8) -> i32 {
        let bytes = self.0.map(|lane| lane.round_ties_even() as i8);
        unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), 16) };
        bytes.iter().map(|byte| i32::from(*byte)).sum()
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        Scalar(from_fn(|i| self.0[i] + other.0[i]))
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        Scalar(from_fn(|i| self.0[i] - other.0[i]))
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        Scalar(from_fn(|i| self.0[i] * other.0[i]))
    }
    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        Scalar(from_fn(|i| self.0[i] / other.0[i]))
    }
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        Scalar(from_fn(|i| self.0[i].mul_add(factor.0[i], addend.0[i])))
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        Scalar(from_fn(|i| if self.0[i] > other.0[i] { self.0[i] } else { other.0[i] }))
    }
    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        Scalar(from_fn(|i| if self.0[i] < other.0[i] { self.0[i] } else { other.0[i] }))
    }
    #[inline(always)]
    unsafe fn abs(self) -> Self {
        Scalar(self.0.map(f32::abs))
    }
    #[inline(always)]
    unsafe fn round(self) -> Self {
        Scalar(self.0.map(f32::round_ties_even))
    }
    #[inline(always)]
    unsafe fn exp2_integral(self) -> Self {
        Scalar(self.0.map(|lane| f32::from_bits(((lane as i32 + 127) << 23) as u32)))
    }
    #[inline(always)]
    unsafe fn round_to_bf16(self) -> Self {
        Scalar(self.0.map(|lane| bf16_to_f32(f32_to_bf16(lane))))
    }
    #[inline(always)]
    unsafe fn zero_below(self, probe: Self, floor: Self) -> Self {
        Scalar(from_fn(|i| if probe.0[i] < floor.0[i] { 0.0 } else { self.0[i] }))
    }
    #[inline(always)]
    unsafe fn from_ints(ints: [i32; 16]) -> Self {
        Scalar(ints.map(|int| int as f32))
    }

    #[inline(always)]
    unsafe fn splat_int(value: i32) -> [i32; 16] {
        [value; 16]
    }
    #[inline(always)]
    unsafe fn add_ints(a: [i32; 16], b: [i32; 16]) -> [i32; 16] {
        from_fn(|i| a[i].wrapping_add(b[i]))
    }
    #[inline(always)]
    unsafe fn begin_chain<const WIDE: bool>(correction: i32) -> [i32; 16] {
        [correction; 16]
    }
    #[inline(always)]
    unsafe fn dot4<const WIDE: bool>(sum: [i32; 16], levels: [u8; 64], values: i32) -> [i32; 16] {
        let values = values.to_le_bytes().map(|byte| i32::from(byte as i8));
        from_fn(|i| sum[i] + (0..4).map(|k| i32::from(levels[4 * i + k]) * values[k]).sum::<i32>())
    }
    #[inline(always)]
    unsafe fn end_chain<const WIDE: bool>(chain: [i32; 16], _correction: i32) -> [i32; 16] {
        chain
    }

    #[inline(always)]
    unsafe fn load_bytes(from: *const u8) -> [u8; 64] {
        unsafe { from.cast::<[u8; 64]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store_bytes(bytes: [u8; 64], to: *mut u8) {
        unsafe { to.cast::<[u8; 64]>().write_unaligned(bytes) }
    }
    #[inline(always)]
    unsafe fn add_to_bytes(bytes: [u8; 64], value: u8) -> [u8; 64] {
        bytes.map(|byte| byte.wrapping_add(value))
    }
    #[inline(always)]
    unsafe fn low_nibbles(bytes: [u8; 64]) -> [u8; 64] {
        bytes.map(|byte| byte & 15)
    }
    #[inline(always)]
    unsafe fn high_nibbles(bytes: [u8; 64]) -> [u8; 64] {
        bytes.map(|byte| byte >> 4)
    }
    #[inline(always)]
    unsafe fn or_bit4(bytes: [u8; 64], mask: u64) -> [u8; 64] {
        from_fn(|i| bytes[i] | (((mask >> i) & 1) << 4) as u8)
    }
    #[inline(always)]
    unsafe fn or_pair45(bytes: [u8; 64], pairs: [u8; 64], shift: u32) -> [u8; 64] {
        from_fn(|i| bytes[i] | (((pairs[i] >> shift) & 3) << 4))
    }
    #[inline(always)]
    unsafe fn pairs(bytes: [u8; 64], shift: u32) -> [u8; 64] {
        bytes.map(|byte| (byte >> shift) & 3)
    }
    #[inline(always)]
    unsafe fn or_bit2(bytes: [u8; 64], bits: [u8; 64], shift: u32) -> [u8; 64] {
        from_fn(|i| bytes[i] | (((bits[i] >> shift) & 1) << 2))
    }
    #[inline(always)]
    unsafe fn look_up(table: &[u8; 16], bytes: [u8; 64]) -> [u8; 64] {
        bytes.map(|byte| table[usize::from(byte & 15)])
    }
}
