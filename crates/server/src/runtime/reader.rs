//! Turns decoded tokens into reasoning, text and calls, and says which of them each token is.

use std::collections::VecDeque;
use std::ops::Range;

use myriad_token::{AnswerEvent, AnswerParser};

use super::generation::OutputToken;

/// A parser that knows which tokens its events come from.
///
/// Tokens are placed by their bytes: a parser emits text and reasoning word for word and in order.
/// A token that is partly a marker counts as what it shows.
pub struct Reader {
    parser: AnswerParser,
    /// Bytes decoded so far.
    decoded: usize,
    /// How many of them the parser has decided on.
    decided: usize,
    /// Tokens that it has not, with their bytes' place.
    undecided: VecDeque<(Range<usize>, OutputToken)>,
    reasoning_tokens: usize,
}

type Found = (Vec<AnswerEvent>, Vec<OutputToken>);

impl Reader {
    pub fn new(parser: AnswerParser) -> Reader {
        let undecided = VecDeque::new();
        Reader { parser, decoded: 0, decided: 0, undecided, reasoning_tokens: 0 }
    }

    pub fn reasoning_tokens(&self) -> usize {
        self.reasoning_tokens
    }

    /// Takes a token that made `text` certain: what is known now, and the tokens it is known of.
    pub fn push(&mut self, token: OutputToken, text: &str) -> Found {
        let start = self.decoded;
        self.decoded += text.len();
        self.undecided.push_back((start..self.decoded, token));
        let events = self.parser.push(text);
        let decided = self.decoded.saturating_sub(self.parser.undecided());
        self.found(events, decided)
    }

    /// The end, after a last piece of text.
    pub fn finish(&mut self, text: &str) -> Found {
        self.decoded += text.len();
        let mut events = self.parser.push(text);
        events.extend(self.parser.finish());
        // Tokens without bytes stand behind the last byte.
        let (events, mut tokens) = self.found(events, self.decoded);
        tokens.extend(self.undecided.drain(..).map(|(_, token)| unsaid(token)));
        (events, tokens)
    }

    /// Ids of tokens that nothing was decided on; none are left.
    pub fn rest(&mut self) -> impl Iterator<Item = u32> {
        self.undecided.drain(..).map(|(_, token)| token.id)
    }

    fn found(&mut self, events: Vec<AnswerEvent>, decided: usize) -> Found {
        // Text that was held back may reach back further than the parser said.
        let before = self.decided.min(decided);
        let (mut text, mut reasoning) = (Vec::new(), Vec::new());
        let last = events.len().saturating_sub(1);
        for (at, event) in events.iter().enumerate() {
            let (ranges, length) = match event {
                AnswerEvent::Text(said) => (&mut text, said.len()),
                AnswerEvent::Reasoning(said) => (&mut reasoning, said.len()),
                _ => continue,
            };
            if at == last {
                ranges.push(decided.saturating_sub(length)..decided);
            } else if at == 0 {
                ranges.push(before..before + length);
            }
        }
        self.decided = decided;
        let mut tokens = Vec::new();
        while self.undecided.front().is_some_and(|(place, _)| place.start < decided) {
            let Some((place, token)) = self.undecided.pop_front() else { break };
            let within = |ranges: &[Range<usize>]| ranges.iter().any(|range| meets(&place, range));
            self.reasoning_tokens += usize::from(within(&reasoning));
            tokens.push(if within(&text) { token } else { unsaid(token) });
        }
        (events, tokens)
    }
}

/// Whether a token, which may be the beginning of a character and have no bytes yet, lies in a
/// range.
fn meets(place: &Range<usize>, range: &Range<usize>) -> bool {
    place.start < range.end && (place.end > range.start || place.start >= range.start)
}

/// A token that is no text of the answer.
fn unsaid(token: OutputToken) -> OutputToken {
    OutputToken { in_text: false, ..token }
}

#[cfg(test)]
mod tests {
    use super::*;
    use myriad_token::{AnswerFormat, AnswerTool, CallFormat, ReasoningFormat};

    /// The tokens of an answer's text, and how many were reasoning, of tokens with these texts.
    fn read(texts: &[&str]) -> (Vec<String>, usize) {
        let format = AnswerFormat { reasoning: ReasoningFormat::Think, calls: CallFormat::Hermes };
        let tools = vec![AnswerTool { name: "f".into(), parameters: None }];
        let mut reader = Reader::new(AnswerParser::new(format, "", tools));
        let token = |id: usize| OutputToken { id: id as u32, score: None, in_text: true };
        let mut found = Vec::new();
        for (id, text) in texts.iter().enumerate() {
            found.extend(reader.push(token(id), text).1);
        }
        found.extend(reader.finish("").1);
        let ids: Vec<usize> = found.iter().map(|token| token.id as usize).collect();
        assert_eq!(ids, (0..texts.len()).collect::<Vec<_>>(), "all, in order");
        let said = found.iter().filter(|token| token.in_text);
        (said.map(|token| texts[token.id as usize].to_owned()).collect(), reader.reasoning_tokens)
    }

    #[test]
    fn tokens_are_text_reasoning_or_neither() {
        const CALL: &str = "{\"name\": \"f\", \"arguments\": {}}";
        for (texts, said, reasoning) in [
            (&["<think>", "\n", "Hm", ".", "\n", "</think>", "\n\n", "Yes", "."][..], "Yes.", 2),
            (&["Yes", ".", "\n", "<tool_call>", CALL, "</tool_call>"], "Yes.", 0),
            // What is no call after all is text, from its first token on.
            (&["<tool", "_call>", "no", " call"], "<tool_call>no call", 0),
            // White space inside of a text is part of it.
            (&["Yes", "\n", "\n", "no"], "Yes\n\nno", 0),
            // A token that is partly a marker counts as what it shows.
            (&["<think>Hm", "</think>Yes", "."], "</think>Yes.", 1),
            // The beginning of a character has no text yet.
            (&["<think>", "H", "", "ä", "</think>", "", "ö"], "ö", 3),
        ] {
            let (tokens, found) = read(texts);
            assert_eq!((tokens.concat().as_str(), found), (said, reasoning), "{texts:?}");
        }
    }
}
