//! Turns the operator's TOML file into the servers of tools, and the search, that calls may go to.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Uri, header};
use serde::Deserialize;

use crate::outbound::{Address, AddressError, Key, KeyError, KeyPlace};

/// How long a call may take where the file does not say.
const CALL_SECONDS: u64 = 60;

/// How long a search may take: several search engines are asked.
const SEARCH_SECONDS: u64 = 20;

/// Bytes of a server's name: it stands before each tool's, and names of tools have 64 in all.
const NAME_BYTES_MAX: usize = 24;

/// Servers: each is asked for its tools when someone looks.
const SERVERS_MAX: usize = 64;

/// Headers of one server.
const HEADERS_MAX: usize = 16;

/// All that the file says.
#[derive(Debug, Default)]
pub struct Config {
    /// In the file's order.
    pub servers: Vec<Server>,
    /// None: nobody searches the web.
    pub search: Option<Search>,
}

/// A server of tools that speaks MCP.
#[derive(Clone, Debug)]
pub struct Server {
    /// What it is called here.
    pub name: String,
    /// Its endpoint.
    pub address: Uri,
    /// Sent with each request.
    pub headers: Vec<Header>,
    /// Those of its tools that may be offered; none: all.
    pub tools: Option<Vec<String>>,
    /// Whether a person is asked before each call.
    pub ask: bool,
    /// How long a call may take.
    pub time_max: Duration,
}

/// A search engine of engines: SearXNG.
#[derive(Clone, Debug)]
pub struct Search {
    /// Where it is.
    pub address: Address,
    /// Whether a person is asked before each search.
    pub ask: bool,
    /// How long a search may take.
    pub time_max: Duration,
}

/// A header whose value is a secret.
#[derive(Clone, Debug)]
pub struct Header {
    /// Its name.
    pub name: HeaderName,
    /// What is sent.
    pub value: HeaderValue,
    /// The secret in it.
    pub key: Key,
}

/// What is wrong with the file. No variant repeats a secret; a first text is a server's name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ToolsError {
    /// It cannot be read.
    #[error("{path}: {1}", path = .0.display())]
    File(PathBuf, std::io::Error),
    /// The line is no TOML, or has a field that is unknown or of a wrong type.
    #[error("line {0}: {1}")]
    Toml(usize, String),
    /// The entry of this number has a name that cannot stand before a tool's.
    #[error(
        "server {0}: the name '{1}' is not 1 to 24 of the letters a-z, digits and '-', or single \
         '_' between them"
    )]
    Name(usize, String),
    /// Two entries share it.
    #[error("two servers have the name '{0}'")]
    SameName(String),
    /// There are more than anybody looks through.
    #[error("there are {0} servers; right would be at most {SERVERS_MAX}")]
    TooMany(usize),
    /// A program instead of an address.
    #[error(
        "server '{0}': command: no programs are started here (stdio); right would be 'address', \
         where the server speaks streamable HTTP"
    )]
    Command(String),
    /// Neither of the two.
    #[error("server '{0}': address is missing")]
    NoAddress(String),
    /// The address is none.
    #[error("{0}: address: {1}")]
    Address(String, AddressError),
    /// A list without tools.
    #[error("server '{0}': tools is empty; leave it out for all that the server has")]
    NoTools(String),
    /// More headers than any server needs.
    #[error("server '{0}': it has {1} headers; right would be at most {HEADERS_MAX}")]
    TooManyHeaders(String, usize),
    /// A header that is none, or the protocol's own.
    #[error("server '{0}': header '{1}' is no name of a header, or one that is set anyway")]
    HeaderName(String, String),
    /// The secret is not where it should be, or none.
    #[error("server '{0}': header '{1}': {2}")]
    Key(String, String, KeyError),
    /// A header without a place for its value.
    #[error("server '{0}': header '{1}': right would be 'env' or 'file'")]
    NoKey(String, String),
    /// A number that must not be.
    #[error("{0}: seconds is 0; right would be at least 1")]
    Zero(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    server: Vec<ServerEntry>,
    search: Option<SearchEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ServerEntry {
    name: String,
    address: Option<String>,
    /// Known so that it is refused in words.
    command: Option<toml::Value>,
    #[serde(default)]
    header: Vec<HeaderEntry>,
    tools: Option<Vec<String>>,
    ask: Option<bool>,
    seconds: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SearchEntry {
    address: String,
    ask: Option<bool>,
    seconds: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderEntry {
    name: String,
    env: Option<String>,
    file: Option<PathBuf>,
    #[serde(default)]
    prefix: String,
}

/// The environment.
type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads a file; paths in it are relative to its folder.
pub fn read(path: &Path) -> Result<Config, ToolsError> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|source| ToolsError::File(path.to_owned(), source))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    parse(&text, folder, &|name| std::env::var(name).ok())
}

/// As [`read`]; `variable` is the environment.
pub fn parse(text: &str, folder: &Path, variable: Variables<'_>) -> Result<Config, ToolsError> {
    let file: File = toml::from_str(text).map_err(|error| {
        // Its own display quotes the line, and with it a key that stands where it should not.
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        ToolsError::Toml(line, error.message().to_owned())
    })?;
    if file.server.len() > SERVERS_MAX {
        return Err(ToolsError::TooMany(file.server.len()));
    }
    let mut names = HashSet::new();
    let mut servers = Vec::with_capacity(file.server.len());
    for (at, entry) in file.server.into_iter().enumerate() {
        let server = entry.check(at + 1, folder, variable)?;
        if !names.insert(server.name.clone()) {
            return Err(ToolsError::SameName(server.name));
        }
        servers.push(server);
    }
    let search = file.search.map(SearchEntry::check).transpose()?;
    Ok(Config { servers, search })
}

impl ServerEntry {
    fn check(
        self,
        number: usize,
        folder: &Path,
        variable: Variables<'_>,
    ) -> Result<Server, ToolsError> {
        let name = self.name;
        if !is_name(&name) {
            return Err(ToolsError::Name(number, name));
        }
        if self.command.is_some() {
            return Err(ToolsError::Command(name));
        }
        let place = || format!("server '{name}'");
        let address = self.address.ok_or_else(|| ToolsError::NoAddress(name.clone()))?;
        let address =
            Address::endpoint(&address).map_err(|error| ToolsError::Address(place(), error))?;
        if self.tools.as_ref().is_some_and(Vec::is_empty) {
            return Err(ToolsError::NoTools(name));
        }
        if self.header.len() > HEADERS_MAX {
            return Err(ToolsError::TooManyHeaders(name, self.header.len()));
        }
        let headers = self.header.into_iter().map(|header| header.check(&name, folder, variable));
        Ok(Server {
            address,
            headers: headers.collect::<Result<_, _>>()?,
            tools: self.tools,
            ask: self.ask.unwrap_or(true),
            time_max: seconds(self.seconds, CALL_SECONDS, place)?,
            name,
        })
    }
}

impl SearchEntry {
    fn check(self) -> Result<Search, ToolsError> {
        let place = || "search".to_owned();
        let address =
            Address::parse(&self.address).map_err(|error| ToolsError::Address(place(), error))?;
        let time_max = seconds(self.seconds, SEARCH_SECONDS, place)?;
        Ok(Search { address, ask: self.ask.unwrap_or(true), time_max })
    }
}

impl HeaderEntry {
    fn check(
        self,
        server: &str,
        folder: &Path,
        variable: Variables<'_>,
    ) -> Result<Header, ToolsError> {
        let wrong = || ToolsError::HeaderName(server.to_owned(), self.name.clone());
        let name: HeaderName = self.name.parse().map_err(|_| wrong())?;
        if is_own(&name) {
            return Err(wrong());
        }
        let place = KeyPlace { variable: self.env, file: self.file };
        let key = place
            .read(folder, variable)
            .map_err(|error| ToolsError::Key(server.to_owned(), self.name.clone(), error))?;
        let key = key.ok_or_else(|| ToolsError::NoKey(server.to_owned(), self.name.clone()))?;
        let value = key.header(&self.prefix).ok_or_else(wrong)?;
        Ok(Header { name, value, key })
    }
}

/// Headers that requests have of themselves.
fn is_own(name: &HeaderName) -> bool {
    let name_text = name.as_str();
    name_text.starts_with("mcp-")
        || [
            header::HOST,
            header::ACCEPT,
            header::CONNECTION,
            header::CONTENT_TYPE,
            header::CONTENT_LENGTH,
            header::TRANSFER_ENCODING,
        ]
        .contains(name)
}

/// Names end where `__` begins, so that a tool's full name is one server's alone.
fn is_name(name: &str) -> bool {
    let letter =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(letter)
        && !name.contains("__")
        && !name.starts_with('_')
        && !name.ends_with('_')
}

fn seconds(
    given: Option<u64>,
    usual: u64,
    place: impl Fn() -> String,
) -> Result<Duration, ToolsError> {
    match given {
        Some(0) => Err(ToolsError::Zero(place())),
        given => Ok(Duration::from_secs(given.unwrap_or(usual))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Config, ToolsError> {
        parse(text, Path::new("/nowhere"), &|name| match name {
            "GOOD" => Some("SECRET".into()),
            "EMPTY" => Some(String::new()),
            _ => None,
        })
    }

    fn entry(fields: &str) -> String {
        format!("[[server]]\nname = \"a\"\naddress = \"http://h/mcp\"\n{fields}\n")
    }

    #[test]
    fn calls_ask_and_nothing_is_searched_unless_the_file_says_so() {
        let config = parsed(&entry("")).unwrap();
        let server = &config.servers[0];
        assert!(server.ask && server.tools.is_none() && config.search.is_none());
        assert_eq!(server.time_max, Duration::from_secs(CALL_SECONDS));
        let config = parsed("[search]\naddress = \"http://h\"").unwrap();
        assert!(config.search.is_some_and(|search| search.ask));
        assert!(parsed("").unwrap().servers.is_empty());
    }

    #[test]
    fn headers_are_sent_and_not_shown() {
        let header = "[[server.header]]\nname = \"Authorization\"\nenv = \"GOOD\"\n";
        let config = parsed(&entry(&format!("{header}prefix = \"Bearer \""))).unwrap();
        let header = &config.servers[0].headers[0];
        assert_eq!(
            (header.name.as_str(), header.value.as_bytes()),
            ("authorization", &b"Bearer SECRET"[..])
        );
        assert!(!format!("{config:?}").contains("SECRET"));
    }

    #[test]
    fn what_is_wrong_is_named_without_a_secret() {
        let header = |fields: &str| entry(&format!("[[server.header]]\n{fields}"));
        let command = "[[server]]\nname = \"a\"\ncommand = [\"npx\", \"thing\"]";
        for (text, named) in [
            ("server = 3".to_owned(), "line 1"),
            (entry("token = \"SECRET\""), "unknown field `token`"),
            (command.to_owned(), "no programs are started here (stdio)"),
            ("[[server]]\nname = \"a\"".to_owned(), "server 'a': address is missing"),
            (entry("").replace("http://h", "h"), "server 'a': address: it is no address"),
            (entry("").replace("\"a\"", "\"a__b\""), "server 1: the name 'a__b'"),
            (entry("").replace("\"a\"", "\"A\""), "server 1: the name 'A'"),
            (entry("").replace("\"a\"", "\"a_\""), "server 1: the name 'a_'"),
            (format!("{0}{0}", entry("")), "two servers have the name 'a'"),
            (entry("tools = []"), "tools is empty"),
            (entry("seconds = 0"), "server 'a': seconds is 0"),
            (header("name = \"x-key\""), "header 'x-key': right would be 'env' or 'file'"),
            (header("name = \"x y\"\nenv = \"GOOD\""), "header 'x y' is no name"),
            (header("name = \"Mcp-Name\"\nenv = \"GOOD\""), "or one that is set anyway"),
            (header("name = \"x\"\nenv = \"ABSENT\""), "the variable ABSENT is not set"),
            (header("name = \"x\"\nenv = \"EMPTY\""), "the key in EMPTY is empty"),
            (header("name = \"x\"\nfile = \"absent\""), "/nowhere/absent"),
            (header("name = \"x\"\nfile = \"a\"\nenv = \"GOOD\""), "exclude each other"),
            ("[search]\naddress = \"ftp://h/\"".to_owned(), "search: address: it does not begin"),
            ("[search]\naddress = \"http://h\"\nseconds = 0".to_owned(), "search: seconds is 0"),
        ] {
            let error = parsed(&text).unwrap_err().to_string();
            assert!(error.contains(named), "{named}: {error}");
            assert!(!error.contains("SECRET"), "{error}");
        }
    }
}
