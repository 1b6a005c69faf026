//! Turns a model's files into the name of one file of packed weights, and writes that once.
//!
//! Weights are packed for the processor before they are used. Where they are to stay on the disk,
//! the packed form is what must stand there; a later start finds it and begins at once.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result};
use myriad_kernels::{Compute, MappedFile};
use myriad_model::{Model, Precision, Source};
use sha2::{Digest as _, Sha256};

use crate::models;
use crate::partial::Partial;
use crate::screen::note;

/// Bytes that are written to the disk at a time.
const BUFFER: usize = 1 << 20;

/// The packed weights of the model at `path`, mapped; written before if they are not there.
///
/// # Errors
/// Where they cannot be written; the message names the file.
pub fn map(
    path: &Path,
    source: Source<'_>,
    precision: Precision,
    bytes: u64,
    compute: &Compute,
    progress: &mut dyn FnMut(f32),
) -> Result<Arc<MappedFile>> {
    let folder = models::packed_folder()?;
    let packed = folder.join(name(path, precision)?);
    let shown = || packed.display().to_string();
    if !packed.is_file() {
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        models::check_room(&folder, bytes)?;
        note(format!("packing weights into {} (once; it may be deleted at any time)", shown()));
        let (partial, file) = Partial::create(&packed)?;
        let mut out = BufWriter::with_capacity(BUFFER, file);
        Model::write_packed(source, precision, &mut out, compute, progress)?;
        partial.finish(out.get_ref())?;
    }
    let file = File::open(&packed).and_then(|file| MappedFile::new(&file));
    Ok(Arc::new(file.with_context(shown)?))
}

/// Another one for each file, each change of a file and each precision. Files are told apart by
/// place, size and time of their last change: to read hundreds of gigabytes at each start, for a
/// digest, would take longer than to pack them.
fn name(path: &Path, precision: Precision) -> Result<String> {
    let mut digest = Sha256::new();
    let mut take = |path: &Path| -> Result<()> {
        let metadata = fs::metadata(path)?;
        let changed = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        let words = (path, metadata.len(), changed.as_nanos());
        digest.update(format!("{words:?}\n"));
        Ok(())
    };
    let whole = path.canonicalize().with_context(|| path.display().to_string())?;
    let mut files: Vec<PathBuf> = match whole.is_dir() {
        true => fs::read_dir(&whole)?.flatten().map(|entry| entry.path()).collect(),
        false => vec![whole],
    };
    files.sort();
    files.iter().filter(|file| file.is_file()).try_for_each(|file| take(file))?;
    digest.update(format!("{precision:?} {}", env!("CARGO_PKG_VERSION")));
    let short: String = digest.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{}.{short}.packed", models::name_of(path)))
}
