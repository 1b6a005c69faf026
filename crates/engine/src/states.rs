//! Turns the slots of states into shares of many requests, for models with recurrent layers.
//!
//! Such a layer has no keys of single positions, but one state that each position changes, and
//! nothing can be undone. So a prefix can be taken from the cache only where a copy of the state
//! was kept: at the end of a prompt's last whole page, at intervals in long prompts, and at the
//! last whole page of each answer. A slot is used like a page: held by a running request, or idle
//! with a known content until its room is needed.

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
}

impl Pools {
    /// `slots`: for running requests and for snapshots.
    pub(crate) fn new(pages: usize, slots: usize) -> Pools {
        let states = (slots > 0).then(|| PagePool::new(slots));
        Pools { pages: PagePool::new(pages), states }
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

    /// Gives back all slots.
    pub(crate) fn release(&mut self, pools: &mut Pools) {
        let Some(states) = &mut pools.states else { return };
        states.release(&mut self.restore.take().into_iter().chain(self.slot.take()).collect());
    }
}

impl Sequence {
    /// A snapshot to be made within the next `rows` rows, in a slot that is then held.
    pub(crate) fn plan_snapshot(&mut self, rows: usize, pools: &mut Pools) -> Option<Snapshot> {
        let states = pools.states.as_mut()?;
        let tokens = self.worth_keeping(rows)?;
        if states.knows(self.hash(tokens / PAGE_TOKENS - 1)) {
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

    /// Makes a snapshot known that has been made. Called before the rows count as computed.
    pub(crate) fn keep_snapshot(&mut self, snapshot: Snapshot, pools: &mut Pools) {
        let Some(states) = &mut pools.states else { return };
        let tokens = self.computed + snapshot.after_rows;
        let hash = self.hash(tokens / PAGE_TOKENS - 1);
        let slot = snapshot.slot as u32;
        states.publish(slot, hash);
        states.release(&mut vec![slot]);
        if tokens > self.prompt
            && let Some(before) = self.state.rolling.replace(hash)
        {
            states.forget(before);
        }
    }
}
