//! Turns the generated tokens of one request into events that are certain, up to a stop string.

use myriad_engine::TokenScore;
use myriad_token::{AnswerEvent, Grammar, StopMatcher, StreamDecoder, Tokenizer};

use super::generation::{Finish, OutputToken, TextEvent};
use super::reader::Reader;
use super::{GenerateRequest, Parsing};

/// The answer of one request as it grows.
///
/// A token is handed out with the first text that it shows, so that log-probabilities stand beside
/// their text; tokens of a stop string show nothing and come out as hidden. Where the answer is
/// parsed, stop strings are looked for in its text alone, and none spans a call.
pub struct Assembly {
    decoder: StreamDecoder,
    reader: Option<Reader>,
    one_call: bool,
    stops: Option<StopMatcher>,
    include_stop: bool,
    min_tokens: usize,
    tokens: usize,
    calls: usize,
    /// Bytes of text so far.
    said: usize,
    /// Bytes of text handed out so far.
    shown: usize,
    /// Tokens not handed out yet, each with the place where its text begins.
    waiting: Vec<(usize, OutputToken)>,
}

/// What one more token made certain.
#[derive(Debug, Default)]
pub struct Certain {
    pub events: Vec<TextEvent>,
    /// What ends the answer before the model does.
    pub stopped: Option<Finish>,
}

impl Assembly {
    pub fn new(tokenizer: &Tokenizer, request: &GenerateRequest) -> Assembly {
        let parsing = request.parsing.as_ref();
        let decoder = parsing.map(|parsing| StreamDecoder::for_answer(tokenizer, &parsing.format));
        // A stop string would cut what follows a grammar before it is complete.
        let free = request.rules.grammar.as_ref().is_none_or(Grammar::leaves_text_free);
        let stops: &[String] = if free { &request.stops } else { &[] };
        Assembly {
            decoder: decoder.unwrap_or_default(),
            reader: parsing.map(Parsing::parser).map(Reader::new),
            one_call: parsing.is_some_and(|parsing| parsing.one_call),
            stops: (!stops.is_empty()).then(|| StopMatcher::new(stops)),
            include_stop: request.include_stop,
            min_tokens: request.min_tokens,
            tokens: 0,
            calls: 0,
            said: 0,
            shown: 0,
            waiting: Vec::new(),
        }
    }

    /// Tokens generated so far.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Those of them that were reasoning.
    pub fn reasoning_tokens(&self) -> usize {
        self.reader.as_ref().map_or(0, Reader::reasoning_tokens)
    }

    /// Tool calls that have begun.
    pub fn calls(&self) -> usize {
        self.calls
    }

    /// Takes one token.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32, score: Option<TokenScore>) -> Certain {
        self.tokens += 1;
        let token = OutputToken { id, score, in_text: true };
        let text = self.decoder.push(tokenizer, id);
        let mut certain = Certain::default();
        match &mut self.reader {
            Some(reader) => {
                let (events, tokens) = reader.push(token, &text);
                self.take_parts(events, tokens, &mut certain);
            }
            None => {
                self.waiting.push((self.said, token));
                self.take_text(text, &mut certain);
            }
        }
        certain
    }

    /// The end of the tokens: what was held back, and the tokens that show nothing.
    ///
    /// After a stop there is no more text.
    pub fn finish(&mut self, stopped: bool) -> (Certain, Vec<u32>) {
        let mut certain = Certain::default();
        if !stopped {
            let rest = self.decoder.finish();
            match &mut self.reader {
                Some(reader) => {
                    let (events, tokens) = reader.finish(&rest);
                    self.take_parts(events, tokens, &mut certain);
                }
                None => self.take_text(rest, &mut certain),
            }
            if certain.stopped.is_none() {
                self.flush(&mut certain);
            }
        }
        let mut hidden: Vec<u32> = self.waiting.drain(..).map(|(_, token)| token.id).collect();
        if let Some(reader) = &mut self.reader {
            hidden.extend(reader.rest());
        }
        (certain, hidden)
    }

    /// Takes what a parser found; the tokens belong to the last event, or to what comes next.
    fn take_parts(
        &mut self,
        parts: Vec<AnswerEvent>,
        tokens: Vec<OutputToken>,
        certain: &mut Certain,
    ) {
        let mut tokens = tokens.into_iter().map(|token| (self.said, token)).collect();
        let last = parts.len().saturating_sub(1);
        if parts.is_empty() {
            self.waiting.append(&mut tokens);
        }
        for (at, part) in parts.into_iter().enumerate() {
            if at == last {
                self.waiting.append(&mut tokens);
            }
            match part {
                AnswerEvent::Text(text) => self.take_text(text, certain),
                part => self.take_part(part, certain),
            }
            if certain.stopped.is_some() {
                self.waiting.append(&mut tokens);
                return;
            }
        }
    }

    /// Reasoning, or a part of a call: text before it is certain.
    fn take_part(&mut self, part: AnswerEvent, certain: &mut Certain) {
        let held = self.stops.as_mut().map(StopMatcher::finish).unwrap_or_default();
        self.show(held, certain);
        let tokens = self.waiting.drain(..).map(|(_, token)| token).collect();
        match &part {
            AnswerEvent::ToolCallStart { .. } => self.calls += 1,
            AnswerEvent::ToolCallEnd { complete: true, .. } if self.one_call => {
                certain.stopped = Some(Finish::ToolCall);
            }
            _ => {}
        }
        certain.events.push(TextEvent::Part { part, tokens });
    }

    /// Passes text by the stop strings, which do not count before `min_tokens`.
    fn take_text(&mut self, text: String, certain: &mut Certain) {
        self.said += text.len();
        let mut text = text;
        if self.tokens >= self.min_tokens
            && let Some(stops) = &mut self.stops
        {
            let output = stops.push(&text);
            text = output.text;
            if let Some(stop) = output.stopped {
                if self.include_stop {
                    text.push_str(&stop);
                }
                certain.stopped = Some(Finish::StopString(stop));
            }
        }
        self.show(text, certain);
    }

    /// Hands text out, with the tokens that begin in it.
    fn show(&mut self, text: String, certain: &mut Certain) {
        if text.is_empty() {
            return;
        }
        self.shown += text.len();
        let out = self.waiting.iter().take_while(|(start, _)| *start < self.shown).count();
        let tokens = self.waiting.drain(..out).map(|(_, token)| token).collect();
        certain.events.push(TextEvent::Text { text, tokens });
    }

    /// What stop strings held back, and all tokens.
    fn flush(&mut self, certain: &mut Certain) {
        let text = self.stops.as_mut().map(StopMatcher::finish).unwrap_or_default();
        let tokens: Vec<_> = self.waiting.drain(..).map(|(_, token)| token).collect();
        if !text.is_empty() || !tokens.is_empty() {
            certain.events.push(TextEvent::Text { text, tokens });
        }
    }
}
