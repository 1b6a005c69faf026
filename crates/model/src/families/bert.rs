//! Turns the keys of BERT and its like into a `Config`.
//!
//! Attention in both directions, learned positions, layer norms behind each part, exact GELU
//! (Devlin et al. 2018; transformers' `models/bert`, llama.cpp's `models/bert.cpp`).

use super::keys::{Keys, Settings};
use super::{CONTEXT_MAX, SIZE_MAX};
use crate::config::{Bidirectional, Config, Encoder, FeedForward, LayerConfig, Mixer};
use crate::error::ModelError;
use crate::pooling::Pooling;

/// Reads a file of the family.
pub(super) fn read(keys: &Keys<'_>) -> Result<Config, ModelError> {
    check(keys)?;
    let layers = keys.layer_count()?;
    let hidden = keys.size("embedding_length", SIZE_MAX)?;
    let (heads, kv_heads) = keys.heads(layers)?;
    let head_size = keys.partly_turned_head_size(hidden, heads)?;
    let layer = LayerConfig {
        mixer: Mixer::Bidirectional(Bidirectional { heads: heads as usize, head_size }),
        feed_forward: FeedForward::Mlp {
            size: keys.size("feed_forward_length", SIZE_MAX)? as usize,
        },
        post_norms: false,
    };
    for (key, value, expected, reason) in [
        ("attention.head_count_kv", kv_heads, heads, "encoders have as many of both kinds"),
        ("attention.key_length", head_size as u32, hidden / heads, "heads share the width evenly"),
    ] {
        if value != expected {
            let (key, value, expected) = (keys.name(key), value as usize, expected as usize);
            return Err(ModelError::Disagree { key, value, expected, reason });
        }
    }
    let classifier = keys.tensors.has("cls.output.weight");
    Ok(Config {
        family: keys.family,
        hidden: hidden as usize,
        vocab: keys.vocab()?,
        context_length: keys.size("context_length", CONTEXT_MAX)? as usize,
        norm_epsilon: keys.epsilon("attention.layer_norm_epsilon")?,
        embedding_scale: 1.0,
        tied_output: true,
        ropes: Vec::new(),
        layers: vec![layer; layers],
        pooling: if classifier { Pooling::First } else { keys.pooling()? },
        encoder: Some(Encoder {
            token_types: keys.tensors.find("token_types.weight")?.rows(),
            classifier,
        }),
        mtp: None,
    })
}

/// Refuses what would make another model of the same tensors.
fn check(keys: &Keys<'_>) -> Result<(), ModelError> {
    let causal = match &keys.file {
        Settings::Gguf(_) => "attention.causal",
        Settings::Folder(json) => {
            for (key, known) in [("hidden_act", "gelu"), ("position_embedding_type", "absolute")] {
                if let Some(value) = json.optional_str(key)?.filter(|value| *value != known) {
                    let (key, value) = (key.to_owned(), super::shorten(value));
                    return Err(ModelError::Choice { key, value, known });
                }
            }
            "is_decoder"
        }
    };
    let said = match &keys.file {
        Settings::Gguf(_) => keys.optional_bool(causal)?,
        Settings::Folder(json) => json.optional_bool(causal)?,
    };
    match said {
        Some(true) => Err(ModelError::Choice {
            key: keys.name(causal),
            value: "true".to_owned(),
            known: "encoders of this family, which look both ways: false",
        }),
        _ => Ok(()),
    }
}
