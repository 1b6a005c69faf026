//! Turns sixteen lanes into stored numbers and back: what a cache may be made of.

use super::PAGE_TOKENS;
use crate::activations::CORRECTED_BIAS;
use crate::f16::{f16_to_f32, f32_to_f16};
use crate::lanes::Lanes;
use std::fmt;
use std::str::FromStr;

/// Numbers of one token that share a scale, in caches of bytes.
pub(crate) const SCALED_NUMBERS: usize = 32;

/// The type of the numbers that a cache stores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KvType {
    /// Half floats: 16 bits, of which 11 are the number's own.
    #[default]
    F16,
    /// Floats as they are computed: exact, to compare with computations that round nowhere.
    F32,
    /// Bytes: -127 to 127 times a half float that 32 numbers of one token share, 8.5 bits each.
    Q8_0,
}

impl KvType {
    /// Those that people may choose.
    pub const OFFERED: [KvType; 2] = [KvType::F16, KvType::Q8_0];

    /// The name in flags, `ggml`'s.
    pub fn name(self) -> &'static str {
        match self {
            KvType::F16 => "f16",
            KvType::F32 => "f32",
            KvType::Q8_0 => "q8_0",
        }
    }

    /// Numbers of one key that stand side by side.
    pub(crate) fn key_step(self) -> usize {
        match self {
            KvType::F16 => u16::KEY_STEP,
            KvType::F32 => f32::KEY_STEP,
            KvType::Q8_0 => u8::KEY_STEP,
        }
    }

    /// Bytes that `numbers` of one token take; `usize::MAX` if that is no number.
    pub(crate) fn bytes(self, numbers: usize) -> usize {
        match self {
            KvType::F16 => numbers.saturating_mul(size_of::<u16>()),
            KvType::F32 => numbers.saturating_mul(size_of::<f32>()),
            KvType::Q8_0 => numbers.saturating_add(u8::scales(numbers)),
        }
    }
}

impl fmt::Display for KvType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is none of a [`KvType`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvTypeError(String);

impl fmt::Display for KvTypeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = KvType::OFFERED.map(KvType::name).join(" and ");
        write!(f, "{:?} is no type of a KV cache; there are {names}", self.0)
    }
}

impl std::error::Error for KvTypeError {}

impl FromStr for KvType {
    type Err = KvTypeError;

    fn from_str(name: &str) -> Result<KvType, KvTypeError> {
        let mut offered = KvType::OFFERED.into_iter();
        offered
            .find(|kind| kind.name().eq_ignore_ascii_case(name))
            .ok_or_else(|| KvTypeError(name.into()))
    }
}

/// The largest finite half float. Larger keys and values are stored as it: an infinity would turn
/// every later token of the sequence into NaN.
const HALF_MAX: f32 = 65504.0;

/// A number in a cache: the bits of a half float, a float, or a byte that has a scale.
pub(crate) trait Element: Copy + Default + Send + Sync {
    /// Whether numbers have scales.
    const HAS_SCALES: bool;

    /// Numbers of one key that stand side by side, before those of the next token.
    const KEY_STEP: usize;

    /// Elements that the scales of so many numbers of one token take.
    fn scales(numbers: usize) -> usize;

    /// Sixteen numbers of a value from memory, widened, without their scale.
    ///
    /// # Safety
    ///
    /// As for [`Lanes::load`].
    unsafe fn load<V: Lanes>(from: *const Self) -> V;

    /// Number `d` of the keys of sixteen tokens, widened, without their scales. `keys`: those of a
    /// page, from the first of the tokens on.
    ///
    /// # Safety
    ///
    /// As for [`Lanes::load`].
    unsafe fn load_key<V: Lanes>(keys: *const Self, d: usize) -> V;

    /// A number as keys store it.
    fn as_key(self) -> Self;

    /// The scales of sixteen tokens side by side.
    ///
    /// # Safety
    ///
    /// Where numbers have scales, `from` is good for sixteen of them.
    unsafe fn load_scales<V: Lanes>(from: *const Self) -> V;

    /// x: [n] → elements: [n rounded up to 16], zeros behind, and their scales.
    ///
    /// # Safety
    ///
    /// The processor has the instructions of `V`.
    unsafe fn convert<V: Lanes>(x: &[f32], elements: &mut [Self], scales: &mut [Self]);
}

/// Types whose numbers stand for themselves.
macro_rules! unscaled {
    ($element:ident, $from:ident => $load:expr, $lanes:ident, $to:ident => $store:expr) => {
        impl Element for $element {
            const HAS_SCALES: bool = false;
            const KEY_STEP: usize = 1;

            fn scales(_numbers: usize) -> usize {
                0
            }

            #[inline(always)]
            unsafe fn load<V: Lanes>($from: *const $element) -> V {
                // SAFETY: passed on to the caller.
                unsafe { $load }
            }

            #[inline(always)]
            unsafe fn load_key<V: Lanes>(keys: *const $element, d: usize) -> V {
                // SAFETY: passed on to the caller.
                unsafe { Self::load(keys.add(d * PAGE_TOKENS)) }
            }

            #[inline(always)]
            fn as_key(self) -> $element {
                self
            }

            #[inline(always)]
            unsafe fn load_scales<V: Lanes>(_from: *const $element) -> V {
                // SAFETY: passed on to the caller.
                unsafe { V::splat(1.0) }
            }

            #[inline(always)]
            unsafe fn convert<V: Lanes>(
                x: &[f32],
                elements: &mut [$element],
                _scales: &mut [$element],
            ) {
                for (x, to) in x.chunks(16).zip(elements.chunks_exact_mut(16)) {
                    // SAFETY: `x` has `x.len()` floats, at most 16, and there are 16 elements.
                    unsafe {
                        let ($lanes, $to) = (V::load_first(x.as_ptr(), x.len()), to.as_mut_ptr());
                        $store
                    }
                }
            }
        }
    };
}

unscaled!(u16, from => V::load_f16(from), lanes, to => clamp(lanes).store_f16(to));
unscaled!(f32, from => V::load(from), lanes, to => lanes.store(to));

/// A number that a half float can hold; a NaN is the second operand of both, and passes.
#[inline(always)]
unsafe fn clamp<V: Lanes>(lanes: V) -> V {
    // SAFETY: passed on to the caller.
    unsafe { V::splat(-HALF_MAX).max(V::splat(HALF_MAX).min(lanes)) }
}

// SAFETY (of all): passed on to the caller.
impl Element for u8 {
    const HAS_SCALES: bool = true;
    // What one instruction multiplies and adds up.
    const KEY_STEP: usize = 4;

    fn scales(numbers: usize) -> usize {
        numbers.div_ceil(SCALED_NUMBERS) * size_of::<u16>()
    }

    #[inline(always)]
    unsafe fn load<V: Lanes>(from: *const u8) -> V {
        unsafe { V::load_i8(from.cast()) }
    }

    #[inline(always)]
    unsafe fn load_key<V: Lanes>(keys: *const u8, d: usize) -> V {
        unsafe {
            let levels = V::load_bytes(keys.add(d / 4 * 4 * PAGE_TOKENS));
            // This one number of the four, times 1.
            let chain = V::begin_chain::<true>(-CORRECTED_BIAS);
            let chain = V::dot4::<true>(chain, levels, 1 << (8 * (d % 4)));
            V::from_ints(V::end_chain::<true>(chain, -CORRECTED_BIAS))
        }
    }

    /// Without a sign: as products of bytes read it.
    #[inline(always)]
    fn as_key(self) -> u8 {
        self ^ CORRECTED_BIAS as u8
    }

    #[inline(always)]
    unsafe fn load_scales<V: Lanes>(from: *const u8) -> V {
        unsafe { V::load_f16(from.cast()) }
    }

    #[inline(always)]
    unsafe fn convert<V: Lanes>(x: &[f32], elements: &mut [u8], scales: &mut [u8]) {
        let blocks = elements.chunks_mut(SCALED_NUMBERS).zip(scales.chunks_exact_mut(2));
        for (x, (elements, scale)) in x.chunks(SCALED_NUMBERS).zip(blocks) {
            unsafe {
                let (mut greatest, mut poison) = (V::splat(0.0), V::splat(0.0));
                for x in x.chunks(16) {
                    let lanes = clamp(V::load_first(x.as_ptr(), x.len()));
                    greatest = lanes.abs().max(greatest);
                    poison = poison.add(lanes.sub(lanes));
                }
                // One NaN makes NaN of all: what is broken must show.
                let half = f32_to_f16(greatest.greatest() / 127.0 + poison.sum());
                scale.copy_from_slice(&half.to_ne_bytes());
                let step = f16_to_f32(half);
                let inverse = V::splat(if step > 0.0 { 1.0 / step } else { 0.0 });
                for (x, to) in x.chunks(16).zip(elements.chunks_exact_mut(16)) {
                    let levels = V::load_first(x.as_ptr(), x.len()).mul(inverse);
                    // A NaN becomes 127.
                    let levels = levels.min(V::splat(127.0)).max(V::splat(-127.0));
                    levels.store_rounded_i8(to.as_mut_ptr().cast());
                }
            }
        }
    }
}
