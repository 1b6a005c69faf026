//! Turns paths of the known APIs that are not here into a 404 that says what is not there.

use axum::http::Uri;

use crate::errors::ApiError;

/// What OpenAI has under `/v1` and Myriad has not, by the first parts of its path.
const ABSENT: &[(&str, &str)] = &[
    ("assistants", "assistants"),
    ("audio", "speech and transcription"),
    ("containers", "containers"),
    ("evals", "evaluations"),
    ("fine_tuning", "fine-tuning"),
    ("images", "images"),
    ("organization", "organizations"),
    ("projects", "projects"),
    ("realtime", "realtime sessions"),
    ("skills", "skills"),
    ("threads", "threads"),
    ("vector_stores", "vector stores"),
    ("videos", "videos"),
];

/// What Myriad has not, by its whole path.
const PATHS: &[(&str, &str)] = &[
    ("/api/push", "uploads of models"),
    ("/api/create", "creation of models"),
    ("/api/copy", "copies of models"),
    ("/api/delete", "deletion of models"),
];

/// The error for a path that no route has.
pub fn error(method: &str, uri: &Uri) -> ApiError {
    let path = uri.path();
    if let Some((_, what)) = PATHS.iter().find(|(known, _)| *known == path) {
        return ApiError::absent(method, path, what);
    }
    match part(path) {
        Some(what) => ApiError::absent(method, path, what),
        None => ApiError::unknown_url(method, path),
    }
}

/// The part of OpenAI's API that a path belongs to, where it is not here.
pub fn part(path: &str) -> Option<&'static str> {
    let first = path.strip_prefix("/v1/")?.split('/').next();
    ABSENT.iter().find(|(known, _)| Some(*known) == first).map(|(_, what)| *what)
}
