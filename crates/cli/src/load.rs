//! Turns a model file into a model in memory with tokenizer, template and a running engine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use myriad_kernels::{Compute, Kernels};
use myriad_model::{Config, Model};
use myriad_server::{LoadedModel, Runtime};
use myriad_token::{ChatTemplate, Tokenizer};

use crate::file::ModelFile;
use crate::memory;
use crate::models;
use crate::screen::{advise, note, size, steps_bar};
use crate::sizes::{self, Sizes, Wishes};

/// A model file whose header is read and found good; no weight has been touched.
pub struct Opened {
    /// Where the file is.
    pub path: PathBuf,
    /// Its header, and its weights where they lie.
    pub file: ModelFile,
    /// What the model is.
    pub config: Config,
}

/// Reads the header of a model: a path, or a name from the cache.
pub fn open(model: Option<&Path>) -> Result<Opened> {
    let path = models::find(model)?;
    let file = ModelFile::open(&path)?;
    let config = Config::read(file.source()).with_context(|| format!("{}", path.display()))?;
    Ok(Opened { path, file, config })
}

impl Opened {
    /// Bytes of weights in the file; packed ones take about as much.
    pub fn weight_bytes(&self) -> u64 {
        self.file.weight_bytes()
    }

    /// Text to ids and back.
    pub fn tokenizer(&self) -> Result<Tokenizer> {
        let read = || anyhow::Ok(Tokenizer::new(&self.file.vocab()?)?);
        read().with_context(|| format!("{}", self.path.display()))
    }

    /// How a chat becomes a prompt, if the file says so in a way that can be understood.
    pub fn template(&self, tokenizer: &Tokenizer) -> Option<ChatTemplate> {
        let source = self.file.vocab().ok()?.chat_template?;
        match ChatTemplate::new(&source, tokenizer) {
            Ok(template) => Some(template),
            Err(error) => {
                note(format!("warning: {error}; chats are answered without it"));
                None
            }
        }
    }

    /// Packs the weights, with a bar where somebody looks.
    pub fn model(&self, compute: &Compute) -> Result<Model> {
        const STEPS: u64 = 1000;
        self.check_weights_fit()?;
        let bar = steps_bar(STEPS, "loading");
        bar.set_style(
            indicatif::ProgressStyle::with_template("{msg} {bar:28} {percent} %, {eta} left")
                .unwrap_or_else(|_| indicatif::ProgressStyle::default_bar()),
        );
        let mut progress = |share: f32| bar.set_position((share * STEPS as f32) as u64);
        let model = Model::load(self.file.source(), compute, &mut progress);
        bar.finish_and_clear();
        model.with_context(|| format!("{}", self.path.display()))
    }

    fn check_weights_fit(&self) -> Result<()> {
        let (weights, free) = (self.weight_bytes(), memory::free_bytes());
        match free {
            Some(free) if weights > free => Err(advise(
                format!(
                    "the weights take {}, but only {} of memory are free",
                    size(weights),
                    size(free)
                ),
                "end other programs, or take a smaller or more strongly quantised model",
            )),
            _ => Ok(()),
        }
    }

    /// The engine's sizes in the memory that is free now.
    pub fn sizes(&self, wishes: Wishes) -> Result<Sizes> {
        sizes::plan(&self.config, self.weight_bytes(), memory::free_bytes(), wishes)
    }

    /// Loads everything and starts the engine under these names.
    pub fn start(&self, threads: usize, sizes: &Sizes, names: Vec<String>) -> Result<Arc<Runtime>> {
        // What is quick to find wrong comes before what takes long.
        let tokenizer = self.tokenizer()?;
        let template = self.template(&tokenizer);
        let compute = compute(threads)?;
        let model = self.model(&compute)?;
        let loaded = LoadedModel {
            names,
            model: Arc::new(model),
            compute,
            tokenizer: Arc::new(tokenizer),
            template: template.map(Arc::new),
        };
        Ok(Runtime::start(loaded, sizes.engine.clone())?)
    }
}

/// The kernels of this processor on so many threads.
pub fn compute(threads: usize) -> Result<Compute> {
    Ok(Compute::new(Kernels::detect()?, threads))
}
