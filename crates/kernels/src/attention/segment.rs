//! Turns the queries of a tile and 256 tokens of keys and values into a part of their attention.
//!
//! The order of all operations on one query is fixed, whatever stands beside it in the tile: each
//! score is one chain over the head's dimensions, each output one chain over the tokens, both
//! ascending; the sum of the weights is one chain per lane, then a tree over the lanes.

use super::parts::{QUERIES_MAX, part_length};
use super::tokens::{Runs, SEGMENT_TOKENS, TokenSet};
use crate::kv::{Element, GROUP_TOKENS, KvShape, PAGE_TOKENS, SCALED_NUMBERS};
use crate::lanes::Lanes;
use crate::lanes::scalar::Scalar;
use crate::level::leveled;
use crate::memory::prefetch;
use std::ops::Range;

/// Pages of a segment.
pub(super) const SEGMENT_PAGES: usize = SEGMENT_TOKENS / PAGE_TOKENS;

/// Queries that share a loaded key or value: six times four registers of sums, four of keys and one
/// query fill 29 of 32 registers (AVX2: six times two of 16).
const BLOCK_QUERIES: usize = 6;

/// One kv head and at most 256 tokens, seen by `rows` tokens' `heads` queries each.
pub(super) struct Segment<'a, E> {
    /// The memory of the cache.
    pub(super) elements: &'a [E],
    /// Where the block of each page begins in `elements`.
    pub(super) blocks: [usize; SEGMENT_PAGES],
    pub(super) shape: KvShape,
    pub(super) rows: usize,
    pub(super) heads: usize,
    /// Tokens from the segment's beginning up to the first row's own; each further row has `step`
    /// (1 or 0) more. The segment's end may come before.
    pub(super) seen: usize,
    pub(super) step: usize,
    /// Tokens up to its own that a row sees.
    pub(super) window: usize,
    /// Of those that it sees, the ones that the only row attends to, if not all.
    pub(super) selection: Option<TokenSet>,
    pub(super) scale: f32,
    /// Blocks that this thread will probably read next, if the cache's memory is to be called
    /// early: pages lie too far apart for the processor to guess them (3x in decode).
    pub(super) next: Option<[usize; SEGMENT_PAGES]>,
}

impl<E: Element> Segment<'_, E> {
    fn queries(&self) -> usize {
        self.rows * self.heads
    }

    /// The tokens of the segment that a row sees.
    fn tokens_of(&self, row: usize) -> Range<usize> {
        let seen = self.seen + row * self.step;
        seen.saturating_sub(self.window)..seen.min(SEGMENT_TOKENS)
    }

    /// The tokens that some row sees.
    fn tokens(&self) -> Range<usize> {
        self.tokens_of(0).start..self.tokens_of(self.rows - 1).end
    }

    /// The groups of keys that are needed, in runs.
    fn groups(&self) -> Runs {
        let Range { start, end } = self.tokens();
        let (start, end) = (start / GROUP_TOKENS, end.div_ceil(GROUP_TOKENS));
        let all = u64::MAX >> (64 - end) & u64::MAX << start;
        Runs(self.selection.map_or(all, |selection| selection.groups()))
    }

    /// Rows, and a run of tokens that each of them sees. The pieces of these numbers in ascending
    /// order, `2 * rows + 1`, are for each row what it sees, in ascending order; some are empty.
    fn piece(&self, number: usize) -> (Range<usize>, Range<usize>) {
        // What all rows see; a short window may leave nothing of it.
        let end = self.tokens_of(0).end;
        let start = self.tokens_of(self.rows - 1).start.min(end);
        if number == self.rows {
            return (0..self.rows, start..end);
        }
        let row = number % (self.rows + 1);
        let tokens = self.tokens_of(row);
        let is_before = number < self.rows;
        let tokens =
            if is_before { tokens.start..start } else { end.max(tokens.start)..tokens.end };
        (row..row + 1, tokens)
    }

    /// What the pointers of the kernels rely on.
    fn check(&self, queries: &[f32], scores: &[f32], part: &[f32]) {
        assert!(self.queries() <= QUERIES_MAX && (self.selection.is_none() || self.rows == 1));
        // Whether the later rows see something here; so does the first, then.
        assert!(!self.tokens_of(0).is_empty() && !self.tokens_of(self.rows - 1).is_empty());
        assert!(queries.len() >= self.queries() * self.shape.key_size);
        assert!(scores.len() >= self.queries() * SEGMENT_TOKENS);
        assert!(part.len() >= part_length(self.queries(), self.shape));
        let Range { start, end } = self.tokens();
        let pages = &self.blocks[start / PAGE_TOKENS..end.div_ceil(PAGE_TOKENS)];
        let limit = self.elements.len().checked_sub(self.shape.block_length::<E>());
        assert!(pages.iter().all(|&block| limit.is_some_and(|limit| block <= limit)));
    }
}

/// Dimensions after which some more of the values are called. (The loop over them stays a loop:
/// unrolled, so many would need more registers than AVX2 has.)
const STEP: usize = 8;

/// The blocks of queries that a kernel takes at a time: first query and how many, of equal size as
/// far as possible (7 = 4 + 3, since 6 + 1 would load every key for a single query).
#[derive(Clone, Copy)]
pub(super) struct QueryBlocks {
    next: usize,
    end: usize,
    /// Queries in each block; these many have one more.
    size: usize,
    larger: usize,
}

pub(super) fn query_blocks(queries: usize) -> QueryBlocks {
    let blocks = queries.div_ceil(BLOCK_QUERIES).max(1);
    QueryBlocks { next: 0, end: queries, size: queries / blocks, larger: queries % blocks }
}

impl Iterator for QueryBlocks {
    type Item = (usize, usize);

    // Without its hint this is a call between two kernels, at a hundredth of their time.
    #[inline(always)]
    fn next(&mut self) -> Option<(usize, usize)> {
        if self.next == self.end {
            return None;
        }
        let (first, count) = (self.next, self.size + usize::from(self.larger > 0));
        self.larger = self.larger.saturating_sub(1);
        self.next += count;
        Some((first, count))
    }
}

/// How many registers of keys (or columns of values) a level can keep beside six queries.
trait Registers: Lanes {
    const COLUMNS: usize;
}

impl Registers for Scalar {
    const COLUMNS: usize = 1;
}

#[cfg(target_arch = "x86_64")]
impl Registers for crate::lanes::avx2::Avx2 {
    const COLUMNS: usize = 1;
}

#[cfg(target_arch = "x86_64")]
impl Registers for crate::lanes::avx512::Avx512 {
    const COLUMNS: usize = 4;
}

#[cfg(target_arch = "aarch64")]
impl Registers for crate::lanes::neon::Neon {
    const COLUMNS: usize = 1;
}

leveled!(
    /// Attends to one segment. `queries`: for each block of [`query_blocks`] [key_size][count];
    /// `scores`: [queries][256], scratch; `part`: the result, see [`part_length`].
    pub(super) fn attend_f16(
        kernels,
        segment: &Segment<'_, u16>,
        queries: &[f32],
        scores: &mut [f32],
        part: &mut [f32],
    ) = attend_lanes::<u16>
);

leveled!(
    /// The same for a cache of floats.
    pub(super) fn attend_f32(
        kernels,
        segment: &Segment<'_, f32>,
        queries: &[f32],
        scores: &mut [f32],
        part: &mut [f32],
    ) = attend_lanes::<f32>
);

leveled!(
    /// The same for a cache of bytes.
    pub(super) fn attend_q8(
        kernels,
        segment: &Segment<'_, u8>,
        queries: &[f32],
        scores: &mut [f32],
        part: &mut [f32],
    ) = attend_lanes::<u8>
);

/// The keys of sixteen tokens: [key_size] rows, PAGE_TOKENS elements from one to the next.
#[derive(Clone, Copy)]
struct Group<E> {
    keys: *const E,
    /// [key_size / 32] rows, as many scales from one to the next.
    scales: *const E,
}

/// # Safety
///
/// The processor has the instructions of `V`.
#[inline(always)]
unsafe fn attend_lanes<V: Registers, E: Element>(
    segment: &Segment<'_, E>,
    queries: &[f32],
    scores: &mut [f32],
    part: &mut [f32],
) {
    segment.check(queries, scores, part);
    let (greatest, rest) = part.split_at_mut(QUERIES_MAX);
    let (sums, outputs) = rest.split_at_mut(QUERIES_MAX);
    outputs.fill(0.0);
    // SAFETY: `check` saw that the slices and the cache hold what the segment names.
    unsafe {
        score_all::<V, E>(segment, queries.as_ptr(), scores.as_mut_ptr());
        for query in 0..segment.queries() {
            let tokens = segment.tokens_of(query / segment.heads);
            let scores = scores.as_mut_ptr().add(query * SEGMENT_TOKENS);
            (greatest[query], sums[query]) =
                softmax::<V>(scores, tokens, segment.selection.as_ref());
        }
        mix_all::<V, E>(segment, scores.as_ptr(), outputs.as_mut_ptr());
    }
}

/// Scores of all queries with whole groups of keys; those that a row does not see mean nothing.
///
/// # Safety
///
/// As [`Segment::check`] says, and the processor has the instructions of `V`.
#[inline(always)]
unsafe fn score_all<V: Registers, E: Element>(
    segment: &Segment<'_, E>,
    queries: *const f32,
    scores: *mut f32,
) {
    let elements = segment.elements.as_ptr();
    let mut keys = [Group { keys: elements, scales: elements }; SEGMENT_TOKENS / GROUP_TOKENS];
    let blocks = query_blocks(segment.queries());
    for Range { start, end } in segment.groups() {
        for (group, keys) in (start..).zip(&mut keys[start..end]) {
            let (page, token) =
                (group * GROUP_TOKENS / PAGE_TOKENS, group * GROUP_TOKENS % PAGE_TOKENS);
            // SAFETY: the page's block lies inside the cache; so do its scales, where it has some.
            unsafe {
                let block = elements.add(segment.blocks[page]);
                let scales = block.wrapping_add(segment.shape.key_numbers() + 2 * token);
                *keys = Group { keys: block.add(token), scales };
            }
        }
        let mut group = start;
        while group < end {
            let columns = columns_now::<V>(end - group);
            for (first, count) in blocks {
                // SAFETY: `columns` groups are left; the block of queries lies inside both slices.
                unsafe {
                    let queries = queries.add(first * segment.shape.key_size);
                    let scores = scores.add(first * SEGMENT_TOKENS + group * GROUP_TOKENS);
                    score_columns::<V, E>(columns, count, segment, queries, &keys[group..], scores);
                }
            }
            group += columns;
        }
    }
}

fn columns_now<V: Registers>(left: usize) -> usize {
    match left {
        4.. if V::COLUMNS >= 4 => 4,
        2.. if V::COLUMNS >= 2 => 2,
        _ => 1,
    }
}

macro_rules! by_count {
    ($kernel:ident, $columns:ident, $count:ident, $arguments:tt) => {
        match $columns {
            4 => by_count!(@ $kernel, 4, $count, $arguments),
            2 => by_count!(@ $kernel, 2, $count, $arguments),
            _ => by_count!(@ $kernel, 1, $count, $arguments),
        }
    };
    (@ $kernel:ident, $columns:literal, $count:ident, $arguments:tt) => {
        match $count {
            1 => $kernel::<V, E, 1, $columns> $arguments,
            2 => $kernel::<V, E, 2, $columns> $arguments,
            3 => $kernel::<V, E, 3, $columns> $arguments,
            4 => $kernel::<V, E, 4, $columns> $arguments,
            5 => $kernel::<V, E, 5, $columns> $arguments,
            _ => $kernel::<V, E, 6, $columns> $arguments,
        }
    };
}

/// # Safety
///
/// As for [`score_block`]; `keys` has `columns` groups.
#[inline(always)]
unsafe fn score_columns<V: Registers, E: Element>(
    columns: usize,
    count: usize,
    segment: &Segment<'_, E>,
    queries: *const f32,
    keys: &[Group<E>],
    scores: *mut f32,
) {
    // SAFETY: passed on.
    unsafe { by_count!(score_block, columns, count, (segment, queries, keys, scores)) }
}

/// queries: [key_size][M], keys: N × [key_size][16] → scores: [M][256], 16 N of them.
///
/// # Safety
///
/// The pointers are good for these shapes, and the processor has the instructions of `V`.
#[inline(always)]
unsafe fn score_block<V: Lanes, E: Element, const M: usize, const N: usize>(
    segment: &Segment<'_, E>,
    queries: *const f32,
    keys: &[Group<E>],
    scores: *mut f32,
) {
    let keys: &[Group<E>; N] = keys.first_chunk().expect("N groups");
    let (size, value_offset) = (segment.shape.key_size, segment.shape.key_length::<E>());
    // One page's values for every two groups of its keys: most often they fill as many bytes.
    let called = if segment.next.is_some() { segment.shape.value_stride() } else { 0 };
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[V::splat(0.0); N]; M];
        let mut scale = [V::splat(1.0); N];
        for d in 0..size {
            if E::scales(1) > 0 && d % SCALED_NUMBERS == 0 {
                for (scale, group) in scale.iter_mut().zip(keys) {
                    let row = d / SCALED_NUMBERS * 2 * PAGE_TOKENS;
                    *scale = E::load_scales(group.scales.add(row));
                }
            }
            if d % STEP == 0 && d < called {
                for group in keys.iter().step_by(2) {
                    let values = group.keys.wrapping_add(d * PAGE_TOKENS + value_offset);
                    call(values, STEP * PAGE_TOKENS);
                }
            }
            let mut key = [V::splat(0.0); N];
            for ((key, group), scale) in key.iter_mut().zip(keys).zip(scale) {
                *key = E::load(group.keys.add(d * PAGE_TOKENS), scale);
            }
            for (m, sums) in sums.iter_mut().enumerate() {
                let query = V::splat(*queries.add(d * M + m));
                for (sum, key) in sums.iter_mut().zip(key) {
                    *sum = query.mul_add(key, *sum);
                }
            }
        }
        let scale = V::splat(segment.scale);
        for (m, sums) in sums.iter().enumerate() {
            for (n, sum) in sums.iter().enumerate() {
                sum.mul(scale).store(scores.add(m * SEGMENT_TOKENS + n * GROUP_TOKENS));
            }
        }
    }
}

/// Calls the cache lines of so many elements. The address need not be valid.
#[inline(always)]
fn call<E: Element>(start: *const E, elements: usize) {
    for line in 0..(elements * size_of::<E>()).div_ceil(64) {
        prefetch::<false>(start.wrapping_byte_add(64 * line).cast());
    }
}

/// Turns the scores of `tokens` (those in the selection) into weights e^(score - greatest), and all
/// others in their groups into 0. Returns the greatest score and the sum of the weights.
///
/// # Safety
///
/// `scores` is good for whole groups, and the processor has the instructions of `V`.
#[inline(always)]
unsafe fn softmax<V: Lanes>(
    scores: *mut f32,
    tokens: Range<usize>,
    selection: Option<&TokenSet>,
) -> (f32, f32) {
    // SAFETY: the caller's promise.
    unsafe {
        let start = tokens.start / GROUP_TOKENS * GROUP_TOKENS;
        let groups = (tokens.end - start).div_ceil(GROUP_TOKENS);
        for token in start..tokens.start {
            *scores.add(token) = f32::NEG_INFINITY;
        }
        for token in tokens.end..start + groups * GROUP_TOKENS {
            *scores.add(token) = f32::NEG_INFINITY;
        }
        if let Some(selection) = selection {
            for token in tokens.filter(|&token| !selection.contains(token)) {
                *scores.add(token) = f32::NEG_INFINITY;
            }
        }
        let scores = scores.add(start);
        let mut greatest = V::splat(f32::NEG_INFINITY);
        for group in 0..groups {
            greatest = greatest.max(V::load(scores.add(group * GROUP_TOKENS)));
        }
        let greatest = greatest.greatest();
        let shift = V::splat(greatest);
        let mut sum = V::splat(0.0);
        for group in 0..groups {
            let at = scores.add(group * GROUP_TOKENS);
            let weight = V::load(at).sub(shift).exp();
            weight.store(at);
            sum = sum.add(weight);
        }
        (greatest, sum.sum())
    }
}

/// outputs[query] += Σ weight · value, for exactly the tokens that the query's row attends to: what
/// else stands in the page (a later row's value, or an old sequence's NaN) is not touched.
///
/// # Safety
///
/// As [`Segment::check`] says, and the processor has the instructions of `V`.
#[inline(always)]
unsafe fn mix_all<V: Registers, E: Element>(
    segment: &Segment<'_, E>,
    weights: *const f32,
    outputs: *mut f32,
) {
    if let Some(selection) = &segment.selection {
        for tokens in selection.runs() {
            // SAFETY: the caller's promise.
            unsafe { mix_tokens::<V, E>(segment, 0..segment.heads, tokens, weights, outputs) }
        }
        return;
    }
    for number in 0..2 * segment.rows + 1 {
        let (rows, tokens) = segment.piece(number);
        if !tokens.is_empty() {
            let queries = rows.start * segment.heads..rows.end * segment.heads;
            // SAFETY: the caller's promise.
            unsafe { mix_tokens::<V, E>(segment, queries, tokens, weights, outputs) }
        }
    }
}

/// # Safety
///
/// As for [`mix_all`]; the queries and tokens are among the segment's.
#[inline(always)]
unsafe fn mix_tokens<V: Registers, E: Element>(
    segment: &Segment<'_, E>,
    queries: Range<usize>,
    tokens: Range<usize>,
    weights: *const f32,
    outputs: *mut f32,
) {
    let (stride, blocks) = (segment.shape.value_stride(), query_blocks(queries.len()));
    let mut column = 0;
    while column < stride {
        let columns = columns_now::<V>((stride - column) / GROUP_TOKENS);
        for (first, count) in blocks {
            let first = queries.start + first;
            // SAFETY: the block of queries and the columns lie inside both slices.
            unsafe {
                let weights = weights.add(first * SEGMENT_TOKENS);
                let outputs = outputs.add(first * stride + column);
                let tokens = tokens.clone();
                by_count!(mix_block, columns, count, (segment, column, tokens, weights, outputs));
            }
        }
        column += columns * GROUP_TOKENS;
    }
}

/// weights: [M][256], values: [tokens][16 N of value_stride] → outputs: [M][16 N of value_stride].
///
/// # Safety
///
/// The pointers are good for these shapes, and the processor has the instructions of `V`.
#[inline(always)]
unsafe fn mix_block<V: Lanes, E: Element, const M: usize, const N: usize>(
    segment: &Segment<'_, E>,
    column: usize,
    tokens: Range<usize>,
    weights: *const f32,
    outputs: *mut f32,
) {
    let stride = segment.shape.value_stride();
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[V::splat(0.0); N]; M];
        for (m, sums) in sums.iter_mut().enumerate() {
            for (n, sum) in sums.iter_mut().enumerate() {
                *sum = V::load(outputs.add(m * stride + n * GROUP_TOKENS));
            }
        }
        let mut token = tokens.start;
        while token < tokens.end {
            let end = tokens.end.min((token / PAGE_TOKENS + 1) * PAGE_TOKENS);
            let block = segment.blocks[token / PAGE_TOKENS] + segment.shape.key_length::<E>();
            let values = segment.elements.as_ptr().add(block + column);
            let scales = segment.elements.as_ptr().wrapping_add(block + PAGE_TOKENS * stride);
            let next = segment.next.map(|next| {
                segment.elements.as_ptr().wrapping_add(next[token / PAGE_TOKENS] + column)
            });
            for token in token..end {
                let row = values.add(token % PAGE_TOKENS * stride);
                if let Some(next) = next {
                    call(next.wrapping_add(token % PAGE_TOKENS * stride), N * GROUP_TOKENS);
                }
                let scales = scales.wrapping_add(token % PAGE_TOKENS * E::scales(stride));
                let mut value = [V::splat(0.0); N];
                for (n, value) in value.iter_mut().enumerate() {
                    let place = n * GROUP_TOKENS;
                    let scale = (column + place) / SCALED_NUMBERS * 2;
                    *value = E::load(row.add(place), E::splat_scale(scales.wrapping_add(scale)));
                }
                for (m, sums) in sums.iter_mut().enumerate() {
                    let weight = V::splat(*weights.add(m * SEGMENT_TOKENS + token));
                    for (sum, value) in sums.iter_mut().zip(value) {
                        *sum = weight.mul_add(value, *sum);
                    }
                }
            }
            token = end;
        }
        for (m, sums) in sums.iter().enumerate() {
            for (n, sum) in sums.iter().enumerate() {
                sum.store(outputs.add(m * stride + n * GROUP_TOKENS));
            }
        }
    }
}
