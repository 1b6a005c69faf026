//! Turns each rule that a GGUF file can break into one variant and one sentence.

use std::io;
use std::path::PathBuf;

/// Why bytes are not a sound GGUF file. Every message names the place or the key, the value that
/// is there, and what would have been right. Text out of the file is escaped and cut short.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the fields are the words of the sentences
pub enum GgufError {
    /// The system could not read the file.
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },

    // The file as a whole.
    /// The file ends too early, or a length in it is wrong.
    #[error("the file ends inside {what} at byte {position}: {needed} bytes needed, {left} left")]
    Truncated { what: &'static str, position: usize, needed: u64, left: usize },

    /// Not a GGUF file at all.
    #[error("the file begins with `{found}`; a GGUF file begins with `GGUF`")]
    Magic { found: String },

    /// Written for machines with the other byte order.
    #[error("the file is big-endian; Myriad reads little-endian GGUF files")]
    BigEndian,

    /// A version that does not exist, or the first, whose lengths have 32 bits.
    #[error("the file has GGUF version {version}; Myriad reads versions 2 and 3")]
    Version { version: u32 },

    /// More keys than any model has.
    #[error("the file says that it has {count} keys (byte 16); at most {max} are accepted")]
    KeyCount { count: u64, max: u64 },

    /// More tensors than any model has.
    #[error("the file says that it has {count} tensors (byte 8); at most {max} are accepted")]
    TensorCount { count: u64, max: u64 },

    /// A count whose entries could not stand in the file.
    #[error(
        "the file says that it has {count} {what}, but after byte {position} it has room for at \
         most {max}"
    )]
    CountBeyondFile { what: &'static str, count: u64, position: usize, max: u64 },

    /// Keys and tensor descriptions that go on and on.
    #[error("keys and tensor table take more than {max} bytes (at {what}, byte {position})")]
    HeaderSize { what: &'static str, position: usize, max: usize },

    /// Tables that would take more memory than the file has bytes.
    #[error(
        "{what} at byte {position} would take parsing beyond {max} bytes of memory, about the size \
         of the file"
    )]
    Memory { what: &'static str, position: usize, max: u64 },

    // Keys and values.
    /// A key without a name.
    #[error("the key at byte {position} is empty; a key has 1 to 65535 bytes")]
    EmptyKey { position: usize },

    /// A key longer than the specification allows.
    #[error("the key at byte {position} has {length} bytes; a key has 1 to {max}")]
    KeyLength { position: usize, length: u64, max: u64 },

    /// A key that is not text.
    #[error("the key at byte {position} is not UTF-8")]
    KeyEncoding { position: usize },

    /// A key that comes twice.
    #[error("the key `{key}` is in the file twice")]
    DuplicateKey { key: String },

    /// A type number without a type.
    #[error("`{key}` has value type {id}; types are 0 to 12")]
    ValueType { key: String, id: u32 },

    /// An array of arrays.
    #[error("`{key}` is an array of arrays; elements are numbers, bools or strings")]
    NestedArray { key: String },

    /// An array too long for anything.
    #[error("`{key}` has {length} elements; at most {max} are accepted")]
    ArrayLength { key: String, length: u64, max: u64 },

    /// An array that goes beyond the file.
    #[error("`{key}` has {length} elements, but the file has room for at most {max}")]
    ArrayBeyondFile { key: String, length: u64, max: u64 },

    /// A string too long for anything.
    #[error("`{key}`{} has {length} bytes; a string has at most {max}", at(*index))]
    StringLength { key: String, index: Option<usize>, length: u64, max: u64 },

    /// A string that goes beyond the file.
    #[error("`{key}`{} has {length} bytes, but the file has {left} left", at(*index))]
    StringBeyondFile { key: String, index: Option<usize>, length: u64, left: usize },

    /// A string that is not text.
    #[error("`{key}`{} is not UTF-8", at(*index))]
    StringEncoding { key: String, index: Option<usize> },

    /// A bool that is neither.
    #[error("`{key}`{} is {value}; a bool is 0 or 1", at(*index))]
    Bool { key: String, index: Option<usize>, value: u8 },

    /// An alignment that no address can have.
    #[error("`general.alignment` is {value}; a power of two is needed")]
    Alignment { value: u32 },

    // Tensors.
    /// A tensor without a name.
    #[error("the name of tensor {index} is empty; it has 1 to 63 bytes")]
    EmptyTensorName { index: usize },

    /// A tensor's name too long for ggml.
    #[error("the name of tensor {index} has {length} bytes; it has 1 to {max}")]
    TensorNameLength { index: usize, length: u64, max: u64 },

    /// A tensor's name that is not text.
    #[error("the name of tensor {index} is not UTF-8")]
    TensorNameEncoding { index: usize },

    /// A tensor that comes twice.
    #[error("the tensor `{tensor}` is in the file twice")]
    DuplicateTensor { tensor: String },

    /// No dimensions, or more than ggml has.
    #[error("`{tensor}` has {count} dimensions; a tensor has 1 to {max}")]
    DimensionCount { tensor: String, count: u32, max: u32 },

    /// A dimension of nothing.
    #[error("`{tensor}` has dimension {dimension} of size 0; at least 1 is needed")]
    ZeroDimension { tensor: String, dimension: usize },

    /// Sizes whose product wraps.
    #[error("`{tensor}` has sizes {shape:?}, whose product is beyond 64 bits")]
    TensorSize { tensor: String, shape: Vec<u64> },

    /// A type of weights that exists but that Myriad does not compute with.
    #[error("`{tensor}`: {name} is not supported; supported: {supported}")]
    UnsupportedType { tensor: String, name: &'static str, supported: String },

    /// A type of weights that ggml once had.
    #[error("`{tensor}`: {name} was removed from the format; supported: {supported}")]
    RemovedType { tensor: String, name: &'static str, supported: String },

    /// A number that is no type of weights.
    #[error("`{tensor}` has type number {id}, which is unknown; supported: {supported}")]
    UnknownType { tensor: String, id: u32, supported: String },

    /// Rows that end inside a block.
    #[error("`{tensor}` has {columns} columns; {kind} needs a multiple of {block}")]
    RowBlocks { tensor: String, columns: usize, kind: &'static str, block: usize },

    /// A tensor that does not begin where the alignment wants it.
    #[error("`{tensor}` begins at offset {offset}; a multiple of {alignment} is needed")]
    OffsetAlignment { tensor: String, offset: u64, alignment: u32 },

    /// A tensor that ends behind the end of the file.
    #[error("`{tensor}` has {bytes} bytes at offset {offset}, but the data section has {left}")]
    TensorBeyondFile { tensor: String, offset: u64, bytes: u64, left: usize },

    /// Two tensors with bytes in common.
    #[error("`{first}` and `{second}` overlap at offset {offset}")]
    Overlap { first: String, second: String, offset: u64 },

    // Typed access.
    /// A key that is needed is not there.
    #[error("the key `{key}` is missing")]
    MissingKey { key: String },

    /// A value of another type than its key needs.
    #[error("`{key}` is {found}; {expected} is needed")]
    WrongType { key: String, found: String, expected: &'static str },

    /// A whole number that no size or id can be.
    #[error("`{key}` is {value}; a number from 0 to 4294967295 is needed")]
    NumberRange { key: String, value: i128 },

    // The vocabulary.
    /// No tokens, or too many.
    #[error("`tokenizer.ggml.tokens` has {count} tokens; a vocabulary has 1 to {max}")]
    TokenCount { count: usize, max: usize },

    /// A list beside the tokens that is longer or shorter.
    #[error("`{key}` has {found} elements; one is needed for each of {tokens} tokens")]
    TokenList { key: &'static str, found: usize, tokens: usize },

    /// A number that is no type of token.
    #[error("`tokenizer.ggml.token_type` at {id} is {value}; types are 1 to 6")]
    TokenTypeRange { id: usize, value: u32 },

    /// The id of a token that does not exist.
    #[error("`{key}` is {id}; ids are below {tokens}, the number of tokens")]
    TokenId { key: &'static str, id: u32, tokens: usize },

    /// A byte token that does not say which byte.
    #[error("token {id} is of type byte, but its text is `{text}`; `<0x00>` to `<0xFF>` is needed")]
    ByteToken { id: usize, text: String },
}

fn at(index: Option<usize>) -> String {
    index.map_or(String::new(), |index| format!(" at {index}"))
}

/// Text out of a file for a message: escaped, and at most 80 characters of it.
pub(crate) fn shown(text: &str) -> String {
    const CHARACTERS_MAX: usize = 80;
    let mut escaped = text.chars().flat_map(char::escape_debug);
    let mut shown: String = escaped.by_ref().take(CHARACTERS_MAX).collect();
    if escaped.next().is_some() {
        shown.push('…');
    }
    shown
}
