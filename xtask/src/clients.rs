//! Turns a live server and the official clients' scripts into a verdict: each must pass unchanged.

use crate::live::{Server, default_model};
use crate::{option, root};
use anyhow::{Context, Result, bail};
use std::process::Command;

/// Runs every `*.py` of crates/server/tests/clients against a live server.
pub fn run(arguments: &[String]) -> Result<()> {
    let python = option(arguments, "--python").unwrap_or_else(|| "python3".into());
    let folder = root().join("crates/server/tests/clients");
    let server = Server::start(&default_model()?, &["--api-key", "secret-key-for-tests"])?;
    let base = format!("http://127.0.0.1:{}/v1", server.port);
    let mut scripts: Vec<_> = std::fs::read_dir(&folder)
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
        let status = Command::new(&python)
            .arg(script)
            .args(["--base-url", &base, "--api-key", "secret-key-for-tests"])
            .status()
            .with_context(|| format!("running {python}"))?;
        if !status.success() {
            bail!("{} failed with {status}", script.display());
        }
    }
    println!("clients: {} scripts passed", scripts.len());
    Ok(())
}
