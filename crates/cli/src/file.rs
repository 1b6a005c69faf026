//! Turns a path into an opened model file: a GGUF file, or a folder as Hugging Face publishes them.

use std::path::Path;

use anyhow::{Context, Result};
use myriad_formats::{Gguf, ModelFolder, TensorSource, VocabSpec};
use myriad_model::Source;

/// A model file whose header is read; no weight has been touched.
pub enum ModelFile {
    Gguf(Gguf),
    Folder(ModelFolder),
}

impl ModelFile {
    /// Reads the header; errors name the file once.
    pub fn open(path: &Path) -> Result<ModelFile> {
        if path.is_dir() {
            let folder = ModelFolder::open(path);
            return Ok(ModelFile::Folder(folder.with_context(|| path.display().to_string())?));
        }
        match Gguf::open(path) {
            Ok(gguf) => Ok(ModelFile::Gguf(gguf)),
            // This one names the file itself.
            Err(error @ myriad_formats::GgufError::Io { .. }) => Err(error.into()),
            Err(error) => Err(anyhow::Error::from(error).context(path.display().to_string())),
        }
    }

    /// What the model room reads.
    pub fn source(&self) -> Source<'_> {
        match self {
            ModelFile::Gguf(gguf) => gguf.into(),
            ModelFile::Folder(folder) => folder.into(),
        }
    }

    /// The tensors as the file has them.
    pub fn tensors(&self) -> &dyn TensorSource {
        match self {
            ModelFile::Gguf(gguf) => gguf,
            ModelFile::Folder(folder) => folder,
        }
    }

    /// Everything that the file says about its tokens, the chat template included.
    pub fn vocab(&self) -> Result<VocabSpec> {
        match self {
            ModelFile::Gguf(gguf) => Ok(gguf.vocab()?),
            ModelFile::Folder(folder) => Ok(folder.vocab()?),
        }
    }

    /// Bytes of all tensors as stored; packed ones take about as much.
    pub fn weight_bytes(&self) -> u64 {
        self.tensors().tensor_views().map(|view| view.bytes.len() as u64).sum()
    }

    /// Bytes of the files on disk.
    pub fn file_bytes(&self) -> u64 {
        match self {
            ModelFile::Gguf(gguf) => gguf.file_bytes(),
            ModelFile::Folder(folder) => folder.file_bytes(),
        }
    }

    /// The name of the family, also of one that Myriad does not have.
    pub fn family(&self) -> Option<&str> {
        match self {
            ModelFile::Gguf(gguf) => {
                gguf.metadata().optional_str("general.architecture").ok().flatten()
            }
            ModelFile::Folder(folder) => folder.config().optional_str("model_type").ok().flatten(),
        }
    }

    /// A text that a GGUF file may say about itself.
    pub fn general(&self, key: &str) -> Option<&str> {
        let ModelFile::Gguf(gguf) = self else { return None };
        gguf.metadata().optional_str(&format!("general.{key}")).ok().flatten()
    }

    /// The name and version of the format.
    pub fn format(&self) -> String {
        match self {
            ModelFile::Gguf(gguf) => format!("GGUF {}", gguf.version()),
            ModelFile::Folder(_) => "safetensors".to_owned(),
        }
    }
}
