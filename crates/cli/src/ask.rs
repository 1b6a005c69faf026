//! Turns messages or a text into a prompt, and the events of its answer into text and timings.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use myriad_server::{Finish, Runtime, TextEvent, Usage};
use myriad_token::{Message, RenderOptions};

/// A message of one of the usual roles.
pub fn message(role: &str, content: &str) -> Message {
    Message { role: role.to_owned(), content: content.to_owned(), ..Message::default() }
}

/// The ids of a chat whose next message is the assistant's.
pub fn chat_prompt(runtime: &Runtime, messages: &[Message]) -> Result<Vec<u32>> {
    let Some(template) = runtime.template() else {
        bail!("the model has no chat template that could be used");
    };
    let options = RenderOptions {
        add_generation_prompt: true,
        now_unix_seconds: unix_seconds(),
        ..RenderOptions::default()
    };
    Ok(template.encode(runtime.tokenizer(), messages, &options)?)
}

fn unix_seconds() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

/// An answer as it comes.
pub struct Answer {
    /// What is certain so far.
    pub text: String,
    /// Why it ended, once it has.
    pub finish: Option<Finish>,
    /// Tokens in and out, once it has ended; counted along the way until then.
    pub usage: Usage,
    start: Instant,
    first: Option<Duration>,
    last: Duration,
}

impl Answer {
    /// Nothing yet; time runs from here.
    pub fn new(prompt_tokens: usize) -> Answer {
        Answer {
            text: String::new(),
            finish: None,
            usage: Usage { prompt_tokens, ..Usage::default() },
            start: Instant::now(),
            first: None,
            last: Duration::ZERO,
        }
    }

    /// Takes an event; returns the text that it brought.
    ///
    /// # Errors
    /// Where the engine failed.
    pub fn take(&mut self, event: TextEvent) -> Result<String> {
        match event {
            TextEvent::Started { cached_tokens } => self.usage.cached_tokens = cached_tokens,
            // Answers are shown as they are written: nothing is parsed here.
            TextEvent::Prompt { .. } | TextEvent::Part { .. } | TextEvent::Computed { .. } => {}
            TextEvent::Text { text, tokens } => {
                self.usage.completion_tokens += tokens.len();
                self.tick();
                self.text += &text;
                return Ok(text);
            }
            TextEvent::Finished { finish, usage, .. } => {
                self.tick();
                (self.finish, self.usage) = (Some(finish), usage);
            }
            TextEvent::Failed => bail!("the engine failed while it answered"),
        }
        Ok(String::new())
    }

    fn tick(&mut self) {
        self.last = self.start.elapsed();
        self.first.get_or_insert(self.last);
    }

    /// From the request to the first token.
    pub fn first_token(&self) -> Duration {
        self.first.unwrap_or_default()
    }

    /// From the request to the last token.
    pub fn total(&self) -> Duration {
        self.last
    }

    /// Of all tokens after the first; none where there is no second.
    pub fn tokens_per_second(&self) -> Option<f64> {
        let seconds = self.last.checked_sub(self.first?)?.as_secs_f64();
        let tokens = self.usage.completion_tokens.checked_sub(1)?;
        (tokens > 0 && seconds > 0.0).then(|| tokens as f64 / seconds)
    }
}
