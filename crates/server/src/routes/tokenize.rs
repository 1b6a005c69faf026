//! Turns `POST /tokenize` and `POST /detokenize` into ids of a text or a chat, and back.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use myriad_token::Specials;

use super::prompt::encode;
use crate::app::App;
use crate::catalogue::Purpose;
use crate::errors::ApiError;
use crate::layers::upload::Upload;
use crate::wire::tokenize::{
    DetokenizeRequest, DetokenizeResponse, TokenizeInput, TokenizeRequest, TokenizeResponse,
};

/// Ids as a completion or a chat would have them.
pub async fn tokenize(
    State(app): State<Arc<App>>,
    Extension(upload): Extension<Upload>,
) -> Result<Json<TokenizeResponse>, ApiError> {
    let (body, lease) = app.body_and_lease(&upload, Purpose::Tokens).await?;
    app.blocking(move |_| {
        let request = TokenizeRequest::parse(&body)?;
        let tokenizer = lease.tokenizer();
        let tokens = match &request.input {
            TokenizeInput::Text { text, add_special_tokens: true } => {
                tokenizer.encode_prompt(text, Specials::Parse)
            }
            TokenizeInput::Text { text, .. } => tokenizer.encode(text, Specials::Parse),
            TokenizeInput::Chat(_) if lease.is_encoder() => {
                return Err(ApiError::embeds_only(lease.name()));
            }
            TokenizeInput::Chat(chat) => encode(&lease, chat)?.ids,
        };
        let text = |id: &u32| tokenizer.token_text(*id).unwrap_or_default().to_owned();
        Ok(Json(TokenizeResponse {
            count: tokens.len(),
            max_model_len: lease.context_max(),
            token_strs: request.return_token_strs.then(|| tokens.iter().map(text).collect()),
            tokens,
        }))
    })
    .await
}

/// The text of ids, that of control tokens among it.
pub async fn detokenize(
    State(app): State<Arc<App>>,
    Extension(upload): Extension<Upload>,
) -> Result<Json<DetokenizeResponse>, ApiError> {
    let (body, lease) = app.body_and_lease(&upload, Purpose::Tokens).await?;
    app.blocking(move |_| {
        let request = DetokenizeRequest::parse(&body)?;
        let tokenizer = lease.tokenizer();
        request.check(tokenizer.vocab_size())?;
        let bytes = tokenizer.decode(&request.tokens, true);
        Ok(Json(DetokenizeResponse { prompt: String::from_utf8_lossy(&bytes).into_owned() }))
    })
    .await
}
