//! Turns arbitrary bytes into a parsed model file, a vocabulary and a configuration, or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use myriad_formats::Gguf;
use myriad_model::Config;
use myriad_token::{ChatTemplate, Tokenizer};

fuzz_target!(|data: &[u8]| {
    let Ok(file) = Gguf::from_bytes(data.to_vec()) else { return };
    for tensor in file.tensors() {
        assert_eq!(file.data(tensor).len(), tensor.bytes());
    }
    let _ = Config::read(&file);
    let Ok(vocab) = file.vocab() else { return };
    let Ok(tokenizer) = Tokenizer::new(&vocab) else { return };
    if let Some(template) = &vocab.chat_template {
        let _ = ChatTemplate::new(template, &tokenizer);
    }
});
