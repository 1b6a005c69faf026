//! Turns the key or the session of a request into who asks, or into 401.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use myriad_store::Role;
use subtle::{Choice, ConstantTimeEq};

use super::origin;
use crate::app::{App, unix_seconds};
use crate::errors::ApiError;
use crate::people::{Caller, cookie, is_secure};
use crate::routes::web;
use crate::storage::{DEFAULT_OWNER, Storage};

/// Paths that need no key: whoever restarts servers asks the first, the chat the second before
/// anyone is known; by the others people come in.
const OPEN: &[&str] = &[
    "/health",
    "/app/features",
    "/app/session",
    "/app/setup",
    "/app/invitations/accept",
    "/app/oidc",
    "/app/oidc/callback",
];

/// Who was sent a link reads what it shows: what follows is a secret of its own.
const SHARED: &str = "/app/shared/";

/// Whether a path needs no key.
pub fn is_open(method: &Method, path: &str) -> bool {
    OPEN.contains(&path) || (*method == Method::GET && path.starts_with(SHARED))
}

/// The layer. Everything but [`OPEN`], what is shared and the chat's own files is closed, also
/// paths that do not exist. Handlers find the [`Caller`] and its owner among the request's
/// extensions.
pub async fn ask(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    if web::is_open(&request) {
        return next.run(request).await;
    }
    let open = is_open(request.method(), request.uri().path());
    let page = Page::of(request.method(), request.headers());
    if open && page == Page::Foreign {
        return foreign().into_response();
    }
    match caller(&app, request.headers(), page).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller.owner.clone());
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(error) if open && error.status == StatusCode::UNAUTHORIZED => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

/// Configured keys reach the default owner's documents, as does everyone where there are neither
/// keys nor accounts; keys of the store reach their owner's, sessions their account's.
async fn caller(app: &App, headers: &HeaderMap, page: Page) -> Result<Caller, ApiError> {
    let shown: Vec<&[u8]> = [bearer(headers), own(headers)].into_iter().flatten().collect();
    let configured = &app.config.api_keys;
    if !configured.is_empty() && is_one_of(configured, &shown) {
        return Ok(Caller::operator());
    }
    let storage = app.config.storage.as_ref();
    let stored = match storage {
        Some(storage) => storage.locked().await?,
        None => false,
    };
    if configured.is_empty() && !stored {
        return Ok(Caller::operator());
    }
    if let Some(storage) = storage.filter(|_| stored) {
        for key in &shown {
            let Ok(key) = std::str::from_utf8(key) else { continue };
            if let Some(caller) = of_key(storage, key).await? {
                return Ok(caller);
            }
        }
        let secure = is_secure(&app.config, headers);
        let token = cookie::read(&cookie::SESSION, headers, secure);
        if let Some(token) = token
            && let Some(session) = storage.users.find_session(token, unix_seconds() as i64).await?
        {
            // Browsers send cookies along with what any page makes them ask for.
            return match page {
                Page::Own => Ok(Caller::of_session(session, token)),
                Page::Foreign | Page::Unknown => Err(foreign()),
            };
        }
    }
    Err(match shown.is_empty() {
        true => ApiError::unauthorized(
            "You did not provide an API key. Send it as 'Authorization: Bearer KEY' or as \
             'x-api-key: KEY', or sign in with the chat.",
        ),
        false => ApiError::unauthorized("Incorrect API key provided."),
    })
}

/// A key of an account opens what the account does, as long as that does.
async fn of_key(storage: &Storage, key: &str) -> Result<Option<Caller>, ApiError> {
    let Some(key) = storage.keys.find(key, unix_seconds() as i64).await? else { return Ok(None) };
    let user = storage.users.find(&key.owner).await?;
    if user.as_ref().is_some_and(|user| !user.is_active()) {
        return Ok(None);
    }
    // Before there are accounts, whoever has the default owner's key has the machine.
    let operator = key.owner == DEFAULT_OWNER && !storage.users.any().await?;
    let caller = Caller::of_key(key, user);
    Ok(Some(if operator { Caller { role: Role::Admin, ..caller } } else { caller }))
}

/// Whose web page makes a request, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    /// Our own; or the request only reads, and its answer is nothing that another page sees.
    Own,
    /// Somebody else's.
    Foreign,
    /// A program's, or a browser's that does not say.
    Unknown,
}

impl Page {
    fn of(method: &Method, headers: &HeaderMap) -> Page {
        if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
            return Page::Own;
        }
        // The browser's own word comes first: a proxy in front may have changed `Host`.
        let site = headers.get("sec-fetch-site").map(|site| site.as_bytes());
        match (site, headers.get(header::ORIGIN)) {
            (Some(b"same-origin"), _) => Page::Own,
            (Some(_), _) => Page::Foreign,
            (None, Some(origin)) if origin::is_own(origin, headers) => Page::Own,
            (None, Some(_)) => Page::Foreign,
            (None, None) => Page::Unknown,
        }
    }
}

fn foreign() -> ApiError {
    ApiError::forbidden(
        "A session opens this server to its own pages alone. Other pages and programs need an API \
         key.",
    )
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
