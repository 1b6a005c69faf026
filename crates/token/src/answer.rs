//! The text of an answer into reasoning, text and tool calls, while it is being written.
//!
//! Each family of models marks these in its own way ([`AnswerFormat`]). A parser is given the text
//! piece by piece as it is decoded and says what has become certain; how the text was cut makes no
//! difference to all events together. It holds back what may be the beginning of a marker, and a
//! call until it is sure to be one: JSON from the beginning of its arguments on is handed out in
//! fragments, calls made of tags at once when they are complete. What turns out to be no call is
//! text, word for word.
//!
//! White space around reasoning and calls is part of the format and dropped.

pub(crate) mod deepseek;
mod format;
pub(crate) mod gemma;
pub(crate) mod harmony;
mod input;
mod json;
pub(crate) mod llama;
mod object;
mod output;
mod python;
pub(crate) mod schema;
pub(crate) mod tagged;
pub(crate) mod xml;

pub use format::{AnswerFormat, CallFormat, Opening, ReasoningFormat};

use deepseek::DeepSeek;
use gemma::Gemma;
use harmony::Harmony;
use input::{Input, Start, Step};
use llama::Llama;
use output::{Kind, Output};
use tagged::Tagged;

/// What has become certain about an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnswerEvent {
    /// Further reasoning.
    Reasoning(String),
    /// Further text. Of several messages of a kind in one answer, each begins after a blank line.
    Text(String),
    /// A call begins. Its arguments follow, then its end, before anything else.
    ToolCallStart {
        /// Counts the calls of the answer from 0.
        index: usize,
        /// The tool's name; not certain to be one that was offered.
        name: String,
    },
    /// A fragment of the arguments: all of a call together are a JSON object.
    ToolCallArguments {
        /// Which call.
        index: usize,
        /// The fragment.
        json: String,
    },
    /// A call ends.
    ToolCallEnd {
        /// Which call.
        index: usize,
        /// False where the arguments broke off, or went on as no JSON; what followed is text.
        complete: bool,
    },
}

/// A tool that the model was offered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AnswerTool {
    /// Its name.
    pub name: String,
    /// The JSON Schema of its arguments: it tells strings from other values where a format does
    /// not.
    pub parameters: Option<serde_json::Value>,
}

impl AnswerTool {
    /// The schema of one parameter.
    pub(crate) fn parameter(&self, name: &str) -> Option<&serde_json::Value> {
        let root = self.parameters.as_ref()?;
        schema::followed(root, Some(root)).get("properties")?.get(name)
    }
}

/// Turns the text of one answer into events.
///
/// ```
/// use myriad_token::{AnswerEvent, AnswerFormat, AnswerParser, CallFormat, ReasoningFormat};
///
/// let format = AnswerFormat { reasoning: ReasoningFormat::Think, calls: CallFormat::None };
/// let mut parser = AnswerParser::new(format, "<|im_start|>assistant\n<think>\n", Vec::new());
/// assert_eq!(parser.push("Hm.\n</thi"), [AnswerEvent::Reasoning("Hm.".into())]);
/// assert_eq!(parser.push("nk>\n\nYes."), [AnswerEvent::Text("Yes.".into())]);
/// assert_eq!(parser.finish(), []);
/// ```
#[derive(Clone, Debug)]
pub struct AnswerParser {
    input: Input,
    out: Output,
    reasoning: Reasoning,
    /// What begins and ends reasoning.
    tags: (&'static str, &'static str),
    body: Body,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reasoning {
    /// At the beginning of the answer; true where the prompt has opened the reasoning.
    Begin {
        opened: bool,
    },
    Inside,
    /// Behind it, or there is none.
    Over,
}

/// What follows the reasoning.
#[derive(Clone, Debug)]
enum Body {
    Plain,
    Tagged(Tagged),
    DeepSeek(DeepSeek),
    Gemma(Gemma),
    Llama(Llama),
    Harmony(Harmony),
}

impl AnswerParser {
    /// A parser at the beginning of an answer to `prompt`, of which only the end matters: it may
    /// have opened the reasoning, or a message. Without `tools` no text is a call.
    pub fn new(format: AnswerFormat, prompt: &str, tools: Vec<AnswerTool>) -> AnswerParser {
        let body = match format.calls {
            CallFormat::Harmony => Body::Harmony(Harmony::new(prompt)),
            _ if tools.is_empty() => Body::Plain,
            CallFormat::None => Body::Plain,
            CallFormat::Hermes => Body::Tagged(Tagged::new(&tagged::HERMES)),
            CallFormat::Qwen3Coder => Body::Tagged(Tagged::new(&tagged::QWEN3_CODER)),
            CallFormat::SeedOss => Body::Tagged(Tagged::new(&tagged::SEED_OSS)),
            CallFormat::Dsml => Body::Tagged(Tagged::new(&tagged::DSML)),
            CallFormat::DeepSeek => Body::DeepSeek(DeepSeek::new()),
            CallFormat::FunctionGemma => Body::Gemma(Gemma::new(&gemma::FUNCTION_GEMMA)),
            CallFormat::Gemma4 => Body::Gemma(Gemma::new(&gemma::GEMMA4)),
            CallFormat::Llama3 => Body::Llama(Llama::new()),
        };
        let holds_space = !matches!(body, Body::Plain | Body::Harmony(_));
        let tags = format.reasoning_tags();
        let opened = tags.is_some_and(|(open, _)| prompt.trim_end().ends_with(open));
        let reasoning = tags.map_or(Reasoning::Over, |_| Reasoning::Begin { opened });
        AnswerParser {
            input: Input::default(),
            out: Output::new(tools, holds_space),
            reasoning,
            tags: tags.unwrap_or_default(),
            body,
        }
    }

    /// What becomes certain by further text. Special tokens that are markers of the format are part
    /// of it, as [`StreamDecoder::for_answer`](crate::StreamDecoder::for_answer) decodes them.
    pub fn push(&mut self, text: &str) -> Vec<AnswerEvent> {
        self.input.push(text);
        while self.step() == Step::Again {}
        self.out.take_events()
    }

    /// The end of the answer: what was held back is text, or the reasoning that it was in. A call
    /// whose arguments are unfinished ends as incomplete.
    pub fn finish(&mut self) -> Vec<AnswerEvent> {
        if self.reasoning == (Reasoning::Begin { opened: true }) {
            self.out.frame();
            self.reasoning = Reasoning::Inside;
        }
        let kind = match (&self.reasoning, &self.body) {
            (Reasoning::Inside, _) => Kind::Reasoning,
            (_, Body::Harmony(harmony)) => harmony.kind(),
            _ => Kind::Text,
        };
        let rest = self.input.rest().len();
        self.out.finish(kind, self.input.take(rest));
        self.out.take_events()
    }

    /// Bytes at the end of the text that are not decided yet: they may turn out to be text, a call
    /// or a marker.
    pub fn undecided(&self) -> usize {
        self.input.rest().len() + self.out.undecided()
    }

    /// Whether what comes next is reasoning, as far as is known.
    pub fn is_reasoning(&self) -> bool {
        match (self.reasoning, &self.body) {
            (Reasoning::Begin { opened }, _) => opened,
            (Reasoning::Inside, _) => true,
            (Reasoning::Over, Body::Harmony(harmony)) => harmony.kind() == Kind::Reasoning,
            (Reasoning::Over, _) => false,
        }
    }

    /// Whether there can be no more reasoning, whatever comes.
    pub(crate) fn is_past_reasoning(&self) -> bool {
        self.reasoning == Reasoning::Over && !matches!(self.body, Body::Harmony(_))
    }

    fn step(&mut self) -> Step {
        let (input, out) = (&mut self.input, &mut self.out);
        if self.reasoning != Reasoning::Over {
            return self.reason();
        }
        match &mut self.body {
            Body::Plain => {
                let all = input.rest().len();
                out.text(input.take(all));
                Step::Wait
            }
            Body::Tagged(body) => body.step(input, out),
            Body::DeepSeek(body) => body.step(input, out),
            Body::Gemma(body) => body.step(input, out),
            Body::Llama(body) => body.step(input, out),
            Body::Harmony(body) => body.step(input, out),
        }
    }

    /// Until reasoning is over. It is only looked for at the beginning of an answer, so that text
    /// and arguments may speak of its tags.
    fn reason(&mut self) -> Step {
        let (input, out) = (&mut self.input, &mut self.out);
        let (open, close) = self.tags;
        if let Reasoning::Begin { opened } = self.reasoning {
            out.hold(input.take_space());
            match input.starts(&[open, close]) {
                Start::Is(0) => {
                    input.take(open.len());
                    out.frame();
                    self.reasoning = Reasoning::Inside;
                }
                // No reasoning: DeepSeek-V4 is told so by this alone.
                Start::Is(_) => {
                    input.take(close.len());
                    out.frame();
                    self.reasoning = Reasoning::Over;
                }
                Start::Maybe => return Step::Wait,
                Start::Not if opened => {
                    out.frame();
                    self.reasoning = Reasoning::Inside;
                }
                Start::Not => {
                    out.give_back();
                    self.reasoning = Reasoning::Over;
                }
            }
            return Step::Again;
        }
        let (before, found) = input.scan(&[close]);
        out.reasoning(input.take(before));
        if found.is_none() {
            return Step::Wait;
        }
        input.take(close.len());
        out.frame();
        self.reasoning = Reasoning::Over;
        Step::Again
    }
}
