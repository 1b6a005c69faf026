//! Turns a script into a test double of an engine: given answers, token by token, at given times.
//!
//! Clients, streams, faults and load are tested with it without a model's whims. It is no model,
//! and everything that shows it says so.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use myriad_engine::{
    EngineError, Event, FinishReason, Output, Request, RequestId, Stats, TokenScore, Usage,
};
use myriad_token::{
    ChatTemplate, Specials, TemplateError, TokenType, Tokenizer, TokenizerError, VocabSpec,
};
use serde::Deserialize;

use super::steps::{Recipe, Steps};

/// Tokens of the vocabulary that every script has.
const CONTROL: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
const END: u32 = 2;

/// Chats as Qwen's models have them, tools among them.
const TEMPLATE: &str = include_str!("scripted.jinja");

/// A script as its file has it, in JSON.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// The Jinja source of a chat template. [default: that of Qwen3's kind]
    #[serde(default)]
    chat_template: Option<String>,
    /// Further control tokens, such as `<think>`.
    #[serde(default)]
    control_tokens: Vec<String>,
    /// Tokens of prompt and answer together.
    #[serde(default = "usual_context")]
    context: usize,
    /// Answers that are played at the same time; more wait. [default: all]
    #[serde(default = "usual_parallel")]
    parallel: usize,
    /// How it behaves as a model that is loaded.
    #[serde(default)]
    load: Load,
    /// The first whose `when` is in the prompt's text is the answer.
    answers: Vec<Answer>,
}

/// How a script is loaded.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Load {
    /// Time that it takes.
    pub ms: u64,
    /// Bytes of memory that it says to take.
    pub bytes: u64,
    /// Why it fails in the end, where it does.
    pub fails: Option<String>,
}

fn usual_context() -> usize {
    8192
}

fn usual_parallel() -> usize {
    usize::MAX
}

/// One answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    /// What the prompt has to contain; empty fits all.
    #[serde(default)]
    when: String,
    /// The text; a control token in it is one token, of everything else each byte.
    text: String,
    /// Time before the first token.
    #[serde(default)]
    first_token_ms: u64,
    /// Time between two tokens.
    #[serde(default)]
    token_ms: u64,
    /// Whether the engine fails at the end of the text, instead of ending the answer.
    #[serde(default)]
    fails: bool,
}

/// Why a script cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScriptError {
    /// The file is no script.
    #[error("the script is not valid: {0}")]
    Syntax(#[from] serde_json::Error),
    /// There is nothing to answer.
    #[error("the script has no answers; right would be at least one")]
    NoAnswers,
    /// Nothing would ever be played.
    #[error("parallel is 0; right would be at least 1")]
    NoParallel,
    /// Its control tokens are no vocabulary.
    #[error("control_tokens: {0}")]
    Tokens(#[from] TokenizerError),
    /// Its template is none.
    #[error("chat_template: {0}")]
    Template(#[from] TemplateError),
}

/// A script, ready to be played.
#[derive(Clone)]
pub struct Script {
    file: Arc<File>,
    tokenizer: Arc<Tokenizer>,
    template: Arc<ChatTemplate>,
}

impl Script {
    /// Reads a script:
    ///
    /// ```
    /// use myriad_server::runtime::scripted::Script;
    ///
    /// let json = r#"{"answers": [{"when": "weather", "text": "It rains.", "token_ms": 5}]}"#;
    /// assert!(Script::parse(json).is_ok());
    /// ```
    ///
    /// # Errors
    /// [`ScriptError`]: what is wrong with it.
    pub fn parse(json: &str) -> Result<Script, ScriptError> {
        let file: File = serde_json::from_str(json)?;
        if file.answers.is_empty() {
            return Err(ScriptError::NoAnswers);
        }
        if file.parallel == 0 {
            return Err(ScriptError::NoParallel);
        }
        let tokenizer = Tokenizer::new(&vocabulary(&file.control_tokens))?;
        let source = file.chat_template.as_deref().unwrap_or(TEMPLATE);
        let template = Arc::new(ChatTemplate::new(source, &tokenizer)?);
        Ok(Script { file: Arc::new(file), tokenizer: Arc::new(tokenizer), template })
    }

    /// How it behaves when it is loaded.
    pub fn load(&self) -> &Load {
        &self.file.load
    }

    /// Tokens of prompt and answer together.
    pub fn context(&self) -> usize {
        self.file.context
    }

    pub(super) fn parallel(&self) -> usize {
        self.file.parallel
    }

    pub(super) fn tokenizer(&self) -> Arc<Tokenizer> {
        Arc::clone(&self.tokenizer)
    }

    pub(super) fn template(&self) -> Option<Arc<ChatTemplate>> {
        Some(Arc::clone(&self.template))
    }

    pub(super) fn recipe(self) -> ScriptRecipe {
        ScriptRecipe(self)
    }
}

/// Control tokens, then the 256 bytes in GPT-2's alphabet.
pub(crate) fn vocabulary(control: &[String]) -> VocabSpec {
    let mut tokens: Vec<String> = CONTROL.map(str::to_owned).to_vec();
    tokens.extend_from_slice(control);
    let mut token_types = vec![TokenType::Control; tokens.len()];
    let visible = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let mut next = 256;
    for byte in 0..=u8::MAX {
        let character = if visible(byte) {
            u32::from(byte)
        } else {
            next += 1;
            next - 1
        };
        tokens.extend(char::from_u32(character).map(String::from));
        token_types.push(TokenType::Normal);
    }
    VocabSpec {
        model: "gpt2".to_owned(),
        pre: "smollm".to_owned(),
        tokens,
        token_types,
        eos: Some(END),
        eot: Some(END),
        ..VocabSpec::default()
    }
}

/// Makes engines that play a script.
pub(super) struct ScriptRecipe(Script);

impl Recipe for ScriptRecipe {
    fn make(&self) -> Result<Box<dyn Steps>, EngineError> {
        Ok(Box::new(ScriptedEngine { script: self.0.clone(), last: 0, running: VecDeque::new() }))
    }
}

/// The test double.
struct ScriptedEngine {
    script: Script,
    last: u64,
    running: VecDeque<Playing>,
}

/// An answer on its way.
struct Playing {
    id: RequestId,
    tokens: VecDeque<u32>,
    usage: Usage,
    left: usize,
    ends: bool,
    fails: bool,
    logprobs: Option<usize>,
    asked: Vec<u32>,
    /// Set when it begins, as what waits takes no time of its own.
    due: Option<Instant>,
    first: Duration,
    each: Duration,
}

impl ScriptedEngine {
    /// How many have begun, or begin with the next step.
    fn played(&self) -> usize {
        self.running.len().min(self.script.file.parallel)
    }

    fn answer(&self, prompt: &[u32]) -> Option<&Answer> {
        let text = self.script.tokenizer.decode(prompt, true);
        let text = String::from_utf8_lossy(&text);
        self.script.file.answers.iter().find(|answer| text.contains(&answer.when))
    }
}

impl Steps for ScriptedEngine {
    fn context_max(&self) -> usize {
        self.script.file.context
    }

    fn submit(&mut self, request: Request) -> Result<RequestId, EngineError> {
        if request.output != Output::Answer {
            let (what, reason) = ("vectors or scores", "it is a script");
            return Err(EngineError::Output { what, reason });
        }
        self.last += 1;
        let id = RequestId::new(self.last);
        let answer = self.answer(&request.prompt);
        let text = answer.map_or("", |answer| answer.text.as_str());
        let time = |ms: Option<u64>| Duration::from_millis(ms.unwrap_or(0));
        self.running.push_back(Playing {
            id,
            tokens: self.script.tokenizer.encode(text, Specials::Parse).into(),
            usage: Usage { prompt_tokens: request.prompt.len(), ..Usage::default() },
            left: request.max_tokens,
            ends: request.end_tokens.contains(&END),
            fails: answer.is_some_and(|answer| answer.fails),
            logprobs: request.sampling.logprobs,
            asked: request.sampling.logprob_tokens,
            due: None,
            first: time(answer.map(|answer| answer.first_token_ms)),
            each: time(answer.map(|answer| answer.token_ms)),
        });
        Ok(id)
    }

    fn cancel(&mut self, id: RequestId) {
        self.running.retain(|playing| playing.id != id);
    }

    fn has_work(&self) -> bool {
        !self.running.is_empty()
    }

    fn stats(&self) -> Stats {
        let running = self.played();
        Stats { running, waiting: self.running.len() - running, ..Stats::default() }
    }

    fn step(&mut self, events: &mut Vec<Event>) {
        let now = Instant::now();
        let mut left = self.played();
        self.running.retain_mut(|playing| {
            let plays = left > 0;
            left -= usize::from(plays);
            !plays || playing.step(now, events)
        });
    }

    fn pause(&self) -> Option<Duration> {
        let playing = self.running.iter().take(self.played());
        let next = playing.map(|playing| playing.due.unwrap_or_else(Instant::now));
        let next = next.min()?.saturating_duration_since(Instant::now());
        (!next.is_zero()).then_some(next)
    }
}

impl Playing {
    /// The event that is due, if any. False after the last one.
    fn step(&mut self, now: Instant, events: &mut Vec<Event>) -> bool {
        let id = self.id;
        let due = *self.due.get_or_insert_with(|| {
            events.push(Event::Started { id, cached_tokens: 0 });
            now + self.first
        });
        if now < due {
            return true;
        }
        self.due = Some(due + self.each);
        // What a script says is certain, and all else cannot be.
        let score = |token: u32| {
            let top = |count| if count == 0 { Vec::new() } else { vec![(token, 0.0)] };
            let logprob = |asked| if asked == token { 0.0 } else { f32::NEG_INFINITY };
            let asked = self.asked.iter().map(|&asked| (asked, logprob(asked))).collect();
            self.logprobs.map(|count| TokenScore { token, logprob: 0.0, top: top(count), asked })
        };
        let reason = match self.tokens.front().copied() {
            _ if self.left == 0 => FinishReason::Length,
            Some(token) => {
                let score = score(token);
                self.tokens.pop_front();
                self.left -= 1;
                self.usage.completion_tokens += 1;
                events.push(Event::Token { id, token, score });
                return true;
            }
            // Caught by the thread, as a broken kernel's would be.
            None if self.fails => panic!("the script says that the engine fails here"),
            None if self.ends => {
                self.usage.completion_tokens += 1;
                FinishReason::EndToken(END)
            }
            None => FinishReason::Length,
        };
        let end_score = match reason {
            FinishReason::EndToken(token) => score(token),
            FinishReason::Length | FinishReason::Complete | FinishReason::Constraint(_) => None,
        };
        events.push(Event::Finished { id, reason, usage: self.usage, end_score });
        false
    }
}
