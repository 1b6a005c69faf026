//! Turns requests of browsers into the files of the chat, which the binary carries.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::app::App;

/// A file as `build.rs` found it.
struct File {
    path: &'static str,
    digest: &'static str,
    plain: &'static [u8],
    gzip: Option<&'static [u8]>,
}

static FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/web_files.rs"));

const INDEX: &str = "/index.html";

/// Names under this path hold a digest of their contents: they never change.
const HASHED: &str = "/assets/";

/// Nothing but the chat's own files runs, nothing is asked of another host, nobody frames it, and
/// text becomes markup only by way of Svelte's own templates. The chat frames its own files alone,
/// which also keeps what is shown in a frame from going to another host.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; font-src 'self'; connect-src 'self'; frame-src 'self'; \
    manifest-src 'self'; worker-src 'self'; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
    trusted-types svelte-trusted-html myriad-service-worker";

/// The page in which the chat shows what a model wrote as a page of its own.
const FRAME: &str = "/frame.html";

/// What a model wrote may run in there, as a page of no origin: it reaches no storage, no other
/// page, no popup and no network.
const FRAME_POLICY: &str = "sandbox allow-scripts; default-src 'none'; \
    script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:; \
    font-src data:; media-src data: blob:; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'self'";

/// Routes to all files but the page itself, which `/` shows.
pub fn files() -> Router<Arc<App>> {
    FILES.iter().filter(|file| file.path != INDEX).fold(Router::new(), |router, file| {
        router.route(file.path, get(move |headers: HeaderMap| async move { show(file, &headers) }))
    })
}

/// Whether the chat was there when the server was built.
pub fn is_built() -> bool {
    FILES.iter().any(|file| file.path == INDEX)
}

/// The chat's page, where there is one and a browser asks; programs ask for JSON or anything.
pub fn page(headers: &HeaderMap) -> Option<Response> {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    if !accepted.is_some_and(|accepted| accepted.contains("text/html")) {
        return None;
    }
    FILES.iter().find(|file| file.path == INDEX).map(|file| show(file, headers))
}

/// Whether a request is for the chat itself, which is the same for everyone: whoever has no key yet
/// needs it to enter one.
pub fn is_open(request: &Request) -> bool {
    let path = request.uri().path();
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let file = || FILES.iter().any(|file| file.path == path && path != INDEX);
    reads && (file() || (path == "/" && page(request.headers()).is_some()))
}

fn show(file: &File, asked: &HeaderMap) -> Response {
    let packed = file.gzip.filter(|_| mentions(asked, header::ACCEPT_ENCODING, "gzip"));
    let etag = format!("\"{}{}\"", file.digest, if packed.is_some() { "-gzip" } else { "" });
    let mut response = match mentions(asked, header::IF_NONE_MATCH, &etag) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => Body::from(packed.unwrap_or(file.plain)).into_response(),
    };
    let headers = response.headers_mut();
    let mut set = |name, value: &'static str| headers.insert(name, HeaderValue::from_static(value));
    set(header::CONTENT_TYPE, content_type(file.path));
    set(
        header::CACHE_CONTROL,
        match file.path.starts_with(HASHED) {
            true => "public, max-age=31536000, immutable",
            false => "no-cache",
        },
    );
    set(header::VARY, "accept, accept-encoding");
    set(header::CONTENT_SECURITY_POLICY, if file.path == FRAME { FRAME_POLICY } else { POLICY });
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "no-referrer");
    if packed.is_some() {
        set(header::CONTENT_ENCODING, "gzip");
    }
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(header::ETAG, etag);
    }
    response
}

fn mentions(headers: &HeaderMap, name: header::HeaderName, word: &str) -> bool {
    headers.get_all(name).iter().any(|value| {
        let words = value.to_str().unwrap_or_default().split(',');
        words.map(str::trim).any(|found| found == word || found.strip_prefix("W/") == Some(word))
    })
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, end)| end) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("webmanifest") => "application/manifest+json",
        _ => "application/octet-stream",
    }
}
