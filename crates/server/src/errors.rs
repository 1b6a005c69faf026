//! Turns everything that can go wrong with a request into OpenAI's error shape and status.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use myriad_store::StoreError;
use serde::Serialize;
use utoipa::ToSchema;

use crate::limits::RETRY_AFTER_SECONDS;
use crate::runtime::GenerateError;

/// An error as clients of OpenAI know it: `{"error": {"message", "type", "param", "code"}}`.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError {
    /// The HTTP status.
    pub status: StatusCode,
    /// What is wrong, and what would be right.
    pub message: String,
    /// The kind of error: `invalid_request_error`, `server_error` …
    pub kind: &'static str,
    /// The parameter that is wrong.
    pub param: Option<String>,
    /// A name for programs: `context_length_exceeded` …
    pub code: Option<&'static str>,
    /// When to come again, in seconds; told with a 429.
    pub retry_after: u32,
}

/// The error as it stands in a body or in a stream.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ErrorBody {
    error: ErrorFields,
}

/// All four keys are always there.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct ErrorFields {
    message: String,
    #[serde(rename = "type")]
    kind: &'static str,
    param: Option<String>,
    code: Option<&'static str>,
}

const INVALID: &str = "invalid_request_error";

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> ApiError {
        let (message, retry_after) = (message.into(), RETRY_AFTER_SECONDS);
        ApiError { status, message, kind, param: None, code: None, retry_after }
    }

    /// 400 without a parameter: the body itself is wrong.
    pub fn bad_request(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, INVALID, message)
    }

    /// 400 that names the parameter.
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> ApiError {
        let param = Some(param.into());
        ApiError { param, code: Some("invalid_value"), ..ApiError::bad_request(message) }
    }

    /// 400: the parameter has a value of another type than it should.
    pub fn wrong_type(param: impl Into<String>, message: impl Into<String>) -> ApiError {
        ApiError { code: Some("invalid_type"), ..ApiError::invalid(param, message) }
    }

    /// 400: a parameter that must be there is not.
    pub fn missing(param: &str) -> ApiError {
        let message = format!("Missing required parameter: '{param}'.");
        ApiError { code: Some("missing_required_parameter"), ..ApiError::invalid(param, message) }
    }

    /// 400: nobody knows this parameter.
    pub fn unknown_parameter(param: &str) -> ApiError {
        // The name is the client's own text: shown, but not at any length.
        let shown: String = param.chars().take(64).collect();
        let message = format!("Unrecognized request argument supplied: {shown}");
        ApiError { code: Some("unknown_parameter"), ..ApiError::invalid(shown, message) }
    }

    /// 400: a parameter of OpenAI's that this server does not have.
    pub fn unsupported(param: impl Into<String>, message: impl Into<String>) -> ApiError {
        ApiError { code: Some("unsupported_parameter"), ..ApiError::invalid(param, message) }
    }

    /// 401.
    pub fn unauthorized(message: impl Into<String>) -> ApiError {
        let error = ApiError::new(StatusCode::UNAUTHORIZED, INVALID, message);
        ApiError { code: Some("invalid_api_key"), ..error }
    }

    /// 401: the name or the password is wrong; which of them is told to nobody.
    pub fn wrong_password(message: impl Into<String>) -> ApiError {
        ApiError { code: Some("invalid_credentials"), ..ApiError::unauthorized(message) }
    }

    /// 403: whoever asks is known, and may not do this.
    pub fn not_allowed(message: impl Into<String>) -> ApiError {
        ApiError { code: Some("permission_denied"), ..ApiError::forbidden(message) }
    }

    /// 409: what is there does not let it happen.
    pub fn conflict(code: &'static str, message: impl Into<String>) -> ApiError {
        let error = ApiError::new(StatusCode::CONFLICT, INVALID, message);
        ApiError { code: Some(code), ..error }
    }

    /// 403: a web page of someone else's asks.
    pub fn forbidden(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::FORBIDDEN, INVALID, message)
    }

    /// 404 for a path that does not exist.
    pub fn unknown_url(method: &str, path: &str) -> ApiError {
        let shown: String = path.chars().take(128).collect();
        let message = format!("Unknown request URL: {method} {shown}. GET / lists what is there.");
        let error = ApiError::new(StatusCode::NOT_FOUND, INVALID, message);
        ApiError { code: Some("unknown_url"), ..error }
    }

    /// 404 for a part of OpenAI's API that is not here.
    pub fn absent(method: &str, path: &str, what: &str) -> ApiError {
        let unknown = ApiError::unknown_url(method, path);
        let message = format!("This server has no {what}. {}", unknown.message);
        ApiError { message, code: Some("not_implemented"), ..unknown }
    }

    /// 400: the model makes vectors, and no answers.
    pub fn embeds_only(name: &str) -> ApiError {
        let message = format!(
            "The model '{name}' is served for embeddings only: it takes POST /v1/embeddings and \
             /v1/rerank, and answers no prompts."
        );
        ApiError { code: Some("model_not_supported"), ..ApiError::invalid("model", message) }
    }

    /// 400: the model lies on the disk, and requests load nothing here.
    pub fn not_loaded(name: &str) -> ApiError {
        let message = format!("The model '{name}' is not loaded; here an operator does that.");
        ApiError { code: Some("model_not_loaded"), ..ApiError::invalid("model", message) }
    }

    /// 400: the model takes more memory than it can ever have here.
    pub fn model_too_large(name: &str, needed: u64, most: u64) -> ApiError {
        let size = |bytes: u64| format!("{:.2} GB", bytes as f64 / 1e9);
        let (needed, most) = (size(needed), size(most));
        let message = format!(
            "The model '{name}' takes {needed} of memory, and models may have {most} here beside \
             those that stay loaded."
        );
        ApiError { code: Some("model_too_large"), ..ApiError::invalid("model", message) }
    }

    /// 500: the model could not be loaded. Reasons name files, which are the operator's matter.
    pub fn load_failed(name: &str) -> ApiError {
        let message = format!(
            "The model '{name}' could not be loaded. The server's log and its console say why."
        );
        let error = ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message);
        ApiError { code: Some("model_load_failed"), ..error }
    }

    /// 503: the model takes longer to load than anyone waits.
    pub fn still_loading(name: &str) -> ApiError {
        let message = format!("The model '{name}' is still being loaded. Try again later.");
        let error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message);
        ApiError { code: Some("model_loading"), ..error }
    }

    /// 404 for a model that is not served.
    pub fn unknown_model(model: &str, served: &[String]) -> ApiError {
        let shown: String = model.chars().take(128).collect();
        let served = served.join(", ");
        let message = format!("The model '{shown}' does not exist. Served here: {served}.");
        let error = ApiError::new(StatusCode::NOT_FOUND, INVALID, message);
        ApiError { param: Some("model".into()), code: Some("model_not_found"), ..error }
    }

    /// 400: several other servers have a model of this name.
    pub fn ambiguous_model(model: &str, names: &[String]) -> ApiError {
        let shown: String = model.chars().take(128).collect();
        let names = names.join(", ");
        let message = format!("'{shown}' could be several models. Right would be one of: {names}.");
        ApiError::invalid("model", message)
    }

    /// 400: the model is another server's, which is asked for chats alone.
    pub fn chats_only(model: &str, upstream: &str) -> ApiError {
        let shown: String = model.chars().take(128).collect();
        let message = format!(
            "The model '{shown}' is the upstream '{upstream}'s: it takes POST \
             /v1/chat/completions, and nothing else here."
        );
        ApiError { code: Some("model_not_supported"), ..ApiError::invalid("model", message) }
    }

    /// What another server said, or why it said nothing.
    pub fn upstream(status: StatusCode, message: String, code: &'static str) -> ApiError {
        let kind = match status.as_u16() {
            429 => "rate_limit_error",
            400..=499 => INVALID,
            _ => "server_error",
        };
        ApiError { code: Some(code), ..ApiError::new(status, kind, message) }
    }

    /// 404 for an object that its owner does not have.
    pub fn not_found(what: &str, id: &str) -> ApiError {
        let shown: String = id.chars().take(128).collect();
        let message = format!("No {what} found with id '{shown}'.");
        let error = ApiError::new(StatusCode::NOT_FOUND, INVALID, message);
        ApiError { param: Some("id".into()), code: Some("not_found"), ..error }
    }

    /// 405.
    pub fn wrong_method(method: &str, path: &str) -> ApiError {
        let message = format!("{path} does not take {method}.");
        let error = ApiError::new(StatusCode::METHOD_NOT_ALLOWED, INVALID, message);
        ApiError { code: Some("method_not_allowed"), ..error }
    }

    /// 408: the body did not come.
    pub fn slow_body() -> ApiError {
        ApiError::new(StatusCode::REQUEST_TIMEOUT, INVALID, "The request body took too long.")
    }

    /// 413.
    pub fn too_large(limit: u64) -> ApiError {
        let message = format!("The request body is larger than {limit} bytes.");
        let error = ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, INVALID, message);
        ApiError { code: Some("request_too_large"), ..error }
    }

    /// 500.
    pub fn internal() -> ApiError {
        let message = "The server had an error while it processed your request.";
        let error = ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message);
        ApiError { code: Some("internal_error"), ..error }
    }

    /// 429: what the request needs is taken by others.
    pub fn busy(code: &'static str, message: impl Into<String>) -> ApiError {
        let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message);
        ApiError { code: Some(code), ..error }
    }

    /// 503.
    pub fn unavailable() -> ApiError {
        let message = "The engine is not running.";
        let error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message);
        ApiError { code: Some("engine_unavailable"), ..error }
    }

    /// The engine's refusal; `param` is where the prompt came from.
    pub fn from_generate(error: GenerateError, param: &str) -> ApiError {
        match error {
            GenerateError::ContextLength { limit, prompt, completion } => {
                let (asked, reduce) = match completion {
                    0 => (String::new(), ""),
                    _ => (format!(", {completion} in the completion"), " or completion"),
                };
                let message = format!(
                    "This model's maximum context length is {limit} tokens. However, you \
                     requested {} tokens ({prompt} in the {param}{asked}). Please reduce the \
                     length of the {param}{reduce}.",
                    prompt.saturating_add(completion)
                );
                let error = ApiError::invalid(param, message);
                ApiError { code: Some("context_length_exceeded"), ..error }
            }
            GenerateError::Busy { waiting, .. } => {
                let message = format!("The server is busy: {waiting} requests wait already.");
                ApiError::busy("queue_full", message)
            }
            GenerateError::Refused(error) => ApiError::invalid(param, error.to_string()),
            GenerateError::Failed => ApiError::internal(),
            GenerateError::Unavailable => ApiError::unavailable(),
        }
    }

    /// The error as JSON.
    pub fn body(&self) -> ErrorBody {
        ErrorBody {
            error: ErrorFields {
                message: self.message.clone(),
                kind: self.kind,
                param: self.param.clone(),
                code: self.code,
            },
        }
    }
}

/// What a client cannot mend is logged and not shown.
impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> ApiError {
        match error {
            StoreError::Conflict(id) => {
                let message = format!("'{id}' was changed by another request in between.");
                ApiError::conflict("conflict", message)
            }
            StoreError::TooLarge { limit } => ApiError::too_large(limit),
            error => {
                tracing::error!(%error, "the store failed");
                ApiError::internal()
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        // For those who speak another dialect.
        response.extensions_mut().insert(self.clone());
        let headers = response.headers_mut();
        match self.status {
            StatusCode::TOO_MANY_REQUESTS => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(self.retry_after));
            }
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        response
    }
}
