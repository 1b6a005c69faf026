//! Turns the files of `web/dist`, where the chat was built, into a table that the server embeds.
//!
//! Without a build of the chat the table is empty, and the server is one of programs alone.

use std::env;
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

fn main() -> io::Result<()> {
    let dist =
        Path::new(&env::var("CARGO_MANIFEST_DIR").unwrap_or_default()).join("../../web/dist");
    // The folder is always there, with a file that git keeps; a path that is not would make cargo
    // build the server anew each time.
    println!("cargo::rerun-if-changed={}", dist.display());
    let mut files = Vec::new();
    if dist.join("index.html").is_file() {
        collect(&dist, &mut files)?;
    }
    files.sort();
    let out = PathBuf::from(env::var("OUT_DIR").unwrap_or_default());
    let mut table = String::from("&[\n");
    for (index, file) in files.iter().enumerate() {
        let path = file.strip_prefix(&dist).unwrap_or(file).to_string_lossy().replace('\\', "/");
        let digest = fnv1a(&fs::read(file)?);
        let plain = include(file, &out.join(format!("web_{index}")))?;
        let packed = PathBuf::from(format!("{}.gz", file.display()));
        let gzip = match packed.is_file() {
            true => format!("Some({})", include(&packed, &out.join(format!("web_{index}.gz")))?),
            false => "None".to_owned(),
        };
        writeln!(
            table,
            "File {{ path: \"/{path}\", digest: \"{digest:016x}\", plain: {plain}, gzip: {gzip} }},"
        )
        .map_err(io::Error::other)?;
    }
    table.push_str("]\n");
    fs::write(out.join("web_files.rs"), table)
}

/// The expression that embeds a copy: the chat may be built anew while the server is compiled.
fn include(file: &Path, copy: &Path) -> io::Result<String> {
    fs::copy(file, copy)?;
    Ok(format!("include_bytes!({:?})", copy.display().to_string()))
}

/// All files that are served under their own names.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            collect(&path, files)?;
        } else if !name.starts_with('.') && !name.ends_with(".gz") {
            files.push(path);
        }
    }
    Ok(())
}

/// A name for contents, so that a browser can ask whether they are still the same. No secret hangs
/// on it.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
