//! Turns a request into what handlers of accounts need: who asks, from where, over which protocol.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use std::convert::Infallible;

use super::Caller;
use super::cookie::{self, Sort};
use crate::app::App;
use crate::serve::ServerConfig;

/// The other end of the connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub IpAddr);

/// A request for something of accounts.
pub(crate) struct Visit {
    /// Who asks, where that is known.
    pub caller: Option<Caller>,
    /// Where from: the client of a proxy that is trusted, else the other end of the connection.
    pub address: Option<IpAddr>,
    /// Whether it comes from this machine, by a name that only this machine has.
    pub local: bool,
    /// The session that the browser has by now, valid or not.
    pub token: Option<String>,
    /// What a sign-in on its way has left with the browser, valid or not.
    pub journey: Option<String>,
    secure: bool,
}

impl Visit {
    /// An answer after which the browser has this session, or none.
    pub fn with_cookie(&self, token: Option<&str>, answer: impl IntoResponse) -> Response {
        self.with(&cookie::SESSION, token, answer)
    }

    /// An answer after which the browser has a cookie of this sort, or none.
    pub fn with(&self, sort: &Sort, value: Option<&str>, answer: impl IntoResponse) -> Response {
        let mut response = answer.into_response();
        if let Some(cookie) = cookie::write(sort, value, self.secure) {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
        let never = HeaderValue::from_static("no-store");
        response.headers_mut().insert(header::CACHE_CONTROL, never);
        response
    }
}

impl FromRequestParts<Arc<App>> for Visit {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Infallible> {
        let headers = &parts.headers;
        let peer = parts.extensions.get::<Peer>().map(|Peer(address)| *address);
        let secure = is_secure(&app.config, headers);
        Ok(Visit {
            caller: parts.extensions.get::<Caller>().cloned(),
            address: forwarded_for(&app.config, headers).or(peer),
            local: peer.is_some_and(|address| address.is_loopback()) && is_direct(headers),
            token: cookie::read(&cookie::SESSION, headers, secure).map(str::to_owned),
            journey: cookie::read(&cookie::JOURNEY, headers, secure).map(str::to_owned),
            secure,
        })
    }
}

/// Whether the browser speaks HTTPS, as a proxy says that is trusted.
pub(crate) fn is_secure(config: &ServerConfig, headers: &HeaderMap) -> bool {
    let said = headers.get("x-forwarded-proto").and_then(|value| value.to_str().ok());
    config.trust_proxy && said.is_some_and(|said| said.trim().eq_ignore_ascii_case("https"))
}

/// The address that the trusted proxy itself added, which is the last one.
fn forwarded_for(config: &ServerConfig, headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all("x-forwarded-for").iter().next_back()?.to_str().ok()?;
    let address = last.rsplit(',').next()?.trim().parse().ok()?;
    config.trust_proxy.then_some(address)
}

/// Whether nothing stands between: a proxy on this machine brings requests from anywhere.
fn is_direct(headers: &HeaderMap) -> bool {
    let passed = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "via"];
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let Some(Ok(host)) = host.map(str::parse::<Authority>) else { return false };
    let name = host.host().trim_start_matches('[').trim_end_matches(']');
    let own = name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    own && !passed.iter().any(|name| headers.contains_key(*name))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        pairs.collect()
    }

    #[test]
    fn a_proxy_is_believed_only_where_it_is_trusted() {
        let trusting = ServerConfig { trust_proxy: true, ..ServerConfig::default() };
        let said = headers(&[
            ("x-forwarded-proto", "https"),
            ("x-forwarded-for", "198.51.100.1, 203.0.113.9"),
        ]);
        assert!(is_secure(&trusting, &said));
        assert_eq!(forwarded_for(&trusting, &said), "203.0.113.9".parse().ok());
        let careful = ServerConfig::default();
        assert!(!is_secure(&careful, &said));
        assert_eq!(forwarded_for(&careful, &said), None);
    }

    #[test]
    fn what_came_through_a_proxy_or_by_another_name_is_not_of_this_machine() {
        for (host, right) in [
            ("localhost:8080", true),
            ("127.0.0.1", true),
            ("[::1]:8080", true),
            ("192.168.1.7:8080", false),
            ("chat.example.com", false),
            ("localhost.evil.example", false),
        ] {
            assert_eq!(is_direct(&headers(&[("host", host)])), right, "{host}");
        }
        assert!(!is_direct(&headers(&[("host", "localhost"), ("x-forwarded-for", "1.2.3.4")])));
        assert!(!is_direct(&HeaderMap::new()));
    }
}
