//! Turns ids of responses that are kept, or still made, into those, their input, or their end.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use myriad_store::{Change, Document, Kind};
use serde_json::{Value, json};

use super::documents::{Ids, body, find};
use crate::answers::run::{End, Run, follow};
use crate::app::App;
use crate::errors::ApiError;
use crate::storage::Owner;
use crate::wire::query::{Paging, Parameters, SIZES, list};
use crate::wire::responses::items::Item;
use crate::wire::responses::object::Kept;

const WHAT: &str = "response";

/// Where a response is.
enum Found {
    /// In memory; it may still be made.
    Run(Arc<Run>),
    /// In memory, ended, and here alone.
    Recent(Arc<Run>, Box<Kept>),
    /// In the store.
    Stored(Box<Document>, Box<Kept>),
}

/// A response as it is kept.
///
/// # Errors
/// 500 where it cannot be written, which no response is known for.
pub fn written(kept: &Kept) -> Result<String, ApiError> {
    serde_json::to_string(kept).map_err(|error| {
        tracing::error!(%error, "a response cannot be written");
        ApiError::internal()
    })
}

/// The response, or its events from a number on.
pub async fn show(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    Ids(id): Ids<String>,
    mut parameters: Parameters,
) -> Result<Response, ApiError> {
    let streams = parameters.boolean("stream")?.unwrap_or(false);
    let after = parameters.integer("starting_after", 0..=i64::from(u32::MAX))?;
    // What there is to include is there.
    parameters.texts("include");
    if parameters.boolean("include_obfuscation")?.unwrap_or(false) {
        let message = "Obfuscation of streams is not supported.";
        return Err(ApiError::unsupported("include_obfuscation", message));
    }
    parameters.none_left()?;
    if after.is_some() && !streams {
        let message = "'starting_after' is only allowed when 'stream' is true.";
        return Err(ApiError::invalid("starting_after", message));
    }
    let found = get(&app, &owner, &id).await?;
    if streams {
        let run = app.recent.find(&owner, &id).filter(|run| run.logged());
        let run = run.ok_or_else(|| {
            let message = "This response has no events to follow: it was not made with 'stream' or \
                           'background', or they are too old.";
            ApiError::invalid("stream", message)
        })?;
        let from = after.map_or(0, |after| after as usize + 1);
        return Ok(follow(run, from, app.config.keep_alive, None));
    }
    Ok(Json(found.response()).into_response())
}

/// Forgets a response; one that is still made ends.
pub async fn delete(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    Ids(id): Ids<String>,
) -> Result<Json<Value>, ApiError> {
    let mut found = get(&app, &owner, &id).await?;
    if let Found::Run(run) = &found {
        run.cancel();
        run.wait().await;
        // It is kept where it was to be, if anywhere.
        found = match get(&app, &owner, &id).await {
            Err(error) if error.status == 404 => Found::Run(Arc::clone(run)),
            found => found?,
        };
    }
    if let Found::Stored(document, _) = &found {
        app.keep(Change::new().delete(document)).await?;
    }
    app.recent.remove(&id);
    Ok(Json(json!({ "id": id, "object": "response", "deleted": true })))
}

/// Ends a response that is made in the background; one that has ended is shown as it is.
pub async fn cancel(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    Ids(id): Ids<String>,
) -> Result<Json<Value>, ApiError> {
    let found = get(&app, &owner, &id).await?;
    if found.response()["background"] != json!(true) {
        let message = "Only responses with 'background' can be cancelled; others end with the \
                       connection of their client.";
        return Err(ApiError::invalid("background", message));
    }
    if let Found::Run(run) = &found {
        run.cancel();
        run.wait().await;
    }
    Ok(Json(found.response()))
}

/// A page of the items that a response answers.
pub async fn input_items(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    Ids(id): Ids<String>,
    mut parameters: Parameters,
) -> Result<Json<Value>, ApiError> {
    let paging = Paging::take(&mut parameters, SIZES, true)?;
    parameters.texts("include");
    parameters.none_left()?;
    let kept = match get(&app, &owner, &id).await? {
        Found::Recent(_, kept) | Found::Stored(_, kept) => kept,
        Found::Run(_) => {
            let message = "The response has not ended yet: its input can be listed then.";
            return Err(ApiError::invalid("id", message));
        }
    };
    let (items, more) = paging.of(&kept.input, Item::id)?;
    Ok(Json(list(items.iter().map(|item| json!(item)).collect(), more, json!(""))))
}

async fn get(app: &App, owner: &Owner, id: &str) -> Result<Found, ApiError> {
    if let Some(run) = app.recent.find(owner, id) {
        match run.ended() {
            None => return Ok(Found::Run(run)),
            Some(End::Here(text) | End::Failed(_, Some(text))) => {
                let kept = serde_json::from_str(&text).map_err(|_| ApiError::internal())?;
                return Ok(Found::Recent(run, Box::new(kept)));
            }
            Some(End::Gone | End::Failed(_, None)) => {}
        }
    }
    let storage = app.config.storage.as_ref().filter(|storage| storage.content);
    let storage = storage.ok_or_else(|| ApiError::not_found(WHAT, id))?;
    let document = find(storage, Kind::Response, owner, id, WHAT).await?;
    let kept = body(&document)?;
    Ok(Found::Stored(Box::new(document), Box::new(kept)))
}

impl Found {
    fn response(&self) -> Value {
        match self {
            Found::Run(run) | Found::Recent(run, _) => run.response(),
            Found::Stored(_, kept) => json!(kept.response),
        }
    }
}
