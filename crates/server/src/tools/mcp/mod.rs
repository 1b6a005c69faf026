//! Turns a server that speaks the Model Context Protocol over streamable HTTP into lists of tools
//! and results of calls.
//!
//! Both eras of the protocol are spoken: since 2026-07-28 every request stands for itself
//! ([`Era::Modern`]); before, an `initialize` opened a session ([`Era::Legacy`]). Which one a
//! server lives in is found out with `server/discover`. In reading order: [`session`] knows what is
//! asked, [`exchange`] sends it and waits for the answer among what else comes, [`message`] is the
//! JSON.

mod exchange;
mod message;
pub mod mirror;
mod session;

pub use exchange::Link;
pub use session::Session;

use axum::http::HeaderValue;

/// The revision that is spoken with servers of the modern era.
const MODERN: &str = "2026-07-28";

/// Revisions of the legacy era, the latest first: that one is asked for.
const LEGACY: [&str; 3] = ["2025-11-25", "2025-06-18", "2025-03-26"];

/// How a server is spoken to.
#[derive(Clone, Debug, PartialEq)]
pub enum Era {
    /// Each request says all that matters.
    Modern,
    /// There was an `initialize`.
    Legacy {
        /// What was agreed upon.
        version: &'static str,
        /// What the server calls the session, where it has one.
        session: Option<HeaderValue>,
    },
}
