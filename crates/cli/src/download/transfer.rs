//! Turns an address and a SHA-256 into a whole, checked file, however often it is cut.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sha2::{Digest as _, Sha256};
use ureq::http::StatusCode;

use super::http::{Answer, Client, Secret, host};
use super::watch::Watch;
use crate::screen::{advise, size};

/// Attempts in a row that bring nothing before it is given up.
const FAILURES_MAX: u32 = 5;

/// The first wait between two attempts; each is twice the one before.
const WAIT: Duration = Duration::from_millis(250);

/// Bytes read at a time.
const CHUNK_BYTES: usize = 256 << 10;

/// A SHA-256.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; 32]);

/// What is to be fetched.
pub struct Wanted<'a> {
    /// Where from.
    pub url: String,
    /// What it must be.
    pub sha256: Digest,
    /// Its size, where the publisher says so.
    pub bytes: Option<u64>,
    /// What people call it.
    pub name: &'a str,
    /// The folder to work in.
    pub folder: &'a Path,
    /// Who looks on.
    pub watch: &'a dyn Watch,
}

/// Brings a file into `NAME.DIGEST.partial` and checks it there. What a cut left there before, in
/// this run or an earlier one, is not fetched again.
pub fn fetch(client: &Client, wanted: &Wanted<'_>, secret: Option<&Secret>) -> Result<PathBuf> {
    let mut transfer = Transfer::open(wanted)?;
    transfer.shown(wanted);
    let mut failures = 0;
    loop {
        let before = transfer.length;
        match transfer.attempt(client, wanted, secret) {
            Ok(()) if transfer.check(wanted)? => break,
            Ok(()) => {}
            Err(Cut::Fatal(error)) => return Err(error),
            Err(Cut::Again(error)) => {
                failures = if transfer.length > before { 1 } else { failures + 1 };
                if failures > FAILURES_MAX {
                    return Err(transfer.given_up(error));
                }
                wanted.watch.says(&format!("the connection was cut ({error:#}): again"));
                sleep(WAIT * 2u32.pow(failures - 1));
            }
        }
    }
    wanted.watch.done();
    Ok(transfer.path)
}

/// A file on its way.
struct Transfer {
    path: PathBuf,
    file: File,
    hasher: Sha256,
    /// Bytes that are there; all of them are in the hasher.
    length: u64,
    /// The server's name for the version of the file that these bytes are of.
    etag: Option<String>,
    /// Whether some of the bytes are of an earlier answer.
    resumed: bool,
    /// Bytes of the whole file, where they are told.
    total: Option<u64>,
}

/// Why an attempt ended early.
enum Cut {
    /// Another attempt may do better.
    Again(anyhow::Error),
    /// No attempt would.
    Fatal(anyhow::Error),
}

impl Transfer {
    fn open(wanted: &Wanted<'_>) -> Result<Transfer> {
        let short = &wanted.sha256.to_string()[..12];
        let path = wanted.folder.join(format!("{}.{short}.partial", wanted.name));
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).with_context(|| path.display().to_string())?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!("another `myriad pull` is getting this file"),
            // A file system without locks: two pulls at once end in a wrong digest, not in harm.
            Err(TryLockError::Error(_)) => {}
        }
        let mut hasher = Sha256::new();
        let length = io::copy(&mut file, &mut HashWriter(&mut hasher))?;
        let resumed = length > 0;
        if resumed {
            wanted.watch.says(&format!("{} are here already: going on from there", size(length)));
        }
        let total = wanted.bytes;
        Ok(Transfer { path, file, hasher, length, etag: None, resumed, total })
    }

    /// One request; `Ok` at the end of the file.
    fn attempt(
        &mut self,
        client: &Client,
        wanted: &Wanted<'_>,
        secret: Option<&Secret>,
    ) -> Result<(), Cut> {
        if wanted.bytes.is_some_and(|bytes| self.length >= bytes) {
            return Ok(());
        }
        let mut headers = Vec::new();
        if self.length > 0 {
            headers.push(("range", format!("bytes={}-", self.length)));
            if let Some(etag) = &self.etag {
                headers.push(("if-range", etag.clone()));
            }
        }
        let answer = client.get(&wanted.url, &headers, secret).map_err(Cut::Again)?;
        self.check_linked(&answer, wanted)?;
        let total = self.begin(&answer, wanted)?;
        let etag = answer.response.headers().get("etag").and_then(|value| value.to_str().ok());
        // Weak ones do not promise equal bytes.
        self.etag = etag.filter(|etag| etag.starts_with('"')).map(str::to_owned);
        self.total = total.or(self.total);
        let limit = wanted.bytes.or(total);
        let mut body = answer.response.into_body().into_with_config().limit(u64::MAX).reader();
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let count = match body.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) => return Err(Cut::Again(error.into())),
            };
            if limit.is_some_and(|limit| self.length + count as u64 > limit) {
                return Err(self.too_long(wanted, limit.unwrap_or_default()));
            }
            self.append(&chunk[..count]).map_err(Cut::Fatal)?;
            self.shown(wanted);
            if wanted.watch.is_cancelled() {
                return Err(Cut::Fatal(anyhow::anyhow!("it was cancelled")));
            }
        }
        match limit {
            Some(limit) if self.length < limit => {
                Err(Cut::Again(anyhow::anyhow!("{} are missing", size(limit - self.length))))
            }
            _ => Ok(()),
        }
    }

    /// Looks at the head of an answer, goes back to the beginning where it starts there, and
    /// returns the size of the whole file, if it is told.
    fn begin(&mut self, answer: &Answer, wanted: &Wanted<'_>) -> Result<Option<u64>, Cut> {
        let response = &answer.response;
        let header = |name: &str| response.headers().get(name).and_then(|text| text.to_str().ok());
        let total = match response.status() {
            StatusCode::OK => {
                self.restart().map_err(Cut::Fatal)?;
                header("content-length").and_then(|text| text.parse().ok())
            }
            StatusCode::PARTIAL_CONTENT => {
                let range = header("content-range").and_then(content_range);
                match range {
                    Some((start, total)) if start == self.length => total,
                    _ => {
                        self.restart().map_err(Cut::Fatal)?;
                        return Err(Cut::Again(anyhow::anyhow!("the server sent another part")));
                    }
                }
            }
            // What is here is longer than what is there.
            StatusCode::RANGE_NOT_SATISFIABLE if self.length > 0 => {
                self.restart().map_err(Cut::Fatal)?;
                return Err(Cut::Again(anyhow::anyhow!("the file there has another length")));
            }
            status => {
                let error = anyhow::anyhow!("{} answers {status}", host(&wanted.url));
                let passing = status.is_server_error()
                    || [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT]
                        .contains(&status);
                return Err(if passing { Cut::Again(error) } else { Cut::Fatal(error) });
            }
        };
        match (total, wanted.bytes) {
            (Some(total), Some(bytes)) if total != bytes => Err(Cut::Fatal(anyhow::anyhow!(
                "{}: the server has {total} bytes, the publisher says {bytes}",
                wanted.name
            ))),
            _ => Ok(total),
        }
    }

    /// A hub says with each file what it should be.
    fn check_linked(&self, answer: &Answer, wanted: &Wanted<'_>) -> Result<(), Cut> {
        let linked = answer.linked_etag.as_deref().and_then(Digest::parse);
        match linked {
            Some(linked) if linked != wanted.sha256 => Err(Cut::Fatal(anyhow::anyhow!(
                "{}: the hub's list says SHA-256 {}, its file {linked}",
                wanted.name,
                wanted.sha256
            ))),
            _ => Ok(()),
        }
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).with_context(|| self.path.display().to_string())?;
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn shown(&self, wanted: &Wanted<'_>) {
        wanted.watch.at(wanted.name, self.length, self.total);
    }

    fn restart(&mut self) -> Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.hasher = Sha256::new();
        (self.length, self.resumed, self.etag) = (0, false, None);
        Ok(())
    }

    /// Whether the file is what it should be; if it was put together of several answers, it gets
    /// one more chance in one piece.
    fn check(&mut self, wanted: &Wanted<'_>) -> Result<bool> {
        let found = Digest::from(self.hasher.clone());
        if found == wanted.sha256 {
            return Ok(true);
        }
        if self.resumed {
            wanted.watch.says("the parts do not fit together: getting all of it again");
            self.restart()?;
            return Ok(false);
        }
        fs::remove_file(&self.path)?;
        bail!(
            "{}: its SHA-256 is {found}, but {} was promised. Nothing was kept.",
            wanted.name,
            wanted.sha256
        )
    }

    fn too_long(&self, wanted: &Wanted<'_>, limit: u64) -> Cut {
        // What came is not the file: nothing of it is of use.
        let _ = fs::remove_file(&self.path);
        let name = wanted.name;
        Cut::Fatal(anyhow::anyhow!("{name}: more than the {limit} bytes came. Nothing was kept."))
    }

    fn given_up(&self, error: anyhow::Error) -> anyhow::Error {
        if self.length == 0 {
            let _ = fs::remove_file(&self.path);
            return error;
        }
        advise(
            format!("the download was cut after {}: {error:#}", size(self.length)),
            "the same command goes on from there",
        )
    }
}

/// `bytes 10-99/100` or `bytes 10-99/*`: the start, and the size of the whole.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.trim().parse().ok()?, total.trim().parse().ok()))
}

impl From<Sha256> for Digest {
    fn from(hasher: Sha256) -> Digest {
        Digest(hasher.finalize().into())
    }
}

impl Digest {
    /// Of everything that is left to read.
    pub fn of(reader: &mut impl Read) -> io::Result<Digest> {
        let mut hasher = Sha256::new();
        io::copy(reader, &mut HashWriter(&mut hasher))?;
        Ok(hasher.into())
    }

    /// 64 hexadecimal digits, in quotes or not.
    pub fn parse(text: &str) -> Option<Digest> {
        let digits = text.trim().trim_matches('"').as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |digit: u8| char::from(digit).to_digit(16).map(|digit| digit as u8);
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Digest(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// A digest that can be written to.
pub struct HashWriter<'a>(pub &'a mut Sha256);

impl Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_read_and_written() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(&mut io::empty()).unwrap().to_string(), empty);
        assert_eq!(Digest::parse(&format!("\"{empty}\"")), Digest::parse(&empty.to_uppercase()));
        assert_eq!(Digest::parse("\"e3b0\""), None);
        assert_eq!(Digest::parse(&"x".repeat(64)), None);
        assert_eq!(Digest::parse(&"é".repeat(32)), None);
    }

    #[test]
    fn ranges_are_read() {
        assert_eq!(content_range("bytes 10-99/100"), Some((10, Some(100))));
        assert_eq!(content_range("bytes 10-99/*"), Some((10, None)));
        assert_eq!(content_range("bytes */100"), None);
        assert_eq!(content_range("10-99"), None);
    }
}
