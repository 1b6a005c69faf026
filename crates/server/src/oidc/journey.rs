//! Turns one random secret in a cookie into all that a sign-in has to recognise on its way back.
//!
//! `state`, `nonce` and the verifier of PKCE are hashes of what the cookie holds, each under a word
//! of its own. So nothing is kept here between the two requests, any of several servers can end
//! what another began, and a code that was meant for another browser finds no cookie that fits.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use myriad_store::secret_letters;
use sha2::{Digest, Sha256};

use crate::limits::OIDC_JOURNEY_SECONDS;

/// Letters of the secret: 256 random bits.
const LETTERS: usize = 43;

/// What somebody goes to the issuer for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To come in.
    SignIn,
    /// To come in by an invitation, of this token.
    Invitation(String),
    /// To come in from now on by the account of this id, whose session the browser has.
    Link(String),
}

/// What the browser carries while it is away. Not shown: it is a secret.
pub struct Journey {
    cookie: String,
    /// What for.
    pub purpose: Purpose,
}

impl Journey {
    /// Sets out.
    pub fn begin(purpose: Purpose, now: i64) -> Journey {
        let (word, name) = match &purpose {
            Purpose::SignIn => ("in", ""),
            Purpose::Invitation(token) => ("invitation", token.as_str()),
            Purpose::Link(user) => ("link", user.as_str()),
        };
        let cookie = format!("{}.{now}.{word}.{name}", secret_letters(LETTERS));
        Journey { cookie, purpose }
    }

    /// What a cookie holds, if it is a journey that is not over.
    pub fn read(cookie: &str, now: i64) -> Option<Journey> {
        let mut parts = cookie.splitn(4, '.');
        let (secret, begun) = (parts.next()?, parts.next()?.parse::<i64>().ok()?);
        let (word, name) = (parts.next()?, parts.next()?.to_owned());
        let purpose = match word {
            "in" if name.is_empty() => Purpose::SignIn,
            "invitation" => Purpose::Invitation(name),
            "link" => Purpose::Link(name),
            _ => return None,
        };
        let fresh = (0..=OIDC_JOURNEY_SECONDS).contains(&now.checked_sub(begun)?);
        let whole = secret.len() == LETTERS;
        (fresh && whole).then(|| Journey { cookie: cookie.to_owned(), purpose })
    }

    /// What the cookie holds.
    pub fn cookie(&self) -> &str {
        &self.cookie
    }

    /// Comes back in the address: that it fits says that this browser set out.
    pub fn state(&self) -> String {
        self.derived("state")
    }

    /// Comes back in the ID token: that it fits says that the token was made for this journey.
    pub fn nonce(&self) -> String {
        self.derived("nonce")
    }

    /// Shown with the code: that it fits says that who redeems it asked for it (RFC 7636).
    pub fn verifier(&self) -> String {
        self.derived("verifier")
    }

    /// What the issuer is told of the verifier: S256.
    pub fn challenge(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(self.verifier()))
    }

    fn derived(&self, word: &str) -> String {
        let hash = Sha256::new().chain_update(word).chain_update(" ").chain_update(&self.cookie);
        BASE64_URL_SAFE_NO_PAD.encode(hash.finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_back_is_what_set_out() {
        for purpose in
            [Purpose::SignIn, Purpose::Invitation("Token1".into()), Purpose::Link("user_1".into())]
        {
            let out = Journey::begin(purpose.clone(), 1000);
            let back = Journey::read(out.cookie(), 1000 + OIDC_JOURNEY_SECONDS).unwrap();
            assert_eq!(back.purpose, purpose);
            assert_eq!(back.state(), out.state());
            let all = [out.state(), out.nonce(), out.verifier(), out.challenge()];
            assert!(all.iter().all(|it| it.len() == 43 && !out.cookie().contains(it.as_str())));
            assert!((1..4).all(|at| !all[..at].contains(&all[at])), "{all:?}");
            let other = Journey::begin(purpose, 1000);
            assert_ne!(other.state(), out.state());
        }
    }

    #[test]
    fn what_was_changed_or_is_old_is_none() {
        let out = Journey::begin(Purpose::SignIn, 1000);
        let cookie = out.cookie();
        assert!(Journey::read(cookie, 1001 + OIDC_JOURNEY_SECONDS).is_none());
        assert!(Journey::read(cookie, 999).is_none());
        for odd in ["", "a.b.c", &cookie[1..], &cookie.replace(".in.", ".out."), "....", "x.1.in."]
        {
            assert!(Journey::read(odd, 1000).is_none(), "{odd}");
        }
        // A longer time, or another purpose, makes another state: nobody comes back with it.
        let later = Journey::read(&cookie.replace(".1000.", ".2000."), 2000).unwrap();
        assert_ne!(later.state(), out.state());
        let other = Journey::read(&cookie.replace(".in.", ".link.user_1"), 1000).unwrap();
        assert_ne!(other.state(), out.state());
    }
}
