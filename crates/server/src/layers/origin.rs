//! Turns requests that other people's web pages make through a browser into 403.
//!
//! A server on this machine is reachable for every page that its owner visits: by a plain request
//! across sites, whose `Origin` names the page, or after the page's own name was made to point here
//! (DNS rebinding), when `Host` has that name. Without a key these two headers are all that tells
//! such a request from the owner's; with a key, a page that does not know it gets a 401 anyway, and
//! is only not allowed to read.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::errors::ApiError;
use crate::serve::ServerConfig;

/// Ends of names that nobody can register on the internet: those of private networks.
const PRIVATE_ENDS: [&str; 5] = [".localhost", ".local", ".internal", ".lan", ".home.arpa"];

const PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// The layer: refuses, answers preflights, and lets allowed pages read what comes back.
pub async fn check(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let config = &app.config;
    let host = host(&request);
    let origin = request.headers().get(header::ORIGIN).cloned();
    let known =
        origin.as_ref().is_none_or(|origin| origin_allowed(config, origin, host.as_deref()));
    if !app.locked().await
        && let Err(error) = judge(config, host.as_deref(), known)
    {
        return error.into_response();
    }
    let Some(origin) = origin.filter(|_| known) else { return next.run(request).await };
    let headers = request.headers();
    let asks = headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    if request.method() == Method::OPTIONS && asks {
        let mut response = StatusCode::NO_CONTENT.into_response();
        permit(response.headers_mut(), headers);
        reveal(response.headers_mut(), origin);
        return response;
    }
    let mut response = next.run(request).await;
    reveal(response.headers_mut(), origin);
    response
}

fn judge(config: &ServerConfig, host: Option<&str>, origin_known: bool) -> Result<(), ApiError> {
    if !origin_known {
        return Err(ApiError::forbidden(
            "This web page's origin may not use this server. Its owner can allow the origin, or \
             ask for an API key.",
        ));
    }
    match host {
        Some(host) if !host_allowed(config, host) => Err(ApiError::forbidden(
            "This server does not answer under this name. Use its address, or give it an API key.",
        )),
        _ => Ok(()),
    }
}

/// The name, and the port if any, under which the client thinks that it reached this server.
fn host(request: &Request) -> Option<String> {
    let header = request.headers().get(header::HOST).map(|value| value.as_bytes());
    match (header, request.uri().authority()) {
        // A name that is no text is a name all the same; one that nobody has.
        (Some(host), _) => Some(String::from_utf8_lossy(host).into_owned()),
        (None, Some(authority)) => Some(authority.to_string()),
        // Not a browser: they always say.
        (None, None) => None,
    }
}

/// Numbers, names without a dot and names of private networks cannot be another page's own.
fn host_allowed(config: &ServerConfig, host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = name_of(&authority);
    address_of(&name).is_some()
        || !name.contains('.')
        || PRIVATE_ENDS.iter().any(|end| name.ends_with(end))
        || name == config.host.to_ascii_lowercase()
        || config.allowed_origins.iter().any(|allowed| {
            let allowed_name = split_origin(allowed).map(|(_, authority)| name_of(&authority));
            allowed == "*" || allowed_name.as_ref() == Some(&name)
        })
}

/// Pages of this machine, of this very server, and those of the configuration.
fn origin_allowed(config: &ServerConfig, origin: &HeaderValue, host: Option<&str>) -> bool {
    let Ok(origin) = origin.to_str() else { return false };
    let listed = |allowed: &String| {
        allowed == "*" || allowed.trim_end_matches('/').eq_ignore_ascii_case(origin)
    };
    if config.allowed_origins.iter().any(listed) {
        return true;
    }
    let Some((_, authority)) = split_origin(origin) else { return false };
    let name = name_of(&authority);
    name == "localhost"
        || name.ends_with(".localhost")
        || address_of(&name).is_some_and(|address| address.is_loopback())
        || host.is_some_and(|host| authority.as_str().eq_ignore_ascii_case(host))
}

/// Whether an origin is this server's own, as the client names it.
pub fn is_own(origin: &HeaderValue, headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let own = origin.to_str().ok().and_then(split_origin).zip(host);
    own.is_some_and(|((_, authority), host)| authority.as_str().eq_ignore_ascii_case(host))
}

fn split_origin(origin: &str) -> Option<(String, Authority)> {
    let uri: Uri = origin.trim_end_matches('/').parse().ok()?;
    Some((uri.scheme_str()?.to_owned(), uri.authority()?.clone()))
}

fn name_of(authority: &Authority) -> String {
    authority.host().trim_end_matches('.').to_ascii_lowercase()
}

fn address_of(name: &str) -> Option<IpAddr> {
    name.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// The answer to a preflight: what the page may send.
fn permit(response: &mut HeaderMap, request: &HeaderMap) {
    let methods = HeaderValue::from_static("GET, POST, PUT, DELETE, OPTIONS");
    response.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    // Clients of OpenAI send a dozen headers of their own; none of them has a meaning here.
    if let Some(headers) = request.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        response.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, headers.clone());
    }
    response.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    if request.contains_key("access-control-request-private-network") {
        response.insert(PRIVATE_NETWORK, HeaderValue::from_static("true"));
    }
}

/// Lets the page read the answer.
fn reveal(response: &mut HeaderMap, origin: HeaderValue) {
    response.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    response.append(header::VARY, HeaderValue::from_static("origin"));
    let shown = HeaderValue::from_static("x-request-id, retry-after");
    response.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, shown);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_a_page_could_own_are_refused() {
        let config = ServerConfig {
            host: "models.example.org".into(),
            allowed_origins: vec!["https://chat.example.com".into()],
            ..ServerConfig::default()
        };
        for (host, right) in [
            ("localhost", true),
            ("localhost:8080", true),
            ("LOCALHOST.:8080", true),
            ("127.0.0.1:8080", true),
            ("192.168.1.7:8080", true),
            ("[::1]:8080", true),
            ("box", true),
            ("box.local:80", true),
            ("models.example.org:8080", true),
            ("chat.example.com", true),
            ("evil.example", false),
            ("evil.example:8080", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example:8080", false),
            ("127.0.0.1@evil.example", false),
            ("evil.example/localhost", false),
            ("", false),
        ] {
            assert_eq!(host_allowed(&config, host), right, "{host}");
        }
    }

    #[test]
    fn pages_of_others_are_refused() {
        let config = ServerConfig {
            allowed_origins: vec!["https://chat.example.com/".into()],
            ..ServerConfig::default()
        };
        let host = Some("192.168.1.7:8080");
        for (origin, right) in [
            ("http://localhost:3000", true),
            ("https://127.0.0.1", true),
            ("http://[::1]:5173", true),
            ("http://192.168.1.7:8080", true),
            ("https://chat.example.com", true),
            ("http://192.168.1.8:8080", false),
            ("http://192.168.1.7:9090", false),
            ("https://chat.example.com.evil.example", false),
            ("http://chat.example.com", false),
            ("https://evil.example", false),
            ("http://localhost.evil.example", false),
            ("null", false),
            ("", false),
        ] {
            let value = HeaderValue::from_str(origin).unwrap();
            assert_eq!(origin_allowed(&config, &value, host), right, "{origin}");
        }
    }

    #[test]
    fn a_star_lets_every_page_in() {
        let config = ServerConfig { allowed_origins: vec!["*".into()], ..ServerConfig::default() };
        let origin = HeaderValue::from_static("https://anyone.example");
        assert!(origin_allowed(&config, &origin, None));
        assert!(host_allowed(&config, "anyone.example"));
    }
}
