//! Holds mixtures of experts to what their files say beyond what every family is held to.

mod common;

use common::{best, distance, load, logits, logits_in_chunks, pages_for, prompt};
use myriad_formats::{Gguf, Value};
use myriad_kernels::BlockType;
use myriad_model::reference::Reference;
use myriad_model::synthetic::{Parts, Shape, Tensor};
use myriad_model::{Family, FeedForward, Model};

const TOKENS: usize = 40;

/// As in `accuracy.rs`, of mixtures with float weights.
const FLOAT_MAX: f64 = 0.0095;

/// `forward` on a changed file, held against the reference and against itself token by token.
fn checked_logits(parts: &Parts, seed: u64) -> Vec<f32> {
    let compute = best(2);
    let bytes = parts.to_bytes();
    let model = load(&bytes, &compute);
    let vocab = model.config().vocab;
    let tokens = prompt(TOKENS, vocab, seed);
    let found = logits(&model, &compute, &tokens);
    let pages: Vec<u32> = (0..pages_for(TOKENS) as u32).collect();
    let by_one = logits_in_chunks(&model, &compute, &tokens, &[1], &pages);
    assert!(found.iter().zip(&by_one).all(|(a, b)| a.to_bits() == b.to_bits()), "seed {seed}");
    let right = Reference::load(&Gguf::from_bytes(bytes).unwrap()).unwrap().logits(&tokens);
    let distance = distance(&found, &right, vocab);
    assert!(distance.max <= FLOAT_MAX, "seed {seed}: {distance:?}");
    found
}

/// `Q4_K_M` files keep some tensors of a layer in another type than their neighbours.
#[test]
fn gate_and_up_may_be_of_different_types() {
    for family in [Family::Qwen2Moe, Family::Qwen3Moe] {
        let mut parts = Parts::new(&Shape::small(family, BlockType::F32), 21);
        parts.tensor("blk.0.ffn_up_exps.weight").kind = BlockType::F16;
        parts.tensor("blk.1.ffn_gate_exps.weight").kind = BlockType::BF16;
        if family == Family::Qwen2Moe {
            parts.tensor("blk.2.ffn_up_shexp.weight").kind = BlockType::BF16;
        }
        checked_logits(&parts, 1);
    }
}

/// A router in half precision is the same router with rounded weights.
#[test]
fn a_router_may_be_of_any_type() {
    let mut parts = Parts::new(&Shape::small(Family::Qwen2Moe, BlockType::F32), 22);
    parts.tensor("blk.0.ffn_gate_inp.weight").kind = BlockType::F16;
    parts.tensor("blk.1.ffn_gate_inp.weight").kind = BlockType::Q8_0;
    parts.tensor("blk.1.ffn_gate_inp_shexp.weight").kind = BlockType::BF16;
    checked_logits(&parts, 2);
}

#[test]
fn each_expert_counts_its_tokens() {
    let shape = Shape::small(Family::Qwen3Moe, BlockType::Q8_0);
    let compute = best(2);
    let model = load(&Parts::new(&shape, 24).to_bytes(), &compute);
    let sums = |model: &Model| -> Vec<(usize, u64)> {
        let layers = model.expert_tokens().into_iter();
        layers.map(|(layer, counts)| (layer, counts.iter().sum())).collect()
    };
    assert_eq!(sums(&model), [(0, 0), (1, 0), (2, 0)]);
    let tokens = prompt(TOKENS, shape.vocab, 4);
    logits(&model, &compute, &tokens);
    let used = (TOKENS * shape.experts_used) as u64;
    assert_eq!(sums(&model), [0, 1, 2].map(|layer| (layer, used)));
    let at_once = model.expert_tokens();
    let most = at_once[0].1.iter().max().copied().unwrap();
    assert!(most <= TOKENS as u64 && most >= used / shape.experts as u64);
    // Token by token, the same experts work on the same tokens.
    let pages: Vec<u32> = (0..pages_for(TOKENS) as u32).collect();
    logits_in_chunks(&model, &compute, &tokens, &[1], &pages);
    let doubled = at_once.into_iter().map(|(layer, counts)| {
        (layer, counts.into_iter().map(|count| 2 * count).collect::<Vec<_>>())
    });
    assert!(doubled.eq(model.expert_tokens()));
}

#[test]
fn a_layer_may_be_dense() {
    let shape = Shape::small(Family::Qwen2Moe, BlockType::F32);
    let mut parts = Parts::new(&shape, 23);
    let dense = Parts::new(&Shape::small(Family::Qwen2, BlockType::F32), 24);
    let of_feed_forward = |tensor: &Tensor| {
        tensor.name.starts_with("blk.1.ffn_") && tensor.name != "blk.1.ffn_norm.weight"
    };
    parts.tensors.retain(|tensor| !of_feed_forward(tensor));
    parts.tensors.extend(dense.tensors.into_iter().filter(of_feed_forward));
    checked_logits(&parts, 3);

    let model = load(&parts.to_bytes(), &best(1));
    let kinds: Vec<_> = model.config().layers.iter().map(|layer| &layer.feed_forward).collect();
    let [FeedForward::Moe(_), FeedForward::Dense { size, .. }, FeedForward::Moe(_)] = kinds[..]
    else {
        panic!("{kinds:?}");
    };
    assert_eq!(*size, shape.feed_forward);
}

#[test]
fn the_file_may_say_whether_weights_sum_to_one() {
    for family in [Family::Qwen2Moe, Family::Qwen3Moe] {
        let of_norm = |norm: bool| {
            let mut parts = Parts::new(&Shape::small(family, BlockType::F32), 25);
            parts.set(&format!("{}.expert_weights_norm", family.name()), Value::Bool(norm));
            checked_logits(&parts, 4)
        };
        let (plain, normed) = (of_norm(false), of_norm(true));
        assert!(distance(&plain, &normed, 288).max > 0.1, "{family:?}");
        let unsaid = checked_logits(&Parts::new(&Shape::small(family, BlockType::F32), 25), 4);
        let right = if family == Family::Qwen3Moe { normed } else { plain };
        assert_eq!(distance(&unsaid, &right, 288).max, 0.0, "{family:?}");
    }
}

#[test]
fn a_token_reads_only_the_experts_it_uses() {
    for family in [Family::Qwen2Moe, Family::Qwen3Moe] {
        let shape = Shape { experts_used: 3, ..Shape::small(family, BlockType::Q8_0) };
        let gguf = Gguf::from_bytes(Parts::new(&shape, 26).to_bytes()).unwrap();
        let read = |tensor: &myriad_formats::TensorInfo| match tensor.name.as_str() {
            "token_embd.weight" if !shape.tied => 0,
            name if name.contains("_exps") => tensor.bytes() * 3 / 8,
            _ => tensor.bytes(),
        };
        let right: usize = gguf.tensors().iter().map(read).sum();
        let model = load(&Parts::new(&shape, 26).to_bytes(), &best(1));
        assert_eq!(model.weight_bytes_per_token(), right, "{family:?}");
    }
}
