//! Turns the keys of each family into a `Config`: one reader function per family, for both formats.
//!
//! The names of keys are those of llama.cpp's `llama-arch.cpp`; what they mean was read in its
//! `llama-model.cpp` (`load_hparams`) and, per family, in
//! `models/{bert,llama,qwen2,qwen2moe,qwen3,qwen3moe,seed-oss,smollm3}.cpp`.

mod bert;
mod deepseek;
mod experts;
mod gemma3;
mod gpt_oss;
mod hybrid;
mod keys;
mod rope;
mod windows;
mod write;

use myriad_formats::Gguf;
use myriad_kernels::Activation;

use crate::checkpoint::{Checkpoint, Source};
use crate::config::{Config, Family, FeedForward, Gqa, LayerConfig, Mixer};
use crate::error::ModelError;
use experts::ExpertTraits;
use keys::{Keys, Settings, shorten};
use rope::{RopeTraits, ScaledRope};

pub(crate) use write::{as_gguf_says, keys_of_folder};

/// Most layers of a model. The deepest published ones have about 130.
pub const LAYERS_MAX: usize = 1024;
/// Largest width, feed-forward width and number of heads: about ten times what any published dense
/// model has, and small enough that no product of two sizes wraps.
pub const SIZE_MAX: u32 = 1 << 20;
/// Most experts of a layer: eight times the most published ones have (512).
pub const EXPERTS_MAX: u32 = 1 << 12;
/// Longest context: four times the longest published (10 million positions of Llama 4 aside).
pub const CONTEXT_MAX: u32 = 1 << 22;
/// Widest latent of keys and values: DeepSeek's, which is what the KV cache can hold.
pub const KV_RANK_MAX: u32 = 512;
/// Widest head: the kernels keep one head's accumulators in registers and a small stack buffer.
pub const HEAD_SIZE_MAX: usize = 512;

/// Llama 3.x's divisors of rotary angles.
pub(crate) const ROPE_FREQS: &str = "rope_freqs.weight";

/// Reads the keys of a file of any family, and of either format.
pub(crate) fn read(source: Source<'_>) -> Result<Config, ModelError> {
    let (key, found, family, file) = match source {
        Source::Gguf(gguf) => {
            check_whole(gguf)?;
            let key = "general.architecture";
            let found = gguf.metadata().str(key)?;
            (key, found, Family::parse(found), Settings::Gguf(gguf.metadata()))
        }
        Source::Folder(folder) => {
            // Models that also see or hear keep what their decoder is apart.
            let whole = folder.config();
            let (key, json) =
                ("model_type", whole.optional_object("text_config")?.unwrap_or(whole));
            let found = json.str(key)?;
            (key, found, Family::of_model_type(found), Settings::Folder(json))
        }
    };
    let Some(family) = family else {
        let known = Family::ALL.map(Family::name).join(", ");
        return Err(ModelError::UnknownFamily { key, found: shorten(found), known });
    };
    read_keys(&Keys { file, tensors: Checkpoint::new(source, family), family })
}

/// Refuses one of several files, which has some of the tensors only.
fn check_whole(gguf: &Gguf) -> Result<(), ModelError> {
    let count = gguf.metadata().optional_u32("split.count")?.unwrap_or(0) as usize;
    if count > 1 {
        let index = gguf.metadata().optional_u32("split.no")?.unwrap_or(0) as usize + 1;
        return Err(ModelError::Split { index, count });
    }
    Ok(())
}

/// The description that a family's reader makes of keys.
fn read_keys(keys: &Keys<'_>) -> Result<Config, ModelError> {
    match keys.family {
        Family::Bert => bert::read(keys),
        Family::DeepSeek2 => deepseek::read(keys, false),
        Family::DeepSeek32 => deepseek::read(keys, true),
        Family::Gemma3 => gemma3::read(keys),
        Family::GptOss => gpt_oss::read(keys),
        Family::Llama => llama(keys),
        Family::Qwen2 => qwen2(keys),
        Family::Qwen2Moe => qwen2moe(keys),
        Family::Qwen3 => qwen3(keys),
        Family::Qwen3Moe => qwen3moe(keys),
        Family::Qwen3Next | Family::Qwen35 | Family::Qwen35Moe => hybrid::read(keys),
        Family::SeedOss => seed_oss(keys),
        Family::SmolLm3 => smollm3(keys),
    }
}

/// Llama: rope over adjacent pairs, because the converter permutes the rows of Q and K so; Llama
/// 3.x carries its divisors as a tensor. Some relatives have biases on Q, K and V: told by the
/// file.
fn llama(keys: &Keys<'_>) -> Result<Config, ModelError> {
    let qkv_bias = has_qkv_bias(keys);
    decoder(
        keys,
        Traits { qkv_bias, ..Traits::of(RopeTraits { freqs: true, ..RopeTraits::PERMUTED }) },
    )
}

/// Qwen2 and 2.5: rope over halves, biases on Q, K and V.
fn qwen2(keys: &Keys<'_>) -> Result<Config, ModelError> {
    decoder(keys, Traits { qkv_bias: true, ..Traits::of(RopeTraits::HALVES) })
}

/// Qwen1.5-MoE and Qwen2-MoE: Qwen2 with experts, whose weights stay as the softmax made them, and
/// a shared one.
fn qwen2moe(keys: &Keys<'_>) -> Result<Config, ModelError> {
    let experts = Some(ExpertTraits { renormalise: false, shared: true });
    decoder(keys, Traits { qkv_bias: true, experts, ..Traits::of(RopeTraits::HALVES) })
}

/// Qwen3: rope over halves, no biases, an RMS norm on each head of Q and K.
fn qwen3(keys: &Keys<'_>) -> Result<Config, ModelError> {
    decoder(keys, Traits { qk_norm: true, ..Traits::of(RopeTraits::HALVES) })
}

/// Qwen3-MoE: Qwen3 with experts, whose weights sum to 1, and no shared one.
fn qwen3moe(keys: &Keys<'_>) -> Result<Config, ModelError> {
    let experts = Some(ExpertTraits { renormalise: true, shared: false });
    decoder(keys, Traits { qk_norm: true, experts, ..Traits::of(RopeTraits::HALVES) })
}

/// Seed-OSS: as Qwen2; its norm before the feed-forward has a name of its own (`tensors.rs`), and
/// heads are wider than their share of the model.
fn seed_oss(keys: &Keys<'_>) -> Result<Config, ModelError> {
    decoder(keys, Traits { qkv_bias: true, ..Traits::of(RopeTraits::HALVES) })
}

/// SmolLM3: as Llama, but some layers have no rope: in GGUF every fourth, as the reference has the
/// number in its code (`n_no_rope_layer_step`); in folders as `config.json` says.
fn smollm3(keys: &Keys<'_>) -> Result<Config, ModelError> {
    let (qkv_bias, no_rope) = (has_qkv_bias(keys), keys.layers_without_rope(4)?);
    decoder(keys, Traits { qkv_bias, no_rope, ..Traits::of(RopeTraits::PERMUTED) })
}

/// Whether a file of a family where biases are possible has them.
fn has_qkv_bias(keys: &Keys<'_>) -> bool {
    keys.tensors.has("blk.0.attn_q.bias")
}

/// What tells the decoders apart.
struct Traits {
    rope: RopeTraits,
    qkv_bias: bool,
    qk_norm: bool,
    /// Layers without rope.
    no_rope: Vec<usize>,
    experts: Option<ExpertTraits>,
}

impl Traits {
    /// A dense decoder without any extras.
    fn of(rope: RopeTraits) -> Traits {
        Traits { rope, qkv_bias: false, qk_norm: false, no_rope: Vec::new(), experts: None }
    }
}

/// A decoder: each layer is GQA, then SwiGLU or experts, each behind an RMS norm.
fn decoder(keys: &Keys<'_>, traits: Traits) -> Result<Config, ModelError> {
    let layers = keys.layer_count()?;
    let hidden = keys.size("embedding_length", SIZE_MAX)?;
    let feed_forwards = feed_forwards(keys, &traits, layers)?;
    let context_length = keys.size("context_length", CONTEXT_MAX)? as usize;
    let norm_epsilon = keys.epsilon("attention.layer_norm_rms_epsilon")?;
    keys.refuse_window(context_length)?;

    let (heads, kv_heads) = keys.heads(layers)?;
    let head_size = keys.head_size(hidden, heads)?;
    let ScaledRope { rope, magnitude, .. } = keys.rope(traits.rope, head_size, context_length)?;
    // Rope turns whole heads here, so a factor on its cosines and sines is one on q and on k.
    let scale = |magnitude: f32| magnitude * magnitude / (head_size as f32).sqrt();
    let mixer = |layer: usize| {
        let has_rope = !traits.no_rope.contains(&layer);
        Gqa {
            heads: heads as usize,
            kv_heads: kv_heads as usize,
            head_size,
            qkv_bias: traits.qkv_bias,
            output_bias: false,
            sinks: false,
            gate: false,
            qk_norm: traits.qk_norm,
            rope: has_rope.then_some(0),
            window: None,
            scale: if has_rope { scale(magnitude) } else { scale(1.0) },
        }
    };
    let layer = |(index, feed_forward)| LayerConfig {
        mixer: Mixer::Gqa(mixer(index)),
        feed_forward,
        post_norms: false,
    };
    Ok(Config {
        family: keys.family,
        hidden: hidden as usize,
        vocab: keys.vocab()?,
        context_length,
        norm_epsilon,
        embedding_scale: 1.0,
        tied_output: keys.has_tied_output()?,
        ropes: vec![rope],
        layers: feed_forwards.into_iter().enumerate().map(layer).collect(),
        pooling: keys.pooling()?,
        encoder: None,
        mtp: None,
    })
}

/// The feed-forward of each layer.
fn feed_forwards(
    keys: &Keys<'_>,
    traits: &Traits,
    layers: usize,
) -> Result<Vec<FeedForward>, ModelError> {
    let dense = || {
        let size = keys.width_of_layers("feed_forward_length", layers)? as usize;
        Ok(FeedForward::Dense { size, activation: Activation::Silu })
    };
    let Some(experts) = traits.experts else {
        keys.refuse_experts()?;
        return Ok(vec![dense()?; layers]);
    };
    let moe = keys.moe(experts, layers)?;
    (0..layers)
        .map(|layer| match keys.is_dense_layer(layer) {
            true => dense(),
            false => Ok(FeedForward::Moe(moe.clone())),
        })
        .collect()
}
