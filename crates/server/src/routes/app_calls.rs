//! Turns `POST /app/chats/{id}/messages/{message}/calls/{call}` into a person's permission, or not.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use serde_json::{Value, json};

use super::app_chats::WHAT;
use super::documents::Ids;
use crate::app::App;
use crate::chats::rows;
use crate::errors::ApiError;
use crate::layers::upload::Upload;
use crate::storage::Owner;
use crate::wire::app_calls::Decision;

/// Lets a call of a tool go out, or not. The first decision counts, whichever device it is from.
pub async fn decide(
    State(app): State<Arc<App>>,
    Extension(owner): Extension<Owner>,
    Extension(upload): Extension<Upload>,
    Ids((chat, message, call)): Ids<(String, String, String)>,
) -> Result<Json<Value>, ApiError> {
    let storage = app.storage(WHAT)?;
    // Another's is not there, whatever its calls are called.
    let (document, _) = rows::message(storage, &owner, &chat, &message).await?;
    let decision = Decision::parse(&upload.read(&app.large_bodies).await?)?;
    if !app.runs.permissions.decide(&document.id, &call, decision) {
        return Err(ApiError::not_found("call that waits for a permission", &call));
    }
    Ok(Json(json!({ "id": call, "object": "chat.call", "decision": decision })))
}
