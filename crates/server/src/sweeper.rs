//! Turns documents and sessions whose time is over, and contents that nobody has, into free room.

use std::sync::Arc;

use myriad_store::StoreError;
use tokio::time::{MissedTickBehavior, interval};

use crate::app::unix_seconds;
use crate::limits::{ORPHAN_AGE, SWEEP_EVERY};
use crate::storage::Storage;

/// Documents that are looked up at once.
const PAGE: usize = 100;

/// Rounds between two looks for contents without a document: about a day.
const ORPHANS_EVERY: u64 = 24 * 60;

/// Sweeps until it is dropped. What fails is tried again with the next round.
pub async fn run(storage: Arc<Storage>) {
    let mut ticks = interval(SWEEP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for round in 0u64.. {
        ticks.tick().await;
        match sweep(&storage, unix_seconds() as i64).await {
            Ok(0) => {}
            Ok(documents) => tracing::info!(documents, "expired documents are deleted"),
            Err(error) => tracing::error!(%error, "deleting expired documents"),
        }
        if let Err(error) = storage.users.sweep(unix_seconds() as i64).await {
            tracing::error!(%error, "deleting sessions whose time is over");
        }
        if round.is_multiple_of(ORPHANS_EVERY)
            && let Err(error) = storage.blobs.remove_orphans(&storage.store, ORPHAN_AGE).await
        {
            tracing::error!(%error, "removing contents that no document has");
        }
    }
}

/// Deletes all documents whose time is over; returns how many there were.
async fn sweep(storage: &Storage, now: i64) -> Result<usize, StoreError> {
    let mut deleted = 0;
    loop {
        let expired = storage.store.expired(now, PAGE).await?;
        for document in &expired {
            match storage.delete(document).await {
                // Its owner, or another server, was quicker.
                Ok(()) | Err(StoreError::Conflict(_)) => {}
                Err(error) => return Err(error),
            }
        }
        deleted += expired.len();
        if expired.len() < PAGE {
            return Ok(deleted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use myriad_store::{Change, Document, Kind};

    async fn keep(storage: &Storage, text: &str, document: Document) {
        let mut writer = storage.blobs.writer(99).await.unwrap();
        writer.write(text.as_bytes()).await.unwrap();
        let blob = writer.finish().await.unwrap();
        let document = Document { blob: Some(blob.digest.clone()), ..document };
        storage.store.commit(Change::new().insert(document)).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_over_goes_with_its_parts_and_contents() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path(), None, true).await.unwrap();
        let expiring = |kind, id: &str, time| Document {
            expires_at: Some(time),
            ..Document::new(kind, "me", id, 1)
        };
        keep(&storage, "both", expiring(Kind::File, "file-1", 100)).await;
        keep(&storage, "both", expiring(Kind::File, "file-2", 101)).await;
        keep(&storage, "once", expiring(Kind::Upload, "upload_1", 100)).await;
        let part = Document::new(Kind::UploadPart, "me", "part_1", 1);
        keep(&storage, "part", Document { parent: "upload_1".into(), ..part }).await;
        for _ in 0..2 * PAGE {
            let id = crate::random::identifier("resp_");
            let document = expiring(Kind::Response, &id, 99);
            storage.store.commit(Change::new().insert(document)).await.unwrap();
        }
        let contents = || walk(&folder.path().join("blobs"));
        assert_eq!((sweep(&storage, 98).await.unwrap(), contents()), (0, 3));
        assert_eq!((sweep(&storage, 100).await.unwrap(), contents()), (2 * PAGE + 2, 1));
        assert_eq!((sweep(&storage, 101).await.unwrap(), contents()), (1, 0));
        storage.store.close().await;
    }

    fn walk(folder: &std::path::Path) -> usize {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| if path.is_dir() { walk(&path) } else { 1 }).sum()
    }
}
