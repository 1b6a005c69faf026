//! Turns token ids and a KV cache into logits: one `Config`, a list of layers, their weights.
//!
//! In reading order: [`config`] says what a model is, [`families`] fills it from a file's keys,
//! `checkpoint` makes the two formats one, `tensors` checks the file, `weights` loads, `forward`
//! computes. [`mod@reference`] is the plain twin that `forward` is tested against, [`synthetic`]
//! makes small models for tests.
//! This room knows no clock, no randomness and no threads of its own.

mod cache;
mod checkpoint;
pub mod config;
mod error;
pub mod families;
mod forward;
pub mod reference;
pub mod synthetic;
mod tensors;
mod weights;

pub use cache::Cache;
pub use checkpoint::Source;
pub use config::{
    Config, Family, FeedForward, Gqa, Groups, Indexer, LayerConfig, Mixer, Mla, Moe, RopeConfig,
    Router, Scores, SharedExpert,
};
pub use error::ModelError;
pub use forward::{Batch, LogitRows, Logits, Scratch, Segment};
pub use myriad_kernels::{DeltaSnapshot as Snapshot, PAGE_TOKENS};

use myriad_kernels::{BlockType, Compute, KvCache, KvType, RecurrentStates, Rope};

/// A model in memory: its description and its packed weights. Never changes after loading.
pub struct Model {
    config: Config,
    weights: weights::Weights,
    /// One table for each of the config's ropes; filled as positions are reached.
    ropes: Vec<Rope>,
}

impl Model {
    /// Reads, checks and packs a file's weights. `progress` is called with the share done, 0 to 1.
    ///
    /// The file's map may be dropped afterwards: nothing borrows from it.
    ///
    /// # Errors
    /// [`ModelError`] names the key or tensor, its value, and what would be right; everything that
    /// can be known from keys and shapes is checked before the first weight is read.
    pub fn load<'a>(
        source: impl Into<Source<'a>>,
        compute: &Compute,
        progress: &mut dyn FnMut(f32),
    ) -> Result<Model, ModelError> {
        Model::load_as(source, None, compute, progress)
    }

    /// The same with all matrices as another type, where its blocks fit into their rows: quantised
    /// to take less memory, or as [`BlockType::F32`] to compare logits with exact ones.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn load_as<'a>(
        source: impl Into<Source<'a>>,
        kind: Option<BlockType>,
        compute: &Compute,
        progress: &mut dyn FnMut(f32),
    ) -> Result<Model, ModelError> {
        let source = source.into();
        let config = Config::read(source)?;
        let weights = weights::load(source, &config, kind, compute, progress)?;
        let ropes = config.ropes.iter().map(|rope| {
            let divisors = rope.divisors.as_deref();
            Rope::new(rope.dims, rope.theta, rope.pairing, divisors, config.context_length)
                .stretched(rope.magnitude)
        });
        Ok(Model { ropes: ropes.collect(), config, weights })
    }

    /// What this model is.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Bytes of memory that the weights hold.
    pub fn weight_bytes(&self) -> usize {
        self.weights.held_bytes
    }

    /// Bytes of weights, as stored in the file, that one decoded token must read: all but the
    /// embedding, unless it is the output head too, and but the experts that are not used.
    pub fn file_weight_bytes_per_token(&self) -> usize {
        self.weights.file_bytes_per_token
    }

    /// Memory for `pages` pages of [`PAGE_TOKENS`] positions, of half floats, and for `slots`
    /// states of whole sequences (which only models with recurrent layers have).
    ///
    /// # Errors
    /// [`ModelError::Cache`] and [`ModelError::States`] where it would not fit in memory.
    pub fn new_cache(&self, pages: usize, slots: usize) -> Result<Cache, ModelError> {
        self.new_cache_of(KvType::F16, pages, slots)
    }

    /// The same, with keys and values of another type: [`KvType::F32`] to compare logits with exact
    /// ones.
    ///
    /// # Errors
    /// As [`Model::new_cache`].
    pub fn new_cache_of(
        &self,
        kind: KvType,
        pages: usize,
        slots: usize,
    ) -> Result<Cache, ModelError> {
        Cache::new(&self.config, kind, pages, slots)
    }

    /// Bytes of one page of the KV cache, all layers together.
    pub fn cache_bytes_per_page(&self) -> usize {
        KvCache::bytes_per_page(&self.config.kv_shapes())
    }

    /// Bytes of the state of one sequence; 0 where all layers attend.
    pub fn state_bytes(&self) -> usize {
        RecurrentStates::bytes_per_slot(&self.config.state_shapes())
    }
}
