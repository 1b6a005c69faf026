//! Turns events into how many there were in each of the last seconds.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Whole seconds that a rate is the mean of: short enough to be live, long enough to be calm.
const SECONDS: u64 = 4;

/// Events of the last seconds, each with its number; the present one among them.
pub struct Rate {
    since: Instant,
    slots: Mutex<[(u64, u64); SECONDS as usize + 1]>,
}

impl Default for Rate {
    fn default() -> Rate {
        Rate { since: Instant::now(), slots: Mutex::default() }
    }
}

impl Rate {
    /// So many happened now.
    pub fn add(&self, count: u64) {
        self.add_at(self.since.elapsed().as_secs(), count);
    }

    /// How many there were in a second, of the last whole ones.
    pub fn per_second(&self) -> f64 {
        self.per_second_at(self.since.elapsed().as_secs())
    }

    fn add_at(&self, second: u64, count: u64) {
        let mut slots = self.slots();
        let slot = &mut slots[(second % (SECONDS + 1)) as usize];
        if slot.0 != second {
            *slot = (second, 0);
        }
        slot.1 += count;
    }

    fn per_second_at(&self, second: u64) -> f64 {
        let lately = |slot: &&(u64, u64)| slot.0 < second && slot.0 + SECONDS >= second;
        let count: u64 = self.slots().iter().filter(lately).map(|slot| slot.1).sum();
        count as f64 / SECONDS as f64
    }

    fn slots(&self) -> MutexGuard<'_, [(u64, u64); SECONDS as usize + 1]> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_seconds_count_and_old_ones_are_forgotten() {
        let rate = Rate::default();
        assert_eq!(rate.per_second_at(0), 0.0);
        (0..3).for_each(|_| rate.add_at(7, 4));
        assert_eq!(rate.per_second_at(7), 0.0, "the second is not over");
        assert_eq!(rate.per_second_at(8), 3.0);
        rate.add_at(10, 8);
        assert_eq!(rate.per_second_at(11), 5.0);
        assert_eq!(rate.per_second_at(12), 2.0, "the first second is too old");
        assert_eq!(rate.per_second_at(15), 0.0);
        rate.add_at(12, 4);
        assert_eq!(rate.per_second_at(13), 3.0);
    }
}
