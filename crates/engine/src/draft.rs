//! Turns what a small model makes of a sequence into guesses of how it goes on (Leviathan et al.
//! 2023, "Fast Inference from Transformers via Speculative Decoding"; Chen et al. 2023).
//!
//! The small model says which token it finds likeliest, several times in a row. The large one then
//! computes them in one step, and each row chooses its token as if it were alone, as with
//! [`crate::lookup`]: the answer is what it would be without guesses.
//!
//! Keys and values of the small model lie in pages of the same numbers as those of the large one:
//! what is shared, published and given back of these is so of those. It follows prompts as they are
//! computed, and answers page by page. Where its cache is not what it should be, guesses get worse,
//! and nothing else.

use std::sync::Arc;

use myriad_kernels::{Compute, KvType};
use myriad_model::{Batch, Cache, LogitRows, Model, PAGE_TOKENS, Scratch, Segment};

use crate::error::EngineError;
use crate::lookup::ROW_COST;
use crate::plan::Piece;
use crate::sequence::Sequence;

/// How likely a guess is taken to be right before any was made, and how many guesses that counts.
const PRIOR: (f32, f32) = (0.7, 2.0);

/// What remains of the weight of a guess with each later one.
const MEMORY: f32 = 0.9;

/// An answer whose guesses are not worth their cost tries one again after so many tokens.
const TRY_AFTER: u32 = 32;

/// A small model that guesses for a large one.
pub(crate) struct Drafter {
    model: Arc<Model>,
    cache: Cache,
    scratch: Scratch,
    /// Tokens of the large model.
    vocab: usize,
    /// What one guess costs, as a share of a step without one.
    cost: f32,
}

impl Drafter {
    /// A cache of as many pages as the large model `target` has.
    ///
    /// # Errors
    /// Where one of them cannot work so, or the cache does not fit in memory.
    pub(crate) fn new(
        model: Arc<Model>,
        target: &Model,
        kv: KvType,
        pages: usize,
    ) -> Result<Drafter, EngineError> {
        for (of, reason) in [
            (&*model, "the draft model has recurrent layers, whose state cannot be taken back"),
            (target, "it has recurrent layers, whose state cannot be taken back"),
        ] {
            if of.state_bytes() > 0 {
                return Err(EngineError::Output { what: "guesses", reason });
            }
        }
        let cache = model.new_cache_of(kv, pages, 0)?;
        let read = |model: &Model| model.weight_bytes_per_token() as f32;
        let cost = ROW_COST + read(&model) / read(target);
        let (scratch, vocab) = (Scratch::new(), target.config().vocab);
        Ok(Drafter { model, cache, scratch, vocab, cost })
    }

    /// How many tokens to guess for a sequence, at most `most`.
    pub(crate) fn length(&self, sequence: &mut Sequence, most: usize) -> usize {
        let room = self.model.config().context_length.saturating_sub(sequence.tokens.len());
        sequence.odds.length(self.cost, most.min(room))
    }

    /// Guesses so many tokens, each more than none, for sequences by their index.
    pub(crate) fn guess(
        &mut self,
        compute: &Compute,
        running: &mut [Sequence],
        wanted: &[(usize, usize)],
    ) {
        for &(index, _) in wanted {
            let sequence = &mut running[index];
            sequence.guessed.extend(sequence.tokens.last());
            sequence.drafts = true;
        }
        let longest = wanted.iter().map(|(_, length)| *length).max().unwrap_or(0);
        for round in 0..longest {
            let going = wanted.iter().filter(|(_, length)| *length > round);
            let rows = going.map(|&(index, _)| {
                let sequence = &running[index];
                let tokens = match round {
                    0 => &sequence.tokens[sequence.drafted..],
                    _ => &sequence.guessed[round..],
                };
                Rows { index, start: sequence.drafted, tokens: self.known(tokens) }
            });
            let rows: Vec<Rows> = rows.collect();
            let likeliest = self.forward(compute, running, &rows, LogitRows::Last);
            for (rows, token) in rows.iter().zip(likeliest) {
                let sequence = &mut running[rows.index];
                sequence.drafted = rows.start + rows.tokens.len();
                sequence.guessed.push(token);
            }
        }
    }

    /// Goes along with what the large model computes in this step.
    pub(crate) fn follow(&mut self, compute: &Compute, running: &mut [Sequence], pieces: &[Piece]) {
        let rows = pieces.iter().filter_map(|piece| {
            let sequence = &running[piece.sequence];
            let end = sequence.tokens.len().min(sequence.computed + piece.rows);
            let end = end.min(self.model.config().context_length);
            let behind = end.saturating_sub(sequence.drafted);
            // Of answers that guess nothing, or by other means, many tokens at once: they cost
            // little more than one.
            let enough = if sequence.decodes() { PAGE_TOKENS } else { 1 };
            if behind < enough {
                return None;
            }
            let tokens = self.known(&sequence.tokens[sequence.drafted..end]);
            Some(Rows { index: piece.sequence, start: sequence.drafted, tokens })
        });
        let rows: Vec<Rows> = rows.collect();
        if rows.is_empty() {
            return;
        }
        self.forward(compute, running, &rows, LogitRows::None);
        for rows in rows {
            running[rows.index].drafted = rows.start + rows.tokens.len();
        }
    }

    /// Tokens with some other in the place of those that the small model has not.
    fn known(&self, tokens: &[u32]) -> Vec<u32> {
        let vocab = self.model.config().vocab as u32;
        tokens.iter().map(|&token| if token < vocab { token } else { 0 }).collect()
    }

    /// The likeliest next token of each, where logits are asked for.
    fn forward(
        &mut self,
        compute: &Compute,
        running: &[Sequence],
        rows: &[Rows],
        logits: LogitRows,
    ) -> Vec<u32> {
        let segments = rows.iter().map(|rows| {
            let (start, pages) = (rows.start as u32, &running[rows.index].pages);
            Segment::alone(&rows.tokens, start, pages, logits)
        });
        let segments: Vec<Segment<'_>> = segments.collect();
        let batch = Batch { sequences: &segments };
        let logits = self.model.forward(compute, &batch, &mut self.cache, &mut self.scratch);
        (0..logits.rows())
            .map(|row| {
                let row = logits.row(row);
                likeliest(&row[..row.len().min(self.vocab)])
            })
            .collect()
    }
}

/// Tokens of one sequence for the small model.
struct Rows {
    index: usize,
    start: usize,
    tokens: Vec<u32>,
}

/// The index of the largest value; 0 where none is larger than another.
fn likeliest(logits: &[f32]) -> u32 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    logits.iter().position(|logit| *logit == largest).unwrap_or(0) as u32
}

/// How often the small model was right of late, in one answer.
#[derive(Default)]
pub(crate) struct Odds {
    right: f32,
    seen: f32,
    /// Tokens since a guess was found not to be worth its cost.
    idle: u32,
}

impl Odds {
    /// How many tokens to guess, at most `most`, where each costs this share of a step: as many as
    /// promise the most tokens for the time.
    fn length(&mut self, cost: f32, most: usize) -> usize {
        let chance = (self.right + PRIOR.0 * PRIOR.1) / (self.seen + PRIOR.1);
        let (mut best, mut best_rate) = (0, 1.0);
        let (mut tokens, mut all_right) = (1.0, 1.0);
        for length in 1..=most {
            all_right *= chance;
            tokens += all_right;
            let rate = tokens / (1.0 + cost * length as f32);
            if rate > best_rate {
                (best, best_rate) = (length, rate);
            }
        }
        if best > 0 {
            return best;
        }
        self.idle += 1;
        if self.idle < TRY_AFTER {
            return 0;
        }
        self.idle = 0;
        most.min(1)
    }

    /// Learns that so many tokens of a guess were right.
    pub(crate) fn learn(&mut self, guessed: usize, right: usize) {
        // Those behind the first that was wrong say nothing.
        let seen = guessed.min(right + 1);
        for number in 0..seen {
            let hit = if number < right { 1.0 } else { 0.0 };
            self.right = MEMORY * self.right + hit;
            self.seen = MEMORY * self.seen + 1.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_is_the_first_of_the_largest() {
        assert_eq!(likeliest(&[1.0, 3.0, -2.0, 3.0]), 1);
        assert_eq!(likeliest(&[f32::NAN, 1.0]), 1);
        assert_eq!(likeliest(&[f32::NAN, f32::NAN]), 0);
        assert_eq!(likeliest(&[f32::NEG_INFINITY; 3]), 0);
    }

    #[test]
    fn guesses_that_are_right_get_longer_and_those_that_fail_end() {
        let mut odds = Odds::default();
        assert!(odds.length(0.3, 7) > 0, "one tries at first");
        for _ in 0..20 {
            odds.learn(4, 4);
        }
        assert_eq!((odds.length(0.3, 7), odds.length(0.3, 2), odds.length(0.3, 0)), (7, 2, 0));
        for _ in 0..20 {
            odds.learn(2, 0);
        }
        let tries: usize = (0..320).map(|_| odds.length(0.3, 7)).sum();
        assert_eq!(tries, 320 / TRY_AFTER as usize, "now and then");
        // A large model may guess for one that is not much larger: never worth it.
        assert_eq!(Odds::default().length(1.2, 7), 0);
    }
}
