//! Turns batches that stand in the store into answers in files, a few lines at a time.
//!
//! What happened stands in the store alone: a batch's state, and one document for each line that is
//! finished. So whoever takes a batch up, now or after the server was killed, goes on where it
//! stood: [`check`] reads all lines, [`answer`] runs them through the server's own routes,
//! [`finish`] writes what came of it.

mod answer;
mod check;
mod finish;
mod lines;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use axum::Router;
use myriad_store::{Change, Document, Kind, StoreError};
use tokio::fs::File;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::app::App;
use crate::limits::{BATCH_RETRY, BATCHES_MAX};
use crate::routes;
use crate::storage::Storage;
use crate::wire::batches::{
    BatchRecord, CANCELLING, FINALIZING, IN_PROGRESS, LineError, VALIDATING,
};
use lines::Lines;

pub(crate) use answer::wait_for_room;

/// The states in which something is to be done; what was begun comes first.
const UNFINISHED: [&str; 4] = [CANCELLING, FINALIZING, IN_PROGRESS, VALIDATING];

/// Why a batch does not go on for now.
#[derive(Debug, thiserror::Error)]
enum Halt {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("reading the input file: {0}")]
    Input(#[from] io::Error),
    #[error("its row cannot be read: {0}")]
    Row(#[from] serde_json::Error),
}

/// What batches are worked on with.
struct Runner {
    app: Arc<App>,
    storage: Arc<Storage>,
    /// The server's own routes, for requests of a known owner.
    routes: Router,
    /// For lines that are answered.
    places: Semaphore,
}

/// Works on all batches until it is dropped.
pub async fn run(app: Arc<App>, storage: Arc<Storage>) {
    let mut changes = app.batches.subscribe();
    let runner = Arc::new(Runner {
        routes: routes::inside(Arc::clone(&app)),
        places: Semaphore::new(app.config.batch_lines.max(1)),
        app,
        storage,
    });
    let mut tasks = JoinSet::new();
    let mut running = HashMap::new();
    loop {
        changes.borrow_and_update();
        if let Err(error) = runner.begin(&mut tasks, &mut running).await {
            tracing::error!(%error, "looking for batches");
        }
        tokio::select! {
            _ = changes.changed() => {}
            Some(done) = tasks.join_next_with_id() => {
                let task = match &done {
                    Ok((task, ())) => *task,
                    Err(error) => error.id(),
                };
                running.remove(&task);
            }
        }
    }
}

impl Runner {
    /// Takes up batches on which nobody works, the oldest first.
    async fn begin(
        self: &Arc<Self>,
        tasks: &mut JoinSet<()>,
        running: &mut HashMap<tokio::task::Id, String>,
    ) -> Result<(), StoreError> {
        for state in UNFINISHED {
            for document in self.storage.store.in_state(Kind::Batch, state).await? {
                if running.len() >= BATCHES_MAX {
                    return Ok(());
                }
                if running.values().any(|id| *id == document.id) {
                    continue;
                }
                let (runner, id) = (Arc::clone(self), document.id.clone());
                let task = tasks.spawn(async move { runner.carry(document).await });
                running.insert(task.id(), id);
            }
        }
        Ok(())
    }

    /// Takes a batch from state to state to its end.
    async fn carry(&self, document: Document) {
        let (owner, id) = (document.owner, document.id);
        loop {
            match self.step(&owner, &id).await {
                Ok(true) | Err(Halt::Store(StoreError::Conflict(_))) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::error!(id, %error, "a batch does not go on for now");
                    sleep(BATCH_RETRY).await;
                }
            }
        }
    }

    /// What is to be done in the batch's present state; false where nothing is.
    async fn step(&self, owner: &str, id: &str) -> Result<bool, Halt> {
        let found = self.storage.store.document(Kind::Batch, owner, id).await?;
        let Some(document) = found else { return Ok(false) };
        let record = BatchRecord::of(&document)?;
        match document.state.as_str() {
            VALIDATING => self.check(document, record).await?,
            IN_PROGRESS => self.answer(document, record).await?,
            FINALIZING | CANCELLING => self.finish(document, record).await?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The lines of a batch's input.
    async fn lines(&self, document: &Document) -> Result<Lines<File>, StoreError> {
        let digest = document.blob.as_deref().unwrap_or_default();
        Ok(Lines::new(self.storage.blobs.read(digest).await?))
    }

    /// Writes a batch over what was read.
    async fn write(&self, document: Document, record: BatchRecord) -> Result<(), StoreError> {
        self.storage.store.commit(Change::new().update(record.into_row(document))).await
    }

    /// Ends a batch: its lines' documents and its hold on the input go.
    async fn end(&self, document: Document, record: BatchRecord) -> Result<(), StoreError> {
        let input: Vec<String> = document.blob.iter().cloned().collect();
        let (id, status) = (document.id.clone(), record.batch.status.clone());
        let document = Document { blob: None, ..record.into_row(document) };
        let change = Change::new().update(document.clone()).delete_parts(&document);
        self.storage.store.commit(change).await?;
        tracing::info!(id, status, "a batch has ended");
        self.storage.release(&input).await
    }
}

/// The name of what is done for a line: always the same, so that it is never kept twice.
fn line_id(batch: &str, number: u64) -> String {
    format!("batch_req_{}_{number}", batch.trim_start_matches("batch_"))
}
