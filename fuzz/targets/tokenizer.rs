//! Turns arbitrary text into tokens and back: byte for byte the same text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use myriad_formats::Gguf;
use myriad_model::synthetic::{self, Shape};
use myriad_token::{Specials, StreamDecoder, Tokenizer};
use std::sync::LazyLock;

static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
    let file = Gguf::from_bytes(synthetic::gguf(&Shape::default(), 1)).expect("a valid file");
    Tokenizer::new(&file.vocab().expect("a vocabulary")).expect("a tokenizer")
});

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    for specials in [Specials::AsText, Specials::Parse] {
        let ids = TOKENIZER.encode(&text, specials);
        assert_eq!(TOKENIZER.decode(&ids, true), text.as_bytes());
        let mut stream = StreamDecoder::new();
        let mut streamed = String::new();
        for id in &ids {
            streamed.push_str(&stream.push(&TOKENIZER, *id));
        }
        streamed.push_str(&stream.finish());
        assert!(specials == Specials::Parse || streamed == text);
    }
});
