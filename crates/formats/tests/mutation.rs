//! Holds the reader to its word on files with random harm: an error or a sound file, never a panic.

mod common;

use common::{Random, harm, sound};
use myriad_formats::Gguf;

/// Rounds of harm; about a second.
const SEEDS: u64 = 60_000;

#[test]
fn random_harm_ends_in_an_error_or_a_sound_file() {
    let whole = sound().to_bytes();
    let mut accepted = 0;
    for seed in 0..SEEDS {
        let mut random = Random(seed);
        let mut bytes = whole.clone();
        for _ in 0..1 + random.below(4) {
            harm(&mut bytes, &mut random);
        }
        let result = std::panic::catch_unwind(|| use_all(bytes));
        match result {
            Ok(sound) => accepted += u64::from(sound),
            Err(_) => panic!("seed {seed}: a panic"),
        }
    }
    println!("{accepted} of {SEEDS} harmed files are sound");
    // Else the harm would be too coarse to get far into the reader.
    assert!(accepted > SEEDS / 100, "only {accepted} of {SEEDS} were accepted");
}

/// Reads a file and touches everything that it promises; whether it was sound.
fn use_all(bytes: Vec<u8>) -> bool {
    let Ok(file) = Gguf::from_bytes(bytes) else { return false };
    for tensor in file.tensors() {
        assert_eq!(file.data(tensor).len(), tensor.bytes());
        assert_eq!(file.tensor(&tensor.name), Some(tensor));
        assert_eq!(tensor.rows() * tensor.columns(), tensor.elements());
    }
    for (key, value) in file.metadata().iter() {
        assert!(file.metadata().get(key).is_some_and(|found| std::ptr::eq(found, value)));
    }
    let _ = file.vocab();
    let _ = (file.kind_summary(), format!("{file:?}"));
    true
}
