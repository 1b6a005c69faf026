//! Turns arbitrary text into tokens and back: byte for byte the same text, however it was cut.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use myriad_formats::Gguf;
use myriad_kernels::BlockType;
use myriad_model::Family;
use myriad_model::synthetic::{self, Shape};
use myriad_token::{PreTokenizer, Specials, StreamDecoder, TokenType, Tokenizer, VocabSpec};

/// A vocabulary and what its way of writing spaces does to a text.
struct Case {
    tokenizer: Tokenizer,
    /// U+2581 becomes a space.
    spaces: bool,
    /// A space goes before the text.
    prefix: bool,
}

/// One vocabulary behind each of the pre-tokenizers, then three of SentencePiece's.
static CASES: LazyLock<Vec<Case>> = LazyLock::new(|| {
    let shape = Shape::small(Family::Llama, BlockType::F32);
    let file = Gguf::from_bytes(synthetic::gguf(&shape, 1)).expect("a valid file");
    let mut vocab = file.vocab().expect("a vocabulary");
    let case = |vocab: &VocabSpec, spaces, prefix| Case {
        tokenizer: Tokenizer::new(vocab).expect("a tokenizer"),
        spaces,
        prefix,
    };
    let of_name = |name: &str| {
        vocab.pre = name.to_owned();
        case(&vocab, false, false)
    };
    let mut cases: Vec<Case> = PreTokenizer::names().map(of_name).collect();
    cases.push(case(&sentencepiece(&vocab, TokenType::Normal), true, false));
    cases.push(case(&sentencepiece(&vocab, TokenType::Unused), true, false));
    let mut prefixed = sentencepiece(&vocab, TokenType::Normal);
    prefixed.add_space_prefix = true;
    cases.push(case(&prefixed, true, true));
    cases
});

/// Control tokens, bytes, tags and pieces, some of which are of the type `other`.
fn sentencepiece(vocab: &VocabSpec, other: TokenType) -> VocabSpec {
    let mut spec = VocabSpec { model: "llama".to_owned(), ..vocab.clone() };
    (spec.bos, spec.eos, spec.eot, spec.unknown, spec.padding) = (None, None, None, None, None);
    let mut all: Vec<(String, TokenType)> =
        ["<s>", "</s>", "<unk>"].map(|text| (text.to_owned(), TokenType::Control)).to_vec();
    all.extend((0..=255).map(|byte| (format!("<0x{byte:02X}>"), TokenType::Byte)));
    // Where a space goes before each part of the text, tags would not come back alone.
    let tags: &[&str] = if other == TokenType::Unused { &["<b>", "\n", "  ", "▁x"] } else { &[] };
    all.extend(tags.iter().map(|text| ((*text).to_owned(), TokenType::UserDefined)));
    let pieces = ["▁", "a", "b", "<", ">", "s", "é", "你", "▁a", "ab", "▁ab", "aa", "aaa", "b▁a"];
    all.extend(pieces.map(|text| (text.to_owned(), TokenType::Normal)));
    all.extend(["<s", "s>", "ba", "aaaa", "▁▁", "é你"].map(|text| (text.to_owned(), other)));
    spec.scores = (0..all.len()).map(|id| -((id * 7 % 11) as f32)).collect();
    (spec.tokens, spec.token_types) = all.into_iter().unzip();
    spec
}

// The first byte chooses the vocabulary; the rest is the text.
fuzz_target!(|data: &[u8]| {
    let Some((choice, data)) = data.split_first() else { return };
    let Case { tokenizer, spaces, prefix } = &CASES[usize::from(*choice) % CASES.len()];
    let text = String::from_utf8_lossy(data);
    let expected = if *spaces { text.replace('▁', " ") } else { text.to_string() };
    let parsed = tokenizer.encode(&text, Specials::Parse);
    if !prefix {
        assert_eq!(tokenizer.decode(&parsed, true), expected.as_bytes());
    }
    let ids = tokenizer.encode(&text, Specials::AsText);
    assert_eq!(tokenizer.decode(&ids, true), expected.as_bytes());
    assert!(ids.iter().all(|id| !tokenizer.is_control(*id)));
    let mut stream = StreamDecoder::new();
    let mut streamed: String = ids.iter().map(|id| stream.push(tokenizer, *id)).collect();
    streamed.push_str(&stream.finish());
    let space = if *prefix && !text.is_empty() { " " } else { "" };
    assert_eq!(streamed, format!("{space}{expected}"));
});
