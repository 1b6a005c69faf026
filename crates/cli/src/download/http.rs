//! Turns an address into an answer, through redirects, and never tells a secret to another host.

use std::env;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ureq::http::{Response, StatusCode, Uri};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body};

/// Hubs redirect to a store, and stores to another: two or three hops.
const HOPS_MAX: usize = 10;

/// Silence after which a connection counts as cut.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Largest list that is read: the package with the most files has some tens of megabytes.
const LIST_BYTES_MAX: u64 = 64 << 20;

/// Variables that name a file of certificates, for networks that sign on their own.
const CERTIFICATE_VARIABLES: [&str; 3] = ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT"];

/// Gets things by HTTP. Proxies are those of `HTTPS_PROXY` and its like.
pub struct Client {
    agent: Agent,
}

/// A secret and the one place that may hear it.
pub struct Secret {
    origin: Origin,
    header: String,
}

/// Scheme, host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin(String);

/// What came at the end of all redirects.
pub struct Answer {
    /// The last response.
    pub response: Response<Body>,
    /// `X-Linked-ETag` of the first: a hub's word for the digest of a file kept elsewhere.
    pub linked_etag: Option<String>,
}

impl Client {
    /// A client that trusts the usual authorities, or those that the environment names.
    pub fn new() -> Result<Client> {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(SILENCE_MAX))
            .timeout_recv_response(Some(SILENCE_MAX))
            .timeout_per_read(Some(SILENCE_MAX))
            .user_agent(concat!("myriad/", env!("CARGO_PKG_VERSION")));
        if let Some(roots) = own_certificates()? {
            config = config.tls_config(TlsConfig::builder().root_certs(roots).build());
        }
        Ok(Client { agent: config.build().into() })
    }

    /// `GET`, following redirects. The secret goes to its own origin alone.
    pub fn get(
        &self,
        url: &str,
        headers: &[(&str, String)],
        secret: Option<&Secret>,
    ) -> Result<Answer> {
        let mut url = url.to_owned();
        let mut linked_etag = None;
        for hop in 0..HOPS_MAX {
            let mut request = self.agent.get(&url);
            for (name, value) in headers {
                request = request.header(*name, value);
            }
            if let Some(secret) =
                secret.filter(|secret| origin(&url).as_ref() == Some(&secret.origin))
            {
                request = request.header("authorization", &secret.header);
            }
            let response = request.call().with_context(|| host(&url))?;
            let header = |name: &str| {
                response
                    .headers()
                    .get(name)
                    .and_then(|value| value.to_str().ok())
                    .map(str::to_owned)
            };
            if hop == 0 {
                linked_etag = header("x-linked-etag");
            }
            match header("location") {
                Some(location) if response.status().is_redirection() => {
                    url = resolve(&url, &location)?;
                }
                _ => return Ok(Answer { response, linked_etag }),
            }
        }
        bail!("{}: more than {HOPS_MAX} redirects", host(&url))
    }

    /// A JSON document. `refused` says what 401, 403 and 404 mean there.
    pub fn json(
        &self,
        url: &str,
        accept: &str,
        secret: Option<&Secret>,
        refused: impl Fn(StatusCode) -> Option<anyhow::Error>,
    ) -> Result<serde_json::Value> {
        let answer = self.get(url, &[("accept", accept.to_owned())], secret)?;
        let status = answer.response.status();
        if !status.is_success() {
            let plain = || anyhow::anyhow!("{} answers {status}", host(url));
            return Err(refused(status).unwrap_or_else(plain));
        }
        let mut body = answer.response.into_body();
        let text = body.with_config().limit(LIST_BYTES_MAX).read_to_string();
        let text = text.with_context(|| host(url))?;
        serde_json::from_str(&text)
            .with_context(|| format!("{} does not answer with a list in JSON", host(url)))
    }
}

impl Secret {
    /// A token for the origin of `url`.
    pub fn bearer(url: &str, token: &str) -> Option<Secret> {
        Some(Secret { origin: origin(url)?, header: format!("Bearer {token}") })
    }
}

fn own_certificates() -> Result<Option<RootCerts>> {
    let variable = CERTIFICATE_VARIABLES.into_iter().find_map(|name| {
        let path = env::var_os(name).filter(|path| !path.is_empty())?;
        Some((name, path))
    });
    let Some((name, path)) = variable else { return Ok(None) };
    let at = || format!("{name}={}", path.to_string_lossy());
    let pem = fs::read(&path).with_context(at)?;
    let certificates: Vec<_> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        bail!("{} has no certificate in it", at());
    }
    Ok(Some(certificates.into()))
}

fn origin(url: &str) -> Option<Origin> {
    let uri: Uri = url.parse().ok()?;
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
    Some(Origin(format!("{scheme}://{}:{port}", uri.host()?.to_ascii_lowercase())))
}

/// The host of an address, for messages: whatever else is in it may be secret.
pub fn host(url: &str) -> String {
    let uri: Option<Uri> = url.parse().ok();
    let shown = uri.and_then(|uri| {
        let port = uri.port_u16().map_or(String::new(), |port| format!(":{port}"));
        Some(format!("{}{port}", uri.host()?))
    });
    shown.unwrap_or_else(|| "the address".into())
}

/// An address found on the page at `base`.
pub fn resolve(base: &str, found: &str) -> Result<String> {
    let lower = found.to_ascii_lowercase();
    if lower.starts_with("http://") || lower.starts_with("https://") {
        return Ok(found.to_owned());
    }
    let (scheme, rest) = base.split_once("://").context("an address has a scheme")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if let Some(other) = found.strip_prefix("//") {
        return Ok(format!("{scheme}://{other}"));
    }
    if found.starts_with('/') {
        return Ok(format!("{scheme}://{authority}{found}"));
    }
    if found.contains(':') && !found.split(':').next().unwrap_or("").contains('/') {
        bail!("{}: a redirect to something that is not HTTP", host(base));
    }
    let path = path.split(['?', '#']).next().unwrap_or("");
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    // Servers understand the dots of relative addresses themselves.
    Ok(format!("{scheme}://{authority}{folder}/{found}"))
}

/// A path for an address: everything but plain characters and slashes in percent signs.
pub fn encoded(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let encode = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    path.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_compared_whole() {
        let same = |a: &str, b: &str| origin(a).is_some() && origin(a) == origin(b);
        assert!(same("https://Hub.example/a", "https://hub.example:443/b?c"));
        assert!(!same("https://hub.example/", "http://hub.example/"));
        assert!(!same("http://127.0.0.1:81/", "http://127.0.0.1:82/"));
        assert!(!same("https://hub.example/", "https://hub.example.evil/"));
        assert!(!same("https://hub.example/", "https://hub.example@evil/"));
    }

    #[test]
    fn redirects_are_resolved() {
        let to = |found: &str| resolve("https://h:1/a/b?x=/y", found).unwrap();
        assert_eq!(to("http://o/c"), "http://o/c");
        assert_eq!(to("//o/c"), "https://o/c");
        assert_eq!(to("/c?d"), "https://h:1/c?d");
        assert_eq!(to("c"), "https://h:1/a/c");
        assert!(resolve("https://h/a", "file:///etc/passwd").is_err());
        assert_eq!(encoded("a b/ü#.gguf"), "a%20b/%C3%BC%23.gguf");
        assert_eq!(host("https://user:secret@h:1/x?token=1"), "h:1");
    }
}
