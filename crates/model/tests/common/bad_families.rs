//! Turns each rule about latent attention, recurrent layers and windows into files that break it,
//! for `bad_files.rs`.

use myriad_formats::Value;
use myriad_model::Family;
use myriad_model::synthetic::Parts;

use crate::{Case, array, reshape};

const fn of(
    family: Family,
    name: &'static str,
    harm: fn(&mut Parts),
    says: &'static [&'static str],
) -> Case {
    Case { name, family, harm, says }
}

/// Sets a key of the family to a whole number.
macro_rules! key {
    ($family:ident, $key:literal, $value:expr, $says:expr) => {
        of(
            Family::$family,
            concat!($key, " is ", stringify!($value)),
            |file| file.set(&format!("{}.{}", Family::$family.name(), $key), Value::U32($value)),
            &$says,
        )
    };
}

/// The same with a float.
macro_rules! float {
    ($family:ident, $key:literal, $value:expr, $says:expr) => {
        of(
            Family::$family,
            concat!($key, " is ", stringify!($value)),
            |file| file.set(&format!("{}.{}", Family::$family.name(), $key), Value::F32($value)),
            &$says,
        )
    };
}

pub const CASES: &[Case] = &[
    key!(DeepSeek2, "attention.q_lora_rank", 0, ["`deepseek2.attention.q_lora_rank` is 0"]),
    key!(DeepSeek2, "attention.q_lora_rank", 128, ["`blk.0.attn_q_a.weight`", "[256, 128]"]),
    key!(DeepSeek2, "attention.kv_lora_rank", 0, ["`deepseek2.attention.kv_lora_rank` is 0"]),
    key!(DeepSeek2, "attention.kv_lora_rank", 513, ["kv_lora_rank` is 513", "at most 512"]),
    key!(DeepSeek2, "attention.key_length_mla", 32, ["heads of 32", "more than the 32"]),
    key!(DeepSeek2, "attention.key_length_mla", 0, ["key_length_mla` is 0"]),
    key!(DeepSeek2, "attention.value_length_mla", 0, ["value_length_mla` is 0"]),
    key!(DeepSeek2, "rope.dimension_count", 0, ["`deepseek2.rope.dimension_count` is 0"]),
    key!(DeepSeek2, "rope.dimension_count", 31, ["heads of 31", "even number"]),
    key!(DeepSeek2, "rope.dimension_count", 4_000_000_000, ["dimension_count", "at most 64"]),
    key!(DeepSeek2, "expert_group_count", 3, ["`deepseek2.expert_group_count` is 3", "8 experts"]),
    key!(DeepSeek2, "expert_group_count", 8, ["`deepseek2.expert_group_count` is 8"]),
    key!(DeepSeek2, "expert_group_used_count", 5, ["of which 5 are open"]),
    key!(DeepSeek2, "expert_group_used_count", 0, ["`deepseek2.expert_group_used_count` is 0"]),
    key!(DeepSeek2, "expert_gating_func", 3, ["expert_gating_func` is `3`", "2 (sigmoid)"]),
    key!(DeepSeek2, "expert_shared_count", 1 << 20, ["expert_shared_count` is 1048576", "at most"]),
    key!(DeepSeek2, "nextn_predict_layers", 3, ["nextn_predict_layers` is 3", "must be 2"]),
    float!(DeepSeek2, "expert_weights_scale", f32::NAN, ["expert_weights_scale` is NaN"]),
    float!(DeepSeek2, "expert_weights_scale", -1.0, ["expert_weights_scale` is -1", "positive"]),
    of(
        Family::DeepSeek2,
        "a stretching of scores that is no number",
        |file| {
            file.set("deepseek2.rope.scaling.type", Value::String("yarn".to_owned()));
            file.set("deepseek2.rope.scaling.factor", Value::F32(4.0));
            file.set("deepseek2.rope.scaling.yarn_log_multiplier", Value::F32(f32::INFINITY));
        },
        &["yarn_log_multiplier` is inf", "finite"],
    ),
    of(
        Family::DeepSeek2,
        "corrections of another number of experts",
        |file| reshape(file, "blk.1.exp_probs_b.bias", &[4]),
        &["`blk.1.exp_probs_b.bias`", "[4]", "[8]"],
    ),
    of(
        Family::DeepSeek32,
        "no latent of queries for the indexer",
        |file| file.remove("deepseek32.attention.q_lora_rank"),
        &["`deepseek32.attention.q_lora_rank`"],
    ),
    key!(DeepSeek32, "attention.indexer.head_count", 0, ["indexer.head_count` is 0"]),
    key!(DeepSeek32, "attention.indexer.key_length", 16, ["heads of 16", "at least the 32"]),
    key!(DeepSeek32, "attention.indexer.key_length", 4096, ["key_length` is 4096", "at most 512"]),
    key!(DeepSeek32, "attention.indexer.top_k", 0, ["indexer.top_k` is 0"]),
    key!(GptOss, "attention.sliding_window", 0, ["`gpt-oss.attention.sliding_window` is 0"]),
    of(
        Family::GptOss,
        "no window",
        |file| file.remove("gpt-oss.attention.sliding_window"),
        &["`gpt-oss.attention.sliding_window`"],
    ),
    of(
        Family::GptOss,
        "sinks of another number of heads",
        |file| reshape(file, "blk.2.attn_sinks.weight", &[4]),
        &["`blk.2.attn_sinks.weight`", "[4]", "[8]"],
    ),
    of(
        Family::GptOss,
        "biases of another number of experts",
        |file| reshape(file, "blk.2.ffn_up_exps.bias", &[256, 4]),
        &["`blk.2.ffn_up_exps.bias`", "[256, 4]", "[256, 8]"],
    ),
    float!(GptOss, "swiglu_limit", -7.0, ["swiglu_limit` is -7", "positive"]),
    key!(Qwen3Next, "ssm.conv_kernel", 0, ["`qwen3next.ssm.conv_kernel` is 0"]),
    key!(Qwen3Next, "ssm.conv_kernel", 17, ["ssm.conv_kernel` is 17", "at most 16"]),
    key!(Qwen3Next, "ssm.group_count", 3, ["`qwen3next.ssm.group_count` is 3", "4 query heads"]),
    key!(Qwen3Next, "ssm.group_count", 0, ["`qwen3next.ssm.group_count` is 0"]),
    key!(Qwen3Next, "ssm.state_size", 0, ["`qwen3next.ssm.state_size` is 0"]),
    key!(Qwen3Next, "ssm.time_step_rank", 0, ["`qwen3next.ssm.time_step_rank` is 0"]),
    key!(Qwen3Next, "full_attention_interval", 0, ["`qwen3next.full_attention_interval` is 0"]),
    key!(Qwen35, "ssm.inner_size", 255, ["ssm.inner_size` makes heads of 255", "4 heads"]),
    key!(Qwen35, "rope.dimension_count", 66, ["heads of 66", "of the 64"]),
    key!(Qwen35, "rope.dimension_count", 15, ["heads of 15", "even number"]),
    key!(Qwen35, "expert_count", 8, ["`qwen35.expert_count` is 8", "dense"]),
    of(
        Family::Qwen35Moe,
        "flags for fewer layers than there are",
        |file| {
            let flags = myriad_formats::Array::Bool(vec![true; 3]);
            file.set("qwen35moe.attention.recurrent_layers", Value::Array(flags));
        },
        &["recurrent_layers` is 3", "must be 4"],
    ),
    of(
        Family::Qwen35Moe,
        "flags that are numbers",
        |file| file.set("qwen35moe.attention.recurrent_layers", array(&[1, 1, 1, 0])),
        &["recurrent_layers", "truth values"],
    ),
    of(
        Family::Qwen35Moe,
        "a layer of another kind than its tensors",
        |file| file.set("qwen35moe.full_attention_interval", Value::U32(2)),
        &["`blk.1.attn_q.weight` is missing"],
    ),
];
