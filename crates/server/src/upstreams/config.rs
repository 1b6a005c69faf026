//! Turns the operator's TOML file into the servers that requests may be sent on to.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::outbound::{Address, AddressError, Key, KeyError, KeyPlace, Patience};

/// Until the head of an answer: models that think before they speak take minutes.
const FIRST_BYTE_SECONDS: u64 = 300;

/// Between two pieces of an answer.
const IDLE_SECONDS: u64 = 120;

/// What Anthropic's servers are asked for where a request sets no bound: they need one.
const MAX_TOKENS: u64 = 8192;

/// Bytes of a server's name: it stands before each model's.
const NAME_BYTES_MAX: usize = 64;

/// One other server.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// What it is called here.
    pub name: String,
    /// Whose API it speaks.
    pub kind: Kind,
    /// With its `/v1`, or whatever its paths begin with.
    pub address: Address,
    /// Servers of one's own may need none.
    pub key: Option<Key>,
    /// None: all that it says it has.
    pub models: Option<Vec<String>>,
    /// What stands before its models' names in lists.
    pub prefix: String,
    /// How long it may take.
    pub patience: Patience,
    /// Most tokens of an answer, where a request does not say and the server has to know.
    pub max_tokens: u64,
}

/// Whose API a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `/chat/completions`
    OpenAi,
    /// `/messages`
    Anthropic,
}

/// What is wrong with the file. No variant repeats a key; a first text is a server's name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpstreamsError {
    /// It cannot be read.
    #[error("{path}: {1}", path = .0.display())]
    File(PathBuf, std::io::Error),
    /// The line is no TOML, or has a field that is unknown or of a wrong type.
    #[error("line {0}: {1}")]
    Toml(usize, String),
    /// The entry of this number has a name that cannot stand before a model's.
    #[error("entry {0}: the name '{1}' is not 1 to 64 of the letters a-z, digits, '.', '_', '-'")]
    Name(usize, String),
    /// Two entries share it.
    #[error("two entries have the name '{0}'")]
    SameName(String),
    /// The address is none.
    #[error("upstream '{0}': url: {1}")]
    Address(String, AddressError),
    /// The key is not where it should be, or none.
    #[error("upstream '{0}': {1}")]
    Key(String, KeyError),
    /// A number that must not be.
    #[error("upstream '{0}': {1} is 0; right would be at least 1")]
    Zero(String, &'static str),
    /// A list without models.
    #[error("upstream '{0}': models is empty; leave it out for all that the server has")]
    NoModels(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    upstream: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    kind: Kind,
    url: String,
    key_env: Option<String>,
    key_file: Option<PathBuf>,
    models: Option<Vec<String>>,
    prefix: Option<String>,
    first_byte_seconds: Option<u64>,
    idle_seconds: Option<u64>,
    max_tokens: Option<u64>,
}

/// Reads a file; paths in it are relative to its folder.
pub fn read(path: &Path) -> Result<Vec<Upstream>, UpstreamsError> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|source| UpstreamsError::File(path.to_owned(), source))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    parse(&text, folder, &|name| std::env::var(name).ok())
}

/// As [`read`]; `variable` is the environment.
pub fn parse(
    text: &str,
    folder: &Path,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<Upstream>, UpstreamsError> {
    let file: File = toml::from_str(text).map_err(|error| {
        // Its own display quotes the line, and with it a key that stands where it should not.
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        UpstreamsError::Toml(line, error.message().to_owned())
    })?;
    let mut names = HashSet::new();
    let mut list = Vec::with_capacity(file.upstream.len());
    for (at, entry) in file.upstream.into_iter().enumerate() {
        let upstream = entry.check(at + 1, folder, variable)?;
        if !names.insert(upstream.name.clone()) {
            return Err(UpstreamsError::SameName(upstream.name));
        }
        list.push(upstream);
    }
    Ok(list)
}

impl Entry {
    fn check(
        self,
        number: usize,
        folder: &Path,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Upstream, UpstreamsError> {
        let name = self.name.clone();
        let letter =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
        if !(1..=NAME_BYTES_MAX).contains(&name.len()) || !name.bytes().all(letter) {
            return Err(UpstreamsError::Name(number, name));
        }
        let place = KeyPlace { variable: self.key_env, file: self.key_file };
        let key = place.read(folder, variable);
        let key = key.map_err(|error| UpstreamsError::Key(name.clone(), error))?;
        let address = Address::parse(&self.url)
            .map_err(|error| UpstreamsError::Address(name.clone(), error))?;
        if self.models.as_ref().is_some_and(Vec::is_empty) {
            return Err(UpstreamsError::NoModels(name));
        }
        let from_one = |field, given: Option<u64>, or| match given {
            Some(0) => Err(UpstreamsError::Zero(name.clone(), field)),
            given => Ok(given.unwrap_or(or)),
        };
        let first_byte = self.first_byte_seconds;
        let first_byte = from_one("first_byte_seconds", first_byte, FIRST_BYTE_SECONDS)?;
        let idle = from_one("idle_seconds", self.idle_seconds, IDLE_SECONDS)?;
        Ok(Upstream {
            kind: self.kind,
            address,
            key,
            models: self.models,
            prefix: self.prefix.unwrap_or_else(|| format!("{name}/")),
            patience: Patience {
                first_byte: Duration::from_secs(first_byte),
                idle: Duration::from_secs(idle),
            },
            max_tokens: from_one("max_tokens", self.max_tokens, MAX_TOKENS)?,
            name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<Upstream>, UpstreamsError> {
        parse(text, Path::new("/nowhere"), &|name| match name {
            "GOOD" => Some("  sk-SECRET \n".into()),
            "EMPTY" => Some(String::new()),
            "LINES" => Some("sk-SECRET\nsk".into()),
            _ => None,
        })
    }

    fn entry(fields: &str) -> String {
        format!("[[upstream]]\nname = \"a\"\nkind = \"openai\"\nurl = \"http://h/v1\"\n{fields}")
    }

    #[test]
    fn entries_have_defaults_and_keys_that_are_not_shown() {
        let list = parsed(&entry("key_env = \"GOOD\"")).unwrap();
        assert_eq!((list[0].prefix.as_str(), list[0].max_tokens), ("a/", MAX_TOKENS));
        assert_eq!(list[0].patience.idle, Duration::from_secs(IDLE_SECONDS));
        assert!(list[0].key.is_some());
        assert!(!format!("{list:?}").contains("SECRET"));
        assert!(parsed("").unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_is_named_without_a_key() {
        for (text, named) in [
            ("upstream = 3", "line 1"),
            (&entry("key = \"sk-SECRET\""), "unknown field `key`"),
            (&entry("key_env = \"ABSENT\""), "the variable ABSENT is not set"),
            (&entry("key_env = \"EMPTY\""), "the key in EMPTY is empty"),
            (&entry("key_env = \"LINES\""), "the key in LINES is empty"),
            (&entry("key_file = \"absent\""), "/nowhere/absent"),
            (&entry("key_file = \"a\"\nkey_env = \"GOOD\""), "exclude each other"),
            (&entry("idle_seconds = 0"), "idle_seconds is 0"),
            (&entry("models = []"), "models is empty"),
            (&entry("").replace("\"a\"", "\"A b\""), "entry 1: the name 'A b'"),
            (&entry("").replace("http://h", "h"), "upstream 'a': url: it is no address"),
            (&entry("").replace("http://h", "http://k@h"), "a user or a password"),
            (&entry("").replace("openai", "other"), "line 3"),
            (&format!("{0}{0}", entry("")), "two entries have the name 'a'"),
        ] {
            let error = parsed(text).unwrap_err().to_string();
            assert!(error.contains(named), "{named}: {error}");
            assert!(!error.contains("SECRET"), "{error}");
        }
    }
}
