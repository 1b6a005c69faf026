//! Turns contents of files into files named by their digest, and back.
//!
//! A content is written beside its place, brought to disk, and moved there: no name ever leads to
//! half a content. Equal contents are kept once; the last document that goes takes it along.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use tokio::fs::{self, DirEntry, File};
use tokio::io::AsyncWriteExt;
use tokio::sync::{OwnedRwLockReadGuard, RwLock};

use crate::database::Store;
use crate::errors::StoreError;
use crate::random;

/// After this time a content that is still not whole never will be: its writer was killed.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

/// The folder of contents.
#[derive(Debug)]
pub struct Blobs {
    folder: PathBuf,
    /// Held for reading while a content has no document yet, for writing while one is removed.
    gate: Arc<RwLock<()>>,
}

/// A content that is on disk. It is safe from removal while this is held: until a document with
/// its digest is committed.
#[derive(Debug)]
pub struct Blob {
    /// SHA-256, in hexadecimal digits.
    pub digest: String,
    /// Its length.
    pub bytes: u64,
    _gate: OwnedRwLockReadGuard<()>,
}

/// A content that is being written; dropped before its end it leaves nothing.
#[derive(Debug)]
pub struct BlobWriter {
    folder: PathBuf,
    gate: Arc<RwLock<()>>,
    part: Part,
    file: File,
    digest: Sha256,
    bytes: u64,
    limit: u64,
}

/// A file that is removed unless it was moved away.
#[derive(Debug)]
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Blobs {
    /// Opens the folder, which is made where it is missing.
    ///
    /// # Errors
    /// [`StoreError::File`].
    pub async fn open(folder: &Path) -> Result<Blobs, StoreError> {
        let parts = folder.join("parts");
        fs::create_dir_all(&parts).await.map_err(at(&parts))?;
        let mut entries = fs::read_dir(&parts).await.map_err(at(&parts))?;
        while let Some(entry) = entries.next_entry().await.map_err(at(&parts))? {
            if is_older(&entry, ABANDONED).await {
                let _ = fs::remove_file(entry.path()).await;
            }
        }
        Ok(Blobs { folder: folder.to_owned(), gate: Arc::default() })
    }

    /// Begins a content of at most `limit` bytes.
    ///
    /// # Errors
    /// [`StoreError::File`].
    pub async fn writer(&self, limit: u64) -> Result<BlobWriter, StoreError> {
        let path = self.folder.join("parts").join(random::letters(24));
        let file = File::create_new(&path).await.map_err(at(&path))?;
        Ok(BlobWriter {
            folder: self.folder.clone(),
            gate: Arc::clone(&self.gate),
            part: Part(path),
            file,
            digest: Sha256::new(),
            bytes: 0,
            limit,
        })
    }

    /// The content with this digest, for reading.
    ///
    /// # Errors
    /// [`StoreError::File`] where it is not there.
    pub async fn read(&self, digest: &str) -> Result<File, StoreError> {
        let path = place(&self.folder, digest);
        File::open(&path).await.map_err(at(&path))
    }

    /// Keeps a content that is there from removal while one more document of it is made.
    ///
    /// # Errors
    /// [`StoreError::File`] where it is not there.
    pub async fn hold(&self, digest: &str) -> Result<Blob, StoreError> {
        let gate = Arc::clone(&self.gate).read_owned().await;
        let path = place(&self.folder, digest);
        let bytes = fs::metadata(&path).await.map_err(at(&path))?.len();
        Ok(Blob { digest: digest.to_owned(), bytes, _gate: gate })
    }

    /// Removes all contents older than `age` that no document of `store` has: those whose documents
    /// went, or were not yet there, when the program was killed. Younger ones may still get theirs,
    /// from another program that has the folder.
    ///
    /// # Errors
    /// Where the database or the disk fails.
    pub async fn remove_orphans(&self, store: &Store, age: Duration) -> Result<(), StoreError> {
        let mut folders = fs::read_dir(&self.folder).await.map_err(at(&self.folder))?;
        while let Some(folder) = folders.next_entry().await.map_err(at(&self.folder))? {
            let first = folder.file_name();
            let Some(first) = first.to_str().filter(|name| name.len() == 2) else { continue };
            let path = folder.path();
            let mut contents = fs::read_dir(&path).await.map_err(at(&path))?;
            while let Some(content) = contents.next_entry().await.map_err(at(&path))? {
                let old = is_older(&content, age).await;
                if let Some(rest) = content.file_name().to_str().filter(|_| old) {
                    self.remove_unused(store, &format!("{first}{rest}")).await?;
                }
            }
        }
        Ok(())
    }

    /// Removes a content that no document of `store` has.
    ///
    /// # Errors
    /// Where the database or the disk fails.
    pub async fn remove_unused(&self, store: &Store, digest: &str) -> Result<(), StoreError> {
        let _alone = self.gate.write().await;
        if store.count_uses(digest).await? > 0 {
            return Ok(());
        }
        let path = place(&self.folder, digest);
        match fs::remove_file(&path).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(&path)(error)),
            _ => Ok(()),
        }
    }
}

impl BlobWriter {
    /// Adds bytes.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] past the limit; [`StoreError::File`].
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.bytes += bytes.len() as u64;
        if self.bytes > self.limit {
            return Err(StoreError::TooLarge { limit: self.limit });
        }
        self.digest.update(bytes);
        self.file.write_all(bytes).await.map_err(at(&self.part.0))
    }

    /// Brings the content to disk, under its name.
    ///
    /// # Errors
    /// [`StoreError::File`].
    pub async fn finish(mut self) -> Result<Blob, StoreError> {
        let gate = Arc::clone(&self.gate).read_owned().await;
        self.file.flush().await.map_err(at(&self.part.0))?;
        self.file.sync_all().await.map_err(at(&self.part.0))?;
        let digest = hexadecimal(&self.digest.finalize());
        let path = place(&self.folder, &digest);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).await.map_err(at(folder))?;
            fs::rename(&self.part.0, &path).await.map_err(at(&path))?;
            // The name itself is on disk when its folder is.
            let folder_file = File::open(folder).await.map_err(at(folder))?;
            folder_file.sync_all().await.map_err(at(folder))?;
        }
        Ok(Blob { digest, bytes: self.bytes, _gate: gate })
    }
}

async fn is_older(entry: &DirEntry, age: Duration) -> bool {
    let written = entry.metadata().await.and_then(|data| data.modified());
    let found = written.ok().and_then(|time| SystemTime::now().duration_since(time).ok());
    found.is_some_and(|found| found >= age)
}

/// `ab/cdef…`: no folder gets too large for tools that list it.
fn place(folder: &Path, digest: &str) -> PathBuf {
    let (first, rest) = digest.split_at_checked(2).unwrap_or(("", digest));
    folder.join(first).join(rest)
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::File { path, source }
}

/// Bytes as digits.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
