//! Turns arbitrary bytes into a parsed model file, a vocabulary and a configuration, or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use myriad_formats::Gguf;

fuzz_target!(|data: &[u8]| {
    let Ok(file) = Gguf::from_bytes(data.to_vec()) else { return };
    for tensor in file.tensors() {
        assert_eq!(file.data(tensor).len(), tensor.bytes());
    }
    let _ = file.vocab();
    let _ = myriad_model::Config::from_gguf(&file);
});
