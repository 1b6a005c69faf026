//! Turns the bytes of a stranger's file into text, in a process that can do nothing else.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use myriad_extract::{ExtractError, Text, extract};
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::errors::ApiError;
use crate::limits::{EXTRACT_OUTPUT_BYTES_MAX, EXTRACT_TIME_MAX, EXTRACTIONS_TOGETHER};

/// Where the text of files is read.
#[derive(Clone, Debug, Default)]
pub enum Extractor {
    /// In this process, which a file may then hold up: for those who know their files.
    #[default]
    Inside,
    /// By `PROGRAM extract`, which gives up all that it may do before it looks at the file.
    Program(PathBuf),
}

/// Places for files that are read at the same time.
#[derive(Debug)]
pub struct Extractions(Semaphore);

impl Default for Extractions {
    fn default() -> Extractions {
        Extractions(Semaphore::new(EXTRACTIONS_TOGETHER))
    }
}

/// Why there is no text.
#[derive(Debug, thiserror::Error)]
enum Fault {
    /// The file's own fault.
    #[error(transparent)]
    File(#[from] ExtractError),
    #[error("Reading the file took more than {} s, the most that it may.", .0.as_secs())]
    Time(Duration),
    #[error("The file is damaged, or asks for more memory than it may have: its reader broke.")]
    Broke,
    #[error("the program that reads files: {0}")]
    Program(#[from] std::io::Error),
}

impl Extractions {
    /// The text of a file of this name.
    ///
    /// # Errors
    /// 400 saying what about the file is not as it must be; 500 where nothing can be read at all.
    pub async fn run(
        &self,
        extractor: &Extractor,
        name: &str,
        content: File,
    ) -> Result<Text, ApiError> {
        // It is never closed.
        let _place = self.0.acquire().await;
        let read = match extractor {
            Extractor::Inside => read_inside(name, content).await,
            Extractor::Program(program) => read_beside(program, name, content).await,
        };
        read.map_err(|fault| match fault {
            Fault::Program(error) => {
                tracing::error!(%error, "the program that reads files does not run");
                ApiError::internal()
            }
            fault => {
                let error = ApiError::invalid("file", fault.to_string());
                ApiError { code: Some("file_unreadable"), ..error }
            }
        })
    }
}

async fn read_inside(name: &str, mut content: File) -> Result<Text, Fault> {
    let mut bytes = Vec::new();
    content.read_to_end(&mut bytes).await?;
    let name = name.to_owned();
    let read = tokio::task::spawn_blocking(move || extract(&name, bytes)).await;
    Ok(read.map_err(|_| Fault::Broke)??)
}

async fn read_beside(program: &PathBuf, name: &str, content: File) -> Result<Text, Fault> {
    let mut child = Command::new(program)
        .arg("extract")
        .env_clear()
        .env("MYRIAD_EXTRACT_NAME", name)
        .current_dir("/")
        // The file itself: nothing of it passes through this process.
        .stdin(Stdio::from(content.into_std().await))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    match timeout(EXTRACT_TIME_MAX, output(&mut child)).await {
        Ok(text) => text,
        Err(_) => {
            child.kill().await?;
            Err(Fault::Time(EXTRACT_TIME_MAX))
        }
    }
}

async fn output(child: &mut Child) -> Result<Text, Fault> {
    let mut output = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(EXTRACT_OUTPUT_BYTES_MAX).read_to_end(&mut output).await?;
    }
    if !child.wait().await?.success() {
        return Err(Fault::Broke);
    }
    let found: Result<Text, ExtractError> =
        serde_json::from_slice(&output).map_err(|_| Fault::Broke)?;
    Ok(found?)
}
