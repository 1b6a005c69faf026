//! Turns uploads that run at the same time into a promise: no owner keeps more than allowed.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use myriad_store::{Store, StoreError};

/// Bytes that are on their way, by owner.
#[derive(Debug, Default)]
pub struct Quota {
    reserved: Mutex<HashMap<String, u64>>,
}

/// Bytes that an owner may still write. To be held until the document that has them is committed.
#[derive(Debug)]
pub struct Reservation<'a> {
    quota: &'a Quota,
    owner: String,
    bytes: u64,
}

impl Quota {
    /// Reserves bytes of what an owner may keep at most; `None` where that would be more.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn reserve(
        &self,
        store: &Store,
        owner: &str,
        bytes: u64,
        limit: u64,
    ) -> Result<Option<Reservation<'_>>, StoreError> {
        // In this order: whoever is no longer among the reserved ones has committed, and is seen.
        let reserved = self.change(owner, |reserved| reserved.saturating_add(bytes));
        let reservation = Reservation { quota: self, owner: owner.to_owned(), bytes };
        let kept = store.bytes_of(owner).await?;
        Ok((kept.saturating_add(reserved) <= limit).then_some(reservation))
    }

    /// The sum of an owner's reservations after a change of it.
    fn change(&self, owner: &str, change: impl FnOnce(u64) -> u64) -> u64 {
        // Whoever held it did sums only.
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = change(reserved.get(owner).copied().unwrap_or(0));
        match sum {
            0 => reserved.remove(owner),
            sum => reserved.insert(owner.to_owned(), sum),
        };
        sum
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.quota.change(&self.owner, |reserved| reserved.saturating_sub(self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use myriad_store::{Change, Document, Kind};

    #[tokio::test]
    async fn what_is_kept_and_what_is_on_its_way_count_together() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_file(&folder.path().join("store.db")).await.unwrap();
        let file = Document { bytes: 40, ..Document::new(Kind::File, "me", "file-1", 1) };
        store.commit(Change::new().insert(file)).await.unwrap();
        let quota = Quota::default();
        let first = quota.reserve(&store, "me", 50, 100).await.unwrap().unwrap();
        assert!(quota.reserve(&store, "me", 11, 100).await.unwrap().is_none());
        assert!(quota.reserve(&store, "me", 10, 100).await.unwrap().is_some());
        assert!(quota.reserve(&store, "you", 100, 100).await.unwrap().is_some());
        drop(first);
        assert!(quota.reserve(&store, "me", 60, 100).await.unwrap().is_some());
        assert!(quota.reserved.lock().unwrap().is_empty());
        store.close().await;
    }
}
