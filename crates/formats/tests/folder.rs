//! Holds a model folder to what its files say, and each broken one to its error.

mod common;

use std::fs;
use std::path::Path;

use common::tokenizer::{Pre, Tokenizer};
use common::{Random, harm};
use myriad_formats::{
    FolderError, Fp8Weights, Gguf, GgufWriter, ModelFolder, SafetensorsWriter, TensorKind,
    TensorSource,
};
use myriad_kernels::BlockType;
use serde_json::{Value, json};
use tempfile::TempDir;

const F32: TensorKind = TensorKind::Blocks(BlockType::F32);

/// A file of F32 tensors of one row; every value is the length of the name.
fn weights(tensors: &[(&str, usize)]) -> Vec<u8> {
    let mut file = SafetensorsWriter::new();
    for (name, columns) in tensors {
        file.tensor(name, F32, &[*columns]).expect("a sound tensor");
    }
    let columns_of = |name: &str| tensors.iter().find(|(known, _)| *known == name).unwrap().1;
    let mut out = Vec::new();
    let written = file.write_to(&mut out, |name, sink| {
        let value = (name.len() as f32).to_le_bytes();
        (0..columns_of(name)).try_for_each(|_| sink.write_all(&value))
    });
    written.expect("written to memory");
    out
}

/// A folder with `config.json` and other files.
fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fill(folder.path(), files);
    folder
}

fn fill(folder: &Path, files: &[(&str, &[u8])]) {
    fs::create_dir_all(folder).expect("a folder");
    let config = br#"{"model_type": "llama", "hidden_size": 64, "vocab_size": 8,
        "rope_scaling": {"factor": 8.0}}"#;
    for (name, bytes) in [("config.json", &config[..])].iter().chain(files) {
        fs::write(folder.join(name), bytes).expect("written");
    }
}

/// An index that has those tensors in those shards.
fn index(map: Value) -> Vec<u8> {
    json!({"metadata": {"total_size": 1}, "weight_map": map}).to_string().into_bytes()
}

const INDEX: &str = "model.safetensors.index.json";
const FIRST: &str = "model-00001-of-00002.safetensors";
const SECOND: &str = "model-00002-of-00002.safetensors";

fn error(folder: &TempDir) -> FolderError {
    let error = ModelFolder::open(folder.path()).expect_err("a broken folder");
    assert!(error.to_string().len() < 500, "{error}");
    error
}

#[test]
fn a_folder_of_one_file_is_read() {
    let folder = folder(&[
        ("model.safetensors", &weights(&[("b", 2), ("long", 3)])),
        ("generation_config.json", br#"{"eos_token_id": [7, 3]}"#),
        ("tokenizer.json", Tokenizer::byte_level(Pre::Gpt2).json().to_string().as_bytes()),
        ("tokenizer_config.json", br#"{"chat_template": "in the config"}"#),
        ("chat_template.jinja", "in its own file, é".as_bytes()),
    ]);
    let model = ModelFolder::open(folder.path()).expect("a sound folder");
    assert_eq!(model.config().u32("hidden_size"), Ok(64));
    let scaling = model.config().object("rope_scaling").expect("an object");
    assert_eq!(scaling.f32("factor"), Ok(8.0));
    assert!(model.generation_config().is_some());
    let names: Vec<_> = model.tensor_views().map(|view| view.name).collect();
    assert_eq!(names, ["b", "long"]);
    let mut values = [0.0; 3];
    let view = model.find_tensor("long").expect("a tensor");
    view.dequantise_rows(0..1, &mut values).expect("floats");
    assert_eq!(values, [4.0; 3]);
    assert!(model.find_tensor("bb").is_none());
    let vocab = model.vocab().expect("a vocabulary");
    assert_eq!(vocab.chat_template.as_deref(), Some("in its own file, é"));
    assert_eq!((vocab.eos, vocab.ends), (Some(7), vec![3, 7]));
}

#[test]
fn shards_are_one_model() {
    let map = json!({"z": FIRST, "a": SECOND, "m": FIRST});
    let folder = folder(&[
        (INDEX, &index(map)),
        (FIRST, &weights(&[("z", 1), ("m", 2), ("unlisted", 1)])),
        (SECOND, &weights(&[("a", 4)])),
    ]);
    let model = ModelFolder::open(folder.path()).expect("a sound folder");
    assert_eq!(model.tensor_count(), 4);
    for view in model.tensor_views() {
        assert_eq!(model.find_tensor(view.name), Some(view));
        let mut values = vec![0.0; view.elements()];
        view.dequantise_rows(0..1, &mut values).expect("floats");
        assert!(values.iter().all(|value| *value == view.name.len() as f32));
    }
    let missing = model.vocab().unwrap_err();
    assert!(matches!(missing, FolderError::MissingFile { file: "tokenizer.json", .. }));
}

#[test]
fn a_shard_without_tensors_disturbs_no_other() {
    let empty = b"\x02\0\0\0\0\0\0\0{}";
    for (first, second) in [(&empty[..], &weights(&[("a", 1)])[..]), (&weights(&[("a", 1)]), empty)]
    {
        let map = json!({"a": if first == empty { SECOND } else { FIRST }});
        let folder = folder(&[(INDEX, &index(map)), (FIRST, first), (SECOND, second)]);
        let model = ModelFolder::open(folder.path()).expect("a sound folder");
        assert_eq!(model.find_tensor("a").map(|view| view.columns()), Some(1));
    }
}

#[test]
fn missing_files_are_named() {
    let none = tempfile::tempdir().expect("a folder");
    let told = error(&none);
    assert!(matches!(told, FolderError::MissingFile { file: "config.json", .. }), "{told}");
    let told = error(&folder(&[("pytorch_model.bin", b"")]));
    assert!(matches!(told, FolderError::MissingWeights { .. }), "{told}");
    let absent = ModelFolder::open(&none.path().join("absent")).unwrap_err();
    assert!(matches!(absent, FolderError::Io { .. }) && absent.to_string().contains("absent"));
    let file = folder(&[]);
    let told = ModelFolder::open(&file.path().join("config.json")).unwrap_err();
    assert!(matches!(told, FolderError::NotAFolder { .. }), "{told}");
    let inside = folder(&[]);
    fs::create_dir(inside.path().join("model.safetensors")).expect("a folder");
    let told = error(&inside);
    assert!(matches!(told, FolderError::NotAFile { .. }), "{told}");
}

#[test]
fn broken_files_are_named() {
    let told = error(&folder(&[("config.json", b"{")]));
    assert!(matches!(told, FolderError::Json(_)), "{told}");
    assert!(told.to_string().starts_with("config.json: "), "{told}");
    let told = error(&folder(&[("generation_config.json", b"[]")]));
    assert!(told.to_string().starts_with("generation_config.json: "), "{told}");
    let told = error(&folder(&[("model.safetensors", b"GGUF")]));
    assert!(matches!(told, FolderError::Safetensors(_)), "{told}");
    assert!(told.to_string().contains("model.safetensors: "), "{told}");
    let large = vec![b' '; (8 << 20) + 1];
    let told = error(&folder(&[("config.json", &large)]));
    assert!(matches!(told, FolderError::FileSize { .. }), "{told}");
    let tokenizer = Tokenizer::byte_level(Pre::Gpt2).json().to_string();
    let files: [(&str, &[u8]); 3] = [
        ("model.safetensors", &weights(&[("a", 1)])),
        ("tokenizer.json", tokenizer.as_bytes()),
        ("chat_template.jinja", b"ab\xff"),
    ];
    let sound = folder(&files);
    let told = ModelFolder::open(sound.path()).expect("a sound folder").vocab().unwrap_err();
    assert!(matches!(told, FolderError::TemplateEncoding { position: 2, .. }), "{told}");
}

#[test]
fn each_broken_index_ends_in_its_error() {
    let shards = [(FIRST, weights(&[("a", 1)])), (SECOND, weights(&[("b", 1)]))];
    let open = |json: &[u8]| {
        let mut files: Vec<(&str, &[u8])> =
            shards.iter().map(|(name, bytes)| (*name, &bytes[..])).collect();
        files.push((INDEX, json));
        error(&folder(&files))
    };
    let told = open(b"{\"weight_map\": {");
    assert!(matches!(told, FolderError::IndexSyntax { .. }), "{told}");
    let told = open(br#"{"weight_map": {"a": 1}}"#);
    assert!(matches!(told, FolderError::IndexSyntax { .. }), "{told}");
    let told = open(b"{\"weight_map\": {\"\xff\": \"a\"}}");
    assert!(matches!(told, FolderError::IndexSyntax { .. }), "{told}");
    let told = open(b"{}");
    assert!(matches!(told, FolderError::MissingWeightMap), "{told}");
    let told = open(br#"{"weight_map": {}, "weight_map": {}}"#);
    assert!(matches!(told, FolderError::WeightMapTwice), "{told}");
    let twice = format!(r#"{{"weight_map": {{"a": "{FIRST}", "a": "{FIRST}"}}}}"#);
    let told = open(twice.as_bytes());
    assert!(matches!(&told, FolderError::IndexedTwice { tensor } if tensor == "a"), "{told}");
    let told = open(&index(json!({"a": "model-9.safetensors"})));
    assert!(matches!(&told, FolderError::MissingShard { .. }), "{told}");
    let told = open(&index(json!({"a": SECOND, "b": SECOND, "c": FIRST})));
    assert!(matches!(&told, FolderError::WrongShard { .. }), "{told}");
    let words = format!("`a` is in `{FIRST}`");
    assert!(told.to_string().contains(&words) && told.to_string().contains(SECOND), "{told}");
    let told = open(&index(json!({"a": FIRST, "b": SECOND, "c": FIRST})));
    assert!(matches!(&told, FolderError::MissingTensor { tensor, .. } if tensor == "c"), "{told}");
    let many = (0..1025).map(|at| (at.to_string(), format!("{at}.safetensors").into()));
    let told = open(&index(Value::Object(many.collect())));
    assert!(matches!(told, FolderError::ShardCount { .. }), "{told}");
}

#[test]
fn a_tensor_in_two_shards_is_refused() {
    let map = json!({"a": FIRST, "b": SECOND});
    let told = error(&folder(&[
        (INDEX, &index(map)),
        (FIRST, &weights(&[("a", 1), ("c", 1)])),
        (SECOND, &weights(&[("b", 1), ("c", 1)])),
    ]));
    assert!(matches!(&told, FolderError::TensorInTwoShards { tensor, .. } if tensor == "c"));
    assert!(told.to_string().contains(FIRST) && told.to_string().contains(SECOND), "{told}");
}

#[test]
fn shards_cannot_lie_elsewhere() {
    let outside = folder(&[("elsewhere.safetensors", &weights(&[("a", 1)]))]);
    let absolute = outside.path().join("elsewhere.safetensors").display().to_string();
    let names = [
        &absolute,
        "../elsewhere.safetensors",
        "sub/model.safetensors",
        "..\\model.safetensors",
        "C:model.safetensors",
        "./model.safetensors",
        "..",
        "",
        ".safetensors",
        "model.bin",
        "model\0.safetensors",
        "config.json",
    ];
    for name in names {
        let told = error(&folder(&[(INDEX, &index(json!({"a": name})))]));
        assert!(matches!(told, FolderError::ShardName { .. }), "{name}: {told}");
    }
}

#[cfg(unix)]
#[test]
fn links_lead_out_of_the_folder_only_into_the_cache_that_made_them() {
    use std::os::unix::fs::symlink;
    let bytes = weights(&[("a", 1)]);
    let outside = folder(&[("elsewhere.safetensors", &bytes)]);
    let target = outside.path().join("elsewhere.safetensors");
    let linked = folder(&[]);
    symlink(&target, linked.path().join("model.safetensors")).expect("a link");
    let told = error(&linked);
    assert!(matches!(&told, FolderError::OutsideFolder { .. }), "{told}");
    let linked = folder(&[("real", &bytes)]);
    symlink("real", linked.path().join("model.safetensors")).expect("a link");
    ModelFolder::open(linked.path()).expect("a link inside the folder");
    let gone = folder(&[]);
    symlink("absent", gone.path().join("model.safetensors")).expect("a link");
    assert!(matches!(error(&gone), FolderError::MissingWeights { .. }));
    let round = folder(&[]);
    symlink("model.safetensors", round.path().join("model.safetensors")).expect("a link");
    assert!(matches!(error(&round), FolderError::Io { .. }));

    let cache = tempfile::tempdir().expect("a folder");
    let (blobs, snapshot) = (cache.path().join("blobs"), cache.path().join("snapshots/0123"));
    fs::create_dir_all(&blobs).expect("a folder");
    fs::write(blobs.join("abc"), &bytes).expect("written");
    fill(&snapshot, &[]);
    symlink("../../blobs/abc", snapshot.join("model.safetensors")).expect("a link");
    ModelFolder::open(&snapshot).expect("a folder of the cache");
    fs::write(cache.path().join("other"), &bytes).expect("written");
    fs::remove_file(snapshot.join("model.safetensors")).expect("removed");
    symlink("../../other", snapshot.join("model.safetensors")).expect("a link");
    let told = ModelFolder::open(&snapshot).unwrap_err();
    assert!(matches!(told, FolderError::OutsideFolder { .. }), "{told}");
}

#[test]
fn both_formats_describe_a_tensor_alike() {
    let bytes: Vec<u8> = (0..6).flat_map(|at| (at as f32).to_le_bytes()).collect();
    let mut file = GgufWriter::new();
    file.tensor("t", BlockType::F32, &[3, 2], &bytes[..]);
    let gguf = Gguf::from_bytes(file.to_bytes()).expect("a sound file");
    let mut file = SafetensorsWriter::new();
    file.tensor("t", F32, &[3, 2]).expect("a sound tensor");
    let mut out = Vec::new();
    file.write_to(&mut out, |_, sink| sink.write_all(&bytes)).expect("written to memory");
    let folder = folder(&[("model.safetensors", &out)]);
    let model = ModelFolder::open(folder.path()).expect("a sound folder");
    let sources: [&dyn TensorSource; 2] = [&gguf, &model];
    assert_eq!(sources[0].find_tensor("t"), sources[1].find_tensor("t"));
    for source in sources {
        let view = source.tensor_at(0);
        let mut row = [0.0; 3];
        view.dequantise_rows(1..2, &mut row).expect("floats");
        assert_eq!((row, source.tensor_count()), ([3.0, 4.0, 5.0], 1));
        assert!(source.find_tensor("u").is_none());
    }
}

#[test]
fn scales_are_found_beside_their_weights() {
    let mut file = SafetensorsWriter::new();
    file.tensor("w", TensorKind::F8E4M3, &[2, 2]).expect("a sound tensor");
    file.tensor("w_scale_inv", F32, &[1, 1]).expect("a sound tensor");
    file.tensor("lone", TensorKind::F8E4M3, &[2, 2]).expect("a sound tensor");
    file.tensor("whole", TensorKind::I32, &[1]).expect("a sound tensor");
    let mut out = Vec::new();
    let fill = |name: &str, sink: &mut dyn std::io::Write| match name {
        "w_scale_inv" => sink.write_all(&0.5f32.to_le_bytes()),
        _ => sink.write_all(&[0x38, 0x40, 0xb8, 0x7e]), // 1, 2, -1, 448
    };
    file.write_to(&mut out, fill).expect("written to memory");
    let folder = folder(&[("model.safetensors", &out)]);
    let model = ModelFolder::open(folder.path()).expect("a sound folder");
    let weights = Fp8Weights::find(&model, model.find_tensor("w").unwrap()).expect("scaled");
    let mut values = [0.0; 4];
    weights.dequantise_rows(0..2, &mut values);
    assert_eq!(values, [0.5, 1.0, -0.5, 224.0]);
    let told = Fp8Weights::find(&model, model.find_tensor("lone").unwrap()).unwrap_err();
    assert!(told.to_string().contains("`lone_scale_inv` are missing"), "{told}");
    let whole = model.find_tensor("whole").unwrap();
    assert!(whole.dequantise_rows(0..1, &mut [0.0]).is_err());
}

/// Rounds of harm, each with a few files to write; a second.
const SEEDS: u64 = 1_000;

#[test]
fn random_harm_ends_in_an_error_or_a_sound_folder() {
    let map = json!({"a": FIRST, "b": SECOND, "c": FIRST});
    let tokenizer = Tokenizer::byte_level(Pre::Gpt2).json().to_string().into_bytes();
    let files: [(&str, Vec<u8>); 6] = [
        ("config.json", br#"{"vocab_size": 9, "eos_token_id": [7]}"#.to_vec()),
        (INDEX, index(map)),
        (FIRST, weights(&[("a", 1), ("c", 2)])),
        (SECOND, weights(&[("b", 1)])),
        ("tokenizer.json", tokenizer),
        ("tokenizer_config.json", br#"{"eos_token": "<|end|>", "bos_token": null}"#.to_vec()),
    ];
    let folder = folder(&files.each_ref().map(|(name, bytes)| (*name, &bytes[..])));
    let mut accepted = 0;
    for seed in 0..SEEDS {
        let mut random = Random(seed);
        let (name, whole) = &files[random.below(files.len())];
        let mut bytes = whole.clone();
        harm(&mut bytes, &mut random);
        fs::write(folder.path().join(name), bytes).expect("written");
        let outcome = std::panic::catch_unwind(|| use_all(folder.path()));
        let Ok(sound) = outcome else { panic!("seed {seed}: a panic ({name})") };
        accepted += u64::from(sound);
        fs::write(folder.path().join(name), whole).expect("written");
    }
    println!("{accepted} of {SEEDS} harmed folders are sound");
    assert!(accepted > SEEDS / 100 && accepted < SEEDS, "{accepted} of {SEEDS} were accepted");
    assert!(use_all(folder.path()), "whole again");
}

/// Reads a folder and touches everything that it promises; whether it was sound.
fn use_all(path: &Path) -> bool {
    let Ok(model) = ModelFolder::open(path) else { return false };
    for view in model.tensor_views() {
        assert_eq!(model.find_tensor(view.name), Some(view));
        assert_eq!(view.rows() * view.row_bytes(), view.bytes.len());
    }
    let Ok(vocab) = model.vocab() else { return false };
    vocab.ends.iter().all(|id| (*id as usize) < vocab.tokens.len())
}
