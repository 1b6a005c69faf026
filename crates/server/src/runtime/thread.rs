//! Turns commands into engine steps and engine events into texts: the engine's thread.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use myriad_engine::{
    ConstraintError, Event, FinishReason, Request, RequestId, Stats, TokenScore, Usage,
};
use myriad_token::Tokenizer;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use super::assembly::{Assembly, Certain};
use super::generation::{Finish, Generation, TextEvent};
use super::grammar::constraint;
use super::steps::{Recipe, Steps};
use super::{GenerateError, GenerateRequest, StartError};
use crate::limits::ENGINE_FAILURES_MAX;
use crate::metrics::{Metrics, Timing, TokenTime};

/// What the other threads ask of the engine's.
pub enum Command {
    /// Take a request; the answer is a stream, or why not.
    Submit {
        request: Box<GenerateRequest>,
        reply: oneshot::Sender<Result<Generation, GenerateError>>,
    },
    /// Forget a request.
    Cancel(RequestId),
    /// End the thread.
    Stop,
    /// Panic, as a broken kernel would.
    #[cfg(test)]
    Panic,
}

/// What the engine's thread shows to the others.
pub struct Shared {
    pub metrics: Metrics,
    pub healthy: AtomicBool,
    stats: Mutex<Stats>,
}

impl Shared {
    pub fn new(metrics: Metrics) -> Shared {
        Shared { metrics, healthy: AtomicBool::new(true), stats: Mutex::new(Stats::default()) }
    }

    pub fn stats(&self) -> Stats {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn publish(&self, stats: Stats) {
        self.metrics.engine(&stats);
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner) = stats;
    }
}

/// What the thread is made of.
pub struct Parts {
    pub engine: Box<dyn Steps>,
    pub recipe: Box<dyn Recipe>,
    pub tokenizer: Arc<Tokenizer>,
    pub queue_max: usize,
    /// Requests that the engine computes together.
    pub parallel: usize,
}

/// Gives an engine its thread. Also returns the tokens that a request may have.
pub fn spawn(
    parts: Parts,
    receiver: mpsc::Receiver<Command>,
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
) -> Result<(JoinHandle<()>, usize), StartError> {
    let context_max = parts.engine.context_max();
    shared.publish(parts.engine.stats());
    let mut worker = Worker {
        engine: parts.engine,
        recipe: parts.recipe,
        tokenizer: parts.tokenizer,
        context_max,
        queue_max: parts.queue_max,
        receiver,
        commands,
        shared,
        running: HashMap::new(),
        events: Vec::new(),
    };
    let thread = std::thread::Builder::new().name("engine".into()).spawn(move || worker.run())?;
    Ok((thread, context_max))
}

struct Worker {
    engine: Box<dyn Steps>,
    recipe: Box<dyn Recipe>,
    tokenizer: Arc<Tokenizer>,
    context_max: usize,
    queue_max: usize,
    receiver: mpsc::Receiver<Command>,
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
    running: HashMap<RequestId, Running>,
    events: Vec<Event>,
}

/// A request between its submission and its last event.
struct Running {
    sender: UnboundedSender<TextEvent>,
    assembly: Assembly,
    timing: Timing,
    usage: Usage,
}

/// How long nothing must have come before the engine prepares for what may: that takes a few
/// milliseconds at a time, for which a request waits.
const RESTING: Duration = Duration::from_millis(20);

/// How long the engine waits for a further request behind one that found it idle: those that come
/// together are better computed together. A lone one hardly notices; where a second one came, more
/// are likely.
const GATHERING: [Duration; 2] = [Duration::from_micros(300), Duration::from_millis(1)];

/// How long the first of many may wait for the others.
const GATHERING_MAX: Duration = Duration::from_millis(5);

impl Worker {
    fn run(&mut self) {
        let mut failures = 0;
        loop {
            match catch_unwind(AssertUnwindSafe(|| self.turn())) {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => break,
                Err(_) => {
                    failures += 1;
                    tracing::error!(failures, "the engine panicked: its requests are lost");
                    self.fail_all();
                    if failures >= ENGINE_FAILURES_MAX || !self.rebuild() {
                        break;
                    }
                }
            }
        }
        self.shared.healthy.store(false, Ordering::Release);
        self.fail_all();
    }

    /// Takes all commands that wait, sleeping where nothing else is to do, then one step. Breaks
    /// where the thread is to end.
    fn turn(&mut self) -> ControlFlow<()> {
        if !self.engine.has_work() {
            self.shared.publish(self.engine.stats());
            self.idle()?;
        }
        let pause = self.engine.pause().filter(|_| self.engine.has_work());
        if let Some(command) = pause.and_then(|pause| self.receiver.recv_timeout(pause).ok()) {
            self.obey(command)?;
        }
        while let Ok(command) = self.receiver.try_recv() {
            self.obey(command)?;
        }
        if !self.engine.has_work() {
            return ControlFlow::Continue(());
        }
        let mut events = std::mem::take(&mut self.events);
        self.engine.step(&mut events);
        // Before the events: who sees its answer's end finds it counted.
        self.shared.publish(self.engine.stats());
        for event in events.drain(..) {
            self.dispatch(event);
        }
        self.events = events;
        ControlFlow::Continue(())
    }

    /// Prepares for commands and sleeps until one comes; takes it and those close behind it.
    fn idle(&mut self) -> ControlFlow<()> {
        let mut command = self.receiver.recv_timeout(RESTING).ok();
        while command.is_none() && self.engine.prepare() {
            command = self.receiver.try_recv().ok();
        }
        let Some(command) = command.or_else(|| self.receiver.recv().ok()) else {
            return ControlFlow::Break(());
        };
        self.obey(command)?;
        let (begin, mut gathering) = (Instant::now(), GATHERING[0]);
        while self.engine.has_work() && begin.elapsed() < GATHERING_MAX {
            let Ok(command) = self.receiver.recv_timeout(gathering) else { break };
            self.obey(command)?;
            gathering = GATHERING[1];
        }
        ControlFlow::Continue(())
    }

    fn obey(&mut self, command: Command) -> ControlFlow<()> {
        match command {
            Command::Submit { request, reply } => {
                let result = self.submit(*request);
                // A caller that is gone drops the generation in `reply`, which cancels it.
                let _ = reply.send(result);
            }
            Command::Cancel(id) => self.cancel(id),
            Command::Stop => return ControlFlow::Break(()),
            #[cfg(test)]
            Command::Panic => panic!("a panic for a test"),
        }
        ControlFlow::Continue(())
    }

    fn submit(&mut self, request: GenerateRequest) -> Result<Generation, GenerateError> {
        let waiting = self.engine.stats().waiting;
        if waiting >= self.queue_max {
            self.shared.metrics.rejected();
            return Err(GenerateError::Busy { waiting, limit: self.queue_max });
        }
        let assembly = Assembly::new(&self.tokenizer, &request);
        let prompt_tokens = request.prompt.len();
        let id = self.engine.submit(self.engine_request(request))?;
        let (sender, receiver) = unbounded_channel();
        let usage = Usage { prompt_tokens, ..Usage::default() };
        let timing = Timing::new(Instant::now());
        self.running.insert(id, Running { sender, assembly, timing, usage });
        Ok(Generation::new(id, receiver, self.commands.clone()))
    }

    fn engine_request(&self, request: GenerateRequest) -> Request {
        let room = self.context_max.saturating_sub(request.prompt.len());
        let mut end_tokens = request.stop_token_ids;
        if !request.ignore_eos {
            end_tokens.extend_from_slice(self.tokenizer.end_tokens());
        }
        Request {
            prompt: request.prompt,
            output: request.output,
            sampling: request.sampling,
            max_tokens: request.max_tokens.unwrap_or(room),
            // The client's own stop tokens hold even where the model's are ignored.
            end_tokens,
            min_tokens: request.min_tokens,
            prompt_logprobs: request.prompt_logprobs,
            grammar: constraint(request.rules),
            cache_salt: request.cache_salt,
        }
    }

    fn cancel(&mut self, id: RequestId) {
        if let Some(running) = self.running.remove(&id) {
            self.engine.cancel(id);
            self.shared.metrics.finished(&running.timing, &running.usage, "abort");
        }
    }

    /// Gives an event to its request. Requests that are gone already have no entry.
    fn dispatch(&mut self, event: Event) {
        match event {
            Event::Started { id, cached_tokens } => {
                let Some(running) = self.running.get_mut(&id) else { return };
                running.usage.cached_tokens = cached_tokens;
                running.timing.start(Instant::now());
                let _ = running.sender.send(TextEvent::Started { cached_tokens });
            }
            Event::Prompt { id, index, scored } => {
                let Some(running) = self.running.get_mut(&id) else { return };
                let _ = running.sender.send(TextEvent::Prompt { index, score: scored });
            }
            Event::Token { id, token, score } => {
                let Some(running) = self.running.get_mut(&id) else { return };
                let time = running.timing.token(Instant::now());
                if matches!(time, TokenTime::First(_)) {
                    self.shared.metrics.prompt(running.computed_tokens());
                }
                self.shared.metrics.token(time);
                let certain = running.assembly.push(&self.tokenizer, token, score);
                let stopped = certain.stopped.clone();
                running.show(certain);
                if let Some(finish) = stopped {
                    self.engine.cancel(id);
                    self.finish(id, finish, None, None);
                }
            }
            Event::Computed { id, values } => {
                let Some(running) = self.running.get_mut(&id) else { return };
                self.shared.metrics.prompt(running.computed_tokens());
                let _ = running.sender.send(TextEvent::Computed { values });
            }
            Event::Finished { id, reason, usage, end_score } => {
                let finish = match reason {
                    FinishReason::EndToken(token) => Finish::EndToken(token),
                    FinishReason::Complete => Finish::Complete,
                    FinishReason::Length => Finish::Length,
                    FinishReason::Constraint(error) => return self.fail(id, error),
                };
                self.finish(id, finish, Some(usage.completion_tokens), end_score);
            }
        }
    }

    fn finish(
        &mut self,
        id: RequestId,
        mut finish: Finish,
        completion_tokens: Option<usize>,
        end_score: Option<TokenScore>,
    ) {
        let Some(mut running) = self.running.remove(&id) else { return };
        let stopped = matches!(finish, Finish::StopString(_) | Finish::ToolCall);
        let (certain, mut hidden) = running.assembly.finish(stopped);
        // The text that the end set free may itself complete a stop string.
        if let Some(stop) = &certain.stopped {
            finish = stop.clone();
        }
        running.show(certain);
        if let Finish::EndToken(token) = finish {
            hidden.push(token);
        }
        let mut usage = running.usage;
        usage.completion_tokens = completion_tokens.unwrap_or(running.assembly.tokens());
        let label = if finish == Finish::Length { "length" } else { "stop" };
        self.shared.metrics.finished(&running.timing, &usage, label);
        let (reasoning_tokens, calls) =
            (running.assembly.reasoning_tokens(), running.assembly.calls());
        let last =
            TextEvent::Finished { finish, usage, reasoning_tokens, calls, hidden, end_score };
        let _ = running.sender.send(last);
    }

    /// Ends a request whose answer cannot be completed.
    fn fail(&mut self, id: RequestId, error: ConstraintError) {
        tracing::error!(%error, "an answer cannot follow its grammar any further");
        if let Some(running) = self.running.remove(&id) {
            self.shared.metrics.finished(&running.timing, &running.usage, "error");
            let _ = running.sender.send(TextEvent::Failed);
        }
    }

    fn fail_all(&mut self) {
        for (_, running) in self.running.drain() {
            self.shared.metrics.finished(&running.timing, &running.usage, "error");
            let _ = running.sender.send(TextEvent::Failed);
        }
        self.events.clear();
    }

    /// Replaces an engine that nobody can trust any more. The cache starts empty.
    fn rebuild(&mut self) -> bool {
        let made = catch_unwind(AssertUnwindSafe(|| self.recipe.make()));
        let Ok(Ok(engine)) = made else { return false };
        let broken = std::mem::replace(&mut self.engine, engine);
        // Its drop may meet the same broken state.
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(broken)));
        self.shared.publish(self.engine.stats());
        dropped.is_ok()
    }
}

impl Running {
    /// Tokens of its prompt that were not in the cache.
    fn computed_tokens(&self) -> usize {
        self.usage.prompt_tokens.saturating_sub(self.usage.cached_tokens)
    }

    fn show(&mut self, certain: Certain) {
        for event in certain.events {
            let _ = self.sender.send(event);
        }
    }
}
