//! Turns bytes that come into what whoever waits for them sees: a bar, or anything else.

use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};

use indicatif::ProgressBar;

use crate::screen::{bytes_bar, note};

/// Whoever looks on while files come.
pub trait Watch {
    /// So many bytes of this are here, of so many where that is told.
    fn at(&self, what: &str, bytes: u64, total: Option<u64>);

    /// Something happened that is worth a line.
    fn says(&self, text: &str);

    /// All of it is here.
    fn done(&self);

    /// Whether nobody wants it any more.
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// A bar on the terminal.
#[derive(Default)]
pub struct Bar(Mutex<Option<(String, ProgressBar)>>);

impl Watch for Bar {
    fn at(&self, what: &str, bytes: u64, total: Option<u64>) {
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.as_ref().is_none_or(|(known, _)| known != what) {
            *shown = Some((what.to_owned(), bytes_bar(total.unwrap_or(0), what)));
        }
        let Some((_, bar)) = &*shown else { return };
        if let Some(total) = total {
            bar.set_length(total);
        }
        bar.set_position(bytes);
    }

    fn says(&self, text: &str) {
        let shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*shown {
            Some((_, bar)) => bar.suspend(|| note(text)),
            None => note(text),
        }
    }

    fn done(&self) {
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, bar)) = shown.take() {
            bar.finish_and_clear();
        }
    }
}

/// A reader that somebody looks at, and may end.
pub struct Watched<'a, R> {
    inner: R,
    watch: &'a dyn Watch,
    what: &'a str,
    bytes: u64,
    total: u64,
}

impl<'a, R: Read> Watched<'a, R> {
    /// Of a reader of so many bytes.
    pub fn new(inner: R, watch: &'a dyn Watch, what: &'a str, total: u64) -> Watched<'a, R> {
        Watched { inner, watch, what, bytes: 0, total }
    }
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.watch.is_cancelled() {
            return Err(io::Error::other("it was cancelled"));
        }
        let count = self.inner.read(buffer)?;
        self.bytes += count as u64;
        self.watch.at(self.what, self.bytes, Some(self.total));
        Ok(count)
    }
}
