//! Turns the token of a session, or of a sign-in on its way, into a cookie, and cookies into it.

use axum::http::{HeaderMap, HeaderValue, header};
use myriad_store::limits::SESSION_SECONDS;

use crate::limits::OIDC_JOURNEY_SECONDS;

/// What a cookie is for.
pub struct Sort {
    /// On plain HTTP, which is this machine or a network that its owner trusts.
    plain: &'static str,
    /// Behind HTTPS: browsers take this name only with `Secure`, for the whole host and no other.
    secure: &'static str,
    /// How long a browser keeps it.
    seconds: i64,
    /// Bytes of its value, at most: whatever is longer is none.
    bytes_max: usize,
}

/// Who is signed in. The server decides when that ends.
pub const SESSION: Sort = Sort {
    plain: "myriad-session",
    secure: "__Host-myriad-session",
    seconds: SESSION_SECONDS,
    bytes_max: 64,
};

/// Who is on the way to an issuer and back.
pub const JOURNEY: Sort = Sort {
    plain: "myriad-journey",
    secure: "__Host-myriad-journey",
    seconds: OIDC_JOURNEY_SECONDS,
    bytes_max: 256,
};

/// The value that a request brings.
pub fn read<'a>(sort: &Sort, headers: &'a HeaderMap, secure: bool) -> Option<&'a str> {
    let name = if secure { sort.secure } else { sort.plain };
    let values = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = values.flat_map(|value| value.split(';')).filter_map(|it| it.split_once('='));
    let value = pairs.find(|(found, _)| found.trim() == name)?.1.trim();
    let right = |byte: u8| byte.is_ascii_alphanumeric() || b"._".contains(&byte);
    ((1..=sort.bytes_max).contains(&value.len()) && value.bytes().all(right)).then_some(value)
}

/// The header that gives a browser this value, or with none takes it away.
pub fn write(sort: &Sort, value: Option<&str>, secure: bool) -> Option<HeaderValue> {
    let (name, end) = if secure { (sort.secure, "; Secure") } else { (sort.plain, "") };
    let seconds = if value.is_some() { sort.seconds } else { 0 };
    let value = value.unwrap_or_default();
    // Lax, and not Strict: who comes back from an issuer comes from another site.
    let value = format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{end}");
    // Values are letters and digits, which every header can carry.
    HeaderValue::from_str(&value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_among_others() {
        let found = |cookies: &[&'static str], secure| {
            let mut headers = HeaderMap::new();
            for cookie in cookies {
                headers.append(header::COOKIE, HeaderValue::from_static(cookie));
            }
            read(&SESSION, &headers, secure).map(str::to_owned)
        };
        let plain = ["a=b; myriad-session=Token1; c=d"];
        assert_eq!(found(&plain, false).as_deref(), Some("Token1"));
        assert_eq!(found(&plain, true), None, "a name that any subdomain could set");
        assert_eq!(found(&["x=y", "__Host-myriad-session=T"], true).as_deref(), Some("T"));
        for odd in ["", "myriad-session", "myriad-session=", "myriad-session=a b", "other=T"] {
            assert_eq!(found(&[odd], false), None, "{odd}");
        }
    }

    #[test]
    fn scripts_and_other_sites_do_not_get_it() {
        let value = write(&SESSION, Some("T"), true).unwrap();
        let value = value.to_str().unwrap();
        for part in ["__Host-", "; Path=/", "; HttpOnly", "; SameSite=Lax", "; Secure"] {
            assert!(value.contains(part), "{value}");
        }
        let plain = write(&JOURNEY, Some("T"), false).unwrap();
        assert!(!plain.to_str().unwrap().contains("Secure"));
        let none = write(&JOURNEY, None, false).unwrap();
        assert!(none.to_str().unwrap().contains("journey=; Path=/; Max-Age=0;"));
    }
}
