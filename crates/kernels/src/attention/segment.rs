//! Turns the queries of a tile and 256 tokens of keys and values into a part of their attention.
//!
//! The order of all operations on one query is fixed, whatever stands beside it in the tile: each
//! score is one chain over the head's dimensions, each output one chain over pairs of tokens, both
//! ascending; the sum of the weights is one chain per lane, then a tree over the lanes.

use super::mix::{Halves, ValuePairs, Weights, mix_all};
use super::parts::{QUERIES_MAX, part_length};
use super::score::{Queries, Scored, score_all};
use super::tokens::{Runs, SEGMENT_TOKENS, TokenSet};
use crate::kv::{Element, GROUP_TOKENS, KvShape, PAGE_TOKENS};
use crate::lanes::Lanes;
use crate::lanes::scalar::Scalar;
use crate::level::{Kernels, leveled};
use crate::memory::prefetch;
use std::ops::Range;

/// Pages of a segment.
pub(super) const SEGMENT_PAGES: usize = SEGMENT_TOKENS / PAGE_TOKENS;

/// Queries that share a loaded key or value: six times four registers of sums, four of keys and one
/// query fill 29 of 32 registers (AVX2: six times two of 16).
pub(super) const BLOCK_QUERIES: usize = 6;

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
    /// Blocks that this thread will probably read next, if the cache's memory is to be called
    /// early: pages lie too far apart for the processor to guess them (3x in decode).
    pub(super) next: Option<[usize; SEGMENT_PAGES]>,
}

impl<E: Element> Segment<'_, E> {
    pub(super) fn queries(&self) -> usize {
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
    pub(super) fn groups(&self) -> Runs {
        let Range { start, end } = self.tokens();
        let (start, end) = (start / GROUP_TOKENS, end.div_ceil(GROUP_TOKENS));
        let all = u64::MAX >> (64 - end) & u64::MAX << start;
        Runs(self.selection.map_or(all, |selection| selection.groups()))
    }

    /// Rows, and a run of tokens that each of them attends to: for each row what it attends to, in
    /// ascending order; some are empty. A token and the odd one behind it are in one piece, if a
    /// row attends to both.
    pub(super) fn pieces(&self) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        let chosen = self.selection.iter().flat_map(TokenSet::runs).map(|tokens| (0..1, tokens));
        let numbers = if self.selection.is_some() { 0 } else { 2 * self.rows + 1 };
        chosen.chain((0..numbers).map(|number| self.piece(number)))
    }

    /// The pieces of what is seen: before what all rows see, that, and behind it.
    fn piece(&self, number: usize) -> (Range<usize>, Range<usize>) {
        // What all rows see; a short window may leave nothing of it.
        let (mut start, mut end) = (self.tokens_of(self.rows - 1).start, self.tokens_of(0).end);
        if self.rows > 1 && self.step > 0 {
            (start, end) = (start.next_multiple_of(2), end / 2 * 2);
        }
        start = start.min(end);
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
    fn check<P>(&self, buffers: &Buffers<'_>)
    where
        E: Scored,
    {
        let Buffers { queries, scores, scaled, values, part } = buffers;
        assert!(self.queries() <= QUERIES_MAX && (self.selection.is_none() || self.rows == 1));
        // Whether the later rows see something here; so does the first, then.
        assert!(!self.tokens_of(0).is_empty() && !self.tokens_of(self.rows - 1).is_empty());
        let length = self.queries() * E::query_length(self.shape.key_size);
        assert!(E::select(queries).len() >= length);
        assert!(!E::HAS_SCALES || scaled.len() >= self.queries() * SEGMENT_TOKENS);
        assert!(scores.len() >= self.queries() * SEGMENT_TOKENS);
        assert!(size_of_val(&**values) >= SEGMENT_TOKENS / 2 * COLUMNS_MAX * size_of::<P>());
        assert!(part.len() >= part_length(self.queries(), self.shape));
        let Range { start, end } = self.tokens();
        let pages = &self.blocks[start / PAGE_TOKENS..end.div_ceil(PAGE_TOKENS)];
        let limit = self.elements.len().checked_sub(self.shape.block_length::<E>());
        assert!(pages.iter().all(|&block| limit.is_some_and(|limit| block <= limit)));
    }
}

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
pub(super) trait Registers: Lanes {
    const COLUMNS: usize;
}

/// The most of them.
const COLUMNS_MAX: usize = 4;

/// Floats that the values of a segment take while they are mixed: [128 pairs][4 columns] times two
/// registers at most.
pub(super) const VALUES_LENGTH: usize = SEGMENT_TOKENS / 2 * COLUMNS_MAX * 2 * GROUP_TOKENS;

impl Registers for Scalar {
    const COLUMNS: usize = 1;
}

#[cfg(target_arch = "x86_64")]
impl Registers for crate::lanes::avx2::Avx2 {
    const COLUMNS: usize = 1;
}

#[cfg(target_arch = "x86_64")]
impl Registers for crate::lanes::avx512::Avx512 {
    const COLUMNS: usize = COLUMNS_MAX;
}

#[cfg(target_arch = "aarch64")]
impl Registers for crate::lanes::neon::Neon {
    const COLUMNS: usize = 1;
}

/// What [`Attended::attend`] reads and writes. `scores`: [queries][256], `scaled`: the same where
/// values have scales, and `values`: [`VALUES_LENGTH`], scratch; `part`: the result, see
/// [`part_length`].
pub(super) struct Buffers<'a> {
    pub(super) queries: Queries<'a>,
    pub(super) scores: &'a mut [f32],
    pub(super) scaled: &'a mut [f32],
    pub(super) values: &'a mut [f32],
    pub(super) part: &'a mut [f32],
}

/// Elements of a cache, and the kernels for them.
pub(super) trait Attended: Scored {
    /// Attends to one segment; `exact`: weights and values in floats.
    fn attend(kernels: &Kernels, segment: &Segment<'_, Self>, exact: bool, buffers: Buffers<'_>);
}

impl Attended for f32 {
    fn attend(kernels: &Kernels, segment: &Segment<'_, f32>, _: bool, buffers: Buffers<'_>) {
        attend_f32(kernels, segment, buffers);
    }
}

macro_rules! attended {
    ($element:ident, $exact:ident, $rounded:ident, $native:ident) => {
        impl Attended for $element {
            fn attend(
                kernels: &Kernels,
                segment: &Segment<'_, $element>,
                exact: bool,
                buffers: Buffers<'_>,
            ) {
                if exact {
                    return $exact(kernels, segment, buffers);
                }
                #[cfg(target_arch = "x86_64")]
                if kernels.has_bf16() {
                    static REACHED: crate::reached::Reached = crate::reached::Reached::new(
                        concat!(module_path!(), "::", stringify!($native)),
                    );
                    REACHED.mark(kernels.level());
                    // SAFETY: the processor has these instructions.
                    return unsafe { $native(segment, buffers) };
                }
                $rounded(kernels, segment, buffers);
            }
        }

        leveled!(
            fn $exact(
                kernels,
                segment: &Segment<'_, $element>,
                buffers: Buffers<'_>,
            ) = attend_exactly::<$element>
        );

        leveled!(
            fn $rounded(
                kernels,
                segment: &Segment<'_, $element>,
                buffers: Buffers<'_>,
            ) = attend_rounded::<$element>
        );

        #[cfg(target_arch = "x86_64")]
        #[target_feature(
            enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16"
        )]
        unsafe fn $native(segment: &Segment<'_, $element>, buffers: Buffers<'_>) {
            use crate::lanes::avx512::{Avx512, PairsOfBf16};
            // SAFETY: this function's own target features.
            unsafe { attend_lanes::<Avx512, PairsOfBf16, $element>(segment, buffers) }
        }
    };
}

attended!(u16, exact_f16, rounded_f16, native_f16);
attended!(u8, exact_q8, rounded_q8, native_q8);

leveled!(
    fn attend_f32(
        kernels,
        segment: &Segment<'_, f32>,
        buffers: Buffers<'_>,
    ) = attend_exactly::<f32>
);

#[inline(always)]
unsafe fn attend_rounded<V: Registers, E: Scored>(segment: &Segment<'_, E>, buffers: Buffers<'_>) {
    // SAFETY: the caller's level runs here.
    unsafe { attend_lanes::<V, Halves<V, true>, E>(segment, buffers) }
}

#[inline(always)]
unsafe fn attend_exactly<V: Registers, E: Scored>(segment: &Segment<'_, E>, buffers: Buffers<'_>) {
    // SAFETY: the caller's level runs here.
    unsafe { attend_lanes::<V, Halves<V, false>, E>(segment, buffers) }
}

/// # Safety
///
/// The processor has the instructions of `V` and `P`.
#[inline(always)]
unsafe fn attend_lanes<V: Registers, P: ValuePairs<V>, E: Scored>(
    segment: &Segment<'_, E>,
    buffers: Buffers<'_>,
) {
    segment.check::<P>(&buffers);
    let Buffers { queries, scores, scaled, values, part } = buffers;
    let (greatest, rest) = part.split_at_mut(QUERIES_MAX);
    let (sums, outputs) = rest.split_at_mut(QUERIES_MAX);
    outputs.fill(0.0);
    // SAFETY: `check` saw that the slices and the cache hold what the segment names.
    unsafe {
        score_all::<V, E>(segment, E::select(&queries).as_ptr(), scores.as_mut_ptr());
        for query in 0..segment.queries() {
            let tokens = segment.tokens_of(query / segment.heads);
            let scores = scores.as_mut_ptr().add(query * SEGMENT_TOKENS);
            (greatest[query], sums[query]) =
                softmax::<V, P, E>(scores, tokens, segment.selection.as_ref());
        }
        let weights = Weights { weights: scores.as_ptr(), scaled: scaled.as_mut_ptr() };
        mix_all::<V, P, E>(segment, weights, values.as_mut_ptr().cast(), outputs.as_mut_ptr());
    }
}

pub(super) fn columns_now<V: Registers>(left: usize) -> usize {
    match left {
        4.. if V::COLUMNS >= 4 => 4,
        2.. if V::COLUMNS >= 2 => 2,
        _ => 1,
    }
}

/// Calls `kernel::<types…, queries, columns>`, whose sums are in as many registers.
macro_rules! by_count {
    ($kernel:ident, $types:tt, $columns:ident, $count:ident, $arguments:tt) => {
        match $columns {
            4 => by_count!(@ $kernel, $types, 4, $count, $arguments),
            2 => by_count!(@ $kernel, $types, 2, $count, $arguments),
            _ => by_count!(@ $kernel, $types, 1, $count, $arguments),
        }
    };
    (@ $kernel:ident, ($($type:ident),+), $columns:literal, $count:ident, $arguments:tt) => {
        match $count {
            1 => $kernel::<$($type),+, 1, $columns> $arguments,
            2 => $kernel::<$($type),+, 2, $columns> $arguments,
            3 => $kernel::<$($type),+, 3, $columns> $arguments,
            4 => $kernel::<$($type),+, 4, $columns> $arguments,
            5 => $kernel::<$($type),+, 5, $columns> $arguments,
            _ => $kernel::<$($type),+, 6, $columns> $arguments,
        }
    };
}
pub(super) use by_count;

/// Calls the cache lines of so many elements. The address need not be valid.
#[inline(always)]
pub(super) fn call<E: Element>(start: *const E, elements: usize) {
    for line in 0..(elements * size_of::<E>()).div_ceil(64) {
        prefetch::<false>(start.wrapping_byte_add(64 * line).cast());
    }
}

/// Weights below e^this (2^-59 of the greatest) are nothing to a sum of floats, and taken for 0.
/// Then no product is subnormal, which not all levels would take for the same number.
const LEAST_WEIGHT: f32 = -41.0;

/// Turns the scores of `tokens` (those in the selection) into weights e^(score - greatest), and all
/// others in their groups into 0, two to each of [`ValuePairs::Weights`], or where they have yet to
/// be scaled, floats in the places of the scores. Returns the greatest score and the sum of the
/// weights.
///
/// # Safety
///
/// `scores` is good for whole groups, and the processor has the instructions of `V`.
#[inline(always)]
unsafe fn softmax<V: Lanes, P: ValuePairs<V>, E: Element>(
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
        let (row, scores) = (scores, scores.add(start));
        let mut greatest = V::splat(f32::NEG_INFINITY);
        for group in 0..groups {
            greatest = greatest.max(V::load(scores.add(group * GROUP_TOKENS)));
        }
        let greatest = greatest.greatest();
        let shift = V::splat(greatest);
        // Behind those that are still to be read: they take at most as much memory.
        let weights = row.cast::<P::Weights>().add(start / 2);
        let mut sum = V::splat(0.0);
        for group in 0..groups {
            let at = scores.add(group * GROUP_TOKENS);
            let weight = P::exp(V::load(at).sub(shift), LEAST_WEIGHT);
            sum = if E::HAS_SCALES {
                weight.store(at);
                sum.add(weight)
            } else {
                sum.add(P::store_weights(weight, weights.add(group * GROUP_TOKENS / 2)))
            };
        }
        (greatest, sum.sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::Level;

    /// Where the processor has the instruction, the public function takes it: this is what others
    /// with the same level do.
    #[test]
    fn every_level_does_without_the_instruction_what_it_does() {
        let shape = KvShape { kv_heads: 1, key_size: 40, value_size: 72 };
        let number = |i: usize| ((i * 2_654_435_761 % 1009) as f32 - 504.0) / 97.0;
        let (rows, heads, tokens) = (4, 3, 77usize);
        let length = shape.block_length::<u16>();
        let mut elements = vec![0u16; length * tokens.div_ceil(PAGE_TOKENS)];
        for (i, element) in elements.iter_mut().enumerate() {
            *element = crate::f16::f32_to_f16(number(i));
        }
        let mut blocks = [0; SEGMENT_PAGES];
        for (page, block) in blocks.iter_mut().enumerate().take(tokens.div_ceil(PAGE_TOKENS)) {
            *block = page * length;
        }
        let (seen, step, window) = (tokens + 1 - rows, 1, 50);
        let (selection, next, elements) = (None, None, elements.as_slice());
        let segment =
            Segment { elements, blocks, shape, rows, heads, seen, step, window, selection, next };
        let queries: Vec<f32> = (0..rows * heads * shape.key_size).map(number).collect();
        let part = |run: &dyn Fn(Buffers<'_>)| {
            let mut part = vec![0.0; part_length(rows * heads, shape)];
            run(Buffers {
                queries: Queries { floats: &queries, bytes: &[] },
                scores: &mut vec![f32::NAN; QUERIES_MAX * SEGMENT_TOKENS],
                scaled: &mut [],
                values: &mut vec![f32::NAN; VALUES_LENGTH],
                part: &mut part,
            });
            part.iter().map(|x| x.to_bits()).collect::<Vec<u32>>()
        };
        let scalar = Kernels::at(Level::Scalar).expect("it is everywhere");
        let right = part(&|buffers| rounded_f16(scalar, &segment, buffers));
        for level in Level::available() {
            let kernels = Kernels::at(level).expect("it is there");
            let native = part(&|buffers| Attended::attend(kernels, &segment, false, buffers));
            assert_eq!(native, right, "{}", level.name());
            let widened = part(&|buffers| rounded_f16(kernels, &segment, buffers));
            assert_eq!(widened, right, "{} without the instruction", level.name());
        }
        let exact = part(&|buffers| Attended::attend(scalar, &segment, true, buffers));
        assert_ne!(exact, right, "nothing was rounded");
    }
}
