//! Schemas into the tokens that may come next in an answer that follows them.
//!
//! [`GrammarCompiler`] compiles a schema once, by the crate `llguidance`, and keeps it for the
//! next request; a [`Grammar`] starts a [`GrammarState`] for each answer, which says before each
//! token which ones may come. What is compiled is not the schema as it came: `schema` takes
//! it apart first, so that nothing that could not be enforced gets through.

mod calls;
mod client;
mod compiler;
mod error;
mod formats;
mod gemma;
mod lark;
mod lead;
mod locate;
mod schema;
mod source;
mod text;
mod vocabulary;
mod xml;

use std::fmt;
use std::sync::Arc;

use llguidance::Matcher;
use llguidance::api::StopReason;

pub use calls::CallGrammar;
pub use compiler::GrammarCompiler;
pub use error::{GrammarError, GrammarFailure};
pub use source::{AnswerGrammar, TextGrammar};

/// A compiled grammar, shared by all answers that follow it.
#[derive(Clone)]
pub struct Grammar {
    /// Before the first token, with the caches that its first mask has filled.
    begin: Arc<Matcher>,
    leaves_text_free: bool,
}

impl fmt::Debug for Grammar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Grammar")
    }
}

impl Grammar {
    /// Whether both are one: compiled once, and kept.
    pub fn is_same(&self, other: &Grammar) -> bool {
        Arc::ptr_eq(&self.begin, &other.begin)
    }

    /// Whether it holds the answer's calls alone to something, and not its text.
    pub fn leaves_text_free(&self) -> bool {
        self.leaves_text_free
    }

    /// The state before the first token of an answer.
    ///
    /// Each answer has caches of its own: a limit that shared ones ran into would depend on
    /// company.
    pub fn start(&self) -> GrammarState {
        GrammarState { matcher: self.begin.deep_clone(), complete: false }
    }
}

/// A place in an answer.
pub struct GrammarState {
    matcher: Matcher,
    /// The answer may end, and nothing but an end may follow.
    complete: bool,
}

impl GrammarState {
    /// Sets the bits of the tokens that may come next, none where nothing may follow: token `t` is
    /// bit `t % 32` of word `t / 32`. `allowed` comes zeroed; words that it has beyond the
    /// vocabulary stay so. End tokens are never among them: see [`Self::may_end`].
    ///
    /// # Errors
    /// [`GrammarFailure`], after which the state is of no further use.
    pub fn mask(&mut self, allowed: &mut [u32]) -> Result<(), GrammarFailure> {
        if self.complete {
            return Ok(());
        }
        let may_end = self.may_end();
        match self.matcher.compute_mask() {
            Ok(mask) => {
                for (to, from) in allowed.iter_mut().zip(mask.as_slice()) {
                    *to = *from;
                }
                Ok(())
            }
            Err(error) => match failure(&error.to_string()) {
                // It calls it an error that nothing but an end may come.
                None if may_end => {
                    self.complete = true;
                    Ok(())
                }
                // No token at all: the answer cannot go on.
                None => Ok(()),
                Some(failure) => Err(failure),
            },
        }
    }

    /// Goes on by a token that the mask allowed.
    ///
    /// # Errors
    /// As [`Self::mask`]; also where the token may not come here.
    pub fn accept(&mut self, token: u32) -> Result<(), GrammarFailure> {
        if let Err(error) = self.matcher.consume_token(token) {
            return Err(failure(&error.to_string()).unwrap_or(GrammarFailure::Broken));
        }
        self.complete = self.matcher.stop_reason() == StopReason::NoExtension;
        Ok(())
    }

    /// Whether the answer may end here.
    pub fn may_end(&mut self) -> bool {
        self.complete || self.matcher.is_accepting().unwrap_or(false)
    }

    /// Whether the answer is complete and nothing may follow.
    pub fn must_end(&self) -> bool {
        self.complete
    }
}

/// What an error of the matcher means, of which it keeps the text alone; `None`: no token may come.
fn failure(message: &str) -> Option<GrammarFailure> {
    let begins = |reason: StopReason| message.starts_with(&reason.to_string());
    // The limits of `compiler` in the words of the parser.
    let limits = ["too complex", "too many", "limit", "fuel"];
    if begins(StopReason::NoExtensionBias) {
        None
    } else if begins(StopReason::LexerTooComplex)
        || begins(StopReason::ParserTooComplex)
        || limits.iter().any(|word| message.contains(word))
    {
        Some(GrammarFailure::TooComplex)
    } else {
        Some(GrammarFailure::Broken)
    }
}
