//! Holds models that are quantised while they are loaded against the same models in floats.

mod common;

use common::{best, decoders, distance, exact_logits, prompt};
use myriad_formats::Gguf;
use myriad_kernels::BlockType;
use myriad_model::synthetic::{Shape, gguf};
use myriad_model::{Config, Family, FeedForward, Model, Precision};

#[test]
fn every_family_is_quantised_while_it_is_loaded() {
    let compute = best(2);
    for family in decoders() {
        let shape = Shape::small(family, BlockType::BF16);
        let file = Gguf::from_bytes(gguf(&shape, 5)).unwrap();
        let config = Config::read(&file).unwrap();
        let load = |precision| {
            let mut last = 0.0;
            let model = Model::load_as(&file, precision, &compute, &mut |share| {
                assert!((last..=1.0).contains(&share), "{family:?}: {share} after {last}");
                last = share;
            });
            assert_eq!(last, 1.0);
            model.unwrap()
        };
        let tokens = prompt(40, shape.vocab, 9);
        let right = exact_logits(&load(Precision::AsStored), &compute, &tokens);
        let mut before = f64::INFINITY;
        for kind in [BlockType::Q4_0, BlockType::Q8_0] {
            let model = load(Precision::quantised(kind));
            let counted = config.weight_bytes(&file, Precision::quantised(kind)).unwrap();
            let held = model.weight_bytes() as f64;
            // Floats that decide are held as F32, and rows are filled up to groups.
            assert!((0.9..1.25).contains(&(held / counted as f64)), "{family:?}: {held} {counted}");
            let stored = config.weight_bytes(&file, Precision::AsStored).unwrap();
            assert!(counted * 10 < stored * 6, "{family:?}: {counted} of {stored}");
            let found = distance(&exact_logits(&model, &compute, &tokens), &right, shape.vocab);
            println!("{family:?} {}: {found:?}", kind.name());
            assert!(found.rms < before / 2.0 && found.rms > 0.0, "{family:?}: {found:?}");
            before = found.rms;
        }
        // Of random routers, some choose another expert for a small difference.
        let is_mixture =
            config.layers.iter().any(|layer| matches!(layer.feed_forward, FeedForward::Moe(_)));
        let max = if is_mixture { 0.4 } else { 0.1 };
        assert!(before < max, "{family:?}: {before} with Q8_0");
    }
}

#[test]
fn what_is_quantised_already_stays_as_it_is() {
    let compute = best(1);
    let shape = Shape::small(Family::Qwen2, BlockType::Q4_1);
    let file = Gguf::from_bytes(gguf(&shape, 3)).unwrap();
    let stored = Model::load(&file, &compute, &mut |_| ()).unwrap();
    let precision = Precision::quantised(BlockType::Q8_0);
    let same = Model::load_as(&file, precision, &compute, &mut |_| ()).unwrap();
    let tokens = prompt(20, shape.vocab, 2);
    let logits = |model| exact_logits(model, &compute, &tokens);
    assert!(logits(&stored) == logits(&same));
    assert_eq!(stored.weight_bytes(), same.weight_bytes());
}
