//! Turns runs into a bounded memory of those that go on or ended a short while ago.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::run::{End, Run};
use crate::limits::{RECENT_BYTES_MAX, RECENT_MAX, RECENT_TIME};
use crate::storage::Owner;

/// Runs by their ids. Those that go on stay; of the others the ones that were not used for longest
/// go first, and all after [`RECENT_TIME`].
#[derive(Default)]
pub struct Recent(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    entries: HashMap<String, Entry>,
    /// Those that have ended, in the order of their last use.
    order: BTreeMap<u64, String>,
    uses: u64,
    bytes: usize,
    /// Whether somebody waits for the next one's time to be over.
    swept: bool,
}

struct Entry {
    run: Arc<Run>,
    /// When it was used last, and as which use; none while it goes on.
    used: Option<(u64, Instant)>,
    bytes: usize,
}

impl Recent {
    /// Adds a run that has just begun.
    pub fn add(&self, run: &Arc<Run>) {
        let entry = Entry { run: Arc::clone(run), used: None, bytes: 0 };
        self.inner().entries.insert(run.id.clone(), entry);
    }

    /// Adds a run that has just begun, or returns the one of its id that goes on; none where its
    /// owner has `most` that go on.
    pub fn begin(&self, run: &Arc<Run>, most: usize) -> Option<Arc<Run>> {
        let mut inner = self.inner();
        let goes_on = |entry: &&Entry| entry.used.is_none();
        if let Some(entry) = inner.entries.get(&run.id).filter(goes_on) {
            return Some(Arc::clone(&entry.run));
        }
        let running = inner.entries.values().filter(goes_on);
        if running.filter(|entry| entry.run.owner == run.owner).count() >= most {
            return None;
        }
        inner.remove(&run.id);
        let entry = Entry { run: Arc::clone(run), used: None, bytes: 0 };
        inner.entries.insert(run.id.clone(), entry);
        Some(Arc::clone(run))
    }

    /// Asks for the end of all runs that go on and whose ids begin so.
    pub fn cancel_all(&self, prefix: &str) {
        let inner = self.inner();
        let all = inner.entries.values().filter(|entry| entry.used.is_none());
        all.filter(|entry| entry.run.id.starts_with(prefix)).for_each(|entry| entry.run.cancel());
    }

    /// Counts a run that has ended, and makes room.
    pub fn settle(self: &Arc<Recent>, run: &Run) {
        let mut inner = self.inner();
        if matches!(run.ended(), Some(End::Gone)) && !run.logged() {
            // There is nothing to be found here.
            inner.remove(&run.id);
        }
        let Some(entry) = inner.entries.get_mut(&run.id) else { return };
        let bytes = run.bytes();
        entry.bytes = bytes;
        inner.bytes += bytes;
        inner.touch(&run.id);
        while inner.order.len() > RECENT_MAX || inner.bytes > RECENT_BYTES_MAX {
            let Some((_, id)) = inner.order.pop_first() else { break };
            inner.remove(&id);
        }
        if !inner.swept && !inner.order.is_empty() {
            inner.swept = true;
            tokio::spawn(sweep(Arc::clone(self)));
        }
    }

    /// A run of this owner's.
    pub fn find(&self, owner: &Owner, id: &str) -> Option<Arc<Run>> {
        let mut inner = self.inner();
        let run = inner.entries.get(id).map(|entry| Arc::clone(&entry.run))?;
        if run.owner != *owner {
            return None;
        }
        if inner.entries.get(id).is_some_and(|entry| entry.used.is_some()) {
            inner.touch(id);
        }
        Some(run)
    }

    /// Forgets a run.
    pub fn remove(&self, id: &str) {
        self.inner().remove(id);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn touch(&mut self, id: &str) {
        self.uses += 1;
        let Some(entry) = self.entries.get_mut(id) else { return };
        if let Some((use_before, _)) = entry.used.replace((self.uses, Instant::now())) {
            self.order.remove(&use_before);
        }
        self.order.insert(self.uses, id.to_owned());
    }

    fn remove(&mut self, id: &str) {
        let Some(entry) = self.entries.remove(id) else { return };
        self.bytes -= entry.bytes;
        if let Some((last, _)) = entry.used {
            self.order.remove(&last);
        }
    }

    /// Forgets what is over. When the next one will be; none where none is left.
    fn forget(&mut self) -> Option<Instant> {
        while let Some((_, id)) = self.order.first_key_value() {
            let (_, used) = self.entries.get(id)?.used?;
            let over = used + RECENT_TIME;
            if over > Instant::now() {
                return Some(over);
            }
            let id = id.clone();
            self.remove(&id);
        }
        None
    }
}

/// Forgets one after the other when its time is over, and ends with the last one.
async fn sweep(recent: Arc<Recent>) {
    loop {
        let next = {
            let mut inner = recent.inner();
            let next = inner.forget();
            inner.swept = next.is_some();
            next
        };
        match next {
            Some(next) => tokio::time::sleep_until(next).await,
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(recent: &Arc<Recent>, id: &str, bytes: usize) {
        let run = Run::new(id, Owner::default(), false);
        recent.add(&run);
        run.end(End::Here("x".repeat(bytes).into()));
        recent.settle(&run);
    }

    fn there(recent: &Recent, id: &str) -> bool {
        recent.find(&Owner::default(), id).is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_used_stays_and_what_is_not_goes_after_its_time() {
        let recent = Arc::new(Recent::default());
        ended(&recent, "a", 10);
        ended(&recent, "b", 10);
        recent.add(&Run::new("running", Owner::default(), true));
        tokio::time::sleep(RECENT_TIME / 2).await;
        assert!(there(&recent, "a"));
        tokio::time::sleep(RECENT_TIME * 2 / 3).await;
        assert!(there(&recent, "a") && !there(&recent, "b"));
        tokio::time::sleep(RECENT_TIME * 2).await;
        assert!(!there(&recent, "a") && there(&recent, "running"));
        let inner = recent.inner();
        assert_eq!((inner.bytes, inner.order.len(), inner.swept), (0, 0, false));
    }

    #[tokio::test(start_paused = true)]
    async fn the_least_recently_used_make_room() {
        let recent = Arc::new(Recent::default());
        ended(&recent, "a", RECENT_BYTES_MAX / 8);
        ended(&recent, "b", RECENT_BYTES_MAX / 8);
        assert!(there(&recent, "a"));
        ended(&recent, "c", 1);
        assert!(there(&recent, "a") && there(&recent, "c") && !there(&recent, "b"));
        for number in 0..RECENT_MAX {
            ended(&recent, &number.to_string(), 0);
        }
        assert!(!there(&recent, "a") && there(&recent, "0"));
        recent.remove("0");
        assert!(!there(&recent, "0"));
        let inner = recent.inner();
        assert_eq!(inner.order.len(), inner.entries.len());
    }
}
