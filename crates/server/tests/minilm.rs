//! Holds a real embedder (all-MiniLM-L6-v2) to what transformers makes of texts: ids and vectors.
//!
//! The model is not part of the repository: `tools/minilm_model.sh` gets it, and without it these
//! tests say that they are skipped. The vectors were made by `tools/make_minilm_goldens.py`.

use std::path::PathBuf;

use myriad_formats::ModelFolder;
use myriad_kernels::{BlockType, Compute, Kernels};
use myriad_model::{Model, Pool, Precision, Text};
use myriad_token::Tokenizer;
use serde_json::Value;

/// Least cosine with the right vector, for weights in each type.
const CLOSE: [(BlockType, f64); 3] =
    [(BlockType::F32, 0.999_999), (BlockType::F16, 0.9999), (BlockType::Q8_0, 0.995)];

fn folder() -> Option<ModelFolder> {
    let cache = || match std::env::var_os("XDG_CACHE_HOME") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache"),
    };
    let path = match std::env::var_os("MYRIAD_TEST_EMBEDDER") {
        Some(path) => PathBuf::from(path),
        None => cache().join("myriad/models/all-MiniLM-L6-v2"),
    };
    if !path.join("model.safetensors").exists() {
        println!("skipped: no embedder at {}; `tools/minilm_model.sh` gets it", path.display());
        return None;
    }
    Some(ModelFolder::open(&path).expect("a model"))
}

fn cases() -> Vec<Value> {
    let path = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let text = std::fs::read_to_string(path.join("tests/golden/minilm.json")).expect("goldens");
    let golden: Value = serde_json::from_str(&text).expect("JSON");
    golden["cases"].as_array().expect("cases").clone()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|n| n.as_f64().expect("a number")).collect()
}

#[test]
fn a_real_embedder_makes_the_vectors_of_transformers() {
    let Some(folder) = folder() else { return };
    let tokenizer = Tokenizer::new(&folder.vocab().expect("a vocabulary")).expect("a tokenizer");
    let compute = Compute::new(Kernels::detect().expect("kernels"), 2);
    for (kind, close) in CLOSE {
        let precision = Precision::All(kind);
        let model = Model::load_as(&folder, precision, &compute, &mut |_| ()).expect("a model");
        let mut encoding = model.new_encoding(16).expect("memory");
        for case in cases() {
            let text = case["text"].as_str().expect("a text");
            let ids = tokenizer.encode_whole(text);
            let right: Vec<u32> = numbers(&case["ids"]).into_iter().map(|id| id as u32).collect();
            assert_eq!(ids, right, "{text:?}");
            let states = model.encode(&compute, &[Text::alone(&ids)], &mut encoding);
            let mut pool = Pool::new(model.config().pooling, model.config().hidden);
            pool.take(states);
            let right = numbers(&case["vector"]);
            let products = pool.finish().into_iter().zip(&right).map(|(a, b)| f64::from(a) * b);
            let cosine = products.sum::<f64>() / right.iter().map(|b| b * b).sum::<f64>().sqrt();
            println!("{}: {cosine:.7} {text:.40?}", kind.name());
            assert!(cosine >= close, "{} {text:?}: {cosine}", kind.name());
        }
    }
}
