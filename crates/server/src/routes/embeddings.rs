//! Turns `POST /v1/embeddings`, and Ollama's `/api/embed` and `/api/embeddings`, into vectors.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::{Extension, Json};
use myriad_engine::Output;
use myriad_model::normalise;

use super::ollama::meant;
use crate::answers::vectors::{self, Vectors, Wish};
use crate::app::App;
use crate::catalogue::{Lease, Purpose};
use crate::errors::ApiError;
use crate::layers::ticket::Ticket;
use crate::layers::upload::Upload;
use crate::runtime::Runtime;
use crate::wire::embeddings::{
    Embedding, Embeddings, EmbeddingsRequest, EmbeddingsUsage, OllamaEmbedding, OllamaEmbeddings,
};
use crate::wire::prompts::Prompt;

type Parse = fn(&[u8]) -> Result<EmbeddingsRequest, ApiError>;

/// One vector for each text, in OpenAI's shape.
pub async fn create(
    State(app): State<Arc<App>>,
    Extension(upload): Extension<Upload>,
    ticket: Ticket,
) -> Result<Json<Embeddings>, ApiError> {
    let Made { runtime, request, vectors } =
        make(app, upload, ticket, EmbeddingsRequest::openai).await?;
    let data = vectors.values.into_iter().enumerate();
    let data = data.map(|(index, vector)| Embedding::new(index, vector, request.base64));
    Ok(Json(Embeddings {
        object: "list",
        data: data.collect(),
        model: runtime.name().to_owned(),
        usage: EmbeddingsUsage::of(vectors.tokens),
    }))
}

/// The same in Ollama's shape.
pub async fn ollama(
    State(app): State<Arc<App>>,
    Extension(upload): Extension<Upload>,
    ticket: Ticket,
) -> Result<Json<OllamaEmbeddings>, ApiError> {
    let since = Instant::now();
    let Made { runtime, vectors, .. } =
        make(app, upload, ticket, EmbeddingsRequest::ollama).await?;
    Ok(Json(OllamaEmbeddings {
        model: runtime.name().to_owned(),
        embeddings: vectors.values,
        total_duration: since.elapsed().as_nanos() as u64,
        load_duration: 0,
        prompt_eval_count: vectors.tokens,
    }))
}

/// The vector of one text, in the shape that Ollama had first.
pub async fn ollama_single(
    State(app): State<Arc<App>>,
    Extension(upload): Extension<Upload>,
    ticket: Ticket,
) -> Result<Json<OllamaEmbedding>, ApiError> {
    let Made { vectors, .. } = make(app, upload, ticket, EmbeddingsRequest::ollama_single).await?;
    let embedding = vectors.values.into_iter().next().unwrap_or_default();
    Ok(Json(OllamaEmbedding { embedding }))
}

/// The vectors of a request, as long as it wants them.
struct Made {
    runtime: Lease,
    request: EmbeddingsRequest,
    vectors: Vectors,
}

async fn make(
    app: Arc<App>,
    upload: Upload,
    ticket: Ticket,
    parse: Parse,
) -> Result<Made, ApiError> {
    let body = upload.read(&app.large_bodies).await?;
    let (body, named) = app.named(body).await?;
    // Only Ollama's clients put a tag behind names.
    let name = named.model.map(|model| meant(&app, model));
    let runtime = app.lease(name.as_deref(), Purpose::Vectors).await?;
    let model = runtime.clone();
    let (request, wishes) = app.blocking(move |_| prepare(&model, parse(&body)?)).await?;
    let mut vectors = vectors::compute(&runtime, wishes, &ticket.request_id).await?;
    ticket.meter.count(runtime.name(), vectors.tokens, 0, 0);
    if let Some(dimensions) = request.dimensions {
        for vector in &mut vectors.values {
            vector.truncate(dimensions);
            normalise(vector);
        }
    }
    Ok(Made { runtime, request, vectors })
}

fn prepare(
    runtime: &Runtime,
    request: EmbeddingsRequest,
) -> Result<(EmbeddingsRequest, Vec<Wish>), ApiError> {
    let (tokenizer, param) = (runtime.tokenizer(), request.param);
    let width = runtime.model().map_or(usize::MAX, |model| model.config().hidden);
    request.check(tokenizer.vocab_size(), width)?;
    let wish = |input: &Prompt| {
        let mut ids = match input {
            Prompt::Text(text) => tokenizer.encode_whole(text),
            Prompt::Tokens(ids) => ids.clone(),
        };
        if request.truncate {
            cut(&mut ids, runtime.context_max());
        }
        Wish { ids, output: Output::Vector, param: param.to_owned() }
    };
    let wishes = request.inputs.iter().map(wish).collect();
    Ok((request, wishes))
}

/// Leaves `limit` ids; the last one, which may end the text, stays.
fn cut(ids: &mut Vec<u32>, limit: usize) {
    if ids.len() > limit
        && let Some(last) = ids.last().copied()
    {
        ids.truncate(limit.saturating_sub(1));
        ids.push(last);
    }
}
