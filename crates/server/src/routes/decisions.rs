//! Turns `POST /v1/decisions` into questions about an input, and their probabilities into answers.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};

use super::judge::{self, Question};
use crate::app::App;
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
    let body = upload.read(&app.large_bodies).await?;
    let prepared = app.blocking(move |app| {
        let request = DecisionRequest::parse(&body)?;
        app.check_model(request.model.as_deref())?;
        let questions = request.questions.iter().map(|question| {
            let asked = Question { text: question.text(), labels: question.labels() };
            (request.input.as_str(), asked)
        });
        let requests = judge::prepare(app, questions, PARAM, request.cache_salt)?;
        Ok((request.questions, requests))
    });
    let (questions, requests) = prepared.await?;
    let judgments = judge::ask(&app, requests, PARAM, &ticket).await?;
    let answers = questions.into_iter().zip(&judgments.probabilities);
    Ok(Json(Decision {
        model: app.runtime.name().to_owned(),
        answers: answers.map(|(question, shares)| question.answer(shares)).collect(),
        usage: DecisionUsage::new(&judgments.usage),
    }))
}
