//! Turns messages into streamed answers, and keeps the conversation.

use std::fs;
use std::future::pending;
use std::io::Write;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use myriad_server::{Finish, GenerateError, GenerateRequest, Runtime};
use myriad_token::Message;
use serde_json::json;

use super::slash::{COMMANDS, Slash};
use crate::arguments::Choice;
use crate::ask::{Answer, chat_prompt, message};
use crate::screen::{self, advise, count, harmless, seconds, size};

/// A conversation with a model.
pub struct Session {
    runtime: Arc<Runtime>,
    choice: Choice,
    system: Option<String>,
    /// Without the system message.
    messages: Vec<Message>,
    /// Whether a person watches: escape sequences are kept away, speeds are shown.
    interactive: bool,
    /// Bytes of keys and values.
    kv_bytes: u64,
    /// Waits for the engine and for Ctrl-C at once.
    executor: tokio::runtime::Runtime,
    total: Total,
}

/// Sums over all answers.
#[derive(Default)]
struct Total {
    answers: usize,
    prompt_tokens: usize,
    cached_tokens: usize,
    completion_tokens: usize,
    seconds: f64,
    /// Tokens of the latest prompt with its answer: how full the context is.
    last: usize,
}

impl Session {
    /// An empty conversation.
    pub fn new(
        runtime: Arc<Runtime>,
        choice: Choice,
        system: Option<String>,
        interactive: bool,
        kv_bytes: u64,
    ) -> Result<Session> {
        let executor = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (messages, total) = (Vec::new(), Total::default());
        Ok(Session { runtime, choice, system, messages, interactive, kv_bytes, executor, total })
    }

    /// Tokens that a conversation may have.
    pub fn context_max(&self) -> usize {
        self.runtime.context_max()
    }

    /// Answers a message. One that cannot be answered is not kept.
    pub fn ask(&mut self, text: &str) -> Result<()> {
        self.messages.push(message("user", text));
        let answered = self.answer();
        if answered.is_err() {
            self.messages.pop();
        }
        answered
    }

    /// Does what a command says.
    pub fn obey(&mut self, command: Slash) -> Result<()> {
        let mut out = screen::output();
        match command {
            Slash::Help => {
                for (name, what) in COMMANDS {
                    writeln!(out, "  {name:<14} {what}")?;
                }
                let lines = "a line that ends with \\ goes on in the next, and so does everything \
                             between two \"\"\"";
                writeln!(out, "  {lines}")?;
            }
            Slash::System(None) => match &self.system {
                Some(system) => writeln!(out, "{system}")?,
                None => writeln!(out, "there is no system message")?,
            },
            Slash::System(Some(text)) => {
                self.system = (text != "off").then_some(text);
                let state = if self.system.is_some() { "set" } else { "removed" };
                writeln!(out, "system message {state}; /clear begins a new conversation")?;
            }
            Slash::Clear => {
                self.messages.clear();
                self.total.last = 0;
                writeln!(out, "a new conversation")?;
            }
            Slash::Regenerate => self.regenerate()?,
            Slash::Stats => self.stats(&mut out)?,
            Slash::Save(file) => {
                self.save(&file)?;
                writeln!(out, "saved to {file}")?;
            }
            Slash::Quit => {}
        }
        Ok(())
    }

    fn regenerate(&mut self) -> Result<()> {
        let Some(before) = self.messages.pop_if(|last| last.role == "assistant") else {
            bail!("there is no answer yet that could be given again");
        };
        let answered = self.answer();
        if answered.is_err() {
            self.messages.push(before);
        }
        answered
    }

    /// Streams the answer to the last message, and keeps it.
    fn answer(&mut self) -> Result<()> {
        let system = self.system.iter().map(|text| message("system", text));
        let messages: Vec<Message> = system.chain(self.messages.iter().cloned()).collect();
        let prompt = chat_prompt(&self.runtime, &messages)?;
        let request = GenerateRequest {
            prompt,
            sampling: self.choice.sampling(self.choice.seed()),
            max_tokens: self.choice.max_tokens.map(|tokens| tokens as usize),
            stops: self.choice.stop.clone(),
            ..GenerateRequest::default()
        };
        let (answer, stopped) = self.executor.block_on(self.stream(request))?;
        let mut out = screen::output();
        writeln!(out)?;
        if self.interactive {
            writeln!(out, "{}\n", quiet(&summary(&answer, stopped)))?;
        }
        out.flush()?;
        self.total.add(&answer);
        self.messages.push(message("assistant", &answer.text));
        Ok(())
    }

    /// The answer, and whether it was stopped by Ctrl-C; dropping the generation cancels it.
    async fn stream(&self, request: GenerateRequest) -> Result<(Answer, bool)> {
        let interrupt = async {
            match self.interactive {
                true => tokio::signal::ctrl_c().await.unwrap_or(()),
                // In a pipe, Ctrl-C ends the program, as everywhere.
                false => pending().await,
            }
        };
        tokio::pin!(interrupt);
        let mut answer = Answer::new(request.prompt.len());
        let mut generation = self.runtime.generate(request).await.map_err(explain)?;
        let mut out = screen::output();
        loop {
            let event = tokio::select! {
                biased;
                () = &mut interrupt => return Ok((answer, true)),
                event = generation.next() => event,
            };
            let Some(event) = event else { return Ok((answer, false)) };
            let text = answer.take(event)?;
            let text = if self.interactive { harmless(&text) } else { text };
            out.write_all(text.as_bytes())?;
            out.flush()?;
        }
    }

    fn stats(&self, out: &mut impl Write) -> Result<()> {
        let total = &self.total;
        let rate = total.completion_tokens as f64 / total.seconds.max(f64::MIN_POSITIVE);
        let rate = if total.completion_tokens > 0 { rate } else { 0.0 };
        writeln!(
            out,
            "  model     {}, {} of weights\n  \
             messages  {}, of them {} answers of {} tokens, {rate:.1} tokens/s\n  \
             prompts   {} tokens, of them {} found in the cache\n  \
             context   {} of {} tokens taken; {} of KV memory",
            self.runtime.name(),
            size(self.runtime.model().map_or(0, |model| model.weight_bytes()) as u64),
            self.messages.len(),
            total.answers,
            count(total.completion_tokens),
            count(total.prompt_tokens),
            count(total.cached_tokens),
            count(total.last),
            count(self.context_max()),
            size(self.kv_bytes),
        )?;
        Ok(())
    }

    fn save(&self, file: &str) -> Result<()> {
        let system = self.system.iter().map(|text| message("system", text));
        let messages: Vec<Message> = system.chain(self.messages.iter().cloned()).collect();
        let text = if file.ends_with(".json") {
            let list: Vec<_> = messages
                .iter()
                .map(|message| json!({"role": message.role, "content": message.content}))
                .collect();
            serde_json::to_string_pretty(&json!({"model": self.runtime.name(), "messages": list}))?
                + "\n"
        } else {
            let part = |message: &Message| format!("## {}\n\n{}\n", message.role, message.content);
            messages.iter().map(part).collect::<Vec<_>>().join("\n")
        };
        fs::write(file, text).with_context(|| file.to_owned())
    }
}

impl Total {
    fn add(&mut self, answer: &Answer) {
        self.answers += 1;
        self.prompt_tokens += answer.usage.prompt_tokens;
        self.cached_tokens += answer.usage.cached_tokens;
        self.completion_tokens += answer.usage.completion_tokens;
        self.last = answer.usage.prompt_tokens + answer.usage.completion_tokens;
        self.seconds += (answer.total().saturating_sub(answer.first_token())).as_secs_f64();
    }
}

fn explain(error: GenerateError) -> anyhow::Error {
    match error {
        GenerateError::ContextLength { limit, prompt, .. } => advise(
            format!("the conversation has {prompt} tokens, and the context holds {limit}"),
            "/clear begins a new one; `myriad chat --context` makes room, if the model has it",
        ),
        error => anyhow!(error),
    }
}

/// One line about speed, for who cares.
fn summary(answer: &Answer, stopped: bool) -> String {
    let mut parts = vec![format!("{} tokens", answer.usage.completion_tokens)];
    if let Some(rate) = answer.tokens_per_second() {
        parts.push(format!("{rate:.0} tokens/s"));
    }
    parts.push(format!("first after {}", seconds(answer.first_token())));
    if answer.usage.cached_tokens > 0 {
        parts.push(format!(
            "{} of {} prompt tokens were cached",
            answer.usage.cached_tokens, answer.usage.prompt_tokens
        ));
    }
    match (&answer.finish, stopped) {
        (_, true) => parts.push("stopped".into()),
        (Some(Finish::Length), _) => parts.push("cut: no tokens are left".into()),
        _ => {}
    }
    format!("[{}]", parts.join(", "))
}

/// Dimmed, where the terminal may be coloured.
fn quiet(text: &str) -> String {
    if screen::is_fancy() { format!("\x1b[2m{text}\x1b[0m") } else { text.to_owned() }
}
