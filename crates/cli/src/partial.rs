//! Turns a file that is being written into one that is there as a whole, or not at all.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// How names of unfinished files end.
const ENDING: &str = ".partial";

/// A file beside the one that is wanted. It goes away unless it is finished.
pub struct Partial {
    path: PathBuf,
    wanted: PathBuf,
}

impl Partial {
    /// A new file in the folder of `wanted`, hidden.
    ///
    /// # Errors
    /// Where it cannot be made; the message names it.
    pub fn create(wanted: &Path) -> Result<(Partial, File)> {
        let name = wanted.file_name().unwrap_or_default().to_string_lossy();
        let path = wanted.with_file_name(format!(".{name}.{}{ENDING}", std::process::id()));
        sweep(&path, &format!(".{name}."));
        let file = File::create_new(&path).with_context(|| path.display().to_string())?;
        // Tells others that somebody writes it. A file system without locks loses only that.
        let _ = file.try_lock();
        Ok((Partial { path, wanted: wanted.to_path_buf() }, file))
    }

    /// Gives it the name that is wanted, when everything is on the disk.
    ///
    /// # Errors
    /// Those of the disk; the message names the file.
    pub fn finish(self, file: &File) -> Result<()> {
        let named = file.sync_all().and_then(|()| fs::rename(&self.path, &self.wanted));
        named.with_context(|| self.wanted.display().to_string())
    }
}

/// Removes what earlier processes left beside `path` when they were killed: whoever is still
/// writing holds a lock.
fn sweep(path: &Path, beginning: &str) {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let entries = fs::read_dir(folder.unwrap_or(Path::new("."))).into_iter().flatten().flatten();
    let is_ours = |name: &str| name.starts_with(beginning) && name.ends_with(ENDING);
    for entry in entries.filter(|entry| entry.file_name().to_str().is_some_and(is_ours)) {
        if File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // After `finish` there is none.
        let _ = fs::remove_file(&self.path);
    }
}
