//! Turns waiting and running requests into the rows of one step: decodes first, then prompts.
//!
//! The order is that of admission. A prompt whose next page is being computed by an earlier request
//! waits a step and takes it from the cache, so that a shared beginning is computed once; where it
//! ends within a page, a copy is begun. A decode without a page makes the youngest request wait
//! again; a prompt without pages waits itself.

use std::collections::VecDeque;

use hashbrown::HashSet;
use myriad_model::{LogitRows, PAGE_TOKENS, Snapshot};

use crate::draft::Drafter;
use crate::lookup::GUESS_MAX;
use crate::pages::PrefixHash;
use crate::sequence::Sequence;
use crate::states::Pools;

/// Whoever reads an answer waits for the prompts in its step: these get one part of so many of the
/// rows that they could have alone. A step then takes up to about twice as long as one of sixteen
/// answers (`bench/DIARY.md`).
const BESIDE_ANSWERS: usize = 10;

/// Whoever waits for an answer to begin waits for all rows of the step in which its prompt ends:
/// such a step has no more prompts than fill so many rows. Of sixteen at once behind a shared
/// prefix, nine then have their first token before the others are read (`bench/DIARY.md`).
const BEFORE_ANSWERS: usize = 72;

/// Most rows beyond its share with which a prompt comes to its end: they are not worth a wait for
/// the next step.
const REST: usize = 8;

/// Requests in order: those that have a place, and those that wait for one.
#[derive(Default)]
pub(crate) struct Queues {
    /// In order of admission.
    pub(crate) running: Vec<Sequence>,
    pub(crate) waiting: VecDeque<Sequence>,
    /// Whether answers guess how they go on.
    pub(crate) speculates: bool,
}

/// Rows of one running sequence in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Index into [`Queues::running`].
    pub(crate) sequence: usize,
    pub(crate) rows: usize,
    pub(crate) logits: LogitRows,
    /// The state within these rows that is to be kept.
    pub(crate) snapshot: Option<Snapshot>,
}

impl Queues {
    /// Gives places to waiting requests, in order, as far as places and pages reach.
    pub(crate) fn admit(&mut self, parallel: usize, pools: &mut Pools) {
        while self.running.len() < parallel {
            let Some(mut next) = self.waiting.pop_front() else { return };
            next.share_prefix(pools);
            // Pages that those who run will still take for the tokens they have.
            let promised: usize = self.running.iter().map(pages_to_come).sum();
            let fits = promised + pages_to_come(&next) <= pools.pages.available();
            // Alone it always fits: nobody may ask for more than there is.
            if !next.state.begin(pools) || (!fits && !self.running.is_empty()) {
                next.release(pools);
                self.waiting.push_front(next);
                return;
            }
            self.running.push(next);
        }
    }

    /// Lets answers guess how they go on, by what stood before. Returns those for which the drafter
    /// should guess, by their index, and how many tokens.
    pub(crate) fn guess(
        &mut self,
        pools: &mut Pools,
        drafter: Option<&Drafter>,
    ) -> Vec<(usize, usize)> {
        if !self.speculates || !pools.takes_back {
            return Vec::new();
        }
        let decodes = self.running.iter().filter(|sequence| sequence.decodes()).count();
        // More rows than one pass takes would cost another.
        let most = (GUESS_MAX + 1).checked_div(decodes).unwrap_or(0).saturating_sub(1);
        let mut wanted = Vec::new();
        for (index, sequence) in self.running.iter_mut().enumerate() {
            if !sequence.decodes() {
                continue;
            }
            let most = sequence.most_guesses(most);
            let found = sequence.guess(most);
            let drafted = match drafter {
                Some(drafter) if found == 0 => drafter.length(sequence, most),
                _ => 0,
            };
            // Pages for guesses are taken from nobody who needs one for what it has.
            let (guesses, tokens) = (found + drafted, sequence.tokens.len());
            if pools.pages.available() < decodes
                || !sequence.hold(tokens + guesses, &mut pools.pages)
                || !sequence.state.hold_behind(guesses, pools)
            {
                sequence.guessed.clear();
            } else if drafted > 0 {
                wanted.push((index, drafted));
            }
        }
        wanted
    }

    /// Plans one step. Also returns how many requests were put back to wait.
    pub(crate) fn plan(&mut self, step_tokens: usize, pools: &mut Pools) -> (Vec<Piece>, u64) {
        let mut preempted = 0;
        loop {
            let mut pieces = self.plan_decodes(pools, &mut preempted);
            let budget = if pieces.is_empty() { step_tokens } else { step_tokens / BESIDE_ANSWERS };
            let budget = budget.saturating_sub(pieces.len()).max(PAGE_TOKENS);
            self.plan_prompts(budget, pools, &mut pieces);
            if !pieces.is_empty() || self.running.len() < 2 {
                // What begins alike stands together: attention reads that once for all of them.
                let running = &self.running;
                pieces.sort_by(|a, b| running[a.sequence].pages.cmp(&running[b.sequence].pages));
                // Last, since those who were put back have no pieces.
                for piece in &mut pieces {
                    let sequence = &mut self.running[piece.sequence];
                    piece.snapshot = sequence.plan_snapshot(piece.rows, pools);
                }
                return (pieces, preempted);
            }
            // Prompts that hold each other's pages: the youngest gives way.
            self.preempt(pools);
            preempted += 1;
        }
    }

    fn plan_decodes(&mut self, pools: &mut Pools, preempted: &mut u64) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut index = 0;
        while index < self.running.len() {
            let sequence = &mut self.running[index];
            if sequence.decodes() {
                if !sequence.hold(sequence.tokens.len(), &mut pools.pages) {
                    // It may be this one itself; then the loop ends.
                    self.preempt(pools);
                    *preempted += 1;
                    continue;
                }
                let rows = sequence.guessed.len().max(1);
                let logits = if rows > 1 { LogitRows::All } else { LogitRows::Last };
                pieces.push(Piece { sequence: index, rows, logits, snapshot: None });
            }
            index += 1;
        }
        pieces
    }

    fn plan_prompts(&mut self, mut budget: usize, pools: &mut Pools, pieces: &mut Vec<Piece>) {
        let mut under_way: HashSet<PrefixHash> = HashSet::new();
        let mut planned = 0;
        for (index, sequence) in self.running.iter_mut().enumerate() {
            if planned >= budget {
                return;
            }
            if sequence.decodes() {
                continue;
            }
            sequence.share_prefix(pools);
            // Pages without the state behind them would be of no use.
            let waits = pools.states.is_none()
                && sequence.next_page().is_some_and(|hash| under_way.contains(&hash));
            if waits {
                continue;
            }
            sequence.share_part(pools);
            let (left, room) = (sequence.tokens.len() - sequence.computed, budget - planned);
            let room = if left <= room + REST { left } else { room };
            let (rows, logits) = sequence.piece(room);
            if !sequence.hold(sequence.computed + rows, &mut pools.pages) {
                continue;
            }
            under_way.extend(sequence.pages_within(rows));
            planned += rows;
            if sequence.begins_answer(rows) {
                budget = budget.min(BEFORE_ANSWERS);
            }
            pieces.push(Piece { sequence: index, rows, logits, snapshot: None });
        }
    }

    /// Puts the youngest running request at the head of those that wait.
    fn preempt(&mut self, pools: &mut Pools) {
        if let Some(mut youngest) = self.running.pop() {
            youngest.release(pools);
            self.waiting.push_front(youngest);
        }
    }
}

/// Pages that a sequence must still take for its tokens and the next one.
fn pages_to_come(sequence: &Sequence) -> usize {
    (sequence.tokens.len() + 1).div_ceil(PAGE_TOKENS).saturating_sub(sequence.pages.len())
}
