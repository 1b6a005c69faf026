//! Turns positions in a segment into a set of bits, and bits into runs.

use crate::kv::GROUP_TOKENS;
use std::ops::Range;

/// Tokens whose softmax is made in one go. Parts are cut at multiples of it, so that neither the
/// batch nor the threads show in the sums. 256 scores of all queries of a tile fit the L1 cache.
pub(super) const SEGMENT_TOKENS: usize = 256;

/// Tokens of a segment.
#[derive(Clone, Copy, Default)]
pub(super) struct TokenSet([u64; SEGMENT_TOKENS / 64]);

impl TokenSet {
    /// Adds a token, below [`SEGMENT_TOKENS`].
    pub(super) fn insert(&mut self, token: usize) {
        self.0[token / 64] |= 1 << (token % 64);
    }

    /// Whether it has a token, below [`SEGMENT_TOKENS`].
    pub(super) fn contains(&self, token: usize) -> bool {
        self.0[token / 64] >> (token % 64) & 1 == 1
    }

    /// The groups of sixteen that have a token, one bit each.
    pub(super) fn groups(&self) -> u64 {
        let has_some = |group: usize| {
            let (word, shift) = (group * GROUP_TOKENS / 64, group * GROUP_TOKENS % 64);
            self.0[word] >> shift & ((1 << GROUP_TOKENS) - 1) != 0
        };
        let groups = 0..SEGMENT_TOKENS / GROUP_TOKENS;
        groups.fold(0, |groups, group| groups | u64::from(has_some(group)) << group)
    }

    /// The tokens, ascending, in runs that end at multiples of 64 at the latest.
    pub(super) fn runs(&self) -> impl Iterator<Item = Range<usize>> {
        let words = self.0.iter().enumerate();
        words.flat_map(|(word, &bits)| {
            Runs(bits).map(move |run| word * 64 + run.start..word * 64 + run.end)
        })
    }
}

/// Runs of ones in a word, from the lowest on.
pub(super) struct Runs(pub(super) u64);

impl Iterator for Runs {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        if self.0 == 0 {
            return None;
        }
        let start = self.0.trailing_zeros();
        let length = (self.0 >> start).trailing_ones();
        self.0 &= u64::MAX.checked_shl(start + length).unwrap_or(0);
        Some(start as usize..(start + length) as usize)
    }
}
