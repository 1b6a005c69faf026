//! Turns the pieces of a file into vectors, once for each file and model that makes them.

use futures_util::stream::{self, StreamExt};
use myriad_engine::Output;
use myriad_store::{Change, Document, Kind, StoreError};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;

use crate::catalogue::Lease;
use crate::errors::ApiError;
use crate::limits::INPUTS_TOGETHER;
use crate::routes::documents::body;
use crate::runtime::Runtime;
use crate::storage::{Owner, Storage, position};

/// What a row of vectors says; the numbers are its content.
#[derive(Debug, PartialEq, Deserialize, Serialize)]
struct Made {
    model: String,
    width: usize,
    count: usize,
}

/// The vector of a text. One that is longer than the model reads counts by its beginning.
///
/// # Errors
/// Where the engine refuses, or fails.
pub async fn of_text(embedder: &Runtime, text: &str) -> Result<Vec<f32>, ApiError> {
    let mut ids = embedder.tokenizer().encode_whole(text);
    ids.truncate(embedder.context_max());
    let made = embedder.compute(ids, Output::Vector).await;
    made.map_err(|error| ApiError::from_generate(error, "messages"))
}

/// The vectors of a file's pieces, in order: those that are kept, or new ones, which are kept.
/// `told` hears how many are there as they come.
///
/// # Errors
/// As [`of_text`], and where the store fails.
pub async fn of_file(
    storage: &Storage,
    embedder: &Lease,
    file: &Document,
    texts: Vec<String>,
    told: impl Fn(usize) + Send,
) -> Result<Vec<Vec<f32>>, ApiError> {
    let row = format!("{}:{}", file.id, embedder.name());
    if let Some(kept) = kept(storage, file, &row, texts.len()).await? {
        return Ok(kept);
    }
    let mut vectors = Vec::with_capacity(texts.len());
    let one = |text: String| {
        let embedder = embedder.clone();
        async move { of_text(&embedder, &text).await }
    };
    let mut coming = stream::iter(texts).map(one).buffered(INPUTS_TOGETHER);
    while let Some(vector) = coming.next().await {
        vectors.push(vector?);
        told(vectors.len());
    }
    keep(storage, file, &row, embedder.name(), &vectors).await?;
    Ok(vectors)
}

async fn kept(
    storage: &Storage,
    file: &Document,
    row: &str,
    count: usize,
) -> Result<Option<Vec<Vec<f32>>>, ApiError> {
    let found = storage.find(Kind::AppFileVectors, &Owner::from(file), row).await?;
    let Some(document) = found else { return Ok(None) };
    let made: Made = body(&document)?;
    let digest = document.blob.as_deref().unwrap_or_default();
    let mut bytes = Vec::new();
    let content = storage.blobs.read(digest).await?;
    let length = (made.count * made.width * size_of::<f32>()) as u64;
    content.take(length).read_to_end(&mut bytes).await.map_err(|error| {
        tracing::error!(%error, "vectors cannot be read");
        ApiError::internal()
    })?;
    let whole = made.count == count && made.width > 0 && bytes.len() as u64 == length;
    Ok(whole.then(|| {
        let numbers: Vec<f32> =
            bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        numbers.chunks(made.width).map(<[f32]>::to_vec).collect()
    }))
}

async fn keep(
    storage: &Storage,
    file: &Document,
    row: &str,
    model: &str,
    vectors: &[Vec<f32>],
) -> Result<(), ApiError> {
    let width = vectors.first().map_or(0, Vec::len);
    let mut content = storage.blobs.writer(u64::MAX).await?;
    for vector in vectors {
        let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
        content.write(&bytes).await?;
    }
    let blob = content.finish().await?;
    let made = Made { model: model.to_owned(), width, count: vectors.len() };
    let document = Document {
        parent: file.id.clone(),
        blob: Some(blob.digest.clone()),
        bytes: blob.bytes as i64,
        // Numbers and a name are always JSON.
        body: serde_json::to_string(&made).unwrap_or_default(),
        ..Document::new(Kind::AppFileVectors, &file.owner, row, position())
    };
    match storage.store.commit(Change::new().insert(document)).await {
        // Another question was quicker with the same.
        Ok(()) | Err(StoreError::Conflict(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// How near two vectors are: the cosine of their angle.
pub fn cosine(one: &[f32], other: &[f32]) -> f32 {
    let dot = |one: &[f32], other: &[f32]| -> f32 {
        one.iter().zip(other).map(|(one, other)| one * other).sum()
    };
    dot(one, other) / (dot(one, one) * dot(other, other)).sqrt().max(f32::MIN_POSITIVE)
}
