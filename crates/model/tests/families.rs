//! Holds both forward paths against the logits that transformers computes of tiny checkpoints of
//! each family, in the format that Hugging Face publishes, and as llama.cpp's converter made GGUF
//! files of them.
//!
//! The fixtures were made by `tools/make_goldens.py`. They say how each family's `config.json` and
//! tensors are meant: names, pairs of rope, order of heads, norms, biases, routers.

mod common;

use std::path::{Path, PathBuf};

use common::{distance, exact_logits, levels, logits, logits_in_chunks, pages_for};
use myriad_formats::{Gguf, ModelFolder, Safetensors, TensorSource};
use myriad_kernels::{BlockType, Compute};
use myriad_model::reference::Reference;
use myriad_model::{Model, Precision, Source};

/// Largest error of a logit, as a share of the spread of all: f32 sums in another order.
const REFERENCE_MAX: f64 = 1e-4;
/// The same with keys and values rounded to f16 (11 bits: 5e-4 each), through up to four layers
/// that were made to react strongly; and the root mean square of errors.
const FORWARD_MAX: f64 = 2e-2;
const FORWARD_RMS: f64 = 2e-3;
/// The same where activations are rounded to BF16 or 8 bits, as weights are of BF16 or 4 bits. That
/// turns near ties of a router into another choice of experts, as right but far away for a row.
const ROUNDED_RMS: f64 = 0.04;

struct Prompt {
    tokens: Vec<u32>,
    /// [tokens, vocab]
    logits: Vec<f32>,
    greedy: Vec<u32>,
}

/// A folder or a file with the weights of a row.
enum File {
    Folder(ModelFolder),
    Gguf(Gguf),
}

impl File {
    fn open(path: &Path) -> File {
        match path.is_dir() {
            true => File::Folder(ModelFolder::open(path).unwrap()),
            false => File::Gguf(Gguf::open(path).unwrap()),
        }
    }

    fn source(&self) -> Source<'_> {
        match self {
            File::Folder(folder) => folder.into(),
            File::Gguf(gguf) => gguf.into(),
        }
    }
}

fn goldens() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"))
        .join("tests/golden")
}

fn entries(folder: &str) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(goldens().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    entries
}

fn prompts(folder: &Path) -> Vec<Prompt> {
    let file = Safetensors::open(&folder.join("golden.safetensors")).unwrap();
    let words = |name: &str| -> Vec<[u8; 4]> {
        let view = file.find_tensor(name).unwrap_or_else(|| panic!("{name} in {folder:?}"));
        view.bytes.as_chunks::<4>().0.to_vec()
    };
    let tokens = |name: &str| words(name).into_iter().map(u32::from_le_bytes).collect();
    (0..3)
        .map(|index| Prompt {
            tokens: tokens(&format!("prompt.{index}")),
            logits: words(&format!("logits.{index}")).into_iter().map(f32::from_le_bytes).collect(),
            greedy: tokens(&format!("greedy.{index}")),
        })
        .collect()
}

fn greedy(
    prompt: &[u32],
    count: usize,
    mut last_logits: impl FnMut(&[u32]) -> Vec<f32>,
) -> Vec<u32> {
    let mut tokens = prompt.to_vec();
    for _ in 0..count {
        let logits = last_logits(&tokens);
        let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
        tokens.push(best as u32);
    }
    tokens.split_off(prompt.len())
}

#[test]
fn folders_of_every_family_compute_what_transformers_computes() {
    let rows = entries("families");
    assert!(rows.len() >= 22, "fixtures are missing");
    rows.iter().for_each(|row| check(row, row));
}

#[test]
fn files_of_every_family_compute_what_transformers_computes() {
    let files = entries("families-gguf");
    assert!(files.len() >= 17, "fixtures are missing");
    for file in files {
        let row = file.file_stem().expect("a name").to_owned();
        check(&file, &goldens().join("families").join(row));
    }
}

/// The model at `path` against the goldens in `row`.
fn check(path: &Path, row: &Path) {
    let file = File::open(path);
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let reference =
        Reference::load(file.source()).unwrap_or_else(|error| panic!("{name}: {error}"));
    let vocab = reference.config().vocab;
    let prompts = prompts(row);
    for Prompt { tokens, logits: right, greedy: chosen } in &prompts {
        let found = distance(&reference.logits(tokens), right, vocab);
        println!("{name}, {} tokens, reference: {found:?}", tokens.len());
        assert!(found.max <= REFERENCE_MAX, "{name}: reference {found:?}");
        let last = |tokens: &[u32]| reference.logits(tokens).split_off((tokens.len() - 1) * vocab);
        assert_eq!(greedy(tokens, chosen.len(), last), *chosen, "{name}: reference");
    }
    for kernels in levels() {
        let level = kernels.level();
        let compute = Compute::new(kernels, 2);
        let model = Model::load(file.source(), &compute, &mut |_| ()).unwrap();
        let kind = Precision::All(BlockType::F32);
        let exact = Model::load_as(file.source(), kind, &compute, &mut |_| ()).unwrap();
        for Prompt { tokens, logits: right, greedy: chosen } in &prompts {
            let found = distance(&exact_logits(&exact, &compute, tokens), right, vocab);
            println!("{name}, {} tokens, {level:?}, f32: {found:?}", tokens.len());
            assert!(found.max <= REFERENCE_MAX, "{name}: {level:?}, f32: {found:?}");
            let found = distance(&logits(&exact, &compute, tokens), right, vocab);
            let is_close = found.max <= FORWARD_MAX && found.rms <= FORWARD_RMS;
            assert!(is_close, "{name}: {level:?}, keys of f16 {found:?}");
            let at_once = logits(&model, &compute, tokens);
            let found = distance(&at_once, right, vocab);
            println!("{name}, {} tokens, {level:?}: {found:?}", tokens.len());
            assert!(found.rms <= ROUNDED_RMS, "{name}: {level:?}, as stored {found:?}");
            let pages: Vec<u32> = (0..pages_for(tokens.len()) as u32).rev().collect();
            let in_pieces = logits_in_chunks(&model, &compute, tokens, &[7, 1], &pages);
            assert!(in_pieces == at_once, "{name}: {level:?}: decoded after a prefill");
            let last = |tokens: &[u32]| {
                exact_logits(&exact, &compute, tokens).split_off((tokens.len() - 1) * vocab)
            };
            assert_eq!(greedy(tokens, chosen.len(), last), *chosen, "{name}: {level:?}");
        }
    }
}
