//! Turns an ID token into what it says, once it is the issuer's, for this server, and of now.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Identity;
use super::keys::{Algorithm, Key};
use crate::limits::{
    OIDC_CLOCK_SECONDS, OIDC_JOURNEY_SECONDS, OIDC_SUBJECT_BYTES_MAX, OIDC_TOKEN_BYTES_MAX,
};

/// Why a token is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// It is no JWS of three parts.
    #[error("its {0} cannot be read")]
    Form(&'static str),
    /// It is larger than any is.
    #[error("it has more than {OIDC_TOKEN_BYTES_MAX} bytes")]
    Size,
    /// It is signed by another algorithm, or by none.
    #[error("it is signed by {0:?}; right would be RS256, ES256 or EdDSA")]
    Algorithm(String),
    /// It wants something to be understood that is not.
    #[error("its header has 'crit'")]
    Critical,
    /// The issuer has no such key.
    #[error("the issuer has no key, or several, that it could be signed with")]
    UnknownKey,
    /// The signature is not of this key and this text.
    #[error("its signature is wrong")]
    Signature,
    /// A claim says that it is not for here and now.
    #[error("{0} is wrong")]
    Claim(&'static str),
}

/// What a header says, as far as it matters.
#[derive(Debug)]
pub struct Header {
    /// How it is signed.
    pub algorithm: Algorithm,
    /// The name of the key.
    pub kid: Option<String>,
}

/// A token that nobody has verified.
pub struct IdToken<'a> {
    /// Which key it names.
    pub header: Header,
    signed: &'a str,
    claims: &'a str,
    signature: Vec<u8>,
}

impl<'a> IdToken<'a> {
    /// # Errors
    /// [`TokenError`].
    pub fn parse(text: &'a str) -> Result<IdToken<'a>, TokenError> {
        #[derive(Deserialize)]
        struct Read {
            alg: String,
            kid: Option<String>,
            crit: Option<serde::de::IgnoredAny>,
        }
        if text.len() > OIDC_TOKEN_BYTES_MAX {
            return Err(TokenError::Size);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(TokenError::Form("text"))?;
        let (header, claims) = signed.split_once('.').ok_or(TokenError::Form("text"))?;
        let header: Read = decoded(header, "header")?;
        let known = Algorithm::of(&header.alg);
        let algorithm =
            known.ok_or_else(|| TokenError::Algorithm(header.alg.chars().take(32).collect()))?;
        if header.crit.is_some() {
            return Err(TokenError::Critical);
        }
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature);
        let signature = signature.map_err(|_| TokenError::Form("signature"))?;
        let header = Header { algorithm, kid: header.kid };
        Ok(IdToken { header, signed, claims, signature })
    }

    /// What it says, where this key has signed it.
    ///
    /// # Errors
    /// [`TokenError::Signature`], [`TokenError::Form`].
    pub fn verify(&self, key: &Key) -> Result<Claims, TokenError> {
        key.verify(self.signed.as_bytes(), &self.signature)?;
        decoded(self.claims, "claims")
    }
}

fn decoded<T: DeserializeOwned>(part: &str, what: &'static str) -> Result<T, TokenError> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Form(what))?;
    serde_json::from_slice(&bytes).map_err(|_| TokenError::Form(what))
}

/// What a verified token says. Times are seconds since 1970, with fractions where an issuer has
/// some.
#[derive(Debug, Deserialize)]
pub struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    azp: Option<String>,
    exp: f64,
    iat: f64,
    nbf: Option<f64>,
    nonce: Option<String>,
    preferred_username: Option<String>,
    email: Option<String>,
    name: Option<String>,
}

/// One client, or several.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Claims {
    /// Whether it is of this issuer, for this client, of this journey, and of now (OpenID Connect
    /// Core 1.0, 3.1.3.7).
    ///
    /// # Errors
    /// [`TokenError::Claim`] naming the first claim that is wrong.
    pub fn check(
        &self,
        issuer: &str,
        client: &str,
        nonce: &str,
        now: i64,
    ) -> Result<(), TokenError> {
        let (now, clock) = (now as f64, OIDC_CLOCK_SECONDS as f64);
        let (audience, alone) = match &self.aud {
            Audience::One(one) => (one == client, true),
            Audience::Many(all) => (all.iter().any(|one| one == client), all.len() == 1),
        };
        // A token of several clients says which of them has asked for it.
        let asked = self.azp.as_deref().map_or(alone, |azp| azp == client);
        let subject = (1..=OIDC_SUBJECT_BYTES_MAX).contains(&self.sub.len())
            && !self.sub.chars().any(char::is_control);
        // No older than the journey: it is made at its end.
        let made = now - clock - OIDC_JOURNEY_SECONDS as f64..=now + clock;
        for (claim, right) in [
            ("iss", self.iss == issuer),
            ("aud", audience),
            ("azp", asked),
            ("exp", self.exp > now - clock),
            ("iat", made.contains(&self.iat)),
            ("nbf", self.nbf.is_none_or(|nbf| nbf <= now + clock)),
            ("nonce", self.nonce.as_deref() == Some(nonce)),
            ("sub", subject),
        ] {
            if !right {
                return Err(TokenError::Claim(claim));
            }
        }
        Ok(())
    }

    /// Who it is about.
    pub fn identity(self) -> Identity {
        // Neither has a space: no two pairs make the same text.
        let subject = format!("{} {}", self.iss, self.sub);
        let names = [self.preferred_username, self.email, self.name.clone()];
        let names = names.into_iter().flatten().collect();
        Identity { subject, names, display_name: self.name }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::keys::KeySet;
    use super::*;

    /// Tokens and keys of RFC 7515 (A.2, A.3) and RFC 8037 (A.4), which others have signed.
    const FIXTURES: &str = include_str!("fixtures.json");

    fn verified(fixture: &Value, token: &str) -> Result<(), TokenError> {
        let keys = KeySet::of(serde_json::from_value(json!({ "keys": [fixture["key"]] })).unwrap());
        let token = IdToken::parse(token)?;
        let done = token.verify(keys.find(&token.header)?);
        // Those texts are no ID tokens; that they are looked into says that they are verified.
        match done {
            Err(TokenError::Form("claims")) => Ok(()),
            done => done.map(drop),
        }
    }

    #[test]
    fn tokens_of_the_standards_are_verified() {
        let fixtures: Value = serde_json::from_str(FIXTURES).unwrap();
        for fixture in fixtures.as_array().unwrap() {
            let token = fixture["token"].as_str().unwrap();
            verified(fixture, token).unwrap_or_else(|error| panic!("{error}: {fixture}"));
            let (signed, signature) = token.rsplit_once('.').unwrap();
            for at in [0, signed.len() / 2, signed.len() - 2] {
                let mut forged = signed.to_owned().into_bytes();
                forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
                let forged = String::from_utf8(forged).unwrap();
                let forged = format!("{forged}.{signature}");
                assert!(verified(fixture, &forged).is_err(), "{forged}");
            }
            for short in [&signature[4..], ""] {
                let error = verified(fixture, &format!("{signed}.{short}")).unwrap_err();
                assert_eq!(error, TokenError::Signature);
            }
        }
    }

    fn claims(change: impl Fn(&mut Value)) -> Claims {
        let mut said = json!({
            "iss": "https://id.example.com", "sub": "1", "aud": "me", "exp": 2000, "iat": 1000.5,
            "nonce": "n",
        });
        change(&mut said);
        serde_json::from_value(said).unwrap()
    }

    #[test]
    fn each_claim_must_be_of_here_and_now() {
        let check = |claims: &Claims, now| claims.check("https://id.example.com", "me", "n", now);
        type Change = fn(&mut Value);
        let right: &[Change] = &[
            |_| (),
            |said| said["aud"] = json!(["me"]),
            |said| (said["aud"], said["azp"]) = (json!(["you", "me"]), json!("me")),
            |said| said["nbf"] = json!(1000),
            |said| said["iat"] = json!(1001 + OIDC_CLOCK_SECONDS),
        ];
        for change in right {
            assert_eq!(check(&claims(change), 1001), Ok(()), "{:?}", claims(change));
        }
        let wrong: &[(&str, Change)] = &[
            ("iss", |said| said["iss"] = json!("https://id.example.com/")),
            ("aud", |said| said["aud"] = json!("you")),
            ("aud", |said| said["aud"] = json!([])),
            ("azp", |said| said["aud"] = json!(["you", "me"])),
            ("azp", |said| said["azp"] = json!("you")),
            ("exp", |said| said["exp"] = json!(1001 - OIDC_CLOCK_SECONDS)),
            ("iat", |said| said["iat"] = json!(1002 + OIDC_CLOCK_SECONDS)),
            ("iat", |said| said["iat"] = json!(0)),
            ("nbf", |said| said["nbf"] = json!(1002 + OIDC_CLOCK_SECONDS)),
            ("nonce", |said| said["nonce"] = json!("other")),
            ("nonce", |said| said["nonce"] = json!(null)),
            ("sub", |said| said["sub"] = json!("")),
            ("sub", |said| said["sub"] = json!("a\u{0}")),
            ("sub", |said| said["sub"] = json!("x".repeat(OIDC_SUBJECT_BYTES_MAX + 1))),
        ];
        for (claim, change) in wrong {
            assert_eq!(check(&claims(change), 1001), Err(TokenError::Claim(claim)));
        }
    }

    #[test]
    fn what_is_no_token_is_refused_before_any_key() {
        let part = |json: Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
        for alg in ["none", "None", "HS256", "RS512", "PS256", ""] {
            let text = format!("{}.e30.", part(json!({ "alg": alg })));
            let error = IdToken::parse(&text).err().unwrap();
            assert_eq!(error, TokenError::Algorithm(alg.into()));
        }
        let critical = format!("{}.e30.", part(json!({ "alg": "ES256", "crit": ["x"] })));
        assert_eq!(IdToken::parse(&critical).err(), Some(TokenError::Critical));
        for odd in ["", ".", "..", "a.b", "{}.{}.{}", "e30.e30.e30"] {
            assert!(matches!(IdToken::parse(odd).err(), Some(TokenError::Form(_))), "{odd}");
        }
        let large = "a".repeat(OIDC_TOKEN_BYTES_MAX + 1);
        assert_eq!(IdToken::parse(&large).err(), Some(TokenError::Size));
    }
}
