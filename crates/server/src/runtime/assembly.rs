//! Turns the generated tokens of one request into text that is certain, up to a stop string.

use myriad_engine::TokenScore;
use myriad_token::{StopMatcher, StreamDecoder, Tokenizer};

use super::generation::OutputToken;

/// Text of one request as it grows.
///
/// A token is handed out with the first text that it shows, so that log-probabilities stand beside
/// their text; tokens of a stop string show nothing and come out as hidden.
pub struct Assembly {
    decoder: StreamDecoder,
    stops: Option<StopMatcher>,
    include_stop: bool,
    min_tokens: usize,
    tokens: usize,
    /// Bytes of text decoded so far.
    decoded: usize,
    /// Bytes of text handed out so far.
    shown: usize,
    /// Tokens not handed out yet, each with the place where its text begins.
    waiting: Vec<(usize, OutputToken)>,
}

/// What one more token made certain.
#[derive(Debug, Default)]
pub struct Certain {
    pub text: String,
    pub tokens: Vec<OutputToken>,
    /// The stop string that ends the answer.
    pub stopped: Option<String>,
}

impl Assembly {
    pub fn new(stops: &[String], include_stop: bool, min_tokens: usize) -> Assembly {
        Assembly {
            decoder: StreamDecoder::new(),
            stops: (!stops.is_empty()).then(|| StopMatcher::new(stops)),
            include_stop,
            min_tokens,
            tokens: 0,
            decoded: 0,
            shown: 0,
            waiting: Vec::new(),
        }
    }

    /// Tokens generated so far.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Takes one token.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32, score: Option<TokenScore>) -> Certain {
        self.tokens += 1;
        self.waiting.push((self.decoded, OutputToken { id, score }));
        let text = self.decoder.push(tokenizer, id);
        self.decoded += text.len();
        self.take(text)
    }

    /// The end of the tokens: what was held back, and the tokens that show nothing.
    ///
    /// After a stop string there is no more text.
    pub fn finish(&mut self, stopped: bool) -> (Certain, Vec<u32>) {
        let mut certain = Certain::default();
        if !stopped {
            let rest = self.decoder.finish();
            self.decoded += rest.len();
            certain = self.take(rest);
            if certain.stopped.is_none() {
                if let Some(stops) = &mut self.stops {
                    certain.text.push_str(&stops.finish());
                }
                certain.tokens.extend(self.waiting.drain(..).map(|(_, token)| token));
            }
        }
        let hidden = self.waiting.drain(..).map(|(_, token)| token.id).collect();
        (certain, hidden)
    }

    /// Passes decoded text by the stop strings, which do not count before `min_tokens`.
    fn take(&mut self, text: String) -> Certain {
        let mut certain = Certain { text, ..Certain::default() };
        if self.tokens >= self.min_tokens
            && let Some(stops) = &mut self.stops
        {
            let output = stops.push(&certain.text);
            certain.text = output.text;
            certain.stopped = output.stopped;
            if self.include_stop
                && let Some(stop) = &certain.stopped
            {
                certain.text.push_str(stop);
            }
        }
        self.shown += certain.text.len();
        if !certain.text.is_empty() {
            let out = self.waiting.iter().take_while(|(start, _)| *start < self.shown).count();
            certain.tokens = self.waiting.drain(..out).map(|(_, token)| token).collect();
        }
        certain
    }
}
