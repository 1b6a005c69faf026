//! Turns an issuer of OpenID Connect into identities: the way to it, and what comes back from it.
//!
//! Authorization code with PKCE (OpenID Connect Core 1.0, RFC 7636, RFC 9700). In reading order:
//! [`OidcConfig`] is what the operator says, `journey` what a browser carries there and back,
//! `discovery` what the issuer says of itself, `token` the ID token, which is believed only once
//! `keys` have verified it.

mod config;
mod discovery;
mod journey;
mod keys;
mod token;

pub use config::{OidcConfig, OidcConfigError, Secret};
pub(crate) use journey::{Journey, Purpose};
pub use token::TokenError;

use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::limits::{OIDC_DOCUMENT_BYTES_MAX, OIDC_KEYS_AGAIN, OIDC_KNOWN_TIME, OIDC_TOGETHER_MAX};
use crate::outbound::{Outbound, OutboundError};
use discovery::Metadata;
use keys::KeySet;
use token::{Claims, IdToken};

/// Why nobody is known.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OidcError {
    /// The issuer cannot be reached, or says nothing that can be read.
    #[error("the issuer's {0}: {1}")]
    Away(&'static str, OutboundError),
    /// It answers with an error; the text is its own, as far as RFC 6749 lets it have one.
    #[error("the issuer's {0} answered {1} {2}")]
    Refused(&'static str, StatusCode, String),
    /// What it answers is no JSON of this document.
    #[error("the issuer's {0} cannot be read: {1}")]
    Unreadable(&'static str, String),
    /// A field of its discovery document is not what it should be.
    #[error("the issuer's discovery document: {0}")]
    Metadata(String),
    /// The ID token is not to be believed.
    #[error("the ID token: {0}")]
    Token(#[from] TokenError),
    /// Too many sign in at the same time.
    #[error("too many others are signing in")]
    Busy,
}

/// Somebody, as the issuer knows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Issuer and subject: nobody else has it, and it never changes.
    pub subject: String,
    /// Names to call them by, the best first. Nothing depends on them.
    pub names: Vec<String>,
    /// What others are shown.
    pub display_name: Option<String>,
}

/// An issuer, and what is known of it.
#[derive(Debug)]
pub struct Oidc {
    /// As the operator wrote it.
    pub config: OidcConfig,
    outbound: Outbound,
    metadata: Known<Metadata>,
    keys: Known<KeySet>,
    /// When keys were last asked for because of one that nobody knew.
    renewed: Mutex<Option<Instant>>,
    /// Places for those who make this server ask the issuer.
    places: Semaphore,
}

impl Oidc {
    /// An issuer that nothing is known of yet.
    pub fn new(config: OidcConfig) -> Oidc {
        Oidc {
            config,
            outbound: Outbound::default(),
            metadata: Known::default(),
            keys: Known::default(),
            renewed: Mutex::default(),
            places: Semaphore::new(OIDC_TOGETHER_MAX),
        }
    }

    /// Where a browser goes to sign in.
    ///
    /// # Errors
    /// [`OidcError`] where the issuer does not say.
    pub(crate) async fn way(&self, journey: &Journey) -> Result<String, OidcError> {
        let _place = self.place()?;
        let metadata = self.metadata().await?;
        let address = metadata.authorization_endpoint.to_string();
        let query = form(&[
            ("response_type", "code"),
            ("client_id", &self.config.client_id),
            ("redirect_uri", &self.config.redirect_uri()),
            ("scope", "openid profile email"),
            ("state", &journey.state()),
            ("nonce", &journey.nonce()),
            ("code_challenge", &journey.challenge()),
            ("code_challenge_method", "S256"),
        ]);
        let and = if address.contains('?') { '&' } else { '?' };
        Ok(format!("{address}{and}{query}"))
    }

    /// Who came back with this code.
    ///
    /// # Errors
    /// [`OidcError`].
    pub(crate) async fn identify(
        &self,
        journey: &Journey,
        code: &str,
        now: i64,
    ) -> Result<Identity, OidcError> {
        let _place = self.place()?;
        let metadata = self.metadata().await?;
        let text = self.redeem(&metadata, journey, code).await?;
        let token = IdToken::parse(&text)?;
        let claims = self.verified(&metadata, &token).await?;
        claims.check(&metadata.issuer, &self.config.client_id, &journey.nonce(), now)?;
        Ok(claims.identity())
    }

    fn place(&self) -> Result<SemaphorePermit<'_>, OidcError> {
        self.places.try_acquire().map_err(|_| OidcError::Busy)
    }

    /// The ID token that a code is good for, once.
    async fn redeem(
        &self,
        metadata: &Metadata,
        journey: &Journey,
        code: &str,
    ) -> Result<String, OidcError> {
        let (redirect, verifier) = (self.config.redirect_uri(), journey.verifier());
        let mut fields = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &redirect),
            ("code_verifier", &verifier),
        ];
        let mut headers = HeaderMap::new();
        let (id, secret) = (self.config.client_id.as_str(), self.config.client_secret.as_ref());
        match secret {
            Some(secret) if metadata.takes_basic() => {
                // RFC 6749, 2.3.1: both are written as in forms first.
                let pair = format!("{}:{}", encoded(id), encoded(secret.text()));
                let value = format!("Basic {}", BASE64_STANDARD.encode(pair));
                if let Ok(mut value) = HeaderValue::from_str(&value) {
                    value.set_sensitive(true);
                    headers.insert(header::AUTHORIZATION, value);
                }
            }
            Some(secret) => fields.extend([("client_id", id), ("client_secret", secret.text())]),
            None => fields.push(("client_id", id)),
        }
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(header::CONTENT_TYPE, kind);
        let body = Bytes::from(form(&fields));
        let what = "token endpoint";
        let answer = self.ask(what, &metadata.token_endpoint, Method::POST, headers, body).await?;
        let Tokens { id_token } = json(what, &answer)?;
        Ok(id_token)
    }

    /// What a token says, once one of the issuer's keys has verified it.
    async fn verified(
        &self,
        metadata: &Metadata,
        token: &IdToken<'_>,
    ) -> Result<Claims, OidcError> {
        let known = match self.keys.get() {
            Some(keys) => keys,
            None => self.fetch_keys(metadata).await?,
        };
        let keys = match known.find(&token.header) {
            Ok(_) => known,
            // The issuer may have changed its keys since.
            Err(_) if self.may_renew() => self.fetch_keys(metadata).await?,
            Err(error) => return Err(error.into()),
        };
        Ok(token.verify(keys.find(&token.header)?)?)
    }

    /// Whoever brings names of keys that are none makes no more requests of it than this.
    fn may_renew(&self) -> bool {
        let mut renewed = self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        let may = renewed.is_none_or(|at| at.elapsed() >= OIDC_KEYS_AGAIN);
        if may {
            *renewed = Some(Instant::now());
        }
        may
    }

    async fn fetch_keys(&self, metadata: &Metadata) -> Result<Arc<KeySet>, OidcError> {
        let what = "key set";
        Ok(self.keys.put(KeySet::of(json(what, &self.get(what, &metadata.jwks_uri).await?)?)))
    }

    async fn metadata(&self) -> Result<Arc<Metadata>, OidcError> {
        if let Some(known) = self.metadata.get() {
            return Ok(known);
        }
        let what = "discovery document";
        let address = self.config.discovery()?;
        let said = json(what, &self.get(what, &address).await?)?;
        Ok(self.metadata.put(Metadata::of(said, &self.config)?))
    }

    async fn get(&self, what: &'static str, address: &Uri) -> Result<Bytes, OidcError> {
        self.ask(what, address, Method::GET, HeaderMap::new(), Bytes::new()).await
    }

    async fn ask(
        &self,
        what: &'static str,
        address: &Uri,
        method: Method,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Bytes, OidcError> {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = address.clone();
        *request.headers_mut() = headers;
        let accept = HeaderValue::from_static("application/json");
        request.headers_mut().insert(header::ACCEPT, accept);
        let away = |error| OidcError::Away(what, error);
        let answer = self.outbound.send(request, self.config.patience).await.map_err(away)?;
        let status = answer.status;
        let body = answer.whole(OIDC_DOCUMENT_BYTES_MAX).await.map_err(away)?;
        match status {
            StatusCode::OK => Ok(body),
            _ => Err(OidcError::Refused(what, status, refusal(&body))),
        }
    }
}

/// What the token endpoint answers, as far as it matters.
#[derive(Deserialize)]
struct Tokens {
    id_token: String,
}

/// `error` of RFC 6749, where it is one: its alphabet has nothing that spoils a log.
fn refusal(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Refusal {
        error: String,
    }
    let error = serde_json::from_slice::<Refusal>(body).map(|refusal| refusal.error);
    let right = |error: &String| {
        error.len() <= 64 && error.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    error.ok().filter(right).unwrap_or_default()
}

fn json<T: DeserializeOwned>(what: &'static str, body: &[u8]) -> Result<T, OidcError> {
    // The error says the place and the kind, and may repeat a value: only its place is told.
    serde_json::from_slice(body).map_err(|error| {
        let place = format!("line {} column {}", error.line(), error.column());
        OidcError::Unreadable(what, place)
    })
}

/// Pairs as a form has them.
fn form(pairs: &[(&str, &str)]) -> String {
    let pairs = pairs.iter().map(|(name, value)| format!("{name}={}", encoded(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// All but RFC 3986's unreserved letters as escapes, which forms and addresses read alike.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            // Writing to a text cannot fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}

/// Something that was fetched, for as long as it is believed.
#[derive(Debug)]
struct Known<T>(Mutex<Option<(Arc<T>, Instant)>>);

impl<T> Default for Known<T> {
    fn default() -> Known<T> {
        Known(Mutex::new(None))
    }
}

impl<T> Known<T> {
    fn get(&self) -> Option<Arc<T>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = known.as_ref().filter(|(_, at)| at.elapsed() < OIDC_KNOWN_TIME);
        fresh.map(|(known, _)| Arc::clone(known))
    }

    fn put(&self, fetched: T) -> Arc<T> {
        let fetched = Arc::new(fetched);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some((Arc::clone(&fetched), Instant::now()));
        fetched
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_cannot_leave_their_place_in_a_form() {
        assert_eq!(form(&[("a", "b&c=d e+f"), ("é", "~-._")]), "a=b%26c%3Dd%20e%2Bf&é=~-._");
        assert_eq!(encoded("ü:"), "%C3%BC%3A");
    }

    #[test]
    fn words_of_a_refusal_are_those_of_the_standard() {
        assert_eq!(
            refusal(br#"{"error": "invalid_grant", "error_description": "x"}"#),
            "invalid_grant"
        );
        for odd in [&br#"{"error": "a\nb"}"#[..], br#"{"error": 1}"#, b"<html>", b""] {
            assert_eq!(refusal(odd), "");
        }
    }
}
