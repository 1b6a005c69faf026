//! Turns names into files inside one folder, and never into files elsewhere.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::error::FolderError;
use crate::error::shown;

/// A folder whose files may be read.
pub(super) struct Place {
    /// Without links.
    root: PathBuf,
    /// Where the files of a folder in Hugging Face's cache really lie: `snapshots/<revision>` has
    /// links into `blobs` beside `snapshots`.
    blobs: Option<PathBuf>,
}

impl Place {
    pub(super) fn open(path: &Path) -> Result<Place, FolderError> {
        let io = |source| FolderError::Io { path: path.to_path_buf(), source };
        let root = path.canonicalize().map_err(io)?;
        if !root.is_dir() {
            return Err(FolderError::NotAFolder { path: path.to_path_buf() });
        }
        let snapshots = root.parent().filter(|parent| parent.ends_with("snapshots"));
        let blobs = snapshots.and_then(Path::parent).map(|model| model.join("blobs"));
        Ok(Place { root, blobs })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Where the file of that name lies, with all links followed; none if it is not there.
    pub(super) fn find(&self, name: &str) -> Result<Option<PathBuf>, FolderError> {
        let path = self.root.join(name);
        let target = match path.canonicalize() {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(FolderError::Io { path, source }),
        };
        let mut homes = [Some(&self.root), self.blobs.as_ref()].into_iter().flatten();
        if !homes.any(|home| target.starts_with(home)) {
            return Err(FolderError::OutsideFolder { file: shown(name), target });
        }
        match fs::metadata(&target) {
            // Looked at before it is opened: opening a pipe would wait for its writer.
            Ok(metadata) if metadata.is_file() => Ok(Some(target)),
            Ok(_) => Err(FolderError::NotAFile { path }),
            Err(source) => Err(FolderError::Io { path, source }),
        }
    }

    /// The bytes of a file of at most `max`; none if it is not there.
    pub(super) fn read(&self, name: &str, max: usize) -> Result<Option<Vec<u8>>, FolderError> {
        let Some(target) = self.find(name)? else { return Ok(None) };
        let mut bytes = Vec::new();
        let outcome =
            File::open(&target).and_then(|file| file.take(max as u64 + 1).read_to_end(&mut bytes));
        let path = self.root.join(name);
        match outcome {
            Err(source) => Err(FolderError::Io { path, source }),
            Ok(_) if bytes.len() > max => Err(FolderError::FileSize { path, max }),
            Ok(_) => Ok(Some(bytes)),
        }
    }
}
