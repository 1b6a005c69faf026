//! Turns everything that can go wrong with a store into one typed error.

use std::io;
use std::path::PathBuf;

/// Why something is not kept, or not found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The address of the database is none that this program knows.
    #[error("'{0}' is no address of a store: right would be sqlite:PATH or postgres://…")]
    Address(String),
    /// The database cannot be opened.
    #[error("opening the store at {address}: {source}")]
    Open {
        /// Where it should be, without its password.
        address: String,
        /// What the database says.
        source: sqlx::Error,
    },
    /// A newer program has written the database.
    #[error(
        "the store has layout {found}, and this program knows none above {known}: \
         a newer version of it has written there"
    )]
    TooNew {
        /// The layout that was found.
        found: i64,
        /// The newest layout that is known.
        known: i64,
    },
    /// The row is there already, or was changed or deleted by someone else in between.
    #[error("{0} was changed by someone else in between, or is there already")]
    Conflict(String),
    /// The database refuses.
    #[error("the store: {0}")]
    Database(#[from] sqlx::Error),
    /// The writer has ended.
    #[error("the store is closed")]
    Closed,
    /// A file in the data folder cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which one.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// A content is larger than the caller allows.
    #[error("the content is larger than {limit} bytes")]
    TooLarge {
        /// Most bytes allowed.
        limit: u64,
    },
    /// The secret that keys are hashed with is not one.
    #[error("{0} does not hold a secret of 64 hexadecimal digits")]
    Secret(PathBuf),
}
