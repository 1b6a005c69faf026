//! Turns the keys of Qwen3-Next and Qwen3.5 into a `Config`.
//!
//! Three layers of four are gated delta nets; the fourth attends to everything, with a gate behind
//! it, and rope turns a part of each head (llama.cpp's `models/{qwen3next,qwen35,qwen35moe}.cpp`,
//! transformers' `models/{qwen3_next,qwen3_5,qwen3_5_moe}`).

use myriad_kernels::{Activation, DeltaShape, HeadOrder};

use super::experts::ExpertTraits;
use super::keys::{Keys, Settings, in_range};
use super::rope::{RopeTraits, ScaledRope};
use super::windows::layer_types;
use super::write::is_tiled;
use super::{CONTEXT_MAX, HEAD_SIZE_MAX, SIZE_MAX};
use crate::config::{Config, Family, FeedForward, Gqa, LayerConfig, Mixer};
use crate::error::ModelError;

/// Each last of so many layers attends.
pub(super) const INTERVAL: u32 = 4;
/// The share of each head that rope turns, where no key says it.
const ROTARY_FACTOR: f32 = 0.25;
/// Longest convolution that the kernels have; published models see 4 tokens.
const KERNEL_MAX: u32 = 16;

/// Reads a file of the families.
pub(super) fn read(keys: &Keys<'_>) -> Result<Config, ModelError> {
    let layers = keys.trunk_layer_count()?;
    let hidden = keys.size("embedding_length", SIZE_MAX)?;
    let context_length = keys.size("context_length", CONTEXT_MAX)? as usize;
    let (heads, kv_heads) = keys.heads(layers)?;
    let head_size = keys.partly_turned_head_size(hidden, heads)?;
    let rope_size = rope_size(keys, head_size)?;
    // A part of each head turns: a factor on cosines is none on scores.
    let rope: ScaledRope = keys.rope(RopeTraits::HALVES, rope_size, context_length)?;
    let attention = Mixer::Gqa(Gqa {
        heads: heads as usize,
        kv_heads: kv_heads as usize,
        head_size,
        qkv_bias: false,
        output_bias: false,
        sinks: false,
        gate: true,
        qk_norm: true,
        rope: Some(0),
        scale: 1.0 / (head_size as f32).sqrt(),
        window: None,
    });
    let delta = Mixer::GatedDelta(delta_shape(keys)?);
    let moe = match keys.family {
        Family::Qwen35 => {
            keys.refuse_experts()?;
            None
        }
        _ => Some(keys.moe(ExpertTraits { renormalise: true, shared: true }, layers)?),
    };
    let layer = |(layer, is_recurrent): (usize, bool)| {
        let feed_forward = match &moe {
            Some(moe) if !keys.is_dense_layer(layer) => FeedForward::Moe(moe.clone()),
            _ => {
                let size = keys.width_of_layers("feed_forward_length", layers)? as usize;
                FeedForward::Dense { size, activation: Activation::Silu }
            }
        };
        let mixer = if is_recurrent { delta.clone() } else { attention.clone() };
        Ok(LayerConfig { mixer, feed_forward, post_norms: false })
    };
    Ok(Config {
        family: keys.family,
        hidden: hidden as usize,
        vocab: keys.vocab()?,
        context_length,
        norm_epsilon: keys.epsilon("attention.layer_norm_rms_epsilon")?,
        embedding_scale: 1.0,
        tied_output: keys.has_tied_output()?,
        ropes: vec![rope.stretched()],
        layers: recurrent_layers(keys, layers)?
            .into_iter()
            .enumerate()
            .map(layer)
            .collect::<Result<_, ModelError>>()?,
        pooling: keys.pooling()?,
        encoder: None,
        mtp: keys.mtp(layers, || layer((layers, false)))?,
    })
}

/// How many elements of each head turn.
fn rope_size(keys: &Keys<'_>, head_size: usize) -> Result<usize, ModelError> {
    let (key, value) = match &keys.file {
        Settings::Gguf(_) => {
            let key = "rope.dimension_count";
            (keys.name(key), keys.size(key, HEAD_SIZE_MAX as u32)? as usize)
        }
        Settings::Folder(json) => {
            let key = "partial_rotary_factor";
            let own = match json.optional_object("rope_parameters")? {
                Some(rope) => rope.optional_f32(key)?,
                None => None,
            };
            let factor = own.or(json.optional_f32(key)?).unwrap_or(ROTARY_FACTOR);
            if !(factor > 0.0 && factor <= 1.0) {
                let (key, expected) = (key.to_owned(), "above 0 and at most 1");
                return Err(ModelError::Number { key, value: factor, expected });
            }
            (key.to_owned(), (head_size as f32 * factor) as usize)
        }
    };
    if value == 0 || !value.is_multiple_of(2) || value > head_size {
        let expected = format!("rope must turn an even number of the {head_size} of each head");
        return Err(ModelError::HeadSize { key, value, expected });
    }
    Ok(value)
}

/// Which layers are gated delta nets.
fn recurrent_layers(keys: &Keys<'_>, layers: usize) -> Result<Vec<bool>, ModelError> {
    match &keys.file {
        Settings::Folder(json) => {
            if let Some(kinds) = json.optional_strs("layer_types")? {
                return layer_types(&kinds, layers, ["linear_attention", "full_attention"]);
            }
        }
        Settings::Gguf(metadata) => {
            let key = keys.name("attention.recurrent_layers");
            if let Some(flags) = metadata.optional_bools(&key)? {
                // Layers behind the trunk are listed too.
                if flags.len() < layers {
                    let (value, expected) = (flags.len(), layers);
                    let reason = "the list has one flag for each layer";
                    return Err(ModelError::Disagree { key, value, expected, reason });
                }
                return Ok(flags[..layers].to_vec());
            }
        }
    }
    let key = "full_attention_interval";
    let interval = keys.optional_u32(key)?.unwrap_or(INTERVAL);
    let interval = in_range(keys.name(key), interval, u32::MAX)? as usize;
    Ok((0..layers).map(|layer| !(layer + 1).is_multiple_of(interval)).collect())
}

/// The sizes of all gated delta nets.
fn delta_shape(keys: &Keys<'_>) -> Result<DeltaShape, ModelError> {
    let head_max = HEAD_SIZE_MAX as u32;
    let key_heads = keys.size("ssm.group_count", SIZE_MAX)?;
    let value_heads = keys.size("ssm.time_step_rank", SIZE_MAX)?;
    if !value_heads.is_multiple_of(key_heads) {
        let (key, kv_heads, heads) = (keys.name("ssm.group_count"), key_heads, value_heads);
        return Err(ModelError::KvHeads { key, kv_heads, heads });
    }
    let value_size = match &keys.file {
        // All heads' together.
        Settings::Gguf(_) => {
            let (key, width) = ("ssm.inner_size", keys.size("ssm.inner_size", SIZE_MAX)?);
            if !width.is_multiple_of(value_heads) || width / value_heads > head_max {
                let (key, value) = (keys.name(key), width as usize);
                let expected = format!("{value_heads} heads of at most {head_max} are needed");
                return Err(ModelError::HeadSize { key, value, expected });
            }
            width / value_heads
        }
        Settings::Folder(json) => {
            let key = "linear_value_head_dim";
            in_range(key.to_owned(), json.u32(key)?, head_max)?
        }
    };
    // Converters of Qwen3.5 put value heads of one key head far apart.
    let order = match (&keys.file, keys.family) {
        (Settings::Gguf(_), family) if is_tiled(family) => HeadOrder::Tiled,
        _ => HeadOrder::Grouped,
    };
    Ok(DeltaShape {
        key_heads: key_heads as usize,
        value_heads: value_heads as usize,
        key_size: keys.size("ssm.state_size", head_max)? as usize,
        value_size: value_size as usize,
        kernel: keys.size("ssm.conv_kernel", KERNEL_MAX)? as usize,
        order,
    })
}
