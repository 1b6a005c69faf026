//! Turns a folder as Hugging Face publishes models into its settings, tensors and vocabulary.

mod error;
mod index;
mod place;

use std::path::Path;

pub use error::FolderError;

use crate::error::shown;
use crate::json::{JsonFile, JsonObject};
use crate::limits::{
    INDEX_BYTES_MAX, JSON_BYTES_MAX, SAFETENSORS_TENSORS_MAX, TEMPLATE_BYTES_MAX,
    TOKENIZER_BYTES_MAX,
};
use crate::safetensors::Safetensors;
use crate::source::{TensorSource, TensorView};
use crate::tokenizer_json::TokenizerFiles;
use crate::vocab::VocabSpec;
use index::Index;
use place::Place;

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const TOKENIZER: &str = "tokenizer.json";
/// How sentence-transformers makes one vector of a text's states.
const POOLING: &str = "1_Pooling/config.json";
/// A layer that it may put behind that.
const DENSE: &str = "2_Dense/config.json";

/// A folder with `config.json`, safetensors in one file or in shards, and mostly a tokenizer.
///
/// Only files inside the folder are read, whatever names and links say; the one exception is
/// Hugging Face's own cache, whose folders are links into a folder beside them.
pub struct ModelFolder {
    place: Place,
    config: JsonFile,
    generation_config: Option<JsonFile>,
    pooling: Option<JsonFile>,
    has_dense: bool,
    /// The files, and where each one's tensors begin in the list of all.
    shards: Vec<(Safetensors, usize)>,
    /// Indices into the list of all tensors, sorted by name.
    by_name: Vec<u32>,
}

impl ModelFolder {
    /// Reads the small files and maps the weights.
    pub fn open(path: &Path) -> Result<ModelFolder, FolderError> {
        let place = Place::open(path)?;
        let Some(config) = json(&place, CONFIG)? else {
            let folder = place.root().to_path_buf();
            return Err(FolderError::MissingFile { folder, file: CONFIG });
        };
        let generation_config = json(&place, "generation_config.json")?;
        let pooling = json(&place, POOLING)?;
        let has_dense = place.find(DENSE)?.is_some();
        let (index, shards) = open_shards(&place)?;
        let by_name = Vec::new();
        let mut folder =
            ModelFolder { place, config, generation_config, pooling, has_dense, shards, by_name };
        folder.by_name = folder.order_by_name()?;
        folder.check(&index)?;
        Ok(folder)
    }

    /// `config.json`.
    pub fn config(&self) -> JsonObject<'_> {
        self.config.object()
    }

    /// `generation_config.json`, if there is one.
    pub fn generation_config(&self) -> Option<JsonObject<'_>> {
        self.generation_config.as_ref().map(JsonFile::object)
    }

    /// `1_Pooling/config.json` of sentence-transformers, if there is one.
    pub fn pooling(&self) -> Option<JsonObject<'_>> {
        self.pooling.as_ref().map(JsonFile::object)
    }

    /// Whether sentence-transformers has one more layer behind the pooling.
    pub fn has_dense(&self) -> bool {
        self.has_dense
    }

    /// Size of all files of weights together.
    pub fn file_bytes(&self) -> u64 {
        self.shards.iter().map(|(shard, _)| shard.file_bytes()).sum()
    }

    /// The vocabulary of `tokenizer.json` and its neighbours, as a GGUF file would have it.
    pub fn vocab(&self) -> Result<VocabSpec, FolderError> {
        let place = &self.place;
        let Some(tokenizer) = place.read(TOKENIZER, TOKENIZER_BYTES_MAX)? else {
            let folder = place.root().to_path_buf();
            return Err(FolderError::MissingFile { folder, file: TOKENIZER });
        };
        let template = template(place)?;
        let files = TokenizerFiles {
            tokenizer: &tokenizer,
            tokenizer_config: json(place, "tokenizer_config.json")?,
            special_tokens_map: json(place, "special_tokens_map.json")?,
            generation_config: self.generation_config.clone(),
            config: Some(self.config.clone()),
            chat_template: template.as_deref(),
        };
        Ok(files.vocab()?)
    }

    fn order_by_name(&self) -> Result<Vec<u32>, FolderError> {
        let mut by_name: Vec<u32> = (0..self.tensor_count() as u32).collect();
        let name = |index: u32| self.tensor_at(index as usize).name;
        by_name.sort_unstable_by(|&a, &b| name(a).cmp(name(b)).then(a.cmp(&b)));
        match by_name.windows(2).find(|pair| name(pair[0]) == name(pair[1])) {
            None => Ok(by_name),
            Some(pair) => {
                let [first, second] = [pair[0], pair[1]].map(|index| self.shard_of(index as usize));
                Err(FolderError::TensorInTwoShards {
                    tensor: shown(name(pair[0])),
                    first: file_name(&self.shards[first].0),
                    second: file_name(&self.shards[second].0),
                })
            }
        }
    }

    /// Checks that each tensor of the index is in the shard that it names. Shards may have more.
    fn check(&self, index: &Index) -> Result<(), FolderError> {
        for (name, said) in &index.tensors {
            let said = *said as usize;
            let found = self.find(name).map(|tensor| self.shard_of(tensor));
            if found == Some(said) {
                continue;
            }
            let (tensor, said) = (shown(name), file_name(&self.shards[said].0));
            return Err(match found {
                None => FolderError::MissingTensor { tensor, shard: said },
                Some(found) => {
                    let found = file_name(&self.shards[found].0);
                    FolderError::WrongShard { tensor, said, found }
                }
            });
        }
        Ok(())
    }

    fn find(&self, name: &str) -> Option<usize> {
        let at = self.by_name.binary_search_by(|&at| self.tensor_at(at as usize).name.cmp(name));
        Some(self.by_name[at.ok()?] as usize)
    }

    /// Which shard has the tensor at `index`: of shards that begin at the same place, all but the
    /// last are empty.
    fn shard_of(&self, index: usize) -> usize {
        self.shards.partition_point(|(_, start)| *start <= index) - 1
    }
}

impl TensorSource for ModelFolder {
    fn tensor_count(&self) -> usize {
        self.shards.last().map_or(0, |(shard, start)| start + shard.tensor_count())
    }

    fn tensor_at(&self, index: usize) -> TensorView<'_> {
        let (shard, start) = &self.shards[self.shard_of(index)];
        shard.tensor_at(index - start)
    }

    fn find_tensor(&self, name: &str) -> Option<TensorView<'_>> {
        self.find(name).map(|index| self.tensor_at(index))
    }
}

/// Counts only: names would fill pages.
impl std::fmt::Debug for ModelFolder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (files, tensors) = (self.shards.len(), self.tensor_count());
        let path = self.place.root().display();
        write!(formatter, "ModelFolder({path}, {files} files, {tensors} tensors)")
    }
}

/// The files of weights in the order of the index, which is empty where one file has everything.
fn open_shards(place: &Place) -> Result<(Index, Vec<(Safetensors, usize)>), FolderError> {
    if let Some(path) = place.find(WEIGHTS)? {
        return Ok((Index::default(), vec![(open_one(place, WEIGHTS, &path)?, 0)]));
    }
    let Some(bytes) = place.read(INDEX, INDEX_BYTES_MAX)? else {
        return Err(FolderError::MissingWeights { folder: place.root().to_path_buf() });
    };
    let index = index::read(&bytes)?;
    let mut shards = Vec::with_capacity(index.shards.len());
    let mut start = 0;
    for name in &index.shards {
        let Some(path) = place.find(name)? else {
            return Err(FolderError::MissingShard { shard: shown(name) });
        };
        let shard = open_one(place, name, &path)?;
        let count = shard.tensor_count();
        shards.push((shard, start));
        start += count;
        if start > SAFETENSORS_TENSORS_MAX {
            return Err(FolderError::TensorCount { max: SAFETENSORS_TENSORS_MAX });
        }
    }
    Ok((index, shards))
}

/// One file of weights; errors say its name in the folder, whatever links lead to.
fn open_one(place: &Place, name: &str, path: &Path) -> Result<Safetensors, FolderError> {
    let file = place.root().join(name).display().to_string();
    Ok(Safetensors::open_as(file, path)?)
}

/// A small JSON file; none if it is not there.
fn json(place: &Place, name: &str) -> Result<Option<JsonFile>, FolderError> {
    let bytes = place.read(name, JSON_BYTES_MAX)?;
    let file = bytes.map(|bytes| JsonFile::from_bytes(name, &bytes)).transpose()?;
    Ok(file)
}

/// The chat template in a file of its own; none if it is not there.
fn template(place: &Place) -> Result<Option<String>, FolderError> {
    const FILE: &str = "chat_template.jinja";
    let Some(bytes) = place.read(FILE, TEMPLATE_BYTES_MAX)? else { return Ok(None) };
    let text = String::from_utf8(bytes).map_err(|error| FolderError::TemplateEncoding {
        path: place.root().join(FILE),
        position: error.utf8_error().valid_up_to(),
    })?;
    Ok(Some(text))
}

/// The name of a shard without its folder, for people.
fn file_name(shard: &Safetensors) -> String {
    let path = Path::new(shard.file());
    path.file_name().map_or_else(String::new, |name| shown(&name.to_string_lossy()))
}
