//! Text into token ids as SentencePiece's BPE does: neighbours merge by the highest score of what
//! they make together, and characters that no piece has become bytes.
//!
//! There are no pre-tokens, but pieces have their space at the beginning, with few exceptions (one
//! in Gemma's 262 144). So a text is cut at its spaces into words that no piece can join; each is
//! one heap over one linked list, O(n log n).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use hashbrown::{HashMap, HashSet};

use crate::error::TokenizerError;
use crate::limits::PIECE_BYTES_MAX;
use crate::{TokenType, VocabSpec, check};

/// What pieces have in the place of a space.
pub(crate) const SPACE: char = '\u{2581}';

const NONE: u32 = u32::MAX;

/// Words are cut at this size at the latest, so that places in them are 32 bits wide. Only a token
/// across the cut is lost by it, and no request is that long.
const PART_BYTES_MAX: usize = 1 << 30;

/// The rules of a SentencePiece vocabulary.
pub(crate) struct SentencePiece {
    /// By id, the lowest first; `NONE` for what text is not merged into: control and unknown
    /// tokens, bytes, and user-defined tokens, which are found before.
    ranks: Vec<u32>,
    /// Pieces by way of which others are made, and that are then taken apart again.
    unused: HashSet<u32>,
    /// Bytes of the longest piece.
    longest: usize,
    fallback: Fallback,
    /// Characters that have a space after them in some piece.
    joined: HashSet<char>,
    /// Whether texts are cut at all.
    cuts: bool,
    /// Whether a space goes before a text.
    pub(crate) adds_space: bool,
}

/// What stands for a character that no piece has.
enum Fallback {
    /// A token for each of its bytes.
    Bytes(Box<[u32; 256]>),
    /// One token for it and all such characters after it.
    Unknown(u32),
}

/// Buffers that are reused from text to text.
#[derive(Default)]
pub(crate) struct Scratch {
    escaped: String,
    symbols: Vec<Symbol>,
    heap: BinaryHeap<Reverse<Candidate>>,
}

/// A piece of the text in a linked list; of no length once it has been merged into another.
#[derive(Clone, Copy)]
struct Symbol {
    start: u32,
    length: u32,
    /// Its token, or `NONE`.
    id: u32,
    previous: u32,
    next: u32,
}

/// Two neighbours that may be merged: lowest rank first, then leftmost.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    rank: u32,
    left: u32,
    right: u32,
    /// Of the two together: tells whether one of them has been merged with another since.
    length: u32,
    id: u32,
}

impl SentencePiece {
    /// Checks the scores and byte tokens of a vocabulary whose sizes have been checked.
    pub(crate) fn new(spec: &VocabSpec) -> Result<SentencePiece, TokenizerError> {
        let (scores, tokens) = (spec.scores.len(), spec.tokens.len());
        if scores == 0 {
            return Err(TokenizerError::NoScores);
        }
        if scores != tokens {
            return Err(TokenizerError::ScoreCount { scores, tokens });
        }
        let mut rules = SentencePiece {
            ranks: Vec::with_capacity(tokens),
            unused: HashSet::new(),
            longest: 0,
            fallback: fallback(spec)?,
            joined: HashSet::new(),
            cuts: false,
            adds_space: spec.add_space_prefix,
        };
        let pieces = spec.tokens.iter().zip(&spec.token_types).zip(&spec.scores);
        for (id, ((piece, kind), score)) in (0u32..).zip(pieces) {
            if score.is_nan() {
                return Err(TokenizerError::ScoreNotANumber { id });
            }
            if !matches!(kind, TokenType::Normal | TokenType::Unused) {
                rules.ranks.push(NONE);
                continue;
            }
            if piece.len() > PIECE_BYTES_MAX {
                return Err(TokenizerError::PieceTooLong { id, bytes: piece.len() });
            }
            rules.ranks.push(rank(*score));
            rules.longest = rules.longest.max(piece.len());
            let before_spaces = piece.match_indices(SPACE).filter_map(|(at, _)| {
                piece[..at].chars().next_back().filter(|before| *before != SPACE)
            });
            rules.joined.extend(before_spaces);
            rules.cuts |= piece.chars().eq([SPACE]);
            if *kind == TokenType::Unused {
                rules.unused.insert(id);
            }
        }
        Ok(rules)
    }

    /// The parts of a text whose ids do not depend on one another: cut before each space after a
    /// character that no piece joins with it.
    pub(crate) fn words<'t>(&self, text: &'t str) -> impl Iterator<Item = &'t str> {
        let is_space = |c: char| c == ' ' || c == SPACE;
        let mut rest = text;
        std::iter::from_fn(move || {
            let mut previous = ' ';
            let cut = rest.char_indices().find(|(at, c)| {
                let last = std::mem::replace(&mut previous, *c);
                is_space(*c) && !is_space(last) && self.cuts_after(last) || *at >= PART_BYTES_MAX
            });
            let (word, after) = rest.split_at(cut.map_or(rest.len(), |(at, _)| at));
            rest = after;
            (!word.is_empty()).then_some(word)
        })
    }

    fn cuts_after(&self, last: char) -> bool {
        self.cuts && !self.joined.contains(&last)
    }

    /// Appends the ids of a word, with a space before it if `space`; `find` gives the token of a
    /// piece.
    pub(crate) fn encode(
        &self,
        word: &str,
        space: bool,
        find: impl Fn(&str) -> Option<u32>,
        scratch: &mut Scratch,
        out: &mut Vec<u32>,
    ) {
        let Scratch { escaped, symbols, heap } = scratch;
        escaped.clear();
        escaped.extend(space.then_some(SPACE));
        escaped.extend(word.chars().map(|c| if c == ' ' { SPACE } else { c }));
        Run { rules: self, text: escaped, find, symbols, heap, splits: HashMap::new() }.run(out);
    }

    /// Appends what stands for text that no piece has.
    fn push_fallback(&self, text: &str, out: &mut Vec<u32>) {
        match &self.fallback {
            Fallback::Bytes(ids) => out.extend(text.bytes().map(|byte| ids[usize::from(byte)])),
            Fallback::Unknown(id) => out.push(*id),
        }
    }
}

/// One word on its way into ids.
struct Run<'a, F> {
    rules: &'a SentencePiece,
    text: &'a str,
    find: F,
    symbols: &'a mut Vec<Symbol>,
    heap: &'a mut BinaryHeap<Reverse<Candidate>>,
    /// Where the unused pieces that were met are to be cut: bytes of their left part.
    splits: HashMap<&'a str, usize>,
}

impl<F: Fn(&str) -> Option<u32>> Run<'_, F> {
    fn run(mut self, out: &mut Vec<u32>) {
        self.begin();
        while let Some(Reverse(found)) = self.heap.pop() {
            self.merge(found);
        }
        let mut next = 0;
        let mut after_unknown = false;
        while let Some(symbol) = self.symbols.get(next as usize).copied() {
            next = symbol.next;
            let is_unknown =
                symbol.id == NONE && matches!(self.rules.fallback, Fallback::Unknown(_));
            // One unknown token stands for a run of unknown characters.
            if !(is_unknown && after_unknown) {
                self.push(symbol, out);
            }
            after_unknown = is_unknown;
        }
    }

    /// Makes a symbol of each character and a candidate of each two of them.
    fn begin(&mut self) {
        self.heap.clear();
        self.symbols.clear();
        for (index, (start, c)) in (0u32..).zip(self.text.char_indices()) {
            let length = c.len_utf8();
            let id = self.find(start, length).map_or(NONE, |(id, _)| id);
            let (previous, next) = (index.wrapping_sub(1), index + 1);
            let (start, length) = (start as u32, length as u32);
            self.symbols.push(Symbol { start, length, id, previous, next });
        }
        if let Some(last) = self.symbols.last_mut() {
            last.next = NONE;
        }
        for right in 1..self.symbols.len() as u32 {
            self.propose(right - 1, right);
        }
    }

    /// (id, rank) of the piece of the text at these bytes.
    fn find(&self, start: usize, length: usize) -> Option<(u32, u32)> {
        if length > self.rules.longest {
            return None;
        }
        let id = (self.find)(&self.text[start..start + length])?;
        let rank = self.rules.ranks[id as usize];
        (rank != NONE).then_some((id, rank))
    }

    /// Makes a candidate of two neighbours, if they are a piece together.
    fn propose(&mut self, left: u32, right: u32) {
        let Some(&first) = self.symbols.get(left as usize) else { return };
        let Some(&second) = self.symbols.get(right as usize) else { return };
        let (start, length) = (first.start as usize, first.length + second.length);
        let Some((id, rank)) = self.find(start, length as usize) else { return };
        if self.rules.unused.contains(&id) {
            let text = &self.text[start..start + length as usize];
            self.splits.insert(text, first.length as usize);
        }
        self.heap.push(Reverse(Candidate { rank, left, right, length, id }));
    }

    fn merge(&mut self, found: Candidate) {
        let Candidate { left, right, length, id, .. } = found;
        let symbols = &mut *self.symbols;
        let (first, second) = (symbols[left as usize], symbols[right as usize]);
        // One of the two may have been merged with another since.
        if first.length == 0 || second.length == 0 || first.length + second.length != length {
            return;
        }
        symbols[left as usize] = Symbol { length, id, next: second.next, ..first };
        symbols[right as usize].length = 0;
        if let Some(following) = symbols.get_mut(second.next as usize) {
            following.previous = left;
        }
        self.propose(first.previous, left);
        self.propose(left, second.next);
    }

    /// Appends the ids of a symbol; that of an unused piece only if it cannot be taken apart.
    fn push(&self, symbol: Symbol, out: &mut Vec<u32>) {
        let (start, length) = (symbol.start as usize, symbol.length as usize);
        let mut parts = vec![(start, length, symbol.id)];
        while let Some((start, length, id)) = parts.pop() {
            let text = &self.text[start..start + length];
            if id == NONE {
                self.rules.push_fallback(text, out);
                continue;
            }
            let split = self.splits.get(text).filter(|_| self.rules.unused.contains(&id));
            let Some(&cut) = split else {
                out.push(id);
                continue;
            };
            let part = |start: usize, length: usize| {
                (start, length, self.find(start, length).map_or(NONE, |(id, _)| id))
            };
            parts.push(part(start + cut, length - cut));
            parts.push(part(start, cut));
        }
    }
}

/// A number in the order of scores, the highest score first. `NONE` is none's but of a NaN.
fn rank(score: f32) -> u32 {
    // Zero has two forms, which are equal as scores.
    let bits = (score + 0.0).to_bits();
    if bits >> 31 == 1 { bits } else { !(bits | 1 << 31) }
}

/// The byte tokens if there are some: then all of them. Otherwise the unknown token.
fn fallback(spec: &VocabSpec) -> Result<Fallback, TokenizerError> {
    let mut ids = Box::new([NONE; 256]);
    let mut has_bytes = false;
    let pieces = (0u32..).zip(&spec.tokens).zip(&spec.token_types);
    for ((id, piece), _) in pieces.filter(|(_, kind)| **kind == TokenType::Byte) {
        let place = &mut ids[usize::from(check::byte_of(id, piece)?)];
        *place = (*place).min(id);
        has_bytes = true;
    }
    if !has_bytes {
        let first = spec.token_types.iter().position(|kind| *kind == TokenType::Unknown);
        let unknown = spec.unknown.or(first.map(|id| id as u32));
        return unknown.map(Fallback::Unknown).ok_or(TokenizerError::NoFallback);
    }
    match (0..=255u8).find(|byte| ids[usize::from(*byte)] == NONE) {
        Some(byte) => Err(TokenizerError::MissingByteToken { byte }),
        None => Ok(Fallback::Bytes(ids)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_in_the_order_of_scores() {
        let scores = [f32::INFINITY, 3.0, 1e-30, 0.0, -1e-30, -1.0, -2.5, f32::NEG_INFINITY];
        assert!(scores.map(rank).is_sorted_by(|a, b| a < b));
        assert_eq!(rank(0.0), rank(-0.0));
        assert!(scores.iter().all(|score| rank(*score) != NONE));
    }

    /// An unknown token, the characters of `letters`, then pieces of them made at random.
    fn random_spec(letters: &str, random: &mut impl FnMut() -> usize) -> VocabSpec {
        let mut tokens: Vec<String> = letters.chars().map(String::from).collect();
        for _ in 0..40 {
            let left = tokens[random() % tokens.len()].clone();
            let piece = left + &tokens[random() % tokens.len()];
            if !tokens.contains(&piece) && piece.chars().count() < 8 {
                tokens.push(piece);
            }
        }
        tokens.insert(0, "<unk>".to_owned());
        let mut token_types = vec![TokenType::Normal; tokens.len()];
        token_types[0] = TokenType::Unknown;
        // Few values, so that many are equal.
        let scores = tokens.iter().map(|_| (random() % 6) as f32 - 3.0).collect();
        VocabSpec {
            model: "llama".to_owned(),
            pre: "default".to_owned(),
            tokens,
            token_types,
            scores,
            unknown: Some(0),
            ..VocabSpec::default()
        }
    }

    /// The plain twin: of the whole text, always the two neighbours of the highest score.
    fn expected(spec: &VocabSpec, text: &str) -> Vec<u32> {
        let find = |piece: &str| spec.tokens.iter().position(|token| token == piece);
        let mut symbols: Vec<String> =
            text.chars().map(|c| if c == ' ' { SPACE } else { c }.to_string()).collect();
        loop {
            let pairs = symbols
                .windows(2)
                .enumerate()
                .filter_map(|(at, pair)| find(&pair.concat()).map(|id| (at, spec.scores[id])));
            let best = pairs.reduce(|best, next| if next.1 > best.1 { next } else { best });
            let Some((at, _)) = best else { break };
            let right = symbols.remove(at + 1);
            symbols[at].push_str(&right);
        }
        let mut ids: Vec<u32> =
            symbols.iter().map(|symbol| find(symbol).unwrap_or(0) as u32).collect();
        ids.dedup_by(|next, last| *next == 0 && *last == 0);
        ids
    }

    #[test]
    fn words_by_heap_are_whole_texts_by_search() {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut random = move || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as usize
        };
        for round in 0..600 {
            // Vocabularies with a piece for the space and without; with few and many that join it.
            let letters = ["a\u{2581}bc", "abc", "abcdefg\u{2581}"][round % 3];
            let spec = random_spec(letters, &mut random);
            let rules = SentencePiece::new(&spec).expect("a valid vocabulary");
            let find = |piece: &str| {
                spec.tokens.iter().position(|token| token == piece).map(|id| id as u32)
            };
            let length = random() % 80;
            let text: String = (0..length)
                .map(|_| ['a', ' ', 'b', 'c', 'x', 'f', '\u{2581}'][random() % 7])
                .collect();
            let (mut scratch, mut ids) = (Scratch::default(), Vec::new());
            for word in rules.words(&text) {
                rules.encode(word, false, find, &mut scratch, &mut ids);
            }
            assert_eq!(ids, expected(&spec, &text), "round {round}: {text:?}, {:?}", spec.tokens);
        }
    }
}
