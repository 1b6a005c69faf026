//! Holds a prompt and a decode to the kernels of the level that was asked for, and to no other's.

mod common;

use common::{levels, logits_in_chunks, pages_for, prompt, synthetic_model};
use myriad_kernels::{BlockType, Compute, Level, reached_kernels};
use myriad_model::Family;
use myriad_model::synthetic::Shape;

/// What takes the time of a prompt and of single tokens, in models with a mixture and without.
const HOT: [&str; 8] = [
    "activations::fill_row",
    "attention::parts::normalise",
    "kv::convert_key",
    "kv::convert_value",
    "matmul::panel::multiply_panel_at",
    "matmul::stream",
    "rope::rotate_halves",
    "vector::normalise_row",
];

/// Whether values are mixed by products of BF16 pairs.
fn has_bf16(level: Level) -> bool {
    #[cfg(target_arch = "x86_64")]
    return level == Level::Avx512Vnni && is_x86_feature_detected!("avx512bf16");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

#[test]
fn every_hot_kernel_runs_at_the_level_asked_for_and_no_other() {
    let mut before: Vec<(Level, usize)> =
        Level::ALL.into_iter().map(|level| (level, reached_kernels(level).len())).collect();
    for kernels in levels() {
        let level = kernels.level();
        let compute = Compute::new(kernels, 2);
        for family in [Family::Qwen3, Family::Qwen3Moe] {
            let model = synthetic_model(&Shape::small(family, BlockType::Q4K), 1, &compute);
            let tokens = prompt(80, model.config().vocab, 2);
            let pages: Vec<u32> = (0..pages_for(tokens.len()) as u32).collect();
            // A prompt, then single tokens.
            logits_in_chunks(&model, &compute, &tokens, &[64, 1], &pages);
        }
        let reached = reached_kernels(level);
        // Gates are fused where there are registers enough for it.
        let fused = (level == Level::Avx512Vnni).then_some("matmul::gated::multiply_gated");
        let attention = match has_bf16(level) {
            true => "attention::segment::native_f16",
            false => "attention::segment::rounded_f16",
        };
        for hot in HOT.into_iter().chain(fused).chain([attention]) {
            let is_there = reached.iter().any(|name| name.ends_with(hot));
            assert!(is_there, "{hot} did not run at {level:?}, only {reached:#?}");
        }
        for (other, count) in &mut before {
            let now = reached_kernels(*other).len();
            assert!(*other == level || now == *count, "{level:?} ran kernels of {other:?}");
            *count = now;
        }
    }
}
