//! Turns sixteen lanes into sixteen lanes by AVX2 with FMA and F16C: two registers each.

use super::Lanes;
use super::x86::{greatest8, sum_i8, sum8};
use std::arch::x86_64::*;

/// Sixteen f32 in two 256-bit registers.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(__m256, __m256);

/// Two registers of integers: sixteen i32 or sixty-four bytes.
#[derive(Clone, Copy)]
pub(crate) struct Pair(__m256i, __m256i);

/// Sixteen sums of two products each.
#[inline(always)]
unsafe fn dot2_narrow(sum: __m256i, levels: __m256i, values: __m256i) -> __m256i {
    // A pair of products is at most 2 · 63 · 127: i16 holds one such sum for levels of six bits
    // twice, of five bits four times, of four bits eight times.
    unsafe { _mm256_add_epi16(sum, _mm256_maddubs_epi16(levels, values)) }
}

/// Eight sums of four products each, of levels less 128.
#[inline(always)]
unsafe fn dot4_wide(sum: __m256i, levels: __m256i, values: __m256i) -> __m256i {
    // As signed bytes they are -128 to 127: the sign moves to the values, and 2 · 128 · 127 fits.
    unsafe {
        let levels = _mm256_xor_si256(levels, _mm256_set1_epi8(-128));
        let values = _mm256_sign_epi8(values, levels);
        let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(levels), values);
        _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
    }
}

#[inline(always)]
unsafe fn spread_bits(mask: u32) -> __m256i {
    // Byte i of the result is 16 where bit i of the mask is set.
    unsafe {
        let which = _mm256_setr_epi64x(
            0,
            0x0101_0101_0101_0101,
            0x0202_0202_0202_0202,
            0x0303_0303_0303_0303,
        );
        let bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(mask as i32), which);
        let bits = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
        let set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bits), bits);
        _mm256_and_si256(set, _mm256_set1_epi8(16))
    }
}

/// Sixteen bytes as floats.
#[inline(always)]
unsafe fn widen_bytes(bytes: __m128i) -> Avx2 {
    unsafe {
        Avx2(
            _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes)),
            _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128::<8>(bytes))),
        )
    }
}

/// 2^(exponent − 128): below 2 a subnormal number, else in the exponent's bits.
#[inline(always)]
unsafe fn half_e8m0(exponents: __m256i) -> __m256 {
    unsafe {
        let normal = _mm256_slli_epi32::<23>(_mm256_sub_epi32(exponents, _mm256_set1_epi32(1)));
        let subnormal = _mm256_sllv_epi32(_mm256_set1_epi32(0x0020_0000), exponents);
        let below = _mm256_cmpgt_epi32(_mm256_set1_epi32(2), exponents);
        _mm256_castsi256_ps(_mm256_blendv_epi8(normal, subnormal, below))
    }
}

/// Words shifted right. Loops over steps are unrolled, so that `shift` is constant in the end; a
/// `match` over all shifts would be too much to inline before that.
#[inline(always)]
unsafe fn shift_down(bytes: __m256i, shift: u32) -> __m256i {
    unsafe { _mm256_srl_epi16(bytes, _mm_cvtsi32_si128(shift as i32)) }
}

macro_rules! both {
    ($operation:ident, $a:expr, $b:expr) => {
        unsafe { Avx2($operation($a.0, $b.0), $operation($a.1, $b.1)) }
    };
}

// SAFETY (all of this implementation): the trait's contract says that the processor has AVX2, FMA
// and F16C, and that the pointers are valid for the lanes named.
impl Lanes for Avx2 {
    type Ints = Pair;
    type Bytes = Pair;
    /// Sixteen i16 in each register for narrow levels, eight i32 for wide ones.
    type Chain = Pair;
    const CHAIN_STEPS: [usize; 9] = [8, 8, 8, 8, 8, 4, 2, 1, 8];
    const MANY_REGISTERS: bool = false;
    const WIDE_PANELS: bool = false;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        unsafe { Avx2(_mm256_set1_ps(value), _mm256_set1_ps(value)) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        unsafe { Avx2(_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))) }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> Self {
        unsafe {
            Avx2(
                _mm256_cvtph_ps(_mm_loadu_si128(from.cast())),
                _mm256_cvtph_ps(_mm_loadu_si128(from.add(8).cast())),
            )
        }
    }
    #[inline(always)]
    unsafe fn load_bf16_pairs(from: *const u32) -> (Self, Self) {
        unsafe {
            let mask = _mm256_set1_epi32(0xffff_0000_u32.cast_signed());
            let low = _mm256_loadu_si256(from.cast());
            let high = _mm256_loadu_si256(from.add(8).cast());
            let even = |pairs| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(pairs));
            let odd = |pairs| _mm256_castsi256_ps(_mm256_and_si256(pairs, mask));
            (Avx2(even(low), even(high)), Avx2(odd(low), odd(high)))
        }
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> Self {
        unsafe {
            Avx2(
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(from.cast()))),
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(from.add(8).cast()))),
            )
        }
    }
    #[inline(always)]
    unsafe fn load_u8(from: *const u8) -> Self {
        unsafe {
            Avx2(
                _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast()))),
                _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(from.add(8).cast()))),
            )
        }
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
            Avx2(
                half_e8m0(_mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast()))),
                half_e8m0(_mm256_cvtepu8_epi32(_mm_loadl_epi64(from.add(8).cast()))),
            )
        }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe {
            _mm256_storeu_ps(to, self.0);
            _mm256_storeu_ps(to.add(8), self.1);
        }
    }
    #[inline(always)]
    unsafe fn store_f16(self, to: *mut u16) {
        unsafe {
            let low = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(self.0);
            let high = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(self.1);
            _mm_storeu_si128(to.cast(), low);
            _mm_storeu_si128(to.add(8).cast(), high);
        }
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        unsafe { sum8(_mm256_add_ps(self.0, self.1)) }
    }
    #[inline(always)]
    unsafe fn greatest(self) -> f32 {
        unsafe { greatest8(_mm256_max_ps(self.1, self.0)) }
    }
    #[inline(always)]
    unsafe fn store_rounded_i8(self, to: *mut i8) -> i32 {
        unsafe {
            let low = _mm256_cvtps_epi32(self.0);
            let high = _mm256_cvtps_epi32(self.1);
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(low, high));
            let bytes = _mm_packs_epi16(
                _mm256_castsi256_si128(words),
                _mm256_extracti128_si256::<1>(words),
            );
            _mm_storeu_si128(to.cast(), bytes);
            sum_i8(bytes)
        }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        both!(_mm256_add_ps, self, other)
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        both!(_mm256_sub_ps, self, other)
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        both!(_mm256_mul_ps, self, other)
    }
    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        both!(_mm256_div_ps, self, other)
    }
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        unsafe {
            Avx2(
                _mm256_fmadd_ps(self.0, factor.0, addend.0),
                _mm256_fmadd_ps(self.1, factor.1, addend.1),
            )
        }
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        both!(_mm256_max_ps, self, other)
    }
    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        both!(_mm256_min_ps, self, other)
    }
    #[inline(always)]
    unsafe fn abs(self) -> Self {
        let sign = unsafe { Self::splat(-0.0) };
        both!(_mm256_andnot_ps, sign, self)
    }
    #[inline(always)]
    unsafe fn round(self) -> Self {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        unsafe { Avx2(_mm256_round_ps::<NEAREST>(self.0), _mm256_round_ps::<NEAREST>(self.1)) }
    }
    #[inline(always)]
    unsafe fn exp2_integral(self) -> Self {
        unsafe {
            let half = |lanes| {
                let biased = _mm256_add_epi32(_mm256_cvtps_epi32(lanes), _mm256_set1_epi32(127));
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
            };
            Avx2(half(self.0), half(self.1))
        }
    }
    #[inline(always)]
    unsafe fn round_to_bf16(self) -> Self {
        unsafe { Avx2(round_to_bf16(self.0), round_to_bf16(self.1)) }
    }
    #[inline(always)]
    unsafe fn zero_below(self, probe: Self, floor: Self) -> Self {
        unsafe {
            let half = |value, probe, floor| {
                _mm256_and_ps(_mm256_cmp_ps::<_CMP_NLT_UQ>(probe, floor), value)
            };
            Avx2(half(self.0, probe.0, floor.0), half(self.1, probe.1, floor.1))
        }
    }
    #[inline(always)]
    unsafe fn from_ints(ints: Pair) -> Self {
        unsafe { Avx2(_mm256_cvtepi32_ps(ints.0), _mm256_cvtepi32_ps(ints.1)) }
    }

    #[inline(always)]
    unsafe fn splat_int(value: i32) -> Pair {
        unsafe { Pair(_mm256_set1_epi32(value), _mm256_set1_epi32(value)) }
    }
    #[inline(always)]
    unsafe fn add_ints(a: Pair, b: Pair) -> Pair {
        unsafe { Pair(_mm256_add_epi32(a.0, b.0), _mm256_add_epi32(a.1, b.1)) }
    }
    #[inline(always)]
    unsafe fn begin_chain<const WIDE: bool>(_correction: i32) -> Pair {
        unsafe { Pair(_mm256_setzero_si256(), _mm256_setzero_si256()) }
    }
    #[inline(always)]
    unsafe fn dot4<const WIDE: bool>(chain: Pair, levels: Pair, values: i32) -> Pair {
        unsafe {
            let values = _mm256_set1_epi32(values);
            if WIDE {
                Pair(dot4_wide(chain.0, levels.0, values), dot4_wide(chain.1, levels.1, values))
            } else {
                Pair(dot2_narrow(chain.0, levels.0, values), dot2_narrow(chain.1, levels.1, values))
            }
        }
    }
    #[inline(always)]
    unsafe fn end_chain<const WIDE: bool>(chain: Pair, correction: i32) -> Pair {
        if WIDE {
            // The bias was taken from the levels themselves.
            return chain;
        }
        unsafe {
            let (ones, correction) = (_mm256_set1_epi16(1), _mm256_set1_epi32(correction));
            let half = |sums| _mm256_add_epi32(_mm256_madd_epi16(sums, ones), correction);
            Pair(half(chain.0), half(chain.1))
        }
    }

    #[inline(always)]
    unsafe fn load_bytes(from: *const u8) -> Pair {
        unsafe { Pair(_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(32).cast())) }
    }
    #[inline(always)]
    unsafe fn store_bytes(bytes: Pair, to: *mut u8) {
        unsafe {
            _mm256_storeu_si256(to.cast(), bytes.0);
            _mm256_storeu_si256(to.add(32).cast(), bytes.1);
        }
    }
    #[inline(always)]
    unsafe fn add_to_bytes(bytes: Pair, value: u8) -> Pair {
        unsafe {
            let value = _mm256_set1_epi8(value.cast_signed());
            Pair(_mm256_add_epi8(bytes.0, value), _mm256_add_epi8(bytes.1, value))
        }
    }
    #[inline(always)]
    unsafe fn low_nibbles(bytes: Pair) -> Pair {
        unsafe {
            let mask = _mm256_set1_epi8(15);
            Pair(_mm256_and_si256(bytes.0, mask), _mm256_and_si256(bytes.1, mask))
        }
    }
    #[inline(always)]
    unsafe fn high_nibbles(bytes: Pair) -> Pair {
        unsafe {
            let moved = Pair(_mm256_srli_epi16::<4>(bytes.0), _mm256_srli_epi16::<4>(bytes.1));
            Self::low_nibbles(moved)
        }
    }
    #[inline(always)]
    unsafe fn or_bit4(bytes: Pair, mask: u64) -> Pair {
        unsafe {
            Pair(
                _mm256_or_si256(bytes.0, spread_bits(mask as u32)),
                _mm256_or_si256(bytes.1, spread_bits((mask >> 32) as u32)),
            )
        }
    }
    #[inline(always)]
    unsafe fn or_pair45(bytes: Pair, pairs: Pair, shift: u32) -> Pair {
        unsafe {
            let half = |bytes, pairs| {
                let moved = match shift {
                    0 => _mm256_slli_epi16::<4>(pairs),
                    2 => _mm256_slli_epi16::<2>(pairs),
                    4 => pairs,
                    _ => _mm256_srli_epi16::<2>(pairs),
                };
                _mm256_or_si256(bytes, _mm256_and_si256(moved, _mm256_set1_epi8(0x30)))
            };
            Pair(half(bytes.0, pairs.0), half(bytes.1, pairs.1))
        }
    }
    #[inline(always)]
    unsafe fn pairs(bytes: Pair, shift: u32) -> Pair {
        unsafe {
            let mask = _mm256_set1_epi8(3);
            Pair(
                _mm256_and_si256(shift_down(bytes.0, shift), mask),
                _mm256_and_si256(shift_down(bytes.1, shift), mask),
            )
        }
    }
    #[inline(always)]
    unsafe fn or_bit2(bytes: Pair, bits: Pair, shift: u32) -> Pair {
        unsafe {
            let mask = _mm256_set1_epi8(4);
            let low = _mm256_slli_epi16::<2>(shift_down(bits.0, shift));
            let high = _mm256_slli_epi16::<2>(shift_down(bits.1, shift));
            Pair(
                _mm256_or_si256(bytes.0, _mm256_and_si256(low, mask)),
                _mm256_or_si256(bytes.1, _mm256_and_si256(high, mask)),
            )
        }
    }
    #[inline(always)]
    unsafe fn look_up(table: &[u8; 16], bytes: Pair) -> Pair {
        unsafe {
            let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast()));
            Pair(_mm256_shuffle_epi8(table, bytes.0), _mm256_shuffle_epi8(table, bytes.1))
        }
    }
}

/// Eight lanes rounded to BF16, ties to even.
///
/// # Safety
///
/// The processor has AVX2.
#[inline(always)]
unsafe fn round_to_bf16(lanes: __m256) -> __m256 {
    // SAFETY: as for the caller.
    unsafe {
        let bits = _mm256_castps_si256(lanes);
        let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
        let up = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
        let rounded = _mm256_and_si256(up, _mm256_set1_epi32(0xffff_0000_u32.cast_signed()));
        // A NaN stays as it is.
        let is_nan = _mm256_cmp_ps::<_CMP_UNORD_Q>(lanes, lanes);
        _mm256_blendv_ps(_mm256_castsi256_ps(rounded), lanes, is_nan)
    }
}
