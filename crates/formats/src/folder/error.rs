//! Turns each rule that a model folder can break into one variant and one sentence.

use std::io;
use std::path::PathBuf;

use crate::json::JsonError;
use crate::safetensors::SafetensorsError;
use crate::tokenizer_json::VocabError;

/// Why a folder is not a sound model. Every message names the file, what is there, and what would
/// have been right. Text out of files is escaped and cut short.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the fields are the words of the sentences
pub enum FolderError {
    /// The system could not read a file or the folder.
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },

    /// A path that is no folder.
    #[error("{}: a folder with config.json and *.safetensors is needed", path.display())]
    NotAFolder { path: PathBuf },

    /// A file that every model has is not there.
    #[error("{}: `{file}` is missing", folder.display())]
    MissingFile { folder: PathBuf, file: &'static str },

    /// No weights in the one format that is read.
    #[error(
        "{}: neither `model.safetensors` nor `model.safetensors.index.json` is there; weights in \
         other formats are not read",
        folder.display()
    )]
    MissingWeights { folder: PathBuf },

    /// A link to somewhere else.
    #[error("`{file}` leads out of the folder, to {}", target.display())]
    OutsideFolder { file: String, target: PathBuf },

    /// Something that is no file.
    #[error("{} is no regular file", path.display())]
    NotAFile { path: PathBuf },

    /// A file beyond every limit.
    #[error("{} has more than {max} bytes", path.display())]
    FileSize { path: PathBuf, max: usize },

    /// A template that is not text.
    #[error("{} is not UTF-8 at byte {position}", path.display())]
    TemplateEncoding { path: PathBuf, position: usize },

    // The index of shards.
    /// An index that is not JSON, or not the right JSON.
    #[error("model.safetensors.index.json: {message}")]
    IndexSyntax { message: String },

    /// An index without its map.
    #[error("model.safetensors.index.json: the key `weight_map` is missing")]
    MissingWeightMap,

    /// An index with two maps.
    #[error("model.safetensors.index.json: the key `weight_map` comes twice")]
    WeightMapTwice,

    /// More tensors than any model has.
    #[error("the index or its shards have more than {max} tensors")]
    TensorCount { max: usize },

    /// More shards than any model has.
    #[error("model.safetensors.index.json names more than {max} shards")]
    ShardCount { max: usize },

    /// A tensor that the index has twice.
    #[error("model.safetensors.index.json has the tensor `{tensor}` twice")]
    IndexedTwice { tensor: String },

    /// A shard that could lie elsewhere.
    #[error(
        "model.safetensors.index.json has `{tensor}` in `{shard}`; the name of a file in the same \
         folder is needed, such as `model-00001-of-00002.safetensors`"
    )]
    ShardName { tensor: String, shard: String },

    /// A shard that is not there.
    #[error("the shard `{shard}`, which model.safetensors.index.json names, is missing")]
    MissingShard { shard: String },

    /// A tensor that the index has and no shard.
    #[error("`{tensor}` is not in `{shard}`, where model.safetensors.index.json has it")]
    MissingTensor { tensor: String, shard: String },

    /// A tensor that is in another shard than the index says.
    #[error("`{tensor}` is in `{found}`, but model.safetensors.index.json has it in `{said}`")]
    WrongShard { tensor: String, said: String, found: String },

    /// A tensor that two shards have.
    #[error("`{tensor}` is both in `{first}` and in `{second}`")]
    TensorInTwoShards { tensor: String, first: String, second: String },

    // The files inside.
    /// A JSON file that does not say what is needed.
    #[error(transparent)]
    Json(#[from] JsonError),

    /// A broken file of weights.
    #[error(transparent)]
    Safetensors(#[from] SafetensorsError),

    /// A vocabulary that cannot be had.
    #[error(transparent)]
    Vocab(#[from] VocabError),
}
