//! Turns the keys of DeepSeek V2, V3 and V3.2 into a `Config`.
//!
//! Attention goes through latents, and most layers are mixtures with a shared expert. V2 chooses
//! experts by a softmax, V3 by sigmoids with a correction; V3.2 also chooses positions (llama.cpp's
//! `models/{deepseek2,deepseek32}.cpp`, transformers' `models/deepseek_{v2,v3,v32}`).

use myriad_kernels::Activation;

use super::keys::{Keys, Settings, in_range, shorten};
use super::rope::{RopeTraits, ScaledRope};
use super::{CONTEXT_MAX, EXPERTS_MAX, HEAD_SIZE_MAX, KV_RANK_MAX, SIZE_MAX};
use crate::config::{
    Config, FeedForward, Groups, Indexer, LayerConfig, Mixer, Mla, Moe, RopeConfig, Router, Scores,
    SharedExpert,
};
use crate::error::ModelError;

/// Reads a file of V2 or V3, or of V3.2, which has an indexer.
pub(super) fn read(keys: &Keys<'_>, has_indexer: bool) -> Result<Config, ModelError> {
    let layers = keys.trunk_layer_count()?;
    let hidden = keys.size("embedding_length", SIZE_MAX)? as usize;
    let context_length = keys.size("context_length", CONTEXT_MAX)? as usize;
    let (mla, ropes) = latent_attention(keys, layers, context_length, has_indexer)?;
    let moe = moe(keys)?;
    let dense = keys.optional_u32("leading_dense_block_count")?.unwrap_or(0) as usize;
    let layer = |layer: usize| {
        let feed_forward = match layer < dense {
            true => {
                let size = keys.width_of_layers("feed_forward_length", layers)? as usize;
                FeedForward::Dense { size, activation: Activation::Silu }
            }
            false => FeedForward::Moe(moe.clone()),
        };
        Ok(LayerConfig { mixer: Mixer::Mla(mla.clone()), feed_forward, post_norms: false })
    };
    Ok(Config {
        family: keys.family,
        hidden,
        vocab: keys.vocab()?,
        context_length,
        norm_epsilon: keys.epsilon("attention.layer_norm_rms_epsilon")?,
        embedding_scale: 1.0,
        tied_output: keys.has_tied_output()?,
        ropes,
        layers: (0..layers).map(layer).collect::<Result<_, ModelError>>()?,
        pooling: keys.pooling()?,
        encoder: None,
        mtp: keys.mtp(layers, || layer(layers))?,
    })
}

/// The attention of all layers, its rope, and its indexer's behind.
fn latent_attention(
    keys: &Keys<'_>,
    layers: usize,
    context_length: usize,
    has_indexer: bool,
) -> Result<(Mla, Vec<RopeConfig>), ModelError> {
    let (heads, _) = keys.heads(layers)?;
    let q_rank = match keys.optional_u32("attention.q_lora_rank")? {
        // The first converters wrote it for V2-Lite, whose queries have no latent.
        Some(rank) if has_indexer || !keys.tensors.has("blk.0.attn_q.weight") => {
            Some(in_range(keys.name("attention.q_lora_rank"), rank, SIZE_MAX)? as usize)
        }
        _ => None,
    };
    if has_indexer && q_rank.is_none() {
        // The indexer's queries are made of that latent: says that the key is missing.
        keys.size("attention.q_lora_rank", SIZE_MAX)?;
    }
    let kv_rank = keys.size("attention.kv_lora_rank", KV_RANK_MAX)? as usize;
    let (nope_size, rope_size, value_size) = head_sizes(keys)?;
    let rope = keys.rope(RopeTraits::ADJACENT, rope_size, context_length)?;
    let ScaledRope { score_factor, magnitude, .. } = rope;
    let mut ropes = vec![rope.stretched()];
    let indexer = match has_indexer {
        true => {
            let rope = keys.rope(RopeTraits::HALVES, rope_size, context_length)?.rope;
            ropes.push(RopeConfig { magnitude, ..rope });
            Some(indexer(keys, rope_size)?)
        }
        false => None,
    };
    let mla = Mla {
        heads: heads as usize,
        q_rank,
        kv_rank,
        nope_size,
        rope_size,
        value_size,
        rope: 0,
        scale: score_factor / ((nope_size + rope_size) as f32).sqrt(),
        indexer,
    };
    Ok((mla, ropes))
}

/// Elements of a head's query without and with rope, and of its value. GGUF has both parts of the
/// query together; the first converters, in the keys that others describe the cache by.
fn head_sizes(keys: &Keys<'_>) -> Result<(usize, usize, usize), ModelError> {
    let max = HEAD_SIZE_MAX as u32;
    let rope_size = keys.size("rope.dimension_count", max.min(64))? as usize;
    if !rope_size.is_multiple_of(2) {
        let (key, value) = (keys.name("rope.dimension_count"), rope_size);
        let expected = "an even number is needed".to_owned();
        return Err(ModelError::HeadSize { key, value, expected });
    }
    if let Settings::Folder(json) = &keys.file {
        let name = "qk_nope_head_dim";
        let nope_size = in_range(name.to_owned(), json.u32(name)?, max)? as usize;
        return Ok((nope_size, rope_size, keys.size("attention.value_length_mla", max)? as usize));
    }
    let (key, value) = match keys.optional_u32("attention.key_length_mla")? {
        Some(_) => ("attention.key_length_mla", "attention.value_length_mla"),
        None => ("attention.key_length", "attention.value_length"),
    };
    let head_size = keys.size(key, max)? as usize;
    if head_size <= rope_size {
        let expected = format!("more than the {rope_size} that rope turns are needed");
        return Err(ModelError::HeadSize { key: keys.name(key), value: head_size, expected });
    }
    Ok((head_size - rope_size, rope_size, keys.size(value, max)? as usize))
}

fn indexer(keys: &Keys<'_>, rope_size: usize) -> Result<Indexer, ModelError> {
    let key = "attention.indexer.key_length";
    let head_size = keys.size(key, HEAD_SIZE_MAX as u32)? as usize;
    if head_size < rope_size {
        let expected = format!("at least the {rope_size} that rope turns are needed");
        return Err(ModelError::HeadSize { key: keys.name(key), value: head_size, expected });
    }
    Ok(Indexer {
        heads: keys.size("attention.indexer.head_count", SIZE_MAX)? as usize,
        head_size,
        top: keys.size("attention.indexer.top_k", CONTEXT_MAX)? as usize,
        rope: 1,
    })
}

fn moe(keys: &Keys<'_>) -> Result<Moe, ModelError> {
    let (experts, used) = keys.expert_counts()?;
    let size = keys.size("expert_feed_forward_length", SIZE_MAX)?;
    let shared = keys.optional_u32("expert_shared_count")?.unwrap_or(0);
    let shared = match size.checked_mul(shared) {
        Some(0) => None,
        Some(size) if size <= SIZE_MAX => Some(SharedExpert { size: size as usize, gate: false }),
        _ => {
            let (key, max) = (keys.name("expert_shared_count"), SIZE_MAX / size);
            return Err(ModelError::TooLarge { key, value: shared, max });
        }
    };
    let scores = scores(keys)?;
    Ok(Moe {
        experts: experts as usize,
        used: used as usize,
        size: size as usize,
        activation: Activation::Silu,
        bias: false,
        router: Router {
            scores,
            selection_bias: (0..keys.layer_count()?)
                .any(|layer| keys.tensors.has(&format!("blk.{layer}.exp_probs_b.bias"))),
            groups: groups(keys, scores, experts, used)?,
            renormalise: keys.optional_bool("expert_weights_norm")?.unwrap_or(false),
            // 0 is how llama.cpp says that there is no scale.
            scale: match keys.optional_f32("expert_weights_scale")? {
                None | Some(0.0) => 1.0,
                Some(_) => keys.positive("expert_weights_scale")?.unwrap_or(1.0),
            },
        },
        shared,
    })
}

/// What the router makes of its logits.
fn scores(keys: &Keys<'_>) -> Result<Scores, ModelError> {
    if let Settings::Folder(json) = &keys.file {
        let usual = match json.optional_str("model_type")? {
            Some("deepseek_v2") => "softmax",
            _ => "sigmoid",
        };
        return match json.optional_str("scoring_func")?.unwrap_or(usual) {
            "softmax" => Ok(Scores::Softmax),
            "sigmoid" => Ok(Scores::Sigmoid),
            other => Err(ModelError::Choice {
                key: "scoring_func".to_owned(),
                value: shorten(other),
                known: "softmax and sigmoid",
            }),
        };
    }
    match keys.optional_u32("expert_gating_func")? {
        // The files of V2 are older than the key.
        None | Some(0 | 1) => Ok(Scores::Softmax),
        Some(2) => Ok(Scores::Sigmoid),
        Some(other) => Err(ModelError::Choice {
            key: keys.name("expert_gating_func"),
            value: other.to_string(),
            known: "1 (softmax) and 2 (sigmoid)",
        }),
    }
}

/// The groups that experts are chosen from. llama.cpp counts two experts of a group in V2 too; its
/// authors, one.
fn groups(
    keys: &Keys<'_>,
    scores: Scores,
    experts: u32,
    used: u32,
) -> Result<Option<Groups>, ModelError> {
    if let Settings::Folder(json) = &keys.file
        && json.optional_str("topk_method")? == Some("greedy")
    {
        return Ok(None);
    }
    let count = match keys.optional_u32("expert_group_count")? {
        None | Some(0 | 1) => return Ok(None),
        Some(count) => in_range(keys.name("expert_group_count"), count, EXPERTS_MAX)?,
    };
    let open = keys.size("expert_group_used_count", EXPERTS_MAX)?;
    let counted = match scores {
        Scores::Softmax => 1,
        Scores::Sigmoid => 2,
    };
    let size = experts / count;
    if !experts.is_multiple_of(count) || size < counted || open > count || open * size < used {
        let (key, value) = (keys.name("expert_group_count"), count);
        return Err(ModelError::ExpertGroups { key, value, open, experts, used });
    }
    let [count, used] = [count, open].map(|value| value as usize);
    Ok(Some(Groups { count, used, counted: counted as usize }))
}
