//! Turns what requests use into sums of a day, kept in memory and written now and then.
//!
//! Counting is a sum in a table of memory, so that no request waits for it. What a server that is
//! killed had not written is lost: ten seconds of numbers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use myriad_store::{Change, StoreError, Used, UsedBy};
use tokio::time::{MissedTickBehavior, interval};

use crate::app::unix_seconds;
use crate::limits::{LEDGER_EVERY, LEDGER_ROWS_MAX};
use crate::storage::{Owner, Storage};

/// Seconds of a day.
const DAY_SECONDS: u64 = 24 * 3600;

/// Days since 1970, in UTC.
pub fn today() -> i64 {
    (unix_seconds() / DAY_SECONDS) as i64
}

/// Sums that are not written yet.
#[derive(Debug, Default)]
pub struct Ledger {
    sums: Mutex<HashMap<UsedBy, Used>>,
}

impl Ledger {
    fn add(&self, by: UsedBy, used: Used) {
        // Whoever held it did sums only.
        let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        if sums.len() >= LEDGER_ROWS_MAX && !sums.contains_key(&by) {
            tracing::error!("usage is not counted: the store has taken none for a while");
            return;
        }
        sums.entry(by).or_default().add(used);
    }

    /// Writes them down; what cannot be written now is written the next time.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn flush(&self, storage: &Storage) -> Result<(), StoreError> {
        let sums = std::mem::take(&mut *self.sums.lock().unwrap_or_else(PoisonError::into_inner));
        let add =
            |change: Change, (by, used): (&UsedBy, &Used)| change.add_usage(by.clone(), *used);
        let done = storage.store.commit(sums.iter().fold(Change::new(), add)).await;
        if done.is_err() {
            sums.into_iter().for_each(|(by, used)| self.add(by, used));
        }
        done
    }
}

/// Writes them down until it is dropped.
pub async fn run(ledger: Arc<Ledger>, storage: Arc<Storage>) {
    let mut ticks = interval(LEDGER_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = ledger.flush(&storage).await {
            tracing::error!(%error, "writing down what was used");
        }
    }
}

/// Who a request's tokens are counted for.
#[derive(Clone, Debug)]
pub struct Meter {
    /// None where nothing is kept.
    pub ledger: Option<Arc<Ledger>>,
    /// Whose request it is.
    pub owner: Owner,
    /// The API key that it came with.
    pub key: Option<Arc<str>>,
}

impl Meter {
    /// Counts one request of a model.
    pub fn count(&self, model: &str, prompt: usize, cached: usize, generated: usize) {
        let Some(ledger) = &self.ledger else { return };
        let number = |tokens: usize| i64::try_from(tokens).unwrap_or(i64::MAX / 2);
        let by = UsedBy {
            day: today(),
            owner: self.owner.as_str().to_owned(),
            key: self.key.as_deref().unwrap_or_default().to_owned(),
            model: model.to_owned(),
        };
        let used = Used {
            requests: 1,
            prompt_tokens: number(prompt),
            cached_tokens: number(cached),
            generated_tokens: number(generated),
        };
        ledger.add(by, used);
    }
}

#[cfg(test)]
mod tests {
    use myriad_store::{By, Span};

    use super::*;

    #[tokio::test]
    async fn what_could_not_be_written_is_written_later() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path(), None, true).await.unwrap();
        let ledger = Arc::new(Ledger::default());
        let ledger_of = Some(Arc::clone(&ledger));
        let meter = Meter { ledger: ledger_of, owner: Owner::default(), key: Some("key_1".into()) };
        meter.count("m", 100, 40, 7);
        meter.count("m", 10, 0, 1);
        let closed = Storage::open(&folder.path().join("other"), None, true).await.unwrap();
        closed.store.close().await;
        assert!(ledger.flush(&closed).await.is_err());
        meter.count("n", 1, 0, 0);
        ledger.flush(&storage).await.unwrap();
        ledger.flush(&storage).await.unwrap();
        let span = Span { owner: None, from: today() - 1, to: today() };
        let sums = storage.store.usage(span, By::Model).await.unwrap();
        let first =
            Used { requests: 2, prompt_tokens: 110, cached_tokens: 40, generated_tokens: 8 };
        assert_eq!(sums[0], ("m".to_owned(), first));
        assert_eq!((sums[1].0.as_str(), sums[1].1.requests), ("n", 1));
        storage.store.close().await;
    }

    #[test]
    fn names_that_strangers_make_up_take_bounded_memory() {
        let ledger = Arc::new(Ledger::default());
        let meter = Meter { ledger: Some(Arc::clone(&ledger)), owner: Owner::default(), key: None };
        for number in 0..2 * LEDGER_ROWS_MAX {
            meter.count(&number.to_string(), 1, 0, 0);
        }
        assert_eq!(ledger.sums.lock().unwrap().len(), LEDGER_ROWS_MAX);
    }
}
