//! Turns requests into events, one synchronous step at a time: plan, forward, sample, publish.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use myriad_kernels::{Compute, KvType};
use myriad_model::{
    Batch, Cache, LogitRows, Logits, Model, PAGE_TOKENS, Scratch, Segment, Snapshot,
};

use crate::constraint::{Guide, Masks, Onward};
use crate::draft::{Draft, Drafter};
use crate::error::EngineError;
use crate::lookup::GUESS_MAX;
use crate::plan::{Piece, Queues};
use crate::request::{Event, FinishReason, Output, Request, RequestId, TokenScore};
use crate::sampler;
use crate::sequence::Sequence;
use crate::states::Pools;

/// Steps of prompts for which memory is there before they come: a system may need as long for
/// pages that were never used as the model for a tenth of a prompt (`bench/DIARY.md`).
const STEPS_AHEAD: usize = 4;

/// Sizes of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// Most tokens of one request, prompt and answer together. More than the model's own context
    /// counts as that, and more than the pages hold as that.
    pub context: usize,
    /// Requests computed together; more wait.
    pub parallel: usize,
    /// Tokens of one step's prompts; a tenth of it beside running decodes, which wait for them,
    /// and fewer where a prompt comes to its end.
    pub step_tokens: usize,
    /// Pages of KV cache that all requests share, of [`PAGE_TOKENS`] tokens each.
    pub pages: usize,
    /// The type of its keys and values.
    pub kv: KvType,
    /// States of prefixes that are kept for reuse, beside those of running requests: for models
    /// with recurrent layers, which cannot take a prefix from the cache without one.
    pub snapshots: usize,
    /// Whether answers that repeat what stood before are made several tokens at a time. The tokens
    /// are the same; penalties and grammars go token by token, and so do models with recurrent
    /// layers without a draft.
    pub speculate: bool,
}

impl EngineConfig {
    /// Tokens of a step where nothing else is said: enough rows to keep a matrix product busy, few
    /// enough that a request can be cancelled within a second. A tenth keeps it almost as busy.
    pub const STEP_TOKENS: usize = 512;

    /// States that an engine with a draft keeps besides, of models with recurrent layers: one
    /// behind each row of a guess, of all requests together.
    pub const GUESS_STATES: usize = GUESS_MAX;
}

/// What an engine holds and has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Requests that are computed.
    pub running: usize,
    /// Requests that wait for a place.
    pub waiting: usize,
    /// Pages that running requests hold.
    pub pages_used: usize,
    /// Pages that there are.
    pub pages_total: usize,
    /// Prompt tokens looked up in the cache so far.
    pub prefix_queries: u64,
    /// Prompt tokens found there so far.
    pub prefix_hits: u64,
    /// Requests put back to wait, for want of pages, so far.
    pub preemptions: u64,
    /// Tokens that answers guessed so far.
    pub guessed: u64,
    /// Guesses among those that were right.
    pub guessed_right: u64,
}

/// Many requests on one model.
pub struct Engine {
    model: Arc<Model>,
    compute: Compute,
    config: EngineConfig,
    context_max: usize,
    cache: Cache,
    scratch: Scratch,
    masks: Masks,
    /// A worker's memory for choosing tokens.
    choosing: Vec<Mutex<sampler::Scratch>>,
    pools: Pools,
    queues: Queues,
    drafter: Option<Drafter>,
    /// The id of the next request.
    next_id: u64,
    /// What only ever grows of the statistics.
    totals: Stats,
}

impl Engine {
    /// Allots the KV cache.
    ///
    /// # Errors
    /// [`EngineError`] where a size cannot be, or the cache does not fit in memory.
    pub fn new(
        model: Arc<Model>,
        compute: Compute,
        config: EngineConfig,
    ) -> Result<Engine, EngineError> {
        let EngineConfig { context, parallel, step_tokens, pages, kv, snapshots, speculate } =
            config;
        for (field, value) in
            [("context", context), ("parallel", parallel), ("step_tokens", step_tokens)]
        {
            if value == 0 {
                return Err(EngineError::Config { field, value, right: "at least 1" });
            }
        }
        let slots = match model.state_bytes() {
            0 => 0,
            _ => parallel.saturating_add(snapshots),
        };
        let cache = model.new_cache_of(kv, pages, slots)?;
        let threads = compute.pool.threads();
        let context_max = context.min(model.config().context_length).min(pages * PAGE_TOKENS);
        Ok(Engine {
            model,
            compute,
            config,
            context_max,
            cache,
            scratch: Scratch::new(),
            masks: Masks::new(threads),
            choosing: (0..threads).map(|_| Mutex::default()).collect(),
            pools: Pools::new(pages, slots, 0),
            queues: Queues { speculates: speculate, ..Queues::default() },
            drafter: None,
            next_id: 0,
            totals: Stats::default(),
        })
    }

    /// Has a smaller model of the same vocabulary, or the layer that the model has for it, guess
    /// how answers go on, where what stood before does not say. The answers stay the same.
    ///
    /// A model with recurrent layers has [`EngineConfig::GUESS_STATES`] more states for it.
    ///
    /// # Errors
    /// [`EngineError`] where a smaller model has recurrent layers, or a cache does not fit in
    /// memory.
    pub fn with_draft(mut self, draft: impl Into<Draft>) -> Result<Engine, EngineError> {
        let EngineConfig { kv, pages, .. } = self.config;
        let target = Arc::clone(&self.model);
        self.drafter = Some(Drafter::new(draft.into(), target, kv, pages)?);
        if let Some(states) = &self.pools.states {
            let (slots, guesses) = (states.total(), EngineConfig::GUESS_STATES);
            self.cache = self.model.new_cache_of(kv, pages, slots + guesses)?;
            self.pools = Pools::new(pages, slots, guesses);
        }
        Ok(self)
    }

    /// Does a little of what the next requests would have to wait for; false where nothing is left
    /// to do. To be called again while nothing else is wanted.
    pub fn prepare(&mut self) -> bool {
        let ahead = STEPS_AHEAD * self.config.step_tokens.div_ceil(PAGE_TOKENS);
        let Some(page) = self.pools.pages.touch(ahead) else { return false };
        self.cache.touch_page(page);
        if let Some(drafter) = &mut self.drafter {
            drafter.touch_page(page);
        }
        true
    }

    /// Tokens that one request may have, prompt and answer together.
    pub fn context_max(&self) -> usize {
        self.context_max
    }

    /// Takes a request; its events come out of [`Engine::step`].
    ///
    /// # Errors
    /// [`EngineError`] says what is wrong with the request; it is then forgotten.
    pub fn submit(&mut self, request: Request) -> Result<RequestId, EngineError> {
        check(&request, self.model.config().vocab, self.context_max)?;
        if matches!(request.output, Output::PairScore { .. }) {
            let (what, reason) = ("scores of pairs", "it continues texts");
            return Err(EngineError::Output { what, reason });
        }
        let id = RequestId(self.next_id);
        self.next_id += 1;
        self.queues.waiting.push_back(Sequence::new(id, request, self.model.config()));
        Ok(id)
    }

    /// Forgets a request at once: it gives back its pages and has no further events.
    pub fn cancel(&mut self, id: RequestId) {
        self.queues.waiting.retain(|sequence| sequence.id != id);
        if let Some(place) = self.queues.running.iter().position(|sequence| sequence.id == id) {
            self.queues.running.remove(place).release(&mut self.pools);
        }
    }

    /// Whether a step would do anything.
    pub fn has_work(&self) -> bool {
        !self.queues.running.is_empty() || !self.queues.waiting.is_empty()
    }

    /// What the engine holds now.
    pub fn stats(&self) -> Stats {
        Stats {
            running: self.queues.running.len(),
            waiting: self.queues.waiting.len(),
            pages_used: self.pools.pages.held(),
            pages_total: self.pools.pages.total(),
            ..self.totals.clone()
        }
    }

    /// Computes one batch and appends what came of it to `events`.
    pub fn step(&mut self, events: &mut Vec<Event>) {
        self.queues.admit(self.config.parallel, &mut self.pools);
        let wanted = self.queues.guess(&mut self.pools, self.drafter.as_ref());
        if let Some(drafter) = &mut self.drafter {
            drafter.guess(&self.compute, &mut self.queues.running, &wanted);
        }
        let (pieces, preempted) = self.queues.plan(self.config.step_tokens, &mut self.pools);
        self.totals.preemptions += preempted;
        self.restore();
        self.start(&pieces, events);
        let chosen = self.compute(&pieces);
        let ended = self.publish(&pieces, chosen, events);
        if let Some(drafter) = &mut self.drafter {
            drafter.follow(&self.compute, &mut self.queues.running);
        }
        for place in ended.into_iter().rev() {
            self.queues.running.remove(place).release(&mut self.pools);
        }
    }

    /// Brings states and parts of pages that were found to those who found them.
    fn restore(&mut self) {
        for (from, to) in self.pools.copies.drain(..) {
            self.cache.copy_page(from, to);
            if let Some(drafter) = &mut self.drafter {
                drafter.copy_page(from, to);
            }
        }
        for sequence in &mut self.queues.running {
            if let Some((from, to)) = sequence.state.take_copy(&mut self.pools) {
                self.cache.copy_state(from, to);
            }
        }
    }

    /// Tells of the requests whose first piece this is.
    fn start(&mut self, pieces: &[Piece], events: &mut Vec<Event>) {
        for piece in pieces {
            let sequence = &mut self.queues.running[piece.sequence];
            if sequence.cached.is_none() {
                let (id, cached_tokens) = (sequence.id, sequence.computed);
                sequence.cached = Some(cached_tokens);
                self.totals.prefix_queries += sequence.prompt as u64;
                self.totals.prefix_hits += cached_tokens as u64;
                events.push(Event::Started { id, cached_tokens });
            }
        }
    }

    /// Forward and sample: what each piece's logits say, in order of pieces.
    fn compute(&mut self, pieces: &[Piece]) -> Vec<Outcome> {
        let reads_states = self.drafter.as_ref().is_some_and(Drafter::reads_states);
        let guides = self.take_guides(pieces);
        let running = &self.queues.running;
        let snapshots =
            pieces.iter().map(|piece| running[piece.sequence].state.snapshots(piece.snapshot));
        let snapshots: Vec<Vec<Snapshot>> = snapshots.collect();
        let segments = pieces.iter().zip(&snapshots).map(|(piece, snapshots)| {
            let sequence = &running[piece.sequence];
            Segment {
                tokens: sequence.rows(piece.rows),
                start: sequence.computed as u32,
                pages: &sequence.pages,
                logits: piece.logits,
                states: sequence.vector.is_some(),
                all_states: reads_states && sequence.vector.is_none(),
                state: sequence.state.slot.unwrap_or(0) as usize,
                snapshots,
            }
        });
        let segments: Vec<Segment<'_>> = segments.collect();
        let batch = Batch { sequences: &segments };
        let (cache, scratch) = (&mut self.cache, &mut self.scratch);
        let (logits, guides) = self.masks.prepare_during(&self.compute.pool, guides, || {
            self.model.forward(&self.compute, &batch, cache, scratch)
        });
        for (sequence, guide) in guides {
            self.queues.running[sequence].guide = Some(guide);
        }
        pool(&mut self.queues.running, pieces, logits.states(), self.model.config().hidden);
        let running = &self.queues.running;
        let mut outcomes = judge(&self.compute, &self.choosing, running, pieces, logits);
        if reads_states {
            share_out(running, pieces, logits.all_states(), &mut outcomes);
        }
        outcomes
    }

    /// The constraints of the sequences that may choose a token in this step, by their index.
    fn take_guides(&mut self, pieces: &[Piece]) -> Vec<(usize, Box<Guide>)> {
        let chooses = |piece: &&Piece| piece.logits != LogitRows::None;
        let mut guides = Vec::new();
        for piece in pieces.iter().filter(chooses) {
            let guide = self.queues.running[piece.sequence].guide.take();
            guides.extend(guide.map(|guide| (piece.sequence, guide)));
        }
        guides
    }

    /// Tells what came of a step. Returns the places of requests that have ended, ascending.
    fn publish(
        &mut self,
        pieces: &[Piece],
        outcomes: Vec<Outcome>,
        events: &mut Vec<Event>,
    ) -> Vec<usize> {
        let mut ended = Vec::new();
        for (piece, outcome) in pieces.iter().zip(outcomes) {
            let sequence = &mut self.queues.running[piece.sequence];
            let (start, mut rows) = (sequence.computed, piece.rows);
            if !sequence.guessed.is_empty() {
                rows = outcome.chosen.len();
                sequence.state.take_back(rows, &mut self.pools);
                self.totals.guessed += piece.rows as u64 - 1;
                self.totals.guessed_right += sequence.learn(rows) as u64;
            }
            if let Some(drafter) = &self.drafter {
                let hidden = self.model.config().hidden;
                let known = outcome.states.len().min(rows * hidden);
                drafter.take(sequence, &outcome.states[..known]);
            }
            sequence.computed += rows;
            let end = sequence.take(outcome, events);
            if let Some(Snapshot { after_rows, slot }) = piece.snapshot {
                sequence.keep_snapshot(start + after_rows, slot, &mut self.pools);
            }
            sequence.publish(&mut self.pools);
            if let Some((reason, end_score)) = end {
                let usage = sequence.usage(matches!(reason, FinishReason::EndToken(_)));
                events.push(Event::Finished { id: sequence.id, reason, usage, end_score });
                ended.push(piece.sequence);
            }
        }
        ended.sort_unstable();
        ended
    }
}

/// Gives each piece the states of its rows, where they were asked for.
fn share_out(running: &[Sequence], pieces: &[Piece], states: &[f32], outcomes: &mut [Outcome]) {
    let is_answer = |piece: &&Piece| running[piece.sequence].vector.is_none();
    let rows: usize = pieces.iter().filter(is_answer).map(|piece| piece.rows).sum();
    let hidden = states.len().checked_div(rows).unwrap_or(0);
    let mut rest = states;
    for (piece, outcome) in pieces.iter().zip(outcomes).filter(|(piece, _)| is_answer(piece)) {
        let (own, others) = rest.split_at(piece.rows * hidden);
        outcome.states = own.to_vec();
        rest = others;
    }
}

/// Gives the sequences whose vectors are wanted their states.
fn pool(running: &mut [Sequence], pieces: &[Piece], mut states: &[f32], hidden: usize) {
    for piece in pieces {
        let Some(vector) = &mut running[piece.sequence].vector else { continue };
        let rows = match piece.logits {
            LogitRows::None => 0,
            LogitRows::Last => 1,
            LogitRows::All => piece.rows,
        };
        let (own, rest) = states.split_at(rows * hidden);
        vector.pool.take(own);
        states = rest;
    }
}

/// What is computed for a request must exist and fit.
pub(crate) fn check(request: &Request, vocab: usize, context: usize) -> Result<(), EngineError> {
    if request.prompt.is_empty() {
        return Err(EngineError::EmptyPrompt);
    }
    let (prompt, max_tokens) = (request.prompt.len(), request.max_tokens);
    if prompt.saturating_add(max_tokens) > context {
        return Err(EngineError::ContextLength { prompt, max_tokens, context });
    }
    let biased: Vec<u32> = request.sampling.logit_bias.iter().map(|(token, _)| *token).collect();
    for (field, tokens) in [
        ("prompt", &request.prompt),
        ("end_tokens", &request.end_tokens),
        ("logit_bias", &biased),
        ("logprob_tokens", &request.sampling.logprob_tokens),
    ] {
        if let Some(&token) = tokens.iter().find(|token| **token as usize >= vocab) {
            return Err(EngineError::UnknownToken { field, token, vocab });
        }
    }
    request.sampling.check()
}

/// What the logits of a piece say.
#[derive(Default)]
struct Outcome {
    /// Scores of prompt tokens, with their places.
    scores: Vec<(usize, TokenScore)>,
    /// The next token and those that follow it, as far as they were guessed; or how the answer
    /// ends for want of one.
    chosen: Vec<Choice>,
    /// Those of all rows, where a draft reads them. [rows, hidden]
    states: Vec<f32>,
}

/// A token with its score, where asked for, or how an answer ends that can have none.
type Choice = Result<(u32, Option<TokenScore>), Onward>;

/// One row of logits to be looked at.
#[derive(Clone, Copy)]
enum Look {
    /// Scores the token at this place of the prompt.
    Score { place: usize },
    /// Chooses the next token, and behind each that was guessed rightly one more.
    Choose,
}

/// Looks at all rows of logits, on all threads: each row is a matter of its own.
fn judge(
    compute: &Compute,
    scratch: &[Mutex<sampler::Scratch>],
    running: &[Sequence],
    pieces: &[Piece],
    logits: Logits<'_>,
) -> Vec<Outcome> {
    let mut looks: Vec<(usize, usize, Look)> = Vec::new();
    let mut row = 0;
    for (index, piece) in pieces.iter().enumerate() {
        let sequence = &running[piece.sequence];
        let rows = match piece.logits {
            _ if sequence.vector.is_some() => continue,
            LogitRows::None => continue,
            LogitRows::Last => piece.rows - 1..piece.rows,
            LogitRows::All if !sequence.guessed.is_empty() => {
                looks.push((index, row, Look::Choose));
                row += piece.rows;
                continue;
            }
            LogitRows::All => 0..piece.rows,
        };
        for own in rows {
            // The row of this token says what the next one may be.
            let place = sequence.computed + own + 1;
            if place == sequence.tokens.len() && sequence.generated() < sequence.max_tokens {
                looks.push((index, row, Look::Choose));
            } else if sequence.scores_prompt()
                && (sequence.scored..sequence.prompt).contains(&place)
            {
                looks.push((index, row, Look::Score { place }));
            }
            row += 1;
        }
    }
    let seen: Vec<OnceLock<Seen>> = looks.iter().map(|_| OnceLock::new()).collect();
    compute.pool.run(looks.len(), &|task, worker| {
        let (index, row, look) = looks[task];
        let sequence = &running[pieces[index].sequence];
        // Each task is run once.
        // What a choice that panicked left is written over.
        let mut scratch = scratch[worker].lock().unwrap_or_else(PoisonError::into_inner);
        let _ = seen[task].set(look_at(sequence, &logits, row, look, &mut scratch));
    });
    let mut outcomes: Vec<Outcome> = pieces.iter().map(|_| Outcome::default()).collect();
    for ((index, _, look), seen) in looks.into_iter().zip(seen) {
        match (look, seen.into_inner()) {
            (Look::Choose, Some(Seen::Chosen(chosen))) => outcomes[index].chosen = chosen,
            (Look::Score { place }, Some(Seen::Scored(score))) => {
                outcomes[index].scores.push((place, score));
            }
            _ => {}
        }
    }
    outcomes
}

/// What came of a look.
enum Seen {
    Chosen(Vec<Choice>),
    Scored(TokenScore),
}

fn look_at(
    sequence: &Sequence,
    logits: &Logits<'_>,
    row: usize,
    look: Look,
    scratch: &mut sampler::Scratch,
) -> Seen {
    match look {
        Look::Choose => {
            let (place, guide) = (sequence.tokens.len(), sequence.guide.as_deref());
            let mut chosen = Vec::new();
            // The token before the guess has a row, too: there is one row more than guesses.
            let guesses = sequence.guessed.iter().skip(1).map(Some).chain([None]);
            for (after, guess) in guesses.enumerate() {
                let (position, generated) = (place + after, sequence.generated() + after);
                let logits = logits.row(row + after);
                let choice = sequence.sampler.choose(logits, position, generated, guide, scratch);
                let right =
                    matches!((&choice, guess), (Ok((token, _)), Some(guess)) if token == guess);
                chosen.push(choice);
                if !right {
                    break;
                }
            }
            Seen::Chosen(chosen)
        }
        Look::Score { place } => {
            let token = sequence.tokens[place];
            let top = sequence.prompt_logprobs.unwrap_or(0);
            Seen::Scored(sampler::score(logits.row(row), token, top, &[]))
        }
    }
}

impl Sequence {
    /// Whether a token that was chosen ends the answer. Sampling held end tokens back as long as it
    /// had to; within a grammar's answer that is not complete they are text.
    fn ends_by(&self, token: u32) -> bool {
        let held_back = self.sampler.holds_back(self.generated());
        let text = |guide: &Guide| !guide.is_free() && (!guide.may_end() || held_back);
        self.end_tokens.contains(&token) && !self.guide.as_deref().is_some_and(text)
    }

    /// Takes in what came of a piece and tells of it; says why the answer ends, if it does, with
    /// the score of an end token.
    fn take(
        &mut self,
        outcome: Outcome,
        events: &mut Vec<Event>,
    ) -> Option<(FinishReason, Option<TokenScore>)> {
        let id = self.id;
        for (index, scored) in outcome.scores {
            self.scored = index + 1;
            events.push(Event::Prompt { id, index, scored });
        }
        let mut onward = Onward::Open;
        for choice in outcome.chosen {
            match choice {
                Err(end) => onward = end,
                Ok((token, score)) => {
                    if self.ends_by(token) {
                        return Some((FinishReason::EndToken(token), score));
                    }
                    self.tokens.push(token);
                    self.sampler.record(token);
                    events.push(Event::Token { id, token, score });
                    onward = self.guide.as_mut().map_or(Onward::Open, |guide| guide.accept(token));
                }
            }
        }
        match onward {
            Onward::Open => {}
            Onward::Complete => return Some((FinishReason::Complete, None)),
            Onward::Failed(error) => return Some((FinishReason::Constraint(error), None)),
        }
        if self.computed >= self.prompt
            && let Some(vector) = self.vector.take()
        {
            events.push(Event::Computed { id, values: vector.pool.finish() });
            return Some((FinishReason::Complete, None));
        }
        let whole = self.computed >= self.prompt && self.generated() >= self.max_tokens;
        whole.then_some((FinishReason::Length, None))
    }
}
