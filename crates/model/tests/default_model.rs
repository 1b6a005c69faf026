//! Holds `forward` against the plain reference on the default model, as it is and re-quantised.

mod common;

use common::{Distance, best, default_model_path, distance, levels, log_softmax, logits};
use myriad_formats::{Gguf, GgufWriter};
use myriad_kernels::{BlockType, Compute, dequantise, quantise};
use myriad_model::reference::Reference;
use myriad_model::{Batch, LogitRows, Model, Scratch, Segment};

/// Tokens of a prompt: about a paragraph.
const PROMPT: usize = 64;

/// Tokens of the text whose perplexity is compared.
const TEXT: usize = 4096;

#[test]
fn logits_are_close_to_the_reference_at_every_level() {
    let gguf = Gguf::open(&default_model_path()).unwrap();
    let tokens = &text()[..PROMPT];
    let reference = Reference::load(&gguf).unwrap();
    let right = reference.logits(tokens);
    for kernels in levels() {
        let compute = Compute::new(kernels, 2);
        let model = Model::load(&gguf, &compute, &mut |_| ()).unwrap();
        let found = distance(&logits(&model, &compute, tokens), &right, model.config().vocab);
        println!("{}: {found:?}", kernels.level().name());
        check("default", &found, BlockType::Q4_1);
    }
}

#[test]
fn every_weight_type_is_close_to_the_reference() {
    let original = Gguf::open(&default_model_path()).unwrap();
    let tokens = &text()[..PROMPT];
    let compute = best(2);
    for kind in BlockType::ALL {
        let gguf = Gguf::from_bytes(requantised(&original, kind)).unwrap();
        let right = Reference::load(&gguf).unwrap().logits(tokens);
        let model = Model::load(&gguf, &compute, &mut |_| ()).unwrap();
        let found = distance(&logits(&model, &compute, tokens), &right, model.config().vocab);
        println!("{}: {found:?}", kind.name());
        check(kind.name(), &found, kind);
    }
}

#[test]
fn perplexity_is_that_of_the_reference() {
    let gguf = Gguf::open(&default_model_path()).unwrap();
    let tokens = &text()[..TEXT];
    let compute = best(2);
    let model = Model::load(&gguf, &compute, &mut |_| ()).unwrap();
    let found = perplexity(tokens, forward_surprise(&model, &compute, tokens));
    drop(model);
    let reference = Reference::load(&gguf).unwrap();
    let right = perplexity(tokens, reference_surprise(&reference, tokens));
    println!("perplexity of {TEXT} tokens: {found:.4}, reference {right:.4}");
    assert!((found / right - 1.0).abs() <= 0.005, "{found} is not within 0.5 % of {right}");
}

fn check(label: &str, found: &Distance, _kind: BlockType) {
    assert!(found.max < 1.0 && found.kl < 0.01, "{label}: {found:?}");
}

/// exp of the mean surprise of all tokens but the first, which nothing predicts.
fn perplexity(tokens: &[u32], surprise: f64) -> f64 {
    (surprise / (tokens.len() - 1) as f64).exp()
}

/// Sum of -log p(token | those before), the text fed as an engine would feed it.
fn forward_surprise(model: &Model, compute: &Compute, tokens: &[u32]) -> f64 {
    const CHUNK: usize = 512;
    let pages: Vec<u32> = (0..common::pages_for(tokens.len()) as u32).collect();
    let mut cache = model.new_cache(pages.len()).unwrap();
    let mut scratch = Scratch::new();
    let mut sum = 0.0;
    for (index, chunk) in tokens.chunks(CHUNK).enumerate() {
        let start = index * CHUNK;
        let segment =
            Segment { tokens: chunk, start: start as u32, pages: &pages, logits: LogitRows::All };
        let batch = Batch { sequences: &[segment] };
        let logits = model.forward(compute, &batch, &mut cache, &mut scratch);
        for (row, &next) in tokens[start + 1..].iter().take(chunk.len()).enumerate() {
            sum -= log_softmax(logits.row(row))[next as usize];
        }
    }
    sum
}

fn reference_surprise(reference: &Reference, tokens: &[u32]) -> f64 {
    const WINDOW: usize = 256;
    let (hidden, vocab) = (reference.config().hidden, reference.config().vocab);
    let states = reference.states(&tokens[..tokens.len() - 1]);
    let mut sum = 0.0;
    for (window, next) in states.chunks(WINDOW * hidden).zip(tokens[1..].chunks(WINDOW)) {
        let logits = reference.head(window);
        for (row, &next) in logits.chunks_exact(vocab).zip(next) {
            sum -= log_softmax(row)[next as usize];
        }
    }
    sum
}

/// The same model with its matrices in another block type. Where their columns are not a whole
/// number of blocks (K-quants: all but `ffn_down` here), in Q8_0, as published files do it.
fn requantised(original: &Gguf, kind: BlockType) -> Vec<u8> {
    let mut writer = GgufWriter::new();
    for (key, value) in original.metadata().iter() {
        writer.set(key, value.clone());
    }
    for info in original.tensors() {
        let mut values = vec![0.0; info.elements()];
        dequantise(info.kind, original.data(info), &mut values);
        let kind = match kind.row_bytes(info.columns()) {
            _ if info.shape.len() == 1 => BlockType::F32,
            Some(_) => kind,
            None => BlockType::Q8_0,
        };
        writer.tensor(&info.name, kind, &info.shape, quantise(kind, &values));
    }
    writer.to_bytes()
}

/// The ids of `golden/text.txt` (the project's own pages), made by `tools/make_llama_goldens.sh`.
fn text() -> Vec<u32> {
    let bytes = include_bytes!("golden/text.ids");
    bytes.as_chunks::<2>().0.iter().map(|bytes| u32::from(u16::from_le_bytes(*bytes))).collect()
}
