//! Turns texts into vectors, and pairs into scores, on an encoder: whole texts in each step.

use std::collections::VecDeque;
use std::sync::Arc;

use myriad_kernels::Compute;
use myriad_model::{Encoding, Model, Pool, Text};

use crate::engine::{EngineConfig, Stats, check};
use crate::error::EngineError;
use crate::request::{Event, FinishReason, Output, Request, RequestId, Usage};

/// Many texts on one encoder: what [`Engine`](crate::Engine) is for models that continue texts.
///
/// A text is computed whole, in the order in which it came, together with as many others as fill a
/// step. Nothing of it is kept, so there is nothing to share, to put back or to run out of.
pub struct Embedder {
    model: Arc<Model>,
    compute: Compute,
    encoding: Encoding,
    context_max: usize,
    waiting: VecDeque<(RequestId, Request)>,
    next_id: u64,
}

impl Embedder {
    /// Allots working memory for `config.pages` pages of texts a step.
    ///
    /// # Errors
    /// [`EngineError`] where a size cannot be, or the memory cannot be had.
    pub fn new(
        model: Arc<Model>,
        compute: Compute,
        config: EngineConfig,
    ) -> Result<Embedder, EngineError> {
        if config.context == 0 {
            let (field, value, right) = ("context", 0, "at least 1");
            return Err(EngineError::Config { field, value, right });
        }
        let context_max = config.context.min(model.config().context_length);
        let needed = Text::pages(context_max);
        if config.pages < needed {
            let (field, value, right) = ("pages", config.pages, "enough for a text of `context`");
            return Err(EngineError::Config { field, value, right });
        }
        let encoding = model.new_encoding(config.pages)?;
        let waiting = VecDeque::new();
        Ok(Embedder { model, compute, encoding, context_max, waiting, next_id: 0 })
    }

    /// Tokens that one text, or pair, may have.
    pub fn context_max(&self) -> usize {
        self.context_max
    }

    /// Takes a request; its events come out of [`Embedder::step`].
    ///
    /// # Errors
    /// [`EngineError`] says what is wrong with the request; it is then forgotten.
    pub fn submit(&mut self, request: Request) -> Result<RequestId, EngineError> {
        let config = self.model.config();
        let scores = config.encoder.as_ref().is_some_and(|encoder| encoder.classifier);
        match request.output {
            Output::Answer => {
                let (what, reason) = ("answers", "it is an encoder, which reads whole texts");
                return Err(EngineError::Output { what, reason });
            }
            Output::PairScore { .. } if !scores => {
                let (what, reason) = ("scores of pairs", "it was trained to make vectors");
                return Err(EngineError::Output { what, reason });
            }
            Output::Vector | Output::PairScore { .. } => {}
        }
        let request = Request { max_tokens: 0, ..request };
        check(&request, config.vocab, self.context_max)?;
        let id = RequestId(self.next_id);
        self.next_id += 1;
        self.waiting.push_back((id, request));
        Ok(id)
    }

    /// Forgets a request at once: it has no further events.
    pub fn cancel(&mut self, id: RequestId) {
        self.waiting.retain(|(waiting, _)| *waiting != id);
    }

    /// Whether a step would do anything.
    pub fn has_work(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// What waits now. Between two steps nothing runs.
    pub fn stats(&self) -> Stats {
        Stats { waiting: self.waiting.len(), ..Stats::default() }
    }

    /// Computes one batch and appends what came of it to `events`.
    pub fn step(&mut self, events: &mut Vec<Event>) {
        let batch = self.next_batch();
        let texts: Vec<Text<'_>> = batch
            .iter()
            .map(|(_, request)| match request.output {
                Output::PairScore { first } => Text { tokens: &request.prompt, first },
                Output::Answer | Output::Vector => Text::alone(&request.prompt),
            })
            .collect();
        let config = self.model.config();
        let mut states = self.model.encode(&self.compute, &texts, &mut self.encoding);
        for (id, request) in &batch {
            let (id, tokens) = (*id, request.prompt.len());
            let (own, rest) = states.split_at(tokens * config.hidden);
            states = rest;
            let scores = match request.output {
                Output::PairScore { .. } => {
                    self.model.pair_scores(&self.compute, &own[..config.hidden])
                }
                Output::Answer | Output::Vector => None,
            };
            let values = scores.unwrap_or_else(|| {
                let mut pool = Pool::new(config.pooling, config.hidden);
                pool.take(own);
                pool.finish()
            });
            events.push(Event::Started { id, cached_tokens: 0 });
            events.push(Event::Computed { id, values });
            let usage = Usage { prompt_tokens: tokens, ..Usage::default() };
            let (reason, end_score) = (FinishReason::Complete, None);
            events.push(Event::Finished { id, reason, usage, end_score });
        }
    }

    /// The first of those that wait, as many as fit together; each fits alone.
    fn next_batch(&mut self) -> Vec<(RequestId, Request)> {
        let mut pages = 0;
        let fits = |(_, request): &&(RequestId, Request)| {
            pages += Text::pages(request.prompt.len());
            pages <= self.encoding.pages()
        };
        let count = self.waiting.iter().take_while(fits).count();
        self.waiting.drain(..count).collect()
    }
}
