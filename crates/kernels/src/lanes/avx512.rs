//! Turns sixteen lanes into sixteen lanes by AVX-512 with VNNI: one register each.

use super::Lanes;
use super::x86::{greatest8, sum_i8, sum8};
use crate::activations::Activations;
use crate::attention::ValuePairs;
use crate::matmul::pairs::Pairs;
use std::arch::x86_64::*;

/// Sixteen f32 in a 512-bit register.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(__m512);

#[inline(always)]
fn first(count: usize) -> __mmask16 {
    ((1u32 << count) - 1) as __mmask16
}

/// Sixteen bytes as floats.
#[inline(always)]
unsafe fn widen_bytes(bytes: __m128i) -> Avx512 {
    unsafe { Avx512(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes))) }
}

/// Words shifted right. Loops over steps are unrolled, so that `shift` is constant in the end; a
/// `match` over all shifts would be too much to inline before that.
#[inline(always)]
unsafe fn shift_down(bytes: __m512i, shift: u32) -> __m512i {
    unsafe { _mm512_srl_epi16(bytes, _mm_cvtsi32_si128(shift as i32)) }
}

// SAFETY (all of this implementation): the trait's contract says that the processor has
// AVX-512 F, BW, VL, DQ and VNNI, and that the pointers are valid for the lanes named.
impl Lanes for Avx512 {
    type Ints = __m512i;
    type Bytes = __m512i;
    type Chain = __m512i;
    const CHAIN_STEPS: [usize; 9] = [8; 9];
    const MANY_REGISTERS: bool = true;
    const WIDE_PANELS: bool = true;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        unsafe { Avx512(_mm512_set1_ps(value)) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        unsafe { Avx512(_mm512_loadu_ps(from)) }
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> Self {
        unsafe { Avx512(_mm512_maskz_loadu_ps(first(count), from)) }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> Self {
        unsafe { Avx512(_mm512_cvtph_ps(_mm256_loadu_si256(from.cast()))) }
    }
    #[inline(always)]
    unsafe fn load_bf16_pairs(from: *const u32) -> (Self, Self) {
        unsafe {
            let pairs = _mm512_loadu_si512(from.cast());
            let even = _mm512_slli_epi32::<16>(pairs);
            let odd = _mm512_and_si512(pairs, _mm512_set1_epi32(0xffff_0000_u32.cast_signed()));
            (Avx512(_mm512_castsi512_ps(even)), Avx512(_mm512_castsi512_ps(odd)))
        }
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> Self {
        unsafe { Avx512(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast())))) }
    }
    #[inline(always)]
    unsafe fn load_u8(from: *const u8) -> Self {
        unsafe { Avx512(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast())))) }
    }
    #[inline(always)]
    unsafe fn load_low_nibbles(from: *const u8) -> Self {
        unsafe {
            let bytes = _mm_loadu_si128(from.cast());
            widen_bytes(_mm_and_si128(bytes, _mm_set1_epi8(15)))
        }
    }
    #[inline(always)]
    unsafe fn load_high_nibbles(from: *const u8) -> Self {
        unsafe {
            let moved = _mm_srli_epi16::<4>(_mm_loadu_si128(from.cast()));
            widen_bytes(_mm_and_si128(moved, _mm_set1_epi8(15)))
        }
    }
    #[inline(always)]
    unsafe fn load_half_e8m0(from: *const u8) -> Self {
        unsafe {
            // 2^(exponent − 128): below 2 a subnormal number, else in the exponent's bits.
            let exponents = _mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast()));
            let normal = _mm512_slli_epi32::<23>(_mm512_sub_epi32(exponents, _mm512_set1_epi32(1)));
            let subnormal = _mm512_sllv_epi32(_mm512_set1_epi32(0x0020_0000), exponents);
            let below = _mm512_cmplt_epi32_mask(exponents, _mm512_set1_epi32(2));
            Avx512(_mm512_castsi512_ps(_mm512_mask_mov_epi32(normal, below, subnormal)))
        }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { _mm512_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize) {
        unsafe { _mm512_mask_storeu_ps(to, first(count), self.0) }
    }
    #[inline(always)]
    unsafe fn store_f16(self, to: *mut u16) {
        unsafe {
            let narrow = _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(self.0);
            _mm256_storeu_si256(to.cast(), narrow);
        }
    }
    #[inline(always)]
    unsafe fn store_rounded_i8(self, to: *mut i8) -> i32 {
        unsafe {
            let bytes = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(self.0));
            _mm_storeu_si128(to.cast(), bytes);
            sum_i8(bytes)
        }
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        unsafe {
            let high = _mm512_extractf32x8_ps::<1>(self.0);
            sum8(_mm256_add_ps(_mm512_castps512_ps256(self.0), high))
        }
    }
    #[inline(always)]
    unsafe fn greatest(self) -> f32 {
        unsafe {
            let high = _mm512_extractf32x8_ps::<1>(self.0);
            greatest8(_mm256_max_ps(high, _mm512_castps512_ps256(self.0)))
        }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        unsafe { Avx512(_mm512_add_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        unsafe { Avx512(_mm512_sub_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        unsafe { Avx512(_mm512_mul_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        unsafe { Avx512(_mm512_div_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        unsafe { Avx512(_mm512_fmadd_ps(self.0, factor.0, addend.0)) }
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        unsafe { Avx512(_mm512_max_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        unsafe { Avx512(_mm512_min_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn abs(self) -> Self {
        unsafe { Avx512(_mm512_abs_ps(self.0)) }
    }
    #[inline(always)]
    unsafe fn round(self) -> Self {
        unsafe { Avx512(_mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT }>(self.0)) }
    }
    #[inline(always)]
    unsafe fn exp2_integral(self) -> Self {
        unsafe {
            let biased = _mm512_add_epi32(_mm512_cvtps_epi32(self.0), _mm512_set1_epi32(127));
            Avx512(_mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased)))
        }
    }
    #[inline(always)]
    unsafe fn times_exp2(self, n: Self) -> Self {
        unsafe { Avx512(_mm512_scalef_ps(self.0, n.0)) }
    }
    #[inline(always)]
    unsafe fn round_to_bf16(self) -> Self {
        unsafe {
            let bits = _mm512_castps_si512(self.0);
            let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let up = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
            // A NaN stays as it is.
            let is_number = _mm512_cmp_ps_mask::<_CMP_ORD_Q>(self.0, self.0);
            let high = _mm512_set1_epi32(0xffff_0000_u32.cast_signed());
            Avx512(_mm512_castsi512_ps(_mm512_mask_and_epi32(bits, is_number, up, high)))
        }
    }
    #[inline(always)]
    unsafe fn zero_below(self, probe: Self, floor: Self) -> Self {
        unsafe {
            let keep = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(probe.0, floor.0);
            Avx512(_mm512_maskz_mov_ps(keep, self.0))
        }
    }
    #[inline(always)]
    unsafe fn from_ints(ints: __m512i) -> Self {
        unsafe { Avx512(_mm512_cvtepi32_ps(ints)) }
    }

    #[inline(always)]
    unsafe fn splat_int(value: i32) -> __m512i {
        unsafe { _mm512_set1_epi32(value) }
    }
    #[inline(always)]
    unsafe fn add_ints(a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_add_epi32(a, b) }
    }
    #[inline(always)]
    unsafe fn begin_chain<const WIDE: bool>(correction: i32) -> __m512i {
        unsafe { _mm512_set1_epi32(correction) }
    }
    #[inline(always)]
    unsafe fn dot4<const WIDE: bool>(sum: __m512i, levels: __m512i, values: i32) -> __m512i {
        unsafe { _mm512_dpbusd_epi32(sum, levels, _mm512_set1_epi32(values)) }
    }
    #[inline(always)]
    unsafe fn end_chain<const WIDE: bool>(chain: __m512i, _correction: i32) -> __m512i {
        chain
    }

    #[inline(always)]
    unsafe fn load_bytes(from: *const u8) -> __m512i {
        unsafe { _mm512_loadu_si512(from.cast()) }
    }
    #[inline(always)]
    unsafe fn store_bytes(bytes: __m512i, to: *mut u8) {
        unsafe { _mm512_storeu_si512(to.cast(), bytes) }
    }
    #[inline(always)]
    unsafe fn add_to_bytes(bytes: __m512i, value: u8) -> __m512i {
        unsafe { _mm512_add_epi8(bytes, _mm512_set1_epi8(value.cast_signed())) }
    }
    #[inline(always)]
    unsafe fn low_nibbles(bytes: __m512i) -> __m512i {
        unsafe { _mm512_and_si512(bytes, _mm512_set1_epi8(15)) }
    }
    #[inline(always)]
    unsafe fn high_nibbles(bytes: __m512i) -> __m512i {
        unsafe { _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), _mm512_set1_epi8(15)) }
    }
    #[inline(always)]
    unsafe fn or_bit4(bytes: __m512i, mask: u64) -> __m512i {
        unsafe { _mm512_mask_add_epi8(bytes, mask, bytes, _mm512_set1_epi8(16)) }
    }
    #[inline(always)]
    unsafe fn or_pair45(bytes: __m512i, pairs: __m512i, shift: u32) -> __m512i {
        unsafe {
            let moved = match shift {
                0 => _mm512_slli_epi16::<4>(pairs),
                2 => _mm512_slli_epi16::<2>(pairs),
                4 => pairs,
                _ => _mm512_srli_epi16::<2>(pairs),
            };
            _mm512_or_si512(bytes, _mm512_and_si512(moved, _mm512_set1_epi8(0x30)))
        }
    }
    #[inline(always)]
    unsafe fn pairs(bytes: __m512i, shift: u32) -> __m512i {
        unsafe { _mm512_and_si512(shift_down(bytes, shift), _mm512_set1_epi8(3)) }
    }
    #[inline(always)]
    unsafe fn or_bit2(bytes: __m512i, bits: __m512i, shift: u32) -> __m512i {
        unsafe {
            let moved = _mm512_slli_epi16::<2>(shift_down(bits, shift));
            _mm512_or_si512(bytes, _mm512_and_si512(moved, _mm512_set1_epi8(4)))
        }
    }
    #[inline(always)]
    unsafe fn look_up(table: &[u8; 16], bytes: __m512i) -> __m512i {
        unsafe {
            let table = _mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast()));
            _mm512_shuffle_epi8(table, bytes)
        }
    }
}

/// Thirty-two BF16 in one register, for processors with AVX-512 BF16.
#[derive(Clone, Copy)]
pub(crate) struct PairsOfBf16(__m512i);

impl PairsOfBf16 {
    /// `sum` + odd · the value in the high half of `x`, + even · that in the low one.
    #[inline(always)]
    unsafe fn dot_word(self, sum: Avx512, x: u32) -> Avx512 {
        // SAFETY: the caller's processor has AVX-512 BF16.
        unsafe {
            let x: __m512bh = std::mem::transmute(_mm512_set1_epi32(x.cast_signed()));
            Avx512(_mm512_dpbf16_ps(sum.0, std::mem::transmute::<__m512i, __m512bh>(self.0), x))
        }
    }
}

// SAFETY (all): the caller's processor has AVX-512 BF16; pointers are valid for 64 bytes of weights
// and two values.
impl Pairs<Avx512> for PairsOfBf16 {
    type Element = u16;

    #[inline(always)]
    fn elements(x: &Activations) -> &[u16] {
        &x.halves
    }
    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        unsafe { PairsOfBf16(_mm512_loadu_si512(from.cast())) }
    }
    #[inline(always)]
    unsafe fn dot(self, sum: Avx512, x: *const u16) -> Avx512 {
        unsafe { self.dot_word(sum, x.cast::<u32>().read_unaligned()) }
    }
}

// SAFETY (all): the caller's processor has AVX-512 BF16; the pointer is valid for 32 bytes.
impl ValuePairs<Avx512> for PairsOfBf16 {
    /// Two BF16, the even one in the low half.
    type Weights = u32;

    #[inline(always)]
    unsafe fn join(even: Avx512, odd: Avx512, _fit: bool) -> Self {
        /// Halves of the even register and of the odd one in turns.
        const TURNS: [u16; 32] = {
            let mut turns = [0; 32];
            let mut place = 0;
            while place < 32 {
                turns[place] = (place / 2 + place % 2 * 16) as u16;
                place += 1;
            }
            turns
        };
        unsafe {
            let halves: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(odd.0, even.0));
            let turns = _mm512_loadu_si512(TURNS.as_ptr().cast());
            PairsOfBf16(_mm512_permutexvar_epi16(turns, halves))
        }
    }
    #[inline(always)]
    unsafe fn dot(self, sum: Avx512, weights: *const u32) -> Avx512 {
        unsafe { self.dot_word(sum, weights.read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn exp(exponents: Avx512, floor: f32) -> Avx512 {
        unsafe { exponents.exp_for_bf16(floor) }
    }
    #[inline(always)]
    unsafe fn store_weights(weights: Avx512, to: *mut u32) -> Avx512 {
        unsafe {
            let halves: __m256i = std::mem::transmute(_mm512_cvtneps_pbh(weights.0));
            _mm256_storeu_si256(to.cast(), halves);
            let wide = _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves));
            Avx512(_mm512_castsi512_ps(wide))
        }
    }
}
