//! Turns a file's keys and values into typed answers.

use crate::error::{GgufError, shown};
use crate::strings::Strings;
use crate::types::ValueType;

/// The keys of a file and their values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    /// In the order of the file.
    entries: Vec<(Box<str>, Value)>,
    /// Indices of `entries`, sorted by key.
    by_key: Vec<u32>,
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // the names of the types say it
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    U64(u64),
    I64(i64),
    F32(f32),
    F64(f64),
    Bool(bool),
    String(String),
    Array(Array),
}

/// An array of values of one type.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // the names of the types say it
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    Bool(Vec<bool>),
    String(Strings),
}

impl Metadata {
    /// Entries in the order of the file; the error names a key that comes twice.
    pub(crate) fn new(entries: Vec<(Box<str>, Value)>) -> Result<Metadata, GgufError> {
        let mut by_key: Vec<u32> = (0..entries.len() as u32).collect();
        let key = |index: u32| &*entries[index as usize].0;
        by_key.sort_unstable_by(|&a, &b| key(a).cmp(key(b)));
        for pair in by_key.windows(2) {
            if key(pair[0]) == key(pair[1]) {
                return Err(GgufError::DuplicateKey { key: shown(key(pair[0])) });
            }
        }
        Ok(Metadata { entries, by_key })
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Keys and values in the order of the file.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(key, value)| (&**key, value))
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let at = self
            .by_key
            .binary_search_by(|&index| (*self.entries[index as usize].0).cmp(key))
            .ok()?;
        Some(&self.entries[self.by_key[at] as usize].1)
    }

    /// A whole number of any integer type, if it fits.
    pub fn u32(&self, key: &str) -> Result<u32, GgufError> {
        required(key, self.optional_u32(key)?)
    }

    /// As [`u32`](Self::u32); none if the key is not there.
    pub fn optional_u32(&self, key: &str) -> Result<Option<u32>, GgufError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number = value.integer().ok_or_else(|| wrong_type(key, value, "a whole number"))?;
        fitting_u32(key, number).map(Some)
    }

    /// A floating-point number, of either width.
    pub fn f32(&self, key: &str) -> Result<f32, GgufError> {
        required(key, self.optional_f32(key)?)
    }

    /// As [`f32`](Self::f32); none if the key is not there.
    pub fn optional_f32(&self, key: &str) -> Result<Option<f32>, GgufError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::F32(value)) => Ok(Some(*value)),
            Some(Value::F64(value)) => Ok(Some(*value as f32)),
            Some(other) => Err(wrong_type(key, other, "a floating-point number")),
        }
    }

    /// A truth value.
    pub fn bool(&self, key: &str) -> Result<bool, GgufError> {
        required(key, self.optional_bool(key)?)
    }

    /// As [`bool`](Self::bool); none if the key is not there.
    pub fn optional_bool(&self, key: &str) -> Result<Option<bool>, GgufError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(other) => Err(wrong_type(key, other, "a bool")),
        }
    }

    /// A string.
    pub fn str(&self, key: &str) -> Result<&str, GgufError> {
        required(key, self.optional_str(key)?)
    }

    /// As [`str`](Self::str); none if the key is not there.
    pub fn optional_str(&self, key: &str) -> Result<Option<&str>, GgufError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(value)) => Ok(Some(value)),
            Some(other) => Err(wrong_type(key, other, "a string")),
        }
    }

    /// An array of strings.
    pub fn strings(&self, key: &str) -> Result<&Strings, GgufError> {
        required(key, self.optional_strings(key)?)
    }

    /// As [`strings`](Self::strings); none if the key is not there.
    pub fn optional_strings(&self, key: &str) -> Result<Option<&Strings>, GgufError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(Array::String(value))) => Ok(Some(value)),
            Some(other) => Err(wrong_type(key, other, "an array of strings")),
        }
    }

    /// An array of whole numbers of any integer type, if all fit.
    pub fn u32s(&self, key: &str) -> Result<Vec<u32>, GgufError> {
        required(key, self.optional_u32s(key)?)
    }

    /// As [`u32s`](Self::u32s); none if the key is not there.
    pub fn optional_u32s(&self, key: &str) -> Result<Option<Vec<u32>>, GgufError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let numbers = match value {
            Value::Array(array) => array.integers(),
            _ => None,
        };
        let numbers = numbers.ok_or_else(|| wrong_type(key, value, "an array of whole numbers"))?;
        numbers.map(|number| fitting_u32(key, number)).collect::<Result<_, _>>().map(Some)
    }

    /// An array of 32-bit floats.
    pub fn f32s(&self, key: &str) -> Result<&[f32], GgufError> {
        required(key, self.optional_f32s(key)?)
    }

    /// As [`f32s`](Self::f32s); none if the key is not there.
    pub fn optional_f32s(&self, key: &str) -> Result<Option<&[f32]>, GgufError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(Array::F32(values))) => Ok(Some(values)),
            Some(other) => Err(wrong_type(key, other, "an array of 32-bit floats")),
        }
    }

    /// An array of truth values; none if the key is not there.
    pub fn optional_bools(&self, key: &str) -> Result<Option<&[bool]>, GgufError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(Array::Bool(values))) => Ok(Some(values)),
            Some(other) => Err(wrong_type(key, other, "an array of truth values")),
        }
    }
}

impl Value {
    /// The number of an integer value.
    fn integer(&self) -> Option<i128> {
        Some(match *self {
            Value::U8(number) => number.into(),
            Value::I8(number) => number.into(),
            Value::U16(number) => number.into(),
            Value::I16(number) => number.into(),
            Value::U32(number) => number.into(),
            Value::I32(number) => number.into(),
            Value::U64(number) => number.into(),
            Value::I64(number) => number.into(),
            _ => return None,
        })
    }

    pub(crate) fn value_type(&self) -> ValueType {
        match self {
            Value::U8(_) => ValueType::U8,
            Value::I8(_) => ValueType::I8,
            Value::U16(_) => ValueType::U16,
            Value::I16(_) => ValueType::I16,
            Value::U32(_) => ValueType::U32,
            Value::I32(_) => ValueType::I32,
            Value::U64(_) => ValueType::U64,
            Value::I64(_) => ValueType::I64,
            Value::F32(_) => ValueType::F32,
            Value::F64(_) => ValueType::F64,
            Value::Bool(_) => ValueType::Bool,
            Value::String(_) => ValueType::String,
            Value::Array(_) => ValueType::Array,
        }
    }

    /// What the value is, for people.
    fn describe(&self) -> String {
        match self {
            Value::Array(array) => {
                format!("an array of {} {}", array.len(), array.element_type().name())
            }
            _ => format!("of type {}", self.value_type().name()),
        }
    }
}

impl Array {
    /// How many elements there are.
    pub fn len(&self) -> usize {
        match self {
            Array::U8(values) => values.len(),
            Array::I8(values) => values.len(),
            Array::U16(values) => values.len(),
            Array::I16(values) => values.len(),
            Array::U32(values) => values.len(),
            Array::I32(values) => values.len(),
            Array::U64(values) => values.len(),
            Array::I64(values) => values.len(),
            Array::F32(values) => values.len(),
            Array::F64(values) => values.len(),
            Array::Bool(values) => values.len(),
            Array::String(values) => values.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The numbers of an array of integers.
    fn integers(&self) -> Option<Box<dyn Iterator<Item = i128> + '_>> {
        fn widen<T: Copy + Into<i128>>(values: &[T]) -> Box<dyn Iterator<Item = i128> + '_> {
            Box::new(values.iter().map(|&value| value.into()))
        }
        Some(match self {
            Array::U8(values) => widen(values),
            Array::I8(values) => widen(values),
            Array::U16(values) => widen(values),
            Array::I16(values) => widen(values),
            Array::U32(values) => widen(values),
            Array::I32(values) => widen(values),
            Array::U64(values) => widen(values),
            Array::I64(values) => widen(values),
            _ => return None,
        })
    }

    pub(crate) fn element_type(&self) -> ValueType {
        match self {
            Array::U8(_) => ValueType::U8,
            Array::I8(_) => ValueType::I8,
            Array::U16(_) => ValueType::U16,
            Array::I16(_) => ValueType::I16,
            Array::U32(_) => ValueType::U32,
            Array::I32(_) => ValueType::I32,
            Array::U64(_) => ValueType::U64,
            Array::I64(_) => ValueType::I64,
            Array::F32(_) => ValueType::F32,
            Array::F64(_) => ValueType::F64,
            Array::Bool(_) => ValueType::Bool,
            Array::String(_) => ValueType::String,
        }
    }
}

macro_rules! conversions {
    ($($from:ty => $variant:ident),* $(,)?) => {$(
        impl From<$from> for Value {
            fn from(value: $from) -> Value {
                Value::$variant(value)
            }
        }
        impl From<Vec<$from>> for Value {
            fn from(values: Vec<$from>) -> Value {
                Value::Array(Array::$variant(values.into_iter().collect()))
            }
        }
    )*};
}

conversions! {
    u8 => U8, i8 => I8, u16 => U16, i16 => I16, u32 => U32, i32 => I32, u64 => U64, i64 => I64,
    f32 => F32, f64 => F64, bool => Bool, String => String,
}

impl From<&str> for Value {
    fn from(value: &str) -> Value {
        Value::String(value.to_owned())
    }
}

impl From<Array> for Value {
    fn from(value: Array) -> Value {
        Value::Array(value)
    }
}

fn required<T>(key: &str, value: Option<T>) -> Result<T, GgufError> {
    value.ok_or_else(|| GgufError::MissingKey { key: shown(key) })
}

fn wrong_type(key: &str, value: &Value, expected: &'static str) -> GgufError {
    GgufError::WrongType { key: shown(key), found: value.describe(), expected }
}

fn fitting_u32(key: &str, number: i128) -> Result<u32, GgufError> {
    u32::try_from(number).map_err(|_| GgufError::NumberRange { key: shown(key), value: number })
}
