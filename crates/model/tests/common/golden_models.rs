//! Turns a golden's name into its synthetic model and prompts, for the test and for the maker
//! alike.
#![allow(dead_code)] // the maker and the test use different halves

use myriad_formats::Value;
use myriad_kernels::BlockType;
use myriad_model::Family;
use myriad_model::synthetic::{Parts, Shape, Tensor};

/// Seed of every golden model's weights.
const SEED: u64 = 20_240_117;

/// Logits are kept for this many last tokens of each prompt.
pub const ROWS: usize = 12;

/// The models that llama.cpp's logits are kept of: each family, and each way to scale positions.
pub const NAMES: [&str; 12] = [
    "llama",
    "qwen2",
    "qwen2moe",
    "qwen2moe-widths",
    "qwen3",
    "qwen3moe",
    "seed_oss",
    "smollm3",
    "smollm3-yarn",
    "llama-rope-freqs",
    "llama-linear",
    "qwen2-yarn",
];

/// The model of that name, in F32.
pub fn parts(name: &str) -> Parts {
    let family = name.split('-').next().and_then(Family::parse).expect("a family's name");
    let mut shape = Shape::small(family, BlockType::F32);
    // Half as wide as K-quants would need: small enough to be made in no time.
    shape.hidden = 128;
    shape.heads = 4;
    shape.feed_forward = 192;
    shape.expert_feed_forward = 96;
    let mut parts = Parts::new(&shape, SEED);
    match name {
        "llama-rope-freqs" => {
            let values: Vec<f32> = (0..shape.head_size / 2).map(divisor).collect();
            let shape = vec![values.len()];
            let name = "rope_freqs.weight".to_owned();
            parts.tensors.push(Tensor { name, kind: BlockType::F32, shape, values });
        }
        "llama-linear" => {
            parts.set("llama.rope.scaling.type", Value::String("linear".to_owned()));
            parts.set("llama.rope.scaling.factor", Value::F32(4.0));
        }
        "qwen2-yarn" | "smollm3-yarn" => {
            let mut set = |key: &str, value| {
                parts.set(&format!("{}.rope.scaling.{key}", family.name()), value);
            };
            set("type", Value::String("yarn".to_owned()));
            set("factor", Value::F32(4.0));
            set("original_context_length", Value::U32(128));
        }
        // As the first files of this family: the width of all used experts together, which is the
        // shared one's too.
        "qwen2moe-widths" => {
            parts.remove("qwen2moe.expert_feed_forward_length");
            parts.remove("qwen2moe.expert_shared_feed_forward_length");
        }
        _ => {}
    }
    parts
}

/// As Llama 3's: fast pairs as they are, slow ones eight times slower, a ramp between.
fn divisor(pair: usize) -> f32 {
    match pair {
        0..4 => 1.0,
        4..8 => 1.0 + (pair as f32 - 3.0) * 1.4,
        _ => 8.0,
    }
}

/// One token; a sentence; a text longer than one segment of attention.
pub fn prompts(vocab: usize) -> [Vec<u32>; 3] {
    let prompt = |length: usize, factor: usize| {
        (0..length).map(|index| ((index * index * 7 + index * factor + 5) % vocab) as u32).collect()
    };
    [prompt(1, 1), prompt(24, 31), prompt(300, 53)]
}
