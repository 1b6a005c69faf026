//! Turns named tensors, as they come, into the bytes of a safetensors file.

use std::io::{self, Write};

use super::header::{DTYPES, METADATA};
use crate::error::shown;
use crate::limits::{
    SAFETENSORS_DIMENSIONS_MAX, SAFETENSORS_HEADER_BYTES_MAX, SAFETENSORS_NAME_BYTES_MAX,
    SAFETENSORS_TENSORS_MAX,
};
use crate::source::TensorKind;

/// The header is filled up with spaces to this, so that every tensor is aligned.
const ALIGNMENT: usize = 8;

/// A safetensors file to be written. First all tensors are described, then the file is written in
/// one pass, each tensor's bytes asked for in turn: no more than one piece of them is held.
#[derive(Clone, Debug, Default)]
pub struct SafetensorsWriter {
    metadata: Vec<(String, String)>,
    tensors: Vec<Described>,
    /// Bytes of all tensors.
    data_bytes: u64,
}

#[derive(Clone, Debug)]
struct Described {
    name: String,
    kind: TensorKind,
    /// Columns first.
    shape: Vec<usize>,
    bytes: u64,
}

/// Why a safetensors file could not be written.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the fields are the words of the sentences
pub enum SafetensorsWriteError {
    /// The system could not write, or the bytes of a tensor could not be had.
    #[error("{0}")]
    Io(#[from] io::Error),

    /// A name that no reader would accept.
    #[error("`{tensor}` has a name of {length} bytes; 1 to {max} are needed, and not `{METADATA}`")]
    Name { tensor: String, length: usize, max: usize },

    /// A tensor or key that comes twice.
    #[error("`{name}` comes twice")]
    Duplicate { name: String },

    /// More tensors than a reader accepts.
    #[error("the file would have more than {max} tensors")]
    TensorCount { max: usize },

    /// A kind of weights that the format does not have.
    #[error("`{tensor}` is {kind}, which safetensors files cannot hold; possible: {possible}")]
    Kind { tensor: String, kind: &'static str, possible: String },

    /// Sizes that no reader would accept.
    #[error("`{tensor}` has sizes {shape:?}; 0 to {max} of at least 1 each are needed")]
    Shape { tensor: String, shape: Vec<usize>, max: usize },

    /// A header that no reader would accept.
    #[error("the header would have {length} bytes; at most {max} are possible")]
    HeaderSize { length: usize, max: usize },

    /// Bytes that are not as many as the description promised.
    #[error("`{tensor}` was described as {expected} bytes, but {found} were written")]
    TensorBytes { tensor: String, expected: u64, found: u64 },
}

impl SafetensorsWriter {
    /// A file without tensors.
    pub fn new() -> SafetensorsWriter {
        SafetensorsWriter::default()
    }

    /// Adds a pair to `__metadata__`.
    pub fn metadata(&mut self, key: &str, value: &str) {
        self.metadata.push((key.to_owned(), value.to_owned()));
    }

    /// Adds the description of a tensor. `shape` has the columns first, as everywhere here.
    pub fn tensor(
        &mut self,
        name: &str,
        kind: TensorKind,
        shape: &[usize],
    ) -> Result<(), SafetensorsWriteError> {
        let max = SAFETENSORS_NAME_BYTES_MAX;
        if !(1..=max).contains(&name.len()) || name == METADATA {
            let (tensor, length) = (shown(name), name.len());
            return Err(SafetensorsWriteError::Name { tensor, length, max });
        }
        if self.tensors.len() == SAFETENSORS_TENSORS_MAX {
            return Err(SafetensorsWriteError::TensorCount { max: SAFETENSORS_TENSORS_MAX });
        }
        if !DTYPES.iter().any(|(_, known)| *known == kind) {
            let (tensor, possible) = (shown(name), DTYPES.map(|(name, _)| name).join(", "));
            return Err(SafetensorsWriteError::Kind { tensor, kind: kind.name(), possible });
        }
        let elements = shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
        let bytes = elements.and_then(|elements| kind.row_bytes(elements)).unwrap_or(0) as u64;
        let data_bytes = self.data_bytes.checked_add(bytes);
        let (Some(data_bytes), 1.., 0..=SAFETENSORS_DIMENSIONS_MAX) =
            (data_bytes, bytes, shape.len())
        else {
            let (tensor, shape) = (shown(name), shape.to_vec());
            let max = SAFETENSORS_DIMENSIONS_MAX;
            return Err(SafetensorsWriteError::Shape { tensor, shape, max });
        };
        self.data_bytes = data_bytes;
        self.tensors.push(Described { name: name.to_owned(), kind, shape: shape.to_vec(), bytes });
        Ok(())
    }

    /// Writes the file. `fill` is called once for each tensor with its name and where to write its
    /// bytes, in little endian, as many as its description promised and in pieces of any size.
    ///
    /// Tensors of wider elements come first (as in files by the official writer), so that each
    /// lies at a multiple of the size of its elements; among equals the order is that of adding.
    pub fn write_to(
        mut self,
        mut out: impl Write,
        mut fill: impl FnMut(&str, &mut dyn Write) -> io::Result<()>,
    ) -> Result<(), SafetensorsWriteError> {
        self.check_duplicates()?;
        self.tensors.sort_by_key(|tensor| std::cmp::Reverse(tensor.kind.row_bytes(1)));
        let header = self.header();
        if header.len() > SAFETENSORS_HEADER_BYTES_MAX {
            let (length, max) = (header.len(), SAFETENSORS_HEADER_BYTES_MAX);
            return Err(SafetensorsWriteError::HeaderSize { length, max });
        }
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(header.as_bytes())?;
        for Described { name, bytes: expected, .. } in &self.tensors {
            let mut sink = Sink { out: &mut out, left: *expected, excess: 0 };
            let outcome = fill(name, &mut sink);
            let Sink { left, excess, .. } = sink;
            if excess > 0 || (outcome.is_ok() && left > 0) {
                let (tensor, expected) = (shown(name), *expected);
                let found = expected - left + excess;
                return Err(SafetensorsWriteError::TensorBytes { tensor, expected, found });
            }
            outcome?;
        }
        Ok(out.flush()?)
    }

    fn check_duplicates(&self) -> Result<(), SafetensorsWriteError> {
        let mut names: Vec<&str> = self.tensors.iter().map(|tensor| &*tensor.name).collect();
        let mut keys: Vec<&str> = self.metadata.iter().map(|(key, _)| &**key).collect();
        for list in [&mut names, &mut keys] {
            list.sort_unstable();
            if let Some(pair) = list.windows(2).find(|pair| pair[0] == pair[1]) {
                return Err(SafetensorsWriteError::Duplicate { name: shown(pair[0]) });
            }
        }
        Ok(())
    }

    /// The JSON object, filled up with spaces.
    fn header(&self) -> String {
        let mut json = String::from("{");
        if !self.metadata.is_empty() {
            let pairs = self.metadata.iter().map(|(key, value)| (quoted(key), quoted(value)));
            let pairs: Vec<_> = pairs.map(|(key, value)| format!("{key}:{value}")).collect();
            json.push_str(&format!("\"{METADATA}\":{{{}}}", pairs.join(",")));
        }
        let mut offset = 0;
        for Described { name, kind, shape, bytes } in &self.tensors {
            if json.len() > 1 {
                json.push(',');
            }
            let shape: Vec<String> = shape.iter().rev().map(usize::to_string).collect();
            let (begin, end) = (offset, offset + bytes);
            json.push_str(&format!(
                "{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{begin},{end}]}}",
                quoted(name),
                kind.name(),
                shape.join(",")
            ));
            offset = end;
        }
        json.push('}');
        let padding = json.len().next_multiple_of(ALIGNMENT) - json.len();
        json + &" ".repeat(padding)
    }
}

/// A JSON string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Where the bytes of one tensor go.
struct Sink<W> {
    out: W,
    /// Bytes that are still to come.
    left: u64,
    /// Bytes that came and were too many.
    excess: u64,
}

impl<W: Write> Write for Sink<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.left {
            self.excess = bytes.len() as u64 - self.left;
            self.left = 0;
            return Err(io::Error::other("more bytes than the tensor has"));
        }
        let written = self.out.write(bytes)?;
        self.left -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
