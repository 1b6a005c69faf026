//! Turns a command line into one command's run, and its error into one line and an exit code.
//!
//! `arguments` holds the flags that commands share, `commands` one file per command; `models` finds
//! model files, `sizes` fits a model into memory, `load` brings it there, `ask` follows one answer,
//! `download` gets new models, `library` is all that a server may load, `storage` what it keeps,
//! `confine` walls in what reads files of strangers.

mod arguments;
mod ask;
mod commands;
mod confine;
mod download;
mod file;
mod library;
mod load;
mod memory;
mod models;
mod oidc;
mod packed;
mod partial;
mod screen;
mod sizes;
mod storage;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

const EXAMPLES: &str = "\
Start here:
  myriad chat                              talk to the model in your cache
  myriad serve                             serve it at http://127.0.0.1:8080/v1
  myriad run MODEL \"Name three colours.\"   one answer, for scripts

MODEL is a path to a GGUF file, or the name of a model in the cache (or the unique beginning of
one). `myriad pull` puts models there. `myriad COMMAND --help` has examples of each command.";

/// Large language models on machines you control.
///
/// One binary that runs open models on ordinary processors: in the terminal, in scripts, and as a
/// server with OpenAI's API. Nothing you type leaves the machine.
#[derive(Parser)]
#[command(name = "myriad", version, after_help = EXAMPLES, max_term_width = 100)]
#[command(disable_help_subcommand = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    // In a box: it has many more flags than the others.
    Serve(Box<commands::serve::Arguments>),
    Keys(commands::keys::Arguments),
    Users(commands::users::Arguments),
    Chat(commands::chat::Arguments),
    Run(commands::run::Arguments),
    Pull(commands::pull::Arguments),
    Convert(commands::convert::Arguments),
    Inspect(commands::inspect::Arguments),
    Tokenize(commands::tokenize::Arguments),
    Perplexity(commands::perplexity::Arguments),
    Bench(commands::bench::Arguments),
    #[command(hide = true)]
    Extract(commands::extract::Arguments),
}

/// 0: it worked; 1: it did not, and the last line says why; 2 (by clap): the command line is wrong.
fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(arguments) => commands::serve::run(*arguments),
        Command::Keys(arguments) => commands::keys::run(arguments),
        Command::Users(arguments) => commands::users::run(arguments),
        Command::Chat(arguments) => commands::chat::run(arguments),
        Command::Run(arguments) => commands::run::run(arguments),
        Command::Pull(arguments) => commands::pull::run(arguments),
        Command::Convert(arguments) => commands::convert::run(arguments),
        Command::Inspect(arguments) => commands::inspect::run(arguments),
        Command::Tokenize(arguments) => commands::tokenize::run(arguments),
        Command::Perplexity(arguments) => commands::perplexity::run(arguments),
        Command::Bench(arguments) => commands::bench::run(arguments),
        Command::Extract(arguments) => commands::extract::run(arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Who reads our output has read enough: `myriad run … | head -1` is no failure.
        Err(error) if screen::is_closed_output(&error) => ExitCode::SUCCESS,
        Err(error) => {
            screen::error(&error);
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_flags_fit_together() {
        Cli::command().debug_assert();
    }
}
