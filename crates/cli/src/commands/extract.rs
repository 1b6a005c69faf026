//! Turns a file from standard input into its text on standard output, as JSON, within walls.
//!
//! The server runs this for each file that someone adds to a chat: a file that breaks its reader
//! breaks a process that has nothing.

use std::io::{Read, Write, stdin, stdout};

use anyhow::Result;
use clap::Args;

use crate::confine::confine;

/// Read the text of a file, in a process that may do nothing else.
#[derive(Args)]
pub struct Arguments {
    /// The file's name, which says what it may be. Not on the command line: that is everyone's to
    /// see.
    #[arg(long, env = "MYRIAD_EXTRACT_NAME", hide_env_values = true, default_value = "")]
    name: String,
}

/// Runs the command. What is wrong with the file is part of the output.
pub fn run(arguments: Arguments) -> Result<()> {
    confine()?;
    let mut bytes = Vec::new();
    stdin().lock().read_to_end(&mut bytes)?;
    let found = myriad_extract::extract(&arguments.name, bytes);
    let mut output = stdout().lock();
    output.write_all(&serde_json::to_vec(&found)?)?;
    Ok(output.flush()?)
}
