//! Turns registers into single numbers, as the levels of x86-64 do: trees of halves.

use std::arch::x86_64::*;

/// The sum of eight lanes: halves are added until one is left.
///
/// # Safety
///
/// The processor has AVX2.
#[inline(always)]
pub(super) unsafe fn sum8(lanes: __m256) -> f32 {
    // SAFETY: as for the caller.
    unsafe {
        let four = _mm_add_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps::<1>(lanes));
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
    }
}

/// The greatest of eight lanes. Of two, the second counts where it is greater, and the first where
/// one is NaN.
///
/// # Safety
///
/// The processor has AVX2.
#[inline(always)]
pub(super) unsafe fn greatest8(lanes: __m256) -> f32 {
    // SAFETY: as for the caller. `max` gives its second operand where one is NaN.
    unsafe {
        let four = _mm_max_ps(_mm256_extractf128_ps::<1>(lanes), _mm256_castps256_ps128(lanes));
        let two = _mm_max_ps(_mm_movehl_ps(four, four), four);
        _mm_cvtss_f32(_mm_max_ss(_mm_movehdup_ps(two), two))
    }
}

/// The sum of sixteen i8.
///
/// # Safety
///
/// The processor has SSE2.
#[inline(always)]
pub(super) unsafe fn sum_i8(bytes: __m128i) -> i32 {
    // SAFETY: as for the caller.
    unsafe {
        // As unsigned bytes each is 128 more.
        let raised = _mm_xor_si128(bytes, _mm_set1_epi8(-128));
        let halves = _mm_sad_epu8(raised, _mm_setzero_si128());
        let sum = _mm_add_epi32(halves, _mm_srli_si128::<8>(halves));
        _mm_cvtsi128_si32(sum) - 16 * 128
    }
}
