//! Turns what the layers found out about a request into its owner, its number and its meter.

use std::sync::Arc;

use axum::Extension;
use axum::extract::FromRequestParts;
use axum::extract::rejection::ExtensionRejection;
use axum::http::request::Parts;

use super::journal::RequestId;
use crate::app::App;
use crate::ledger::Meter;
use crate::people::Caller;
use crate::storage::Owner;

/// Who asks, under which number it stands in the logs, and where its tokens are counted.
#[derive(Clone, Debug)]
pub struct Ticket {
    pub request_id: RequestId,
    pub owner: Owner,
    pub meter: Meter,
}

impl FromRequestParts<Arc<App>> for Ticket {
    type Rejection = ExtensionRejection;

    async fn from_request_parts(
        parts: &mut Parts,
        app: &Arc<App>,
    ) -> Result<Ticket, Self::Rejection> {
        let Extension(request_id) = Extension::from_request_parts(parts, app).await?;
        let Extension(owner): Extension<Owner> = Extension::from_request_parts(parts, app).await?;
        // What the server does by itself, as lines of batches, has an owner and no caller.
        let key = parts.extensions.get::<Caller>().and_then(|caller| caller.key.clone());
        let keeps = app.config.storage.as_ref().is_some_and(|storage| storage.content);
        let ledger = keeps.then(|| Arc::clone(&app.ledger));
        let meter = Meter { ledger, owner: owner.clone(), key };
        Ok(Ticket { request_id, owner, meter })
    }
}
