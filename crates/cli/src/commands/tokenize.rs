//! Turns a text into the token ids that a model sees.

use std::io::Write;

use anyhow::Result;
use clap::Args;
use myriad_token::{Specials, Tokenizer};
use serde_json::json;

use crate::arguments::{Model, text_or_stdin};
use crate::load::{self, Holding};
use crate::screen::{self, harmless};

const EXAMPLES: &str = "\
Examples:
  myriad tokenize MODEL \"Hello, world\"          one line per token: id and text
  myriad tokenize MODEL --ids \"Hello, world\"    ids alone, on one line
  myriad tokenize MODEL --count - < book.txt    how many tokens a text has
  myriad tokenize MODEL --special '<|im_start|>user'";

/// Show the tokens of a text.
///
/// Reads the model's vocabulary only, so it is quick for models of any size.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    model: Model,
    /// The text; `-` reads standard input.
    #[arg(allow_hyphen_values = true)]
    text: String,
    /// Print the ids alone, on one line.
    #[arg(long, conflicts_with_all = ["count", "json"])]
    ids: bool,
    /// Print how many tokens there are.
    #[arg(long, conflicts_with = "json")]
    count: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Take the text of control tokens (`<|im_end|>`) for the tokens themselves.
    #[arg(long)]
    special: bool,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<()> {
    let opened = load::open(Some(&arguments.model.model), Holding::default())?;
    let tokenizer = opened.tokenizer()?;
    let text = text_or_stdin(&arguments.text)?;
    let specials = if arguments.special { Specials::Parse } else { Specials::AsText };
    let ids = tokenizer.encode(&text, specials);
    let mut out = std::io::BufWriter::new(screen::output());
    if arguments.count {
        writeln!(out, "{}", ids.len())?;
    } else if arguments.ids {
        let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
        writeln!(out, "{}", ids.join(" "))?;
    } else if arguments.json {
        let token = |&id: &u32| {
            let (text, bytes) = (shown(&tokenizer, id), bytes(&tokenizer, id));
            json!({"id": id, "text": text, "bytes": bytes})
        };
        let tokens: Vec<_> = ids.iter().map(token).collect();
        writeln!(out, "{}", json!({"count": ids.len(), "tokens": tokens}))?;
    } else {
        for &id in &ids {
            // As Rust writes it: white space and control characters can be seen.
            writeln!(out, "{id:>7}  {:?}", harmless(&shown(&tokenizer, id)))?;
        }
    }
    Ok(out.flush()?)
}

fn bytes(tokenizer: &Tokenizer, id: u32) -> &[u8] {
    tokenizer.token_bytes(id).unwrap_or_default()
}

/// A token's text; where it is a part of a character only, with a sign for what is missing.
fn shown(tokenizer: &Tokenizer, id: u32) -> String {
    String::from_utf8_lossy(bytes(tokenizer, id)).into_owned()
}
