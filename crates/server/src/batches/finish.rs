//! Turns the answers of a batch into its files of output and errors.

use std::collections::HashSet;

use myriad_store::{BlobWriter, Change, Document, Kind, StoreError};

use super::lines::{Line, Text};
use super::{Halt, Runner, line_id};
use crate::app::unix_seconds;
use crate::limits::BATCH_ANSWERS_PAGE;
use crate::storage::{created_at, position};
use crate::wire::batches::{
    BatchRecord, BatchUsage, CANCELLED, CANCELLING, COMPLETED, EXPIRED, OutputError, OutputLine,
    RequestCounts,
};
use crate::wire::files::{BATCH_OUTPUT, FileRecord};

const GIVEN_UP: OutputError = OutputError {
    code: "batch_cancelled",
    message: "This request was not executed: its batch was cancelled.",
};

const OVER: OutputError = OutputError {
    code: "batch_expired",
    message: "This request could not be executed before the completion window expired.",
};

/// Both files while they are written; a file begins with its first line.
#[derive(Default)]
struct Files {
    output: Option<BlobWriter>,
    errors: Option<BlobWriter>,
    usage: BatchUsage,
    completed: u64,
    failed: u64,
    /// Lines that have an answer.
    answered: HashSet<i64>,
}

impl Runner {
    /// Writes the files and ends the batch. Begun again after a kill, it writes the same.
    pub(super) async fn finish(
        &self,
        document: Document,
        mut record: BatchRecord,
    ) -> Result<(), Halt> {
        let cancelled = document.state == CANCELLING;
        let mut files = Files::default();
        self.write_answers(&document, &mut files).await?;
        let total = record.batch.request_counts.total;
        let expired = !cancelled && (files.answered.len() as u64) < total;
        if (files.answered.len() as u64) < total {
            let why = if cancelled { GIVEN_UP } else { OVER };
            self.write_unanswered(&document, &record, &mut files, why).await?;
        }
        let batch = &mut record.batch;
        let (completed, failed) = (files.completed, files.failed);
        batch.request_counts = RequestCounts { total, completed, failed };
        batch.usage = files.usage;
        // One after the other: a content that is held keeps others from being finished.
        for (content, id, shown, name) in [
            (files.output, &record.output_file, &mut batch.output_file_id, "output"),
            (files.errors, &record.error_file, &mut batch.error_file_id, "error"),
        ] {
            if let Some(content) = content {
                let filename = format!("{}_{name}.jsonl", document.id);
                let file = FileRecord { filename, purpose: BATCH_OUTPUT.into() };
                self.keep(
                    content,
                    file.document(&document.owner, id.clone(), position()),
                    record.output_seconds,
                )
                .await?;
                *shown = Some(id.clone());
            }
        }
        let now = Some(unix_seconds() as i64);
        let (status, time) = match (cancelled, expired) {
            (true, _) => (CANCELLED, &mut batch.cancelled_at),
            (_, true) => (EXPIRED, &mut batch.expired_at),
            _ => (COMPLETED, &mut batch.completed_at),
        };
        *time = now;
        batch.status = status.into();
        Ok(self.end(document, record).await?)
    }

    /// The lines that have an answer, in their order.
    async fn write_answers(&self, document: &Document, files: &mut Files) -> Result<(), Halt> {
        let mut after: Option<String> = None;
        loop {
            let page =
                self.storage.parts(Kind::BatchLine, document, after.as_deref(), BATCH_ANSWERS_PAGE);
            let page = page.await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.id.clone());
            for line in &page {
                files.answered.insert(line.position);
                let good = line.state == COMPLETED;
                if good {
                    files.usage.add(&line.body);
                }
                self.write_line(files, good, &line.body).await?;
            }
        }
    }

    /// The lines that have none, and why.
    async fn write_unanswered(
        &self,
        document: &Document,
        record: &BatchRecord,
        files: &mut Files,
        why: OutputError,
    ) -> Result<(), Halt> {
        let mut lines = self.lines(document).await?;
        while let Some((number, text)) = lines.next().await? {
            let Text::Whole(text) = text else { continue };
            if files.answered.contains(&(number as i64)) {
                continue;
            }
            let Ok(line) = Line::parse(&text, &record.batch.endpoint) else { continue };
            let id = line_id(&document.id, number);
            let custom_id = &line.custom_id;
            let output = OutputLine { id: &id, custom_id, response: None, error: Some(why) };
            self.write_line(files, false, &output.text()).await?;
        }
        Ok(())
    }

    async fn write_line(
        &self,
        files: &mut Files,
        good: bool,
        text: &str,
    ) -> Result<(), StoreError> {
        let (file, count) = match good {
            true => (&mut files.output, &mut files.completed),
            false => (&mut files.errors, &mut files.failed),
        };
        *count += 1;
        let file = match file {
            Some(file) => file,
            None => file.insert(self.storage.blobs.writer(u64::MAX).await?),
        };
        file.write(text.as_bytes()).await?;
        file.write(b"\n").await
    }

    /// Keeps a file, unless an earlier try has kept it.
    async fn keep(
        &self,
        content: BlobWriter,
        file: Document,
        seconds: Option<i64>,
    ) -> Result<(), StoreError> {
        let blob = content.finish().await?;
        let file = Document {
            expires_at: seconds.map(|seconds| created_at(&file) + seconds),
            blob: Some(blob.digest.clone()),
            bytes: blob.bytes as i64,
            ..file
        };
        match self.storage.store.commit(Change::new().insert(file)).await {
            Err(StoreError::Conflict(_)) => Ok(()),
            result => result,
        }
    }
}
