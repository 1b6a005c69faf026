//! Turns changes from everywhere into transactions of one connection, many at a time.
//!
//! One writer: a disk's delay is shared by all who wait for it, and SQLite has room for one anyway.
//! Changes of a batch that fails are written one by one, so that each gets its own error.

use sqlx::any::{AnyArguments, AnyConnectOptions};
use sqlx::query::Query;
use sqlx::{Any, AnyConnection, ConnectOptions, Connection, Executor};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::database::prepare;
use crate::errors::StoreError;
use crate::limits::{BATCH_MAX, QUEUE_MAX};

/// Statements that happen together or not at all.
#[derive(Clone, Debug, Default)]
pub struct Change {
    steps: Vec<Step>,
}

/// One statement.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub sql: &'static str,
    pub values: Vec<Value>,
    /// What must be changed by it: exactly one row, of this name.
    pub one_row: Option<String>,
    /// Whether it deletes: what was deleted must also leave the log.
    pub deletes: bool,
}

/// A value of a statement.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Text(String),
    OptionalText(Option<String>),
    Number(i64),
    OptionalNumber(Option<i64>),
}

impl Change {
    /// Nothing yet.
    pub fn new() -> Change {
        Change::default()
    }

    /// Whether nothing would be done.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    pub(crate) fn step(mut self, step: Step) -> Change {
        self.steps.push(step);
        self
    }
}

/// A change, and who waits for it.
struct Job {
    change: Change,
    reply: oneshot::Sender<Result<(), StoreError>>,
}

/// The door to the writer's task.
#[derive(Debug)]
pub(crate) struct Writer {
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub fn start(connection: AnyConnection, options: AnyConnectOptions) -> Writer {
        let (jobs, receiver) = mpsc::channel(QUEUE_MAX);
        let task = Task { connection: Some(connection), options };
        let task = tokio::spawn(task.run(receiver));
        Writer { jobs: Mutex::new(Some(jobs)), task: Mutex::new(Some(task)) }
    }

    pub async fn commit(&self, change: Change) -> Result<(), StoreError> {
        if change.is_empty() {
            return Ok(());
        }
        let jobs = self.jobs.lock().await.clone().ok_or(StoreError::Closed)?;
        let (reply, answer) = oneshot::channel();
        jobs.send(Job { change, reply }).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    pub async fn close(&self) {
        self.jobs.lock().await.take();
        if let Some(task) = self.task.lock().await.take() {
            // The task catches nothing; if it panicked there is nothing left to wait for.
            let _ = task.await;
        }
    }
}

struct Task {
    /// None after the connection broke.
    connection: Option<AnyConnection>,
    options: AnyConnectOptions,
}

impl Task {
    async fn run(mut self, mut receiver: mpsc::Receiver<Job>) {
        let mut batch = Vec::new();
        while receiver.recv_many(&mut batch, BATCH_MAX).await > 0 {
            let steps = batch.iter().flat_map(|job: &Job| &job.change.steps).collect();
            let together = self.write(steps).await.is_ok();
            for job in batch.drain(..) {
                let steps = job.change.steps.iter().collect();
                let result = if together { Ok(()) } else { self.write(steps).await };
                // Whoever asked may have gone; the change stays.
                let _ = job.reply.send(result);
            }
        }
        if let Some(connection) = self.connection {
            let _ = connection.close().await;
        }
    }

    /// Writes changes as one transaction.
    async fn write(&mut self, steps: Vec<&Step>) -> Result<(), StoreError> {
        let connection = match self.connection.take() {
            Some(connection) => self.connection.insert(connection),
            None => {
                let mut connection = self.options.connect().await?;
                prepare(&mut connection).await?;
                self.connection.insert(connection)
            }
        };
        let result = transact(connection, steps).await;
        if let Err(StoreError::Database(error)) = &result
            && !matches!(error, sqlx::Error::Database(_))
        {
            tracing::warn!(%error, "the store's connection broke");
            self.connection = None;
        }
        result
    }
}

async fn transact(connection: &mut AnyConnection, steps: Vec<&Step>) -> Result<(), StoreError> {
    let sqlite = connection.backend_name() == "SQLite";
    // SQLite's lock is taken at once: taken later it could be found stale, and nobody waits.
    let begin = if sqlite { "BEGIN IMMEDIATE" } else { "BEGIN" };
    let mut transaction = connection.begin_with(begin).await?;
    for step in &steps {
        let done = bound(step).execute(&mut *transaction).await?;
        if let Some(name) = &step.one_row
            && done.rows_affected() != 1
        {
            transaction.rollback().await?;
            return Err(StoreError::Conflict(name.clone()));
        }
    }
    transaction.commit().await?;
    if sqlite && steps.iter().any(|step| step.deletes) {
        // The log still holds what was deleted. Where a reader is in the way, the next deletion
        // or the end of the last connection does it.
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").await?;
    }
    Ok(())
}

fn bound(step: &Step) -> Query<'_, Any, AnyArguments<'_>> {
    step.values.iter().fold(sqlx::query(step.sql), |query, value| match value {
        Value::Text(text) => query.bind(text.as_str()),
        Value::OptionalText(text) => query.bind(text.as_deref()),
        Value::Number(number) => query.bind(*number),
        Value::OptionalNumber(number) => query.bind(*number),
    })
}
