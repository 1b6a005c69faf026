//! Turns a GGUF file into its keys, its tensors and their bytes.

use std::path::Path;

use myriad_kernels::BlockType;

use crate::error::GgufError;
use crate::metadata::Metadata;
use crate::tensors::TensorInfo;
use crate::vocab::VocabSpec;

/// A parsed GGUF file: its header in typed form, its tensors' bytes where they lie.
#[derive(Debug)]
pub struct Gguf {
    _private: (),
}

/// How much of a file one block type takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindSummary {
    /// The block type.
    pub kind: BlockType,
    /// Tensors of that type.
    pub tensors: usize,
    /// Their bytes together.
    pub bytes: u64,
}

impl Gguf {
    /// Maps a file into memory and parses its header.
    pub fn open(_path: &Path) -> Result<Gguf, GgufError> {
        todo!()
    }

    /// Parses a file that is in memory already.
    pub fn from_bytes(_bytes: Vec<u8>) -> Result<Gguf, GgufError> {
        todo!()
    }

    /// The version of the format: 2 or 3.
    pub fn version(&self) -> u32 {
        todo!()
    }

    /// Keys and values.
    pub fn metadata(&self) -> &Metadata {
        todo!()
    }

    /// The tensors in the order of the file.
    pub fn tensors(&self) -> &[TensorInfo] {
        todo!()
    }

    /// The tensor of that name.
    pub fn tensor(&self, _name: &str) -> Option<&TensorInfo> {
        todo!()
    }

    /// A tensor's bytes: `tensor.rows()` rows of blocks.
    pub fn data(&self, _tensor: &TensorInfo) -> &[u8] {
        todo!()
    }

    /// Size of the file.
    pub fn file_bytes(&self) -> u64 {
        todo!()
    }

    /// The vocabulary, checked as far as a format can: sizes, types, and ids in range.
    pub fn vocab(&self) -> Result<VocabSpec, GgufError> {
        VocabSpec::read(self.metadata())
    }

    /// Bytes and count of tensors per block type, in the order of [`BlockType::ALL`].
    pub fn kind_summary(&self) -> Vec<KindSummary> {
        todo!()
    }
}
