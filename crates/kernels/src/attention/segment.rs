//! Turns the queries of a tile and 256 tokens of keys and values into a part of their attention.
//!
//! The order of all operations on one query is fixed, whatever stands beside it in the tile: each
//! score is one chain over the head's dimensions, each output one chain over the tokens, both
//! ascending; the sum of the weights is one chain per lane, then a tree over the lanes.

use crate::kv::{GROUP_TOKENS, KvShape, PAGE_TOKENS};
use crate::lanes::Lanes;
use crate::lanes::scalar::Scalar;
use crate::level::leveled;

/// Tokens whose softmax is made in one go. Parts are cut at multiples of it, so that neither the
/// batch nor the threads show in the sums. 256 scores of all queries of a tile fit the L1 cache.
pub(super) const SEGMENT_TOKENS: usize = 256;

/// Pages of a segment.
pub(super) const SEGMENT_PAGES: usize = SEGMENT_TOKENS / PAGE_TOKENS;

/// Most queries (rows times heads of a group) in a tile: 32 KiB of scores.
pub(super) const QUERIES_MAX: usize = 32;

/// Queries that share a loaded key or value: six times four registers of sums, four of keys and one
/// query fill 29 of 32 registers (AVX2: six times two of 16).
const BLOCK_QUERIES: usize = 6;

/// One kv head and at most 256 tokens, seen by `rows` consecutive tokens' `heads` queries each.
pub(super) struct Segment<'a> {
    /// The memory of the cache.
    pub(super) halves: &'a [u16],
    /// Where the block of each page begins in `halves`.
    pub(super) blocks: [usize; SEGMENT_PAGES],
    pub(super) shape: KvShape,
    pub(super) rows: usize,
    pub(super) heads: usize,
    /// Tokens of this segment that the first row sees, at least 1.
    pub(super) tokens: usize,
    /// Tokens that each further row sees beyond the row before: 1 at the sequence's end, else 0.
    pub(super) step: usize,
    pub(super) scale: f32,
    /// Blocks that this thread will probably read next, if the cache's memory is to be called
    /// early: pages lie too far apart for the processor to guess them (3x in decode).
    pub(super) next: Option<[usize; SEGMENT_PAGES]>,
}

impl Segment<'_> {
    fn queries(&self) -> usize {
        self.rows * self.heads
    }

    fn tokens_of(&self, row: usize) -> usize {
        self.tokens + row * self.step
    }

    /// What the pointers of the kernels rely on.
    fn check(&self, queries: &[f32], scores: &[f32], part: &[f32]) {
        let most = self.tokens_of(self.rows - 1);
        assert!(self.queries() <= QUERIES_MAX && (1..=SEGMENT_TOKENS).contains(&most));
        assert!(queries.len() >= self.queries() * self.shape.key_size);
        assert!(scores.len() >= self.queries() * SEGMENT_TOKENS);
        assert!(part.len() >= part_length(self.queries(), self.shape));
        let pages = &self.blocks[..most.div_ceil(PAGE_TOKENS)];
        let limit = self.halves.len().checked_sub(self.shape.block_halves());
        assert!(pages.iter().all(|&block| limit.is_some_and(|limit| block <= limit)));
    }
}

/// Floats of a part: [32] greatest scores, [32] sums of weights, [queries][value_stride] outputs.
pub(super) fn part_length(queries: usize, shape: KvShape) -> usize {
    2 * QUERIES_MAX + queries * shape.value_stride()
}

/// The blocks of queries that a kernel takes at a time: first query and how many, of equal size as
/// far as possible (7 = 4 + 3, since 6 + 1 would load every key for a single query).
pub(super) fn query_blocks(queries: usize) -> impl Iterator<Item = (usize, usize)> {
    let blocks = queries.div_ceil(BLOCK_QUERIES);
    (0..blocks).map(move |block| {
        let (first, end) = (block * queries / blocks, (block + 1) * queries / blocks);
        (first, end - first)
    })
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

leveled!(
    /// Attends to one segment. `queries`: for each block of [`query_blocks`] [key_size][count];
    /// `scores`: [queries][256], scratch; `part`: the result, see [`part_length`].
    pub(super) fn attend(
        kernels,
        segment: &Segment<'_>,
        queries: &[f32],
        scores: &mut [f32],
        part: &mut [f32],
    ) = attend_lanes
);

leveled!(
    /// Merges the part of a later segment into `total`, both as [`part_length`] says.
    pub(super) fn merge(kernels, total: &mut [f32], part: &[f32], queries: usize) = merge_lanes
);

leveled!(
    /// Divides the outputs of `total` by their sums of weights.
    pub(super) fn normalise(kernels, total: &mut [f32], queries: usize) = normalise_lanes
);

/// # Safety
///
/// The processor has the instructions of `V`.
#[inline(always)]
unsafe fn attend_lanes<V: Registers>(
    segment: &Segment<'_>,
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
        score_all::<V>(segment, queries.as_ptr(), scores.as_mut_ptr());
        for query in 0..segment.queries() {
            let tokens = segment.tokens_of(query / segment.heads);
            let scores = scores.as_mut_ptr().add(query * SEGMENT_TOKENS);
            (greatest[query], sums[query]) = softmax::<V>(scores, tokens);
        }
        mix_all::<V>(segment, scores.as_ptr(), outputs.as_mut_ptr());
    }
}

/// Scores of all queries with whole groups of keys; those beyond a row's tokens mean nothing.
///
/// # Safety
///
/// As [`Segment::check`] says, and the processor has the instructions of `V`.
#[inline(always)]
unsafe fn score_all<V: Registers>(segment: &Segment<'_>, queries: *const f32, scores: *mut f32) {
    let groups = segment.tokens_of(segment.rows - 1).div_ceil(GROUP_TOKENS);
    let mut keys = [segment.halves.as_ptr(); SEGMENT_TOKENS / GROUP_TOKENS];
    for (group, keys) in keys.iter_mut().enumerate().take(groups) {
        let (page, token) =
            (group * GROUP_TOKENS / PAGE_TOKENS, group * GROUP_TOKENS % PAGE_TOKENS);
        // SAFETY: the page's block lies inside the cache.
        *keys = unsafe { keys.add(segment.blocks[page] + token) };
    }
    let mut group = 0;
    while group < groups {
        let columns = columns_now::<V>(groups - group);
        for (first, count) in query_blocks(segment.queries()) {
            // SAFETY: `columns` groups are left; the block of queries lies inside both slices.
            unsafe {
                let queries = queries.add(first * segment.shape.key_size);
                let scores = scores.add(first * SEGMENT_TOKENS + group * GROUP_TOKENS);
                score_columns::<V>(columns, count, segment, queries, &keys[group..], scores);
            }
        }
        group += columns;
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
    ($kernel:ident, $vector:ident, $columns:ident, $count:ident, $arguments:tt) => {
        match $columns {
            4 => by_count!(@ $kernel, $vector, 4, $count, $arguments),
            2 => by_count!(@ $kernel, $vector, 2, $count, $arguments),
            _ => by_count!(@ $kernel, $vector, 1, $count, $arguments),
        }
    };
    (@ $kernel:ident, $vector:ident, $columns:literal, $count:ident, $arguments:tt) => {
        match $count {
            1 => $kernel::<$vector, 1, $columns> $arguments,
            2 => $kernel::<$vector, 2, $columns> $arguments,
            3 => $kernel::<$vector, 3, $columns> $arguments,
            4 => $kernel::<$vector, 4, $columns> $arguments,
            5 => $kernel::<$vector, 5, $columns> $arguments,
            _ => $kernel::<$vector, 6, $columns> $arguments,
        }
    };
}

/// # Safety
///
/// As for [`score_block`]; `keys` has `columns` groups.
#[inline(always)]
unsafe fn score_columns<V: Registers>(
    columns: usize,
    count: usize,
    segment: &Segment<'_>,
    queries: *const f32,
    keys: &[*const u16],
    scores: *mut f32,
) {
    // SAFETY: passed on.
    unsafe { by_count!(score_block, V, columns, count, (segment, queries, keys, scores)) }
}

/// queries: [key_size][M], keys: N × [key_size][16] → scores: [M][256], 16 N of them.
///
/// # Safety
///
/// The pointers are good for these shapes, and the processor has the instructions of `V`.
#[inline(always)]
unsafe fn score_block<V: Lanes, const M: usize, const N: usize>(
    segment: &Segment<'_>,
    queries: *const f32,
    keys: &[*const u16],
    scores: *mut f32,
) {
    let keys: &[*const u16; N] = keys.first_chunk().expect("N groups");
    let (value_offset, value_stride) = (segment.shape.key_halves(), segment.shape.value_stride());
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[V::splat(0.0); N]; M];
        for d in 0..segment.shape.key_size {
            if d % 8 == 0 && d < value_stride && segment.next.is_some() {
                // One page's values for every two groups of its keys: most often they fill as many
                // bytes.
                for keys in keys.iter().step_by(2) {
                    prefetch_lines(keys.wrapping_add(d * PAGE_TOKENS + value_offset), 8);
                }
            }
            let mut key = [V::splat(0.0); N];
            for (key, keys) in key.iter_mut().zip(keys) {
                *key = V::load_f16(keys.add(d * PAGE_TOKENS));
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

/// Calls `lines` cache lines from `start` on. The address need not be valid.
#[inline(always)]
fn prefetch_lines(start: *const u16, lines: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in 0..lines {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: a prefetch reads nothing and never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(start.wrapping_add(32 * line).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (start, lines);
}

/// Turns `tokens` scores into weights e^(score - greatest), 0 behind them up to the group's end.
/// Returns the greatest score and the sum of the weights.
///
/// # Safety
///
/// `scores` is good for whole groups, and the processor has the instructions of `V`.
#[inline(always)]
unsafe fn softmax<V: Lanes>(scores: *mut f32, tokens: usize) -> (f32, f32) {
    // SAFETY: the caller's promise.
    unsafe {
        let groups = tokens.div_ceil(GROUP_TOKENS);
        for token in tokens..groups * GROUP_TOKENS {
            *scores.add(token) = f32::NEG_INFINITY;
        }
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

/// outputs[query] += Σ weight · value, for exactly the tokens that the query's row sees: what
/// stands behind them in the page (a later row's value, or an old sequence's NaN) is not touched.
///
/// # Safety
///
/// As [`Segment::check`] says, and the processor has the instructions of `V`.
#[inline(always)]
unsafe fn mix_all<V: Registers>(segment: &Segment<'_>, weights: *const f32, outputs: *mut f32) {
    // SAFETY: the caller's promise.
    unsafe {
        mix_tokens::<V>(segment, 0..segment.queries(), 0..segment.tokens, weights, outputs);
        if segment.step > 0 {
            for row in 1..segment.rows {
                let queries = row * segment.heads..(row + 1) * segment.heads;
                let tokens = segment.tokens..segment.tokens_of(row);
                mix_tokens::<V>(segment, queries, tokens, weights, outputs);
            }
        }
    }
}

/// # Safety
///
/// As for [`mix_all`]; the queries and tokens are among the segment's.
#[inline(always)]
unsafe fn mix_tokens<V: Registers>(
    segment: &Segment<'_>,
    queries: std::ops::Range<usize>,
    tokens: std::ops::Range<usize>,
    weights: *const f32,
    outputs: *mut f32,
) {
    let stride = segment.shape.value_stride();
    let mut column = 0;
    while column < stride {
        let columns = columns_now::<V>((stride - column) / GROUP_TOKENS);
        for (first, count) in query_blocks(queries.len()) {
            let first = queries.start + first;
            // SAFETY: the block of queries and the columns lie inside both slices.
            unsafe {
                let weights = weights.add(first * SEGMENT_TOKENS);
                let outputs = outputs.add(first * stride + column);
                let tokens = tokens.clone();
                by_count!(
                    mix_block,
                    V,
                    columns,
                    count,
                    (segment, column, tokens, weights, outputs)
                );
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
unsafe fn mix_block<V: Lanes, const M: usize, const N: usize>(
    segment: &Segment<'_>,
    column: usize,
    tokens: std::ops::Range<usize>,
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
            let block = segment.blocks[token / PAGE_TOKENS] + segment.shape.key_halves();
            let values = segment.halves.as_ptr().add(block + column);
            let next = segment.next.map(|next| {
                segment.halves.as_ptr().wrapping_add(next[token / PAGE_TOKENS] + column)
            });
            for token in token..end {
                let row = values.add(token % PAGE_TOKENS * stride);
                if let Some(next) = next {
                    prefetch_lines(next.wrapping_add(token % PAGE_TOKENS * stride), N.div_ceil(2));
                }
                let mut value = [V::splat(0.0); N];
                for (n, value) in value.iter_mut().enumerate() {
                    *value = V::load_f16(row.add(n * GROUP_TOKENS));
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

/// # Safety
///
/// The processor has the instructions of `V`.
#[inline(always)]
unsafe fn merge_lanes<V: Lanes>(total: &mut [f32], part: &[f32], queries: usize) {
    assert!(queries <= QUERIES_MAX && total.len() == part.len());
    let (greatest, rest) = total.split_at_mut(QUERIES_MAX);
    let (sums, outputs) = rest.split_at_mut(QUERIES_MAX);
    let (part_greatest, part_rest) = part.split_at(QUERIES_MAX);
    let (part_sums, part_outputs) = part_rest.split_at(QUERIES_MAX);
    let mut keep = [0.0; QUERIES_MAX];
    let mut take = [0.0; QUERIES_MAX];
    for first in (0..queries).step_by(16) {
        // SAFETY: each of these holds QUERIES_MAX floats, a multiple of 16 above `first`.
        unsafe {
            let (old, new) =
                (V::load(&raw const greatest[first]), V::load(&raw const part_greatest[first]));
            let both = old.max(new);
            let (old, new) = (old.sub(both).exp(), new.sub(both).exp());
            let sum = V::load(&raw const sums[first]).mul(old);
            new.mul_add(V::load(&raw const part_sums[first]), sum).store(&raw mut sums[first]);
            both.store(&raw mut greatest[first]);
            old.store(&raw mut keep[first]);
            new.store(&raw mut take[first]);
        }
    }
    let stride = outputs.len() / queries;
    for query in 0..queries {
        let outputs = outputs[query * stride..(query + 1) * stride].chunks_exact_mut(16);
        let parts = part_outputs[query * stride..].chunks_exact(16);
        for (output, part) in outputs.zip(parts) {
            // SAFETY: chunks of 16 floats.
            unsafe {
                let kept = V::load(output.as_ptr()).mul(V::splat(keep[query]));
                let part = V::load(part.as_ptr());
                part.mul_add(V::splat(take[query]), kept).store(output.as_mut_ptr());
            }
        }
    }
}

/// # Safety
///
/// The processor has the instructions of `V`.
#[inline(always)]
unsafe fn normalise_lanes<V: Lanes>(total: &mut [f32], queries: usize) {
    let (sums, outputs) = total[QUERIES_MAX..].split_at_mut(QUERIES_MAX);
    let stride = outputs.len() / queries;
    for query in 0..queries {
        let factor = 1.0 / sums[query];
        for output in outputs[query * stride..(query + 1) * stride].chunks_exact_mut(16) {
            // SAFETY: a chunk of 16 floats.
            unsafe {
                V::load(output.as_ptr()).mul(V::splat(factor)).store(output.as_mut_ptr());
            }
        }
    }
}
