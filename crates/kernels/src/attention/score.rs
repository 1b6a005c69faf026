//! Turns the queries of a tile and the keys of a segment into scores.
//!
//! Keys of floats are multiplied as floats. Keys of bytes are multiplied by queries of bytes: what
//! 32 numbers add to a score is a whole number times both scales, four products an instruction.

use super::segment::{Registers, Segment, by_count, call, columns_now, query_blocks};
use super::tokens::SEGMENT_TOKENS;
use crate::activations::{CORRECTED_BIAS, quantise_block};
use crate::kv::{Element, GROUP_TOKENS, PAGE_TOKENS, SCALED_NUMBERS};
use crate::lanes::Lanes;
use crate::level::leveled;
use std::ops::Range;

/// The queries of a tile, block by block as [`query_blocks`] says, in the order in which kernels
/// read them. One of both is filled.
#[derive(Clone, Copy)]
pub(super) struct Queries<'a> {
    /// For keys of floats, [key_size][count].
    pub(super) floats: &'a [f32],
    /// For keys of bytes, [key_size / 32, rounded up][count].
    pub(super) bytes: &'a [QueryBytes],
}

/// Thirty-two numbers of a query, or the last few: scale · values.
#[derive(Clone, Copy, Default)]
pub(super) struct QueryBytes {
    /// Four numbers from -127 to 127 in each; 0 behind the last.
    values: [i32; SCALED_NUMBERS / 4],
    /// What chains of keys begin with, as these are stored with a bias.
    correction: i32,
    scale: f32,
}

leveled!(
    /// One query, times `scale`, to every `stride`th of `to`.
    pub(super) fn pack_bytes(
        kernels,
        query: &[f32],
        scale: f32,
        to: &mut [QueryBytes],
        stride: usize,
    ) = pack_bytes_lanes
);

/// # Safety
///
/// The processor has the instructions of `V`.
#[inline(always)]
unsafe fn pack_bytes_lanes<V: Lanes>(
    query: &[f32],
    scale: f32,
    to: &mut [QueryBytes],
    stride: usize,
) {
    for (numbers, to) in query.chunks(SCALED_NUMBERS).zip(to.iter_mut().step_by(stride)) {
        let mut values = [0i8; SCALED_NUMBERS];
        // One NaN makes NaN of all: what is broken must show.
        let mut poison = 0.0;
        // SAFETY: the caller's promise; chunks are of at most sixteen floats.
        let (step, sums) = unsafe {
            for numbers in numbers.chunks(GROUP_TOKENS) {
                let lanes = V::load_first(numbers.as_ptr(), numbers.len());
                poison += lanes.sub(lanes).sum();
            }
            quantise_block::<V>(numbers, &mut values)
        };
        to.correction = -CORRECTED_BIAS * (sums[0] + sums[1]);
        to.scale = (step + poison) * scale;
        for (to, values) in to.values.iter_mut().zip(values.chunks_exact(4)) {
            *to = i32::from_le_bytes([0, 1, 2, 3].map(|i| values[i].cast_unsigned()));
        }
    }
}

/// The keys of sixteen tokens, [`Element::KEY_STEP`] rows of a page in each of theirs.
#[derive(Clone, Copy)]
pub(super) struct Group<E> {
    keys: *const E,
    /// [key_size / 32] rows, as many scales from one to the next.
    scales: *const E,
}

/// Elements of a cache, and what keys of them are multiplied by.
pub(super) trait Scored: Element {
    /// A number of a query, or several.
    type Query: Copy;

    /// How many of these a query has.
    fn query_length(key_size: usize) -> usize;

    /// Those that are for such keys.
    fn select<'a>(queries: &Queries<'a>) -> &'a [Self::Query];

    /// Most groups of keys to be taken at a time for so many queries.
    fn columns(queries: usize) -> usize;

    /// The scores of `count` queries with `columns` groups of keys, see [`score_floats`].
    ///
    /// # Safety
    ///
    /// As there.
    unsafe fn score_columns<V: Registers>(
        columns: usize,
        count: usize,
        segment: &Segment<'_, Self>,
        queries: *const Self::Query,
        keys: &[Group<Self>],
        scores: *mut f32,
    );
}

macro_rules! scored_as_floats {
    ($element:ident) => {
        impl Scored for $element {
            type Query = f32;

            fn query_length(key_size: usize) -> usize {
                key_size
            }

            fn select<'a>(queries: &Queries<'a>) -> &'a [f32] {
                queries.floats
            }

            fn columns(_queries: usize) -> usize {
                usize::MAX
            }

            #[inline(always)]
            unsafe fn score_columns<V: Registers>(
                columns: usize,
                count: usize,
                segment: &Segment<'_, $element>,
                queries: *const f32,
                keys: &[Group<$element>],
                scores: *mut f32,
            ) {
                // SAFETY: passed on.
                unsafe {
                    by_count!(
                        score_floats,
                        (V, $element),
                        columns,
                        count,
                        (segment, queries, keys, scores)
                    )
                }
            }
        }
    };
}

scored_as_floats!(u16);
scored_as_floats!(f32);

impl Scored for u8 {
    type Query = QueryBytes;

    fn query_length(key_size: usize) -> usize {
        key_size.div_ceil(SCALED_NUMBERS)
    }

    fn select<'a>(queries: &Queries<'a>) -> &'a [QueryBytes] {
        queries.bytes
    }

    /// Each sum has two registers: one of whole numbers, one of floats.
    fn columns(queries: usize) -> usize {
        if queries <= 3 { 4 } else { 2 }
    }

    #[inline(always)]
    unsafe fn score_columns<V: Registers>(
        columns: usize,
        count: usize,
        segment: &Segment<'_, u8>,
        queries: *const QueryBytes,
        keys: &[Group<u8>],
        scores: *mut f32,
    ) {
        // SAFETY: passed on.
        unsafe { by_count!(score_bytes, (V), columns, count, (segment, queries, keys, scores)) }
    }
}

/// Scores of all queries with whole groups of keys; those that a row does not see mean nothing.
///
/// # Safety
///
/// As [`Segment::check`] says, and the processor has the instructions of `V`.
#[inline(always)]
pub(super) unsafe fn score_all<V: Registers, E: Scored>(
    segment: &Segment<'_, E>,
    queries: *const E::Query,
    scores: *mut f32,
) {
    let elements = segment.elements.as_ptr();
    let mut keys = [Group { keys: elements, scales: elements }; SEGMENT_TOKENS / GROUP_TOKENS];
    let blocks = query_blocks(segment.queries());
    let most = blocks.map(|(_, count)| E::columns(count)).min().unwrap_or(1);
    for Range { start, end } in segment.groups() {
        for (group, keys) in (start..).zip(&mut keys[start..end]) {
            let (page, token) =
                (group * GROUP_TOKENS / PAGE_TOKENS, group * GROUP_TOKENS % PAGE_TOKENS);
            // SAFETY: the page's block lies inside the cache; so do its scales, where it has some.
            unsafe {
                let block = elements.add(segment.blocks[page]);
                let scales = block.wrapping_add(segment.shape.key_numbers::<E>() + 2 * token);
                *keys = Group { keys: block.add(token * E::KEY_STEP), scales };
            }
        }
        let mut group = start;
        while group < end {
            let columns = columns_now::<V>((end - group).min(most));
            for (first, count) in blocks {
                // SAFETY: `columns` groups are left; the block of queries lies inside both slices.
                unsafe {
                    let queries = queries.add(first * E::query_length(segment.shape.key_size));
                    let scores = scores.add(first * SEGMENT_TOKENS + group * GROUP_TOKENS);
                    E::score_columns::<V>(columns, count, segment, queries, &keys[group..], scores);
                }
            }
            group += columns;
        }
    }
}

/// Dimensions after which some more of the values are called. (The loop over them stays a loop:
/// unrolled, so many would need more registers than AVX2 has.)
const STEP: usize = 8;

/// queries: [key_size][M], keys: N × [key_size][16] → scores: [M][256], 16 N of them.
///
/// # Safety
///
/// The pointers are good for these shapes, and the processor has the instructions of `V`.
#[inline(always)]
unsafe fn score_floats<V: Lanes, E: Element, const M: usize, const N: usize>(
    segment: &Segment<'_, E>,
    queries: *const f32,
    keys: &[Group<E>],
    scores: *mut f32,
) {
    let keys: &[Group<E>; N] = keys.first_chunk().expect("N groups");
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[V::splat(0.0); N]; M];
        for d in 0..segment.shape.key_size {
            if d % STEP == 0 {
                call_values(segment, keys, d, STEP);
            }
            let mut key = [V::splat(0.0); N];
            for (key, group) in key.iter_mut().zip(keys) {
                *key = E::load_key(group.keys, d);
            }
            for (m, sums) in sums.iter_mut().enumerate() {
                let query = V::splat(*queries.add(d * M + m));
                for (sum, key) in sums.iter_mut().zip(key) {
                    *sum = query.mul_add(key, *sum);
                }
            }
        }
        store(&sums, scores);
    }
}

/// queries: [key_size / 32][M], keys: N × [key_size / 4][16][4] → scores: [M][256], 16 N of them.
///
/// # Safety
///
/// As for [`score_floats`].
#[inline(always)]
unsafe fn score_bytes<V: Lanes, const M: usize, const N: usize>(
    segment: &Segment<'_, u8>,
    queries: *const QueryBytes,
    keys: &[Group<u8>],
    scores: *mut f32,
) {
    let keys: &[Group<u8>; N] = keys.first_chunk().expect("N groups");
    let size = segment.shape.key_size;
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[V::splat(0.0); N]; M];
        for block in 0..size.div_ceil(SCALED_NUMBERS) {
            let first = block * SCALED_NUMBERS;
            call_values(segment, keys, first, SCALED_NUMBERS);
            let queries: &[QueryBytes; M] = &*queries.add(block * M).cast();
            let mut chains = [[V::begin_chain::<true>(0); N]; M];
            for (chains, query) in chains.iter_mut().zip(queries) {
                *chains = [V::begin_chain::<true>(query.correction); N];
            }
            for step in 0..(size - first).min(SCALED_NUMBERS).div_ceil(u8::KEY_STEP) {
                let row = (first + u8::KEY_STEP * step) * PAGE_TOKENS;
                for (n, group) in keys.iter().enumerate() {
                    let levels = V::load_bytes(group.keys.add(row));
                    for (chains, query) in chains.iter_mut().zip(queries) {
                        chains[n] = V::dot4::<true>(chains[n], levels, query.values[step]);
                    }
                }
            }
            for (n, group) in keys.iter().enumerate() {
                let scale = u8::load_scales::<V>(group.scales.add(block * 2 * PAGE_TOKENS));
                for ((sums, chains), query) in sums.iter_mut().zip(chains).zip(queries) {
                    let dot = V::end_chain::<true>(chains[n], query.correction);
                    let dot = V::from_ints(dot).mul(scale);
                    sums[n] = dot.mul_add(V::splat(query.scale), sums[n]);
                }
            }
        }
        store(&sums, scores);
    }
}

/// # Safety
///
/// As for [`score_floats`].
#[inline(always)]
unsafe fn store<V: Lanes, const M: usize, const N: usize>(sums: &[[V; N]; M], scores: *mut f32) {
    for (m, sums) in sums.iter().enumerate() {
        for (n, sum) in sums.iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { sum.store(scores.add(m * SEGMENT_TOKENS + n * GROUP_TOKENS)) };
        }
    }
}

/// Calls the share of `count` dimensions, from `first` on, of the values that these keys come
/// before: one page's for every two groups of its keys. Most often they fill as many bytes.
#[inline(always)]
fn call_values<E: Element, const N: usize>(
    segment: &Segment<'_, E>,
    keys: &[Group<E>; N],
    first: usize,
    count: usize,
) {
    let shape = segment.shape;
    if segment.next.is_none() || first >= shape.value_stride() {
        return;
    }
    let offset = shape.key_length::<E>() + first * PAGE_TOKENS;
    for group in keys.iter().step_by(2) {
        call(group.keys.wrapping_add(offset), count * PAGE_TOKENS);
        if E::HAS_SCALES && first == 0 {
            let scales = shape.key_length::<E>() + shape.value_numbers();
            call(group.keys.wrapping_add(scales), shape.block_length::<E>() - scales);
        }
    }
}
