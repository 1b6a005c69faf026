//! Turns the weights of a tile's queries and the cached values of a segment into sums.
//!
//! Two tokens are taken at a time, one at an even position and the odd one behind it: the odd
//! product is added first and the even one then, each rounded once. That is what `vdpbf16ps` does,
//! with twice the products of an instruction of floats. For it, weights and values are rounded to
//! BF16, unless the call wants them exact: readers with quantised weights round to less.

use super::segment::{
    BLOCK_QUERIES, Registers, Segment, by_count, call, columns_now, query_blocks,
};
use super::tokens::SEGMENT_TOKENS;
use crate::kv::{Element, GROUP_TOKENS, PAGE_TOKENS, SCALED_NUMBERS};
use crate::lanes::Lanes;
use std::ops::Range;

/// Sixteen numbers of two tokens' values, and how they are multiplied.
///
/// # Safety
///
/// As for [`Lanes`].
pub(crate) trait ValuePairs<L: Lanes>: Copy {
    /// The weights of both tokens, at most as large as two floats.
    type Weights: Copy;

    /// The values of both tokens.
    unsafe fn join(even: L, odd: L) -> Self;
    /// `sum` + odd weight · odd value, + even weight · even value.
    unsafe fn dot(self, sum: L, weights: Self::Weights) -> L;
    /// The weights e^exponent of sixteen tokens, 0 below `floor`, to memory as they will be
    /// multiplied; gives them back.
    unsafe fn store_weights(exponents: L, floor: f32, to: *mut Self::Weights) -> L;
}

/// Two registers of floats, `ROUNDED` to BF16 or not.
#[derive(Clone, Copy)]
pub(super) struct Halves<L, const ROUNDED: bool> {
    even: L,
    odd: L,
}

// SAFETY (all): as for the caller.
impl<L: Lanes, const ROUNDED: bool> ValuePairs<L> for Halves<L, ROUNDED> {
    type Weights = [f32; 2];

    #[inline(always)]
    unsafe fn join(even: L, odd: L) -> Self {
        unsafe {
            match ROUNDED {
                true => Halves { even: even.round_to_bf16(), odd: odd.round_to_bf16() },
                false => Halves { even, odd },
            }
        }
    }
    #[inline(always)]
    unsafe fn dot(self, sum: L, weights: [f32; 2]) -> L {
        unsafe {
            let odd = self.odd.mul_add(L::splat(weights[1]), sum);
            self.even.mul_add(L::splat(weights[0]), odd)
        }
    }
    #[inline(always)]
    unsafe fn store_weights(exponents: L, floor: f32, to: *mut [f32; 2]) -> L {
        unsafe {
            let weights = match ROUNDED {
                true => exponents.exp_for_bf16(floor).round_to_bf16(),
                false => exponents.exp_above(floor),
            };
            weights.store(to.cast());
            weights
        }
    }
}

/// outputs[query] += Σ weight · value, for exactly the tokens that the query's row attends to: what
/// else stands in the page (a later row's value, or an old sequence's NaN) is not touched.
///
/// weights: [queries][256 floats of memory], `values`: scratch for 128 pairs and all columns that
/// are taken at a time, outputs: [queries][value_stride].
///
/// # Safety
///
/// As [`Segment::check`] says, and the processor has the instructions of `V` and `P`.
#[inline(always)]
pub(super) unsafe fn mix_all<V: Registers, P: ValuePairs<V>, E: Element>(
    segment: &Segment<'_, E>,
    weights: *const f32,
    values: *mut P,
    outputs: *mut f32,
) {
    let stride = segment.shape.value_stride();
    for (rows, tokens) in segment.pieces().filter(|(_, tokens)| !tokens.is_empty()) {
        let queries = rows.start * segment.heads..rows.end * segment.heads;
        let mut column = 0;
        while column < stride {
            let columns = columns_now::<V>((stride - column) / GROUP_TOKENS);
            let cached = Cached { segment, tokens: &tokens, column };
            // SAFETY: the queries and the columns lie inside both slices.
            unsafe {
                let sums = Sums {
                    weights: weights.add(queries.start * SEGMENT_TOKENS),
                    outputs: outputs.add(queries.start * stride + column),
                    stride,
                };
                mix_columns::<V, P, E>(columns, queries.len(), cached, sums, values);
            }
            column += columns * GROUP_TOKENS;
        }
    }
}

/// Where the weights of some queries stand, and some columns of their outputs.
#[derive(Clone, Copy)]
struct Sums {
    weights: *const f32,
    outputs: *mut f32,
    stride: usize,
}

/// # Safety
///
/// As for [`mix_all`].
#[inline(always)]
unsafe fn mix_columns<V: Registers, P: ValuePairs<V>, E: Element>(
    columns: usize,
    queries: usize,
    cached: Cached<'_, E>,
    sums: Sums,
    values: *mut P,
) {
    // SAFETY: the caller's promise.
    unsafe {
        if queries <= BLOCK_QUERIES {
            return by_count!(mix_cached, (V, P, E), columns, queries, (cached, sums));
        }
        let joined = match columns {
            4 => cached.join_all::<V, P, 4>(values),
            2 => cached.join_all::<V, P, 2>(values),
            _ => cached.join_all::<V, P, 1>(values),
        };
        for (first, count) in query_blocks(queries) {
            let sums = Sums {
                weights: sums.weights.add(first * SEGMENT_TOKENS),
                outputs: sums.outputs.add(first * sums.stride),
                ..sums
            };
            by_count!(mix_joined, (V, P), columns, count, (&joined, sums));
        }
    }
}

/// Pairs of values, from wherever they are.
trait Source<V: Lanes, P> {
    /// The pairs that there are, by their place in the segment.
    fn pairs(&self) -> Range<usize>;
    /// N columns of one of them.
    ///
    /// # Safety
    ///
    /// It is one of [`Source::pairs`], N is the number of columns, and the processor has the
    /// instructions of `V` and `P`.
    unsafe fn pair<const N: usize>(&self, pair: usize) -> [P; N];
}

/// Values in the cache, from a column on.
#[derive(Clone, Copy)]
struct Cached<'a, E> {
    segment: &'a Segment<'a, E>,
    tokens: &'a Range<usize>,
    column: usize,
}

impl<V: Lanes, P: ValuePairs<V>, E: Element> Source<V, P> for Cached<'_, E> {
    #[inline(always)]
    fn pairs(&self) -> Range<usize> {
        self.tokens.start / 2..self.tokens.end.div_ceil(2)
    }

    /// Of a token that is not attended to, 0.
    #[inline(always)]
    unsafe fn pair<const N: usize>(&self, pair: usize) -> [P; N] {
        // SAFETY: the caller's promise; values are loaded of tokens that are attended to.
        unsafe {
            let zero = [V::splat(0.0); N];
            let (even, odd) = (2 * pair, 2 * pair + 1);
            let (even, odd) = if even < self.tokens.start {
                (zero, self.load(odd))
            } else if odd >= self.tokens.end {
                (self.load(even), zero)
            } else {
                (self.load(even), self.load(odd))
            };
            // (A closure in `array::from_fn` would not have the level's target features.)
            let mut pairs = [P::join(even[0], odd[0]); N];
            for (n, pair) in pairs.iter_mut().enumerate().skip(1) {
                *pair = P::join(even[n], odd[n]);
            }
            pairs
        }
    }
}

impl<E: Element> Cached<'_, E> {
    /// Sixteen numbers of each of N columns; calls those of the token in the same place of the
    /// segment that probably comes next.
    ///
    /// # Safety
    ///
    /// They are in the cache, and the processor has the instructions of `V`.
    #[inline(always)]
    unsafe fn load<V: Lanes, const N: usize>(&self, token: usize) -> [V; N] {
        let (segment, stride) = (self.segment, self.segment.shape.value_stride());
        let (page, token) = (token / PAGE_TOKENS, token % PAGE_TOKENS);
        let place = token * stride + self.column;
        let elements = segment.elements.as_ptr();
        if let Some(next) = segment.next {
            call(elements.wrapping_add(next[page] + place), N * GROUP_TOKENS);
        }
        let values = segment.blocks[page] + segment.shape.key_length::<E>();
        let scales = values + PAGE_TOKENS * stride + token * E::scales(stride);
        // SAFETY: the caller's promise.
        unsafe {
            let mut value = [V::splat(0.0); N];
            for (n, value) in value.iter_mut().enumerate() {
                let scale = (self.column + n * GROUP_TOKENS) / SCALED_NUMBERS * 2;
                let scale = E::splat_scale(elements.wrapping_add(scales + scale));
                *value = E::load(elements.add(values + place + n * GROUP_TOKENS), scale);
            }
            value
        }
    }

    /// Joins all pairs once, for many queries: `values` is good for so many.
    ///
    /// # Safety
    ///
    /// As for [`Source::pair`].
    #[inline(always)]
    unsafe fn join_all<V: Lanes, P: ValuePairs<V>, const N: usize>(
        self,
        values: *mut P,
    ) -> Joined<P> {
        let pairs = Source::<V, P>::pairs(&self);
        for (place, pair) in pairs.clone().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { values.cast::<[P; N]>().add(place).write_unaligned(self.pair(pair)) };
        }
        Joined { values, pairs }
    }
}

/// Pairs that were joined before: [pairs][columns].
struct Joined<P> {
    values: *const P,
    pairs: Range<usize>,
}

impl<V: Lanes, P: ValuePairs<V>> Source<V, P> for Joined<P> {
    #[inline(always)]
    fn pairs(&self) -> Range<usize> {
        self.pairs.clone()
    }

    #[inline(always)]
    unsafe fn pair<const N: usize>(&self, pair: usize) -> [P; N] {
        let place = pair - self.pairs.start;
        // SAFETY: the caller's promise.
        unsafe { self.values.cast::<[P; N]>().add(place).read_unaligned() }
    }
}

/// # Safety
///
/// As for [`mix_block`].
#[inline(always)]
unsafe fn mix_cached<V: Lanes, P: ValuePairs<V>, E: Element, const M: usize, const N: usize>(
    values: Cached<'_, E>,
    sums: Sums,
) {
    // SAFETY: the caller's promise.
    unsafe { mix_block::<V, P, _, M, N>(&values, sums) }
}

/// # Safety
///
/// As for [`mix_block`].
#[inline(always)]
unsafe fn mix_joined<V: Lanes, P: ValuePairs<V>, const M: usize, const N: usize>(
    values: &Joined<P>,
    sums: Sums,
) {
    // SAFETY: the caller's promise.
    unsafe { mix_block::<V, P, _, M, N>(values, sums) }
}

/// N columns of values and the weights of M queries → outputs.
///
/// # Safety
///
/// The pointers are good for these shapes, and the processor has the instructions of `V` and `P`.
#[inline(always)]
unsafe fn mix_block<V, P, S, const M: usize, const N: usize>(values: &S, sums: Sums)
where
    V: Lanes,
    P: ValuePairs<V>,
    S: Source<V, P>,
{
    let Sums { weights, outputs, stride } = sums;
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[V::splat(0.0); N]; M];
        for (m, sums) in sums.iter_mut().enumerate() {
            for (n, sum) in sums.iter_mut().enumerate() {
                *sum = V::load(outputs.add(m * stride + n * GROUP_TOKENS));
            }
        }
        for pair in values.pairs() {
            let value: [P; N] = values.pair(pair);
            for (m, sums) in sums.iter_mut().enumerate() {
                let weights = weights.add(m * SEGMENT_TOKENS).cast::<P::Weights>();
                let weights = weights.add(pair).read_unaligned();
                for (sum, value) in sums.iter_mut().zip(value) {
                    *sum = value.dot(*sum, weights);
                }
            }
        }
        for (m, sums) in sums.iter().enumerate() {
            for (n, sum) in sums.iter().enumerate() {
                sum.store(outputs.add(m * stride + n * GROUP_TOKENS));
            }
        }
    }
}
