//! Turns errors into the shape of the API that was asked: OpenAI's, Anthropic's or Ollama's.
//!
//! Handlers and layers know one error, which is OpenAI's; the paths of the other two are told here.

use axum::Json;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderName, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::journal::RequestId;
use crate::errors::ApiError;

/// Whose API a path belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    OpenAi,
    Anthropic,
    Ollama,
}

impl Dialect {
    pub fn of(uri: &Uri) -> Dialect {
        Dialect::of_path(uri.path())
    }

    pub fn of_path(path: &str) -> Dialect {
        let within = |root: &str| {
            path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        match path {
            _ if within("/v1/messages") => Dialect::Anthropic,
            _ if within("/api") => Dialect::Ollama,
            _ => Dialect::OpenAi,
        }
    }
}

/// The layer.
pub async fn translate(request: Request, next: Next) -> Response {
    let dialect = Dialect::of(request.uri());
    let id = request.extensions().get::<RequestId>().cloned();
    let mut response = next.run(request).await;
    let Some(error) = response.extensions_mut().remove::<ApiError>() else { return response };
    let body = match dialect {
        Dialect::OpenAi => return response,
        Dialect::Anthropic => anthropic(&error, id.as_ref()),
        Dialect::Ollama => ollama(&error),
    };
    let (mut parts, _) = response.into_parts();
    let translated = Json(body).into_response();
    parts.headers.remove(header::CONTENT_LENGTH);
    if let Some(id) = id.filter(|_| dialect == Dialect::Anthropic)
        && let Ok(value) = id.as_str().parse()
    {
        parts.headers.insert(HeaderName::from_static("request-id"), value);
    }
    Response::from_parts(parts, Body::new(translated.into_body()))
}

/// `{"type": "error", "error": {"type", "message"}, "request_id"}`
pub fn anthropic(error: &ApiError, id: Option<&RequestId>) -> serde_json::Value {
    let kind = match error.status.as_u16() {
        401 => "authentication_error",
        403 => "permission_error",
        404 | 405 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    };
    json!({
        "type": "error",
        "error": { "type": kind, "message": error.message },
        "request_id": id.map(RequestId::as_str),
    })
}

/// `{"error": "…"}`
pub fn ollama(error: &ApiError) -> serde_json::Value {
    json!({ "error": error.message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_their_dialect() {
        for (path, dialect) in [
            ("/v1/messages", Dialect::Anthropic),
            ("/v1/messages/count_tokens", Dialect::Anthropic),
            ("/v1/messages?beta=true", Dialect::Anthropic),
            ("/v1/messagesx", Dialect::OpenAi),
            ("/v1/chat/completions", Dialect::OpenAi),
            ("/api/chat", Dialect::Ollama),
            ("/apis", Dialect::OpenAi),
            ("/", Dialect::OpenAi),
        ] {
            assert_eq!(Dialect::of(&path.parse().unwrap()), dialect, "{path}");
        }
    }
}
