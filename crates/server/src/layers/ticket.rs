//! Turns what the layers found out about a request into its owner and its number.

use axum::Extension;
use axum::extract::FromRequestParts;
use axum::extract::rejection::ExtensionRejection;
use axum::http::request::Parts;

use super::journal::RequestId;
use crate::storage::Owner;

/// Who asks, and under which number it stands in the logs.
#[derive(Clone, Debug)]
pub struct Ticket {
    pub request_id: RequestId,
    pub owner: Owner,
}

impl<S: Send + Sync> FromRequestParts<S> for Ticket {
    type Rejection = ExtensionRejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Ticket, Self::Rejection> {
        let Extension(request_id) = Extension::from_request_parts(parts, state).await?;
        let Extension(owner) = Extension::from_request_parts(parts, state).await?;
        Ok(Ticket { request_id, owner })
    }
}
