//! Turns a prompt into one answer on standard output.

use std::io::Write;

use anyhow::Result;
use clap::Args;
use myriad_server::{Finish, GenerateRequest, Runtime};
use myriad_token::Specials;
use serde_json::json;

use crate::arguments::{Choice, Draft, Memory, Model, Threads, Weights, text_or_stdin};
use crate::ask::{Answer, chat_prompt, message};
use crate::screen::{self, harmless};
use crate::sizes::Wishes;
use crate::{load, models};

const EXAMPLES: &str = "\
Examples:
  myriad run MODEL \"Write one sentence about the sea.\"
  myriad run MODEL --system \"Answer in one word.\" \"The capital of Germany?\"
  cat letter.txt | myriad run MODEL - --system \"Summarise this letter.\" > summary.txt
  myriad run MODEL --json --seed 7 --temperature 0 \"Name a colour.\" | jq -r .text
  myriad run MODEL --raw \"Once upon a time\" --max-tokens 50     continues the text itself

Standard output has the answer and nothing else; notes and errors go to standard error.";

/// One answer to standard output.
///
/// The prompt becomes a chat message where the model has a chat template, and is continued as it
/// stands where it has none.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    model: Model,
    /// The prompt; `-` reads standard input.
    #[arg(allow_hyphen_values = true)]
    prompt: String,
    /// How the model is to behave: the system message.
    #[arg(long, value_name = "TEXT", conflicts_with = "raw")]
    system: Option<String>,
    /// No chat template: the model continues the prompt, in which the text of control tokens
    /// (`<|im_start|>`) stands for the tokens themselves.
    #[arg(long)]
    raw: bool,
    /// Print JSON: text, finish reason, usage, timings, seed.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    choice: Choice,
    #[command(flatten)]
    memory: Memory,
    #[command(flatten)]
    draft: Draft,
    #[command(flatten)]
    weights: Weights,
    #[command(flatten)]
    threads: Threads,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<()> {
    let prompt = text_or_stdin(&arguments.prompt)?;
    let opened = load::open(Some(&arguments.model.model), arguments.weights.holding())?;
    let opened = opened.with_draft(arguments.draft.draft.as_deref(), !arguments.draft.no_mtp)?;
    opened.check_answers()?;
    let sizes = opened.sizes(Wishes {
        context: arguments.memory.context.map(|tokens| tokens as usize),
        kv_memory: arguments.memory.kv_memory,
        kv: arguments.memory.kv.kind,
        parallel: 1,
        ..Wishes::default()
    })?;
    let name = models::name_of(&opened.path);
    let runtime = opened.start(arguments.threads.count(), &sizes, vec![name])?;
    let prompt = prompt_ids(&runtime, &arguments, &prompt)?;
    let seed = arguments.choice.seed();
    let mut answer = Answer::new(prompt.len());
    let mut generation = runtime.generate_blocking(GenerateRequest {
        prompt,
        sampling: arguments.choice.sampling(seed),
        max_tokens: arguments.choice.max_tokens.map(|tokens| tokens as usize),
        stops: arguments.choice.stop.clone(),
        ..GenerateRequest::default()
    })?;
    let mut out = screen::output();
    let for_people = screen::is_terminal();
    while let Some(event) = generation.next_blocking() {
        let text = answer.take(event)?;
        if arguments.json || text.is_empty() {
            continue;
        }
        let text = if for_people { harmless(&text) } else { text };
        out.write_all(text.as_bytes())?;
        out.flush()?;
    }
    if arguments.json {
        writeln!(out, "{}", report(&runtime, &answer, seed))?;
    } else {
        writeln!(out)?;
    }
    Ok(())
}

fn prompt_ids(runtime: &Runtime, arguments: &Arguments, prompt: &str) -> Result<Vec<u32>> {
    if arguments.raw {
        return Ok(runtime.tokenizer().encode_prompt(prompt, Specials::Parse));
    }
    if runtime.template().is_none() {
        let text = match &arguments.system {
            Some(system) => format!("{system}\n\n{prompt}"),
            None => prompt.to_owned(),
        };
        return Ok(runtime.tokenizer().encode_prompt(&text, Specials::AsText));
    }
    let system = arguments.system.iter().map(|text| message("system", text));
    let messages: Vec<_> = system.chain([message("user", prompt)]).collect();
    chat_prompt(runtime, &messages)
}

fn report(runtime: &Runtime, answer: &Answer, seed: u64) -> serde_json::Value {
    let usage = answer.usage;
    json!({
        "model": runtime.name(),
        "text": answer.text,
        "finish_reason": match answer.finish {
            Some(Finish::Length) => "length",
            _ => "stop",
        },
        "usage": {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        },
        "timings": {
            "first_token_seconds": answer.first_token().as_secs_f64(),
            "total_seconds": answer.total().as_secs_f64(),
            "tokens_per_second": answer.tokens_per_second(),
        },
        "seed": seed,
    })
}
