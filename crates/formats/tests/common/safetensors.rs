//! Turns each way to break a safetensors file into its bytes and the error that it must end in.

use myriad_formats::{SafetensorsFault, SafetensorsWriter, TensorKind};
use myriad_kernels::BlockType;

/// One broken file.
pub struct Case {
    pub name: &'static str,
    pub bytes: Vec<u8>,
    /// Whether a fault is of the right variant.
    pub is: fn(&SafetensorsFault) -> bool,
    /// What the message must name: the tensor or place, and the value where there is one.
    pub says: &'static [&'static str],
}

/// A file of that header and so many bytes of data.
pub fn file(header: &str, data: usize) -> Vec<u8> {
    raw(header.len() as u64, header.as_bytes(), data)
}

fn raw(length: u64, header: &[u8], data: usize) -> Vec<u8> {
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend_from_slice(header);
    bytes.resize(bytes.len() + data, 0);
    bytes
}

const TENSORS: [(&str, TensorKind, &[usize]); 8] = [
    ("half", TensorKind::Blocks(BlockType::F16), &[5]),
    ("float", TensorKind::Blocks(BlockType::F32), &[3, 2]),
    ("brain", TensorKind::Blocks(BlockType::BF16), &[1, 2, 3]),
    ("fp8", TensorKind::F8E4M3, &[7, 3]),
    ("bytes", TensorKind::U8, &[2, 2, 2, 2]),
    ("signed", TensorKind::I8, &[]),
    ("whole", TensorKind::I32, &[2]),
    ("long", TensorKind::I64, &[1]),
];

/// A sound file of every kind, described.
pub fn writer() -> SafetensorsWriter {
    let mut file = SafetensorsWriter::new();
    file.metadata("quote", "\" \\ \n é");
    file.metadata("format", "pt");
    for (name, kind, shape) in TENSORS {
        file.tensor(name, kind, shape).expect("a sound tensor");
    }
    file
}

/// How many bytes a tensor of the sound file has.
pub fn bytes_of(name: &str) -> usize {
    let (_, kind, shape) =
        TENSORS.into_iter().find(|(known, ..)| *known == name).expect("a tensor of the file");
    kind.row_bytes(shape.iter().product()).expect("blocks of one element")
}

/// A sound file of every kind.
pub fn sound() -> Vec<u8> {
    let mut out = Vec::new();
    let written =
        writer().write_to(&mut out, |name, sink| sink.write_all(&vec![9; bytes_of(name)]));
    written.expect("written to memory");
    out
}

macro_rules! case {
    ($name:literal, $bytes:expr, $pattern:pat, $says:expr) => {
        Case { name: $name, bytes: $bytes, is: |fault| matches!(fault, $pattern), says: $says }
    };
}

/// Every broken file.
pub fn cases() -> Vec<Case> {
    let mut all = headers();
    all.extend(metadata());
    all.extend(descriptions());
    all.extend(shapes());
    all.extend(places());
    all
}

fn headers() -> Vec<Case> {
    use SafetensorsFault::*;
    let deep = format!("{{\"a\":{}", "[".repeat(100_000));
    let zip = raw(u64::from_le_bytes(*b"PK\x03\x04\0\0\0\0"), &[0; 64], 0);
    vec![
        case!("nothing", Vec::new(), TooShort { bytes: 0 }, &["0 bytes"]),
        case!("half a length", vec![2, 0, 0, 0], TooShort { bytes: 4 }, &["4 bytes"]),
        case!("empty header", raw(0, b"", 8), HeaderStart { .. }, &["`{`"]),
        case!(
            "endless header",
            raw(u64::MAX, b"{}", 0),
            HeaderSize { .. },
            &["18446744073709551615"]
        ),
        case!("large header", raw(100_000_001, b"{}", 0), HeaderSize { .. }, &["100000000"]),
        case!("header beyond", raw(3, b"{}", 0), HeaderBeyondFile { .. }, &["3 bytes", "has 2"]),
        case!("a zip", zip, HeaderBeyondFile { .. }, &["67324752"]),
        case!("spaces first", file("  {}", 0), HeaderStart { .. }, &["`  {}`"]),
        case!("a list", file("[]", 0), HeaderStart { .. }, &["`[]`"]),
        case!("bytes", raw(3, b"{\xff}", 0), HeaderEncoding { position: 9 }, &["byte 9"]),
        case!("no end", file("{\"a\":", 0), HeaderSyntax { .. }, &["line 1"]),
        case!("two objects", file("{}{}", 0), HeaderSyntax { .. }, &["trailing"]),
        case!("zeros behind", file("{}\0\0", 0), HeaderSyntax { .. }, &["trailing"]),
        case!("half a character", file(r#"{"\ud800":1}"#, 0), HeaderSyntax { .. }, &["line 1"]),
        case!("not a number", file(r#"{"a":NaN}"#, 0), HeaderSyntax { .. }, &["line 1"]),
        case!("deep", file(&deep, 0), HeaderSyntax { .. }, &["recursion"]),
    ]
}

fn metadata() -> Vec<Case> {
    use SafetensorsFault::*;
    let with = |value: &str| file(&format!("{{\"__metadata__\":{value}}}"), 0);
    let pairs: Vec<String> = (0..16_385).map(|index| format!("\"{index}\":\"\"")).collect();
    let many = with(&format!("{{{}}}", pairs.join(",")));
    let twice = file(r#"{"__metadata__":{},"__metadata__":{}}"#, 0);
    vec![
        case!("metadata of text", with("\"x\""), MetadataType { .. }, &["a string"]),
        case!("metadata of lists", with("[]"), MetadataType { .. }, &["list"]),
        case!("metadata twice", twice, MetadataTwice, &["`__metadata__`", "twice"]),
        case!("a number in it", with(r#"{"k":1}"#), MetadataValue { .. }, &["`k`", "number"]),
        case!("null in it", with(r#"{"k":null}"#), MetadataValue { .. }, &["`k`", "null"]),
        case!("an object in it", with(r#"{"k":{}}"#), MetadataValue { .. }, &["`k`", "object"]),
        case!("a key twice", with(r#"{"k":"","k":""}"#), MetadataKeyTwice { .. }, &["`k`"]),
        case!("metadata bloat", many, MetadataCount { .. }, &["16384"]),
    ]
}

/// One tensor `t` of that description.
fn one(description: &str, data: usize) -> Vec<u8> {
    file(&format!("{{\"t\":{description}}}"), data)
}

fn descriptions() -> Vec<Case> {
    use SafetensorsFault::*;
    let described =
        |dtype: &str| one(&format!(r#"{{"dtype":{dtype},"shape":[1],"data_offsets":[0,4]}}"#), 4);
    let good = r#"{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;
    let twice = file(&format!("{{\"t\":{good},\"t\":{good}}}"), 4);
    let empty = file(&format!("{{\"\":{good}}}"), 4);
    let long = file(&format!("{{\"{}\":{good}}}", "n".repeat(513)), 4);
    let dtypes = one(r#"{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}"#, 4);
    vec![
        case!("tensor twice", twice, DuplicateTensor { .. }, &["`t`", "twice"]),
        case!("no name", empty, EmptyName { .. }, &["empty"]),
        case!("a long name", long, NameLength { length: 513, .. }, &["513", "512"]),
        case!("a number", one("5", 0), EntryType { .. }, &["`t`", "number"]),
        case!("null", one("null", 0), EntryType { .. }, &["`t`", "null"]),
        case!("nothing told", one("{}", 0), MissingField { .. }, &["`t`", "`dtype`"]),
        case!("no shape", one(r#"{"dtype":"U8"}"#, 0), MissingField { .. }, &["`shape`"]),
        case!(
            "no offsets",
            one(r#"{"dtype":"U8","shape":[]}"#, 0),
            MissingField { .. },
            &["`t`", "`data_offsets`"]
        ),
        case!("dtype twice", dtypes, FieldTwice { .. }, &["`t`", "`dtype`"]),
        case!("dtype of numbers", described("0"), FieldType { .. }, &["`dtype`", "a string"]),
        case!(
            "a wide float",
            described("\"F64\""),
            UnsupportedDtype { .. },
            &["`t`", "F64", "BF16"]
        ),
        case!("E8M0", described("\"F8_E8M0\""), UnsupportedDtype { .. }, &["F8_E8M0"]),
        case!("a bool", described("\"BOOL\""), UnsupportedDtype { .. }, &["BOOL"]),
        case!("lower case", described("\"f32\""), UnknownDtype { .. }, &["`f32`", "F32, F16"]),
        case!("Q4_0", described("\"Q4_0\""), UnknownDtype { .. }, &["`Q4_0`"]),
    ]
}

fn shapes() -> Vec<Case> {
    use SafetensorsFault::*;
    let shaped =
        |shape: &str| one(&format!(r#"{{"dtype":"F32","shape":{shape},"data_offsets":[0,4]}}"#), 4);
    vec![
        case!("no list", shaped("1"), FieldType { .. }, &["`shape`", "`t`", "list"]),
        case!("negative", shaped("[-1]"), FieldType { .. }, &["`shape`", "whole numbers"]),
        case!("a fraction", shaped("[1.0]"), FieldType { .. }, &["`shape`"]),
        case!("beyond 64 bits", shaped("[18446744073709551616]"), FieldType { .. }, &["`shape`"]),
        case!("lists in it", shaped("[[1]]"), FieldType { .. }, &["`shape`"]),
        case!("9 dimensions", shaped("[1,1,1,1,1,1,1,1,1]"), DimensionCount { .. }, &["9", "8"]),
        case!("a size of 0", shaped("[1,0]"), ZeroDimension { .. }, &["`t`", "dimension 1"]),
        case!(
            "a product beyond",
            shaped("[4294967296,4294967296]"),
            ShapeOverflow { .. },
            &["`t`"]
        ),
        case!("bytes beyond", shaped("[4611686018427387904]"), ShapeOverflow { .. }, &["`t`"]),
        case!("half of 2⁶⁴", shaped("[2305843009213693952]"), ShapeOverflow { .. }, &["`t`"]),
        case!("more than there is", shaped("[2]"), TensorBytes { .. }, &["`t`", "4 bytes", "8"]),
        case!("less than there is", shaped("[2]"), TensorBytes { expected: 8, .. }, &["F32"]),
    ]
}

fn places() -> Vec<Case> {
    use SafetensorsFault::*;
    let placed = |offsets: &str| {
        one(&format!(r#"{{"dtype":"F32","shape":[1],"data_offsets":{offsets}}}"#), 8)
    };
    let two = |first: u64, second: u64, data| {
        let entry =
            |at| format!(r#"{{"dtype":"F32","shape":[1],"data_offsets":[{at},{}]}}"#, at + 4);
        file(&format!("{{\"b\":{},\"a\":{}}}", entry(first), entry(second)), data)
    };
    vec![
        case!("offsets of text", placed("\"0\""), FieldType { .. }, &["`data_offsets`", "`t`"]),
        case!("negative offsets", placed("[-4,0]"), FieldType { .. }, &["`data_offsets`"]),
        case!("one offset", placed("[0]"), OffsetCount { count: 1, .. }, &["`t`", "1 numbers"]),
        case!("three offsets", placed("[0,4,8]"), OffsetCount { count: 3, .. }, &["`t`"]),
        case!("turned round", placed("[4,0]"), OffsetOrder { .. }, &["`t`", "offset 4", "at 0"]),
        case!("hole first", placed("[4,8]"), Hole { from: 0, to: 4, .. }, &["0 to 4", "`t`"]),
        case!("hole between", two(0, 8, 12), Hole { from: 4, to: 8, .. }, &["4 to 8", "`a`"]),
        case!("bytes behind", placed("[0,4]"), Trailing { end: 4, length: 8 }, &["8 bytes", "4"]),
        case!("the same place", two(0, 0, 4), Overlap { .. }, &["`a`", "`b`", "offset 0"]),
        case!("an overlap", two(0, 2, 6), Overlap { offset: 2, .. }, &["`b` and `a`"]),
        case!("beyond the file", two(0, 4, 7), TensorBeyondFile { .. }, &["`a`", "offset 8", "7"]),
        case!("data of nothing", file("{}", 1), Trailing { .. }, &["1 bytes"]),
    ]
}
