//! Turns untrusted model files into bounded, typed descriptions, and back.
//!
//! A [`Gguf`] that exists is sound: every count was checked before it was believed, every tensor
//! lies inside the file, and none overlaps another. What the keys and tensors *mean* is for the
//! model room to say. Parsing takes no more memory than the file has bytes (plus a small constant),
//! and no input makes it panic.

mod cursor;
mod error;
mod gguf;
pub mod limits;
mod metadata;
mod strings;
mod tensors;
mod types;
mod values;
mod vocab;
mod writer;

pub use error::GgufError;
pub use gguf::{Gguf, KindSummary};
pub use metadata::{Array, Metadata, Value};
pub use strings::Strings;
pub use tensors::TensorInfo;
pub use vocab::{TokenType, VocabSpec};
pub use writer::GgufWriter;
