//! Turns token ids into logits, or into states that stand for texts: one `Config`, a list of
//! layers, their weights.
//!
//! In reading order: [`config`] says what a model is, [`families`] fills it from a file's keys,
//! `checkpoint` makes the two formats one, `tensors` checks the file, `weights` loads, `forward`
//! computes. [`mod@reference`] is the plain twin that `forward` is tested against, [`synthetic`]
//! makes small models for tests.
//! This room knows no clock, no randomness and no threads of its own.

mod cache;
mod checkpoint;
pub mod config;
mod convert;
mod error;
pub mod families;
mod forward;
mod pooling;
mod precision;
pub mod reference;
pub mod synthetic;
mod tensors;
mod weights;

pub use cache::Cache;
pub use checkpoint::Source;
pub use config::{
    Bidirectional, Config, Encoder, Family, FeedForward, Gqa, Groups, Indexer, LayerConfig, Mixer,
    Mla, Moe, Mtp, RopeConfig, Router, Scores, SharedExpert,
};
pub use convert::{Conversion, ConvertError};
pub use error::ModelError;
pub use forward::{Batch, Encoding, LogitRows, Logits, Scratch, Segment, Text};
pub use myriad_kernels::{DeltaSnapshot as Snapshot, PAGE_TOKENS};
pub use pooling::{Pool, Pooling, normalise};
pub use precision::Precision;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use myriad_kernels::{Compute, KvCache, KvType, MappedFile, RecurrentStates, Rope};
use weights::Packed;

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
        Model::load_as(source, Precision::AsStored, compute, progress)
    }

    /// The same with weights of other types: quantised to take less memory, or as F32 to compare
    /// logits with exact ones.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn load_as<'a>(
        source: impl Into<Source<'a>>,
        precision: Precision,
        compute: &Compute,
        progress: &mut dyn FnMut(f32),
    ) -> Result<Model, ModelError> {
        Model::read(source.into(), precision, Packed::Held, compute, progress)
    }

    /// Packs the weights into a file instead of memory, one matrix at a time, for
    /// [`Model::load_packed`].
    ///
    /// # Errors
    /// As [`Model::load`], and [`ModelError::PackedWrite`].
    pub fn write_packed<'a>(
        source: impl Into<Source<'a>>,
        precision: Precision,
        out: &mut dyn Write,
        compute: &Compute,
        progress: &mut dyn FnMut(f32),
    ) -> Result<(), ModelError> {
        Model::read(source.into(), precision, Packed::Written(out), compute, progress).map(|_| ())
    }

    /// As [`Model::load_as`], with matrices that stay in a file that [`Model::write_packed`] wrote
    /// of the same source: the system reads what is touched and keeps what fits into memory, so
    /// that a model may be larger. Computes the same bits.
    ///
    /// # Errors
    /// As [`Model::load`], and [`ModelError::PackedFile`].
    pub fn load_packed<'a>(
        source: impl Into<Source<'a>>,
        precision: Precision,
        file: Arc<MappedFile>,
        compute: &Compute,
        progress: &mut dyn FnMut(f32),
    ) -> Result<Model, ModelError> {
        let packed = Packed::Mapped { file, next: 0 };
        Model::read(source.into(), precision, packed, compute, progress)
    }

    fn read(
        source: Source<'_>,
        precision: Precision,
        packed: Packed<'_>,
        compute: &Compute,
        progress: &mut dyn FnMut(f32),
    ) -> Result<Model, ModelError> {
        let config = Config::read(source)?;
        let weights = weights::load(source, &config, precision, packed, compute, progress)?;
        let ropes = config.ropes.iter().map(|rope| {
            let divisors = rope.divisors.as_deref();
            Rope::new(rope.dims, rope.theta, rope.pairing, divisors, config.context_length)
                .stretched(rope.magnitude)
        });
        Ok(Model { ropes: ropes.collect(), config, weights })
    }

    /// Reads, checks and packs the weights of what guesses further tokens, of the file that this
    /// model is of; none where the file has no such.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn load_mtp<'a>(
        &self,
        source: impl Into<Source<'a>>,
        precision: Precision,
        compute: &Compute,
        progress: &mut dyn FnMut(f32),
    ) -> Result<Option<MtpHead>, ModelError> {
        let (source, config) = (source.into(), &self.config);
        let weights = weights::load_mtp(source, config, precision, compute, progress)?;
        Ok(weights.map(|weights| MtpHead { weights }))
    }

    /// What this model is.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Bytes of memory that the weights hold.
    pub fn weight_bytes(&self) -> usize {
        self.weights.held_bytes
    }

    /// Bytes of weights, in a file of the types that they were loaded as, that one decoded token
    /// must read: all but the embedding, unless it is the output head too, and but the experts that
    /// are not used.
    pub fn weight_bytes_per_token(&self) -> usize {
        self.weights.bytes_per_token
    }

    /// Tokens that each expert has worked on since loading, for each layer that is a mixture: its
    /// index, and one count for each of its experts. Shared experts work on every token.
    pub fn expert_tokens(&self) -> Vec<(usize, Vec<u64>)> {
        let layers = self.weights.layers.iter().enumerate();
        let counts = layers.filter_map(|(index, layer)| match &layer.feed_forward {
            weights::FeedForwardWeights::Moe(moe) => {
                Some((index, moe.used.iter().map(|count| count.load(Relaxed)).collect()))
            }
            weights::FeedForwardWeights::Dense(_) | weights::FeedForwardWeights::Mlp(_) => None,
        });
        counts.collect()
    }

    /// Memory for `pages` pages of [`PAGE_TOKENS`] positions, of half floats, and for `slots`
    /// states of whole sequences (which only models with recurrent layers have).
    ///
    /// # Errors
    /// [`ModelError::Cache`] and [`ModelError::States`] where it would not fit in memory.
    pub fn new_cache(&self, pages: usize, slots: usize) -> Result<Cache, ModelError> {
        self.new_cache_of(KvType::F16, pages, slots)
    }

    /// The same, with keys and values of another type: [`KvType::Q8_0`] for half the memory,
    /// [`KvType::F32`] to compare logits with exact ones.
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

    /// Bytes of one page of a KV cache of that type, all layers together.
    pub fn cache_bytes_per_page(&self, kind: KvType) -> usize {
        KvCache::bytes_per_page(kind, &self.config.kv_shapes())
    }

    /// Bytes of the state of one sequence; 0 where all layers attend.
    pub fn state_bytes(&self) -> usize {
        RecurrentStates::bytes_per_slot(&self.config.state_shapes())
    }
}

/// What guesses the token after the next in a model that was trained to: one layer beside the
/// model's own ([`Mtp`]), for [`Model::guess`].
pub struct MtpHead {
    weights: weights::MtpWeights,
}

impl MtpHead {
    /// Memory for `pages` pages of keys and values of its layer. `model` is the one that loaded it.
    ///
    /// # Errors
    /// As [`Model::new_cache`].
    pub fn new_cache(
        &self,
        model: &Model,
        kind: KvType,
        pages: usize,
    ) -> Result<Cache, ModelError> {
        Cache::of_mtp(&model.config, kind, pages)
    }

    /// Bytes of memory that the weights hold.
    pub fn weight_bytes(&self) -> usize {
        self.weights.held_bytes
    }

    /// Bytes of weights that one guess reads, the output head of `model` among them where it is
    /// used.
    pub fn weight_bytes_per_guess(&self, model: &Model) -> usize {
        let shared = if self.weights.head.is_some() { 0 } else { model.weights.head().bytes() };
        self.weights.bytes_per_token + shared
    }
}
