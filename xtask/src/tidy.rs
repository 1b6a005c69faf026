//! Turns the repository's files into a list of broken house rules (see ARCHITECTURE.md).

use crate::root;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which rooms a room may depend on: the table of ARCHITECTURE.md.
const ARROWS: &[(&str, &[&str])] = &[
    ("kernels", &[]),
    ("formats", &["kernels"]),
    ("token", &["formats"]),
    ("model", &["kernels", "formats"]),
    ("engine", &["model", "kernels"]),
    ("store", &[]),
    ("extract", &[]),
    ("server", &["engine", "token", "model", "kernels", "store", "extract"]),
    ("cli", &["kernels", "formats", "token", "model", "engine", "store", "extract", "server"]),
];

/// Longest source file, in lines: above it a file answers more than one question.
const FILE_LINES_MAX: usize = 600;

/// Longest function, in lines.
const FUNCTION_LINES_MAX: usize = 70;

/// Longest line, in columns.
const COLUMNS_MAX: usize = 100;

/// The one file outside of kernels with `unsafe`: a test that counts what parsing allocates, which
/// only an allocator can, and Rust has no safe ones.
const COUNTS_MEMORY: &str = "crates/formats/tests/memory.rs";

/// Words that mark unfinished work; split so that this file does not name itself.
const UNFINISHED: &[&str] = &[
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
    concat!("dbg", "!("),
    concat!("FIX", "ME"),
];

/// Folders of a developer's or a test machine: the project names none.
const MACHINE_PATHS: &[&str] =
    &[concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/ho", "me/")];

/// Runs every check; the error lists each broken rule with file and line.
pub fn run() -> Result<()> {
    let files = tracked_files()?;
    let mut faults = Vec::new();
    check_arrows(&mut faults)?;
    check_dependencies_have_reasons(&mut faults)?;
    for file in &files {
        if file.extension().is_some_and(|extension| extension == "rs") {
            check_source(file, &fs::read_to_string(root().join(file))?, &mut faults);
        }
        check_machine_paths(file, &mut faults);
    }
    if faults.is_empty() {
        println!("tidy: {} files in order", files.len());
        return Ok(());
    }
    bail!("tidy found {} faults:\n  {}", faults.len(), faults.join("\n  "))
}

fn tracked_files() -> Result<Vec<PathBuf>> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .context("git lists the files to check")?;
    let listed = String::from_utf8(output.stdout)?;
    let files: Vec<PathBuf> =
        listed.lines().map(PathBuf::from).filter(|file| root().join(file).is_file()).collect();
    if files.is_empty() {
        bail!("git lists no files: run tidy inside a clone");
    }
    Ok(files)
}

fn manifest(package: &str) -> Result<String> {
    let path = root().join("crates").join(package).join("Cargo.toml");
    fs::read_to_string(&path).with_context(|| format!("{}", path.display()))
}

/// The names on the left of `=` or `.` in the `[section]` of a manifest.
fn names_in_section(manifest: &str, section: &str) -> Vec<String> {
    let mut inside = false;
    let mut names = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line == section;
        } else if inside && !line.is_empty() && !line.starts_with('#') {
            let end = line.find(['.', '=', ' ']).unwrap_or(line.len());
            names.push(line[..end].to_string());
        }
    }
    names
}

fn check_arrows(faults: &mut Vec<String>) -> Result<()> {
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    for entry in fs::read_dir(root().join("crates"))? {
        let room = entry?.file_name().to_string_lossy().into_owned();
        let Some(allowed) = allowed.get(room.as_str()) else {
            faults.push(format!("crates/{room}: a room that xtask/src/tidy.rs does not list"));
            continue;
        };
        for dependency in names_in_section(&manifest(&room)?, "[dependencies]") {
            if let Some(target) = dependency.strip_prefix("myriad-")
                && !allowed.contains(&target)
            {
                faults.push(format!("crates/{room}: may not depend on {target} (arrows)"));
            }
            if dependency == "anyhow" && room != "cli" {
                faults.push(format!("crates/{room}: anyhow is for the binary; use thiserror"));
            }
        }
    }
    Ok(())
}

fn check_dependencies_have_reasons(faults: &mut Vec<String>) -> Result<()> {
    let workspace = fs::read_to_string(root().join("Cargo.toml"))?;
    let architecture = fs::read_to_string(root().join("ARCHITECTURE.md"))?;
    for name in names_in_section(&workspace, "[workspace.dependencies]") {
        if !name.starts_with("myriad-") && !architecture.contains(&format!("`{name}`")) {
            faults.push(format!("Cargo.toml: `{name}` has no reason in ARCHITECTURE.md"));
        }
    }
    Ok(())
}

fn check_source(file: &Path, text: &str, faults: &mut Vec<String>) {
    let shown = file.display();
    if !text.lines().next().unwrap_or("").starts_with("//! ") {
        faults.push(format!("{shown}:1: the first line is not a `//!` sentence"));
    }
    let lines = text.lines().count();
    if lines > FILE_LINES_MAX && !is_table(text) {
        faults.push(format!("{shown}: {lines} lines, at most {FILE_LINES_MAX}"));
    }
    let unsafe_allowed = file.starts_with("crates/kernels") || file == Path::new(COUNTS_MEMORY);
    for (index, line) in text.lines().enumerate() {
        let at = index + 1;
        if line.chars().count() > COLUMNS_MAX && !is_table(text) {
            faults.push(format!("{shown}:{at}: more than {COLUMNS_MAX} columns"));
        }
        // In a policy of contents the word is a part of names: `'un…-inline'`.
        let code = line.split("//").next().unwrap_or("").replace(concat!("un", "safe-"), "");
        if !unsafe_allowed && has_word(&code, concat!("un", "safe")) {
            let word = concat!("un", "safe");
            faults.push(format!("{shown}:{at}: `{word}` outside crates/kernels"));
        }
        for mark in UNFINISHED.iter().filter(|mark| line.contains(**mark)) {
            faults.push(format!("{shown}:{at}: unfinished work: {mark}"));
        }
    }
    check_function_lengths(file, text, faults);
}

/// A file whose second line says `//! (table)` holds data, which has no length limit.
fn is_table(text: &str) -> bool {
    text.lines().take(3).any(|line| line.starts_with("//! (table)"))
}

fn has_word(code: &str, word: &str) -> bool {
    code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|part| part == word)
}

/// Functions are found by rustfmt's own indentation: a line `…fn name` up to the `}` below it.
fn check_function_lengths(file: &Path, text: &str, faults: &mut Vec<String>) {
    let mut open: Option<(usize, usize, String)> = None; // indentation, first line, name
    for (index, line) in text.lines().enumerate() {
        let indentation = line.len() - line.trim_start().len();
        match &open {
            None => {
                if let Some(name) = function_name(line)
                    && !line.trim_end().ends_with([';', '}'])
                {
                    open = Some((indentation, index, name));
                }
            }
            // A macro's call around a signature ends: it has no body.
            Some((outer, ..)) if indentation < *outer && line.trim() == ");" => open = None,
            Some((outer, first, name)) if indentation == *outer && line.trim() == "}" => {
                let length = index - first + 1;
                if length > FUNCTION_LINES_MAX && !is_table(text) {
                    let shown = file.display();
                    faults.push(format!(
                        "{shown}:{}: fn {name} has {length} lines, at most {FUNCTION_LINES_MAX}",
                        first + 1
                    ));
                }
                open = None;
            }
            Some(_) => {}
        }
    }
}

fn function_name(line: &str) -> Option<String> {
    let code = line.trim_start();
    let starts =
        ["fn ", "pub fn ", "pub(crate) fn ", "pub(super) fn ", "async fn ", "pub async fn "];
    let unsafe_starts = [concat!("un", "safe fn "), concat!("pub un", "safe fn ")];
    let rest = starts
        .iter()
        .chain(&unsafe_starts)
        .chain(&[concat!("pub(super) un", "safe fn "), concat!("pub(crate) un", "safe fn ")])
        .find_map(|start| code.strip_prefix(*start))?;
    Some(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())
}

fn check_machine_paths(file: &Path, faults: &mut Vec<String>) {
    let Ok(text) = fs::read_to_string(root().join(file)) else { return }; // binary fixtures
    for (index, line) in text.lines().enumerate() {
        for path in MACHINE_PATHS.iter().filter(|path| line.contains(**path)) {
            faults.push(format!("{}:{}: names {path}", file.display(), index + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults_of(path: &str, text: &str) -> Vec<String> {
        let mut faults = Vec::new();
        check_source(Path::new(path), text, &mut faults);
        faults
    }

    #[test]
    fn a_file_without_its_sentence_is_a_fault() {
        assert_eq!(faults_of("crates/token/src/a.rs", "fn a() {}\n").len(), 1);
        assert!(faults_of("crates/token/src/a.rs", "//! Turns a into b.\n").is_empty());
    }

    #[test]
    fn unsafe_belongs_to_kernels() {
        let text = concat!("//! Turns a into b.\nun", "safe fn a() {}\n");
        assert_eq!(faults_of("crates/token/src/a.rs", text).len(), 1);
        assert_eq!(faults_of("crates/token/tests/a.rs", text).len(), 1);
        assert!(faults_of("crates/kernels/src/a.rs", text).is_empty());
        assert!(faults_of(COUNTS_MEMORY, text).is_empty());
        let policy = concat!("//! Turns a into b.\nconst A: &str = \"'un", "safe-inline'\";\n");
        assert!(faults_of("crates/server/src/a.rs", policy).is_empty());
    }

    #[test]
    fn long_functions_and_files_are_faults() {
        let body = "    call();\n".repeat(FUNCTION_LINES_MAX);
        let text = format!("//! Turns a into b.\nfn a() {{\n{body}}}\n");
        assert_eq!(faults_of("crates/token/src/a.rs", &text).len(), 1);
        let long = format!("//! Turns a into b.\n{}", "// why\n".repeat(FILE_LINES_MAX));
        assert_eq!(faults_of("crates/token/src/a.rs", &long).len(), 1);
    }

    #[test]
    fn sections_of_a_manifest_are_read() {
        let text = "[a]\nx = 1\n[dependencies]\nmyriad-kernels.workspace = true\nserde = \"1\"\n";
        assert_eq!(names_in_section(text, "[dependencies]"), ["myriad-kernels", "serde"]);
    }
}
