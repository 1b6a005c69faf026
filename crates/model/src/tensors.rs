//! Turns a `Config` into the list of tensors that its file must have, and checks a file against it.

use std::collections::HashSet;

use crate::checkpoint::{Checkpoint, Tensor};
use crate::config::{Config, Family, FeedForward, Mixer};
use crate::error::ModelError;
use crate::families::ROPE_FREQS;

/// Checks that the file has each tensor that `config` promises in its right shape, and no other.
pub(crate) fn check(config: &Config, file: &Checkpoint<'_>) -> Result<(), ModelError> {
    let mut known: HashSet<&str> = HashSet::new();
    for (name, shape) in &expected(config) {
        let tensor = file.find(name)?;
        check_shape(&tensor, shape)?;
        known.extend(tensor.names());
    }
    for view in file.source.tensors().tensor_views() {
        let is_rope = view.name == ROPE_FREQS && config.family == Family::Llama;
        let is_known = is_rope || known.contains(view.name);
        if !is_known && !file.is_ignorable(view.name, config.tied_output) {
            return Err(ModelError::UnexpectedTensor {
                name: view.name.to_owned(),
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
        if layer.post_norms {
            add("post_attention_norm.weight", &[hidden]);
            add("post_ffw_norm.weight", &[hidden]);
        }
        match &layer.feed_forward {
            FeedForward::Dense { size, .. } => swiglu(&mut add, "", hidden, &[*size]),
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

/// Checks one shape; trailing dimensions of 1 are the same as none.
pub(crate) fn check_shape(tensor: &Tensor<'_>, expected: &[usize]) -> Result<(), ModelError> {
    let used = |shape: &[usize]| shape.iter().rposition(|&size| size != 1).map_or(0, |at| at + 1);
    if tensor.shape[..used(&tensor.shape)] == expected[..used(expected)] {
        return Ok(());
    }
    Err(ModelError::TensorShape {
        name: tensor.name.clone(),
        found: tensor.shape.clone(),
        expected: expected.to_vec(),
    })
}
