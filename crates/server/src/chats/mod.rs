//! Turns the conversations of the chat in the browser into rows, and their questions into answers
//! that nobody has to wait for.
//!
//! [`rows`] writes and reads conversations and messages; [`records`] turns whole ones into streams
//! of JSON and back; [`runs`] is the door to answers on their way; [`answer`] makes one, after
//! [`files`] has put into the question what it names, in [`rounds`] where the model calls tools
//! ([`calls`], which [`permissions`] lets go out); [`title`] names a conversation by its first one.

pub mod answer;
mod calls;
mod chunk;
mod files;
mod permissions;
pub mod records;
mod rounds;
pub mod rows;
pub mod runs;
mod title;
