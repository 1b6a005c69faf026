//! Turns `POST /v1/chat/completions/render` and `/apply-template` into the prompt of a chat.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use serde::Serialize;
use utoipa::ToSchema;

use super::prompt::encode;
use crate::app::App;
use crate::catalogue::Purpose;
use crate::errors::ApiError;
use crate::layers::upload::Upload;
use crate::wire::chat::ChatRequest;

/// A chat as the model sees it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Rendered {
    /// The name under which the model is served.
    model: String,
    /// The text, as llama.cpp's server has it.
    prompt: String,
    /// The ids, as vLLM has them: those of message text are none of control tokens.
    token_ids: Vec<u32>,
}

/// The handler: whatever `/v1/chat/completions` takes, whole also where a stream is asked for.
pub async fn create(
    State(app): State<Arc<App>>,
    Extension(upload): Extension<Upload>,
) -> Result<Json<Rendered>, ApiError> {
    let (body, lease) = app.body_and_lease(&upload, Purpose::Answers).await?;
    app.blocking(move |_| {
        let tokenizer = lease.tokenizer();
        let request = ChatRequest::parse(&body, tokenizer.vocab_size())?;
        let token_ids = encode(&lease, &request.chat)?.ids;
        let text = tokenizer.decode(&token_ids, true);
        Ok(Json(Rendered {
            model: lease.name().to_owned(),
            prompt: String::from_utf8_lossy(&text).into_owned(),
            token_ids,
        }))
    })
    .await
}
