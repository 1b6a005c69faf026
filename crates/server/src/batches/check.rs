//! Turns the lines of a new batch into their number and model, or into what is wrong with them.

use std::collections::HashSet;
use std::io;

use myriad_store::Document;
use tokio::io::AsyncRead;

use super::lines::{Line, Lines, Text, error};
use super::{Halt, LineError, Runner};
use crate::app::unix_seconds;
use crate::limits::{BATCH_ERRORS_MAX, BATCH_LINE_BYTES_MAX, BATCH_LINES_MAX};
use crate::wire::batches::{BatchRecord, ErrorList, FAILED, IN_PROGRESS};

/// What is known of all lines.
#[derive(Debug, Default)]
struct Checked {
    total: u64,
    model: Option<String>,
    errors: Vec<LineError>,
}

impl Runner {
    /// Checks all lines before the first is answered.
    pub(super) async fn check(
        &self,
        document: Document,
        mut record: BatchRecord,
    ) -> Result<(), Halt> {
        let lines = self.lines(&document).await?;
        // A broken look leaves what was known before.
        let _ = self.app.look().await;
        let served = |model: &str| self.app.has(model);
        let checked = check(lines, &record.batch.endpoint, served).await?;
        let now = Some(unix_seconds() as i64);
        let batch = &mut record.batch;
        batch.model = checked.model;
        if checked.errors.is_empty() {
            batch.request_counts.total = checked.total;
            batch.in_progress_at = now;
            batch.status = IN_PROGRESS.into();
            return Ok(self.write(document, record).await?);
        }
        batch.errors = Some(ErrorList { object: "list".into(), data: checked.errors });
        batch.failed_at = now;
        batch.status = FAILED.into();
        Ok(self.end(document, record).await?)
    }
}

async fn check<R: AsyncRead + Unpin>(
    mut lines: Lines<R>,
    endpoint: &str,
    served: impl Fn(&str) -> bool,
) -> io::Result<Checked> {
    let mut checked = Checked::default();
    let mut known = HashSet::new();
    let mut first_model: Option<Option<String>> = None;
    while let Some((number, text)) = lines.next().await? {
        checked.total += 1;
        if checked.total > BATCH_LINES_MAX {
            let message = format!("The file has more than {BATCH_LINES_MAX} requests.");
            checked.errors.push(error("too_many_tasks", None, &message));
            break;
        }
        let line = match &text {
            Text::TooLarge => {
                let message = format!("This line is larger than {BATCH_LINE_BYTES_MAX} bytes.");
                Err(error("line_too_large", None, &message))
            }
            Text::Whole(text) => Line::parse(text, endpoint),
        };
        let judged = line.and_then(|line| {
            let model = first_model.get_or_insert_with(|| line.model.clone());
            judge(&line, &mut known, model.as_deref(), &served)
        });
        if let Err(error) = judged {
            checked.errors.push(LineError { line: Some(number), ..error });
            if checked.errors.len() >= BATCH_ERRORS_MAX {
                break;
            }
        }
    }
    if checked.total == 0 {
        let message = "The input file is empty: it must have at least one request.";
        checked.errors.push(error("empty_file", None, message));
    }
    checked.model = first_model.flatten();
    Ok(checked)
}

/// What is wrong with a line among the others.
fn judge(
    line: &Line<'_>,
    known: &mut HashSet<String>,
    first_model: Option<&str>,
    served: &impl Fn(&str) -> bool,
) -> Result<(), LineError> {
    if !known.insert(line.custom_id.clone()) {
        let message = "The custom_id of this request is a duplicate of another's.";
        return Err(error("duplicate_custom_id", Some("custom_id"), message));
    }
    let model = line.model.as_deref();
    if model != first_model {
        let message = "The model of this request is not that of the first one.";
        return Err(error("model_mismatch", Some("body.model"), message));
    }
    match model {
        Some(model) if !served(model) => {
            let shown: String = model.chars().take(128).collect();
            let message = format!("The model '{shown}' does not exist.");
            Err(error("model_not_found", Some("body.model"), &message))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn codes(lines: &[String]) -> Vec<(String, Option<u64>)> {
        let text = lines.join("\n");
        let served = |model: &str| model == "here";
        let checked = check(Lines::new(text.as_bytes()), "/v1/completions", served).await.unwrap();
        checked.errors.into_iter().map(|error| (error.code, error.line)).collect()
    }

    fn line(id: &str, body: &str) -> String {
        format!(r#"{{"custom_id":"{id}","method":"POST","url":"/v1/completions","body":{body}}}"#)
    }

    #[tokio::test]
    async fn all_lines_are_judged_together() {
        let here = r#"{"model":"here"}"#;
        assert!(codes(&[line("a", here), String::new(), line("b", here)]).await.is_empty());
        assert!(codes(&[line("a", "{}"), line("b", "{}")]).await.is_empty());
        let error = |code: &str, line| (code.to_owned(), line);
        assert_eq!(codes(&[]).await, [error("empty_file", None)]);
        let wrong = [
            line("a", here),
            line("a", here),
            "no JSON".to_owned(),
            line("b", r#"{"model":"other"}"#),
            line("c", "{}"),
        ];
        let right = [
            error("duplicate_custom_id", Some(2)),
            error("invalid_json_line", Some(3)),
            error("model_mismatch", Some(4)),
            error("model_mismatch", Some(5)),
        ];
        assert_eq!(codes(&wrong).await, right);
        let unknown = codes(&[line("a", r#"{"model":"x"}"#)]).await;
        assert_eq!(unknown, [error("model_not_found", Some(1))]);
    }

    #[tokio::test]
    async fn large_files_are_refused_and_errors_are_few() {
        let large = codes(&["a".repeat(BATCH_LINE_BYTES_MAX + 1), line("b", "{}")]).await;
        assert_eq!(large, [("line_too_large".to_owned(), Some(1))]);
        let many: Vec<_> = (0..=BATCH_LINES_MAX).map(|n| line(&n.to_string(), "{}")).collect();
        assert!(codes(&many[1..]).await.is_empty());
        assert_eq!(codes(&many).await, [("too_many_tasks".to_owned(), None)]);
        let wrong = vec!["?".to_owned(); BATCH_ERRORS_MAX * 3];
        assert_eq!(codes(&wrong).await.len(), BATCH_ERRORS_MAX);
    }
}
