//! Turns the token of a session into a cookie, and cookies into the token.

use axum::http::{HeaderMap, HeaderValue, header};
use myriad_store::limits::SESSION_SECONDS;

/// On plain HTTP, which is this machine or a network that its owner trusts.
const PLAIN: &str = "myriad-session";

/// Behind HTTPS: browsers take this name only with `Secure`, for the whole host and no other.
const SECURE: &str = "__Host-myriad-session";

/// Letters and digits of a token, at most: whatever is longer is none.
const TOKEN_BYTES_MAX: usize = 64;

/// The token that a request brings.
pub fn read(headers: &HeaderMap, secure: bool) -> Option<&str> {
    let name = if secure { SECURE } else { PLAIN };
    let values = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = values.flat_map(|value| value.split(';')).filter_map(|it| it.split_once('='));
    let token = pairs.find(|(found, _)| found.trim() == name)?.1.trim();
    let right = |byte: u8| byte.is_ascii_alphanumeric();
    ((1..=TOKEN_BYTES_MAX).contains(&token.len()) && token.bytes().all(right)).then_some(token)
}

/// The header that gives a browser a session. The server decides when it ends.
pub fn set(token: &str, secure: bool) -> Option<HeaderValue> {
    write(token, SESSION_SECONDS, secure)
}

/// The header that takes it away.
pub fn clear(secure: bool) -> Option<HeaderValue> {
    write("", 0, secure)
}

fn write(token: &str, seconds: i64, secure: bool) -> Option<HeaderValue> {
    let (name, end) = if secure { (SECURE, "; Secure") } else { (PLAIN, "") };
    let value = format!("{name}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{end}");
    // Tokens are letters and digits, which every header can carry.
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
            read(&headers, secure).map(str::to_owned)
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
        let value = set("T", true).unwrap();
        let value = value.to_str().unwrap();
        for part in ["__Host-", "; Path=/", "; HttpOnly", "; SameSite=Lax", "; Secure"] {
            assert!(value.contains(part), "{value}");
        }
        assert!(!set("T", false).unwrap().to_str().unwrap().contains("Secure"));
        assert!(clear(false).unwrap().to_str().unwrap().contains("=; Path=/; Max-Age=0;"));
    }
}
