//! Turns the engine thread's messages about one request into a stream; its end cancels it.

use std::pin::Pin;
use std::sync::mpsc;
use std::task::{Context, Poll};

use futures_util::Stream;
use myriad_engine::{RequestId, TokenScore, Usage};
use myriad_token::AnswerEvent;
use tokio::sync::mpsc::UnboundedReceiver;

use super::thread::Command;

/// What happens to a request, in order.
#[derive(Clone, Debug)]
pub enum TextEvent {
    /// The engine has begun; so many tokens of the prompt were found in the cache.
    Started {
        /// Tokens that need not be computed again.
        cached_tokens: usize,
    },
    /// The score of the prompt's token at `index`, which is 1 or more.
    Prompt {
        /// Position in the prompt.
        index: usize,
        /// The token with its log-probability.
        score: TokenScore,
    },
    /// Text that became certain, with the tokens that it came from.
    ///
    /// Either may be empty: a token may show nothing, and text may come out late.
    Text {
        /// The text.
        text: String,
        /// Its tokens.
        tokens: Vec<OutputToken>,
    },
    /// Reasoning, or a part of a tool call, where the answer is parsed.
    Part {
        /// Anything but text.
        part: AnswerEvent,
        /// Its tokens.
        tokens: Vec<OutputToken>,
    },
    /// What was wanted instead of an answer: a vector, or one score.
    Computed {
        /// The numbers.
        values: Vec<f32>,
    },
    /// The last event of a request that ran.
    Finished {
        /// Why it ended.
        finish: Finish,
        /// Tokens in and out.
        usage: Usage,
        /// Tokens that were reasoning.
        reasoning_tokens: usize,
        /// Tool calls in the answer.
        calls: usize,
        /// Generated tokens that show no text: those of a stop string, the end token.
        hidden: Vec<u32>,
        /// The score of the end token, where there is one and scores are asked for.
        end_score: Option<TokenScore>,
    },
    /// The last event of a request whose engine failed.
    Failed,
}

/// A generated token.
#[derive(Clone, Debug)]
pub struct OutputToken {
    /// Its id.
    pub id: u32,
    /// Its log-probability and alternatives, where asked for.
    pub score: Option<TokenScore>,
    /// Whether it is part of the answer's text: not of reasoning, a call or a marker.
    pub in_text: bool,
}

/// Why an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The model ended it with this token.
    EndToken(u32),
    /// It is complete by its grammar, and nothing may follow.
    Complete,
    /// This stop string was met.
    StopString(String),
    /// The only tool call that was allowed is complete.
    ToolCall,
    /// The tokens asked for, or the context, are used up.
    Length,
}

/// A running request: a stream of [`TextEvent`]s. Dropping it cancels the request at once.
///
/// What waits in it is bounded by the request's own number of tokens.
#[derive(Debug)]
pub struct Generation {
    id: RequestId,
    events: UnboundedReceiver<TextEvent>,
    commands: mpsc::Sender<Command>,
    ended: bool,
}

impl Generation {
    pub(super) fn new(
        id: RequestId,
        events: UnboundedReceiver<TextEvent>,
        commands: mpsc::Sender<Command>,
    ) -> Generation {
        Generation { id, events, commands, ended: false }
    }

    /// The next event; `None` after [`TextEvent::Finished`] or [`TextEvent::Failed`].
    pub async fn next(&mut self) -> Option<TextEvent> {
        if self.ended {
            return None;
        }
        let event = self.events.recv().await;
        self.note(event)
    }

    /// As [`Generation::next`], for callers without an async executor.
    ///
    /// # Panics
    /// Inside an async executor's thread, which it would block.
    pub fn next_blocking(&mut self) -> Option<TextEvent> {
        if self.ended {
            return None;
        }
        let event = self.events.blocking_recv();
        self.note(event)
    }

    /// The events as a blocking iterator; dropping it cancels the request.
    pub fn into_blocking_iter(mut self) -> impl Iterator<Item = TextEvent> {
        std::iter::from_fn(move || self.next_blocking())
    }

    /// A channel that closes without a last event means that the engine thread is gone.
    fn note(&mut self, event: Option<TextEvent>) -> Option<TextEvent> {
        let event = event.unwrap_or(TextEvent::Failed);
        self.ended = matches!(event, TextEvent::Finished { .. } | TextEvent::Failed);
        Some(event)
    }
}

impl Stream for Generation {
    type Item = TextEvent;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<TextEvent>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let event = std::task::ready!(self.events.poll_recv(context));
        Poll::Ready(self.note(event))
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        if !self.ended {
            // The thread may be gone already; then there is nothing to cancel.
            let _ = self.commands.send(Command::Cancel(self.id));
        }
    }
}
