//! A stream of token ids into text that is safe to show, and the search for stop strings in it.

use crate::{AnswerFormat, Tokenizer};

/// Ids to text, one id at a time: bytes of an unfinished character are held back, bytes that are no
/// UTF-8 become U+FFFD. All pieces together are `String::from_utf8_lossy` of all bytes together.
///
/// The text is taken as the rest of another, a prompt. So a space at its beginning stays also where
/// encoding puts one before a text.
#[derive(Clone, Debug, Default)]
pub struct StreamDecoder {
    pending: Vec<u8>,
    /// Control tokens that have a text nevertheless; few.
    shown: Vec<u32>,
}

impl StreamDecoder {
    /// A decoder at the beginning of a text.
    pub fn new() -> Self {
        Self::default()
    }

    /// A decoder for an [`AnswerParser`](crate::AnswerParser): control tokens that are markers of
    /// the format have a text.
    pub fn for_answer(tokenizer: &Tokenizer, format: &AnswerFormat) -> Self {
        let shown = format.markers().filter_map(|marker| tokenizer.id_of(marker)).collect();
        StreamDecoder { pending: Vec::new(), shown }
    }

    /// The text that became certain by `id`; empty while a character is unfinished. Control tokens
    /// have no text, but for those of [`Self::for_answer`].
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> String {
        if tokenizer.is_hidden(id) && !self.shown.contains(&id) {
            return String::new();
        }
        self.push_bytes(tokenizer.token_bytes(id).unwrap_or_default())
    }

    /// The text that became certain by further bytes.
    pub fn push_bytes(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let mut text = String::new();
        let mut done = 0;
        loop {
            let rest = &self.pending[done..];
            let (valid, invalid) = match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    done = self.pending.len();
                    break;
                }
                Err(error) => (error.valid_up_to(), error.error_len()),
            };
            text.push_str(std::str::from_utf8(&rest[..valid]).unwrap_or_default());
            done += valid;
            let Some(invalid) = invalid else { break };
            text.push(char::REPLACEMENT_CHARACTER);
            done += invalid;
        }
        self.pending.drain(..done);
        text
    }

    /// Whether no character is unfinished.
    pub(crate) fn is_whole(&self) -> bool {
        self.pending.is_empty()
    }

    /// What is still held back at the end, as U+FFFD.
    pub fn finish(&mut self) -> String {
        let rest = String::from_utf8_lossy(&self.pending).into_owned();
        self.pending.clear();
        rest
    }
}

/// What [`StopMatcher::push`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopOutput {
    /// Text that is safe to emit.
    pub text: String,
    /// The stop string that was met, if any; it and what follows it are dropped.
    pub stopped: Option<String>,
}

/// Searches a stream of text for stop strings, holding back what may be the beginning of one and no
/// more. The first stop string to be complete wins, the longest of those that end at the same
/// place; so the result does not depend on how the text is cut into pieces.
#[derive(Clone, Debug)]
pub struct StopMatcher {
    stops: Vec<Stop>,
    held: String,
    stopped: Option<String>,
}

/// A stop string and how much of it the end of the text is (Knuth, Morris, Pratt).
#[derive(Clone, Debug)]
struct Stop {
    text: String,
    /// Per length of a beginning: the length of its longest proper end that is a beginning too.
    shorter: Vec<usize>,
    matched: usize,
}

impl StopMatcher {
    /// A matcher at the beginning of a text. Empty stop strings are left out.
    pub fn new(stops: &[String]) -> Self {
        let stops = stops.iter().filter(|stop| !stop.is_empty()).map(|stop| Stop::new(stop));
        StopMatcher { stops: stops.collect(), held: String::new(), stopped: None }
    }

    /// Takes further text; after a stop there is nothing more to emit.
    pub fn push(&mut self, text: &str) -> StopOutput {
        if self.stopped.is_some() {
            return StopOutput { text: String::new(), stopped: self.stopped.clone() };
        }
        let before = self.held.len();
        self.held.push_str(text);
        for at in before..self.held.len() {
            let byte = self.held.as_bytes()[at];
            let mut longest: Option<&Stop> = None;
            for stop in &mut self.stops {
                if stop.advance(byte) && longest.is_none_or(|l| l.text.len() < stop.text.len()) {
                    longest = Some(stop);
                }
            }
            if let Some(stop) = longest {
                let found = stop.text.clone();
                self.held.truncate(at + 1 - found.len());
                self.stopped = Some(found.clone());
                return StopOutput { text: std::mem::take(&mut self.held), stopped: Some(found) };
            }
        }
        // A stop string begins with a whole character, so this cut is between characters.
        let keep = self.stops.iter().map(|stop| stop.matched).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - keep);
        StopOutput { text: std::mem::replace(&mut self.held, rest), stopped: None }
    }

    /// What is still held back at the end of the text.
    pub fn finish(&mut self) -> String {
        for stop in &mut self.stops {
            stop.matched = 0;
        }
        std::mem::take(&mut self.held)
    }
}

impl Stop {
    fn new(text: &str) -> Stop {
        let bytes = text.as_bytes();
        let mut shorter = vec![0; bytes.len() + 1];
        let mut matched = 0;
        for at in 1..bytes.len() {
            while matched > 0 && bytes[matched] != bytes[at] {
                matched = shorter[matched];
            }
            if bytes[matched] == bytes[at] {
                matched += 1;
            }
            shorter[at + 1] = matched;
        }
        Stop { text: text.to_owned(), shorter, matched: 0 }
    }

    /// Takes one byte; true when the stop string is complete.
    fn advance(&mut self, byte: u8) -> bool {
        let bytes = self.text.as_bytes();
        while self.matched > 0 && bytes[self.matched] != byte {
            self.matched = self.shorter[self.matched];
        }
        if bytes[self.matched] == byte {
            self.matched += 1;
        }
        self.matched == bytes.len()
    }
}
