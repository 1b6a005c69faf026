//! Turns what the server may ask of whoever knows files and downloads into a trait.

use std::sync::Arc;

use crate::runtime::Runtime;

/// What a model is, as far as its header says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Description {
    /// The name that requests give.
    pub name: String,
    /// The family of its architecture: `llama`, `qwen3` …
    pub architecture: String,
    /// How its weights are kept: `Q4_K` …; empty where nothing is known.
    pub weights: String,
    /// Its weights, counted.
    pub parameters: Option<u64>,
    /// Bytes of its files.
    pub file_bytes: u64,
    /// Bytes of memory that it takes: weights, keys and values, states.
    pub memory_bytes: u64,
    /// Tokens of prompt and answer together.
    pub context: Option<usize>,
    /// Whether it makes vectors and answers nothing.
    pub embeds: bool,
    /// Whether its file is in the cache folder, from where it may be deleted.
    pub deletable: bool,
}

impl From<&Runtime> for Description {
    fn from(runtime: &Runtime) -> Description {
        let model = runtime.model();
        let bytes = model.map_or(0, |model| model.weight_bytes() as u64);
        Description {
            name: runtime.name().to_owned(),
            architecture: model.map_or("scripted", |model| model.config().family.name()).to_owned(),
            file_bytes: bytes,
            memory_bytes: bytes,
            context: Some(runtime.context_max()),
            embeds: runtime.is_encoder(),
            ..Description::default()
        }
    }
}

/// What is told while a model comes from elsewhere.
pub trait Download: Send + Sync {
    /// So many bytes of so many are here; `name` is what comes.
    fn at(&self, name: &str, bytes: u64, total: Option<u64>);
    /// Whether nobody wants it any more: then it ends soon, with an error.
    fn is_cancelled(&self) -> bool;
}

/// Whoever knows files and downloads. All of it blocks; errors are texts for the operator.
pub trait Loader: Send + Sync + 'static {
    /// The models that could be loaded now, looked up anew.
    fn list(&self) -> Vec<Description>;

    /// Loads one, and tells how far it is, from 0 to 1.
    ///
    /// # Errors
    /// Why it cannot be loaded.
    fn load(&self, name: &str, progress: &mut dyn FnMut(f32)) -> Result<Arc<Runtime>, String>;

    /// Whether a text names something that can be got.
    ///
    /// # Errors
    /// What would be right.
    fn check_source(&self, source: &str) -> Result<(), String>;

    /// Gets a model; returns its name.
    ///
    /// # Errors
    /// Why it did not come.
    fn pull(&self, source: &str, download: &dyn Download) -> Result<String, String>;

    /// Deletes a model's file.
    ///
    /// # Errors
    /// Why it is still there.
    fn delete(&self, name: &str) -> Result<(), String>;
}
