//! Turns keys and tensors into the bytes of a GGUF file.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io::{self, Read, Write};

use myriad_kernels::BlockType;

use crate::error::GgufError;
use crate::gguf::ALIGNMENT_DEFAULT;
use crate::metadata::{Array, Metadata, Value};
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
    /// Bytes of its blocks.
    size: usize,
    /// Those bytes; none if they come later.
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
        self.tensors.push(Tensor { name, kind, shape, size: bytes.len(), bytes });
    }

    /// Adds a tensor whose bytes come later, in this order, after [`begin`](GgufWriter::begin): for
    /// files larger than memory.
    pub fn declare(&mut self, name: &str, kind: BlockType, shape: &[usize]) {
        let columns = shape.first().copied().unwrap_or(1);
        let rows: usize = shape.iter().skip(1).product();
        let size = kind.row_bytes(columns).unwrap_or(0) * rows;
        let (name, shape, bytes) = (name.to_owned(), shape.to_vec(), Cow::Borrowed(&[][..]));
        self.tensors.push(Tensor { name, kind, shape, size, bytes });
    }

    /// The keys as a reader would have them.
    ///
    /// # Errors
    /// [`GgufError`] if a key is there twice, which [`set`](GgufWriter::set) does not do.
    pub fn metadata(&self) -> Result<Metadata, GgufError> {
        let entries = self.metadata.iter();
        Metadata::new(entries.map(|(key, value)| (key.as_str().into(), value.clone())).collect())
    }

    /// Bytes of the whole file.
    pub fn file_bytes(&self) -> u64 {
        let alignment = self.alignment();
        let aligned = |size: usize| size.next_multiple_of(alignment) as u64;
        let tensors = self.tensors.iter().map(|tensor| aligned(tensor.size));
        aligned(self.header().len()) + tensors.sum::<u64>()
    }

    /// Writes everything before the tensors' bytes, which are to follow.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn begin<W: Write>(&self, mut out: W) -> io::Result<GgufBody<W>> {
        let header = self.header();
        out.write_all(&header)?;
        let sizes = self.tensors.iter().map(|tensor| tensor.size).collect();
        let mut body = GgufBody { out, sizes, written: 0, alignment: self.alignment() };
        body.pad(header.len())?;
        Ok(body)
    }

    /// The file in memory.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write_to(&mut bytes).expect("writing to memory does not fail");
        bytes
    }

    /// Writes the file, whose tensors all have their bytes.
    pub fn write_to(&self, out: impl Write) -> io::Result<()> {
        let mut body = self.begin(out)?;
        self.tensors.iter().try_for_each(|tensor| body.write(&tensor.bytes))?;
        body.finish()?.flush()
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
        for Tensor { name, kind, shape, size, .. } in &self.tensors {
            put_str(&mut header, name);
            put_u32(&mut header, shape.len() as u32);
            shape.iter().for_each(|&size| put_u64(&mut header, size));
            put_u32(&mut header, block_type_id(*kind));
            put_u64(&mut header, offset);
            offset = (offset + size).next_multiple_of(self.alignment());
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
}

/// A GGUF file whose tensors' bytes are being written, one tensor after the other.
#[derive(Debug)]
pub struct GgufBody<W> {
    out: W,
    /// Bytes of the tensors that are not complete yet.
    sizes: VecDeque<usize>,
    /// Bytes of the first of them that are written.
    written: usize,
    alignment: usize,
}

impl<W: Write> GgufBody<W> {
    /// Writes the next bytes of the tensor that is not complete yet.
    ///
    /// # Errors
    /// Those of the output, and [`io::ErrorKind::InvalidInput`] for more bytes than it has.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let size = self.sizes.front().copied().unwrap_or(0);
        self.written += bytes.len();
        if self.written > size {
            let text = format!("{} bytes for a tensor of {size}", self.written);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        self.out.write_all(bytes)?;
        if self.written == size {
            self.sizes.pop_front();
            self.written = 0;
            self.pad(size)?;
        }
        Ok(())
    }

    /// The output, when everything is written.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] if tensors are missing.
    pub fn finish(self) -> io::Result<W> {
        match self.sizes.len() {
            0 => Ok(self.out),
            missing => {
                let text = format!("{missing} tensors are not written yet");
                Err(io::Error::new(io::ErrorKind::InvalidInput, text))
            }
        }
    }

    /// Zeros from `length`, a multiple of the alignment further back, up to the alignment.
    fn pad(&mut self, length: usize) -> io::Result<()> {
        let zeros = (length.next_multiple_of(self.alignment) - length) as u64;
        io::copy(&mut io::repeat(0).take(zeros), &mut self.out).map(|_| ())
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
