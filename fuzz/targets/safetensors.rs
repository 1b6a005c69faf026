//! Turns arbitrary bytes into safetensors, settings and a vocabulary of a model folder, or errors.
#![no_main]

use libfuzzer_sys::fuzz_target;
use myriad_formats::{Fp8Weights, JsonFile, Safetensors, TensorSource, TokenizerFiles};
use myriad_token::Tokenizer;

fuzz_target!(|data: &[u8]| {
    match data.first() {
        // A file of weights with this first byte would have a header of 123 bytes, or 379, …
        Some(b'{') => json(data),
        _ => weights(data),
    }
});

fn weights(data: &[u8]) {
    let Ok(file) = Safetensors::from_bytes("fuzz", data.to_vec()) else { return };
    let mut covered = 0;
    for view in file.tensor_views() {
        assert_eq!(file.find_tensor(view.name), Some(view));
        assert_eq!(view.rows() * view.row_bytes(), view.bytes.len());
        covered += view.bytes.len() as u64;
        let mut values = vec![0.0; view.elements()];
        let _ = view.dequantise_rows(0..view.rows(), &mut values);
        if let Ok(scaled) = Fp8Weights::find(&file, view) {
            scaled.dequantise_rows(0..scaled.rows(), &mut values);
        }
    }
    assert!(covered < file.file_bytes());
}

fn json(data: &[u8]) {
    let settings = JsonFile::from_bytes("fuzz", data).ok();
    let files = TokenizerFiles {
        tokenizer: data,
        tokenizer_config: settings.clone(),
        special_tokens_map: None,
        generation_config: None,
        config: settings,
        chat_template: None,
    };
    let Ok(vocab) = files.vocab() else { return };
    assert_eq!(vocab.tokens.len(), vocab.token_types.len());
    assert!(vocab.ends.iter().chain(&vocab.eos).all(|id| (*id as usize) < vocab.tokens.len()));
    let _ = Tokenizer::new(&vocab);
}
