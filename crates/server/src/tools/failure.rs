//! Turns what goes wrong with a server of tools into words that people and models are told.

use std::time::Duration;

use axum::http::StatusCode;

use crate::outbound::OutboundError;

/// Why a server of tools gave no answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Failure {
    /// None came, or not all of it.
    #[error("gave {0}")]
    Outbound(OutboundError),
    /// It did not end in time.
    #[error("did not answer within {} s", .0.as_secs_f32())]
    Slow(Duration),
    /// A status that says no.
    #[error("answered with the status {0}{1}")]
    Status(StatusCode, String),
    /// The operator's secret is not taken.
    #[error("refuses the headers that this server's operator configured for it ({0})")]
    Refused(StatusCode),
    /// An error of the protocol, in its own words.
    #[error("says: {message} ({code})")]
    Told {
        /// JSON-RPC's, or the protocol's.
        code: i64,
        /// Its words.
        message: String,
        /// Versions of the protocol that it speaks, where it says that.
        supported: Vec<String>,
    },
    /// An answer that is none: what is wrong with it.
    #[error("gave an answer that cannot be read: {0}")]
    Unreadable(String),
    /// Its session is over.
    #[error("ended the session")]
    Expired,
    /// It speaks other versions of the protocol.
    #[error("speaks no version of the protocol that is spoken here: it offers {0}")]
    Version(String),
    /// It asks for what this client does not give.
    #[error("asks for an input that this server does not give")]
    InputRequired,
}

impl From<OutboundError> for Failure {
    fn from(error: OutboundError) -> Failure {
        Failure::Outbound(error)
    }
}

impl Failure {
    /// A word for logs.
    pub fn outcome(&self) -> &'static str {
        match self {
            Failure::Outbound(_) => "unreachable",
            Failure::Slow(_) => "slow",
            Failure::Refused(_) => "key_refused",
            Failure::Status(..) | Failure::Told { .. } => "failed",
            Failure::Expired => "expired",
            Failure::Unreadable(_) | Failure::Version(_) | Failure::InputRequired => "unreadable",
        }
    }

    /// In a whole sentence; `name` is the server's.
    pub fn told(&self, name: &str) -> String {
        format!("The tool server '{name}' {self}.")
    }
}
