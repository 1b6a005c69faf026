//! A chat template and a vocabulary into the way in which a model writes its answers.

use super::harmony::Harmony;
use super::{deepseek, gemma, harmony, llama};

/// How a model writes what it thinks before it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReasoningFormat {
    /// Not at all, or as the messages of a [`CallFormat`] say.
    None,
    /// `<think>…</think>`: Qwen3, DeepSeek, SmolLM3 and most others.
    Think,
    /// `<seed:think>…</seed:think>`: Seed-OSS. The `<seed:cot_budget_reflect>` parts inside, where
    /// it counts its tokens, are part of the reasoning.
    SeedThink,
}

/// How a model writes tool calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CallFormat {
    /// Not at all, or in a way that is not known here: all is text.
    None,
    /// `<tool_call>{"name": …, "arguments": {…}}</tool_call>`: Hermes, Qwen2.5, Qwen3.
    Hermes,
    /// `<tool_call><function=…><parameter=…>…</parameter></function></tool_call>`: Qwen3-Coder,
    /// Qwen3.5.
    Qwen3Coder,
    /// The same inside `<seed:tool_call>`, with values that are not on lines of their own.
    SeedOss,
    /// `<｜tool▁calls▁begin｜>` and so on, around JSON: DeepSeek-V3, R1 and V3.1.
    DeepSeek,
    /// `<｜DSML｜invoke name="…">` and so on: DeepSeek-V3.2 and V4.
    Dsml,
    /// `{"name": …, "parameters": {…}}` as the whole answer, maybe behind `<|python_tag|>`:
    /// Llama 3.
    Llama3,
    /// `<start_function_call>call:NAME{key:<escape>text<escape>}<end_function_call>`:
    /// FunctionGemma, which is a Gemma 3.
    FunctionGemma,
    /// The same between other marks: Gemma 4.
    Gemma4,
    /// Messages on channels, reasoning among them: gpt-oss.
    Harmony,
}

/// Where an answer begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Opening {
    /// In its text: there is no reasoning, or the prompt has ended it.
    #[default]
    Text,
    /// Within its reasoning, which the prompt has begun.
    Reasoning,
    /// Before either: the model decides.
    Free,
}

/// How a model writes its answers.
///
/// ```
/// use myriad_token::{AnswerFormat, CallFormat, ReasoningFormat};
///
/// let template = r#"<think>…</think> … <tool_call>\n{"name": "…", "arguments": …}\n</tool_call>"#;
/// let format = AnswerFormat::of(Some(template), |_| false);
/// assert_eq!(format.reasoning, ReasoningFormat::Think);
/// assert_eq!(format.calls, CallFormat::Hermes);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AnswerFormat {
    /// How it writes its reasoning.
    pub reasoning: ReasoningFormat,
    /// How it writes its calls.
    pub calls: CallFormat,
}

/// A way to write reasoning.
struct ReasoningRow {
    format: ReasoningFormat,
    open: &'static str,
    close: &'static str,
}

/// The first whose end is in the template, or whose beginning is a token, is the model's.
const REASONING: &[ReasoningRow] = &[
    ReasoningRow {
        format: ReasoningFormat::SeedThink,
        open: "<seed:think>",
        close: "</seed:think>",
    },
    ReasoningRow { format: ReasoningFormat::Think, open: "<think>", close: "</think>" },
];

/// A way to write calls.
struct CallRow {
    format: CallFormat,
    name: &'static str,
    /// What a template of this format has, all of it.
    all: &'static [&'static str],
    /// What it does not have: formats that share a tag with it.
    none: &'static [&'static str],
    /// The markers, as far as they may be special tokens.
    tokens: &'static [&'static str],
    /// Whether a vocabulary that has all of them shows the format where there is no template.
    by_tokens: bool,
}

/// The first that fits is the model's.
const CALLS: &[CallRow] = &[
    CallRow {
        format: CallFormat::Harmony,
        name: "harmony",
        all: &[harmony::CHANNEL, harmony::MESSAGE],
        none: &[],
        tokens: &[
            harmony::START,
            harmony::CHANNEL,
            harmony::CONSTRAIN,
            harmony::MESSAGE,
            harmony::END,
            harmony::CALL,
            harmony::RETURN,
        ],
        by_tokens: true,
    },
    CallRow {
        format: CallFormat::Dsml,
        name: "dsml",
        all: &["｜DSML｜", "invoke name="],
        none: &[],
        tokens: &["｜DSML｜"],
        by_tokens: true,
    },
    CallRow {
        format: CallFormat::DeepSeek,
        name: "deepseek",
        all: &[deepseek::CALLS, deepseek::SEPARATOR],
        none: &[],
        tokens: &[
            deepseek::CALLS,
            deepseek::CALLS_END,
            deepseek::CALL,
            deepseek::CALL_END,
            deepseek::SEPARATOR,
        ],
        by_tokens: true,
    },
    CallRow {
        format: CallFormat::FunctionGemma,
        name: "function_gemma",
        all: &[gemma::FUNCTION_GEMMA.open, gemma::FUNCTION_GEMMA.quote],
        none: &[],
        tokens: &[
            gemma::FUNCTION_GEMMA.open,
            gemma::FUNCTION_GEMMA.close,
            gemma::FUNCTION_GEMMA.quote,
        ],
        by_tokens: true,
    },
    CallRow {
        format: CallFormat::Gemma4,
        name: "gemma4",
        all: &[gemma::GEMMA4.open, gemma::GEMMA4.quote],
        none: &[],
        tokens: &[gemma::GEMMA4.open, gemma::GEMMA4.close, gemma::GEMMA4.quote],
        by_tokens: true,
    },
    CallRow {
        format: CallFormat::SeedOss,
        name: "seed_oss",
        all: &["<seed:tool_call>", "<function="],
        none: &[],
        tokens: &["<seed:tool_call>", "</seed:tool_call>"],
        by_tokens: true,
    },
    CallRow {
        format: CallFormat::Qwen3Coder,
        name: "qwen3_coder",
        all: &["<tool_call>", "<function=", "<parameter="],
        none: &[],
        tokens: &["<tool_call>", "</tool_call>"],
        by_tokens: false,
    },
    CallRow {
        format: CallFormat::Hermes,
        name: "hermes",
        all: &["<tool_call>", "name", "arguments"],
        // GLM, MiniMax and Apriel.
        none: &["<arg_key>", "<invoke name=", "<tool_calls>"],
        tokens: &["<tool_call>", "</tool_call>"],
        by_tokens: true,
    },
    CallRow {
        format: CallFormat::Llama3,
        name: "llama3",
        all: &["<|start_header_id|>", "{\"name\": ", "\"parameters\": dictionary"],
        none: &[],
        tokens: &[llama::PYTHON],
        by_tokens: false,
    },
];

impl AnswerFormat {
    /// No reasoning, no calls: all is text.
    pub const PLAIN: AnswerFormat =
        AnswerFormat { reasoning: ReasoningFormat::None, calls: CallFormat::None };

    /// The format of a model with this chat template; `has_token` says whether its vocabulary has
    /// a token of its own for a marker.
    ///
    /// Calls are written as the template writes those of earlier turns. Without a template the
    /// vocabulary decides. Reasoning is looked for if either knows its markers: it is only found
    /// where an answer begins with one.
    pub fn of(template: Option<&str>, has_token: impl Fn(&str) -> bool) -> AnswerFormat {
        let calls = CALLS.iter().find(|row| match template {
            Some(template) => {
                row.all.iter().all(|marker| template.contains(marker))
                    && !row.none.iter().any(|marker| template.contains(marker))
            }
            None => row.by_tokens && row.tokens.iter().all(|token| has_token(token)),
        });
        let calls = calls.map_or(CallFormat::None, |row| row.format);
        let reasoning = REASONING.iter().find(|row| {
            template.is_some_and(|template| template.contains(row.close)) || has_token(row.open)
        });
        let reasoning = reasoning.filter(|_| calls != CallFormat::Harmony);
        AnswerFormat { reasoning: reasoning.map_or(ReasoningFormat::None, |row| row.format), calls }
    }

    /// The markers that may be special tokens. They must be part of the text that a parser of this
    /// format is given; other special tokens have no place in it.
    pub fn markers(&self) -> impl Iterator<Item = &'static str> {
        let calls = CALLS.iter().find(|row| row.format == self.calls).map(|row| row.tokens);
        let tags = self.reasoning_tags().map(|(open, close)| [open, close]);
        let budget = Some(BUDGET).filter(|_| self.reasoning == ReasoningFormat::SeedThink);
        calls
            .unwrap_or_default()
            .iter()
            .copied()
            .chain([tags, budget].into_iter().flatten().flatten())
    }

    /// What has to follow a prompt that ends so, for the next token to be one of the answer's text
    /// and not of reasoning. `off`: the template was told that there is to be none, and has
    /// written what that takes itself.
    pub fn skip_reasoning(&self, prompt_end: &str, off: bool) -> String {
        if self.calls == CallFormat::Harmony {
            return format!("{}final{}", harmony::CHANNEL, harmony::MESSAGE);
        }
        let Some((open, close)) = self.reasoning_tags() else { return String::new() };
        let end = prompt_end.trim_end();
        // As templates write reasoning that is empty.
        if end.ends_with(open) {
            let line = if prompt_end.ends_with('\n') { "\n" } else { "\n\n" };
            format!("{line}{close}\n\n")
        } else if off || end.ends_with(close) {
            String::new()
        } else {
            format!("{open}\n\n{close}\n\n")
        }
    }

    /// Where the answer to a prompt begins, of which the end is enough.
    pub fn opening(&self, prompt: &str) -> Opening {
        if self.calls == CallFormat::Harmony {
            return Harmony::new(prompt).opening();
        }
        let end = prompt.trim_end();
        match self.reasoning_tags() {
            Some((open, _)) if end.ends_with(open) => Opening::Reasoning,
            Some((_, close)) if !end.ends_with(close) => Opening::Free,
            _ => Opening::Text,
        }
    }

    /// What begins and ends reasoning.
    pub(crate) fn reasoning_tags(&self) -> Option<(&'static str, &'static str)> {
        let row = REASONING.iter().find(|row| row.format == self.reasoning);
        row.map(|row| (row.open, row.close))
    }
}

/// Around what Seed-OSS says of its budget, within its reasoning.
const BUDGET: [&str; 2] = ["<seed:cot_budget_reflect>", "</seed:cot_budget_reflect>"];

impl CallFormat {
    /// The name of the format in logs and settings.
    pub fn name(&self) -> &'static str {
        CALLS.iter().find(|row| row.format == *self).map_or("none", |row| row.name)
    }
}
