//! Turns `POST /v1/rerank` (also `/rerank`, `/v2/rerank`) into documents by their scores.
//!
//! A cross-encoder reads the query with each document, and its score goes through a sigmoid. Of
//! other models the score is the cosine of the query's vector and the document's.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use myriad_engine::Output;

use crate::answers::vectors::{self, Wish};
use crate::app::App;
use crate::catalogue::Purpose;
use crate::errors::ApiError;
use crate::layers::ticket::Ticket;
use crate::layers::upload::Upload;
use crate::random;
use crate::runtime::Runtime;
use crate::wire::embeddings::EmbeddingsUsage;
use crate::wire::rerank::{DOCUMENTS, DocumentText, Meta, RankedDocument, RerankRequest, Reranked};

/// The best documents, best first.
pub async fn create(
    State(app): State<Arc<App>>,
    Extension(upload): Extension<Upload>,
    ticket: Ticket,
) -> Result<Json<Reranked>, ApiError> {
    let (body, runtime) = app.body_and_lease(&upload, Purpose::Vectors).await?;
    let model = runtime.clone();
    let (request, wishes) = app
        .blocking(move |_| {
            let request = RerankRequest::parse(&body)?;
            let wishes = wishes(&model, &request);
            Ok((request, wishes))
        })
        .await?;
    let computed = vectors::compute(&runtime, wishes, &ticket.request_id).await?;
    ticket.meter.count(runtime.name(), computed.tokens, 0, 0);
    let scores = match scores_pairs(&runtime) {
        true => computed.values.iter().map(|score| sigmoid(score[0])).collect(),
        false => cosines(&computed.values),
    };
    Ok(Json(Reranked {
        id: random::identifier("rerank-"),
        model: runtime.name().to_owned(),
        results: ranked(request, scores),
        usage: EmbeddingsUsage::of(computed.tokens),
        meta: Meta::of(computed.tokens),
    }))
}

fn scores_pairs(runtime: &Runtime) -> bool {
    let encoder = runtime.model().and_then(|model| model.config().encoder.as_ref());
    encoder.is_some_and(|encoder| encoder.classifier)
}

/// The query with each document, or each by itself, the query first.
fn wishes(runtime: &Runtime, request: &RerankRequest) -> Vec<Wish> {
    let tokenizer = runtime.tokenizer();
    let place = |index: usize| format!("{DOCUMENTS}[{index}]");
    let documents = request.documents.iter().enumerate();
    if scores_pairs(runtime) {
        let pair = |(index, document): (usize, &String)| {
            let (ids, first) = tokenizer.encode_pair(&request.query, document);
            Wish { ids, output: Output::PairScore { first }, param: place(index) }
        };
        return documents.map(pair).collect();
    }
    let wish = |text: &str, param: String| {
        let ids = tokenizer.encode_whole(text);
        Wish { ids, output: Output::Vector, param }
    };
    let query = wish(&request.query, "query".to_owned());
    let documents = documents.map(|(index, document)| wish(document, place(index)));
    std::iter::once(query).chain(documents).collect()
}

/// The cosines of the first vector with each other one. All have length 1.
fn cosines(vectors: &[Vec<f32>]) -> Vec<f32> {
    let Some((query, documents)) = vectors.split_first() else { return Vec::new() };
    let cosine = |document: &Vec<f32>| {
        let products = query.iter().zip(document).map(|(a, b)| f64::from(*a) * f64::from(*b));
        products.sum::<f64>() as f32
    };
    documents.iter().map(cosine).collect()
}

fn sigmoid(score: f32) -> f32 {
    1.0 / (1.0 + (-score).exp())
}

/// The documents with their scores, best first; of equal ones the first.
fn ranked(request: RerankRequest, scores: Vec<f32>) -> Vec<RankedDocument> {
    let mut documents: Vec<_> = request.documents.into_iter().zip(scores).enumerate().collect();
    documents.sort_by(|(_, (_, a)), (_, (_, b))| b.total_cmp(a));
    documents.truncate(request.top_n.unwrap_or(usize::MAX));
    let shown = request.return_documents;
    documents
        .into_iter()
        .map(|(index, (text, relevance_score))| RankedDocument {
            index,
            relevance_score,
            document: shown.then_some(DocumentText { text }),
        })
        .collect()
}
