//! Turns an address that an operator wrote into one that requests can be sent to.

use std::fmt;

use axum::http::Uri;
use axum::http::uri::{PathAndQuery, Scheme};

/// `http` or `https`, a host, and the path that all requests begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Without a slash at its end.
    text: String,
}

/// What is wrong with an address. The address itself is not repeated: it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// No address at all.
    #[error("it is no address, as 'https://api.example.com/v1' is one")]
    Unreadable,
    /// Another scheme, or none.
    #[error("it does not begin with 'https://' or 'http://'")]
    Scheme,
    /// A user or a password.
    #[error("it holds a user or a password: keys have a place of their own")]
    Credentials,
    /// More than a path.
    #[error("it has a query ('?') or a fragment ('#'): paths are added to its end")]
    Query,
}

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    /// [`AddressError`].
    pub fn parse(text: &str) -> Result<Address, AddressError> {
        let uri = Address::endpoint(text)?;
        Ok(Address { text: uri.to_string().trim_end_matches('/').to_owned() })
    }

    /// Reads the address of one thing, to which nothing is added and of which nothing is taken: a
    /// slash at its end may matter.
    ///
    /// # Errors
    /// [`AddressError`].
    pub fn endpoint(text: &str) -> Result<Uri, AddressError> {
        let text = text.trim();
        if text.contains(['?', '#']) {
            return Err(AddressError::Query);
        }
        let uri: Uri = text.parse().map_err(|_| AddressError::Unreadable)?;
        if uri.scheme() != Some(&Scheme::HTTP) && uri.scheme() != Some(&Scheme::HTTPS) {
            return Err(AddressError::Scheme);
        }
        let authority = uri.authority().ok_or(AddressError::Unreadable)?;
        if authority.as_str().contains('@') {
            return Err(AddressError::Credentials);
        }
        if authority.host().is_empty() {
            return Err(AddressError::Unreadable);
        }
        Ok(uri)
    }

    /// The address with a path behind it, which begins with a slash and may have a query.
    ///
    /// # Errors
    /// [`AddressError::Unreadable`] where the path has what no path has.
    pub fn join(&self, path: &str) -> Result<Uri, AddressError> {
        path.parse::<PathAndQuery>().map_err(|_| AddressError::Unreadable)?;
        format!("{}{path}", self.text).parse().map_err(|_| AddressError::Unreadable)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_servers() {
        let right = Address::parse(" https://api.example.com:8443/v1/ ").unwrap();
        assert_eq!(right.to_string(), "https://api.example.com:8443/v1");
        let joined = right.join("/models?limit=2").unwrap();
        assert_eq!(joined, "https://api.example.com:8443/v1/models?limit=2");
        assert!(Address::parse("http://127.0.0.1:1").unwrap().join("/x").is_ok());
        assert!(Address::parse("http://[::1]:8080/v1").is_ok());
        assert_eq!(Address::endpoint(" http://h/mcp/ ").unwrap(), "http://h/mcp/");
        for (text, error) in [
            ("", AddressError::Unreadable),
            ("https://", AddressError::Unreadable),
            ("a b", AddressError::Unreadable),
            ("api.example.com", AddressError::Scheme),
            ("/v1", AddressError::Scheme),
            ("file:///etc/passwd", AddressError::Unreadable),
            ("ftp://host/", AddressError::Scheme),
            ("https://key@host/v1", AddressError::Credentials),
            ("https://user:pass@host/v1", AddressError::Credentials),
            ("https://host/v1?key=1", AddressError::Query),
            ("https://host/v1#a", AddressError::Query),
        ] {
            assert_eq!(Address::parse(text), Err(error), "{text}");
        }
        assert!(right.join("/a b").is_err());
    }
}
