//! Turns sixteen lanes into stored numbers and back: what a cache may be made of.

use crate::lanes::Lanes;

/// The type of the numbers that a cache stores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KvType {
    /// Half floats: half the memory, and 11 bits of each number.
    #[default]
    F16,
    /// Floats as they are computed: exact, to compare with computations that round nowhere.
    F32,
}

impl KvType {
    /// Bytes of one number.
    pub fn bytes(self) -> usize {
        match self {
            KvType::F16 => size_of::<u16>(),
            KvType::F32 => size_of::<f32>(),
        }
    }
}

/// The largest finite half float. Larger keys and values are stored as it: an infinity would turn
/// every later token of the sequence into NaN.
const HALF_MAX: f32 = 65504.0;

/// A number in a cache: the bits of a half float, or a float.
pub(crate) trait Element: Copy + Default + Send + Sync {
    /// Sixteen numbers from memory, widened.
    ///
    /// # Safety
    ///
    /// As for [`Lanes::load`].
    unsafe fn load<V: Lanes>(from: *const Self) -> V;

    /// Sixteen numbers to memory, rounded to what the type holds.
    ///
    /// # Safety
    ///
    /// As for [`Lanes::store`].
    unsafe fn store<V: Lanes>(lanes: V, to: *mut Self);
}

// SAFETY (of both): passed on to the caller.
impl Element for u16 {
    #[inline(always)]
    unsafe fn load<V: Lanes>(from: *const u16) -> V {
        unsafe { V::load_f16(from) }
    }

    #[inline(always)]
    unsafe fn store<V: Lanes>(lanes: V, to: *mut u16) {
        // A NaN is the second operand of both, and passes.
        unsafe { V::splat(-HALF_MAX).max(V::splat(HALF_MAX).min(lanes)).store_f16(to) }
    }
}

impl Element for f32 {
    #[inline(always)]
    unsafe fn load<V: Lanes>(from: *const f32) -> V {
        unsafe { V::load(from) }
    }

    #[inline(always)]
    unsafe fn store<V: Lanes>(lanes: V, to: *mut f32) {
        unsafe { lanes.store(to) }
    }
}
