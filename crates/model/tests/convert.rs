//! Holds converted folders against the files that llama.cpp's converter made of them, and their
//! logits against those of transformers.

mod common;

use std::path::{Path, PathBuf};

use common::{best, distance, exact_logits, prompt};
use myriad_formats::{Gguf, ModelFolder, Safetensors, TensorSource, TokenType, Value, VocabSpec};
use myriad_kernels::{BlockType, Compute};
use myriad_model::reference::Reference;
use myriad_model::synthetic::{Shape, gguf};
use myriad_model::{Conversion, Family, Model, ModelError, Precision, Source};

/// Rows that say what readers of GGUF have in their code otherwise: by what scores are divided,
/// where experts clamp, which layers have no rope.
const CANNOT_BE_SAID: [(&str, &str); 3] = [
    ("gemma3", "attention of layer 0"),
    ("gpt_oss", "feed-forward of layer 0"),
    ("smollm3", "attention of layer 1"),
];

fn goldens() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"))
        .join("tests/golden")
}

fn entries(folder: &str) -> Vec<(String, PathBuf)> {
    let entries = std::fs::read_dir(goldens().join(folder)).unwrap();
    let mut entries: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), path))
        .collect();
    entries.sort();
    entries
}

/// Tokens as `tools/goldens/llama_cpp.py` gives them to the files of rows.
fn vocab(size: usize) -> VocabSpec {
    let printable = (0x21..0x7f).chain(0xa1..0xad).chain(0xae..0x100);
    let bytes = printable.chain(0x100..).filter_map(char::from_u32).map(String::from);
    let structure = ["<pad>", "<s>", "</s>"].map(str::to_owned).into_iter();
    let tokens: Vec<String> = structure.chain(bytes.take(size - 4)).chain(["th".into()]).collect();
    let kind = |id| if id < 3 { TokenType::Control } else { TokenType::Normal };
    VocabSpec {
        model: "gpt2".into(),
        pre: "gpt-2".into(),
        token_types: (0..size).map(kind).collect(),
        tokens,
        merges: vec!["t h".into()],
        bos: Some(1),
        eos: Some(2),
        padding: Some(0),
        ..VocabSpec::default()
    }
}

fn convert(
    source: Source<'_>,
    vocab: &VocabSpec,
    precision: Precision,
) -> Result<Gguf, ModelError> {
    let conversion = Conversion::new(source, vocab, "a name", precision)?;
    let (mut done, compute) = (0, best(2));
    let bytes = conversion.write(Vec::new(), &compute, &mut |bytes| {
        assert!(bytes > done);
        done = bytes;
    });
    let bytes = bytes.expect("memory takes everything");
    assert_eq!(done, conversion.weight_bytes());
    assert_eq!(bytes.len() as u64, conversion.file_bytes());
    let gguf = Gguf::from_bytes(bytes).expect("a sound file");
    assert_eq!(gguf.tensors().len(), conversion.tensor_count());
    Ok(gguf)
}

/// The folder of a row, converted without its vocabulary, which it has not.
fn convert_row(path: &Path) -> Result<Gguf, ModelError> {
    let folder = ModelFolder::open(path).unwrap();
    let whole = folder.config();
    let json = whole.optional_object("text_config").unwrap().unwrap_or(whole);
    let size = json.u32("vocab_size").unwrap() as usize;
    convert((&folder).into(), &vocab(size), Precision::AsStored)
}

#[test]
fn converted_folders_compute_what_transformers_computes() {
    let rows = entries("families");
    assert!(rows.len() >= 22, "fixtures are missing");
    for (name, path) in rows {
        let converted = convert_row(&path);
        if let Some((_, what)) = CANNOT_BE_SAID.iter().find(|(row, _)| *row == name) {
            let error = converted.expect_err(&name).to_string();
            assert!(error.contains(what), "{name}: {error}");
            continue;
        }
        let converted = converted.unwrap_or_else(|error| panic!("{name}: {error}"));
        let reference =
            Reference::load(&converted).unwrap_or_else(|error| panic!("{name}: {error}"));
        let goldens = Safetensors::open(&path.join("golden.safetensors")).unwrap();
        for index in 0..3 {
            let words = |what: &str| {
                let view = goldens.find_tensor(&format!("{what}.{index}")).expect("a golden");
                view.bytes.as_chunks::<4>().0.to_vec()
            };
            let tokens: Vec<u32> = words("prompt").into_iter().map(u32::from_le_bytes).collect();
            let right: Vec<f32> = words("logits").into_iter().map(f32::from_le_bytes).collect();
            let found = distance(&reference.logits(&tokens), &right, reference.config().vocab);
            println!("{name}, {} tokens: {found:?}", tokens.len());
            assert!(found.max <= 1e-4, "{name}: {found:?}");
        }
    }
}

#[test]
fn converted_folders_are_what_llama_cpp_makes_of_them() {
    let files = entries("families-gguf");
    assert!(files.len() >= 17, "fixtures are missing");
    for (name, path) in files {
        let right = Gguf::open(&path).unwrap();
        let found = convert_row(&goldens().join("families").join(&name));
        let found = found.unwrap_or_else(|error| panic!("{name}: {error}"));
        same_keys(&name, &found, &right);
        same_tensors(&name, &found, &right);
    }
}

/// Each key that llama.cpp's converter writes has its value here.
fn same_keys(name: &str, found: &Gguf, right: &Gguf) {
    // For people: a name, and the number of weights.
    const OTHERWISE: [&str; 2] = ["general.name", "general.size_label"];
    for (key, value) in right.metadata().iter().filter(|(key, _)| !OTHERWISE.contains(key)) {
        let found = found.metadata().get(key);
        // Computed there in 64 bits.
        if let (Some(Value::F32(found)), Value::F32(right)) = (found, value) {
            assert!((found - right).abs() <= 1e-6 * right, "{name}: {key}: {found} for {right}");
            continue;
        }
        assert_eq!(found, Some(value), "{name}: {key}");
    }
}

fn same_tensors(name: &str, found: &Gguf, right: &Gguf) {
    let names = |file: &Gguf| {
        let mut names: Vec<_> = file.tensors().iter().map(|tensor| tensor.name.clone()).collect();
        names.sort();
        names
    };
    assert_eq!(names(found), names(right), "{name}");
    for view in right.tensor_views() {
        let own = found.find_tensor(view.name).unwrap();
        let label = format!("{name}: {}", view.name);
        assert_eq!((own.kind, own.shape), (view.kind, view.shape), "{label}");
        if own.bytes == view.bytes {
            continue;
        }
        // Only what is computed may differ, by rounding: `-exp(x)`, and divisors of rope.
        assert!(view.name == "rope_freqs.weight" || view.name.ends_with("ssm_a"), "{label}");
        let values = |view: myriad_formats::TensorView<'_>| {
            let mut values = vec![0.0; view.elements()];
            view.dequantise_rows(0..view.rows(), &mut values).unwrap();
            values
        };
        for (own, right) in values(own).into_iter().zip(values(view)) {
            assert!((own - right).abs() <= 1e-6 * right.abs(), "{label}: {own} for {right}");
        }
    }
}

#[test]
fn a_quantised_file_is_the_model_that_quantising_while_loading_gives() {
    let compute = best(2);
    let logits = |source: Source<'_>, precision, tokens: &[u32]| {
        let model = Model::load_as(source, precision, &compute, &mut |_| ()).unwrap();
        exact_logits(&model, &compute, tokens)
    };
    for name in ["qwen2", "qwen3_moe", "deepseek_v3", "qwen3_next"] {
        let folder = ModelFolder::open(&goldens().join("families").join(name)).unwrap();
        let size = folder.config().u32("vocab_size").unwrap() as usize;
        for kind in [BlockType::Q8_0, BlockType::Q4_1] {
            let precision = Precision::quantised(kind);
            let converted = convert((&folder).into(), &vocab(size), precision).unwrap();
            let tokens = prompt(30, size, 4);
            let while_loading = logits((&folder).into(), precision, &tokens);
            let from_file = logits((&converted).into(), Precision::AsStored, &tokens);
            assert!(from_file == while_loading, "{name} {}", kind.name());
        }
    }
}

#[test]
fn files_keep_their_keys_and_are_quantised_again_only_if_asked() {
    let shape = Shape::small(Family::Qwen3, BlockType::Q4_1);
    let file = Gguf::from_bytes(gguf(&shape, 7)).unwrap();
    let none = VocabSpec::default();
    let convert = |precision| convert((&file).into(), &none, precision).unwrap();
    let again = Precision::Quantised { kind: BlockType::Q8_0, again: true };
    let kinds = |file: &Gguf| {
        let kinds = file.kind_summary().into_iter().map(|summary| summary.kind);
        kinds.collect::<Vec<_>>()
    };
    assert_eq!(kinds(&convert(Precision::quantised(BlockType::Q8_0))), kinds(&file));
    let eight = convert(again);
    assert_eq!(kinds(&eight), [BlockType::F32, BlockType::Q8_0]);
    for (key, value) in file.metadata().iter().filter(|(key, _)| *key != "general.file_type") {
        assert_eq!(eight.metadata().get(key), Some(value), "{key}");
    }
    assert_eq!(eight.metadata().u32("general.file_type").unwrap(), 7);
    let logits = |file: &Gguf, compute: &Compute| {
        let model = Model::load(file, compute, &mut |_| ()).unwrap();
        exact_logits(&model, compute, &prompt(30, shape.vocab, 4))
    };
    let compute = best(2);
    let found = distance(&logits(&eight, &compute), &logits(&file, &compute), shape.vocab);
    assert!(found.rms < 0.1, "{found:?}");
}

#[test]
fn what_cannot_be_converted_is_refused() {
    let folder = ModelFolder::open(&goldens().join("families/qwen2")).unwrap();
    let error = convert((&folder).into(), &vocab(193), Precision::AsStored).unwrap_err();
    assert!(error.to_string().contains("193 tokens"), "{error}");
    // A shorter one is filled up: each row of the embedding has a token.
    let short =
        convert((&folder).into(), &vocab(190), Precision::AsStored).unwrap().vocab().unwrap();
    assert_eq!((short.tokens.len(), short.tokens[191].as_str()), (192, "[PAD191]"));
    assert_eq!(short.token_types[191], TokenType::Unused);
    let mut parts =
        myriad_model::synthetic::Parts::new(&Shape::small(Family::Llama, BlockType::F16), 1);
    parts.set("split.count", Value::U16(3));
    parts.set("split.no", Value::U16(1));
    let file = Gguf::from_bytes(parts.to_bytes()).unwrap();
    let error = convert((&file).into(), &VocabSpec::default(), Precision::AsStored).unwrap_err();
    assert!(error.to_string().contains("file 2 of the 3"), "{error}");
}
