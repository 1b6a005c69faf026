//! Turns the key of a request into the owner whose documents it reaches, or into 401.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::{Choice, ConstantTimeEq};

use crate::app::App;
use crate::errors::ApiError;
use crate::routes::web;
use crate::storage::Owner;

/// Whoever restarts servers asks this path.
const HEALTH: &str = "/health";

/// The chat asks it before anyone has entered a key; it tells nothing of anyone.
const FEATURES: &str = "/app/features";

/// Who was sent a link reads what it shows: what follows is a secret of its own.
const SHARED: &str = "/app/shared/";

/// The layer. Everything that is not open is closed, also paths that do not exist.
pub async fn ask(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    if is_open(&request) {
        return next.run(request).await;
    }
    match owner(&app, request.headers()).await {
        Ok(owner) => {
            request.extensions_mut().insert(owner);
            next.run(request).await
        }
        Err(error) => error.into_response(),
    }
}

/// The only paths that need no key, and the chat's own files.
fn is_open(request: &Request) -> bool {
    let path = request.uri().path();
    let shared = path.starts_with(SHARED) && *request.method() == Method::GET;
    [HEALTH, FEATURES].contains(&path) || shared || web::is_open(request)
}

/// Configured keys reach the default owner's documents, as does everyone where there are no keys;
/// keys of the store reach their owner's.
async fn owner(app: &App, headers: &HeaderMap) -> Result<Owner, ApiError> {
    let shown: Vec<&[u8]> = [bearer(headers), own(headers)].into_iter().flatten().collect();
    let configured = &app.config.api_keys;
    if !configured.is_empty() && is_one_of(configured, &shown) {
        return Ok(Owner::default());
    }
    let storage = app.config.storage.as_ref();
    let stored = match storage {
        Some(storage) => storage.locked().await?,
        None => false,
    };
    if configured.is_empty() && !stored {
        return Ok(Owner::default());
    }
    if let Some(storage) = storage.filter(|_| stored) {
        for key in &shown {
            let Ok(key) = std::str::from_utf8(key) else { continue };
            if let Some(owner) = storage.owner(key).await? {
                return Ok(owner);
            }
        }
    }
    Err(match shown.is_empty() {
        true => ApiError::unauthorized(
            "You did not provide an API key. Send it as 'Authorization: Bearer KEY' or as \
             'x-api-key: KEY'.",
        ),
        false => ApiError::unauthorized("Incorrect API key provided."),
    })
}

/// All keys are compared in full, so that the time tells nothing but their lengths.
fn is_one_of(keys: &[String], shown: &[&[u8]]) -> bool {
    let known = shown.iter().fold(Choice::from(0), |known, shown| {
        keys.iter().fold(known, |known, key| known | key.as_bytes().ct_eq(shown))
    });
    known.into()
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, key) = value.split_at_checked("bearer ".len())?;
    let key = key.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !key.is_empty()).then_some(key)
}

fn own(headers: &HeaderMap) -> Option<&[u8]> {
    headers.get("x-api-key").map(|value| value.as_bytes()).filter(|key| !key.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(keys: &[&str], headers: &[(&str, &str)]) -> bool {
        let keys: Vec<String> = keys.iter().map(|key| key.to_string()).collect();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: header::HeaderName = name.parse().unwrap();
            map.append(name, value.parse().unwrap());
        }
        let shown: Vec<&[u8]> = [bearer(&map), own(&map)].into_iter().flatten().collect();
        is_one_of(&keys, &shown)
    }

    #[test]
    fn only_a_whole_key_opens() {
        let keys = ["first-key", "second-key"];
        for (headers, right) in [
            (&[("authorization", "Bearer first-key")][..], true),
            (&[("authorization", "bearer second-key")], true),
            (&[("authorization", "Bearer   first-key")], true),
            (&[("x-api-key", "second-key")], true),
            (&[("authorization", "Bearer wrong"), ("x-api-key", "first-key")], true),
            (&[], false),
            (&[("authorization", "Bearer ")], false),
            (&[("authorization", "Bearer")], false),
            (&[("authorization", "first-key")], false),
            (&[("authorization", "Basic first-key")], false),
            (&[("authorization", "Bearer first-ke")], false),
            (&[("authorization", "Bearer first-key2")], false),
            (&[("authorization", "Bearer FIRST-KEY")], false),
            (&[("x-api-key", "")], false),
        ] {
            assert_eq!(judged(&keys, headers), right, "{headers:?}");
        }
    }

    #[test]
    fn an_empty_key_opens_nothing() {
        assert!(!judged(&[""], &[("authorization", "Bearer ")]));
        assert!(!judged(&[""], &[("x-api-key", "")]));
    }
}
