//! Holds multi-token prediction against logits that another program computes of tiny checkpoints,
//! in both formats, and against its plain twin.
//!
//! The fixtures were made by `tools/make_mtp_goldens.py`, after vLLM's models.

mod common;

use std::path::{Path, PathBuf};

use common::{best, best_of, distance, levels, pages_for, prompt};
use myriad_formats::{Gguf, ModelFolder, Safetensors, TensorSource, TokenType, Value, VocabSpec};
use myriad_kernels::{BlockType, Compute, KvType};
use myriad_model::reference::Reference;
use myriad_model::synthetic::{Parts, Shape, Tensor, gguf};
use myriad_model::{
    Batch, Config, Conversion, Family, LogitRows, Model, ModelError, MtpHead, Precision, Scratch,
    Segment, Source,
};

/// Largest error of a logit, as a share of the spread of all: f32 sums in another order.
const MAX: f64 = 1e-4;

fn rows() -> Vec<PathBuf> {
    let goldens = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"))
        .join("tests/golden/mtp");
    let entries = std::fs::read_dir(goldens).unwrap();
    let mut rows: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    rows.sort();
    assert!(rows.len() >= 3, "fixtures are missing");
    rows
}

/// What is right for one prompt.
struct Golden {
    /// One more than there are rows of logits.
    tokens: Vec<u32>,
    /// [tokens - 1, vocab]
    logits: Vec<f32>,
    /// Guesses behind the last token, and the logits of each. [guesses, vocab]
    guessed: Vec<u32>,
    guesses: Vec<f32>,
}

fn goldens(row: &Path) -> Vec<Golden> {
    let file = Safetensors::open(&row.join("golden.safetensors")).unwrap();
    let words = |name: String| file.find_tensor(&name).expect("a golden").bytes.as_chunks::<4>().0;
    let tokens = |name| words(name).iter().map(|word| u32::from_le_bytes(*word)).collect();
    let floats = |name| words(name).iter().map(|word| f32::from_le_bytes(*word)).collect();
    let golden = |index: usize| Golden {
        tokens: tokens(format!("tokens.{index}")),
        logits: floats(format!("logits.{index}")),
        guessed: tokens(format!("guessed.{index}")),
        guesses: floats(format!("guesses.{index}")),
    };
    (0..3).map(golden).collect()
}

/// The logits of all positions, and of further guesses, each from the state of the one before.
trait Guesser {
    fn guess(&mut self, tokens: &[u32], further: usize) -> (Vec<f32>, Vec<f32>, Vec<u32>);
}

impl Guesser for &Reference {
    fn guess(&mut self, tokens: &[u32], further: usize) -> (Vec<f32>, Vec<f32>, Vec<u32>) {
        let (hidden, vocab) = (self.config().hidden, self.config().vocab);
        let (prompt, mut behind) = (&tokens[..tokens.len() - 1], tokens[1..].to_vec());
        let mut states = self.states(prompt);
        let mut own = self.guess_states(&states, &behind);
        let logits = self.guess_head(&own);
        let mut guesses = logits[logits.len() - vocab..].to_vec();
        let mut guessed = vec![best_of(&guesses) as u32];
        while guessed.len() < further {
            states.extend_from_slice(&own[own.len() - hidden..]);
            behind.extend(guessed.last());
            own = self.guess_states(&states, &behind);
            let last = self.guess_head(&own[own.len() - hidden..]);
            guessed.push(best_of(&last) as u32);
            guesses.extend(last);
        }
        (logits, guesses, guessed)
    }
}

/// The model itself; prompts go in pieces of `chunk` tokens.
struct Forward<'a> {
    model: &'a Model,
    head: &'a MtpHead,
    compute: &'a Compute,
    kv: KvType,
    chunk: usize,
}

impl Guesser for Forward<'_> {
    fn guess(&mut self, tokens: &[u32], further: usize) -> (Vec<f32>, Vec<f32>, Vec<u32>) {
        let Forward { model, head, compute, kv, chunk } = *self;
        let (count, vocab) = (tokens.len() - 1, model.config().vocab);
        let pages: Vec<u32> = (0..pages_for(count + further) as u32).rev().collect();
        let mut cache = model.new_cache_of(kv, pages.len(), 1).unwrap();
        let mut own = head.new_cache(model, kv, pages.len()).unwrap();
        let (mut scratch, mut scratch_of_own) = (Scratch::new(), Scratch::new());
        let (mut logits, mut state) = (Vec::new(), Vec::new());
        for start in (0..count).step_by(chunk) {
            let end = count.min(start + chunk);
            let segment = |tokens, want| Segment::alone(tokens, start as u32, &pages, want);
            let below =
                Segment { all_states: true, ..segment(&tokens[start..end], LogitRows::None) };
            let batch = Batch { sequences: &[below] };
            let found = model.forward(compute, &batch, &mut cache, &mut scratch);
            assert_eq!(found.rows(), 0, "no logits were asked for");
            let behind = segment(&tokens[start + 1..end + 1], LogitRows::All);
            let batch = Batch { sequences: &[behind] };
            let states = found.all_states();
            let guess = model.guess(head, compute, &batch, states, &mut own, &mut scratch_of_own);
            logits.extend_from_slice(guess.values());
            state = guess.states()[guess.states().len() - model.config().hidden..].to_vec();
        }
        let mut guesses = logits[logits.len() - vocab..].to_vec();
        let mut guessed = vec![best_of(&guesses) as u32];
        while guessed.len() < further {
            let (token, start) = ([guessed[guessed.len() - 1]], count + guessed.len() - 1);
            let segment = Segment::alone(&token, start as u32, &pages, LogitRows::Last);
            let batch = Batch { sequences: &[segment] };
            let guess = model.guess(head, compute, &batch, &state, &mut own, &mut scratch_of_own);
            guessed.push(best_of(guess.row(0)) as u32);
            guesses.extend_from_slice(guess.values());
            state = guess.states().to_vec();
        }
        (logits, guesses, guessed)
    }
}

fn check(label: &str, guesser: &mut dyn Guesser, golden: &Golden, vocab: usize) {
    let (logits, guesses, guessed) = guesser.guess(&golden.tokens, golden.guessed.len());
    for (what, found, right) in
        [("logits", &logits, &golden.logits), ("further", &guesses, &golden.guesses)]
    {
        let found = distance(found, right, vocab);
        println!("{label}, {} tokens, {what}: {found:?}", golden.tokens.len());
        assert!(found.max <= MAX, "{label}, {what}: {found:?}");
    }
    assert_eq!(guessed, golden.guessed, "{label}");
}

fn check_source(label: &str, source: Source<'_>, goldens: &[Golden]) {
    let reference = Reference::load(source).unwrap_or_else(|error| panic!("{label}: {error}"));
    let vocab = reference.config().vocab;
    let precision = Precision::All(BlockType::F32);
    for golden in goldens {
        check(&format!("{label}, reference"), &mut &reference, golden, vocab);
        for kernels in levels() {
            let label = format!("{label}, {:?}", kernels.level());
            let compute = Compute::new(kernels, 2);
            let model = Model::load_as(source, precision, &compute, &mut |_| ()).unwrap();
            let head = model.load_mtp(source, precision, &compute, &mut |_| ()).unwrap().unwrap();
            let (model, head, compute, kv) = (&model, &head, &compute, KvType::F32);
            for chunk in [golden.tokens.len(), 7] {
                let mut forward = Forward { model, head, compute, kv, chunk };
                check(&label, &mut forward, golden, vocab);
            }
        }
    }
}

#[test]
fn folders_guess_what_another_program_guesses() {
    for row in rows() {
        let folder = ModelFolder::open(&row).unwrap();
        check_source(&row.file_name().unwrap().to_string_lossy(), (&folder).into(), &goldens(&row));
    }
}

#[test]
fn files_converted_from_them_do_too() {
    for row in rows() {
        let folder = ModelFolder::open(&row).unwrap();
        let config = Config::read(&folder).unwrap();
        let tokens = (0..config.vocab).map(|id| format!("[{id}]")).collect();
        let vocab = VocabSpec {
            model: "gpt2".into(),
            pre: "gpt-2".into(),
            tokens,
            token_types: vec![TokenType::Normal; config.vocab],
            ..VocabSpec::default()
        };
        let conversion = Conversion::new(&folder, &vocab, "a name", Precision::AsStored).unwrap();
        let bytes = conversion.write(Vec::new(), &best(2), &mut |_| ()).unwrap();
        let file = Gguf::from_bytes(bytes).unwrap();
        let key = format!("{}.nextn_predict_layers", config.family.name());
        assert_eq!(file.metadata().u32(&key).unwrap(), 1);
        let label = format!("{} as GGUF", row.file_name().unwrap().to_string_lossy());
        check_source(&label, (&file).into(), &goldens(&row));
    }
}

const FAMILIES: [Family; 5] =
    [Family::DeepSeek2, Family::DeepSeek32, Family::Qwen3Next, Family::Qwen35, Family::Qwen35Moe];

/// Synthetic models of every family that may have the layer: other layouts, quantised weights.
#[test]
fn every_family_guesses_what_its_twin_guesses() {
    for family in FAMILIES {
        let shape = Shape { mtp: true, ..Shape::small(family, BlockType::F32) };
        // All experts, so that no near tie between them matters.
        let shape = Shape { experts_used: shape.experts, indexer_top: 512, ..shape };
        let file = Gguf::from_bytes(gguf(&shape, 3)).unwrap();
        let reference = Reference::load(&file).unwrap();
        let vocab = shape.vocab;
        let mut golden = Golden {
            tokens: prompt(70, vocab, 1),
            logits: vec![],
            guessed: vec![],
            guesses: vec![],
        };
        (golden.logits, golden.guesses, golden.guessed) =
            (&mut &reference).guess(&golden.tokens, 3);
        let compute = best(2);
        let model = Model::load(&file, &compute, &mut |_| ()).unwrap();
        let precision = Precision::AsStored;
        let head = model.load_mtp(&file, precision, &compute, &mut |_| ()).unwrap().unwrap();
        let (model, head, compute, kv) = (&model, &head, &compute, KvType::F32);
        let mut forward = Forward { model, head, compute, kv, chunk: 33 };
        check(&format!("{family:?}"), &mut forward, &golden, vocab);
    }
}

/// Logits that a model gives do not depend on whether its states are asked for, nor guesses on how
/// a prompt is cut, or on threads.
#[test]
fn guesses_have_the_same_bits_in_any_pieces() {
    for family in FAMILIES {
        let shape = Shape { mtp: true, ..Shape::small(family, BlockType::Q8_0) };
        let file = Gguf::from_bytes(gguf(&shape, 4)).unwrap();
        let tokens = prompt(75, shape.vocab, 2);
        let with = |threads: usize, chunk: usize| {
            let compute = best(threads);
            let model = Model::load(&file, &compute, &mut |_| ()).unwrap();
            let precision = Precision::AsStored;
            let head = model.load_mtp(&file, precision, &compute, &mut |_| ()).unwrap().unwrap();
            let (model, head, compute, kv) = (&model, &head, &compute, KvType::F16);
            Forward { model, head, compute, kv, chunk }.guess(&tokens, 4)
        };
        let right = with(1, 75);
        for (threads, chunk) in [(2, 75), (1, 1), (3, 32), (2, 20)] {
            assert!(with(threads, chunk) == right, "{family:?}, {threads} threads, {chunk}");
        }
    }
}

/// A file with such a layer, changed.
fn read(family: Family, change: impl FnOnce(&mut Parts)) -> Result<Config, ModelError> {
    let mut parts = Parts::new(&Shape { mtp: true, ..Shape::small(family, BlockType::Q8_0) }, 1);
    change(&mut parts);
    Config::read(&Gguf::from_bytes(parts.to_bytes()).unwrap())
}

#[test]
fn a_file_without_its_first_matrix_has_none() {
    let config = read(Family::DeepSeek2, |file| {
        file.tensors.retain(|tensor| !tensor.name.contains("nextn"));
    });
    let config = config.unwrap();
    assert_eq!((config.mtp, config.layers.len()), (None, 3));
}

#[test]
fn of_several_layers_the_first_is_used() {
    let config = read(Family::DeepSeek2, |file| {
        file.set("deepseek2.block_count", Value::U32(5));
        file.set("deepseek2.nextn_predict_layers", Value::U32(2));
        let again = file.tensors.iter().filter(|tensor| tensor.name.starts_with("blk.3."));
        let again = again.map(|tensor| Tensor {
            name: tensor.name.replace("blk.3.", "blk.4."),
            ..tensor.clone()
        });
        file.tensors.extend(again.collect::<Vec<_>>());
    });
    let config = config.unwrap();
    assert_eq!((config.mtp.unwrap().layers, config.layers.len()), (2, 3));
}

/// Published files repeat the model's embedding and head.
#[test]
fn what_the_model_has_is_not_held_twice() {
    let shape = Shape { mtp: true, ..Shape::small(Family::DeepSeek2, BlockType::Q8_0) };
    let with = |change: fn(&mut Parts)| {
        let mut parts = Parts::new(&shape, 1);
        change(&mut parts);
        let (file, compute) = (Gguf::from_bytes(parts.to_bytes()).unwrap(), best(1));
        let model = Model::load(&file, &compute, &mut |_| ()).unwrap();
        let head = model.load_mtp(&file, Precision::AsStored, &compute, &mut |_| ());
        let head = head.unwrap().unwrap();
        (head.weight_bytes(), head.weight_bytes_per_guess(&model))
    };
    fn repeat(file: &mut Parts, own: &str, factor: f32) {
        let mut again = file.tensor(own).clone();
        again.name = match own {
            "output.weight" => "blk.3.nextn.shared_head_head.weight".to_owned(),
            _ => "blk.3.nextn.embed_tokens.weight".to_owned(),
        };
        again.values.iter_mut().for_each(|value| *value *= factor);
        file.tensors.push(again);
    }
    let plain = with(|_| ());
    let repeated = with(|file| {
        repeat(file, "token_embd.weight", 1.0);
        repeat(file, "output.weight", 1.0);
    });
    assert_eq!(repeated, plain);
    let own = with(|file| {
        repeat(file, "token_embd.weight", 2.0);
        repeat(file, "output.weight", 2.0);
    });
    assert!(own.0 > plain.0 + shape.vocab * shape.hidden * 2, "{own:?}, {plain:?}");
    // A guess reads one head, whosever it is, and one row of an embedding.
    assert!(own.1.abs_diff(plain.1) * 10 < plain.1, "{own:?}, {plain:?}");
}

#[test]
fn every_broken_rule_has_an_error_that_names_it() {
    type Case = (Family, fn(&mut Parts), &'static [&'static str]);
    fn drop(file: &mut Parts, name: &str) {
        file.tensors.retain(|tensor| tensor.name != name);
    }
    let cases: &[Case] = &[
        (
            Family::DeepSeek2,
            |file| drop(file, "blk.3.nextn.hnorm.weight"),
            &["`blk.3.nextn.hnorm.weight` is missing"],
        ),
        (
            Family::Qwen35,
            |file| drop(file, "blk.4.attn_q_norm.weight"),
            &["`blk.4.attn_q_norm.weight` is missing"],
        ),
        (
            Family::DeepSeek2,
            |file| drop(file, "blk.3.ffn_gate_exps.weight"),
            &["`blk.3.ffn_gate_exps.weight` is missing"],
        ),
        (
            Family::Qwen3Next,
            |file| {
                let tensor = file.tensor("blk.4.nextn.eh_proj.weight");
                tensor.shape = vec![256, 512];
            },
            &["`blk.4.nextn.eh_proj.weight`", "[256, 512]", "[512, 256]"],
        ),
        (
            Family::DeepSeek2,
            |file| {
                let mut tensor = file.tensor("blk.3.nextn.eh_proj.weight").clone();
                tensor.name = "blk.3.nextn.shared_head_head.weight".to_owned();
                file.tensors.push(tensor);
            },
            &["`blk.3.nextn.shared_head_head.weight`", "[512, 256]", "[256, 288]"],
        ),
        (
            Family::DeepSeek2,
            |file| file.set("deepseek2.nextn_predict_layers", Value::U32(4)),
            &["nextn_predict_layers` is 4", "must be 3"],
        ),
    ];
    for (family, change, says) in cases {
        let error = read(*family, change).expect_err(says[0]).to_string();
        for word in *says {
            assert!(error.contains(word), "{error:?} does not say {word:?}");
        }
    }
}
