//! Turns the names of files in a question into what they say, before it is asked.

use std::sync::Arc;

use serde_json::json;
use tokio::time::Instant;

use super::answer::{Answer, AnswerEvent};
use super::runs::{Job, Maker};
use crate::attached::{Told, prompt};
use crate::errors::ApiError;
use crate::wire::app_files::Reading;

/// Pieces of files that are read between two events which say so.
const READING_STEP: usize = 8;

impl Answer {
    /// Puts files into the question; passages of large ones are kept in the answer's message.
    ///
    /// # Errors
    /// Where a model or the store fails.
    pub(super) async fn add_files(&mut self) -> Result<(), ApiError> {
        let Maker { app, storage, .. } = &*self.maker;
        let Job { run, request, files, message, .. } = &mut self.job;
        if files.is_empty() {
            return Ok(());
        }
        let log = Arc::clone(run);
        let told: Told = Arc::new(move |done, total| {
            // A line for each of some thousand pieces would be more than anyone sees.
            if done == total || done % READING_STEP == 0 {
                let reading = Some(Reading { done, total });
                log.push_data(&json!(AnswerEvent { reading, ..AnswerEvent::default() }));
            }
        });
        let sources = prompt::put_in(app, storage, &run.owner, request, files, &told).await?;
        if !sources.is_empty() {
            message.sources.clone_from(&sources);
            let sources = Some(sources);
            run.push_data(&json!(AnswerEvent { sources, ..AnswerEvent::default() }));
        }
        // The time of the answer is the model's.
        self.started = Instant::now();
        Ok(())
    }
}
