//! Turns token ids of a prompt into a stream of text: the engine on a thread of its own.
//!
//! The only place where text meets the engine. Commands go to the thread by a channel, events come
//! back by one channel per request; the thread sleeps while there is nothing to do. Usable with
//! and without an async executor: every waiting call has a blocking twin.

mod assembly;
mod described;
mod generation;
mod grammar;
mod labels;
mod manners;
mod reader;
pub mod scripted;
mod steps;
mod thread;

use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};

use myriad_engine::{Draft, EngineConfig, EngineError, Output, Sampling, Stats};
use myriad_kernels::Compute;
use myriad_model::Model;
use myriad_token::{
    AnswerFormat, AnswerParser, AnswerRules, AnswerTool, ChatTemplate, GrammarCompiler, Tokenizer,
};
use tokio::sync::oneshot;

pub use generation::{Finish, Generation, OutputToken, TextEvent};
pub use labels::{LabelRequest, LabelScores};
pub use manners::Manners;
pub use myriad_engine::Usage;

use crate::limits;
use crate::metrics::Metrics;
use scripted::Script;
use steps::{ModelRecipe, Recipe};
use thread::{Command, Parts, Shared};

/// A model, its tokenizer and its template, ready to run.
pub struct LoadedModel {
    /// Names under which it is served; the first is the one that answers carry.
    pub names: Vec<String>,
    /// The weights.
    pub model: Arc<Model>,
    /// What guesses how answers go on.
    pub draft: Option<Draft>,
    /// Kernels and threads that compute.
    pub compute: Compute,
    /// Text to ids and back.
    pub tokenizer: Arc<Tokenizer>,
    /// How a chat becomes a prompt; a base model has none.
    pub template: Option<Arc<ChatTemplate>>,
}

/// How the engine thread is run.
#[derive(Clone, Debug)]
pub struct RuntimeConfig {
    /// The engine's own sizes.
    pub engine: EngineConfig,
    /// Requests that may wait before new ones are refused.
    pub queue_max: usize,
}

impl From<EngineConfig> for RuntimeConfig {
    fn from(engine: EngineConfig) -> Self {
        RuntimeConfig { engine, queue_max: limits::QUEUE_MAX }
    }
}

/// What to generate.
#[derive(Clone, Debug, Default)]
pub struct GenerateRequest {
    /// Ids of the prompt, with whatever the model wants at its beginning.
    pub prompt: Vec<u32>,
    /// What is to come of it; all that follows here is about answers.
    pub output: Output,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Most tokens to generate; `None`: what the context leaves. 0 scores the prompt only.
    pub max_tokens: Option<usize>,
    /// What the answer is held to. One with a grammar ends where it is complete: no stop string
    /// cuts it before, and no end token or least number of tokens makes it shorter or longer.
    pub rules: AnswerRules,
    /// Strings that end the answer; not part of it.
    pub stops: Vec<String>,
    /// Whether the stop string that was met is shown at the answer's end.
    pub include_stop: bool,
    /// Tokens that end the answer, besides the model's own.
    pub stop_token_ids: Vec<u32>,
    /// Whether the model's own end tokens are ignored.
    pub ignore_eos: bool,
    /// Tokens before which nothing ends the answer.
    pub min_tokens: usize,
    /// Log-probabilities of the prompt's tokens, with this many alternatives each.
    pub prompt_logprobs: Option<usize>,
    /// Prompts share cached prefixes only under the same salt.
    pub cache_salt: u64,
    /// How the answer is told apart into reasoning, text and calls; `None`: all is text.
    pub parsing: Option<Parsing>,
}

/// How an answer is read.
#[derive(Clone, Debug)]
pub struct Parsing {
    /// How the model writes it.
    pub format: AnswerFormat,
    /// The end of the prompt's text, which may have opened the reasoning.
    pub prompt_end: String,
    /// The tools that were offered; without any no text is a call.
    pub tools: Vec<AnswerTool>,
    /// Whether the answer ends with its first whole call.
    pub one_call: bool,
}

impl Parsing {
    fn parser(&self) -> AnswerParser {
        AnswerParser::new(self.format, &self.prompt_end, self.tools.clone())
    }
}

/// Why nothing is generated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// The prompt, with the tokens asked for, does not fit.
    #[error(
        "the context holds {limit} tokens, but {prompt} are in the prompt and {completion} more \
         are asked for"
    )]
    ContextLength {
        /// Tokens that fit.
        limit: usize,
        /// Tokens of the prompt.
        prompt: usize,
        /// Tokens asked for.
        completion: usize,
    },
    /// Too many requests wait already.
    #[error("{waiting} requests wait already, and no more than {limit} may")]
    Busy {
        /// Requests that wait.
        waiting: usize,
        /// How many may.
        limit: usize,
    },
    /// The engine refuses the request.
    #[error(transparent)]
    Refused(#[from] EngineError),
    /// The engine failed while it computed this.
    #[error("the engine failed while it computed this")]
    Failed,
    /// The engine thread has ended: after too many failures, or because the runtime is dropped.
    #[error("the engine is not running")]
    Unavailable,
}

/// Why a runtime does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The engine cannot be made with these sizes.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The operating system gives no thread.
    #[error("starting the engine's thread: {0}")]
    Thread(#[from] std::io::Error),
    /// A model must be served under some name.
    #[error("the list of names is empty: at least one is needed")]
    NoName,
}

/// The engine on its own thread, with the tokenizer and the template of its model.
///
/// Dropping it ends the thread; generations that still run end with an error event.
pub struct Runtime {
    names: Vec<String>,
    /// None where a script answers.
    model: Option<Arc<Model>>,
    tokenizer: Arc<Tokenizer>,
    grammars: GrammarCompiler,
    template: Option<Arc<ChatTemplate>>,
    manners: Manners,
    context_max: usize,
    parallel: usize,
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Runtime {
    /// Makes the engine and starts its thread. An [`EngineConfig`] is enough of a configuration.
    ///
    /// # Errors
    /// [`StartError`] where the engine refuses the sizes, or no thread can be had.
    pub fn start(
        model: LoadedModel,
        config: impl Into<RuntimeConfig>,
    ) -> Result<Arc<Runtime>, StartError> {
        let config = config.into();
        let recipe = ModelRecipe {
            model: Arc::clone(&model.model),
            draft: model.draft.clone(),
            kernels: model.compute.kernels,
            threads: model.compute.pool.threads(),
            config: config.engine.clone(),
        };
        let parallel = config.engine.parallel;
        let engine = recipe.make_with(model.compute)?;
        let parts = Parts {
            engine,
            recipe: Box::new(recipe),
            tokenizer: model.tokenizer,
            queue_max: config.queue_max,
            parallel,
        };
        Runtime::assemble(model.names, Some(model.model), model.template, parts)
    }

    /// Starts a test double: instead of a model, a script answers.
    ///
    /// # Errors
    /// [`StartError`] where no thread can be had, or the list of names is empty.
    pub fn start_scripted(script: Script, names: Vec<String>) -> Result<Arc<Runtime>, StartError> {
        let (tokenizer, template) = (script.tokenizer(), script.template());
        let parallel = script.parallel();
        let queue_max = limits::QUEUE_MAX;
        let recipe = script.recipe();
        let engine = recipe.make()?;
        let recipe = Box::new(recipe);
        let parts = Parts { engine, recipe, tokenizer, queue_max, parallel };
        Runtime::assemble(names, None, template, parts)
    }

    fn assemble(
        names: Vec<String>,
        model: Option<Arc<Model>>,
        template: Option<Arc<ChatTemplate>>,
        parts: Parts,
    ) -> Result<Arc<Runtime>, StartError> {
        let name = names.first().ok_or(StartError::NoName)?;
        let mut metrics = Metrics::new(name);
        if let Some(model) = &model {
            metrics.watch_experts(Arc::clone(model));
        }
        let shared = Arc::new(Shared::new(metrics));
        let (commands, receiver) = mpsc::channel();
        let (tokenizer, parallel) = (Arc::clone(&parts.tokenizer), parts.parallel);
        let (thread, context_max) =
            thread::spawn(parts, receiver, commands.clone(), Arc::clone(&shared))?;
        Ok(Arc::new(Runtime {
            names,
            model,
            manners: template.as_ref().map_or_else(Manners::none, |it| Manners::of(it)),
            grammars: GrammarCompiler::new(Arc::clone(&tokenizer)),
            tokenizer,
            template,
            context_max,
            parallel,
            commands,
            shared,
            thread: Some(thread),
        }))
    }

    /// Hands a request to the engine and waits until it is taken or refused.
    ///
    /// # Errors
    /// [`GenerateError`]: what is wrong with the request, or that the engine is full or gone.
    pub async fn generate(&self, request: GenerateRequest) -> Result<Generation, GenerateError> {
        self.submit(request)?.await.map_err(|_| GenerateError::Unavailable)?
    }

    /// As [`Runtime::generate`], for callers without an async executor.
    ///
    /// # Errors
    /// As [`Runtime::generate`].
    ///
    /// # Panics
    /// Inside an async executor's thread, which it would block.
    pub fn generate_blocking(&self, request: GenerateRequest) -> Result<Generation, GenerateError> {
        self.submit(request)?.blocking_recv().map_err(|_| GenerateError::Unavailable)?
    }

    /// What a text's `output` is, where that is no answer: a vector, or one score.
    ///
    /// # Errors
    /// As [`Runtime::generate`], and [`GenerateError::Failed`].
    pub async fn compute(
        &self,
        prompt: Vec<u32>,
        output: Output,
    ) -> Result<Vec<f32>, GenerateError> {
        let max_tokens = Some(0);
        let request = GenerateRequest { prompt, output, max_tokens, ..GenerateRequest::default() };
        let mut generation = self.generate(request).await?;
        while let Some(event) = generation.next().await {
            if let TextEvent::Computed { values } = event {
                return Ok(values);
            }
        }
        Err(if self.healthy() { GenerateError::Failed } else { GenerateError::Unavailable })
    }

    fn submit(
        &self,
        request: GenerateRequest,
    ) -> Result<oneshot::Receiver<Result<Generation, GenerateError>>, GenerateError> {
        self.check_length(request.prompt.len(), request.max_tokens)?;
        let (reply, receiver) = oneshot::channel();
        self.commands
            .send(Command::Submit { request: Box::new(request), reply })
            .map_err(|_| GenerateError::Unavailable)?;
        Ok(receiver)
    }

    /// A prompt must leave room for what is asked, or for one token where nothing is said.
    ///
    /// # Errors
    /// [`GenerateError::ContextLength`].
    pub fn check_length(
        &self,
        prompt: usize,
        max_tokens: Option<usize>,
    ) -> Result<(), GenerateError> {
        let (limit, completion) = (self.context_max, max_tokens.unwrap_or(1));
        if prompt.saturating_add(completion) > limit {
            return Err(GenerateError::ContextLength { limit, prompt, completion });
        }
        Ok(())
    }

    /// The name that answers carry.
    pub fn name(&self) -> &str {
        &self.names[0]
    }

    /// All names under which the model is served.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The weights' description; none where a script answers.
    pub fn model(&self) -> Option<&Model> {
        self.model.as_deref()
    }

    /// Whether the model reads texts whole, and so answers nothing.
    pub fn is_encoder(&self) -> bool {
        self.model().is_some_and(|model| model.config().encoder.is_some())
    }

    /// Text to ids and back.
    pub fn tokenizer(&self) -> &Arc<Tokenizer> {
        &self.tokenizer
    }

    /// Schemas to grammars over the model's vocabulary.
    pub fn grammars(&self) -> &GrammarCompiler {
        &self.grammars
    }

    /// How a chat becomes a prompt, if the model file says so.
    pub fn template(&self) -> Option<&Arc<ChatTemplate>> {
        self.template.as_ref()
    }

    /// How the model of the template is spoken to.
    pub fn manners(&self) -> &Manners {
        &self.manners
    }

    /// Tokens of prompt and answer together that a request may have.
    pub fn context_max(&self) -> usize {
        self.context_max
    }

    /// Requests that are computed together; more wait.
    pub fn parallel(&self) -> usize {
        self.parallel
    }

    /// What the engine held after its last step.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Whether requests are taken. Turns false after too many failures of the engine.
    pub fn healthy(&self) -> bool {
        self.shared.healthy.load(Ordering::Acquire)
    }

    /// Counters and histograms of everything that ran.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// Makes the engine's thread panic in its next step.
    #[cfg(test)]
    pub(crate) fn inject_panic(&self) {
        let _ = self.commands.send(Command::Panic);
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Stop);
        if let Some(thread) = self.thread.take() {
            // The thread catches its own panics; one more here could only abort the program.
            let _ = thread.join();
        }
    }
}
