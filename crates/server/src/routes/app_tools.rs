//! Turns `GET /app/tools` into the tools that the chat may switch on.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::tools::ToolServer;

/// All tools, by their servers.
#[derive(Serialize, ToSchema)]
pub struct AppTools {
    servers: Vec<ToolServer>,
}

/// Asks servers of tools that have not been asked for a while.
pub async fn list(State(app): State<Arc<App>>) -> Json<AppTools> {
    Json(AppTools { servers: app.config.tools.listed(&app).await })
}
