//! Turns the bytes of keys and values into metadata.

use crate::cursor::Cursor;
use crate::error::{GgufError, shown};
use crate::limits::{ARRAY_ELEMENTS_MAX, KEY_BYTES_MAX, STRING_BYTES_MAX};
use crate::metadata::{Array, Metadata, Value};
use crate::strings::Strings;
use crate::types::ValueType;

/// Least bytes of an entry: the length of the key, one byte of key, the type, one byte of value.
const ENTRY_BYTES_MIN: u64 = 8 + 1 + 4 + 1;

/// Memory of an entry without what it points to; the index has four bytes more.
const ENTRY_MEMORY: u64 = size_of::<(Box<str>, Value)>() as u64 + 4;

/// Reads `count` keys with their values.
pub(crate) fn read_metadata(cursor: &mut Cursor<'_>, count: u64) -> Result<Metadata, GgufError> {
    cursor.check_count("keys", count, ENTRY_BYTES_MIN)?;
    cursor.book(count.saturating_mul(ENTRY_MEMORY), "the table of keys")?;
    let mut entries = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let key = read_key(cursor)?;
        let value = read_value(cursor, &key)?;
        entries.push((key, value));
    }
    Metadata::new(entries)
}

fn read_key(cursor: &mut Cursor<'_>) -> Result<Box<str>, GgufError> {
    let position = cursor.position();
    let length = cursor.u64("the length of a key")?;
    match length {
        0 => return Err(GgufError::EmptyKey { position }),
        1..=KEY_BYTES_MAX => {}
        _ => return Err(GgufError::KeyLength { position, length, max: KEY_BYTES_MAX }),
    }
    let bytes = cursor.take(length, "a key")?;
    let key = std::str::from_utf8(bytes).map_err(|_| GgufError::KeyEncoding { position })?;
    cursor.book(length, "a key")?;
    Ok(key.into())
}

fn read_value(cursor: &mut Cursor<'_>, key: &str) -> Result<Value, GgufError> {
    const WHAT: &str = "a value";
    Ok(match read_type(cursor, key)? {
        ValueType::U8 => Value::U8(cursor.u8(WHAT)?),
        ValueType::I8 => Value::I8(cursor.u8(WHAT)? as i8),
        ValueType::U16 => Value::U16(u16::from_le_bytes(cursor.array(WHAT)?)),
        ValueType::I16 => Value::I16(i16::from_le_bytes(cursor.array(WHAT)?)),
        ValueType::U32 => Value::U32(cursor.u32(WHAT)?),
        ValueType::I32 => Value::I32(cursor.u32(WHAT)? as i32),
        ValueType::U64 => Value::U64(cursor.u64(WHAT)?),
        ValueType::I64 => Value::I64(cursor.u64(WHAT)? as i64),
        ValueType::F32 => Value::F32(f32::from_bits(cursor.u32(WHAT)?)),
        ValueType::F64 => Value::F64(f64::from_bits(cursor.u64(WHAT)?)),
        ValueType::Bool => Value::Bool(to_bool(cursor.u8(WHAT)?, key, None)?),
        ValueType::String => {
            let text = read_str(cursor, key, None)?;
            cursor.book(text.len() as u64, "a string")?;
            Value::String(text.to_owned())
        }
        ValueType::Array => Value::Array(read_array(cursor, key)?),
    })
}

fn read_type(cursor: &mut Cursor<'_>, key: &str) -> Result<ValueType, GgufError> {
    let id = cursor.u32("the type of a value")?;
    ValueType::from_id(id).ok_or_else(|| GgufError::ValueType { key: shown(key), id })
}

fn read_array(cursor: &mut Cursor<'_>, key: &str) -> Result<Array, GgufError> {
    let element = read_type(cursor, key)?;
    if element == ValueType::Array {
        return Err(GgufError::NestedArray { key: shown(key) });
    }
    let length = cursor.u64("the length of an array")?;
    if length > ARRAY_ELEMENTS_MAX {
        return Err(GgufError::ArrayLength { key: shown(key), length, max: ARRAY_ELEMENTS_MAX });
    }
    let max = cursor.left() as u64 / element.bytes_min();
    if length > max {
        return Err(GgufError::ArrayBeyondFile { key: shown(key), length, max });
    }
    Ok(match element {
        ValueType::U8 => Array::U8(read_numbers(cursor, length, u8::from_le_bytes)?),
        ValueType::I8 => Array::I8(read_numbers(cursor, length, i8::from_le_bytes)?),
        ValueType::U16 => Array::U16(read_numbers(cursor, length, u16::from_le_bytes)?),
        ValueType::I16 => Array::I16(read_numbers(cursor, length, i16::from_le_bytes)?),
        ValueType::U32 => Array::U32(read_numbers(cursor, length, u32::from_le_bytes)?),
        ValueType::I32 => Array::I32(read_numbers(cursor, length, i32::from_le_bytes)?),
        ValueType::U64 => Array::U64(read_numbers(cursor, length, u64::from_le_bytes)?),
        ValueType::I64 => Array::I64(read_numbers(cursor, length, i64::from_le_bytes)?),
        ValueType::F32 => Array::F32(read_numbers(cursor, length, f32::from_le_bytes)?),
        ValueType::F64 => Array::F64(read_numbers(cursor, length, f64::from_le_bytes)?),
        ValueType::Bool => Array::Bool(read_bools(cursor, length, key)?),
        ValueType::String => Array::String(read_strings(cursor, length, key)?),
        ValueType::Array => return Err(GgufError::NestedArray { key: shown(key) }),
    })
}

/// Numbers of `N` bytes each.
fn read_numbers<T, const N: usize>(
    cursor: &mut Cursor<'_>,
    length: u64,
    decode: fn([u8; N]) -> T,
) -> Result<Vec<T>, GgufError> {
    let bytes = cursor.take(length.saturating_mul(N as u64), "an array")?;
    cursor.book(bytes.len() as u64, "an array")?;
    Ok(bytes.as_chunks::<N>().0.iter().map(|bytes| decode(*bytes)).collect())
}

fn read_bools(cursor: &mut Cursor<'_>, length: u64, key: &str) -> Result<Vec<bool>, GgufError> {
    let bytes = cursor.take(length, "an array")?;
    cursor.book(length, "an array")?;
    let mut values = Vec::with_capacity(bytes.len());
    for (index, &byte) in bytes.iter().enumerate() {
        values.push(to_bool(byte, key, Some(index))?);
    }
    Ok(values)
}

/// Strings are read twice: first checked and measured, then copied into memory of that size.
fn read_strings(cursor: &mut Cursor<'_>, length: u64, key: &str) -> Result<Strings, GgufError> {
    let start = cursor.position();
    let mut text_bytes = 0u64;
    for index in 0..length {
        text_bytes += read_str(cursor, key, Some(index as usize))?.len() as u64;
    }
    cursor.book(text_bytes.saturating_add(4 * length), "an array of strings")?;
    cursor.rewind(start);
    let mut text = String::with_capacity(text_bytes as usize);
    let mut ends = Vec::with_capacity(length as usize);
    for index in 0..length {
        text.push_str(read_str(cursor, key, Some(index as usize))?);
        // A header is far shorter than 4 GiB.
        ends.push(text.len() as u32);
    }
    Ok(Strings::from_parts(text, ends))
}

/// A string where it lies in the file.
fn read_str<'a>(
    cursor: &mut Cursor<'a>,
    key: &str,
    index: Option<usize>,
) -> Result<&'a str, GgufError> {
    let length = cursor.u64("the length of a string")?;
    if length > STRING_BYTES_MAX {
        let (key, max) = (shown(key), STRING_BYTES_MAX);
        return Err(GgufError::StringLength { key, index, length, max });
    }
    let left = cursor.left();
    if length > left as u64 {
        return Err(GgufError::StringBeyondFile { key: shown(key), index, length, left });
    }
    let bytes = cursor.take(length, "a string")?;
    std::str::from_utf8(bytes).map_err(|_| GgufError::StringEncoding { key: shown(key), index })
}

fn to_bool(byte: u8, key: &str, index: Option<usize>) -> Result<bool, GgufError> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        value => Err(GgufError::Bool { key: shown(key), index, value }),
    }
}
