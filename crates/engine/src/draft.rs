//! Turns what a smaller part makes of a sequence into guesses of how it goes on (Leviathan et al.
//! 2023, "Fast Inference from Transformers via Speculative Decoding"; Chen et al. 2023).
//!
//! It says which token it finds likeliest, several times in a row. The model then computes them in
//! one step, and each row chooses its token as if it were alone, as with [`crate::lookup`]: the
//! answer is what it would be without guesses. Two things can guess ([`Draft`]): a small model,
//! which reads tokens, and the model's own layer for it, which reads states and the tokens behind.
//!
//! Keys and values of either lie in pages of the same numbers as those of the model: what is
//! shared, published and given back of these is so of those. It follows prompts as they are
//! computed, and answers page by page. Where its cache is not what it should be, guesses get worse,
//! and nothing else: so it is at the end of what is shared, where the layer has read a token that
//! need not be the one that follows here, and where of an answer's last page a part is shared.

use std::sync::Arc;

use myriad_kernels::{Compute, KvType};
use myriad_model::{Batch, Cache, LogitRows, Model, MtpHead, PAGE_TOKENS, Scratch, Segment};

use crate::error::EngineError;
use crate::lookup::ROW_COST;
use crate::sequence::Sequence;

/// How likely a guess is taken to be right before any was made, and how many guesses that counts.
const PRIOR: (f32, f32) = (0.7, 2.0);

/// What remains of the weight of a guess with each later one.
const MEMORY: f32 = 0.9;

/// An answer whose guesses are not worth their cost tries one again after so many tokens.
const TRY_AFTER: u32 = 32;

/// What guesses for a model.
#[derive(Clone)]
pub enum Draft {
    /// A smaller model of the same vocabulary.
    Model(Arc<Model>),
    /// The layer that the model was trained with for it (multi-token prediction).
    Head(Arc<MtpHead>),
}

impl From<Arc<Model>> for Draft {
    fn from(model: Arc<Model>) -> Draft {
        Draft::Model(model)
    }
}

impl From<Arc<MtpHead>> for Draft {
    fn from(head: Arc<MtpHead>) -> Draft {
        Draft::Head(head)
    }
}

/// A draft with its keys and values.
pub(crate) struct Drafter {
    draft: Draft,
    target: Arc<Model>,
    cache: Cache,
    scratch: Scratch,
    /// What one guess costs, as a share of a step without one.
    cost: f32,
}

impl Drafter {
    /// A cache of as many pages as the model `target` has.
    ///
    /// # Errors
    /// Where a small model cannot work so, or the cache does not fit in memory.
    pub(crate) fn new(
        draft: Draft,
        target: Arc<Model>,
        kv: KvType,
        pages: usize,
    ) -> Result<Drafter, EngineError> {
        let (cache, read) = match &draft {
            Draft::Model(model) if model.state_bytes() > 0 => {
                let reason =
                    "the draft model has recurrent layers, whose state cannot be taken back";
                return Err(EngineError::Output { what: "guesses", reason });
            }
            Draft::Model(model) => {
                (model.new_cache_of(kv, pages, 0)?, model.weight_bytes_per_token())
            }
            Draft::Head(head) => {
                (head.new_cache(&target, kv, pages)?, head.weight_bytes_per_guess(&target))
            }
        };
        // The state behind each guess is kept.
        let bytes = (read + target.state_bytes()) as f32;
        let cost = ROW_COST + bytes / target.weight_bytes_per_token() as f32;
        Ok(Drafter { draft, target, cache, scratch: Scratch::new(), cost })
    }

    /// Whether it reads the states of all tokens.
    pub(crate) fn reads_states(&self) -> bool {
        matches!(self.draft, Draft::Head(_))
    }

    /// Goes along with the model, whose page `from` is copied onto page `to`.
    pub(crate) fn copy_page(&mut self, from: u32, to: u32) {
        self.cache.copy_page(from, to);
    }

    /// Goes along with the model, which will need this page.
    pub(crate) fn touch_page(&mut self, page: u32) {
        self.cache.touch_page(page);
    }

    /// How many tokens to guess for a sequence, at most `most`.
    pub(crate) fn length(&self, sequence: &mut Sequence, most: usize) -> usize {
        let room = match &self.draft {
            Draft::Model(model) => {
                model.config().context_length.saturating_sub(sequence.tokens.len())
            }
            // A guess begins with the last state.
            Draft::Head(_) if sequence.unread.is_empty() => 0,
            Draft::Head(_) => most,
        };
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
        let first = wanted.iter().map(|&(index, _)| {
            let sequence = &mut running[index];
            // Of the last token there is no state yet.
            let end = sequence.tokens.len() - usize::from(self.reads_states());
            self.rows(sequence, index, end)
        });
        let mut rows: Vec<Rows> = first.collect();
        let longest = wanted.iter().map(|(_, length)| *length).max().unwrap_or(0);
        for round in 1..=longest {
            let guesses = self.forward(compute, running, &rows, LogitRows::Last);
            let mut next = Vec::with_capacity(rows.len());
            for (Rows { index, .. }, Guess { token, state }) in rows.into_iter().zip(guesses) {
                let sequence = &mut running[index];
                sequence.guessed.push(token);
                if wanted.contains(&(index, round)) {
                    continue;
                }
                let tokens = self.known(&[token]);
                next.push(Rows { index, start: sequence.drafted, tokens, states: state });
            }
            rows = next;
        }
    }

    /// Takes in the states of the rows that a sequence has computed, before they count as computed.
    /// [rows, hidden]
    pub(crate) fn take(&self, sequence: &mut Sequence, states: &[f32]) {
        if self.reads_states() {
            // Behind that it has its own states, of guesses.
            sequence.drafted = sequence.drafted.min(sequence.computed);
            sequence.unread.extend_from_slice(states);
        }
    }

    /// Goes along with what the model has computed.
    pub(crate) fn follow(&mut self, compute: &Compute, running: &mut [Sequence]) {
        let mut rows = Vec::new();
        for (index, sequence) in running.iter_mut().enumerate() {
            // Where an answer ends within a guess, more was computed than it has tokens.
            let known = sequence.computed.min(sequence.tokens.len());
            let end = match &self.draft {
                Draft::Model(model) => known.min(model.config().context_length),
                // The last one is left to the next guess.
                Draft::Head(_) => known.saturating_sub(1),
            };
            // Of answers that guess nothing, or by other means, many tokens at once: they cost
            // little more than one.
            let enough = if sequence.drafted < sequence.prompt { 1 } else { PAGE_TOKENS };
            if end >= sequence.drafted + enough {
                let behind = self.rows(sequence, index, end);
                rows.extend((!behind.tokens.is_empty()).then_some(behind));
            }
        }
        if !rows.is_empty() {
            self.forward(compute, running, &rows, LogitRows::None);
        }
    }

    /// What its cache lacks of a sequence, up to before the position `end`.
    fn rows(&self, sequence: &mut Sequence, index: usize, end: usize) -> Rows {
        let start = sequence.drafted;
        let (tokens, states) = match &self.draft {
            Draft::Model(_) => (self.known(&sequence.tokens[start..end]), Vec::new()),
            Draft::Head(_) => {
                let hidden = self.target.config().hidden;
                // Of a sequence that makes a vector there are none.
                let count = end.saturating_sub(start).min(sequence.unread.len() / hidden);
                let rest = sequence.unread.split_off(count * hidden);
                let behind = &sequence.tokens[start + 1..][..count];
                (behind.to_vec(), std::mem::replace(&mut sequence.unread, rest))
            }
        };
        Rows { index, start, tokens, states }
    }

    /// Tokens with some other in the place of those that a small model has not.
    fn known(&self, tokens: &[u32]) -> Vec<u32> {
        let vocab = match &self.draft {
            Draft::Model(model) => model.config().vocab,
            Draft::Head(_) => self.target.config().vocab,
        };
        let known = |&token: &u32| if (token as usize) < vocab { token } else { 0 };
        tokens.iter().map(known).collect()
    }

    /// Computes rows, and the likeliest next token of each sequence, where logits are asked for.
    fn forward(
        &mut self,
        compute: &Compute,
        running: &mut [Sequence],
        rows: &[Rows],
        logits: LogitRows,
    ) -> Vec<Guess> {
        let segments = rows.iter().map(|rows| {
            let (start, pages) = (rows.start as u32, &running[rows.index].pages);
            Segment::alone(&rows.tokens, start, pages, logits)
        });
        let segments: Vec<Segment<'_>> = segments.collect();
        let batch = Batch { sequences: &segments };
        let Drafter { draft, target, cache, scratch, .. } = self;
        let found = match draft {
            Draft::Model(model) => model.forward(compute, &batch, cache, scratch),
            Draft::Head(head) => {
                let states: Vec<f32> = rows.iter().flat_map(|rows| &rows.states).copied().collect();
                target.guess(head, compute, &batch, &states, cache, scratch)
            }
        };
        let (hidden, vocab) = (target.config().hidden, target.config().vocab);
        let guess = |row: usize| {
            let logits = found.row(row);
            let state = found.states().get(row * hidden..(row + 1) * hidden);
            Guess {
                token: likeliest(&logits[..logits.len().min(vocab)]),
                state: state.map_or_else(Vec::new, Vec::from),
            }
        };
        let guesses = (0..found.rows()).map(guess).collect();
        for rows in rows {
            running[rows.index].drafted = rows.start + rows.tokens.len();
        }
        guesses
    }
}

/// What is to be computed of one sequence.
struct Rows {
    index: usize,
    /// Position of the first.
    start: usize,
    /// Those at the positions, or behind them where there are states.
    tokens: Vec<u32>,
    /// [tokens, hidden], or empty.
    states: Vec<f32>,
}

/// A guess, and the state that it was made of, where states are read.
struct Guess {
    token: u32,
    state: Vec<f32>,
}

/// The index of the largest value; 0 where none is larger than another.
fn likeliest(logits: &[f32]) -> u32 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    logits.iter().position(|logit| *logit == largest).unwrap_or(0) as u32
}

/// How often guesses were right of late, in one answer.
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
        // What costs more than a step is never worth it.
        assert_eq!(Odds::default().length(1.2, 7), 0);
    }
}
