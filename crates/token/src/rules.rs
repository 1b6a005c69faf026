//! What an answer is held to, a grammar and a bound of its reasoning, into what may come next.

use std::fmt;
use std::sync::Arc;

use crate::answer::harmony::{CHANNEL, END, MESSAGE, START};
use crate::{
    AnswerFormat, AnswerParser, CallFormat, Grammar, GrammarFailure, GrammarState, Specials,
    StreamDecoder, Tokenizer,
};

/// What an answer is held to; nothing by default.
#[derive(Clone, Debug, Default)]
pub struct AnswerRules {
    /// What it looks like.
    pub grammar: Option<Grammar>,
    /// How long its reasoning may be.
    pub budget: Option<ReasoningBudget>,
}

impl AnswerRules {
    /// Whether it is held to nothing.
    pub fn is_empty(&self) -> bool {
        self.grammar.is_none() && self.budget.is_none()
    }

    /// The place before the first token of an answer.
    pub fn start(&self) -> AnswerState {
        AnswerState {
            grammar: self.grammar.as_ref().map(Grammar::start),
            spending: self.budget.as_ref().map(Spending::new),
        }
    }
}

/// Tokens of reasoning after which it is ended: the tokens of its closing marker are then the only
/// ones that may come.
#[derive(Clone)]
pub struct ReasoningBudget {
    parts: Arc<Parts>,
}

struct Parts {
    tokenizer: Arc<Tokenizer>,
    /// Before the first token of the answer.
    parser: AnswerParser,
    decoder: StreamDecoder,
    tokens: usize,
    /// What ends the reasoning.
    closing: Vec<u32>,
    /// What may follow that; empty: anything.
    next: Vec<u32>,
}

impl fmt::Debug for ReasoningBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReasoningBudget({})", self.parts.tokens)
    }
}

impl ReasoningBudget {
    /// A budget for the answer to `prompt`, of which the end is enough; `calls`: whether it may
    /// have calls. `None` where the format has no reasoning, or the vocabulary cannot write what
    /// ends it.
    pub fn new(
        tokenizer: &Arc<Tokenizer>,
        format: AnswerFormat,
        prompt: &str,
        calls: bool,
        tokens: usize,
    ) -> Option<ReasoningBudget> {
        let is_harmony = format.calls == CallFormat::Harmony;
        let closing = match format.reasoning_tags() {
            _ if is_harmony && calls => format!("{END}{START}assistant{CHANNEL}"),
            _ if is_harmony => format!("{END}{START}assistant{CHANNEL}final{MESSAGE}"),
            Some((_, close)) => format!("\n{close}\n\n"),
            None => return None,
        };
        let ids = tokenizer.encode(&closing, Specials::Parse);
        let written: Vec<u8> = ids
            .iter()
            .flat_map(|id| tokenizer.token_bytes(*id).unwrap_or_default())
            .copied()
            .collect();
        if written != closing.as_bytes() {
            return None;
        }
        let channels: &[&str] = if is_harmony && calls { &["final", "commentary"] } else { &[] };
        let first = |text: &&str| tokenizer.encode(text, Specials::AsText).first().copied();
        let parts = Parts {
            tokenizer: Arc::clone(tokenizer),
            parser: AnswerParser::new(format, prompt, Vec::new()),
            decoder: StreamDecoder::for_answer(tokenizer, &format),
            tokens,
            closing: ids,
            next: channels.iter().filter_map(first).collect(),
        };
        Some(ReasoningBudget { parts: Arc::new(parts) })
    }
}

/// A place in an answer.
pub struct AnswerState {
    grammar: Option<GrammarState>,
    spending: Option<Spending>,
}

impl AnswerState {
    /// Whether any token may come here, and the answer may end: then nothing need be asked.
    pub fn is_free(&self) -> bool {
        self.grammar.is_none() && self.forced().is_none()
    }

    /// Sets the bits of the tokens that may come next, as [`GrammarState::mask`] does.
    ///
    /// # Errors
    /// As [`GrammarState::mask`].
    pub fn mask(&mut self, allowed: &mut [u32]) -> Result<(), GrammarFailure> {
        match &mut self.grammar {
            Some(grammar) => grammar.mask(allowed)?,
            None => allowed.fill(u32::MAX),
        }
        let Some(forced) = self.forced() else { return Ok(()) };
        let may = |token: &&u32| {
            let word = allowed.get(**token as usize / 32).copied().unwrap_or(0);
            word >> (**token % 32) & 1 == 1
        };
        let forced: Vec<u32> = forced.iter().filter(may).copied().collect();
        if forced.is_empty() {
            // The grammar knows better where the reasoning is.
            self.spending = None;
            return Ok(());
        }
        allowed.fill(0);
        for token in forced {
            if let Some(word) = allowed.get_mut(token as usize / 32) {
                *word |= 1 << (token % 32);
            }
        }
        Ok(())
    }

    /// Goes on by a token that the mask allowed, or any where it is free.
    ///
    /// # Errors
    /// As [`GrammarState::accept`].
    pub fn accept(&mut self, token: u32) -> Result<(), GrammarFailure> {
        if let Some(grammar) = &mut self.grammar {
            grammar.accept(token)?;
        }
        if let Some(spending) = &mut self.spending {
            spending.accept(token);
            if spending.parser.is_past_reasoning() && spending.forced().is_none() {
                self.spending = None;
            }
        }
        Ok(())
    }

    /// Whether the answer may end here.
    pub fn may_end(&mut self) -> bool {
        self.forced().is_none() && self.grammar.as_mut().is_none_or(GrammarState::may_end)
    }

    /// Whether the answer is complete and nothing may follow.
    pub fn must_end(&self) -> bool {
        self.grammar.as_ref().is_some_and(GrammarState::must_end)
    }

    /// The only tokens that may come, where the reasoning is being ended.
    fn forced(&self) -> Option<&[u32]> {
        self.spending.as_ref()?.forced()
    }
}

/// How much of a budget is spent.
struct Spending {
    budget: ReasoningBudget,
    parser: AnswerParser,
    decoder: StreamDecoder,
    spent: usize,
    /// How many tokens of what ends the reasoning have come, and of what follows.
    ending: Option<usize>,
}

impl Spending {
    fn new(budget: &ReasoningBudget) -> Spending {
        let parts = &budget.parts;
        let (parser, decoder) = (parts.parser.clone(), parts.decoder.clone());
        let mut spending =
            Spending { budget: budget.clone(), parser, decoder, spent: 0, ending: None };
        spending.end_if_spent();
        spending
    }

    fn forced(&self) -> Option<&[u32]> {
        let (at, parts) = (self.ending?, &self.budget.parts);
        Some(parts.closing.get(at..at + 1).unwrap_or(&parts.next))
    }

    fn accept(&mut self, token: u32) {
        let was_reasoning = self.parser.is_reasoning();
        let text = self.decoder.push(&self.budget.parts.tokenizer, token);
        self.parser.push(&text);
        if let Some(at) = self.ending {
            let parts = &self.budget.parts;
            let more = parts.closing.len() + usize::from(!parts.next.is_empty());
            self.ending = Some(at + 1).filter(|at| *at < more);
            return;
        }
        self.spent += usize::from(was_reasoning && self.parser.is_reasoning());
        self.end_if_spent();
    }

    /// Not within a character, the rest of which would be lost.
    fn end_if_spent(&mut self) {
        let spent = self.spent >= self.budget.parts.tokens;
        if spent && self.parser.is_reasoning() && self.decoder.is_whole() {
            self.ending = Some(0);
        }
    }
}
