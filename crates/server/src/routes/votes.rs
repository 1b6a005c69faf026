//! Turns `POST /app/votes` into a kept vote, and `/app/leaderboard` into where models stand.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use myriad_store::{Change, Document, Kind, Query};

use super::documents::body;
use crate::app::App;
use crate::errors::ApiError;
use crate::layers::upload::Upload;
use crate::limits::{MODELS_RATED_MAX, VOTES_MAX};
use crate::rating::standings;
use crate::storage::{Owner, position};
use crate::wire::votes::{Leaderboard, Vote, take_votes};

/// Keeps a vote; a second one on the same comparison takes the place of the first.
pub async fn create(
    State(app): State<Arc<App>>,
    Extension(upload): Extension<Upload>,
    Extension(owner): Extension<Owner>,
) -> Result<Json<Vote>, ApiError> {
    let vote = Vote::parse(&upload.read(&app.large_bodies).await?)?;
    let storage = app.storage("store")?;
    let id = format!("vote_{}_{}", owner.as_str(), vote.comparison);
    let text = serde_json::to_string(&vote).map_err(|_| ApiError::internal())?;
    let change = match storage.find(Kind::Vote, &owner, &id).await? {
        Some(known) => Change::new().update(Document { body: text, ..known }),
        None => {
            let new = Document::new(Kind::Vote, owner.as_str(), id, position());
            Change::new().insert(Document { body: text, ..new })
        }
    };
    app.keep(change).await?;
    Ok(Json(vote))
}

/// Where models stand by the votes of whoever asks.
pub async fn leaderboard(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
) -> Result<Json<Leaderboard>, ApiError> {
    let storage = app.storage("store")?;
    let mut votes: Vec<Vote> = Vec::new();
    let mut after: Option<String> = None;
    // The latest ones, where there are more than can be counted at once.
    while votes.len() < VOTES_MAX {
        let all = Query::of(Kind::Vote, owner.as_str());
        let query = Query { after: after.as_deref(), descending: true, ..all };
        let Some(page) = storage.store.list(&query).await? else { break };
        for document in &page.documents {
            votes.push(body(document)?);
        }
        after = page.documents.last().map(|last| last.id.clone());
        if !page.more {
            break;
        }
    }
    votes.truncate(VOTES_MAX);
    app.blocking(move |_| Ok(Json(rated(&votes)))).await
}

/// Where models stand by votes that come with the request: they are kept elsewhere.
pub async fn count(
    State(app): State<Arc<App>>,
    Extension(upload): Extension<Upload>,
) -> Result<Json<Leaderboard>, ApiError> {
    let body = upload.read(&app.large_bodies).await?;
    app.blocking(move |_| Ok(Json(rated(&take_votes(&body)?)))).await
}

fn rated(votes: &[Vote]) -> Leaderboard {
    let mut models: BTreeSet<&String> = BTreeSet::new();
    let counted = votes.iter().filter(|vote| {
        let new = vote.models.iter().filter(|model| !models.contains(model)).count();
        let fits = models.len() + new <= MODELS_RATED_MAX;
        if fits {
            models.extend(&vote.models);
        }
        fits
    });
    let counted: Vec<_> = counted.map(|vote| (&vote.models[..], vote.outcome())).collect();
    let (votes, standings) = (counted.len(), standings(counted.into_iter()));
    Leaderboard { votes, models: standings.into_iter().map(Into::into).collect() }
}
