//! Turns `POST /v1/decisions` into questions about an input, and their probabilities into answers.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};

use super::judge::{self, Question};
use crate::app::App;
use crate::catalogue::Purpose;
use crate::errors::ApiError;
use crate::layers::ticket::Ticket;
use crate::layers::upload::Upload;
use crate::wire::decisions::{Decision, DecisionRequest, DecisionUsage};

/// The parameter that errors about the prompt name.
const PARAM: &str = "input";

/// One prompt for each question, answered in their order.
pub async fn create(
    State(app): State<Arc<App>>,
    Extension(upload): Extension<Upload>,
    ticket: Ticket,
) -> Result<Json<Decision>, ApiError> {
    let (body, lease) = app.body_and_lease(&upload, Purpose::Answers).await?;
    let model = lease.clone();
    let prepared = app.blocking(move |_| {
        let request = DecisionRequest::parse(&body)?;
        let questions = request.questions.iter().map(|question| {
            let asked = Question { text: question.text(), labels: question.labels() };
            (request.input.as_str(), asked)
        });
        let requests = judge::prepare(&model, questions, PARAM, request.cache_salt)?;
        Ok((request.questions, requests))
    });
    let (questions, requests) = prepared.await?;
    let judgments = judge::ask(&lease, requests, PARAM, &ticket).await?;
    let answers = questions.into_iter().zip(&judgments.probabilities);
    Ok(Json(Decision {
        model: lease.name().to_owned(),
        answers: answers.map(|(question, shares)| question.answer(shares)).collect(),
        usage: DecisionUsage::new(&judgments.usage),
    }))
}
