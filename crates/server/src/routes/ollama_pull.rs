//! Turns Ollama's `POST /api/pull` into a download, told line by line.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use futures_util::stream;
use serde::Serialize;
use tokio::time::sleep;
use utoipa::ToSchema;

use super::app_models::begin;
use crate::answers::stream::{body_of, line};
use crate::app::App;
use crate::catalogue::{Pull, PullState};
use crate::errors::ApiError;
use crate::layers::upload::Upload;
use crate::people::Caller;
use crate::wire::fields::Fields;
use crate::wire::ollama::take_model;

const LINES: &str = "application/x-ndjson";

/// Time between two lines.
const TOLD_EVERY: Duration = Duration::from_millis(250);

/// How far a download is, in Ollama's words.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct OllamaPull {
    /// What happens: at last `success`.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    /// Bytes of all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
    /// Bytes that are here.
    #[serde(skip_serializing_if = "Option::is_none")]
    completed: Option<u64>,
    /// Why it did not come.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Takes what `myriad pull` takes, and `hf.co/OWNER/REPO:FILE`.
pub async fn create(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(upload): Extension<Upload>,
) -> Result<Response, ApiError> {
    caller.check_admin()?;
    let body = upload.read(&app.large_bodies).await?;
    let mut fields = Fields::of_body(&body)?;
    let source = take_model(&mut fields)?;
    let streams = fields.boolean("stream")?.unwrap_or(true);
    if fields.boolean("insecure")?.unwrap_or(false) {
        let message = "Downloads are always checked: 'insecure' is not supported.";
        return Err(ApiError::unsupported("insecure", message));
    }
    fields.none_left()?;
    begin(&app, &source, "model")?;
    if streams {
        let lines = stream::unfold((app, false), |(app, over)| async move {
            if over {
                return None;
            }
            sleep(TOLD_EVERY).await;
            let (told, over) = told(app.catalogue.pulls.latest());
            Some((Ok::<_, Infallible>(line(&told)), (app, over)))
        });
        return Ok(body_of(LINES, lines));
    }
    loop {
        sleep(TOLD_EVERY).await;
        if let (told, true) = told(app.catalogue.pulls.latest()) {
            return match told.error {
                Some(error) => Err(ApiError::invalid("model", error)),
                None => Ok(Json(told).into_response()),
            };
        }
    }
}

/// What is told, and whether it is the last of it.
fn told(pull: Option<Pull>) -> (OllamaPull, bool) {
    let failed = |error: String| (OllamaPull { error: Some(error), ..OllamaPull::default() }, true);
    let Some(pull) = pull else { return failed("the download is gone".to_owned()) };
    match pull.state {
        PullState::Running => {
            let file = pull.file.unwrap_or_else(|| "manifest".to_owned());
            let status = Some(format!("pulling {file}"));
            let completed = pull.total.map(|_| pull.bytes);
            (OllamaPull { status, total: pull.total, completed, error: None }, false)
        }
        PullState::Done(_) => {
            (OllamaPull { status: Some("success".to_owned()), ..OllamaPull::default() }, true)
        }
        PullState::Cancelled => failed("the download was cancelled".to_owned()),
        PullState::Failed(why) => failed(why),
    }
}
