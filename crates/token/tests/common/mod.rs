//! Vocabularies and golden files for the tests.
#![allow(dead_code)]

pub mod answers;
pub mod walk;

use std::path::PathBuf;

use myriad_formats::Gguf;
use myriad_token::{TokenType, Tokenizer, VocabSpec};
use serde_json::Value;

/// The vocabulary of the default model.
pub fn default_spec() -> VocabSpec {
    let path = default_model();
    let gguf = Gguf::open(&path).unwrap_or_else(|error| {
        panic!("{}: {error}; `make model` fetches the default model", path.display())
    });
    gguf.vocab().expect("the default model has a vocabulary")
}

pub fn default_tokenizer() -> Tokenizer {
    Tokenizer::new(&default_spec()).expect("the default model's vocabulary is usable")
}

fn default_model() -> PathBuf {
    if let Some(path) = std::env::var_os("MYRIAD_TEST_MODEL") {
        return path.into();
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).unwrap_or_else(|| {
        PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache")
    });
    cache.join("myriad/models/SmolLM2-135M-Instruct.Q4_1.gguf")
}

/// A vocabulary of the 256 bytes, then `specials`, then `merges` (left, right).
pub fn tiny_spec(specials: &[(&str, TokenType)], merges: &[(&str, &str)]) -> VocabSpec {
    let printable = |byte: &u32| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let shifted = (0..256).filter(|byte| !printable(byte)).zip(0x100..);
    let mut bytes: Vec<(u32, u32)> = (0..256).filter(printable).map(|b| (b, b)).collect();
    bytes.extend(shifted);
    bytes.sort_unstable();
    let byte_pieces = bytes.iter().map(|(_, code)| char::from_u32(*code).unwrap().to_string());
    let mut tokens: Vec<String> = byte_pieces.collect();
    let mut token_types = vec![TokenType::Normal; 256];
    for (text, kind) in specials {
        tokens.push((*text).to_owned());
        token_types.push(*kind);
    }
    for (left, right) in merges {
        tokens.push(format!("{left}{right}"));
        token_types.push(TokenType::Normal);
    }
    VocabSpec {
        model: "gpt2".to_owned(),
        pre: "smollm".to_owned(),
        tokens,
        token_types,
        merges: merges.iter().map(|(left, right)| format!("{left} {right}")).collect(),
        ..VocabSpec::default()
    }
}

/// A vocabulary of the ChatML kind; ids 256 to 263.
pub fn chatml_tokenizer() -> Tokenizer {
    use TokenType::{Control, UserDefined};
    let mut spec = tiny_spec(
        &[
            ("<|endoftext|>", Control),
            ("<|im_start|>", Control),
            ("<|im_end|>", Control),
            ("<think>", UserDefined),
            ("</think>", UserDefined),
            ("<s>", Control),
            ("</s>", Control),
            ("  ", UserDefined),
        ],
        &[("h", "e"), ("l", "l"), ("he", "ll")],
    );
    spec.bos = Some(261);
    spec.eos = Some(258);
    Tokenizer::new(&spec).expect("a valid vocabulary")
}

/// A golden file of this folder.
pub fn golden(name: &str) -> Value {
    let path = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"))
        .join("tests/golden")
        .join(name);
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).expect("golden files are JSON")
}

/// An id in a golden file.
pub fn number(value: &Value) -> u32 {
    value.as_u64().and_then(|number| u32::try_from(number).ok()).expect("an id")
}

/// The vocabulary of the golden file: 256 bytes, runs of spaces and newlines, tags, 700 pieces.
pub fn small_sentencepiece_spec(golden: &Value) -> VocabSpec {
    let pieces = golden["pieces"].as_array().expect("pieces");
    let mut spec = tiny_spec(&[], &[]);
    spec.model = "llama".to_owned();
    spec.pre = "default".to_owned();
    let text = |piece: &Value| piece[0].as_str().expect("a text").to_owned();
    spec.tokens = pieces.iter().map(text).collect();
    spec.scores = pieces.iter().map(|piece| piece[1].as_f64().expect("a score") as f32).collect();
    spec.token_types = pieces
        .iter()
        .map(|piece| match number(&piece[2]) {
            1 => TokenType::Normal,
            2 => TokenType::Unknown,
            3 => TokenType::Control,
            4 => TokenType::UserDefined,
            6 => TokenType::Byte,
            other => panic!("type {other}"),
        })
        .collect();
    (spec.eos, spec.bos, spec.unknown) = (Some(1), Some(2), Some(3));
    spec
}

/// The same as a tokenizer, with Gemma's settings.
pub fn small_sentencepiece() -> Tokenizer {
    Tokenizer::new(&small_sentencepiece_spec(&golden("sentencepiece.json")))
        .expect("a valid vocabulary")
}

/// Random numbers that are the same everywhere (SplitMix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}
