//! Turns requests from anywhere into requests that handlers may trust: what is around all routes.
//!
//! From the outside in: [`journal`] gives a request its id, catches panics, logs and counts;
//! [`dialect`] puts errors into the shape of the API that was asked;
//! [`origin`] refuses other people's web pages; [`key`] asks for a key. [`upload`] holds the body
//! until a handler reads it, and throws away what nobody read; [`form`] reads it field by field.
//! [`ticket`] is who asks, and its number, as handlers of generations take it.

pub mod dialect;
pub mod form;
pub mod journal;
pub mod key;
pub mod origin;
pub mod ticket;
pub mod upload;
