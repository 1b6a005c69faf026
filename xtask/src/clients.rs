//! Turns live servers and the official clients' scripts into a verdict: each must pass unchanged.

use crate::live::{Server, default_model};
use crate::{option, root};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

const KEY: &str = "secret-key-for-tests";

/// Runs every `*.py` of crates/server/tests/clients against a live server: those in `scripted`
/// against the test double that plays `answers.json`, the others against the default model.
pub fn run(arguments: &[String]) -> Result<()> {
    let python = option(arguments, "--python").unwrap_or_else(|| "python3".into());
    let folder = root().join("crates/server/tests/clients");
    let scripted = folder.join("scripted");
    let script = PathBuf::from(format!("script:{}", scripted.join("answers.json").display()));
    let passed = check(&python, &scripted, &script)? + check(&python, &folder, &default_model()?)?;
    println!("clients: {passed} scripts passed");
    Ok(())
}

/// Runs the scripts of one folder against one server; returns how many there were.
fn check(python: &str, folder: &Path, model: &Path) -> Result<usize> {
    let server = Server::start(model, &["--api-key", KEY])?;
    let base = format!("http://127.0.0.1:{}/v1", server.port);
    let mut scripts: Vec<_> = std::fs::read_dir(folder)
        .with_context(|| format!("{}", folder.display()))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "py"))
        .collect();
    scripts.sort();
    if scripts.is_empty() {
        bail!("no client scripts in {}", folder.display());
    }
    for script in &scripts {
        println!("client: {}", script.file_name().unwrap_or_default().to_string_lossy());
        let status = Command::new(python)
            .arg(script)
            .args(["--base-url", &base, "--api-key", KEY])
            .status()
            .with_context(|| format!("running {python}"))?;
        if !status.success() {
            bail!("{} failed with {status}", script.display());
        }
    }
    Ok(scripts.len())
}
