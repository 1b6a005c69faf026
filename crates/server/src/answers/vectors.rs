//! Turns texts into their vectors, or pairs into their scores, in order.

use std::time::Instant;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use myriad_engine::Output;

use crate::errors::ApiError;
use crate::layers::journal::RequestId;
use crate::limits::INPUTS_TOGETHER;
use crate::runtime::Runtime;

/// What is to be computed: ids, what of them, and where they came from.
pub struct Wish {
    pub ids: Vec<u32>,
    pub output: Output,
    pub param: String,
}

/// What came of all wishes of a request.
pub struct Vectors {
    /// One for each wish.
    pub values: Vec<Vec<f32>>,
    /// Tokens of all texts.
    pub tokens: usize,
}

/// Computes all wishes, so many at a time; the first that fails ends it. Dropping it cancels what
/// still runs.
pub async fn compute(
    runtime: &Runtime,
    wishes: Vec<Wish>,
    request_id: &RequestId,
) -> Result<Vectors, ApiError> {
    let since = Instant::now();
    // Before any is computed: one of many may be too long.
    for Wish { ids, param, .. } in &wishes {
        let fits = runtime.check_length(ids.len(), Some(0));
        fits.map_err(|error| ApiError::from_generate(error, param))?;
    }
    let (inputs, tokens) = (wishes.len(), wishes.iter().map(|wish| wish.ids.len()).sum());
    let one = |Wish { ids, output, param }: Wish| async move {
        let values = runtime.compute(ids, output).await;
        values.map_err(|error| ApiError::from_generate(error, &param))
    };
    let values = stream::iter(wishes).map(one).buffered(INPUTS_TOGETHER).try_collect().await?;
    tracing::info!(
        request_id = request_id.as_str(),
        inputs,
        prompt_tokens = tokens,
        milliseconds = since.elapsed().as_millis() as u64,
        "vectors"
    );
    Ok(Vectors { values, tokens })
}
