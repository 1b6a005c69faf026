//! Turns keys and tensors into the bytes of a GGUF file.

use std::borrow::Cow;
use std::io::{self, Read, Write};

use myriad_kernels::BlockType;

use crate::gguf::ALIGNMENT_DEFAULT;
use crate::metadata::{Array, Value};
use crate::types::block_type_id;

/// The version of the format that is written.
const VERSION: u32 = 3;

/// A GGUF file to be written: version 3, little endian.
///
/// It checks nothing, so that tests can write broken files too: what it makes of wrong parts, the
/// reader refuses.
#[derive(Clone, Debug, Default)]
pub struct GgufWriter<'a> {
    metadata: Vec<(String, Value)>,
    tensors: Vec<Tensor<'a>>,
}

#[derive(Clone, Debug)]
struct Tensor<'a> {
    name: String,
    kind: BlockType,
    shape: Vec<usize>,
    bytes: Cow<'a, [u8]>,
}

impl<'a> GgufWriter<'a> {
    /// A file without keys and tensors.
    pub fn new() -> GgufWriter<'a> {
        GgufWriter::default()
    }

    /// Sets a key, or replaces its value.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) {
        let value = value.into();
        match self.metadata.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => *old = value,
            None => self.metadata.push((key.to_owned(), value)),
        }
    }

    /// Adds a tensor. `shape` has the columns first; `bytes` are its rows of blocks.
    pub fn tensor(
        &mut self,
        name: &str,
        kind: BlockType,
        shape: &[usize],
        bytes: impl Into<Cow<'a, [u8]>>,
    ) {
        let (name, shape, bytes) = (name.to_owned(), shape.to_vec(), bytes.into());
        self.tensors.push(Tensor { name, kind, shape, bytes });
    }

    /// The file in memory.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write_to(&mut bytes).expect("writing to memory does not fail");
        bytes
    }

    /// Writes the file.
    pub fn write_to(&self, mut out: impl Write) -> io::Result<()> {
        let header = self.header();
        out.write_all(&header)?;
        let mut written = self.pad(&mut out, header.len())?;
        for Tensor { bytes, .. } in &self.tensors {
            out.write_all(bytes)?;
            written = self.pad(&mut out, written + bytes.len())?;
        }
        out.flush()
    }

    /// Everything before the data section.
    fn header(&self) -> Vec<u8> {
        let mut header = Vec::new();
        header.extend_from_slice(b"GGUF");
        put_u32(&mut header, VERSION);
        put_u64(&mut header, self.tensors.len());
        put_u64(&mut header, self.metadata.len());
        for (key, value) in &self.metadata {
            put_str(&mut header, key);
            put_u32(&mut header, value.value_type() as u32);
            put_value(&mut header, value);
        }
        let mut offset = 0;
        for Tensor { name, kind, shape, bytes } in &self.tensors {
            put_str(&mut header, name);
            put_u32(&mut header, shape.len() as u32);
            shape.iter().for_each(|&size| put_u64(&mut header, size));
            put_u32(&mut header, block_type_id(*kind));
            put_u64(&mut header, offset);
            offset = (offset + bytes.len()).next_multiple_of(self.alignment());
        }
        header
    }

    /// What `general.alignment` says, if it is of use.
    fn alignment(&self) -> usize {
        let value = self.metadata.iter().find(|(key, _)| key == "general.alignment");
        match value {
            Some((_, Value::U32(value))) if value.is_power_of_two() => *value as usize,
            _ => ALIGNMENT_DEFAULT as usize,
        }
    }

    /// Zeros up to the alignment; returns where that is.
    fn pad(&self, out: &mut impl Write, position: usize) -> io::Result<usize> {
        let end = position.next_multiple_of(self.alignment());
        io::copy(&mut io::repeat(0).take((end - position) as u64), out)?;
        Ok(end)
    }
}

fn put_u32(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_u64(out: &mut Vec<u8>, number: usize) {
    out.extend_from_slice(&(number as u64).to_le_bytes());
}

fn put_str(out: &mut Vec<u8>, text: &str) {
    put_u64(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::U8(number) => out.push(*number),
        Value::I8(number) => out.extend_from_slice(&number.to_le_bytes()),
        Value::U16(number) => out.extend_from_slice(&number.to_le_bytes()),
        Value::I16(number) => out.extend_from_slice(&number.to_le_bytes()),
        Value::U32(number) => out.extend_from_slice(&number.to_le_bytes()),
        Value::I32(number) => out.extend_from_slice(&number.to_le_bytes()),
        Value::U64(number) => out.extend_from_slice(&number.to_le_bytes()),
        Value::I64(number) => out.extend_from_slice(&number.to_le_bytes()),
        Value::F32(number) => out.extend_from_slice(&number.to_le_bytes()),
        Value::F64(number) => out.extend_from_slice(&number.to_le_bytes()),
        Value::Bool(value) => out.push(u8::from(*value)),
        Value::String(text) => put_str(out, text),
        Value::Array(array) => {
            put_u32(out, array.element_type() as u32);
            put_u64(out, array.len());
            put_elements(out, array);
        }
    }
}

fn put_elements(out: &mut Vec<u8>, array: &Array) {
    fn put<T: Copy, const N: usize>(out: &mut Vec<u8>, values: &[T], encode: fn(T) -> [u8; N]) {
        values.iter().for_each(|&value| out.extend_from_slice(&encode(value)));
    }
    match array {
        Array::U8(values) => out.extend_from_slice(values),
        Array::I8(values) => put(out, values, i8::to_le_bytes),
        Array::U16(values) => put(out, values, u16::to_le_bytes),
        Array::I16(values) => put(out, values, i16::to_le_bytes),
        Array::U32(values) => put(out, values, u32::to_le_bytes),
        Array::I32(values) => put(out, values, i32::to_le_bytes),
        Array::U64(values) => put(out, values, u64::to_le_bytes),
        Array::I64(values) => put(out, values, i64::to_le_bytes),
        Array::F32(values) => put(out, values, f32::to_le_bytes),
        Array::F64(values) => put(out, values, f64::to_le_bytes),
        Array::Bool(values) => put(out, values, |value| [u8::from(value)]),
        Array::String(values) => values.iter().for_each(|text| put_str(out, text)),
    }
}
