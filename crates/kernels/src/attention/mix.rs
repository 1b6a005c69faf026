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

    /// The values of both tokens; `fit`: whether they are such as need not be rounded.
    unsafe fn join(even: L, odd: L, fit: bool) -> Self;
    /// `sum` + odd weight · odd value, + even weight · even value.
    unsafe fn dot(self, sum: L, weights: *const Self::Weights) -> L;
    /// e^exponent, as exact as weights are, 0 below `floor`.
    unsafe fn exp(exponents: L, floor: f32) -> L;
    /// The weights of sixteen tokens to memory as they will be multiplied; gives them back.
    unsafe fn store_weights(weights: L, to: *mut Self::Weights) -> L;
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
    unsafe fn join(even: L, odd: L, fit: bool) -> Self {
        unsafe {
            match ROUNDED && !fit {
                true => Halves { even: even.round_to_bf16(), odd: odd.round_to_bf16() },
                false => Halves { even, odd },
            }
        }
    }
    #[inline(always)]
    unsafe fn dot(self, sum: L, weights: *const [f32; 2]) -> L {
        // One by one: a pair that is read at once is taken apart by the port that multiplies.
        let weights = weights.cast::<f32>();
        unsafe {
            let odd = self.odd.mul_add(L::splat(*weights.add(1)), sum);
            self.even.mul_add(L::splat(*weights), odd)
        }
    }
    #[inline(always)]
    unsafe fn exp(exponents: L, floor: f32) -> L {
        unsafe {
            match ROUNDED {
                true => exponents.exp_for_bf16(floor),
                false => exponents.exp_above(floor),
            }
        }
    }
    #[inline(always)]
    unsafe fn store_weights(weights: L, to: *mut [f32; 2]) -> L {
        unsafe {
            let weights = if ROUNDED { weights.round_to_bf16() } else { weights };
            weights.store(to.cast());
            weights
        }
    }
}

/// outputs[query] += Σ weight · value, for exactly the tokens that the query's row attends to: what
/// else stands in the page (a later row's value, or an old sequence's NaN) is not touched.
///
/// `values`: scratch for 128 pairs and all columns that are taken at a time, outputs:
/// [queries][value_stride].
///
/// # Safety
///
/// As [`Segment::check`] says, and the processor has the instructions of `V` and `P`.
#[inline(always)]
pub(super) unsafe fn mix_all<V: Registers, P: ValuePairs<V>, E: Element>(
    segment: &Segment<'_, E>,
    weights: Weights,
    values: *mut P,
    outputs: *mut f32,
) {
    let stride = segment.shape.value_stride();
    // Numbers with a scale of their own are taken with weights of their own.
    let most = if E::HAS_SCALES { SCALED_NUMBERS / GROUP_TOKENS } else { usize::MAX };
    for (rows, tokens) in segment.pieces().filter(|(_, tokens)| !tokens.is_empty()) {
        let queries = rows.start * segment.heads..rows.end * segment.heads;
        let mut column = 0;
        while column < stride {
            let columns = columns_now::<V>(((stride - column) / GROUP_TOKENS).min(most));
            let cached = Cached { segment, tokens: &tokens, column };
            // SAFETY: the queries and the columns lie inside both slices.
            unsafe {
                if E::HAS_SCALES && column.is_multiple_of(SCALED_NUMBERS) {
                    cached.scale::<V, P>(queries.clone(), weights);
                }
                let weights = if E::HAS_SCALES { weights.scaled } else { weights.weights };
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

/// The weights of all queries, [queries][256 floats of memory], and room for as many that are
/// multiplied by the scales of values, where these have some.
#[derive(Clone, Copy)]
pub(super) struct Weights {
    pub(super) weights: *const f32,
    pub(super) scaled: *mut f32,
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

/// Values in the cache, from a column on.
#[derive(Clone, Copy)]
struct Cached<'a, E> {
    segment: &'a Segment<'a, E>,
    tokens: &'a Range<usize>,
    column: usize,
}

impl<E: Element> Cached<'_, E> {
    /// Multiplies the weights of some queries by the scales of the values from here on; calls those
    /// of the keys that probably come next. What a row does not see has no scale that means
    /// something, but a weight of 0.
    ///
    /// # Safety
    ///
    /// The queries' weights are there, with room for as many that are scaled, and the processor has
    /// the instructions of `V` and `P`.
    #[inline(always)]
    unsafe fn scale<V: Lanes, P: ValuePairs<V>>(self, queries: Range<usize>, weights: Weights) {
        let (segment, shape) = (self.segment, self.segment.shape);
        let row = self.column / SCALED_NUMBERS * 2 * PAGE_TOKENS;
        let offset = shape.key_length::<E>() + shape.value_numbers() + row;
        let elements = segment.elements.as_ptr();
        let groups = self.tokens.start / GROUP_TOKENS..self.tokens.end.div_ceil(GROUP_TOKENS);
        for group in groups {
            let (page, token) =
                (group * GROUP_TOKENS / PAGE_TOKENS, group * GROUP_TOKENS % PAGE_TOKENS);
            if let Some(next) = segment.next
                && token == 0
            {
                let scales = next[page] + shape.key_numbers::<E>() + row;
                call(elements.wrapping_add(scales), 2 * PAGE_TOKENS);
            }
            // SAFETY: the caller's promise; the scales are behind the page's values.
            unsafe {
                let scales = elements.add(segment.blocks[page] + offset + 2 * token);
                let scales = E::load_scales::<V>(scales);
                for query in queries.clone() {
                    let at = query * SEGMENT_TOKENS;
                    let weight = V::load(weights.weights.add(at + group * GROUP_TOKENS));
                    let scaled = weight.mul(scales);
                    let scaled = scaled.zero_below(weight, V::splat(f32::MIN_POSITIVE));
                    let to = weights.scaled.add(at).cast::<P::Weights>();
                    P::store_weights(scaled, to.add(group * GROUP_TOKENS / 2));
                }
            }
        }
    }

    /// The pages that the tokens stand in.
    fn pages(self) -> impl Iterator<Item = Page<E>> {
        let (segment, shape) = (self.segment, self.segment.shape);
        let (tokens, elements) = (self.tokens, segment.elements.as_ptr());
        (tokens.start / PAGE_TOKENS..tokens.end.div_ceil(PAGE_TOKENS)).map(move |page| {
            let values = segment.blocks[page] + shape.key_length::<E>() + self.column;
            let next = segment.next.as_ref();
            let next = next.map(|next| next[page] + self.column * PAGE_TOKENS);
            Page {
                values: elements.wrapping_add(values),
                stride: shape.value_stride(),
                next: next.map(|next| elements.wrapping_add(next)),
                start: tokens.start.saturating_sub(page * PAGE_TOKENS),
                end: (tokens.end - page * PAGE_TOKENS).min(PAGE_TOKENS),
                pairs_before: page * PAGE_TOKENS / 2,
            }
        })
    }

    /// Joins all pairs once, for many queries: `values` is good for so many.
    ///
    /// # Safety
    ///
    /// As for [`Page::pair`].
    #[inline(always)]
    unsafe fn join_all<V: Lanes, P: ValuePairs<V>, const N: usize>(
        self,
        values: *mut P,
    ) -> Joined<P> {
        let first = self.tokens.start / 2;
        for page in self.pages() {
            for pair in page.pairs() {
                let to = values.cast::<[P; N]>().wrapping_add(page.pairs_before + pair - first);
                // SAFETY: the caller's promise.
                unsafe { to.write_unaligned(page.pair::<V, P, N>(pair)) };
            }
        }
        Joined { values, pairs: first..self.tokens.end.div_ceil(2) }
    }
}

/// Some tokens' values in one page of the cache, from a column on.
struct Page<E> {
    /// Those of the page's first token.
    values: *const E,
    stride: usize,
    /// What is called, where something is: these columns' share of keys that probably come next.
    /// Most often they fill as many bytes.
    next: Option<*const E>,
    /// The tokens, counted from the page's first.
    start: usize,
    end: usize,
    /// Pairs of the segment before the page.
    pairs_before: usize,
}

impl<E: Element> Page<E> {
    /// The pairs that the tokens are in, counted from the page's first.
    #[inline(always)]
    fn pairs(&self) -> Range<usize> {
        self.start / 2..self.end.div_ceil(2)
    }

    /// N columns of a pair; of a token that is not attended to, 0.
    ///
    /// # Safety
    ///
    /// They are in the cache, and the processor has the instructions of `V` and `P`.
    #[inline(always)]
    unsafe fn pair<V: Lanes, P: ValuePairs<V>, const N: usize>(&self, pair: usize) -> [P; N] {
        if let Some(next) = self.next {
            let share = 2 * N * GROUP_TOKENS;
            call(next.wrapping_add(pair * share), share);
        }
        // SAFETY: the caller's promise; values are loaded of tokens that are attended to.
        unsafe {
            let zero = [V::splat(0.0); N];
            let (even, odd) = (2 * pair, 2 * pair + 1);
            let (even, odd) = if even < self.start {
                (zero, self.load(odd))
            } else if odd >= self.end {
                (self.load(even), zero)
            } else {
                (self.load(even), self.load(odd))
            };
            // (A closure in `array::from_fn` would not have the level's target features.)
            let mut pairs = [P::join(even[0], odd[0], E::HAS_SCALES); N];
            for (n, pair) in pairs.iter_mut().enumerate().skip(1) {
                *pair = P::join(even[n], odd[n], E::HAS_SCALES);
            }
            pairs
        }
    }

    /// Sixteen numbers of each of N columns.
    ///
    /// # Safety
    ///
    /// As for [`Page::pair`].
    #[inline(always)]
    unsafe fn load<V: Lanes, const N: usize>(&self, token: usize) -> [V; N] {
        // SAFETY: the caller's promise.
        unsafe {
            let mut value = [V::splat(0.0); N];
            for (n, value) in value.iter_mut().enumerate() {
                *value = E::load(self.values.add(token * self.stride + n * GROUP_TOKENS));
            }
            value
        }
    }
}

/// Pairs that were joined before, by their place in the segment: [pairs][columns].
struct Joined<P> {
    values: *const P,
    pairs: Range<usize>,
}

/// N columns of values in the cache and the weights of M queries → outputs.
///
/// # Safety
///
/// The pointers are good for these shapes, and the processor has the instructions of `V` and `P`.
#[inline(always)]
unsafe fn mix_cached<V: Lanes, P: ValuePairs<V>, E: Element, const M: usize, const N: usize>(
    cached: Cached<'_, E>,
    sums: Sums,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut totals = sums.load::<V, M, N>();
        for page in cached.pages() {
            for pair in page.pairs() {
                let value: [P; N] = page.pair::<V, P, N>(pair);
                sums.add(&mut totals, value, page.pairs_before + pair);
            }
        }
        sums.store(&totals);
    }
}

/// The same with values that were joined before.
///
/// # Safety
///
/// As for [`mix_cached`].
#[inline(always)]
unsafe fn mix_joined<V: Lanes, P: ValuePairs<V>, const M: usize, const N: usize>(
    joined: &Joined<P>,
    sums: Sums,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut totals = sums.load::<V, M, N>();
        for (place, pair) in joined.pairs.clone().enumerate() {
            let value: [P; N] = joined.values.cast::<[P; N]>().add(place).read_unaligned();
            sums.add(&mut totals, value, pair);
        }
        sums.store(&totals);
    }
}

// SAFETY (of all): as for `mix_cached`.
impl Sums {
    #[inline(always)]
    unsafe fn load<V: Lanes, const M: usize, const N: usize>(self) -> [[V; N]; M] {
        unsafe {
            let mut totals = [[V::splat(0.0); N]; M];
            for (m, totals) in totals.iter_mut().enumerate() {
                for (n, total) in totals.iter_mut().enumerate() {
                    *total = V::load(self.outputs.add(m * self.stride + n * GROUP_TOKENS));
                }
            }
            totals
        }
    }

    #[inline(always)]
    unsafe fn store<V: Lanes, const M: usize, const N: usize>(self, totals: &[[V; N]; M]) {
        for (m, totals) in totals.iter().enumerate() {
            for (n, total) in totals.iter().enumerate() {
                unsafe { total.store(self.outputs.add(m * self.stride + n * GROUP_TOKENS)) };
            }
        }
    }

    /// Adds the products of one pair.
    #[inline(always)]
    unsafe fn add<V: Lanes, P: ValuePairs<V>, const M: usize, const N: usize>(
        self,
        totals: &mut [[V; N]; M],
        value: [P; N],
        pair: usize,
    ) {
        for (m, totals) in totals.iter_mut().enumerate() {
            unsafe {
                let weights = self.weights.add(m * SEGMENT_TOKENS).cast::<P::Weights>().add(pair);
                for (total, value) in totals.iter_mut().zip(value) {
                    *total = value.dot(*total, weights);
                }
            }
        }
    }
}
