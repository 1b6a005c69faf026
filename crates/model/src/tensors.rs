//! Turns a `Config` into the list of tensors that its file must have, and checks a file against it.

use std::collections::HashMap;

use myriad_formats::{Gguf, TensorInfo};
use myriad_kernels::dequantise;

use crate::config::{Config, Family, FeedForward, Mixer};
use crate::error::ModelError;
use crate::families::ROPE_FREQS;

/// Checks that the file has each tensor that `config` promises in its right shape, and no other.
pub(crate) fn check(config: &Config, gguf: &Gguf) -> Result<(), ModelError> {
    let expected = expected(config);
    for (name, shape) in &expected {
        check_shape(find(gguf, name, config.family)?, shape)?;
    }
    let known: HashMap<&str, &[usize]> =
        expected.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())).collect();
    for info in gguf.tensors() {
        let is_rope = info.name == ROPE_FREQS && config.family == Family::Llama;
        if !is_rope && !known.contains_key(info.name.as_str()) {
            return Err(ModelError::UnexpectedTensor {
                name: info.name.clone(),
                family: config.family.name(),
                layers: config.layers.len(),
            });
        }
    }
    Ok(())
}

/// Names and shapes (columns first, as GGUF writes them) of all tensors of a model.
fn expected(config: &Config) -> Vec<(String, Vec<usize>)> {
    let hidden = config.hidden;
    let mut list = vec![
        ("token_embd.weight".to_owned(), vec![hidden, config.vocab]),
        ("output_norm.weight".to_owned(), vec![hidden]),
    ];
    if !config.tied_output {
        list.push(("output.weight".to_owned(), vec![hidden, config.vocab]));
    }
    for (index, layer) in config.layers.iter().enumerate() {
        let mut add = |name: &str, shape: &[usize]| {
            list.push((format!("blk.{index}.{name}"), shape.to_vec()));
        };
        let Mixer::Gqa(gqa) = &layer.mixer;
        add("attn_norm.weight", &[hidden]);
        let parts = [("q", gqa.q_size()), ("k", gqa.kv_size()), ("v", gqa.kv_size())];
        for (part, size) in parts {
            add(&format!("attn_{part}.weight"), &[hidden, size]);
            if gqa.qkv_bias {
                add(&format!("attn_{part}.bias"), &[size]);
            }
        }
        if gqa.qk_norm {
            add("attn_q_norm.weight", &[gqa.head_size]);
            add("attn_k_norm.weight", &[gqa.head_size]);
        }
        add("attn_output.weight", &[gqa.q_size(), hidden]);
        add(ffn_norm(config.family), &[hidden]);
        match &layer.feed_forward {
            FeedForward::Dense { size } => swiglu(&mut add, "", hidden, &[*size]),
            FeedForward::Moe(moe) => {
                add("ffn_gate_inp.weight", &[hidden, moe.experts]);
                swiglu(&mut add, "_exps", hidden, &[moe.size, moe.experts]);
                if let Some(shared) = &moe.shared {
                    add("ffn_gate_inp_shexp.weight", &[hidden]);
                    swiglu(&mut add, "_shexp", hidden, &[shared.size]);
                }
            }
        }
    }
    list
}

/// Gate, up and down of one width, or of one width and a number of experts.
fn swiglu(add: &mut impl FnMut(&str, &[usize]), suffix: &str, hidden: usize, sizes: &[usize]) {
    let (size, experts) = (sizes[0], &sizes[1..]);
    for (part, matrix) in
        [("gate", [hidden, size]), ("up", [hidden, size]), ("down", [size, hidden])]
    {
        add(&format!("ffn_{part}{suffix}.weight"), &[&matrix, experts].concat());
    }
}

/// The name of the norm before the feed-forward: some converters keep Hugging Face's.
pub(crate) fn ffn_norm(family: Family) -> &'static str {
    match family {
        Family::SeedOss => "post_attention_norm.weight",
        _ => "ffn_norm.weight",
    }
}

/// The tensor of that name.
pub(crate) fn find<'a>(
    gguf: &'a Gguf,
    name: &str,
    family: Family,
) -> Result<&'a TensorInfo, ModelError> {
    gguf.tensor(name)
        .ok_or_else(|| ModelError::MissingTensor { name: name.to_owned(), family: family.name() })
}

/// Checks one shape; trailing dimensions of 1 are the same as none.
pub(crate) fn check_shape(info: &TensorInfo, expected: &[usize]) -> Result<(), ModelError> {
    let used = |shape: &[usize]| shape.iter().rposition(|&size| size != 1).map_or(0, |at| at + 1);
    if info.shape[..used(&info.shape)] == expected[..used(expected)] {
        return Ok(());
    }
    Err(ModelError::TensorShape {
        name: info.name.clone(),
        found: info.shape.clone(),
        expected: expected.to_vec(),
    })
}

/// The values of a norm, bias or divisor, in full.
pub(crate) fn vector(gguf: &Gguf, info: &TensorInfo) -> Result<Vec<f32>, ModelError> {
    if !info.kind.is_float() {
        return Err(ModelError::VectorKind { name: info.name.clone(), kind: info.kind.name() });
    }
    Ok(values(gguf, info))
}

/// The values of any tensor, dequantised.
pub(crate) fn values(gguf: &Gguf, info: &TensorInfo) -> Vec<f32> {
    let mut values = vec![0.0; info.elements()];
    dequantise(info.kind, gguf.data(info), &mut values);
    values
}
