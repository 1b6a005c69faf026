//! Random walks of a grammar, and texts along one.

use jsonschema::Validator;
use myriad_token::{Grammar, GrammarState, Tokenizer};
use serde_json::Value;

use super::Random;

/// As a rule.
const PATIENCE: usize = 60;

/// Tokens after which an answer is given up: a model may go on for ever too.
const LENGTH_MAX: usize = 400;

/// The judge of values.
pub fn oracle(schema: &Value) -> Validator {
    jsonschema::options().should_validate_formats(true).build(schema).expect("a schema")
}

fn tokens_of(state: &mut GrammarState, vocab: usize) -> Vec<u32> {
    let mut words = vec![0u32; vocab.div_ceil(32)];
    state.mask(&mut words).expect("a mask");
    (0..vocab as u32).filter(|t| words[*t as usize / 32] >> (t % 32) & 1 == 1).collect()
}

/// Answers by chance.
pub struct Walk<'a> {
    grammar: &'a Grammar,
    tokenizer: &'a Tokenizer,
    /// Tokens that chance may choose before it is made to hurry.
    patience: usize,
    /// Texts that lead on, of which chance would not find all letters.
    ends: &'a [&'a str],
}

impl<'a> Walk<'a> {
    pub fn new(grammar: &'a Grammar, tokenizer: &'a Tokenizer) -> Walk<'a> {
        Walk { grammar, tokenizer, patience: PATIENCE, ends: &[] }
    }

    pub fn with_ends(self, patience: usize, ends: &'a [&'a str]) -> Walk<'a> {
        Walk { patience, ends, ..self }
    }

    /// An answer; `None` where it does not come to an end.
    pub fn answer(&self, random: &mut Random) -> Option<Vec<u32>> {
        self.answer_after("", random)
    }

    /// An answer that begins with a text.
    pub fn answer_after(&self, begin: &str, random: &mut Random) -> Option<Vec<u32>> {
        let mut state = self.grammar.start();
        let mut answer = along(&mut state, self.tokenizer, begin).expect("a text that may come");
        let begun = answer.len();
        let mut said = self.tokenizer.decode(&answer, true);
        while answer.len() < LENGTH_MAX {
            let hurried = answer.len() > begun + self.patience;
            let ends = random.below(if hurried { 2 } else { 4 }) == 0;
            if state.may_end() && (state.must_end() || ends) {
                return Some(answer);
            }
            let mut allowed = tokens_of(&mut state, self.tokenizer.vocab_size());
            if allowed.is_empty() {
                assert!(state.may_end(), "a dead end after {}", text(self.tokenizer, &answer));
                return Some(answer);
            }
            if hurried && random.below(8) > 0 {
                self.hurry(&said, &mut allowed);
            }
            let token = allowed[random.below(allowed.len())];
            state.accept(token).expect("what the mask allowed");
            answer.push(token);
            said.extend_from_slice(self.tokenizer.token_bytes(token).expect("a token"));
        }
        None
    }

    /// Leaves the tokens that lead to an end, if there are such.
    fn hurry(&self, said: &[u8], allowed: &mut Vec<u32>) {
        let bytes = |token: &u32| self.tokenizer.token_bytes(*token).expect("a token");
        let ends = self.ends.iter().map(|end| end.as_bytes());
        let longest = ends.clone().map(<[u8]>::len).max().unwrap_or(0);
        // The most that has come of any of them goes on.
        for at in (0..longest).rev() {
            let begun = ends.clone().filter(|end| at < end.len() && said.ends_with(&end[..at]));
            let leads = begun.filter_map(|end| {
                let fits = |token: &&u32| {
                    bytes(token).first() == Some(&end[at]) && end[at..].starts_with(bytes(token))
                };
                allowed.iter().filter(fits).max_by_key(|token| bytes(token).len()).copied()
            });
            let leads: Vec<u32> = leads.collect();
            if !leads.is_empty() {
                *allowed = leads;
                return;
            }
        }
        let closing = |token: &u32| {
            self.tokenizer.is_control(*token)
                || matches!(
                    bytes(token),
                    b"\"" | b"}" | b"]" | b"\"}" | b"0" | b"null" | b"n" | b"@"
                )
        };
        let closing: Vec<u32> = allowed.iter().copied().filter(closing).collect();
        if !closing.is_empty() {
            *allowed = closing;
        }
    }
}

/// What tokens say.
pub fn text(tokenizer: &Tokenizer, answer: &[u32]) -> String {
    String::from_utf8(tokenizer.decode(answer, true)).unwrap_or_else(|error| format!("{error:?}"))
}

/// The text with exponents of two digits at most, and numbers of 300: larger ones are JSON, but no
/// number for `serde`.
pub fn tamed(text: &str) -> String {
    let mut tamed = String::new();
    let (mut quoted, mut escaped, mut digits, mut length) = (false, false, None, 0);
    for c in text.chars() {
        digits = match (digits, c) {
            (Some(count), '0'..='9') => Some(count + 1),
            (Some(0), '+' | '-') => Some(0),
            (_, 'e' | 'E') if !quoted && tamed.ends_with(|c: char| c.is_ascii_digit()) => Some(0),
            _ => None,
        };
        quoted ^= c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        length = if c.is_ascii_digit() && !quoted { length + 1 } else { 0 };
        if digits.is_none_or(|count| count <= 2) && length <= 300 {
            tamed.push(c);
        }
    }
    tamed
}

/// Whether a text is an answer, whatever tokens it is written in.
pub fn is_answer(grammar: &Grammar, tokenizer: &Tokenizer, text: &str) -> bool {
    let mut state = grammar.start();
    along(&mut state, tokenizer, text).is_some() && state.may_end()
}

/// Goes on by a text; `None` where it may not come.
fn along(state: &mut GrammarState, tokenizer: &Tokenizer, text: &str) -> Option<Vec<u32>> {
    let mut rest = text.as_bytes();
    let mut tokens = Vec::new();
    while !rest.is_empty() {
        let allowed = tokens_of(state, tokenizer.vocab_size());
        let bytes = |token: &u32| tokenizer.token_bytes(*token).expect("a token");
        let fits = |token: &u32| rest.starts_with(bytes(token));
        // What the grammar leaves no choice about comes in one way only: the longest.
        let token = allowed.into_iter().filter(fits).max_by_key(|token| bytes(token).len())?;
        rest = &rest[bytes(&token).len()..];
        state.accept(token).expect("what the mask allowed");
        tokens.push(token);
    }
    Some(tokens)
}
