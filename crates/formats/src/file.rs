//! Turns a path into the bytes of a regular file, mapped where the system can.

use std::fs::{self, File};
use std::io;
use std::ops::Deref;
use std::path::Path;

use myriad_kernels::MappedFile;

/// The bytes of a model file.
pub(crate) enum Source {
    Mapped(MappedFile),
    Owned(Vec<u8>),
}

impl Source {
    /// Maps a regular file; anything else (a folder, a pipe, a device) is an error.
    pub(crate) fn open(path: &Path) -> io::Result<Source> {
        // Looked at before it is opened: opening a pipe would wait for its writer.
        if !fs::metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        MappedFile::new(&File::open(path)?).map(Source::Mapped)
    }
}

impl Deref for Source {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Source::Mapped(bytes) => bytes,
            Source::Owned(bytes) => bytes,
        }
    }
}
