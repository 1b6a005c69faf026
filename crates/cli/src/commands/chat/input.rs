//! Turns key strokes, or the lines of a pipe, into messages of one or more lines.

use std::fs;
use std::io::{self, BufRead, IsTerminal};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Config, Editor, Helper};

use super::slash::COMMANDS;
use crate::models;
use crate::screen::note;

/// Lines that the history keeps.
const HISTORY_LINES_MAX: usize = 2000;

/// What marks the beginning and the end of a text of many lines.
const QUOTES: &str = "\"\"\"";

/// What came from the keyboard.
pub enum Input {
    /// A message or a command.
    Text(String),
    /// Ctrl-C.
    Interrupted,
    /// Ctrl-D, or the end of the pipe.
    End,
}

/// Where messages come from.
pub enum Reader {
    /// A person at a terminal.
    Terminal {
        /// Keys, history, completion.
        editor: Box<Editor<Manners, DefaultHistory>>,
        /// Where the history is kept.
        history: Option<PathBuf>,
    },
    /// Anything else.
    Pipe,
}

impl Reader {
    /// An editor where both ends are a terminal; else plain lines.
    pub fn open(keep_history: bool) -> Result<Reader> {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return Ok(Reader::Pipe);
        }
        let config = Config::builder()
            .max_history_size(HISTORY_LINES_MAX)?
            .history_ignore_space(false)
            .build();
        let mut editor = Editor::with_config(config)?;
        editor.set_helper(Some(Manners));
        let history = match keep_history.then(history_file).transpose() {
            Ok(history) => history,
            // A chat without a history is a chat.
            Err(error) => {
                note(format!("warning: no history is kept: {error:#}"));
                None
            }
        };
        if let Some(history) = &history {
            // An empty file has no history yet, which rustyline calls an error.
            let _ = editor.load_history(history);
        }
        Ok(Reader::Terminal { editor: Box::new(editor), history })
    }

    /// Whether a person sits there.
    pub fn is_interactive(&self) -> bool {
        matches!(self, Reader::Terminal { .. })
    }

    /// The next message or command.
    pub fn next(&mut self) -> Result<Input> {
        match self {
            Reader::Pipe => next_of(&mut io::stdin().lock()),
            Reader::Terminal { editor, history } => match editor.readline("> ") {
                Ok(typed) => {
                    if !typed.trim().is_empty() && editor.add_history_entry(typed.as_str())? {
                        keep(editor, history);
                    }
                    Ok(Input::Text(cleaned(&typed)))
                }
                Err(ReadlineError::Interrupted) => Ok(Input::Interrupted),
                Err(ReadlineError::Eof) => Ok(Input::End),
                Err(error) => Err(error.into()),
            },
        }
    }
}

/// At once, so that a crash loses nothing; the first failure is told, and ends the keeping.
fn keep(editor: &mut Editor<Manners, DefaultHistory>, history: &mut Option<PathBuf>) {
    let Some(path) = history else { return };
    if let Err(error) = editor.append_history(path) {
        note(format!("warning: no history is kept: {error}"));
        *history = None;
    }
}

/// The file of the history: for the user's eyes alone, from its first moment.
fn history_file() -> Result<PathBuf> {
    let folder = models::state_folder()?;
    let path = folder.join("chat_history");
    create_private(&folder, &path).with_context(|| path.display().to_string())?;
    Ok(path)
}

fn create_private(folder: &Path, path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    let mut options = fs::OpenOptions::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
        builder.mode(0o700);
        options.mode(0o600);
    }
    builder.recursive(true).create(folder)?;
    let file = options.append(true).create(true).open(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
    }
    drop(file);
    Ok(())
}

/// Lines up to the end of a message.
fn next_of(lines: &mut impl BufRead) -> Result<Input> {
    let mut text = String::new();
    loop {
        let mut line = Vec::new();
        if lines.read_until(b'\n', &mut line)? == 0 {
            let rest = !text.is_empty();
            return Ok(if rest { Input::Text(cleaned(&text)) } else { Input::End });
        }
        let Ok(line) = str::from_utf8(&line) else { bail!("standard input is not UTF-8 text") };
        text += line.trim_end_matches(['\n', '\r']);
        if is_whole(&text) {
            return Ok(Input::Text(cleaned(&text)));
        }
        text.push('\n');
    }
}

/// Whether a message is complete.
fn is_whole(text: &str) -> bool {
    match text.trim_start().strip_prefix(QUOTES) {
        Some(rest) => rest.trim_end().ends_with(QUOTES),
        None => !text.ends_with('\\'),
    }
}

/// The message without the signs that joined its lines.
fn cleaned(text: &str) -> String {
    let Some(rest) = text.trim_start().strip_prefix(QUOTES) else {
        return text.replace("\\\n", "\n");
    };
    let inner = rest.trim_end();
    let inner = inner.strip_suffix(QUOTES).unwrap_or(inner);
    inner.trim_matches('\n').to_owned()
}

/// How the editor behaves: Enter goes on while a message is not whole, Tab completes commands.
pub struct Manners;

impl Helper for Manners {}

impl Highlighter for Manners {}

impl Hinter for Manners {
    type Hint = String;
}

impl Validator for Manners {
    fn validate(&self, context: &mut ValidationContext) -> rustyline::Result<ValidationResult> {
        Ok(match is_whole(context.input()) {
            true => ValidationResult::Valid(None),
            false => ValidationResult::Incomplete,
        })
    }
}

impl Completer for Manners {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &rustyline::Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let typed = line.get(..position).unwrap_or_default();
        if !typed.starts_with('/') {
            return Ok((position, Vec::new()));
        }
        let names = COMMANDS.map(|(command, _)| command.split(' ').next().unwrap_or(command));
        let fitting = names.into_iter().filter(|name| name.starts_with(typed));
        Ok((0, fitting.map(str::to_owned).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<String> {
        let mut lines = text.as_bytes();
        let mut found = Vec::new();
        while let Input::Text(text) = next_of(&mut lines).unwrap() {
            found.push(text);
        }
        found
    }

    #[test]
    fn lines_are_joined_where_they_say_so() {
        assert_eq!(all("one\r\ntwo"), ["one", "two"]);
        assert_eq!(all("a \\\n b\nc\n"), ["a \n b", "c"]);
        assert_eq!(all("\"\"\"\nx\n\ny\\\n\"\"\"\nz"), ["x\n\ny\\", "z"]);
        assert_eq!(all("\"\"\"x\"\"\"\n"), ["x"]);
        assert_eq!(all("\"\"\"never closed\n"), ["never closed"]);
        assert_eq!(all("\"\"\"\n\"\"\"\n"), [""]);
        assert!(next_of(&mut &b"\xff\n"[..]).is_err());
    }

    #[test]
    #[cfg(unix)]
    fn the_history_is_for_the_user_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state").join("history");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        create_private(path.parent().unwrap(), &path).unwrap();
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        create_private(path.parent().unwrap(), &path).unwrap();
        assert_eq!(mode(&path), 0o600);
    }
}
