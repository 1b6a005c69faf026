//! Turns the README's own code blocks into a test: what a newcomer copies is what runs here.
//!
//! The block `make serve` starts the server; every other ```` ```sh ```` and ```` ```python ````
//! block then runs literally and must succeed and print something. Blocks that a person types into
//! (```` ```console ````) are not run.

use crate::live::{binary, free_port, healthy};
use crate::{option, root};
use anyhow::{Context, Result, bail, ensure};
use std::env;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The port in the README.
const README_PORT: u16 = 8080;

struct Block {
    language: String,
    line: usize,
    text: String,
}

/// Runs the README's blocks; the error names the first that fails.
pub fn run(arguments: &[String]) -> Result<()> {
    let python = option(arguments, "--python").unwrap_or_else(|| "python3".into());
    let readme = fs::read_to_string(root().join("README.md"))?;
    let blocks = blocks(&readme);
    ensure!(
        blocks.iter().take(2).map(|block| block.text.trim()).eq(["make serve", "make test"]),
        "the README's first two blocks are `make serve` and `make test`"
    );
    let port = if healthy(README_PORT) { free_port()? } else { README_PORT };
    if port != README_PORT {
        println!("readme: port {README_PORT} is taken; using {port} instead");
    }
    let _server = MakeServe::start(port)?;
    let mut ran = 0;
    for block in blocks.iter().filter(|block| !block.text.trim().starts_with("make ")) {
        let text = block.text.replace(&format!(":{README_PORT}"), &format!(":{port}"));
        let output = match block.language.as_str() {
            "sh" => shell(&text)?,
            "python" => Command::new(&python).arg("-c").arg(&text).output()?,
            _ => continue,
        };
        let printed = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() || printed.trim().is_empty() || printed.contains("\"error\"") {
            bail!(
                "README.md:{}: this block failed ({}):\n{text}\nstdout: {printed}\nstderr: {}",
                block.line,
                output.status,
                String::from_utf8_lossy(&output.stderr)
            );
        }
        println!("readme: block at line {} ran", block.line);
        ran += 1;
    }
    ensure!(ran >= 3, "the README has only {ran} blocks that run");
    println!("readme: {ran} blocks ran as written");
    Ok(())
}

fn shell(text: &str) -> Result<std::process::Output> {
    let folder = binary()?.parent().context("the binary has a folder")?.to_path_buf();
    let path = env::var("PATH").unwrap_or_default();
    Command::new("bash")
        .args(["-euo", "pipefail", "-c", text])
        .current_dir(root())
        .env("PATH", format!("{}:{path}", folder.display()))
        .output()
        .context("running bash")
}

fn blocks(readme: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (index, line) in readme.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(language)) => {
                let language = language.trim().to_string();
                open = Some(Block { language, line: index + 1, text: String::new() });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    blocks
}

/// `make serve`, as the README says it, in a process group of its own.
struct MakeServe {
    make: Child,
}

impl MakeServe {
    fn start(port: u16) -> Result<MakeServe> {
        let mut command = Command::new("make");
        command.arg("serve").current_dir(root()).process_group(0);
        if port != README_PORT {
            command.arg(format!("PORT={port}"));
        }
        let mut server = MakeServe { make: command.spawn().context("running make serve")? };
        let start = Instant::now();
        while !healthy(port) {
            if let Some(status) = server.make.try_wait()? {
                bail!("make serve ended with {status}");
            }
            ensure!(start.elapsed() < Duration::from_secs(900), "make serve is not up in 15 min");
            sleep(Duration::from_millis(200));
        }
        Ok(server)
    }
}

impl Drop for MakeServe {
    fn drop(&mut self) {
        let group = format!("-{}", self.make.id());
        let _ = Command::new("kill").args(["-INT", "--", &group]).status();
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(10) {
            if matches!(self.make.try_wait(), Ok(Some(_))) {
                return;
            }
            sleep(Duration::from_millis(50));
        }
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.make.wait();
    }
}

/// Replaces what stands between the table markers of README.md; used by `bench`.
pub fn replace_table(path: &Path, table: &str) -> Result<()> {
    const BEGIN: &str = "<!-- speed table: written by `cargo xtask bench --table` -->\n";
    const END: &str = "<!-- end of speed table -->";
    let text = fs::read_to_string(path)?;
    let begin = text.find(BEGIN).context("README.md lacks the speed table's first marker")?;
    let end = text.find(END).context("README.md lacks the speed table's last marker")?;
    let new = format!("{}{table}{}", &text[..begin + BEGIN.len()], &text[end..]);
    fs::write(path, new)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_carry_language_line_and_text() {
        let found = blocks("a\n```sh\nls\n```\nb\n```python\nx = 1\ny = 2\n```\n");
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].language.as_str(), found[0].line), ("sh", 2));
        assert_eq!(found[1].text, "x = 1\ny = 2\n");
    }
}
