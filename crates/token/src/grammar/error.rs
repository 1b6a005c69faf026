//! Turns what can be wrong with a schema or a grammar into typed errors.

use std::time::Duration;

/// Why a schema is not compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GrammarError {
    /// A keyword of the schema that is wrong, or cannot be enforced.
    #[error("{}: '{keyword}' {reason}", if pointer.is_empty() { "/" } else { pointer })]
    Keyword {
        /// Where the schema is that has the keyword: a JSON pointer from the root, empty for it.
        pointer: String,
        /// The keyword.
        keyword: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The schema of a tool.
    #[error("tool '{tool}': {error}")]
    Tool {
        /// Its place in the list of tools.
        index: usize,
        /// Its name.
        tool: String,
        /// What is wrong with it.
        error: Box<GrammarError>,
    },
    /// A regular expression, a list of choices or a grammar.
    #[error("the {what} {reason}")]
    Syntax {
        /// Which of them.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The schema, or what is made of it, is larger than allowed.
    #[error("the schema has {found} {what}: at most {limit} are allowed")]
    TooLarge {
        /// What is counted.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
    /// It takes more work to enforce than is allowed.
    #[error("the schema is too complex to be enforced: {0}")]
    TooComplex(String),
    /// Compiling takes more time than is allowed.
    #[error("compiling the schema takes longer than {0:?}")]
    TooSlow(Duration),
    /// Other schemas are being compiled.
    #[error("other schemas are being compiled: try again")]
    Busy,
    /// No value satisfies the schema.
    #[error("no value satisfies the schema: {0}")]
    Unsatisfiable(String),
    /// The vocabulary, or the format of the model's calls, cannot be made a grammar of.
    #[error("this model cannot be held to a grammar: {0}")]
    Unsupported(String),
}

/// Why an answer cannot follow its grammar any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GrammarFailure {
    /// The next mask takes more work or memory than is allowed.
    #[error("the grammar takes more work at this place than is allowed")]
    TooComplex,
    /// A token that may not come here, or a fault.
    #[error("the grammar's state is broken")]
    Broken,
}
