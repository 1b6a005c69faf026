//! Turns a repository on a hub (Hugging Face's API) into one of its GGUF files.

use std::env;

use anyhow::{Result, anyhow};
use serde::Deserialize;
use ureq::http::StatusCode;

use super::http::{Client, Secret, encoded, host};
use super::transfer::{Digest, Wanted, fetch};
use super::{Keep, Offered, Pulled, choose, meets, settle, target};
use crate::screen::advise;

const ENDPOINT: &str = "https://huggingface.co";

/// What `/api/models/OWNER/REPO?blobs=true` says.
#[derive(Deserialize)]
struct Listing {
    /// The commit that the list is of.
    sha: Option<String>,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    #[serde(rename = "rfilename")]
    path: String,
    size: Option<u64>,
    lfs: Option<Lfs>,
}

/// Large files are kept by the digest of their content.
#[derive(Deserialize)]
struct Lfs {
    #[serde(alias = "oid")]
    sha256: Option<String>,
    size: Option<u64>,
}

/// Gets one GGUF file of a repository into the cache.
pub fn pull(
    client: &Client,
    repository: &str,
    revision: Option<&str>,
    file: Option<&str>,
    keep: &Keep<'_>,
) -> Result<Pulled> {
    let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.into());
    let endpoint = endpoint.trim_end_matches('/');
    let secret = variable("HF_TOKEN").and_then(|token| Secret::bearer(endpoint, &token));
    let secret = secret.as_ref();
    let at = revision.map_or(String::new(), |name| format!("/revision/{}", encoded(name)));
    let url = format!("{endpoint}/api/models/{repository}{at}?blobs=true");
    let refused = |status| refusal(status, endpoint, repository, secret.is_some());
    let listing = client.json(&url, "application/json", secret, refused)?;
    let listing: Listing = serde_json::from_value(listing)
        .map_err(|error| anyhow!("{} answers in an unknown form: {error}", host(endpoint)))?;
    let ggufs = listing.siblings.iter().filter(|file| file.path.ends_with(".gguf"));
    let offered: Vec<Offered> =
        ggufs.map(|file| Offered { path: file.path.clone(), bytes: file.bytes() }).collect();
    let chosen = choose(&offered, file, repository)?;
    let path = &chosen.path;
    let target = target(keep, path)?;
    // The commit of the list, so that nothing changes between it and the file.
    let commit = listing.sha.as_deref().or(revision).unwrap_or("main");
    let url = format!("{endpoint}/{repository}/resolve/{}/{}", encoded(commit), encoded(path));
    let listed = listing.siblings.iter().find(|file| file.path == *path).and_then(Sibling::sha256);
    let sha256 = match listed {
        Some(sha256) => sha256,
        None => linked_digest(client, &url, secret, path)?,
    };
    if let Some(there) = meets(&target, &sha256, keep)? {
        return Ok(there);
    }
    let name = target.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let wanted = Wanted {
        url,
        sha256,
        bytes: chosen.bytes,
        name: &name,
        folder: keep.folder,
        watch: keep.watch,
    };
    let partial = fetch(client, &wanted, secret)?;
    settle(&partial, &target)?;
    Ok(Pulled { path: target, sha256, was_there: false })
}

impl Sibling {
    fn bytes(&self) -> Option<u64> {
        self.lfs.as_ref().and_then(|lfs| lfs.size).or(self.size)
    }

    fn sha256(&self) -> Option<Digest> {
        let text = self.lfs.as_ref()?.sha256.as_deref()?;
        Digest::parse(text.strip_prefix("sha256:").unwrap_or(text))
    }
}

/// The digest that comes with the file, where the list has none.
fn linked_digest(
    client: &Client,
    url: &str,
    secret: Option<&Secret>,
    path: &str,
) -> Result<Digest> {
    let first_byte = [("range", "bytes=0-0".to_owned())];
    let answer = client.get(url, &first_byte, secret)?;
    let digest = answer.linked_etag.as_deref().and_then(Digest::parse);
    digest.ok_or_else(|| anyhow!("{} has no SHA-256 of {path}: it cannot be checked", host(url)))
}

fn refusal(
    status: StatusCode,
    endpoint: &str,
    repository: &str,
    has_token: bool,
) -> Option<anyhow::Error> {
    let host = host(endpoint);
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            let next = match has_token {
                true => "HF_TOKEN is set, but may not read it: accept the model's terms there",
                false => "check the name; if it is private or has terms to accept, set HF_TOKEN",
            };
            Some(advise(format!("{host} does not show {repository} ({status})"), next))
        }
        StatusCode::NOT_FOUND => {
            Some(advise(format!("{host} has no {repository}"), "check owner, name and revision"))
        }
        _ => None,
    }
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}
