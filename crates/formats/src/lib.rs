//! Turns untrusted model files into bounded, typed descriptions, and back.
//!
//! A model is a [`Gguf`] file or a [`ModelFolder`] of [`Safetensors`]; both are a [`TensorSource`]
//! and have a [`VocabSpec`]. One that exists is sound: every count was checked before it was
//! believed, every tensor lies inside its file, and none overlaps another. What the keys and
//! tensors *mean* is for the model room to say. No input makes parsing panic, and its memory is
//! bounded: for GGUF by the size of the file (plus a small constant), for safetensors by a few
//! times the header, for JSON by [`limits`].

mod cursor;
mod error;
mod file;
mod folder;
mod fp8;
mod gguf;
mod json;
pub mod limits;
mod metadata;
mod safetensors;
mod source;
mod strings;
mod tensors;
mod tokenizer_json;
mod types;
mod values;
mod vocab;
mod writer;

pub use error::GgufError;
pub use folder::{FolderError, ModelFolder};
pub use fp8::{FP8_BLOCK, Fp8Error, Fp8Weights, e4m3_to_f32};
pub use gguf::{Gguf, KindSummary};
pub use json::{JsonError, JsonFault, JsonFile, JsonObject};
pub use metadata::{Array, Metadata, Value};
pub use safetensors::{
    Safetensors, SafetensorsError, SafetensorsFault, SafetensorsWriteError, SafetensorsWriter,
};
pub use source::{NotNumbers, TensorKind, TensorSource, TensorView};
pub use strings::Strings;
pub use tensors::TensorInfo;
pub use tokenizer_json::{TokenizerFiles, VocabError};
pub use vocab::{TokenType, VocabSpec, WordRules};
pub use writer::{GgufBody, GgufWriter};
