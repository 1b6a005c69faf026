//! Turns calls of kernels into the names of those that ran at a level: a test's proof that no work
//! took a slower way in silence.

use crate::level::Level;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};

/// What ran, each once.
static ALL: Mutex<Vec<(&str, Level)>> = Mutex::new(Vec::new());

/// Which levels one kernel ran at. A call reads it and, but for the first one, writes nothing.
pub(crate) struct Reached {
    name: &'static str,
    /// A bit for each level.
    levels: AtomicU8,
}

impl Reached {
    pub(crate) const fn new(name: &'static str) -> Reached {
        Reached { name, levels: AtomicU8::new(0) }
    }

    #[inline(always)]
    pub(crate) fn mark(&self, level: Level) {
        if self.levels.load(Ordering::Relaxed) & (1 << level as u8) == 0 {
            self.note(level);
        }
    }

    #[cold]
    fn note(&self, level: Level) {
        let bit = 1 << level as u8;
        if self.levels.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
            ALL.lock().unwrap_or_else(PoisonError::into_inner).push((self.name, level));
        }
    }
}

/// The kernels (`module::name`) that have run at `level` in this process so far, by name.
pub fn reached_kernels(level: Level) -> Vec<&'static str> {
    let all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    let mut names: Vec<&str> =
        all.iter().filter(|(_, other)| *other == level).map(|(name, _)| *name).collect();
    names.sort_unstable();
    names
}
