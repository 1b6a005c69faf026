//! Turns single fields into the bytes of a GGUF file, sound or broken, and a seed into numbers.
#![allow(dead_code)] // each test file uses some of it

pub mod hostile;
pub mod safetensors;
pub mod tokenizer;

use myriad_formats::{GgufWriter, Value};
use myriad_kernels::BlockType;

/// Value types as the format numbers them.
pub const U32: u32 = 4;
pub const I32: u32 = 5;
pub const BOOL: u32 = 7;
pub const STRING: u32 = 8;
pub const ARRAY: u32 = 9;
pub const U64: u32 = 10;

/// A file put together field by field, with no care for what is right.
#[derive(Clone)]
pub struct Raw(pub Vec<u8>);

impl Raw {
    /// Version 3, and how many tensors and keys the file claims to have.
    pub fn new(tensors: u64, keys: u64) -> Raw {
        Raw(b"GGUF".to_vec()).u32(3).u64(tensors).u64(keys)
    }

    pub fn bytes(mut self, bytes: &[u8]) -> Raw {
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn u32(self, number: u32) -> Raw {
        self.bytes(&number.to_le_bytes())
    }

    pub fn u64(self, number: u64) -> Raw {
        self.bytes(&number.to_le_bytes())
    }

    /// A length and as many bytes.
    pub fn text(self, text: &[u8]) -> Raw {
        self.u64(text.len() as u64).bytes(text)
    }

    /// A key and the type of its value.
    pub fn key(self, key: &str, kind: u32) -> Raw {
        self.text(key.as_bytes()).u32(kind)
    }

    /// A tensor's entry; its data is not there yet.
    pub fn tensor(self, name: &[u8], shape: &[u64], kind: u32, offset: u64) -> Raw {
        let entry = self.text(name).u32(shape.len() as u32);
        shape.iter().fold(entry, |entry, &size| entry.u64(size)).u32(kind).u64(offset)
    }

    /// Zeros up to a multiple of 32, then `length` bytes of data.
    pub fn data(mut self, length: usize) -> Raw {
        self.0.resize(self.0.len().next_multiple_of(32), 0);
        self.bytes(&vec![0; length])
    }
}

/// A sound file: a value of each type, three tensors.
pub fn sound() -> GgufWriter<'static> {
    let mut file = GgufWriter::new();
    file.set("general.architecture", "llama");
    file.set("a.u8", 8u8);
    file.set("a.i8", -8i8);
    file.set("a.u16", 16u16);
    file.set("a.i16", -16i16);
    file.set("a.u32", 32u32);
    file.set("a.i32", -32i32);
    file.set("a.u64", u64::MAX);
    file.set("a.i64", i64::MIN);
    file.set("a.f32", 0.5f32);
    file.set("a.f64", -0.25f64);
    file.set("a.bool", true);
    file.set("a.string", "text, é, 你好");
    file.set("b.u8", vec![1u8, 2]);
    file.set("b.i8", vec![-1i8]);
    file.set("b.u16", vec![1u16, 2, 3]);
    file.set("b.i16", vec![-1i16]);
    file.set("b.u32", vec![1u32, u32::MAX]);
    file.set("b.i32", Vec::<i32>::new());
    file.set("b.u64", vec![u64::MAX]);
    file.set("b.i64", vec![i64::MIN, 0]);
    file.set("b.f32", vec![1.5f32, f32::INFINITY]);
    file.set("b.f64", vec![2.5f64]);
    file.set("b.bool", vec![true, false, true]);
    file.set("b.string", ["", "a", "é"].map(String::from).to_vec());
    vocabulary(&mut file);
    file.tensor("first", BlockType::F32, &[3, 2], vec![7; 24]);
    file.tensor("second", BlockType::Q8_0, &[32, 1, 2], vec![9; 68]);
    file.tensor("third", BlockType::F16, &[1], vec![1, 2]);
    file
}

/// A small vocabulary that a format can find nothing wrong with.
pub fn vocabulary(file: &mut GgufWriter<'_>) {
    let texts = |list: &[&str]| Value::from(list.iter().map(|t| t.to_string()).collect::<Vec<_>>());
    file.set("tokenizer.ggml.model", "gpt2");
    file.set("tokenizer.ggml.tokens", texts(&["<|end|>", "a", "b", "ab", "<0x0A>"]));
    file.set("tokenizer.ggml.token_type", vec![3i32, 1, 1, 1, 6]);
    file.set("tokenizer.ggml.merges", texts(&["a b"]));
    file.set("tokenizer.ggml.eos_token_id", 0u32);
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
}

/// One change: a bit, a byte, a number of the kind that sizes are, a cut, a piece twice.
pub fn harm(bytes: &mut Vec<u8>, random: &mut Random) {
    const NUMBERS: [u64; 10] =
        [0, 1, 31, 32, 255, 1 << 16, 1 << 31, 1 << 32, i64::MAX as u64, u64::MAX];
    if bytes.is_empty() {
        return;
    }
    let at = random.below(bytes.len());
    match random.below(6) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = random.next() as u8,
        2 | 3 => {
            let width = [4, 8][random.below(2)];
            let number = NUMBERS[random.below(NUMBERS.len())].to_le_bytes();
            for (byte, new) in bytes[at..].iter_mut().zip(&number[..width]) {
                *byte = *new;
            }
        }
        4 if random.below(4) == 0 => bytes.truncate(at),
        _ => {
            let end = bytes.len().min(at + 1 + random.below(24));
            let piece = bytes[at..end].to_vec();
            let to = random.below(bytes.len());
            for (byte, new) in bytes[to..].iter_mut().zip(piece) {
                *byte = new;
            }
        }
    }
}
