//! Turns the description of a folder into the keys that a GGUF file of it has.
//!
//! The other way round than the readers beside this file, under the same names: those of
//! llama.cpp's converters. Some of what `config.json` can say has no key in GGUF, because readers
//! of GGUF have it in their code; [`as_gguf_says`] finds out by reading the keys back.

use myriad_formats::{JsonObject, Metadata, ModelFolder, Value};
use myriad_kernels::{HeadOrder, RopePairing};

use super::hybrid::INTERVAL;
use super::keys::{Keys, Settings};
use super::read_keys;
use super::rope::RopeTraits;
use crate::checkpoint::{Checkpoint, Source};
use crate::config::{Config, Family, FeedForward, Gqa, LayerConfig, Mixer, Mla, Moe, Scores};
use crate::error::ModelError;
use crate::pooling::Pooling;

/// The keys of a folder's model, without the family's name before each.
pub(crate) fn keys_of_folder(
    folder: &ModelFolder,
    config: &Config,
) -> Result<Vec<(&'static str, Value)>, ModelError> {
    if config.encoder.is_some() {
        return Ok(encoder(folder, config));
    }
    let json = decoder(folder)?;
    let mut keys = vec![
        // With the layer behind the trunk, of which the first alone is written.
        ("block_count", number(config.layers.len() + usize::from(config.mtp.is_some()))),
        ("context_length", number(config.context_length)),
        ("embedding_length", number(config.hidden)),
        ("vocab_size", number(config.vocab)),
        ("attention.layer_norm_rms_epsilon", config.norm_epsilon.into()),
    ];
    if let Some(size) = json.optional_u32("intermediate_size")? {
        keys.push(("feed_forward_length", size.into()));
    }
    let truncate = config.family != Family::GptOss;
    let traits = RopeTraits { truncate, ..RopeTraits::HALVES };
    keys.extend(Keys::rope_keys(&json, traits, config.context_length)?);
    keys.push(("rope.dimension_count", number(config.ropes[0].dims)));
    let mixers = || config.layers.iter().map(|layer| &layer.mixer);
    let attention = mixers().find(|mixer| !matches!(mixer, Mixer::GatedDelta(_)));
    match attention {
        Some(Mixer::Gqa(gqa)) => grouped_attention(&mut keys, gqa),
        Some(Mixer::Mla(mla)) => latent_attention(&mut keys, mla),
        Some(Mixer::GatedDelta(_) | Mixer::Bidirectional(_)) | None => {}
    }
    if let Some(window) = mixers().find_map(|mixer| match mixer {
        Mixer::Gqa(gqa) => gqa.window,
        _ => None,
    }) {
        keys.push(("attention.sliding_window", number(window)));
    }
    if config.family == Family::Gemma3 {
        keys.push(("rope.freq_base_swa", config.ropes[0].theta.into()));
    }
    gated_deltas(&mut keys, &json, config)?;
    let moe = config.layers.iter().find_map(|layer| match &layer.feed_forward {
        FeedForward::Moe(moe) => Some(moe),
        FeedForward::Dense { .. } | FeedForward::Mlp { .. } => None,
    });
    if let Some(moe) = moe {
        mixture(&mut keys, &json, config, moe)?;
    }
    if config.mtp.is_some() {
        keys.push(("nextn_predict_layers", number(1)));
    }
    keys.extend(pooling(folder, config));
    Ok(keys)
}

/// The keys of an encoder.
fn encoder(folder: &ModelFolder, config: &Config) -> Vec<(&'static str, Value)> {
    let mut keys = vec![
        ("block_count", number(config.layers.len())),
        ("context_length", number(config.context_length)),
        ("embedding_length", number(config.hidden)),
        ("attention.layer_norm_epsilon", config.norm_epsilon.into()),
        ("attention.causal", false.into()),
    ];
    if let Some(layer) = config.layers.first() {
        if let Mixer::Bidirectional(attention) = &layer.mixer {
            keys.push(("attention.head_count", number(attention.heads)));
        }
        if let FeedForward::Mlp { size } = &layer.feed_forward {
            keys.push(("feed_forward_length", number(*size)));
        }
    }
    keys.extend(pooling(folder, config));
    keys
}

/// How states become a vector, where the folder says it, and that pairs get a score.
fn pooling(folder: &ModelFolder, config: &Config) -> Option<(&'static str, Value)> {
    let scores = config.encoder.as_ref().is_some_and(|encoder| encoder.classifier);
    let value: u32 = match config.pooling {
        _ if scores => 4,
        _ if folder.pooling().is_none() => return None,
        Pooling::Mean => 1,
        Pooling::First => 2,
        Pooling::Last => 3,
    };
    Some(("pooling_type", value.into()))
}

/// What `config.json` says of the decoder.
fn decoder(folder: &ModelFolder) -> Result<JsonObject<'_>, ModelError> {
    let whole = folder.config();
    Ok(whole.optional_object("text_config")?.unwrap_or(whole))
}

fn grouped_attention(keys: &mut Vec<(&'static str, Value)>, gqa: &Gqa) {
    keys.push(("attention.head_count", number(gqa.heads)));
    keys.push(("attention.head_count_kv", number(gqa.kv_heads)));
    keys.push(("attention.key_length", number(gqa.head_size)));
    keys.push(("attention.value_length", number(gqa.head_size)));
}

/// Keys without `mla` in their name are those of the cache, which has one head.
fn latent_attention(keys: &mut Vec<(&'static str, Value)>, mla: &Mla) {
    keys.push(("attention.head_count", number(mla.heads)));
    keys.push(("attention.head_count_kv", number(1)));
    keys.push(("attention.key_length", number(mla.latent_size())));
    keys.push(("attention.value_length", number(mla.kv_rank)));
    keys.push(("attention.key_length_mla", number(mla.head_size())));
    keys.push(("attention.value_length_mla", number(mla.value_size)));
    keys.push(("attention.kv_lora_rank", number(mla.kv_rank)));
    if let Some(rank) = mla.q_rank {
        keys.push(("attention.q_lora_rank", number(rank)));
    }
    if let Some(indexer) = &mla.indexer {
        keys.push(("attention.indexer.head_count", number(indexer.heads)));
        keys.push(("attention.indexer.key_length", number(indexer.head_size)));
        keys.push(("attention.indexer.top_k", number(indexer.top)));
    }
}

fn gated_deltas(
    keys: &mut Vec<(&'static str, Value)>,
    json: &JsonObject<'_>,
    config: &Config,
) -> Result<(), ModelError> {
    let shapes = config.state_shapes();
    let Some(shape) = shapes.iter().flatten().next() else { return Ok(()) };
    keys.push(("ssm.conv_kernel", number(shape.kernel)));
    keys.push(("ssm.state_size", number(shape.key_size)));
    keys.push(("ssm.group_count", number(shape.key_heads)));
    keys.push(("ssm.time_step_rank", number(shape.value_heads)));
    keys.push(("ssm.inner_size", number(shape.value_width())));
    let behind = config.mtp.iter().map(|_| false);
    let recurrent: Vec<bool> = shapes.iter().map(Option::is_some).chain(behind).collect();
    keys.push(("attention.recurrent_layers", recurrent.into()));
    let interval = json.optional_u32("full_attention_interval")?.unwrap_or(INTERVAL);
    keys.push(("full_attention_interval", interval.into()));
    // How images' positions are interleaved; readers of these families want it of texts, too.
    if matches!(config.family, Family::Qwen35 | Family::Qwen35Moe) {
        let own = match json.optional_object("rope_parameters")? {
            Some(rope) => rope.optional_u32s("mrope_section")?,
            None => None,
        };
        let pairs = (config.ropes[0].dims / 2) as u32;
        let mut sections = own.unwrap_or_else(|| {
            let third = pairs / 3;
            vec![pairs - 2 * third, third, third]
        });
        sections.resize(4, 0);
        let sections: Vec<i32> = sections.into_iter().map(|size| size as i32).collect();
        keys.push(("rope.dimension_sections", sections.into()));
    }
    Ok(())
}

fn mixture(
    keys: &mut Vec<(&'static str, Value)>,
    json: &JsonObject<'_>,
    config: &Config,
    moe: &Moe,
) -> Result<(), ModelError> {
    keys.push(("expert_count", number(moe.experts)));
    keys.push(("expert_used_count", number(moe.used)));
    keys.push(("expert_feed_forward_length", number(moe.size)));
    if !matches!(config.family, Family::DeepSeek2 | Family::DeepSeek32) {
        if let Some(shared) = &moe.shared {
            keys.push(("expert_shared_feed_forward_length", number(shared.size)));
        }
        return Ok(());
    }
    let is_moe = |layer: &LayerConfig| matches!(layer.feed_forward, FeedForward::Moe(_));
    let dense = config.layers.iter().take_while(|layer| !is_moe(layer)).count();
    keys.push(("leading_dense_block_count", number(dense)));
    let shared = json.optional_u32("n_shared_experts")?.unwrap_or(0);
    keys.push(("expert_shared_count", shared.into()));
    keys.push(("expert_weights_scale", moe.router.scale.into()));
    if moe.router.renormalise {
        keys.push(("expert_weights_norm", true.into()));
    }
    let function: u32 = match moe.router.scores {
        Scores::Softmax => 1,
        Scores::Sigmoid => 2,
    };
    keys.push(("expert_gating_func", function.into()));
    let groups = moe.router.groups.map_or((1, 1), |groups| (groups.count, groups.used));
    keys.push(("expert_group_count", number(groups.0)));
    keys.push(("expert_group_used_count", number(groups.1)));
    Ok(())
}

/// A size as GGUF has it. None of a checked description is larger.
fn number(size: usize) -> Value {
    Value::U32(u32::try_from(size).unwrap_or(u32::MAX))
}

/// The description that readers of GGUF would have of these keys, with the layouts of GGUF.
///
/// # Errors
/// [`ModelError::GgufCannotSay`] where it is another one than `config`, that of the folder.
pub(crate) fn as_gguf_says(
    folder: &ModelFolder,
    config: &Config,
    metadata: &Metadata,
) -> Result<Config, ModelError> {
    let tensors = Checkpoint::new(Source::Folder(folder), config.family);
    let file = Settings::Gguf(metadata);
    let mut found = read_keys(&Keys { file, tensors, family: config.family })?;
    let mut right = config.clone();
    // Of the folder's tensors, its divisors are not written yet, and a second head never is.
    if config.family == Family::Llama {
        found.ropes[0].divisors.clone_from(&right.ropes[0].divisors);
    }
    found.tied_output = right.tied_output;
    right.mtp.iter_mut().for_each(|mtp| mtp.layers = 1);
    if matches!(config.family, Family::Llama | Family::SmolLm3) {
        right.ropes[0].pairing = RopePairing::Adjacent;
    }
    for (right, found) in all_layers(&mut right).zip(all_layers(&mut found)) {
        match (&mut right.mixer, &found.mixer) {
            (Mixer::GatedDelta(shape), _) if is_tiled(config.family) => {
                shape.order = HeadOrder::Tiled;
            }
            // Products of the same numbers in another order.
            (Mixer::Gqa(right), Mixer::Gqa(found)) => agree(&mut right.scale, found.scale),
            (Mixer::Mla(right), Mixer::Mla(found)) => agree(&mut right.scale, found.scale),
            _ => {}
        }
    }
    for (right, found) in right.ropes.iter_mut().zip(&found.ropes) {
        agree(&mut right.magnitude, found.magnitude);
        let divisors = right.divisors.iter_mut().flatten().zip(found.divisors.iter().flatten());
        divisors.for_each(|(right, found)| agree(right, *found));
    }
    match difference(&right, &found) {
        None => Ok(found),
        Some(what) => Err(ModelError::GgufCannotSay { what }),
    }
}

/// The layers, and the one behind them.
fn all_layers(config: &mut Config) -> impl Iterator<Item = &mut LayerConfig> {
    config.layers.iter_mut().chain(config.mtp.as_mut().map(|mtp| &mut mtp.layer))
}

/// Whether converters put value heads of one key head far apart.
pub(super) fn is_tiled(family: Family) -> bool {
    matches!(family, Family::Qwen35 | Family::Qwen35Moe)
}

/// Takes the other number where the two differ by rounding only.
fn agree(right: &mut f32, found: f32) {
    if (*right - found).abs() <= 1e-5 * right.abs() {
        *right = found;
    }
}

/// What two descriptions differ in, for people.
fn difference(right: &Config, found: &Config) -> Option<String> {
    if right.ropes != found.ropes {
        return Some("the rotary embedding".to_owned());
    }
    for (index, (right, found)) in right.layers.iter().zip(&found.layers).enumerate() {
        if right.mixer != found.mixer {
            return Some(format!("the attention of layer {index}"));
        }
        if right.feed_forward != found.feed_forward {
            return Some(format!("the feed-forward of layer {index}"));
        }
    }
    (right != found).then(|| "the sizes of the model".to_owned())
}
