//! Turns each rule that a safetensors file can break into one variant and one sentence.

use std::io;

/// Why a file is not a sound safetensors file.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {fault}")]
pub struct SafetensorsError {
    /// The file, as it was named to the reader.
    pub file: String,
    /// The rule that it breaks.
    pub fault: SafetensorsFault,
}

/// The rule that a safetensors file breaks. Every message names the tensor or the place, the value
/// that is there, and what would have been right. Text out of the file is escaped and cut short.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the fields are the words of the sentences
pub enum SafetensorsFault {
    /// The system could not read the file.
    #[error("{0}")]
    Io(io::Error),

    // The header as a whole.
    /// No room for the length of the header.
    #[error("the file has {bytes} bytes; a safetensors file has at least 10")]
    TooShort { bytes: usize },

    /// A header beyond the official limit.
    #[error("the header has {length} bytes; at most {max} are accepted")]
    HeaderSize { length: u64, max: u64 },

    /// A header that goes beyond the file.
    #[error("the header has {length} bytes, but the file has {left} behind its length")]
    HeaderBeyondFile { length: u64, left: usize },

    /// Not a safetensors file at all.
    #[error("the header begins with `{found}`; a JSON object begins with `{{`")]
    HeaderStart { found: String },

    /// A header that is not text.
    #[error("the header is not UTF-8 at byte {position}")]
    HeaderEncoding { position: usize },

    /// A header that is not JSON.
    #[error("the header is not a JSON object: {message}")]
    HeaderSyntax { message: String },

    /// More tensors than any model has.
    #[error("the header has more than {max} tensors")]
    TensorCount { max: usize },

    // `__metadata__`.
    /// Metadata that are no object.
    #[error("`__metadata__` is {found}; an object of strings is needed")]
    MetadataType { found: &'static str },

    /// Metadata that come twice.
    #[error("`__metadata__` is in the header twice")]
    MetadataTwice,

    /// Metadata that go on and on.
    #[error("`__metadata__` has more than {max} keys")]
    MetadataCount { max: usize },

    /// A value of the metadata that is no string.
    #[error("`__metadata__` has {found} under `{key}`; values are strings")]
    MetadataValue { key: String, found: &'static str },

    /// A key of the metadata that comes twice.
    #[error("`__metadata__` has the key `{key}` twice")]
    MetadataKeyTwice { key: String },

    // The description of a tensor.
    /// A tensor without a name.
    #[error("a tensor has an empty name; a name has 1 to {max} bytes")]
    EmptyName { max: usize },

    /// A tensor's name too long for anything.
    #[error("the name `{tensor}` has {length} bytes; a name has 1 to {max}")]
    NameLength { tensor: String, length: usize, max: usize },

    /// A tensor that comes twice.
    #[error("the tensor `{tensor}` is in the header twice")]
    DuplicateTensor { tensor: String },

    /// A description that is no object.
    #[error("`{tensor}` is {found}; an object with dtype, shape and data_offsets is needed")]
    EntryType { tensor: String, found: &'static str },

    /// A description with a part missing.
    #[error("`{tensor}` has no `{field}`")]
    MissingField { tensor: String, field: &'static str },

    /// A description with a part twice.
    #[error("`{tensor}` has `{field}` twice")]
    FieldTwice { tensor: String, field: &'static str },

    /// A part of a description of another type.
    #[error("`{field}` of `{tensor}` is {found}; {expected} is needed")]
    FieldType { tensor: String, field: &'static str, found: &'static str, expected: &'static str },

    /// A type of elements that exists but that Myriad does not compute with.
    #[error("`{tensor}`: {dtype} is not supported; supported: {supported}")]
    UnsupportedDtype { tensor: String, dtype: &'static str, supported: String },

    /// A type of elements that does not exist.
    #[error("`{tensor}` has the dtype `{dtype}`, which is unknown; supported: {supported}")]
    UnknownDtype { tensor: String, dtype: String, supported: String },

    /// More dimensions than any tensor has.
    #[error("`{tensor}` has {count} dimensions; at most {max} are accepted")]
    DimensionCount { tensor: String, count: usize, max: usize },

    /// A dimension of nothing.
    #[error("`{tensor}` has dimension {dimension} of size 0; at least 1 is needed")]
    ZeroDimension { tensor: String, dimension: usize },

    /// Sizes whose product wraps.
    #[error("`{tensor}` has sizes {shape:?}, whose product is beyond 64 bits")]
    ShapeOverflow { tensor: String, shape: Vec<u64> },

    // Places.
    /// Not a beginning and an end.
    #[error("`data_offsets` of `{tensor}` has {count} numbers; 2 are needed")]
    OffsetCount { tensor: String, count: usize },

    /// An end before the beginning.
    #[error("`{tensor}` begins at offset {begin} and ends at {end}, before it")]
    OffsetOrder { tensor: String, begin: u64, end: u64 },

    /// Sizes that do not make up the bytes.
    #[error(
        "`{tensor}` has {found} bytes ({begin} to {end}); {dtype} of its shape needs {expected}"
    )]
    TensorBytes {
        tensor: String,
        begin: u64,
        end: u64,
        found: u64,
        dtype: &'static str,
        expected: u64,
    },

    /// Two tensors with bytes in common.
    #[error("`{first}` and `{second}` overlap at offset {offset}")]
    Overlap { first: String, second: String, offset: u64 },

    /// Bytes before a tensor that belong to none.
    #[error("the bytes {from} to {to} before `{tensor}` belong to no tensor")]
    Hole { tensor: String, from: u64, to: u64 },

    /// A tensor that ends behind the end of the file.
    #[error("`{tensor}` ends at offset {end}, but the data have {length} bytes")]
    TensorBeyondFile { tensor: String, end: u64, length: usize },

    /// Bytes behind the last tensor.
    #[error("the data have {length} bytes, but the tensors end at offset {end}")]
    Trailing { end: u64, length: usize },
}
