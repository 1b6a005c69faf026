//! Turns the prompts and choices of one request into one stream of numbered events.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use futures_util::future::try_join_all;
use futures_util::stream::SelectAll;
use futures_util::{Stream, StreamExt};

use crate::catalogue::Lease;
use crate::errors::ApiError;
use crate::layers::journal::RequestId;
use crate::layers::ticket::Ticket;
use crate::ledger::Meter;
use crate::runtime::{GenerateRequest, Generation, TextEvent};
use crate::wire::usage::Usage;

/// All generations of one request. Dropping them cancels those that still run.
pub struct Choices {
    events: SelectAll<Numbered>,
    per_prompt: usize,
    usage: Usage,
    count: usize,
    finished: usize,
    request_id: RequestId,
    since: Instant,
    tally: Tally,
    /// Keeps the model loaded, and stays behind the generations: they end first.
    lease: Lease,
}

/// What is counted of the request at its end, also where nobody waits for that.
struct Tally {
    meter: Meter,
    model: String,
    prompt: usize,
    cached: usize,
    /// Tokens that came out; of those that have ended, also what shows no text.
    generated: usize,
}

/// A generation with its place in the answer.
struct Numbered {
    index: usize,
    generation: Generation,
}

impl Stream for Numbered {
    type Item = (usize, TextEvent);

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let index = self.index;
        let event = ready!(self.generation.poll_next_unpin(context));
        Poll::Ready(event.map(|event| (index, event)))
    }
}

impl Choices {
    /// Hands all to the engine at once: it takes them all, or the request is refused. `per_prompt`
    /// neighbours share a prompt; `param` is where prompts came from.
    pub async fn start(
        lease: &Lease,
        requests: Vec<GenerateRequest>,
        per_prompt: usize,
        param: &str,
        ticket: &Ticket,
    ) -> Result<Choices, ApiError> {
        let since = Instant::now();
        let prompts = requests.iter().step_by(per_prompt.max(1));
        let tally = Tally {
            meter: ticket.meter.clone(),
            model: lease.name().to_owned(),
            prompt: prompts.map(|request| request.prompt.len()).sum(),
            cached: 0,
            generated: 0,
        };
        let started = requests.into_iter().map(|mut request| {
            request.cache_salt = ticket.owner.cache_salt(request.cache_salt);
            lease.generate(request)
        });
        let started = try_join_all(started);
        let generations = started.await.map_err(|error| ApiError::from_generate(error, param))?;
        let count = generations.len();
        let numbered = generations.into_iter().enumerate();
        Ok(Choices {
            events: numbered.map(|(index, generation)| Numbered { index, generation }).collect(),
            per_prompt,
            usage: Usage::default(),
            count,
            finished: 0,
            request_id: ticket.request_id.clone(),
            since,
            lease: lease.clone(),
            tally,
        })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The next event of any choice; `None` when all have ended. Nothing of use comes after a
    /// [`TextEvent::Failed`].
    pub async fn next(&mut self) -> Option<(usize, TextEvent)> {
        let (index, event) = self.events.next().await?;
        match &event {
            TextEvent::Started { cached_tokens } if index % self.per_prompt == 0 => {
                self.tally.cached += cached_tokens;
            }
            TextEvent::Text { tokens, .. } | TextEvent::Part { tokens, .. } => {
                self.tally.generated += tokens.len();
            }
            TextEvent::Finished { usage, reasoning_tokens, .. } => {
                self.finished += 1;
                self.usage.add(usage, *reasoning_tokens, index % self.per_prompt == 0);
            }
            _ => {}
        }
        Some((index, event))
    }

    /// Error of a request whose engine failed while it ran.
    pub fn failure(&self) -> ApiError {
        if self.lease.healthy() { ApiError::internal() } else { ApiError::unavailable() }
    }

    /// Tokens in and out of the choices that have ended.
    pub fn usage(&self) -> Usage {
        self.usage
    }
}

impl Drop for Choices {
    fn drop(&mut self) {
        let (usage, tally) = (self.usage, &self.tally);
        let generated = tally.generated.max(usage.completion_tokens());
        tally.meter.count(&tally.model, tally.prompt, tally.cached, generated);
        tracing::info!(
            request_id = self.request_id.as_str(),
            choices = self.count,
            finished = self.finished,
            prompt_tokens = usage.prompt_tokens(),
            cached_tokens = usage.cached_tokens(),
            completion_tokens = usage.completion_tokens(),
            milliseconds = self.since.elapsed().as_millis() as u64,
            "generation"
        );
    }
}
