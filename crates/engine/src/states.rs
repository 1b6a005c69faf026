//! Turns the slots of states into shares of many requests, for models with recurrent layers.
//!
//! Such a layer has no keys of single positions, but one state that each position changes, and
//! nothing can be undone. So a step that computes guesses keeps the state behind each of its rows
//! in a slot of its own, and the sequence goes on with that of the last right one. And a prefix can
//! be taken from the cache only where a copy of the state was kept: at the end of a prompt's last
//! whole page, at intervals in long prompts, and at the last whole page of each answer. A slot is
//! used like a page: held by a running request, or idle with a known content until its room is
//! needed.

use myriad_model::{PAGE_TOKENS, Snapshot};

use crate::pages::{PagePool, PrefixHash};
use crate::sequence::Sequence;

/// Tokens from one snapshot to the next within a long prompt: what is computed again at most, where
/// only a part of it is shared.
const INTERVAL: usize = 1024;

/// The pages, and the slots of states; none where the model has no states.
pub(crate) struct Pools {
    pub(crate) pages: PagePool,
    pub(crate) states: Option<PagePool>,
    /// Pages to be copied before the next step computes, in this order: from, to.
    pub(crate) copies: Vec<(u32, u32)>,
    /// Whether there are slots for the states behind guesses.
    pub(crate) takes_back: bool,
}

impl Pools {
    /// `slots`: for running requests and for snapshots; `guesses`: for states behind guesses.
    pub(crate) fn new(pages: usize, slots: usize, guesses: usize) -> Pools {
        let states = (slots > 0).then(|| PagePool::new(slots + guesses));
        let takes_back = states.is_none() || guesses > 0;
        Pools { pages: PagePool::new(pages), states, copies: Vec::new(), takes_back }
    }
}

/// What a sequence has to do with states.
#[derive(Default)]
pub(crate) struct State {
    /// Its own slot, while it runs.
    pub(crate) slot: Option<u32>,
    /// The snapshot that it begins from: held until it is copied.
    restore: Option<u32>,
    /// The last snapshot of its answer, which a later one makes worthless.
    rolling: Option<PrefixHash>,
    /// Slots for the states behind the rows of a guess, of all but the last, while it is computed.
    behind: Vec<u32>,
}

impl State {
    /// Holds a slot of its own; false where there is none. Models without states need none.
    pub(crate) fn begin(&mut self, pools: &mut Pools) -> bool {
        let Some(states) = &mut pools.states else { return true };
        if self.slot.is_none() {
            self.slot = states.take();
        }
        self.slot.is_some()
    }

    /// Begins from the snapshot of this prefix, which is known.
    pub(crate) fn begin_from(&mut self, hash: PrefixHash, states: &mut PagePool) {
        states.release(&mut self.restore.take().into_iter().collect());
        self.restore = states.share(hash);
    }

    /// The copy that is to be made before the next step, if there is one: from, to.
    pub(crate) fn take_copy(&mut self, pools: &mut Pools) -> Option<(usize, usize)> {
        let (from, to) = (self.restore.take()?, self.slot?);
        // Nothing takes slots between this and the copy.
        pools.states.as_mut()?.release(&mut vec![from]);
        Some((from as usize, to as usize))
    }

    /// Holds slots for the states behind so many rows; false where there are too few.
    pub(crate) fn hold_behind(&mut self, rows: usize, pools: &mut Pools) -> bool {
        let Some(states) = &mut pools.states else { return true };
        self.behind = (0..rows).map_while(|_| states.take()).collect();
        if self.behind.len() < rows {
            states.release(&mut self.behind);
        }
        self.behind.len() == rows
    }

    /// What is to be kept of the states within a step: beside `of_page`, those behind guesses.
    pub(crate) fn snapshots(&self, of_page: Option<Snapshot>) -> Vec<Snapshot> {
        let behind = self.behind.iter().enumerate();
        let behind =
            behind.map(|(row, &slot)| Snapshot { after_rows: row + 1, slot: slot as usize });
        behind.chain(of_page).collect()
    }

    /// Goes on with the state behind the first `rows` rows of the step.
    pub(crate) fn take_back(&mut self, rows: usize, pools: &mut Pools) {
        let Some(states) = &mut pools.states else { return };
        let behind = rows.checked_sub(1).and_then(|row| self.behind.get_mut(row));
        if let (Some(behind), Some(own)) = (behind, &mut self.slot) {
            std::mem::swap(behind, own);
        }
        states.release(&mut self.behind);
    }

    /// Gives back all slots.
    pub(crate) fn release(&mut self, pools: &mut Pools) {
        let Some(states) = &mut pools.states else { return };
        states.release(&mut self.behind);
        states.release(&mut self.restore.take().into_iter().chain(self.slot.take()).collect());
    }
}

impl Sequence {
    /// A snapshot to be made within the next `rows` rows, in a slot that is then held.
    pub(crate) fn plan_snapshot(&mut self, rows: usize, pools: &mut Pools) -> Option<Snapshot> {
        let states = pools.states.as_mut()?;
        let tokens = self.worth_keeping(rows)?;
        // Within a guess nobody knows yet which page it will be.
        let is_certain = tokens <= self.tokens.len();
        if is_certain && states.knows(self.hash(tokens / PAGE_TOKENS - 1)) {
            return None;
        }
        let slot = states.take()? as usize;
        Some(Snapshot { after_rows: tokens - self.computed, slot })
    }

    /// The end of the page within the next `rows` rows whose state is worth keeping.
    fn worth_keeping(&self, rows: usize) -> Option<usize> {
        let end = self.computed + rows;
        let whole = |tokens: usize, of: usize| tokens / of * of;
        let tokens = if end < self.prompt {
            whole(end, INTERVAL)
        } else if self.computed < self.prompt {
            // The same prompt again must compute its last token at least.
            whole(self.prompt - 1, PAGE_TOKENS)
        } else {
            whole(end, PAGE_TOKENS)
        };
        (tokens > self.computed).then_some(tokens)
    }

    /// Makes the state behind the first `tokens` tokens known, which stands in that slot; but not
    /// where a guess turned out to be wrong before.
    pub(crate) fn keep_snapshot(&mut self, tokens: usize, slot: usize, pools: &mut Pools) {
        let Some(states) = &mut pools.states else { return };
        let slot = slot as u32;
        if tokens > self.computed.min(self.tokens.len()) {
            return states.release(&mut vec![slot]);
        }
        let hash = self.hash(tokens / PAGE_TOKENS - 1);
        states.publish(slot, hash);
        states.release(&mut vec![slot]);
        if tokens > self.prompt
            && let Some(before) = self.state.rolling.replace(hash)
        {
            states.forget(before);
        }
    }
}
