//! Turns arbitrary text into tokens and back: byte for byte the same text, however it was cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use myriad_formats::Gguf;
use myriad_kernels::BlockType;
use myriad_model::Family;
use myriad_model::synthetic::{self, Shape};
use myriad_token::{PreTokenizer, Specials, StreamDecoder, Tokenizer};
use std::sync::LazyLock;

/// One vocabulary behind each of the pre-tokenizers.
static TOKENIZERS: LazyLock<Vec<Tokenizer>> = LazyLock::new(|| {
    let shape = Shape::small(Family::Llama, BlockType::F32);
    let file = Gguf::from_bytes(synthetic::gguf(&shape, 1)).expect("a valid file");
    let mut vocab = file.vocab().expect("a vocabulary");
    let of_name = |name: &str| {
        vocab.pre = name.to_owned();
        Tokenizer::new(&vocab).expect("a tokenizer")
    };
    PreTokenizer::names().map(of_name).collect()
});

// The first byte chooses the pre-tokenizer; the rest is the text.
fuzz_target!(|data: &[u8]| {
    let Some((choice, data)) = data.split_first() else { return };
    let tokenizer = &TOKENIZERS[usize::from(*choice) % TOKENIZERS.len()];
    let text = String::from_utf8_lossy(data);
    for specials in [Specials::AsText, Specials::Parse] {
        let ids = tokenizer.encode(&text, specials);
        assert_eq!(tokenizer.decode(&ids, true), text.as_bytes());
        if specials == Specials::Parse {
            continue;
        }
        assert!(ids.iter().all(|id| !tokenizer.is_control(*id)));
        let mut stream = StreamDecoder::new();
        let mut streamed: String = ids.iter().map(|id| stream.push(tokenizer, *id)).collect();
        streamed.push_str(&stream.finish());
        assert_eq!(streamed, text);
    }
});
