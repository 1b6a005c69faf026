//! Turns requests from anywhere into requests that handlers may trust: what is around all routes.
//!
//! From the outside in: [`journal`] gives a request its id, catches panics, logs and counts;
//! [`origin`] refuses other people's web pages; [`key`] asks for a key. [`upload`] holds the body
//! until a handler reads it, and throws away what nobody read.

pub mod journal;
pub mod key;
pub mod origin;
pub mod upload;
