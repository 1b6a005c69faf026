//! Turns keys and tensors into the bytes of a GGUF file.

use std::borrow::Cow;
use std::io::{self, Write};

use myriad_kernels::BlockType;

use crate::metadata::Value;

/// A GGUF file to be written: version 3, little endian.
///
/// It checks nothing, so that tests can write broken files too: what it makes of wrong parts, the
/// reader refuses.
#[derive(Clone, Debug, Default)]
pub struct GgufWriter<'a> {
    metadata: Vec<(String, Value)>,
    tensors: Vec<(String, BlockType, Vec<usize>, Cow<'a, [u8]>)>,
}

impl<'a> GgufWriter<'a> {
    /// A file without keys and tensors.
    pub fn new() -> GgufWriter<'a> {
        GgufWriter::default()
    }

    /// Sets a key, or replaces its value.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) {
        let value = value.into();
        match self.metadata.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => *old = value,
            None => self.metadata.push((key.to_owned(), value)),
        }
    }

    /// Adds a tensor. `shape` has the columns first; `bytes` are its rows of blocks.
    pub fn tensor(
        &mut self,
        name: &str,
        kind: BlockType,
        shape: &[usize],
        bytes: impl Into<Cow<'a, [u8]>>,
    ) {
        self.tensors.push((name.to_owned(), kind, shape.to_vec(), bytes.into()));
    }

    /// The file in memory.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write_to(&mut bytes).expect("writing to memory does not fail");
        bytes
    }

    /// Writes the file.
    pub fn write_to(&self, _out: impl Write) -> io::Result<()> {
        todo!()
    }
}
