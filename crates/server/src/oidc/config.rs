//! Turns what an operator says of an issuer into a configuration that can be used.

use std::fmt;
use std::time::Duration;

use axum::http::Uri;
use axum::http::uri::Scheme;

use super::OidcError;
use crate::outbound::{Address, AddressError, Patience};

/// People wait for it, with a page of nothing before them.
const PATIENCE: Patience =
    Patience { first_byte: Duration::from_secs(10), idle: Duration::from_secs(5) };

/// Where browsers come back to.
const CALLBACK: &str = "/app/oidc/callback";

/// Characters of the button's text: it stands in a column of a phone.
const NAME_CHARS_MAX: usize = 40;

/// An issuer, and how this server is known to it.
#[derive(Clone, Debug)]
pub struct OidcConfig {
    /// As the issuer writes itself, to the letter.
    pub issuer: String,
    /// What this server is called there.
    pub client_id: String,
    /// None for a public client: then PKCE alone binds the code to this server.
    pub client_secret: Option<Secret>,
    /// What people call it: the button's text.
    pub name: String,
    /// Whether whoever the issuer knows gets an account.
    pub signup: bool,
    /// Whether passwords open nothing.
    pub only: bool,
    /// Where browsers reach this server.
    pub public_url: Address,
    /// How long the issuer may take.
    pub patience: Patience,
}

/// What the operator wrote that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OidcConfigError {
    /// The issuer's address.
    #[error("the issuer '{0}': {1}")]
    Issuer(String, AddressError),
    /// Over plain HTTP anyone in between could be the issuer.
    #[error("the issuer '{0}' must be https:// (or http:// on this machine itself)")]
    PlainIssuer(String),
    /// This server's own address.
    #[error("the public address: {0}")]
    PublicUrl(AddressError),
    /// More than an origin.
    #[error("the public address '{0}' has a path: the chat stands at '/', so it must end there")]
    PublicPath(String),
    /// The name of the client.
    #[error("the client id is empty or has characters that no address carries")]
    ClientId,
    /// The secret.
    #[error("the client secret is empty or no text of one line")]
    Secret,
    /// The button's text.
    #[error("the issuer's name must be 1 to {NAME_CHARS_MAX} characters of one line")]
    Name,
}

impl OidcConfig {
    /// A public client of an issuer; whoever else is wanted sets the other fields.
    ///
    /// # Errors
    /// [`OidcConfigError`].
    pub fn new(
        issuer: &str,
        client_id: &str,
        public_url: &str,
    ) -> Result<OidcConfig, OidcConfigError> {
        let wrong = |error| OidcConfigError::Issuer(issuer.to_owned(), error);
        let address = Address::parse(issuer).map_err(wrong)?;
        let uri = address.join("/").map_err(wrong)?;
        if !is_trusted(&uri) {
            return Err(OidcConfigError::PlainIssuer(issuer.to_owned()));
        }
        let public = Address::parse(public_url).map_err(OidcConfigError::PublicUrl)?;
        let path = public.join("/").map_err(OidcConfigError::PublicUrl)?;
        if path.path() != "/" {
            return Err(OidcConfigError::PublicPath(public.to_string()));
        }
        if client_id.is_empty() || !client_id.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
            return Err(OidcConfigError::ClientId);
        }
        Ok(OidcConfig {
            issuer: issuer.trim().to_owned(),
            client_id: client_id.to_owned(),
            client_secret: None,
            name: uri.host().unwrap_or_default().chars().take(NAME_CHARS_MAX).collect(),
            signup: false,
            only: false,
            public_url: public,
            patience: PATIENCE,
        })
    }

    /// With another text for the button than the issuer's host.
    ///
    /// # Errors
    /// [`OidcConfigError::Name`].
    pub fn named(self, name: &str) -> Result<OidcConfig, OidcConfigError> {
        let name = name.trim();
        let right = (1..=NAME_CHARS_MAX).contains(&name.chars().count());
        if !right || name.chars().any(char::is_control) {
            return Err(OidcConfigError::Name);
        }
        Ok(OidcConfig { name: name.to_owned(), ..self })
    }

    /// Where browsers come back to: what the issuer has to be told once.
    pub fn redirect_uri(&self) -> String {
        format!("{}{CALLBACK}", self.public_url)
    }

    pub(super) fn discovery(&self) -> Result<Uri, OidcError> {
        let issuer = self.issuer.trim_end_matches('/');
        let address = format!("{issuer}/.well-known/openid-configuration");
        address.parse().map_err(|_| OidcError::Metadata("it has no address".into()))
    }
}

/// Whether what an address says can be the issuer's: over TLS, or without leaving the machine.
pub(super) fn is_trusted(address: &Uri) -> bool {
    let host = address.host().unwrap_or_default().trim_matches(['[', ']']);
    let here = host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    match address.scheme() {
        Some(scheme) if *scheme == Scheme::HTTPS => true,
        Some(scheme) => *scheme == Scheme::HTTP && here,
        None => false,
    }
}

/// A client's secret, which is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The secret in a file's text.
    ///
    /// # Errors
    /// [`OidcConfigError::Secret`].
    pub fn parse(text: &str) -> Result<Secret, OidcConfigError> {
        let text = text.trim();
        match !text.is_empty() && text.len() <= 4096 && !text.chars().any(char::is_control) {
            true => Ok(Secret(text.to_owned())),
            false => Err(OidcConfigError::Secret),
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAT: &str = "https://chat.example.org";

    #[test]
    fn issuers_are_reached_safely() {
        for right in [
            "https://accounts.example.com",
            "https://id.example.com/realms/main",
            "https://tenant.example.com/",
            "http://127.0.0.1:8080/realms/main",
            "http://localhost",
            "http://[::1]:9000",
        ] {
            let config = OidcConfig::new(right, "myriad", CHAT).unwrap();
            assert_eq!(config.issuer, right);
            let end = "/.well-known/openid-configuration";
            let address = config.discovery().unwrap().to_string();
            assert_eq!(address, format!("{}{end}", right.trim_end_matches('/')));
        }
        for plain in ["http://id.example.com", "http://10.0.0.7", "http://localhost.evil.example"] {
            let error = OidcConfig::new(plain, "myriad", CHAT).unwrap_err();
            assert_eq!(error, OidcConfigError::PlainIssuer(plain.into()));
        }
        for odd in ["", "id.example.com", "https://a@b", "https://id.example.com?x=1"] {
            let error = OidcConfig::new(odd, "myriad", CHAT).unwrap_err();
            assert!(matches!(error, OidcConfigError::Issuer(..)), "{odd}: {error}");
        }
    }

    #[test]
    fn the_own_address_is_an_origin() {
        let config = |url| OidcConfig::new("https://id.example.com", "myriad", url);
        let right = config("https://chat.example.org/").unwrap();
        assert_eq!(right.redirect_uri(), "https://chat.example.org/app/oidc/callback");
        let error = config("https://example.org/chat").unwrap_err();
        assert_eq!(error, OidcConfigError::PublicPath("https://example.org/chat".into()));
        assert!(matches!(config("chat.example.org"), Err(OidcConfigError::PublicUrl(_))));
    }

    #[test]
    fn secrets_are_one_line_and_not_shown() {
        let secret = Secret::parse(" s3cret-word\n").unwrap();
        assert_eq!((secret.text(), format!("{secret:?}")), ("s3cret-word", "Secret".into()));
        for wrong in ["", "\n", "a\nb", &"x".repeat(4097)] {
            assert!(Secret::parse(wrong).is_err(), "{wrong:?}");
        }
        let config = OidcConfig::new("https://id.example.com", "myriad", CHAT).unwrap();
        assert_eq!(config.name, "id.example.com");
        assert_eq!(config.clone().named(" Work ").unwrap().name, "Work");
        for wrong in ["", "  ", "a\u{7}b", &"x".repeat(41)] {
            assert!(config.clone().named(wrong).is_err(), "{wrong:?}");
        }
        assert!(OidcConfig::new("https://id.example.com", "", CHAT).is_err());
    }
}
