//! Holds `forward` to equal bits however a text is cut, batched, paged and spread over threads.

mod common;

use common::{Random, levels, logits, logits_in_chunks, pages_for, prompt, synthetic_model};
use myriad_kernels::{BlockType, Compute, Kernels, Level, PAGE_TOKENS};
use myriad_model::synthetic::Shape;
use myriad_model::{Batch, Family, LogitRows, Model, Scratch, Segment};

/// Longer than one segment of attention (256), and no multiple of anything.
const LENGTH: usize = 291;

/// Long enough for a few pages: for the slow levels, which share all code but the innermost loops.
const SHORT: usize = 71;

#[test]
fn every_level_gives_equal_bits() {
    for (family, kind) in kinds() {
        let of_level = |kernels| {
            let compute = Compute::new(kernels, 2);
            let model = synthetic_model(&Shape::small(family, kind), 10, &compute);
            logits(&model, &compute, &prompt(LENGTH, model.config().vocab, 4))
        };
        let all: Vec<_> = levels().into_iter().map(|level| (level, of_level(level))).collect();
        for (level, found) in &all {
            let name = level.level().name();
            assert!(same_bits(found, &all[0].1), "{name} {family:?} {kind:?}");
        }
    }
}

#[test]
fn a_prompt_in_any_chunks_gives_equal_bits() {
    for kernels in levels() {
        let compute = Compute::new(kernels, 2);
        let length = length_at(kernels);
        for (family, kind) in kinds() {
            let model = synthetic_model(&Shape::small(family, kind), 11, &compute);
            let tokens = prompt(length, model.config().vocab, 5);
            let at_once = logits(&model, &compute, &tokens);
            let pages: Vec<u32> = (0..pages_for(length) as u32).collect();
            for chunks in [&[1][..], &[7, 32, 3], &[100], &[length - 1, 1], &[33, 1, 64]] {
                let found = logits_in_chunks(&model, &compute, &tokens, chunks, &pages);
                let place =
                    found.iter().zip(&at_once).position(|(a, b)| a.to_bits() != b.to_bits());
                let level = kernels.level().name();
                assert_eq!(place, None, "{level} {family:?} {kind:?} in chunks of {chunks:?}");
            }
        }
    }
}

#[test]
fn random_pages_give_equal_bits() {
    for kernels in levels() {
        let compute = Compute::new(kernels, 2);
        let length = length_at(kernels);
        let model = synthetic_model(&Shape::small(Family::Qwen3, BlockType::Q4K), 12, &compute);
        let tokens = prompt(length, model.config().vocab, 6);
        let in_order = logits(&model, &compute, &tokens);
        for seed in 1..=3 {
            let mut pages: Vec<u32> = (0..pages_for(length) as u32 + 9).collect();
            Random(seed).shuffle(&mut pages);
            let found = logits_in_chunks(&model, &compute, &tokens, &[40], &pages);
            assert!(same_bits(&found, &in_order), "{} seed {seed}", kernels.level().name());
        }
    }
}

#[test]
fn one_thread_and_more_give_equal_bits() {
    for kernels in levels() {
        for (family, kind) in kinds() {
            let of_threads = |threads| {
                let compute = Compute::new(kernels, threads);
                let model = synthetic_model(&Shape::small(family, kind), 13, &compute);
                let length = length_at(kernels);
                let tokens = prompt(length, model.config().vocab, 7);
                let pages: Vec<u32> = (0..pages_for(length) as u32).collect();
                logits_in_chunks(&model, &compute, &tokens, &[length - 5, 2, 1], &pages)
            };
            let one = of_threads(1);
            for threads in [2, 3] {
                let level = kernels.level().name();
                let found = of_threads(threads);
                assert!(same_bits(&found, &one), "{level} {family:?} {kind:?}, {threads} threads");
            }
        }
    }
}

/// Sequences of different lengths and ages in one batch: some decode, some are in their prompts.
#[test]
fn a_batch_gives_each_sequence_the_bits_it_has_alone() {
    for kernels in levels() {
        let compute = Compute::new(kernels, 2);
        for (family, kind) in kinds() {
            let model = synthetic_model(&Shape::small(family, kind), 14, &compute);
            let vocab = model.config().vocab;
            let texts: Vec<Vec<u32>> = [3, 40, length_at(kernels), 64, 1]
                .iter()
                .enumerate()
                .map(|(index, &length)| prompt(length, vocab, 100 + index as u64))
                .collect();
            let alone: Vec<Vec<f32>> =
                texts.iter().map(|tokens| logits(&model, &compute, tokens)).collect();
            for seed in 1..=2 {
                let together = in_random_batches(&model, &compute, &texts, seed);
                for (index, (found, right)) in together.iter().zip(&alone).enumerate() {
                    let level = kernels.level().name();
                    let label = format!("{level} {family:?} {kind:?} seed {seed} text {index}");
                    assert!(same_bits(found, right), "{label}");
                }
            }
        }
    }
}

#[test]
fn only_the_rows_asked_for_come_back() {
    for family in [Family::DeepSeek32, Family::Llama, Family::Qwen2Moe, Family::Qwen35] {
        only_the_rows_asked_for(family);
    }
}

fn only_the_rows_asked_for(family: Family) {
    let compute = common::best(2);
    let model = synthetic_model(&Shape::small(family, BlockType::Q8_0), 15, &compute);
    let vocab = model.config().vocab;
    let texts = [prompt(5, vocab, 1), prompt(9, vocab, 2), prompt(4, vocab, 3)];
    let all: Vec<Vec<f32>> = texts.iter().map(|text| logits(&model, &compute, text)).collect();
    let wishes = [LogitRows::Last, LogitRows::None, LogitRows::All];
    let pages = [[0], [1], [2]];
    let segments: Vec<Segment<'_>> = (0..3)
        .map(|index| Segment {
            state: index,
            ..Segment::alone(&texts[index], 0, &pages[index], wishes[index])
        })
        .collect();
    let mut cache = model.new_cache(3, 3).unwrap();
    let mut scratch = Scratch::new();
    let found = model.forward(&compute, &Batch { sequences: &segments }, &mut cache, &mut scratch);
    assert_eq!(found.rows(), 1 + 4);
    assert!(same_bits(found.row(0), &all[0][4 * vocab..]));
    assert!(same_bits(&found.values()[vocab..], &all[2]));

    // The first and the last want states instead: those are of the same rows, and the logits of
    // the second are what they were.
    let mixed = [
        Segment { states: true, ..segments[0] },
        Segment { logits: LogitRows::All, ..segments[1] },
        Segment { states: true, ..segments[2] },
    ];
    let mut cache_of_states = model.new_cache(3, 3).unwrap();
    let batch = Batch { sequences: &mixed };
    let found = model.forward(&compute, &batch, &mut cache_of_states, &mut scratch);
    assert!(same_bits(found.values(), &all[1]));
    let states = found.states().to_vec();
    assert_eq!(states.len(), (1 + 4) * model.config().hidden);
    let alone = Batch { sequences: &mixed[2..] };
    let mut cache_of_states = model.new_cache(3, 3).unwrap();
    let found = model.forward(&compute, &alone, &mut cache_of_states, &mut scratch);
    assert!(found.values().is_empty());
    assert!(same_bits(found.states(), &states[model.config().hidden..]));

    let nothing = Batch { sequences: &segments[1..2] };
    assert_eq!(model.forward(&compute, &nothing, &mut cache, &mut scratch).rows(), 0);
    let empty = Batch { sequences: &[] };
    assert_eq!(model.forward(&compute, &empty, &mut cache, &mut scratch).rows(), 0);
}

/// Each text's logits when random pieces of random texts share batches.
fn in_random_batches(
    model: &Model,
    compute: &Compute,
    texts: &[Vec<u32>],
    seed: u64,
) -> Vec<Vec<f32>> {
    let vocab = model.config().vocab;
    let mut random = Random(seed);
    let mut free: Vec<u32> = (0..64).collect();
    random.shuffle(&mut free);
    let tables: Vec<Vec<u32>> = texts
        .iter()
        .map(|text| free.split_off(free.len() - text.len().div_ceil(PAGE_TOKENS)))
        .collect();
    let mut cache = model.new_cache(64, 8).unwrap();
    let mut scratch = Scratch::new();
    let mut done = vec![0; texts.len()];
    let mut results = vec![Vec::new(); texts.len()];
    while (0..texts.len()).any(|index| done[index] < texts[index].len()) {
        let mut order: Vec<usize> =
            (0..texts.len()).filter(|&index| done[index] < texts[index].len()).collect();
        random.shuffle(&mut order);
        order.truncate(1 + random.below(order.len()));
        let segments: Vec<Segment<'_>> = order
            .iter()
            .map(|&index| {
                let start = done[index];
                let left = texts[index].len() - start;
                let count = if random.below(2) == 0 { 1 } else { 1 + random.below(left) };
                let (tokens, pages) = (&texts[index][start..start + count], &tables[index]);
                let alone = Segment::alone(tokens, start as u32, pages, LogitRows::All);
                Segment { state: index, ..alone }
            })
            .collect();
        let batch = Batch { sequences: &segments };
        let mut values = model.forward(compute, &batch, &mut cache, &mut scratch).values();
        for (&index, segment) in order.iter().zip(&segments) {
            let (own, rest) = values.split_at(segment.tokens.len() * vocab);
            results[index].extend_from_slice(own);
            done[index] += segment.tokens.len();
            values = rest;
        }
    }
    results
}

/// Each family once, with block types that take different paths through the kernels.
fn kinds() -> [(Family, BlockType); 14] {
    [
        (Family::Llama, BlockType::Q4_1),
        (Family::Qwen2, BlockType::Q4K),
        (Family::Qwen3, BlockType::Q6K),
        (Family::Llama, BlockType::BF16),
        (Family::Qwen3, BlockType::F32),
        (Family::Qwen2Moe, BlockType::Q8_0),
        (Family::Qwen3Moe, BlockType::Q4K),
        (Family::SmolLm3, BlockType::Q5_0),
        (Family::DeepSeek2, BlockType::Q4_0),
        (Family::DeepSeek32, BlockType::Q5_1),
        (Family::GptOss, BlockType::MXFP4),
        (Family::Qwen3Next, BlockType::Q8_0),
        (Family::Qwen35, BlockType::F16),
        (Family::Qwen35Moe, BlockType::Q5K),
    ]
}

/// The slow levels get shorter texts.
fn length_at(kernels: &Kernels) -> usize {
    let is_fast = kernels.level() == *Level::available().iter().max().expect("a level");
    if is_fast { LENGTH } else { SHORT }
}

fn same_bits(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}
