//! Turns the fuzz targets into short libFuzzer runs on the stable compiler.

use crate::{option, root};
use anyhow::{Context, Result, bail};
use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// Coverage instrumentation for libFuzzer: what cargo-fuzz passes, without a nightly compiler.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Cdebug-assertions -Coverflow-checks --cfg fuzzing";

/// Builds and runs every target of `fuzz/`, each from its committed seeds.
pub fn run(arguments: &[String]) -> Result<()> {
    let seconds = option(arguments, "--seconds").unwrap_or_else(|| "10".into());
    let only = option(arguments, "--target");
    let folder = root().join("fuzz");
    let target_folder = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| folder.join("target"), |folder| PathBuf::from(folder).join("fuzz"));
    let host = host()?;
    let status = Command::new("cargo")
        .args(["build", "--release", "--locked", "--bins", "--target", &host])
        .current_dir(&folder)
        .env("RUSTFLAGS", COVERAGE)
        .env("CARGO_TARGET_DIR", &target_folder)
        .status()
        .context("cargo build of fuzz/")?;
    if !status.success() {
        bail!(
            "the fuzz targets do not build; if fuzz/Cargo.lock is out of date: \
             cargo update --workspace --manifest-path fuzz/Cargo.toml"
        );
    }
    for target in targets()?.into_iter().filter(|name| only.as_ref().is_none_or(|o| o == name)) {
        println!("fuzz: {target}, {seconds} s");
        let corpus = target_folder.join("corpus").join(&target);
        fs::create_dir_all(&corpus)?;
        let artifacts = target_folder.join("artifacts").join(&target);
        fs::create_dir_all(&artifacts)?;
        let log = artifacts.join("log.txt");
        let status = Command::new(target_folder.join(&host).join("release").join(&target))
            .arg(&corpus)
            .args(Some(folder.join("seeds").join(&target)).filter(|seeds| seeds.is_dir()))
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .args(["-timeout=10", "-rss_limit_mb=2048", "-max_len=65536", "-verbosity=0"])
            .arg("-print_final_stats=1")
            .stderr(fs::File::create(&log)?)
            .status()?;
        let told = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
        if !status.success() {
            let tail: Vec<&str> = told.lines().rev().take(40).collect();
            tail.iter().rev().for_each(|line| println!("{line}"));
            bail!("{target} failed; log.txt and what it failed on are in {}", artifacts.display());
        }
        told.lines().filter(|line| line.contains("executed_units")).for_each(|l| println!("{l}"));
    }
    Ok(())
}

/// The compiler's own platform. Naming it keeps the coverage flags away from build scripts, which
/// run on their own and could not be linked with them.
fn host() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("rustc -vV")?;
    let text = String::from_utf8(output.stdout)?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

/// One target for each file in fuzz/targets.
fn targets() -> Result<Vec<String>> {
    let mut names: Vec<String> = fs::read_dir(root().join("fuzz/targets"))?
        .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    Ok(names)
}
