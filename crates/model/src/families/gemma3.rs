//! Turns the keys of Gemma 3 into a `Config`.
//!
//! Most layers see a window only and turn by a base of their own; every sixth sees everything. Both
//! parts of a layer have a norm before and one behind, and embeddings are scaled by the square root
//! of the width (llama.cpp's `models/gemma3.cpp`, transformers' `models/gemma3`).

use myriad_kernels::Activation;

use super::keys::{Keys, Settings};
use super::rope::{RopeTraits, ScaledRope};
use super::{CONTEXT_MAX, SIZE_MAX};
use crate::config::{Config, FeedForward, Gqa, LayerConfig, Mixer, RopeConfig};
use crate::error::ModelError;

/// Each last of so many layers sees everything.
const PATTERN: usize = 6;
/// The base of layers with a window.
const LOCAL_THETA: f32 = 10_000.0;
/// The width of a head where no key says it, in both formats' reference implementations.
const HEAD_SIZE: u32 = 256;
/// The model of 27 billion has so many layers, and no key in GGUF for its scale.
const LAYERS_OF_27B: usize = 62;

/// Reads a file of the family.
pub(super) fn read(keys: &Keys<'_>) -> Result<Config, ModelError> {
    let layers = keys.layer_count()?;
    let hidden = keys.size("embedding_length", SIZE_MAX)? as usize;
    let context_length = keys.size("context_length", CONTEXT_MAX)? as usize;
    let (heads, kv_heads) = keys.heads(layers)?;
    let head_size = keys.head_size_or(HEAD_SIZE)?;
    let window = keys.size("attention.sliding_window", u32::MAX)? as usize;
    let size = keys.width_of_layers("feed_forward_length", layers)? as usize;
    keys.refuse_experts()?;

    // Scaling is the global layers' alone.
    let ScaledRope { rope: global, magnitude, .. } =
        keys.rope(RopeTraits::HALVES, head_size, context_length)?;
    let theta = keys.local_theta()?.unwrap_or(LOCAL_THETA);
    let local = RopeConfig { theta, divisors: None, ..global.clone() };
    let scale = keys.score_scale(layers, hidden, heads as usize, head_size)?;
    let is_local = keys.local_layers(layers, PATTERN)?;
    let layer = |is_local: bool| LayerConfig {
        mixer: Mixer::Gqa(Gqa {
            heads: heads as usize,
            kv_heads: kv_heads as usize,
            head_size,
            qkv_bias: false,
            output_bias: false,
            sinks: false,
            gate: false,
            qk_norm: true,
            rope: Some(usize::from(!is_local)),
            scale: if is_local { scale } else { scale * magnitude * magnitude },
            window: is_local.then_some(window),
        }),
        feed_forward: FeedForward::Dense { size, activation: Activation::GeluTanh },
        post_norms: true,
    };
    Ok(Config {
        family: keys.family,
        hidden,
        vocab: keys.vocab()?,
        context_length,
        norm_epsilon: keys.epsilon("attention.layer_norm_rms_epsilon")?,
        embedding_scale: (hidden as f32).sqrt(),
        tied_output: keys.has_tied_output()?,
        ropes: vec![local, global],
        layers: is_local.into_iter().map(layer).collect(),
        pooling: keys.pooling()?,
        encoder: None,
        mtp: None,
    })
}

impl Keys<'_> {
    /// The base of the layers with a window, where the file says it.
    fn local_theta(&self) -> Result<Option<f32>, ModelError> {
        let Settings::Folder(json) = &self.file else {
            return self.positive("rope.freq_base_swa");
        };
        let of_kind = match json.optional_object("rope_parameters")? {
            Some(rope) => rope.optional_object("sliding_attention")?,
            None => None,
        };
        let (name, value) = match of_kind {
            Some(rope) => ("sliding_attention.rope_theta", rope.optional_f32("rope_theta")?),
            None => ("rope_local_base_freq", json.optional_f32("rope_local_base_freq")?),
        };
        match value {
            Some(value) if value <= 0.0 => {
                let (key, expected) = (name.to_owned(), "positive and finite");
                Err(ModelError::Number { key, value, expected })
            }
            value => Ok(value),
        }
    }

    /// Factor of the scores: in GGUF, the model of 27 billion is told by its number of layers.
    fn score_scale(
        &self,
        layers: usize,
        hidden: usize,
        heads: usize,
        head_size: usize,
    ) -> Result<f32, ModelError> {
        let width = match &self.file {
            Settings::Gguf(_) if layers == LAYERS_OF_27B => hidden as f32 / heads as f32,
            Settings::Gguf(_) => head_size as f32,
            Settings::Folder(json) => {
                let value = json.optional_f32("query_pre_attn_scalar")?.unwrap_or(256.0);
                if value <= 0.0 {
                    let key = "query_pre_attn_scalar".to_owned();
                    return Err(ModelError::Number { key, value, expected: "positive and finite" });
                }
                value
            }
        };
        Ok(1.0 / width.sqrt())
    }
}
