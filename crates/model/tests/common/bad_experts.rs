//! Turns each rule about experts into files that break it, for `bad_files.rs`.

use myriad_formats::Value;
use myriad_model::Family;
use myriad_model::synthetic::Parts;

use crate::{Case, add, loads, reshape};

const fn qwen3moe(name: &'static str, harm: fn(&mut Parts), says: &'static [&'static str]) -> Case {
    Case { name, family: Family::Qwen3Moe, harm, says }
}

pub const CASES: &[Case] = &[
    qwen3moe(
        "no count of experts",
        |file| file.remove("qwen3moe.expert_count"),
        &["qwen3moe.expert_count"],
    ),
    qwen3moe(
        "no experts in a mixture",
        |file| file.set("qwen3moe.expert_count", Value::U32(0)),
        &["`qwen3moe.expert_count` is 0", "at least 1"],
    ),
    qwen3moe(
        "all the experts in the world",
        |file| file.set("qwen3moe.expert_count", Value::U32(u32::MAX)),
        &["`qwen3moe.expert_count` is 4294967295", "at most 4096"],
    ),
    qwen3moe(
        "more experts in the keys than in the tensors",
        |file| file.set("qwen3moe.expert_count", Value::U32(9)),
        &["`blk.0.ffn_gate_inp.weight`", "[256, 8]", "[256, 9]"],
    ),
    qwen3moe(
        "no count of used experts",
        |file| file.remove("qwen3moe.expert_used_count"),
        &["qwen3moe.expert_used_count"],
    ),
    qwen3moe(
        "no experts used",
        |file| file.set("qwen3moe.expert_used_count", Value::U32(0)),
        &["`qwen3moe.expert_used_count` is 0", "at least 1"],
    ),
    qwen3moe(
        "more experts used than there are",
        |file| file.set("qwen3moe.expert_used_count", Value::U32(9)),
        &["`qwen3moe.expert_used_count` is 9", "8 experts"],
    ),
    qwen3moe(
        "experts of no width",
        |file| file.set("qwen3moe.expert_feed_forward_length", Value::U32(0)),
        &["`qwen3moe.expert_feed_forward_length` is 0"],
    ),
    qwen3moe(
        "experts of another width",
        |file| file.set("qwen3moe.expert_feed_forward_length", Value::U32(128)),
        &["`blk.0.ffn_gate_exps.weight`", "[256, 256, 8]", "[256, 128, 8]"],
    ),
    qwen3moe(
        "a width that the used experts cannot share",
        |file| {
            file.remove("qwen3moe.expert_feed_forward_length");
            file.set("qwen3moe.feed_forward_length", Value::U32(511));
        },
        &["`qwen3moe.feed_forward_length` is 511", "2 used experts", "expert_feed_forward_length"],
    ),
    qwen3moe(
        "a router with a sigmoid",
        |file| file.set("qwen3moe.expert_gating_func", Value::U32(2)),
        &["`qwen3moe.expert_gating_func` is 2", "must be 1", "softmax"],
    ),
    qwen3moe(
        "experts in groups",
        |file| file.set("qwen3moe.expert_group_count", Value::U32(4)),
        &["`qwen3moe.expert_group_count` is 4", "must be 1"],
    ),
    qwen3moe(
        "scaled experts",
        |file| file.set("qwen3moe.expert_weights_scale", Value::F32(2.5)),
        &["`qwen3moe.expert_weights_scale` is 2.5", "must be 1"],
    ),
    qwen3moe(
        "experts whose weights are scaled by NaN",
        |file| file.set("qwen3moe.expert_weights_scale", Value::F32(f32::NAN)),
        &["`qwen3moe.expert_weights_scale` is NaN", "must be 1"],
    ),
    qwen3moe(
        "a norm of weights that is a number",
        |file| file.set("qwen3moe.expert_weights_norm", Value::U32(1)),
        &["`qwen3moe.expert_weights_norm`", "bool"],
    ),
    qwen3moe(
        "experts that are not stacked",
        |file| reshape(file, "blk.1.ffn_up_exps.weight", &[256, 2048]),
        &["`blk.1.ffn_up_exps.weight`", "[256, 2048]", "[256, 256, 8]"],
    ),
    qwen3moe(
        "experts stacked along their rows",
        |file| reshape(file, "blk.2.ffn_down_exps.weight", &[256, 8, 256]),
        &["`blk.2.ffn_down_exps.weight`", "[256, 8, 256]", "[256, 256, 8]"],
    ),
    qwen3moe(
        "a dense layer with a router",
        |file| add(file, "blk.1.ffn_gate.weight", &[256, 512], 1.0),
        &["`blk.1.ffn_gate.weight` does not belong", "qwen3moe"],
    ),
    qwen3moe(
        "a shared expert in a family that has none",
        |file| add(file, "blk.1.ffn_gate_inp_shexp.weight", &[256], 1.0),
        &["`blk.1.ffn_gate_inp_shexp.weight` does not belong", "qwen3moe"],
    ),
    Case {
        name: "a shared expert of another width",
        family: Family::Qwen2Moe,
        harm: |file| file.set("qwen2moe.expert_shared_feed_forward_length", Value::U32(256)),
        says: &["`blk.0.ffn_gate_shexp.weight`", "[256, 512]", "[256, 256]"],
    },
    Case {
        name: "a shared expert of no width",
        family: Family::Qwen2Moe,
        harm: |file| file.set("qwen2moe.expert_shared_feed_forward_length", Value::U32(0)),
        says: &["`qwen2moe.expert_shared_feed_forward_length` is 0"],
    },
    Case {
        name: "a gate of the shared expert with two rows",
        family: Family::Qwen2Moe,
        harm: |file| reshape(file, "blk.1.ffn_gate_inp_shexp.weight", &[256, 2]),
        says: &["`blk.1.ffn_gate_inp_shexp.weight`", "[256, 2]", "[256]"],
    },
];

#[test]
fn unusual_experts_load() {
    loads(Family::Qwen3Moe, "an only expert, its last dimension left out", |file| {
        file.set("qwen3moe.expert_count", Value::U32(1));
        file.set("qwen3moe.expert_used_count", Value::U32(1));
        for layer in 0..3 {
            for part in ["gate", "up", "down"] {
                reshape(file, &format!("blk.{layer}.ffn_{part}_exps.weight"), &[256, 256]);
            }
            reshape(file, &format!("blk.{layer}.ffn_gate_inp.weight"), &[256]);
        }
    });
    loads(Family::Qwen3Moe, "widths that are not used", |file| {
        file.remove("qwen3moe.feed_forward_length");
    });
    loads(Family::Qwen3Moe, "the router of the family, said aloud", |file| {
        file.set("qwen3moe.expert_gating_func", Value::U32(1));
        file.set("qwen3moe.expert_weights_norm", Value::Bool(true));
        file.set("qwen3moe.expert_weights_scale", Value::F32(1.0));
        file.set("qwen3moe.expert_group_count", Value::U32(1));
    });
    loads(Family::Qwen2Moe, "a gate of the shared expert with one row", |file| {
        reshape(file, "blk.0.ffn_gate_inp_shexp.weight", &[256, 1]);
    });
}
