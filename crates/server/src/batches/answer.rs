//! Turns lines into answers, a few at a time, each kept before it counts.

use std::collections::HashSet;
use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use myriad_store::{Change, Document, Kind, StoreError};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::fs::File;
use tokio::sync::SemaphorePermit;
use tokio::time::sleep;
use tower::ServiceExt;

use super::lines::{Line, Lines, Text};
use super::{Halt, Runner, line_id};
use crate::app::{App, unix_seconds};
use crate::errors::ApiError;
use crate::limits::{BATCH_ANSWER_BYTES_MAX, BATCH_PATIENCE};
use crate::storage::Owner;
use crate::wire::batches::{
    BatchRecord, COMPLETED, FAILED, FINALIZING, IN_PROGRESS, OutputLine, OutputResponse,
};

impl Runner {
    /// Answers the lines that have no answer yet, until all have, the batch's time is over, or it
    /// is given up.
    pub(super) async fn answer(
        &self,
        document: Document,
        mut record: BatchRecord,
    ) -> Result<(), Halt> {
        // Before the state is looked at below: no change of it is missed.
        let mut changes = self.app.batches.subscribe();
        let done = self.storage.store.positions(Kind::BatchLine, &document.id).await?;
        let done: HashSet<i64> = done.into_iter().collect();
        let mut lines = self.lines(&document).await?;
        let mut over = std::pin::pin!(sleep(time_left(&record)));
        let mut running = FuturesUnordered::new();
        let mut more = true;
        while more || !running.is_empty() {
            tokio::select! {
                () = &mut over => break,
                _ = changes.changed() => {
                    if !self.is_in_progress(&document).await? {
                        // Lines that are being answered are dropped with this.
                        return Ok(());
                    }
                }
                Some(result) = running.next() => result?,
                place = self.places.acquire(), if more => {
                    match next(&mut lines, &done).await? {
                        Some((number, text)) => {
                            running.push(self.line(&document, &record, number, text, place.ok()));
                        }
                        None => more = false,
                    }
                }
            }
        }
        drop(running);
        record.batch.finalizing_at = Some(unix_seconds() as i64);
        record.batch.status = FINALIZING.into();
        Ok(self.write(document, record).await?)
    }

    async fn is_in_progress(&self, document: &Document) -> Result<bool, StoreError> {
        let found = self.storage.store.document(Kind::Batch, &document.owner, &document.id).await?;
        Ok(found.is_some_and(|document| document.state == IN_PROGRESS))
    }

    /// Answers one line, and keeps the answer.
    async fn line(
        &self,
        document: &Document,
        record: &BatchRecord,
        number: u64,
        text: Vec<u8>,
        _place: Option<SemaphorePermit<'_>>,
    ) -> Result<(), Halt> {
        let endpoint = &record.batch.endpoint;
        let Ok(line) = Line::parse(&text, endpoint) else {
            // It was checked, and the input never changes.
            tracing::error!(id = document.id, number, "a checked line cannot be read");
            return Ok(());
        };
        let response = self.respond(&Owner::from(document), endpoint, &line).await;
        let (state, response) = read(response).await;
        let id = line_id(&document.id, number);
        let custom_id = &line.custom_id;
        let output = OutputLine { id: &id, custom_id, response: Some(response), error: None };
        let body = output.text();
        let kept = Document {
            parent: document.id.clone(),
            state: state.into(),
            body,
            ..Document::new(Kind::BatchLine, &document.owner, id, number as i64)
        };
        match self.storage.store.commit(Change::new().insert(kept)).await {
            // Another server was quicker.
            Ok(()) | Err(StoreError::Conflict(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// What the server answers; it is asked again for as long as it has no room.
    async fn respond(&self, owner: &Owner, endpoint: &str, line: &Line<'_>) -> Response {
        #[derive(Deserialize)]
        struct Streamed {
            stream: Option<Value>,
        }
        let streamed = serde_json::from_str::<Streamed>(line.body.get()).ok();
        if streamed.and_then(|body| body.stream).is_some_and(|stream| stream == true) {
            let message = "Answers of a batch are not streamed.";
            return ApiError::unsupported("stream", message).into_response();
        }
        loop {
            wait_for_room(&self.app, line.model.as_deref()).await;
            let mut request = Request::new(Body::from(line.body.get().to_owned()));
            *request.method_mut() = axum::http::Method::POST;
            // One of a few known paths.
            *request.uri_mut() = endpoint.parse().unwrap_or_default();
            let json = header::HeaderValue::from_static("application/json");
            request.headers_mut().insert(header::CONTENT_TYPE, json);
            request.extensions_mut().insert(owner.clone());
            let response: Result<Response, Infallible> = self.routes.clone().oneshot(request).await;
            let Ok(response) = response;
            match response.status() {
                StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                    sleep(BATCH_PATIENCE).await;
                }
                _ => return response,
            }
        }
    }
}

/// Waits while a request of someone who waits could have the engine instead. A model that is not
/// loaded has nobody who waits for its engine.
pub(crate) async fn wait_for_room(app: &App, model: Option<&str>) {
    while let Some(engine) = app.catalogue.loaded(model) {
        let stats = engine.stats();
        if stats.waiting == 0 && stats.running < engine.parallel() {
            return;
        }
        drop(engine);
        sleep(BATCH_PATIENCE).await;
    }
}

/// The next line that has no answer.
async fn next(
    lines: &mut Lines<File>,
    done: &HashSet<i64>,
) -> Result<Option<(u64, Vec<u8>)>, Halt> {
    while let Some((number, text)) = lines.next().await? {
        match text {
            Text::Whole(text) if !done.contains(&(number as i64)) => {
                return Ok(Some((number, text)));
            }
            _ => {}
        }
    }
    Ok(None)
}

fn time_left(record: &BatchRecord) -> Duration {
    let end = record.batch.expires_at.unwrap_or(i64::MAX);
    let seconds = end.saturating_sub(unix_seconds() as i64);
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// A line's state and what stands in its file, by the answer to its request.
async fn read(response: Response) -> (&'static str, OutputResponse) {
    let state = if response.status() == StatusCode::OK { COMPLETED } else { FAILED };
    let status_code = response.status().as_u16();
    let id = response.headers().get("x-request-id").and_then(|id| id.to_str().ok());
    let request_id = id.unwrap_or_default().to_owned();
    let bytes = to_bytes(response.into_body(), BATCH_ANSWER_BYTES_MAX).await;
    let text = bytes.ok().and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
    match text.and_then(|text| RawValue::from_string(text).ok()) {
        Some(body) => (state, OutputResponse { status_code, request_id, body }),
        None => {
            tracing::error!(request_id, "the answer to a line of a batch is too large, or no JSON");
            let error = ApiError::internal();
            // An error is always JSON.
            let body = serde_json::value::to_raw_value(&error.body()).unwrap_or_default();
            (FAILED, OutputResponse { status_code: error.status.as_u16(), request_id, body })
        }
    }
}
