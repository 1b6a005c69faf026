//! Turns live servers and the official clients' scripts into a verdict: each must pass unchanged.

use crate::live::{Server, binary, default_model, free_port};
use crate::{option, root};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

const KEY: &str = "secret-key-for-tests";

/// Where a script serves tools, as the server is told and the scripts are by this variable.
const TOOLS_PORT: &str = "MYRIAD_TOOLS_PORT";

/// Who runs scripts.
struct Runners {
    /// Of `*.py`.
    python: String,
    /// Of `*.mjs`, and the folder with the modules that they import.
    node: Option<(String, PathBuf)>,
}

/// Runs every script of crates/server/tests/clients against a live server: those in `scripted`
/// against the test double that plays `answers.json`, the others against the default model.
/// `--modules FOLDER` (made by `npm ci`) and `--node` are for those in JavaScript.
pub fn run(arguments: &[String]) -> Result<()> {
    let python = option(arguments, "--python").unwrap_or_else(|| "python3".into());
    let node = option(arguments, "--node").unwrap_or_else(|| "node".into());
    let modules = option(arguments, "--modules").map(PathBuf::from);
    let runners = Runners { python, node: modules.map(|modules| (node, modules)) };
    let folder = root().join("crates/server/tests/clients");
    let scripted = folder.join("scripted");
    let script = PathBuf::from(format!("script:{}", scripted.join("answers.json").display()));
    let passed =
        check(&runners, &scripted, &script)? + check(&runners, &folder, &default_model()?)?;
    println!("clients: {passed} scripts passed");
    Ok(())
}

/// Runs the scripts of one folder against one server; returns how many there were.
fn check(runners: &Runners, folder: &Path, model: &Path) -> Result<usize> {
    // What the scripts ask to keep is kept here, and nothing of the runs before.
    let data = binary()?.with_file_name("clients-data");
    let _ = std::fs::remove_dir_all(&data);
    let data = data.to_str().context("the target folder has an odd name")?;
    let (tools, tools_port) = tools()?;
    let tools = tools.to_str().context("the target folder has an odd name")?;
    let server = Server::start(model, &["--api-key", KEY, "--data", data, "--tools", tools])?;
    let base = format!("http://127.0.0.1:{}/v1", server.port);
    let mut scripts: Vec<_> = std::fs::read_dir(folder)
        .with_context(|| format!("{}", folder.display()))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .collect();
    scripts.sort();
    let mut passed = 0;
    for script in &scripts {
        let Some(mut command) = command(runners, script)? else { continue };
        println!("client: {}", script.file_name().unwrap_or_default().to_string_lossy());
        let status = command
            .args(["--base-url", &base, "--api-key", KEY])
            .env(TOOLS_PORT, tools_port.to_string())
            .status()
            .with_context(|| format!("running {command:?}"))?;
        if !status.success() {
            bail!("{} failed with {status}", script.display());
        }
        passed += 1;
    }
    if passed == 0 {
        bail!("no client scripts in {}", folder.display());
    }
    Ok(passed)
}

/// A file that says where tools will be: at two paths of a free port, one for each era of MCP.
fn tools() -> Result<(PathBuf, u16)> {
    let port = free_port()?;
    let server = |era: &str| {
        format!("[[server]]\nname = \"{era}\"\naddress = \"http://127.0.0.1:{port}/{era}\"\n")
    };
    let file = binary()?.with_file_name("clients-tools.toml");
    std::fs::write(&file, server("modern") + &server("legacy"))?;
    Ok((file, port))
}

/// What runs a script; none for other files, and for JavaScript where there are no modules.
fn command(runners: &Runners, script: &Path) -> Result<Option<Command>> {
    match (script.extension().and_then(|it| it.to_str()), &runners.node) {
        (Some("py"), _) => {
            let mut command = Command::new(&runners.python);
            command.arg(script);
            Ok(Some(command))
        }
        (Some("mjs"), Some((node, modules))) => {
            // Modules are looked for beside the script that imports them.
            let copy = modules.join(script.file_name().unwrap_or_default());
            std::fs::copy(script, &copy).with_context(|| copy.display().to_string())?;
            let mut command = Command::new(node);
            command.arg(copy);
            Ok(Some(command))
        }
        (Some("mjs"), None) => {
            println!("client: {} is skipped (no --modules FOLDER)", script.display());
            Ok(None)
        }
        _ => Ok(None),
    }
}
