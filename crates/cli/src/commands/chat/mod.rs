//! Turns a terminal, or a pipe, into a conversation with a model.

mod input;
mod session;
mod slash;

use std::io::Write;

use anyhow::Result;
use clap::Args;
use myriad_kernels::Kernels;

use crate::arguments::{Choice, Draft, Memory, OptionalModel, Threads, Weights};
use crate::screen::{self, advise, count, note, one_text};
use crate::sizes::Wishes;
use crate::{load, models};
use input::{Input, Reader};
use session::Session;
use slash::Slash;

const EXAMPLES: &str = "\
In the chat:
  /help                     lists the commands
  a line that ends with \\   goes on in the next; so does everything between two \"\"\"
  Ctrl-C                    stops the answer; Ctrl-D leaves

Examples:
  myriad chat
  myriad chat MODEL --system \"You are a patient teacher.\" --temperature 0.3
  printf 'Hello!\\nAnd goodbye.\\n' | myriad chat MODEL      one answer for each line";

/// Chat in the terminal.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    model: OptionalModel,
    /// How the model is to behave: the system message.
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Keep no history of what is typed here.
    #[arg(long)]
    no_history: bool,
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
    let opened = load::open(arguments.model.model.as_deref(), arguments.weights.holding())?;
    let opened = opened.with_draft(arguments.draft.draft.as_deref(), !arguments.draft.no_mtp)?;
    opened.check_answers()?;
    let name = models::name_of(&opened.path);
    if opened.template(&opened.tokenizer()?).is_none() {
        return Err(advise(
            format!("{name} has no chat template: it is a base model, made to continue texts"),
            format!("try:  myriad run {name} \"Once upon a time\""),
        ));
    }
    let sizes = opened.sizes(Wishes {
        context: arguments.memory.context.map(|tokens| tokens as usize),
        kv_memory: arguments.memory.kv_memory,
        kv: arguments.memory.kv.kind,
        parallel: 1,
        ..Wishes::default()
    })?;
    let threads = arguments.threads.count();
    let runtime = opened.start(threads, &sizes, vec![name.clone()])?;
    let mut reader = Reader::open(!arguments.no_history)?;
    let interactive = reader.is_interactive();
    let mut session =
        Session::new(runtime, arguments.choice, arguments.system, interactive, sizes.kv_bytes)?;
    if interactive {
        writeln!(
            screen::output(),
            "{name}: {} kernels, {threads} threads, a context of {} tokens\n\
             /help lists the commands, Ctrl-C stops an answer, Ctrl-D leaves\n",
            Kernels::detect()?.level().name(),
            count(session.context_max()),
        )?;
    }
    converse(&mut reader, &mut session)
}

fn converse(reader: &mut Reader, session: &mut Session) -> Result<()> {
    loop {
        match reader.next()? {
            Input::End => {
                if reader.is_interactive() {
                    // Ctrl-D leaves the cursor behind the prompt.
                    writeln!(screen::output())?;
                }
                return Ok(());
            }
            // Ctrl-C at the prompt throws the line away, as in a shell.
            Input::Interrupted => {}
            Input::Text(text) => match Slash::parse(&text) {
                None if text.trim().is_empty() => {}
                None => report(session.ask(&text))?,
                Some(Ok(Slash::Quit)) => return Ok(()),
                Some(Ok(command)) => report(session.obey(command))?,
                Some(Err(message)) => note(message),
            },
        }
    }
}

/// A turn that fails is told; the conversation goes on, unless nobody listens any longer.
fn report(turn: Result<()>) -> Result<()> {
    match turn {
        Err(error) if screen::is_closed_output(&error) => Err(error),
        Err(error) => {
            note(one_text(&error));
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}
