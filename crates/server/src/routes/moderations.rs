//! Turns `POST /v1/moderations` into questions of a policy, and their probabilities into scores.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};

use super::judge::{self, Question};
use crate::app::App;
use crate::catalogue::Purpose;
use crate::errors::ApiError;
use crate::layers::ticket::Ticket;
use crate::layers::upload::Upload;
use crate::random;
use crate::wire::moderation_policy::{ANSWERS, CATEGORIES};
use crate::wire::moderations::{Moderation, ModerationRequest, ModerationResponse};

/// The parameter that errors about the prompt name.
const PARAM: &str = "input";

/// One question for each input and category.
pub async fn create(
    State(app): State<Arc<App>>,
    Extension(upload): Extension<Upload>,
    ticket: Ticket,
) -> Result<Json<ModerationResponse>, ApiError> {
    let (body, lease) = app.body_and_lease(&upload, Purpose::Answers).await?;
    let model = lease.clone();
    let requests = app.blocking(move |_| {
        let request = ModerationRequest::parse(&body)?;
        let questions = request.inputs.iter().flat_map(|input| {
            CATEGORIES.iter().map(|category| {
                let labels = ANSWERS.map(str::to_owned).to_vec();
                (input.as_str(), Question { text: category.question(), labels })
            })
        });
        judge::prepare(&model, questions, PARAM, 0)
    });
    let judgments = judge::ask(&lease, requests.await?, PARAM, &ticket).await?;
    // The first answer is yes.
    let yes: Vec<f64> = judgments.probabilities.iter().map(|shares| shares[0]).collect();
    Ok(Json(ModerationResponse {
        id: random::identifier("modr-"),
        model: lease.name().to_owned(),
        results: yes.chunks(CATEGORIES.len()).map(Moderation::new).collect(),
    }))
}
