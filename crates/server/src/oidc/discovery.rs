//! Turns an issuer's discovery document into the addresses that it has.

use axum::http::Uri;
use serde::Deserialize;

use super::OidcError;
use super::config::{OidcConfig, is_trusted};

/// What an issuer says of itself (OpenID Connect Discovery 1.0), as far as it is read.
#[derive(Debug, Deserialize)]
pub struct Document {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

/// The same, checked.
#[derive(Debug)]
pub struct Metadata {
    /// What stands in its tokens.
    pub issuer: String,
    /// Where browsers are sent.
    pub authorization_endpoint: Uri,
    /// Where codes become tokens.
    pub token_endpoint: Uri,
    /// Where its keys are.
    pub jwks_uri: Uri,
    methods: Vec<String>,
}

impl Metadata {
    /// # Errors
    /// [`OidcError::Metadata`] naming the field.
    pub fn of(said: Document, config: &OidcConfig) -> Result<Metadata, OidcError> {
        // To the letter, but for a slash at the end that people leave out.
        if said.issuer.trim_end_matches('/') != config.issuer.trim_end_matches('/') {
            let issuer: String = said.issuer.chars().take(200).collect();
            let right = &config.issuer;
            let message = format!("issuer is {issuer:?}, and not {right:?} as configured");
            return Err(OidcError::Metadata(message));
        }
        // Where nothing is said, it is this one (section 3 there).
        let basic = || vec!["client_secret_basic".to_owned()];
        Ok(Metadata {
            issuer: said.issuer,
            authorization_endpoint: endpoint(
                "authorization_endpoint",
                &said.authorization_endpoint,
            )?,
            token_endpoint: endpoint("token_endpoint", &said.token_endpoint)?,
            jwks_uri: endpoint("jwks_uri", &said.jwks_uri)?,
            methods: said.token_endpoint_auth_methods_supported.unwrap_or_else(basic),
        })
    }

    /// Whether a client's secret goes into a header, else into the form.
    pub fn takes_basic(&self) -> bool {
        let has = |method: &str| self.methods.iter().any(|known| known == method);
        has("client_secret_basic") || !has("client_secret_post")
    }
}

/// An address that the issuer names: as trustworthy as its own.
fn endpoint(field: &str, text: &str) -> Result<Uri, OidcError> {
    let wrong = || {
        let shown: String = text.chars().take(200).collect();
        OidcError::Metadata(format!("{field} is {shown:?}; right would be an https:// address"))
    };
    let uri: Uri = text.parse().map_err(|_| wrong())?;
    let plain = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    // A fragment would end before what is added to the address.
    match is_trusted(&uri) && plain && !text.contains('#') {
        true => Ok(uri),
        false => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(change: impl Fn(&mut Value)) -> Result<Metadata, OidcError> {
        let mut said = json!({
            "issuer": "https://id.example.com/",
            "authorization_endpoint": "https://id.example.com/authorize?tenant=1",
            "token_endpoint": "https://api.example.com/token",
            "jwks_uri": "https://keys.example.com/jwks",
        });
        change(&mut said);
        let config = OidcConfig::new("https://id.example.com", "myriad", "http://localhost");
        Metadata::of(serde_json::from_value(said).unwrap(), &config.unwrap())
    }

    #[test]
    fn addresses_of_the_issuer_are_as_safe_as_its_own() {
        let metadata = read(|_| ()).unwrap();
        assert_eq!(metadata.issuer, "https://id.example.com/");
        assert!(metadata.takes_basic());
        for field in ["authorization_endpoint", "token_endpoint", "jwks_uri"] {
            for wrong in
                ["http://id.example.com/x", "javascript:alert(1)", "/x", "", "https://a@b/x"]
            {
                let error = read(|said| said[field] = wrong.into()).unwrap_err();
                assert!(error.to_string().contains(field), "{error}");
            }
        }
        let error = read(|said| said["issuer"] = "https://evil.example".into()).unwrap_err();
        assert!(error.to_string().contains("https://evil.example"), "{error}");
    }

    #[test]
    fn secrets_go_where_the_issuer_takes_them() {
        for (methods, basic) in [
            (json!(["client_secret_post"]), false),
            (json!(["client_secret_post", "client_secret_basic"]), true),
            (json!(["private_key_jwt"]), true),
            (json!(null), true),
        ] {
            let field = "token_endpoint_auth_methods_supported";
            let metadata = read(|said| said[field] = methods.clone()).unwrap();
            assert_eq!(metadata.takes_basic(), basic, "{methods}");
        }
    }
}
