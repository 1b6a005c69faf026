//! Turns each rule that a JSON file can break into one variant and one sentence.

/// Why a JSON file does not say what is needed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{file}: {fault}")]
pub struct JsonError {
    /// The file, as it was named to the reader.
    pub file: String,
    /// The rule that it breaks.
    pub fault: JsonFault,
}

/// The rule that a JSON file breaks. Keys are whole paths, such as `rope_scaling.factor`.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[allow(missing_docs)] // the fields are the words of the sentences
pub enum JsonFault {
    /// Larger than any file of its kind.
    #[error("the file has {bytes} bytes; at most {max} are accepted")]
    Size { bytes: u64, max: usize },

    /// Not text.
    #[error("the file is not UTF-8 at byte {position}")]
    Encoding { position: usize },

    /// Not JSON.
    #[error("the file is not JSON: {message}")]
    Syntax { message: String },

    /// Lists in lists in lists.
    #[error("lists and objects are more than {max} deep in one another")]
    Depth { max: usize },

    /// More values than any file of its kind.
    #[error("the file has more than {max} values")]
    Values { max: usize },

    /// A key that comes twice.
    #[error("the key `{key}` comes twice in one object")]
    DuplicateKey { key: String },

    /// The file is a list or a single value.
    #[error("the file is {found}; an object is needed")]
    NotAnObject { found: &'static str },

    /// A key that is needed is not there, or is null.
    #[error("the key `{key}` is missing")]
    MissingKey { key: String },

    /// A value of another type than its key needs.
    #[error("`{key}` is {found}; {expected} is needed")]
    WrongType { key: String, found: &'static str, expected: &'static str },

    /// A whole number that no size or id can be.
    #[error("`{key}` is {value}; a whole number from 0 to 4294967295 is needed")]
    NumberRange { key: String, value: String },

    /// A number that no 32-bit float can be.
    #[error("`{key}` is {value}; a number within the range of 32-bit floats is needed")]
    FloatRange { key: String, value: f64 },
}
