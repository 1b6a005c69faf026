//! The bytes of one pre-token into token ids, by merging pairs in the order of their ranks.
//!
//! Two ways with equal results: short words by scanning for the lowest rank (quadratic, but in one
//! or two cache lines), long ones by a heap over a linked list in O(n log n).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use hashbrown::HashMap;

/// Up to this many symbols the scan is quicker than the heap.
const SCAN_SYMBOLS_MAX: usize = 48;

const NONE: u32 = u32::MAX;

/// The rules of a byte-level BPE vocabulary.
pub(crate) struct Merges {
    /// Token of each single byte, or `NONE`.
    byte_ids: Box<[u32; 256]>,
    /// (left id, right id) → (rank, id of the two together)
    pairs: HashMap<(u32, u32), (u32, u32)>,
}

/// Buffers that are reused from word to word.
#[derive(Default)]
pub(crate) struct Scratch {
    ids: Vec<u32>,
    ranks: Vec<(u32, u32)>,
    previous: Vec<u32>,
    next: Vec<u32>,
    heap: BinaryHeap<Reverse<Candidate>>,
}

/// A pair that may be merged: lowest rank first, then leftmost.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    rank: u32,
    at: u32,
    left: u32,
    right: u32,
}

impl Merges {
    /// Rules from the tokens of single bytes and (left, right, merged) in the order of rank.
    pub(crate) fn new(
        byte_ids: [Option<u32>; 256],
        merges: impl Iterator<Item = (u32, u32, u32)>,
    ) -> Merges {
        let mut pairs = HashMap::new();
        for (rank, (left, right, merged)) in (0u32..).zip(merges) {
            // A pair that is listed twice keeps its first rank.
            pairs.entry((left, right)).or_insert((rank, merged));
        }
        Merges { byte_ids: Box::new(byte_ids.map(|id| id.unwrap_or(NONE))), pairs }
    }

    /// Appends the ids of one pre-token. A byte without a token of its own is left out, as the
    /// published implementations do (SmolLM2 has none for 21 bytes: a few controls, planes 4 to
    /// 11).
    pub(crate) fn encode_word(&self, word: &[u8], scratch: &mut Scratch, out: &mut Vec<u32>) {
        scratch.ids.clear();
        let ids = word.iter().map(|byte| self.byte_ids[usize::from(*byte)]);
        scratch.ids.extend(ids.filter(|id| *id != NONE));
        if scratch.ids.len() <= SCAN_SYMBOLS_MAX {
            self.merge_by_scan(scratch);
            out.extend_from_slice(&scratch.ids);
        } else {
            self.merge_by_heap(scratch, out);
        }
    }

    /// (rank, merged id) of a pair; the rank is `NONE` where there is no merge.
    fn merge_of(&self, left: u32, right: u32) -> (u32, u32) {
        self.pairs.get(&(left, right)).copied().unwrap_or((NONE, NONE))
    }

    fn merge_by_scan(&self, scratch: &mut Scratch) {
        let (ids, ranks) = (&mut scratch.ids, &mut scratch.ranks);
        ranks.clear();
        ranks.extend(ids.windows(2).map(|pair| self.merge_of(pair[0], pair[1])));
        // ranks[i] is of the pair (ids[i], ids[i + 1]).
        while let Some(at) = lowest(ranks) {
            ids[at] = ranks[at].1;
            ids.remove(at + 1);
            ranks.remove(at);
            if at > 0 {
                ranks[at - 1] = self.merge_of(ids[at - 1], ids[at]);
            }
            if at + 1 < ids.len() {
                ranks[at] = self.merge_of(ids[at], ids[at + 1]);
            }
        }
    }

    fn merge_by_heap(&self, scratch: &mut Scratch, out: &mut Vec<u32>) {
        let Scratch { ids, previous, next, heap, .. } = scratch;
        // Positions are 32 bits wide to halve the memory of a long word; no request is that long.
        let count = u32::try_from(ids.len()).unwrap_or(NONE - 1);
        ids.truncate(count as usize);
        previous.clear();
        previous.extend((0..count).map(|at| at.wrapping_sub(1)));
        next.clear();
        next.extend((1..count).chain([NONE]));
        heap.clear();
        let candidate = |ids: &[u32], at: u32, after: u32| {
            let (left, right) = (ids[at as usize], ids[after as usize]);
            let (rank, _) = self.merge_of(left, right);
            (rank != NONE).then_some(Reverse(Candidate { rank, at, left, right }))
        };
        heap.extend((1..count).filter_map(|after| candidate(ids, after - 1, after)));
        while let Some(Reverse(Candidate { at, left, right, .. })) = heap.pop() {
            let after = next[at as usize];
            // One of the two may have been merged with another since.
            if ids[at as usize] != left || after == NONE || ids[after as usize] != right {
                continue;
            }
            ids[at as usize] = self.merge_of(left, right).1;
            ids[after as usize] = NONE;
            let following = next[after as usize];
            next[at as usize] = following;
            if following != NONE {
                previous[following as usize] = at;
                heap.extend(candidate(ids, at, following));
            }
            let before = previous[at as usize];
            if before != NONE {
                heap.extend(candidate(ids, before, at));
            }
        }
        out.extend(ids.iter().filter(|id| **id != NONE));
    }
}

/// Index of the lowest rank, the leftmost of equals; `None` where nothing can be merged.
fn lowest(ranks: &[(u32, u32)]) -> Option<usize> {
    let (at, (rank, _)) = ranks.iter().enumerate().min_by_key(|(_, (rank, _))| *rank)?;
    (*rank != NONE).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tokens 0–255 are bytes; then merges over {a, b, c} made at random.
    fn random_merges(random: &mut impl FnMut() -> u32) -> Merges {
        let mut known: Vec<u32> = b"abc".iter().map(|b| u32::from(*b)).collect();
        let mut merges = Vec::new();
        for merged in 256..296 {
            let left = known[random() as usize % known.len()];
            let right = known[random() as usize % known.len()];
            merges.push((left, right, merged));
            known.push(merged);
        }
        Merges::new(std::array::from_fn(|byte| Some(byte as u32)), merges.into_iter())
    }

    #[test]
    fn heap_and_scan_agree() {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut random = move || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as u32
        };
        for round in 0..300 {
            let merges = random_merges(&mut random);
            let length = random() as usize % 200;
            let word: Vec<u32> = (0..length).map(|_| 97 + random() % 3).collect();
            let mut scan = Scratch { ids: word.clone(), ..Scratch::default() };
            merges.merge_by_scan(&mut scan);
            let mut heap = Scratch { ids: word.clone(), ..Scratch::default() };
            let mut out = Vec::new();
            merges.merge_by_heap(&mut heap, &mut out);
            assert_eq!(scan.ids, out, "round {round}, word {word:?}");
        }
    }
}
