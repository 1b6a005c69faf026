//! Turns a `Config` into the list of tensors that its file must have, and checks a file against it.

use std::collections::HashSet;

use myriad_kernels::DeltaShape;

use crate::checkpoint::{Checkpoint, Tensor};
use crate::config::{Config, Encoder, Family, FeedForward, Gqa, LayerConfig, Mixer, Mla, Moe};
use crate::error::ModelError;
use crate::families::ROPE_FREQS;

/// Checks that the file has each tensor that `config` promises in its right shape, and no other.
pub(crate) fn check(config: &Config, file: &Checkpoint<'_>) -> Result<(), ModelError> {
    let mut known: HashSet<&str> = HashSet::new();
    for (name, shape) in &all(config) {
        let tensor = file.find(name)?;
        check_shape(&tensor, shape)?;
        known.extend(tensor.names());
    }
    for view in file.source.tensors().tensor_views() {
        let is_rope = view.name == ROPE_FREQS && config.family == Family::Llama;
        let is_known = is_rope || known.contains(view.name);
        if !is_known && !file.is_ignorable(view.name, config) {
            return Err(ModelError::UnexpectedTensor {
                name: view.name.to_owned(),
                family: config.family.name(),
                layers: config.layers.len(),
            });
        }
    }
    Ok(())
}

/// Bytes of tensors, in blocks of the types that they become.
pub(crate) fn bytes(
    tensors: Vec<(String, Vec<usize>)>,
    file: &Checkpoint<'_>,
) -> Result<usize, ModelError> {
    let bytes = |(name, _): (String, _)| Ok(file.find(&name)?.goal_bytes());
    tensors.into_iter().map(bytes).sum()
}

/// Names and shapes of all tensors of a file.
pub(crate) fn all(config: &Config) -> Vec<(String, Vec<usize>)> {
    [expected(config), expected_of_mtp(config)].concat()
}

/// Names and shapes of the tensors that guess the token after the next.
pub(crate) fn expected_of_mtp(config: &Config) -> Vec<(String, Vec<usize>)> {
    let Some(mtp) = &config.mtp else { return Vec::new() };
    let (hidden, index) = (config.hidden, config.layers.len());
    let mut list = Vec::new();
    let mut add = |name: &str, shape: &[usize]| {
        list.push((format!("blk.{index}.nextn.{name}.weight"), shape.to_vec()));
    };
    add("eh_proj", &[2 * hidden, hidden]);
    add("enorm", &[hidden]);
    add("hnorm", &[hidden]);
    if mtp.embedding {
        add("embed_tokens", &[hidden, config.vocab]);
    }
    if mtp.norm {
        add("shared_head_norm", &[hidden]);
    }
    if mtp.head {
        add("shared_head_head", &[hidden, config.vocab]);
    }
    of_layer(&mut list, index, &mtp.layer, config);
    list
}

/// Names and shapes (columns first, as GGUF writes them) of all tensors of a model, but of what
/// guesses further tokens.
pub(crate) fn expected(config: &Config) -> Vec<(String, Vec<usize>)> {
    let hidden = config.hidden;
    let mut list = vec![("token_embd.weight".to_owned(), vec![hidden, config.vocab])];
    if let Some(encoder) = &config.encoder {
        around_encoder(&mut list, encoder, config);
    }
    for (index, layer) in config.layers.iter().enumerate() {
        of_layer(&mut list, index, layer, config);
    }
    if config.encoder.is_some() {
        return list;
    }
    list.push(("output_norm.weight".to_owned(), vec![hidden]));
    if !config.tied_output {
        list.push(("output.weight".to_owned(), vec![hidden, config.vocab]));
    }
    list
}

/// The tensors of one layer.
fn of_layer(
    list: &mut Vec<(String, Vec<usize>)>,
    index: usize,
    layer: &LayerConfig,
    config: &Config,
) {
    let hidden = config.hidden;
    let mut add = |name: &str, shape: &[usize]| {
        list.push((format!("blk.{index}.{name}"), shape.to_vec()));
    };
    let is_encoder = config.encoder.is_some();
    if !is_encoder {
        add("attn_norm.weight", &[hidden]);
    }
    match &layer.mixer {
        Mixer::Gqa(gqa) => grouped_attention(&mut add, gqa, hidden),
        Mixer::Mla(mla) => latent_attention(&mut add, mla, hidden),
        Mixer::GatedDelta(shape) => gated_delta(&mut add, shape, hidden),
        Mixer::Bidirectional(_) => bidirectional(&mut add, hidden),
    }
    if layer.post_norms {
        add("post_attention_norm.weight", &[hidden]);
        add("post_ffw_norm.weight", &[hidden]);
    }
    if !is_encoder {
        add(ffn_norm(config.family), &[hidden]);
    }
    match &layer.feed_forward {
        FeedForward::Dense { size, .. } => gated(&mut add, "", hidden, &[*size]),
        FeedForward::Mlp { size } => mlp(&mut add, hidden, *size),
        FeedForward::Moe(moe) => mixture(&mut add, moe, hidden),
    }
}

/// What an encoder has before its layers, and behind them where it scores pairs.
fn around_encoder(list: &mut Vec<(String, Vec<usize>)>, encoder: &Encoder, config: &Config) {
    let hidden = config.hidden;
    let mut add = |name: &str, shape: &[usize]| list.push((name.to_owned(), shape.to_vec()));
    add("position_embd.weight", &[hidden, config.context_length]);
    add("token_types.weight", &[hidden, encoder.token_types]);
    layer_norm(&mut add, "token_embd_norm", hidden);
    if encoder.classifier {
        biased(&mut add, "cls", hidden, hidden);
        biased(&mut add, "cls.output", hidden, 1);
    }
}

fn bidirectional(add: &mut impl FnMut(&str, &[usize]), hidden: usize) {
    for part in ["attn_q", "attn_k", "attn_v", "attn_output"] {
        biased(add, part, hidden, hidden);
    }
    layer_norm(add, "attn_output_norm", hidden);
}

fn mlp(add: &mut impl FnMut(&str, &[usize]), hidden: usize, size: usize) {
    biased(add, "ffn_up", hidden, size);
    biased(add, "ffn_down", size, hidden);
    layer_norm(add, "layer_output_norm", hidden);
}

/// A product with its bias.
fn biased(add: &mut impl FnMut(&str, &[usize]), name: &str, columns: usize, rows: usize) {
    add(&format!("{name}.weight"), &[columns, rows]);
    add(&format!("{name}.bias"), &[rows]);
}

/// Scale and shift.
fn layer_norm(add: &mut impl FnMut(&str, &[usize]), name: &str, hidden: usize) {
    add(&format!("{name}.weight"), &[hidden]);
    add(&format!("{name}.bias"), &[hidden]);
}

fn grouped_attention(add: &mut impl FnMut(&str, &[usize]), gqa: &Gqa, hidden: usize) {
    // Each head of Q is followed by its gate.
    let q_size = gqa.q_size() * if gqa.gate { 2 } else { 1 };
    for (part, size) in [("q", q_size), ("k", gqa.kv_size()), ("v", gqa.kv_size())] {
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
    if gqa.output_bias {
        add("attn_output.bias", &[hidden]);
    }
    if gqa.sinks {
        add("attn_sinks.weight", &[gqa.heads]);
    }
}

fn latent_attention(add: &mut impl FnMut(&str, &[usize]), mla: &Mla, hidden: usize) {
    let heads = mla.heads;
    match mla.q_rank {
        Some(rank) => {
            add("attn_q_a.weight", &[hidden, rank]);
            add("attn_q_a_norm.weight", &[rank]);
            add("attn_q_b.weight", &[rank, mla.q_size()]);
        }
        None => add("attn_q.weight", &[hidden, mla.q_size()]),
    }
    add("attn_kv_a_mqa.weight", &[hidden, mla.latent_size()]);
    add("attn_kv_a_norm.weight", &[mla.kv_rank]);
    add("attn_k_b.weight", &[mla.nope_size, mla.kv_rank, heads]);
    add("attn_v_b.weight", &[mla.kv_rank, mla.value_size, heads]);
    add("attn_output.weight", &[heads * mla.value_size, hidden]);
    if let (Some(indexer), Some(rank)) = (&mla.indexer, mla.q_rank) {
        add("indexer.attn_q_b.weight", &[rank, indexer.heads * indexer.head_size]);
        add("indexer.attn_k.weight", &[hidden, indexer.head_size]);
        add("indexer.k_norm.weight", &[indexer.head_size]);
        add("indexer.k_norm.bias", &[indexer.head_size]);
        add("indexer.proj.weight", &[hidden, indexer.heads]);
    }
}

fn gated_delta(add: &mut impl FnMut(&str, &[usize]), shape: &DeltaShape, hidden: usize) {
    let (channels, width) = (shape.channels(), shape.value_width());
    add("attn_qkv.weight", &[hidden, channels]);
    add("attn_gate.weight", &[hidden, width]);
    add("ssm_beta.weight", &[hidden, shape.value_heads]);
    add("ssm_alpha.weight", &[hidden, shape.value_heads]);
    add("ssm_conv1d.weight", &[shape.kernel, channels]);
    add("ssm_a", &[shape.value_heads]);
    add("ssm_dt.bias", &[shape.value_heads]);
    add("ssm_norm.weight", &[shape.value_size]);
    add("ssm_out.weight", &[width, hidden]);
}

fn mixture(add: &mut impl FnMut(&str, &[usize]), moe: &Moe, hidden: usize) {
    add("ffn_gate_inp.weight", &[hidden, moe.experts]);
    if moe.router.selection_bias {
        add("exp_probs_b.bias", &[moe.experts]);
    }
    gated(add, "_exps", hidden, &[moe.size, moe.experts]);
    if moe.bias {
        add("ffn_gate_inp.bias", &[moe.experts]);
        for (part, size) in [("gate", moe.size), ("up", moe.size), ("down", hidden)] {
            add(&format!("ffn_{part}_exps.bias"), &[size, moe.experts]);
        }
    }
    if let Some(shared) = &moe.shared {
        if shared.gate {
            add("ffn_gate_inp_shexp.weight", &[hidden]);
        }
        gated(add, "_shexp", hidden, &[shared.size]);
    }
}

/// Gate, up and down of one width, or of one width and a number of experts.
fn gated(add: &mut impl FnMut(&str, &[usize]), suffix: &str, hidden: usize, sizes: &[usize]) {
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
        Family::GptOss
        | Family::Qwen3Next
        | Family::Qwen35
        | Family::Qwen35Moe
        | Family::SeedOss => "post_attention_norm.weight",
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
