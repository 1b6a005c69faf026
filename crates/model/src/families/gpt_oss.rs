//! Turns the keys of gpt-oss into a `Config`.
//!
//! Every other layer sees a window only, each head has a sink, all products have biases, and
//! experts clamp what they multiply (llama.cpp's `models/openai-moe.cpp`, transformers'
//! `models/gpt_oss`).

use myriad_kernels::Activation;

use super::keys::{Keys, Settings};
use super::rope::{RopeTraits, ScaledRope};
use super::{CONTEXT_MAX, SIZE_MAX};
use crate::config::{Config, FeedForward, Gqa, LayerConfig, Mixer, Moe, Router};
use crate::error::ModelError;

/// Each last of so many layers sees everything.
const PATTERN: usize = 2;
/// What experts clamp by, and the slope of their sigmoid, where no key says it.
const LIMIT: f32 = 7.0;
const ALPHA: f32 = 1.702;

/// Reads a file of the family.
pub(super) fn read(keys: &Keys<'_>) -> Result<Config, ModelError> {
    let layers = keys.layer_count()?;
    let hidden = keys.size("embedding_length", SIZE_MAX)?;
    let context_length = keys.size("context_length", CONTEXT_MAX)? as usize;
    let (heads, kv_heads) = keys.heads(layers)?;
    let head_size = keys.head_size(hidden, heads)?;
    let window = keys.size("attention.sliding_window", u32::MAX)? as usize;
    // As trained: the ends of the ramp are no whole pairs. GGUF has no key for it.
    let rope = RopeTraits { truncate: false, ..RopeTraits::HALVES };
    let ScaledRope { rope, magnitude, .. } = keys.rope(rope, head_size, context_length)?;
    let moe = moe(keys)?;
    let layer = |is_local: bool| LayerConfig {
        mixer: Mixer::Gqa(Gqa {
            heads: heads as usize,
            kv_heads: kv_heads as usize,
            head_size,
            qkv_bias: true,
            output_bias: true,
            sinks: true,
            gate: false,
            qk_norm: false,
            rope: Some(0),
            scale: magnitude * magnitude / (head_size as f32).sqrt(),
            window: is_local.then_some(window),
        }),
        feed_forward: FeedForward::Moe(moe.clone()),
        post_norms: false,
    };
    Ok(Config {
        family: keys.family,
        hidden: hidden as usize,
        vocab: keys.vocab()?,
        context_length,
        norm_epsilon: keys.epsilon("attention.layer_norm_rms_epsilon")?,
        embedding_scale: 1.0,
        tied_output: keys.has_tied_output()?,
        ropes: vec![rope],
        layers: keys.local_layers(layers, PATTERN)?.into_iter().map(layer).collect(),
        pooling: keys.pooling()?,
        encoder: None,
        mtp: None,
    })
}

/// The largest logits are used, and the softmax is over those: as a softmax over all, renormalised.
fn moe(keys: &Keys<'_>) -> Result<Moe, ModelError> {
    let (experts, used) = keys.expert_counts()?;
    let width = match keys.file {
        Settings::Gguf(_) => "expert_feed_forward_length",
        Settings::Folder(_) => "feed_forward_length",
    };
    Ok(Moe {
        experts: experts as usize,
        used: used as usize,
        size: keys.size(width, SIZE_MAX)? as usize,
        activation: Activation::ClampedSwiglu {
            limit: keys.positive("swiglu_limit")?.unwrap_or(LIMIT),
            alpha: keys.positive("swiglu_alpha")?.unwrap_or(ALPHA),
        },
        bias: true,
        router: Router::softmax(true),
        shared: None,
    })
}
