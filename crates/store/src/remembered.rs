//! Turns answers of the database into answers of memory, for as long as they are believed.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::limits::{BELIEVED, REMEMBERED_MAX};

/// What was found under which name, and when; also that nothing was.
#[derive(Debug)]
pub(crate) struct Remembered<T> {
    known: Mutex<Known<T>>,
}

#[derive(Debug)]
struct Known<T> {
    answers: HashMap<String, (Option<T>, Instant)>,
    /// How often all was forgotten.
    forgotten: u64,
}

/// The right to put in an answer that was looked up from now on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked(u64);

impl<T> Default for Remembered<T> {
    fn default() -> Remembered<T> {
        Remembered { known: Mutex::new(Known { answers: HashMap::new(), forgotten: 0 }) }
    }
}

impl<T: Clone> Remembered<T> {
    /// What is believed, or the right to say it once it is looked up.
    pub fn get(&self, name: &str) -> Result<Option<T>, Asked> {
        let known = self.lock();
        match known.answers.get(name) {
            Some((answer, at)) if at.elapsed() < BELIEVED => Ok(answer.clone()),
            _ => Err(Asked(known.forgotten)),
        }
    }

    /// Remembers an answer, unless all was forgotten since it was asked for: it may be an old one.
    pub fn put(&self, name: String, answer: Option<T>, asked: Asked) {
        let mut known = self.lock();
        if known.forgotten != asked.0 {
            return;
        }
        if known.answers.len() >= REMEMBERED_MAX {
            known.answers.clear();
        }
        known.answers.insert(name, (answer, Instant::now()));
    }

    /// Forgets everything: something has changed.
    pub fn forget(&self) {
        let mut known = self.lock();
        known.answers.clear();
        known.forgotten += 1;
    }

    fn lock(&self) -> MutexGuard<'_, Known<T>> {
        // Nothing panics while it is held; if it did, what is remembered would still be true.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether there are any rows of a table: what is once true is believed for ever.
#[derive(Debug, Default)]
pub(crate) struct Any(Mutex<Option<(bool, Instant)>>);

impl Any {
    /// What is believed.
    pub fn get(&self) -> Option<bool> {
        let known = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.filter(|(any, at)| *any || at.elapsed() < BELIEVED).map(|(any, _)| any)
    }

    /// Remembers it.
    pub fn put(&self, any: bool) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.is_some_and(|(any, _)| any) {
            *known = Some((any, Instant::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_from_before_a_change_is_not_believed_after_it() {
        let remembered = Remembered::default();
        let before = remembered.get("key").unwrap_err();
        remembered.forget();
        remembered.put("key".into(), Some(1), before);
        let after = remembered.get("key").unwrap_err();
        remembered.put("key".into(), Some(2), after);
        assert_eq!(remembered.get("key").unwrap(), Some(2));
        remembered.forget();
        assert!(remembered.get("key").is_err());
    }

    #[test]
    fn guesses_take_bounded_memory() {
        let remembered: Remembered<()> = Remembered::default();
        for guess in 0..3 * REMEMBERED_MAX {
            let name = guess.to_string();
            let asked = remembered.get(&name).unwrap_err();
            remembered.put(name, None, asked);
        }
        assert!(remembered.lock().answers.len() <= REMEMBERED_MAX);
    }

    #[test]
    fn some_stays_true() {
        let any = Any::default();
        assert_eq!(any.get(), None);
        any.put(false);
        assert_eq!(any.get(), Some(false));
        any.put(true);
        any.put(false);
        assert_eq!(any.get(), Some(true));
    }
}
