//! Turns a temporary folder into a home with a cache, a small model and the built binary.

#![allow(dead_code)] // each test file uses its own part

pub mod server;
pub mod serving;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use myriad_kernels::BlockType;
use myriad_model::Family;
use myriad_model::synthetic::{self, Parts, Shape};
use tempfile::TempDir;

/// A home of its own: nothing of the machine's cache, history or settings is seen or touched.
pub struct Home {
    folder: TempDir,
}

impl Home {
    /// An empty home.
    pub fn new() -> Home {
        Home { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// A home with a small random model of this name in its cache.
    pub fn with_model(name: &str) -> Home {
        let home = Home::new();
        fs::create_dir_all(home.models()).unwrap();
        fs::write(home.model(name), synthetic::gguf(&shape(), 1)).unwrap();
        home
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Where models are kept.
    pub fn models(&self) -> PathBuf {
        self.path().join("cache/myriad/models")
    }

    /// Where the model of this name is kept.
    pub fn model(&self, name: &str) -> PathBuf {
        self.models().join(format!("{name}.gguf"))
    }

    /// The binary in this home, with two threads at most to compute on.
    pub fn myriad(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_myriad"));
        command.args(arguments).current_dir(self.path()).stdin(Stdio::null());
        // Proxies, tokens and indexes of the machine would lead tests elsewhere.
        let kept = ["PATH", "MYRIAD_KERNELS"].map(|name| (name, std::env::var_os(name)));
        command.env_clear();
        command.envs(kept.into_iter().filter_map(|(name, value)| Some((name, value?))));
        command
            .env("HOME", self.path())
            .env("XDG_CACHE_HOME", self.path().join("cache"))
            .env("XDG_STATE_HOME", self.path().join("state"))
            .env("XDG_DATA_HOME", self.path().join("data"));
        command
    }

    /// Runs the binary to its end.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran::from(self.myriad(arguments).output().expect("the binary runs"))
    }

    /// Runs the binary with this standard input.
    pub fn run_with(&self, arguments: &[&str], input: &[u8]) -> Ran {
        let mut command = self.myriad(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary runs");
        // A program that ends early closes its input: no failure of the test.
        let _ = child.stdin.take().expect("piped").write_all(input);
        Ran::from(child.wait_with_output().unwrap())
    }
}

/// A model of three layers, made for 512 tokens.
pub fn shape() -> Shape {
    Shape::small(Family::Llama, BlockType::Q8_0)
}

/// The parts of the small model, to be changed.
pub fn parts() -> Parts {
    Parts::new(&shape(), 1)
}

/// What a run left.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        Ran {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).expect("UTF-8"),
            err: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }
}

impl Ran {
    /// The output of a run that succeeded.
    #[track_caller]
    pub fn good(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }

    /// The error of a run that failed with exit code 1, which is one line and perhaps what to do.
    #[track_caller]
    pub fn bad(self) -> String {
        assert_eq!(self.code, Some(1), "{self:?}");
        let text = self.err.trim_end();
        let at = text.rfind("error: ").unwrap_or_else(|| panic!("no error: {self:?}"));
        let mut lines = text[at..].lines().skip(1);
        assert!(lines.all(|line| line.starts_with("  ")), "{self:?}");
        assert!(!text.contains("panicked"), "{self:?}");
        text[at..].to_owned()
    }

    /// The JSON of a run that succeeded.
    #[track_caller]
    pub fn json(self) -> serde_json::Value {
        serde_json::from_str(&self.good()).expect("JSON")
    }
}
