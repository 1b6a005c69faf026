//! Measures what parsing allocates: never more than the file has bytes, and a little.
//!
//! A counting allocator needs `unsafe`; it stands in this test binary alone and forwards to the
//! system's.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use common::hostile::cases;
use common::{ARRAY, Raw, STRING, sound};
use myriad_formats::limits::{JSON_VALUES_MAX, PARSING_SLACK_BYTES};
use myriad_formats::{Gguf, GgufWriter, JsonFile, Safetensors};

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    /// Bytes held by this thread's allocations since [`peak_of`] began, and the most of them.
    static HELD: Cell<i64> = const { Cell::new(0) };
    static PEAK: Cell<i64> = const { Cell::new(0) };
}

fn count(bytes: i64) {
    let held = HELD.get() + bytes;
    HELD.set(held);
    PEAK.set(PEAK.get().max(held));
}

// SAFETY: every call goes to the system's allocator unchanged; the counting neither allocates nor
// unwinds (thread-local cells with constant beginnings).
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as i64 - layout.size() as i64);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// The result of `run`, and the most bytes that it held at any moment.
fn peak_of<T>(run: impl FnOnce() -> T) -> (T, u64) {
    HELD.set(0);
    PEAK.set(0);
    let result = run();
    (result, PEAK.get() as u64)
}

#[test]
fn the_measure_measures() {
    let (kept, peak) = peak_of(|| {
        drop(vec![1u8; 5000]);
        vec![2u8; 3000]
    });
    assert_eq!((kept.len(), peak), (3000, 5000));
}

#[test]
fn parsing_a_broken_file_takes_no_more_than_its_size() {
    for case in cases() {
        let (bytes, size) = (case.bytes.clone(), case.bytes.len() as u64);
        let (result, peak) = peak_of(|| Gguf::from_bytes(bytes).map(|_| ()));
        let max = size + PARSING_SLACK_BYTES;
        assert!(peak <= max, "{}: {peak} bytes for a file of {size}: {result:?}", case.name);
    }
}

#[test]
fn parsing_a_sound_file_takes_no_more_than_its_size() {
    let many_strings = Raw::new(0, 1).key("k", ARRAY).u32(STRING).u64(1 << 20);
    let many_strings = many_strings.bytes(&vec![0; 8 << 20]).0;
    let numbers = {
        let mut file = GgufWriter::new();
        (0..20).for_each(|index| file.set(&format!("key {index}"), vec![index as u8; 100_000]));
        file.to_bytes()
    };
    // As many tensors as the booked memory allows: each entry takes more memory than bytes.
    let tensors = (0..500u64).fold(Raw::new(500, 0), |file, index| {
        file.tensor(format!("{index}").as_bytes(), &[1], 0, index * 32)
    });
    let tensors = tensors.data(500 * 32).0;
    for bytes in [sound().to_bytes(), many_strings, numbers, tensors] {
        let size = bytes.len() as u64;
        let (file, peak) = peak_of(|| Gguf::from_bytes(bytes).expect("a sound file"));
        println!("{file:?}: {peak} bytes");
        assert!(peak <= size + PARSING_SLACK_BYTES, "{file:?}: {peak} bytes");
    }
}

/// The vocabulary is a copy that tokenizers index: in proportion to the file, whatever is in it.
#[test]
fn a_vocabulary_takes_a_few_times_its_size() {
    const TOKENS: u64 = 1 << 18;
    let empty = || vec![0; 8 * TOKENS as usize];
    let strings = |file: Raw, key| file.key(key, ARRAY).u32(STRING).u64(TOKENS).bytes(&empty());
    let file = Raw::new(0, 3).key("tokenizer.ggml.model", STRING).text(b"gpt2");
    let file = strings(strings(file, "tokenizer.ggml.tokens"), "tokenizer.ggml.merges");
    let size = file.0.len() as u64;
    let file = Gguf::from_bytes(file.0).expect("a sound file");
    let (vocab, peak) = peak_of(|| file.vocab().expect("a vocabulary"));
    assert_eq!(vocab.tokens.len() as u64, TOKENS);
    assert!(peak <= 4 * size, "{peak} bytes for a vocabulary of {size}");
}

/// A description takes at least forty bytes of header, and less than four times that in memory.
#[test]
fn parsing_safetensors_takes_a_few_times_the_header() {
    let shapes = |count: usize| {
        let shape = ["1"; 8].join(",");
        let entry = |i| format!(r#""{i}":{{"dtype":"U8","shape":[{shape}],"data_offsets":[{i},"#);
        let entries: Vec<_> = (0..count).map(|i| format!("{}{}]}}", entry(i), i + 1)).collect();
        common::safetensors::file(&format!("{{{}}}", entries.join(",")), count)
    };
    let scalars = |count: usize| {
        let entry = |i| format!(r#""{i}":{{"dtype":"U8","shape":[],"data_offsets":[{i},"#);
        let entries: Vec<_> = (0..count).map(|i| format!("{}{}]}}", entry(i), i + 1)).collect();
        common::safetensors::file(&format!("{{{}}}", entries.join(",")), count)
    };
    let long_list = format!(r#"{{"a":{{"shape":[{}]}}}}"#, vec!["0"; 1 << 20].join(","));
    let nested = format!(r#"{{"a":[{}]}}"#, vec!["[0]"; 1 << 20].join(","));
    let pairs = format!(r#"{{"__metadata__":{{{}}}}}"#, vec![r#""":"""#; 1 << 20].join(","));
    let fields = format!(r#"{{"a":{{{}}}}}"#, vec![r#""shape":[]"#; 1 << 18].join(","));
    let others = [long_list, nested, pairs, fields];
    let others = others.map(|header| common::safetensors::file(&header, 0));
    let broken = common::safetensors::cases().into_iter().map(|case| case.bytes);
    for bytes in [shapes(20_000), scalars(100_000)].into_iter().chain(others).chain(broken) {
        let size = bytes.len() as u64;
        let (result, peak) = peak_of(|| Safetensors::from_bytes("x", bytes));
        // Pairs of metadata may take ten times their bytes, but there are few.
        let max = 4 * size + (2 << 20);
        assert!(peak <= max, "{peak} bytes for a file of {size}: {result:?}");
    }
}

/// A tree of JSON takes most for what is shortest; how many values there may be is limited.
#[test]
fn settings_take_a_few_megabytes_at_most() {
    let lists = format!(r#"{{"a":[{}]}}"#, vec!["[]"; JSON_VALUES_MAX - 2].join(","));
    let numbers = format!(r#"{{"a":[{}]}}"#, vec!["0"; JSON_VALUES_MAX].join(","));
    let pairs: Vec<String> = (0..JSON_VALUES_MAX - 1).map(|key| format!("\"{key}\":0")).collect();
    let pairs = format!("{{{}}}", pairs.join(","));
    for text in [lists, numbers, pairs] {
        let (result, peak) = peak_of(|| JsonFile::from_bytes("x", text.as_bytes()));
        let what = result.map(|_| ()).map_err(|error| error.to_string());
        // 48 bytes and a key's text for each value, in a vector that doubles.
        assert!(peak <= 96 << 20, "{peak} bytes for {}: {what:?}", text.len());
    }
}

/// The largest vocabulary in use has 33 MB; the shortest tokens take most for their length.
#[test]
fn a_tokenizer_takes_some_times_its_size() {
    const TOKENS: usize = 1 << 18;
    let vocab: Vec<String> = (0..TOKENS).map(|id| format!("\"{id}\":{id}")).collect();
    let merges = vec!["\"1 2\""; 2 * TOKENS].join(",");
    let text = format!(
        r#"{{"pre_tokenizer":{{"type":"ByteLevel","add_prefix_space":false}},
            "model":{{"vocab":{{{}}},"merges":[{merges}]}}}}"#,
        vocab.join(",")
    );
    let files = common::tokenizer::files(text.as_bytes());
    let (vocab, peak) = peak_of(|| files.vocab().expect("a vocabulary"));
    assert_eq!((vocab.tokens.len(), vocab.merges.len()), (TOKENS, 2 * TOKENS));
    println!("{peak} bytes for {}", text.len());
    assert!(peak <= 12 * text.len() as u64, "{peak} bytes for {}", text.len());
}
