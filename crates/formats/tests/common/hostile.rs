//! Turns each way to break a GGUF file into its bytes and the error that they must end in.

use myriad_formats::{GgufError, GgufWriter, Value};

use super::{ARRAY, BOOL, I32, Raw, STRING, U32, U64, vocabulary};

/// One broken file.
pub struct Case {
    pub name: &'static str,
    pub bytes: Vec<u8>,
    /// Whether an error is of the right variant.
    pub is: fn(&GgufError) -> bool,
    /// What the message must name: the field, and the value where there is one.
    pub says: &'static [&'static str],
}

macro_rules! case {
    ($name:literal, $file:expr, $pattern:pat, $says:expr) => {
        Case { name: $name, bytes: $file.0, is: |error| matches!(error, $pattern), says: $says }
    };
}

/// Every broken file; those with a sound header have a broken vocabulary.
pub fn cases() -> Vec<Case> {
    let mut all = whole_file();
    all.extend(keys());
    all.extend(strings_and_arrays());
    all.extend(alignments());
    all.extend(tensor_names_and_shapes());
    all.extend(tensor_places());
    all.extend(tables_beyond_memory());
    all.extend(vocabularies());
    all
}

/// Offset, size and shape of nothing in particular: one F32.
fn one(name: &[u8]) -> Raw {
    Raw::new(1, 0).tensor(name, &[1], 0, 0).data(4)
}

fn whole_file() -> Vec<Case> {
    use GgufError::*;
    let start = |version: u32| Raw(b"GGUF".to_vec()).u32(version).u64(0).u64(0);
    vec![
        case!("nothing", Raw(Vec::new()), Truncated { left: 0, .. }, &["the magic", "byte 0"]),
        case!("half a magic", Raw(b"GG".to_vec()), Truncated { .. }, &["the magic"]),
        case!("a zip", Raw(b"PK\x03\x04aaaaaaaa".to_vec()), Magic { .. }, &["`PK", "`GGUF`"]),
        case!("magic of zeros", Raw(vec![0; 64]), Magic { .. }, &["\\0"]),
        case!("magic turned round", Raw(b"FUGG".to_vec()).u32(3), BigEndian, &["big-endian"]),
        case!("no version", Raw(b"GGUF".to_vec()), Truncated { .. }, &["the version", "byte 4"]),
        case!("version 0", start(0), Version { version: 0 }, &["version 0", "2 and 3"]),
        case!("version 1", start(1), Version { version: 1 }, &["version 1", "2 and 3"]),
        case!("version 4", start(4), Version { version: 4 }, &["version 4", "2 and 3"]),
        case!("version 2³¹", start(1 << 31), Version { .. }, &["2147483648"]),
        case!("version turned round", start(3 << 24), BigEndian, &["big-endian"]),
        case!("no counts", Raw(b"GGUF".to_vec()).u32(3), Truncated { .. }, &["number of tensors"]),
        case!("no count of keys", Raw(b"GGUF".to_vec()).u32(3).u64(0), Truncated { .. }, &["keys"]),
        case!("all tensors", Raw::new(u64::MAX, 0), TensorCount { .. }, &["18446744073709551615"]),
        case!("all keys", Raw::new(0, u64::MAX), KeyCount { .. }, &["18446744073709551615"]),
        case!("a key too many", Raw::new(0, 65_537), KeyCount { .. }, &["65537", "65536"]),
        case!("a tensor too many", Raw::new(65_537, 0), TensorCount { .. }, &["65537", "65536"]),
        case!("keys beyond the file", Raw::new(0, 9), CountBeyondFile { .. }, &["9 keys"]),
        case!("tensors beyond the file", Raw::new(9, 0), CountBeyondFile { .. }, &["9 tensors"]),
    ]
}

fn keys() -> Vec<Case> {
    use GgufError::*;
    let file = || Raw::new(0, 1);
    let value = |kind| file().key("some.key", kind).bytes(&[0; 64]);
    let twice = Raw::new(0, 2).key("some.key", U32).u32(1).key("some.key", U32).u32(2);
    vec![
        case!("empty key", file().u64(0).bytes(&[0; 16]), EmptyKey { position: 24 }, &["byte 24"]),
        case!("endless key", file().u64(u64::MAX).bytes(&[0; 16]), KeyLength { .. }, &["65535"]),
        case!("long key", file().u64(65_536).bytes(&[0; 16]), KeyLength { .. }, &["65536"]),
        case!("key beyond", file().u64(999).bytes(&[0; 16]), Truncated { .. }, &["a key", "999"]),
        case!("key of bytes", file().text(b"\xff\xfe").bytes(&[0; 9]), KeyEncoding { .. }, &["24"]),
        case!("key twice", twice, DuplicateKey { .. }, &["`some.key`", "twice"]),
        case!("type 13", value(13), ValueType { id: 13, .. }, &["`some.key`", "13", "0 to 12"]),
        case!("type of bits", value(u32::MAX), ValueType { .. }, &["`some.key`", "4294967295"]),
        case!(
            "value beyond",
            file().key("a.long.enough.key", U64).u32(0),
            Truncated { .. },
            &["a value"]
        ),
        case!("bool of 2", file().key("k", BOOL).bytes(&[2]), Bool { value: 2, .. }, &["`k`", "2"]),
        case!(
            "a key of escapes",
            file().key("\x1b[31m\n", 13).u32(0),
            ValueType { .. },
            &["`\\u{1b}[31m\\n`"]
        ),
    ]
}

fn strings_and_arrays() -> Vec<Case> {
    use GgufError::*;
    let string = || Raw::new(0, 1).key("some.key", STRING);
    let array = |kind: u32| Raw::new(0, 1).key("some.key", ARRAY).u32(kind);
    let nested = array(ARRAY).u64(1).u32(U32).u64(1).u32(7);
    vec![
        case!("endless string", string().u64(u64::MAX), StringLength { .. }, &["`some.key`"]),
        case!("signed length", string().u64(1 << 63), StringLength { .. }, &["`some.key`"]),
        case!("string beyond", string().u64(10).u32(0), StringBeyondFile { .. }, &["10 bytes"]),
        case!(
            "string of bytes",
            string().text(b"\xc3\x28"),
            StringEncoding { .. },
            &["`some.key`"]
        ),
        case!("array of arrays", nested, NestedArray { .. }, &["`some.key`"]),
        case!("array of type 13", array(13).u64(1), ValueType { id: 13, .. }, &["`some.key`"]),
        case!("endless array", array(U32).u64(u64::MAX), ArrayLength { .. }, &["`some.key`"]),
        case!("array whose bytes wrap", array(U32).u64(1 << 62), ArrayLength { .. }, &["46116860"]),
        case!("array beyond", array(U64).u64(2).u64(0), ArrayBeyondFile { .. }, &["2 elements"]),
        case!(
            "many strings in few bytes",
            array(STRING).u64(1 << 24).bytes(&[0; 64]),
            ArrayBeyondFile { max: 8, .. },
            &["`some.key`", "16777216"]
        ),
        case!(
            "string of an array beyond",
            array(STRING).u64(2).text(b"a").u64(77),
            StringBeyondFile { index: Some(1), .. },
            &["`some.key` at 1", "77"]
        ),
        case!(
            "string of an array endless",
            array(STRING).u64(1).u64(u64::MAX),
            StringLength { index: Some(0), .. },
            &["`some.key` at 0"]
        ),
        case!(
            "string of an array of bytes",
            array(STRING).u64(2).text(b"a").text(b"\x80"),
            StringEncoding { index: Some(1), .. },
            &["`some.key` at 1"]
        ),
        case!(
            "bool of an array of 255",
            array(BOOL).u64(2).bytes(&[1, 255]),
            Bool { index: Some(1), value: 255, .. },
            &["`some.key` at 1", "255"]
        ),
    ]
}

fn alignments() -> Vec<Case> {
    use GgufError::*;
    let of = |kind| Raw::new(0, 1).key("general.alignment", kind);
    const KEY: &str = "`general.alignment`";
    vec![
        case!("alignment 0", of(U32).u32(0), Alignment { value: 0 }, &[KEY, "power of two"]),
        case!("alignment 3", of(U32).u32(3), Alignment { value: 3 }, &[KEY, "power of two"]),
        case!("alignment of bits", of(U32).u32(u32::MAX), Alignment { .. }, &[KEY, "4294967295"]),
        case!("alignment -1", of(I32).u32(u32::MAX), NumberRange { value: -1, .. }, &[KEY, "-1"]),
        case!("alignment 2⁶³", of(U64).u64(1 << 63), NumberRange { .. }, &[KEY, "92233720"]),
        case!("alignment of text", of(STRING).text(b"32"), WrongType { .. }, &[KEY, "string"]),
        case!(
            "alignment that rounds the data out of the file",
            Raw::new(1, 1)
                .key("general.alignment", U32)
                .u32(1 << 31)
                .tensor(b"t", &[1], 0, 0)
                .data(4),
            TensorBeyondFile { left: 0, .. },
            &["`t`"]
        ),
    ]
}

fn tensor_names_and_shapes() -> Vec<Case> {
    use GgufError::*;
    let shaped = |shape: &[u64]| Raw::new(1, 0).tensor(b"some.weight", shape, 0, 0).data(64);
    let kind = |kind: u32| Raw::new(1, 0).tensor(b"some.weight", &[32], kind, 0).data(256);
    let twice = Raw::new(2, 0).tensor(b"t", &[1], 0, 0).tensor(b"t", &[1], 0, 32).data(64);
    const NAME: &str = "`some.weight`";
    const HALF: u64 = 1 << 32;
    const MAX: u64 = i64::MAX as u64;
    vec![
        case!("no name", one(b""), EmptyTensorName { index: 0 }, &["tensor 0", "1 to 63"]),
        case!("name of 64", one(&[b'a'; 64]), TensorNameLength { length: 64, .. }, &["64", "63"]),
        case!(
            "endless name",
            Raw::new(1, 0).u64(u64::MAX).bytes(&[0; 64]),
            TensorNameLength { index: 0, .. },
            &["tensor 0"]
        ),
        case!("name of bytes", one(b"\xff"), TensorNameEncoding { index: 0 }, &["tensor 0"]),
        case!("name twice", twice, DuplicateTensor { .. }, &["`t`", "twice"]),
        case!("no dimensions", shaped(&[]), DimensionCount { count: 0, .. }, &[NAME, "1 to 4"]),
        case!("five dimensions", shaped(&[1; 5]), DimensionCount { count: 5, .. }, &[NAME, "5"]),
        case!(
            "all dimensions",
            Raw::new(1, 0).text(b"some.weight").u32(u32::MAX).bytes(&[0; 64]),
            DimensionCount { .. },
            &[NAME, "4294967295"]
        ),
        case!("a size of 0", shaped(&[4, 0]), ZeroDimension { dimension: 1, .. }, &[NAME, "1"]),
        case!("sizes that wrap", shaped(&[HALF, HALF]), TensorSize { .. }, &[NAME, "4294967296"]),
        case!("sizes that wrap to 4", shaped(&[4, HALF, HALF]), TensorSize { .. }, &[NAME]),
        case!("twice the largest", shaped(&[MAX, 2]), TensorSize { .. }, &[NAME]),
        case!("a size below 0", shaped(&[u64::MAX]), TensorSize { .. }, &[NAME]),
        case!("bytes that wrap", shaped(&[1 << 62]), TensorSize { .. }, &[NAME]),
        case!("unknown type", kind(43), UnknownType { id: 43, .. }, &[NAME, "43", "Q4_K"]),
        case!("type of bits", kind(u32::MAX), UnknownType { .. }, &[NAME, "4294967295"]),
        case!("removed type", kind(4), RemovedType { name: "Q4_2", .. }, &[NAME, "Q4_2"]),
        case!("unsupported type", kind(16), UnsupportedType { .. }, &[NAME, "IQ2_XXS", "Q4_K"]),
        case!("half a block", kind(12), RowBlocks { columns: 32, .. }, &[NAME, "Q4_K", "256"]),
    ]
}

fn tensor_places() -> Vec<Case> {
    use GgufError::*;
    let at = |offset: u64| Raw::new(1, 0).tensor(b"some.weight", &[8], 0, offset).data(64);
    let two = |second: u64| {
        Raw::new(2, 0).tensor(b"first", &[16], 0, 0).tensor(b"second", &[8], 0, second).data(96)
    };
    let huge = || {
        let entry = Raw::new(2, 0).tensor(b"some.weight", &[1 << 60], 0, 0);
        entry.tensor(b"other.weight", &[1 << 60], 0, 1 << 62).data(64)
    };
    const NAME: &str = "`some.weight`";
    vec![
        case!("odd offset", at(1), OffsetAlignment { offset: 1, .. }, &[NAME, "1", "32"]),
        case!("offset beyond", at(64), TensorBeyondFile { offset: 64, left: 64, .. }, &[NAME]),
        case!(
            "one byte beyond",
            Raw(at(32).0[..].split_last().unwrap().1.to_vec()),
            TensorBeyondFile { offset: 32, left: 63, .. },
            &[NAME]
        ),
        case!("offset that wraps", at(u64::MAX - 31), TensorBeyondFile { .. }, &[NAME]),
        case!("offset below 0", at(1 << 63), TensorBeyondFile { .. }, &[NAME]),
        case!("sizes whose sum wraps", huge(), TensorBeyondFile { .. }, &[NAME]),
        case!("same place", two(0), Overlap { offset: 0, .. }, &["`first`", "`second`"]),
        case!("half in another", two(32), Overlap { offset: 32, .. }, &["`first`", "`second`"]),
        case!(
            "no data",
            Raw::new(1, 0).tensor(b"some.weight", &[8], 0, 0),
            TensorBeyondFile { left: 0, .. },
            &[NAME, "32"]
        ),
    ]
}

/// Entries that take more memory than bytes in the file, as many as the limits allow.
fn tables_beyond_memory() -> Vec<Case> {
    const MANY: u64 = 65_536;
    let keys = (0..MANY).fold(Raw::new(0, MANY), |file, index| {
        file.text(&index.to_le_bytes()[..3]).u32(0).bytes(&[1])
    });
    let tensors = (0..MANY).fold(Raw::new(MANY, 0), |file, index| {
        file.tensor(format!("{index:x}").as_bytes(), &[1], 0, index * 32)
    });
    vec![
        case!("a table of tiny keys", keys, GgufError::Memory { .. }, &["the table of keys"]),
        case!("a table of tiny tensors", tensors, GgufError::Memory { .. }, &["table of tensors"]),
    ]
}

/// A sound vocabulary after one change.
fn changed(change: impl FnOnce(&mut GgufWriter<'_>)) -> Raw {
    let mut file = GgufWriter::new();
    vocabulary(&mut file);
    change(&mut file);
    Raw(file.to_bytes())
}

fn vocabularies() -> Vec<Case> {
    use GgufError::*;
    let without = |key: &str| {
        let mut file = GgufWriter::new();
        for (name, value) in parts().iter().filter(|(name, _)| name != key) {
            file.set(name, value.clone());
        }
        Raw(file.to_bytes())
    };
    const MODEL: &str = "tokenizer.ggml.model";
    const TOKENS: &str = "tokenizer.ggml.tokens";
    const MERGES: &str = "tokenizer.ggml.merges";
    const SCORES: &str = "tokenizer.ggml.scores";
    const TEMPLATE: &str = "tokenizer.chat_template";
    let mut all = vec![
        case!("no algorithm", without(MODEL), MissingKey { .. }, &[MODEL]),
        case!("no tokens", without(TOKENS), MissingKey { .. }, &[TOKENS]),
        case!("no merges", without(MERGES), MissingKey { .. }, &[MERGES]),
        case!(
            "an empty list of tokens",
            changed(|file| file.set(TOKENS, Vec::<String>::new())),
            TokenCount { count: 0, .. },
            &[TOKENS, "0"]
        ),
        case!(
            "tokens that are numbers",
            changed(|file| file.set(TOKENS, vec![1u32, 2])),
            WrongType { .. },
            &[TOKENS, "2 u32", "strings"]
        ),
        case!(
            "too few scores",
            changed(|file| file.set(SCORES, vec![0.5f32; 3])),
            TokenList { found: 3, tokens: 5, .. },
            &[SCORES, "3", "5"]
        ),
        case!(
            "a template that is a number",
            changed(|file| file.set(TEMPLATE, 1u32)),
            WrongType { .. },
            &[TEMPLATE]
        ),
    ];
    all.extend(token_types());
    all.extend(token_ids());
    all
}

fn token_types() -> Vec<Case> {
    use GgufError::*;
    let types = |types: Vec<i32>| changed(|file| file.set("tokenizer.ggml.token_type", types));
    let byte = |text: &str| {
        let tokens = ["<|end|>", "a", "b", "ab", text].map(String::from).to_vec();
        changed(|file| file.set("tokenizer.ggml.tokens", tokens))
    };
    const TYPES: &str = "`tokenizer.ggml.token_type`";
    vec![
        case!("too few types", types(vec![1; 4]), TokenList { found: 4, .. }, &[TYPES, "4", "5"]),
        case!("too many types", types(vec![1; 6]), TokenList { found: 6, .. }, &[TYPES, "6", "5"]),
        case!(
            "type 0",
            types(vec![1, 0, 1, 1, 1]),
            TokenTypeRange { id: 1, .. },
            &[TYPES, "1 to 6"]
        ),
        case!("type 7", types(vec![7, 1, 1, 1, 1]), TokenTypeRange { value: 7, .. }, &[TYPES, "7"]),
        case!("type -1", types(vec![-1, 1, 1, 1, 1]), NumberRange { .. }, &[TYPES, "-1"]),
        case!("byte -1", byte("<0x-1>"), ByteToken { id: 4, .. }, &["token 4", "`<0x-1>`"]),
        case!("byte ZZ", byte("<0xZZ>"), ByteToken { id: 4, .. }, &["token 4", "`<0xZZ>`"]),
        case!("byte 100", byte("<0x100>"), ByteToken { id: 4, .. }, &["token 4", "`<0x100>`"]),
        case!("byte of é", byte("<0xé>"), ByteToken { id: 4, .. }, &["token 4"]),
    ]
}

fn token_ids() -> Vec<Case> {
    use GgufError::*;
    let id = |key: &str, value: Value| {
        changed(|file| file.set(&format!("tokenizer.ggml.{key}_token_id"), value))
    };
    vec![
        case!("bos beyond", id("bos", 5u32.into()), TokenId { id: 5, .. }, &["bos_token_id", "5"]),
        case!("eos beyond", id("eos", u32::MAX.into()), TokenId { .. }, &["eos_token_id"]),
        case!("eot beyond", id("eot", 9u64.into()), TokenId { id: 9, .. }, &["eot_token_id"]),
        case!("unknown beyond", id("unknown", 9u8.into()), TokenId { .. }, &["unknown_token_id"]),
        case!("padding beyond", id("padding", 5i32.into()), TokenId { .. }, &["padding_token_id"]),
        case!("fim beyond", id("fim_mid", 5u32.into()), TokenId { .. }, &["fim_mid_token_id"]),
        case!("bos -1", id("bos", (-1i32).into()), NumberRange { .. }, &["bos_token_id", "-1"]),
        case!("bos 2⁴⁰", id("bos", (1u64 << 40).into()), NumberRange { .. }, &["bos_token_id"]),
        case!("bos of text", id("bos", "1".into()), WrongType { .. }, &["bos_token_id", "string"]),
    ]
}

/// The keys of a sound vocabulary.
fn parts() -> Vec<(String, Value)> {
    let mut file = GgufWriter::new();
    vocabulary(&mut file);
    let read = myriad_formats::Gguf::from_bytes(file.to_bytes()).expect("a sound file");
    read.metadata().iter().map(|(key, value)| (key.to_owned(), value.clone())).collect()
}
