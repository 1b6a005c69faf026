//! Turns an issuer's set of keys (RFC 7517) into those that can verify its tokens.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use serde::Deserialize;
use serde_json::Value;

use super::token::{Header, TokenError};
use crate::limits::OIDC_KEYS_MAX;

/// How a token is signed. There is no other: `none` is no signature, and HMAC would take a key that
/// everyone can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256, of 2048 bits at least.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// As a header names it.
    pub fn of(name: &str) -> Option<Algorithm> {
        match name {
            "RS256" => Some(Algorithm::Rs256),
            "ES256" => Some(Algorithm::Es256),
            "EdDSA" => Some(Algorithm::EdDsa),
            _ => None,
        }
    }
}

/// The document, whose entries may be anything.
#[derive(Deserialize)]
pub struct Document {
    keys: Vec<Value>,
}

/// One entry, as far as it is read.
#[derive(Deserialize)]
struct Entry {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// Numbers of a public key.
#[derive(Debug)]
enum Public {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    Point(Vec<u8>),
}

/// A key that verifies signatures of one algorithm.
#[derive(Debug)]
pub struct Key {
    name: Option<String>,
    algorithm: Algorithm,
    public: Public,
}

/// The keys that can be used.
#[derive(Debug)]
pub struct KeySet(Vec<Key>);

impl KeySet {
    /// Keys of other kinds and for other uses are left out, as RFC 7517 wants it.
    pub fn of(document: Document) -> KeySet {
        let entries = document.keys.into_iter().take(OIDC_KEYS_MAX);
        KeySet(entries.filter_map(|entry| Key::of(serde_json::from_value(entry).ok()?)).collect())
    }

    /// The key that a token says it was signed with. Its algorithm is the key's, not the token's.
    ///
    /// # Errors
    /// [`TokenError::UnknownKey`] where there is none, or a token that names none has several.
    pub fn find(&self, header: &Header) -> Result<&Key, TokenError> {
        let mut fitting = self.0.iter().filter(|key| {
            let named = header.kid.is_none() || key.name == header.kid;
            named && key.algorithm == header.algorithm
        });
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Ok(key),
            _ => Err(TokenError::UnknownKey),
        }
    }
}

impl Key {
    fn of(entry: Entry) -> Option<Key> {
        if entry.usage.is_some_and(|usage| usage != "sig") {
            return None;
        }
        let number = |text: Option<String>| BASE64_URL_SAFE_NO_PAD.decode(text?).ok();
        let (algorithm, public) = match (entry.kty.as_str(), entry.crv.as_deref()) {
            ("RSA", _) => {
                // A number has no zeros before it, whatever writes some.
                let bare = |number: Vec<u8>| number.into_iter().skip_while(|byte| *byte == 0);
                let n = bare(number(entry.n)?).collect();
                (Algorithm::Rs256, Public::Rsa { n, e: bare(number(entry.e)?).collect() })
            }
            ("EC", Some("P-256")) => {
                let (x, y) = (number(entry.x)?, number(entry.y)?);
                let whole = x.len() == 32 && y.len() == 32;
                let point = [&[4], &x[..], &y[..]].concat();
                (Algorithm::Es256, Public::Point(whole.then_some(point)?))
            }
            ("OKP", Some("Ed25519")) => (Algorithm::EdDsa, Public::Point(number(entry.x)?)),
            _ => return None,
        };
        let right = entry.alg.is_none_or(|alg| Algorithm::of(&alg) == Some(algorithm));
        right.then_some(Key { name: entry.kid, algorithm, public })
    }

    /// # Errors
    /// [`TokenError::Signature`].
    pub fn verify(&self, signed: &[u8], signature: &[u8]) -> Result<(), TokenError> {
        let verified = match (&self.public, self.algorithm) {
            (Public::Rsa { n, e }, _) => {
                let key = RsaPublicKeyComponents { n, e };
                key.verify(&RSA_PKCS1_2048_8192_SHA256, signed, signature)
            }
            (Public::Point(point), Algorithm::EdDsa) => {
                UnparsedPublicKey::new(&ED25519, point).verify(signed, signature)
            }
            (Public::Point(point), _) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed, signature)
            }
        };
        verified.map_err(|_| TokenError::Signature)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(keys: Value) -> KeySet {
        KeySet::of(serde_json::from_value(json!({ "keys": keys })).unwrap())
    }

    fn header(alg: &str, kid: Option<&str>) -> Header {
        let algorithm = Algorithm::of(alg).unwrap();
        Header { algorithm, kid: kid.map(str::to_owned) }
    }

    const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
    const Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";

    #[test]
    fn keys_are_found_by_name_and_algorithm_together() {
        let keys = set(json!([
            { "kty": "EC", "crv": "P-256", "x": X, "y": Y, "kid": "a", "use": "sig" },
            { "kty": "EC", "crv": "P-256", "x": Y, "y": X, "kid": "b", "alg": "ES256" },
            { "kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "c" },
        ]));
        assert!(keys.find(&header("ES256", Some("a"))).is_ok());
        assert!(keys.find(&header("RS256", None)).is_ok(), "the only one");
        for (alg, kid) in [("ES256", None), ("ES256", Some("c")), ("RS256", Some("d"))] {
            assert_eq!(keys.find(&header(alg, kid)).unwrap_err(), TokenError::UnknownKey);
        }
        let short = keys.find(&header("RS256", None)).unwrap();
        assert_eq!(short.verify(b"x", b"y"), Err(TokenError::Signature), "too few bits");
    }

    #[test]
    fn entries_that_cannot_verify_are_left_out() {
        for entry in [
            json!({ "kty": "oct", "k": "AQAB" }),
            json!({ "kty": "EC", "crv": "P-384", "x": X, "y": Y }),
            json!({ "kty": "EC", "crv": "P-256", "x": X, "y": "AQAB" }),
            json!({ "kty": "EC", "crv": "P-256", "x": X }),
            json!({ "kty": "EC", "crv": "P-256", "x": X, "y": Y, "use": "enc" }),
            json!({ "kty": "EC", "crv": "P-256", "x": X, "y": Y, "alg": "HS256" }),
            json!({ "kty": "EC", "crv": "P-256", "x": "no base64!", "y": Y }),
            json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB", "alg": "RS512" }),
            json!({ "n": "AQAB" }),
            json!("text"),
        ] {
            assert!(set(json!([entry])).0.is_empty(), "{entry}");
        }
    }
}
