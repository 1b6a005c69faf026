//! Holds encoders to the states that transformers computes of tiny checkpoints, and to themselves:
//! alone and in company, in both formats, in memory and in a file.
//!
//! The fixtures were made by `tools/make_goldens.py`.

mod common;

use std::path::{Path, PathBuf};

use common::{best, distance, levels, prompt};
use myriad_formats::{Gguf, ModelFolder, Safetensors, TensorSource, TokenType, VocabSpec};
use myriad_kernels::{BlockType, Compute};
use myriad_model::reference::Reference;
use myriad_model::synthetic::{self, Shape};
use myriad_model::{
    Config, Conversion, Encoding, Family, Model, ModelError, Pooling, Precision, Source, Text,
};
use proptest::prelude::*;

/// Largest error of a state, as a share of the spread of all: f32 sums in another order.
const EXACT_MAX: f64 = 1e-4;

struct Golden {
    tokens: Vec<u32>,
    first: usize,
    /// [tokens, hidden]
    states: Vec<f32>,
    score: Option<f32>,
}

impl Golden {
    fn text(&self) -> Text<'_> {
        Text { tokens: &self.tokens, first: self.first }
    }
}

fn folder(name: &str) -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"))
        .join("tests/golden/encoders")
        .join(name)
}

fn goldens(folder: &Path) -> Vec<Golden> {
    let file = Safetensors::open(&folder.join("golden.safetensors")).unwrap();
    let words = |name: &str| -> Option<Vec<[u8; 4]>> {
        Some(file.find_tensor(name)?.bytes.as_chunks::<4>().0.to_vec())
    };
    let numbers = |name: &str| -> Vec<u32> {
        words(name).expect(name).into_iter().map(u32::from_le_bytes).collect()
    };
    let golden = |index: usize| Golden {
        tokens: numbers(&format!("tokens.{index}")),
        first: numbers(&format!("first.{index}"))[0] as usize,
        states: words(&format!("states.{index}"))
            .expect("states")
            .into_iter()
            .map(f32::from_le_bytes)
            .collect(),
        score: words(&format!("score.{index}")).map(|score| f32::from_le_bytes(score[0])),
    };
    (0..3).map(golden).collect()
}

/// Enough for every text here.
fn encoding(model: &Model) -> Encoding {
    model.new_encoding(64).unwrap()
}

#[test]
fn folders_compute_what_transformers_computes() {
    for name in ["bert", "bert-scores"] {
        let path = folder(name);
        let file = ModelFolder::open(&path).unwrap();
        let reference = Reference::load(&file).unwrap();
        let hidden = reference.config().hidden;
        for golden in goldens(&path) {
            let states = reference.encode(golden.text());
            let found = distance(&states, &golden.states, hidden);
            println!("{name}, {} tokens, reference: {found:?}", golden.tokens.len());
            assert!(found.max <= EXACT_MAX, "{name}: reference {found:?}");
            assert_score(name, reference.pair_score(&states[..hidden]), golden.score);
        }
        for kernels in levels() {
            let compute = Compute::new(kernels, 2);
            let kind = Precision::All(BlockType::F32);
            let model = Model::load_as(&file, kind, &compute, &mut |_| ()).unwrap();
            let mut encoding = encoding(&model);
            for golden in goldens(&path) {
                let states = model.encode(&compute, &[golden.text()], &mut encoding);
                let found = distance(states, &golden.states, hidden);
                println!(
                    "{name}, {} tokens, {:?}: {found:?}",
                    golden.tokens.len(),
                    kernels.level()
                );
                assert!(found.max <= EXACT_MAX, "{name}: {:?} {found:?}", kernels.level());
                let scores = model.pair_scores(&compute, &states[..hidden]);
                assert_score(name, scores.map(|scores| scores[0]), golden.score);
            }
        }
    }
}

fn assert_score(name: &str, found: Option<f32>, right: Option<f32>) {
    match (found, right) {
        (None, None) => assert_eq!(name, "bert"),
        (Some(found), Some(right)) => assert!((found - right).abs() < 1e-4, "{found} {right}"),
        _ => panic!("{name}: {found:?}, but {right:?}"),
    }
}

#[test]
fn all_levels_compute_equal_bits() {
    let file = ModelFolder::open(&folder("bert")).unwrap();
    for precision in [Precision::AsStored, Precision::All(BlockType::Q8_0)] {
        let mut twin: Option<Vec<f32>> = None;
        for kernels in levels() {
            for threads in [1, 3] {
                let compute = Compute::new(kernels, threads);
                let model = Model::load_as(&file, precision, &compute, &mut |_| ()).unwrap();
                let tokens = prompt(50, 160, 4);
                let mut encoding = encoding(&model);
                let found = model.encode(&compute, &[Text::alone(&tokens)], &mut encoding);
                let same = twin.get_or_insert_with(|| found.to_vec()) == found;
                assert!(same, "{:?}, {threads} threads", kernels.level());
            }
        }
    }
}

#[test]
fn a_description_says_what_the_folder_does() {
    let embedder = Config::read(&ModelFolder::open(&folder("bert")).unwrap()).unwrap();
    assert_eq!((embedder.pooling, embedder.context_length), (Pooling::First, 64));
    let encoder = embedder.encoder.unwrap();
    assert_eq!((encoder.token_types, encoder.classifier), (2, false));
    let scores = Config::read(&ModelFolder::open(&folder("bert-scores")).unwrap()).unwrap();
    assert!(scores.encoder.unwrap().classifier);
}

fn shape(kind: BlockType) -> Shape {
    Shape::small(Family::Bert, kind)
}

#[test]
fn every_block_type_is_close_to_the_reference() {
    let compute = best(2);
    for kind in BlockType::ALL {
        let file = Gguf::from_bytes(synthetic::gguf(&shape(kind), 77)).unwrap();
        let (reference, tokens) = (Reference::load(&file).unwrap(), prompt(70, 288, 5));
        let text = Text { tokens: &tokens, first: 30 };
        let model = Model::load(&file, &compute, &mut |_| ()).unwrap();
        let mut encoding = encoding(&model);
        let states = model.encode(&compute, &[text], &mut encoding);
        let found = distance(states, &reference.encode(text), 256);
        println!("{}: {found:?}", kind.name());
        let (max, rms) = match kind {
            BlockType::F32 | BlockType::F16 => (EXACT_MAX, 1e-5),
            // Activations are rounded to BF16.
            BlockType::BF16 => (0.02, 0.004),
            // Activations are rounded to 8 bits.
            _ => (0.2, 0.04),
        };
        assert!(found.max <= max && found.rms <= rms, "{}: {found:?}", kind.name());
    }
}

#[test]
fn files_of_either_format_compute_the_same_bits() {
    for name in ["bert", "bert-scores"] {
        let compute = best(2);
        let file = ModelFolder::open(&folder(name)).unwrap();
        let vocab = VocabSpec {
            model: "bert".to_owned(),
            pre: "default".to_owned(),
            tokens: (0..160).map(|id| format!("▁{id}")).collect(),
            token_types: vec![TokenType::Normal; 160],
            ..VocabSpec::default()
        };
        let conversion = Conversion::new(&file, &vocab, name, Precision::AsStored).unwrap();
        let bytes = conversion.write(Vec::new(), &compute, &mut |_| ()).unwrap();
        let gguf = Gguf::from_bytes(bytes).unwrap();
        assert_eq!(Config::read(&gguf).unwrap(), Config::read(&file).unwrap());

        let tokens = prompt(40, 160, 6);
        let text = Text { tokens: &tokens, first: 25 };
        let states = |model: &Model| {
            let mut encoding = encoding(model);
            let states = model.encode(&compute, &[text], &mut encoding).to_vec();
            (model.pair_scores(&compute, &states), states)
        };
        // As one type: what GGUF keeps as F32 may be BF16 in the folder, and is multiplied by
        // activations that are rounded to it.
        let load = |source: Source<'_>| {
            let kind = Precision::All(BlockType::F32);
            states(&Model::load_as(source, kind, &compute, &mut |_| ()).unwrap())
        };
        assert!(load((&file).into()) == load((&gguf).into()));
    }
}

#[test]
fn each_kind_of_model_refuses_the_other_ones_work() {
    let compute = best(1);
    let file = ModelFolder::open(&folder("bert")).unwrap();
    let encoder = Model::load(&file, &compute, &mut |_| ()).unwrap();
    assert!(matches!(encoder.new_cache(4, 1), Err(ModelError::NoDecoder { family: "bert" })));
    assert!(encoder.pair_scores(&compute, &[0.0; 64]).is_none());
    let shape = Shape::small(Family::Llama, BlockType::Q4_0);
    let decoder = common::synthetic_model(&shape, 1, &compute);
    assert!(matches!(decoder.new_encoding(4), Err(ModelError::NoEncoder { family: "llama" })));
}

#[test]
fn what_would_make_another_model_is_refused() {
    let cases = [
        (r#""hidden_act": "gelu""#, r#""hidden_act": "relu""#, "`hidden_act` is `relu`"),
        (r#""is_decoder": false"#, r#""is_decoder": true"#, "`is_decoder` is `true`"),
        (r#""use_cache": true"#, r#""position_embedding_type": "relative_key""#, "has absolute"),
        (r#""num_attention_heads": 4"#, r#""num_attention_heads": 5"#, "num_attention_heads"),
        (r#""max_position_embeddings": 64"#, r#""max_position_embeddings": 65"#, "[64, 65]"),
        (r#""intermediate_size": 96"#, r#""intermediate_size": 90"#, "[64, 90]"),
        (r#""layer_norm_eps": 1e-12"#, r#""layer_norm_eps": 0.0"#, "`layer_norm_eps` is 0"),
    ];
    for (old, new, message) in cases {
        let copy = Copy::of("bert");
        copy.change("config.json", old, new);
        copy.assert_refused(message);
    }
    let copy = Copy::of("bert");
    let mode = |on: bool| format!(r#""pooling_mode_max_tokens": {on}"#);
    copy.change("1_Pooling/config.json", &mode(false), &mode(true));
    copy.assert_refused("`pooling_mode_max_tokens`");
    let copy = Copy::of("bert");
    std::fs::create_dir(copy.0.path().join("2_Dense")).unwrap();
    std::fs::write(copy.0.path().join("2_Dense/config.json"), "{}").unwrap();
    copy.assert_refused("2_Dense");
}

/// A fixture that may be changed.
struct Copy(tempfile::TempDir);

impl Copy {
    fn of(name: &str) -> Copy {
        let copy = Copy(tempfile::tempdir().unwrap());
        std::fs::create_dir(copy.0.path().join("1_Pooling")).unwrap();
        for file in ["config.json", "model.safetensors", "1_Pooling/config.json"] {
            std::fs::copy(folder(name).join(file), copy.0.path().join(file)).unwrap();
        }
        copy
    }

    fn change(&self, file: &str, old: &str, new: &str) {
        let path = self.0.path().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(old), "{old} in {file}");
        std::fs::write(path, text.replace(old, new)).unwrap();
    }

    fn assert_refused(&self, message: &str) {
        let folder = ModelFolder::open(self.0.path()).unwrap();
        let error = Config::read(&folder).expect_err(message).to_string();
        assert!(error.contains(message), "{message} in {error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Texts of any lengths, in any company: the bits that each has alone.
    #[test]
    fn company_does_not_show(
        lengths in prop::collection::vec(1usize..=64, 1..6),
        seed in any::<u64>(),
        quantised in any::<bool>(),
        threads in 1usize..=3,
    ) {
        let file = ModelFolder::open(&folder("bert")).unwrap();
        let compute = best(threads);
        let precision = match quantised {
            true => Precision::All(BlockType::Q8_0),
            false => Precision::AsStored,
        };
        let model = Model::load_as(&file, precision, &compute, &mut |_| ()).unwrap();
        let mut encoding = encoding(&model);
        let tokens: Vec<Vec<u32>> = lengths
            .iter()
            .enumerate()
            .map(|(index, &length)| prompt(length, 160, seed.wrapping_add(index as u64)))
            .collect();
        let texts: Vec<Text<'_>> = tokens
            .iter()
            .map(|tokens| Text { tokens, first: tokens.len().div_ceil(2) })
            .collect();
        let together = model.encode(&compute, &texts, &mut encoding).to_vec();
        let mut rest = &together[..];
        for text in texts {
            let alone = model.encode(&compute, &[text], &mut encoding);
            prop_assert!(&rest[..alone.len()] == alone, "{} tokens", text.tokens.len());
            rest = &rest[alone.len()..];
        }
        prop_assert!(rest.is_empty());
    }
}
