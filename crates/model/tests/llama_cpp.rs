//! Holds both forward paths against llama.cpp's logits of small random models of each family.
//!
//! The goldens were made by `tools/make_llama_goldens.sh` with everything that llama.cpp rounds by
//! default switched off, so they say how each family's tensors and keys are meant: the pairing of
//! rope, the order of heads, norms and biases, the scaling of positions.

mod common;
#[path = "common/golden_models.rs"]
mod golden_models;

use common::{best, distance, logits};
use golden_models::{NAMES, ROWS, parts, prompts};
use myriad_formats::Gguf;
use myriad_model::Model;
use myriad_model::reference::Reference;

/// f32 sums in another order, through three layers.
const REFERENCE_MAX: f64 = 1e-4;
/// The same with keys and values rounded to f16 (11 bits: 5e-4 each).
const FORWARD_MAX: f64 = 5e-3;

#[test]
fn reference_and_forward_agree_with_llama_cpp() {
    let compute = best(2);
    for name in NAMES {
        let gguf = Gguf::from_bytes(parts(name).to_bytes()).unwrap();
        let model = Model::load(&gguf, &compute, &mut |_| ()).unwrap();
        let reference = Reference::load(&gguf).unwrap();
        let vocab = model.config().vocab;
        let golden = golden(name);
        let mut golden = golden.as_slice();
        for tokens in prompts(vocab) {
            let kept = tokens.len().min(ROWS) * vocab;
            let (right, rest) = golden.split_at(kept);
            golden = rest;
            let last = |all: Vec<f32>| all[all.len() - kept..].to_vec();
            let by_reference = distance(&last(reference.logits(&tokens)), right, vocab);
            let by_forward = distance(&last(logits(&model, &compute, &tokens)), right, vocab);
            println!("{name}, {} tokens: {by_reference:?} {by_forward:?}", tokens.len());
            assert!(by_reference.max <= REFERENCE_MAX, "{name}: reference {by_reference:?}");
            assert!(by_forward.max <= FORWARD_MAX, "{name}: forward {by_forward:?}");
        }
        assert!(golden.is_empty(), "{name}: the golden has more rows than the prompts");
    }
}

fn golden(name: &str) -> Vec<f32> {
    let path = format!(
        "{}/tests/golden/{name}.logits",
        std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")
    );
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}
