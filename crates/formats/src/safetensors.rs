//! Turns a safetensors file into its tensors and their bytes.
//!
//! The format: eight bytes of length, a JSON object that describes the tensors, their bytes without
//! gaps (<https://github.com/huggingface/safetensors>, "Format").

mod error;
mod header;
mod node;
mod writer;

use std::path::Path;

pub use error::{SafetensorsError, SafetensorsFault};
pub use writer::{SafetensorsWriteError, SafetensorsWriter};

use crate::error::shown;
use crate::file::Source;
use crate::limits::SAFETENSORS_HEADER_BYTES_MAX;
use crate::source::{TensorSource, TensorView};
use header::{Entry, Header};

/// Bytes of the length before the header.
const LENGTH_BYTES: usize = 8;

/// A parsed safetensors file: every byte of its data belongs to exactly one tensor.
pub struct Safetensors {
    source: Source,
    file: String,
    header: Header,
    /// Indices of the header's entries, sorted by name.
    by_name: Vec<u32>,
    /// Where the data section begins.
    data_start: usize,
}

impl Safetensors {
    /// Maps a file into memory and parses its header.
    pub fn open(path: &Path) -> Result<Safetensors, SafetensorsError> {
        Safetensors::open_as(path.display().to_string(), path)
    }

    /// As [`open`](Self::open); `file` names it in errors.
    pub(crate) fn open_as(file: String, path: &Path) -> Result<Safetensors, SafetensorsError> {
        match Source::open(path) {
            Ok(source) => Safetensors::parse(file, source),
            Err(error) => Err(SafetensorsError { file, fault: SafetensorsFault::Io(error) }),
        }
    }

    /// Parses a file that is in memory already; `file` names it in errors.
    pub fn from_bytes(file: &str, bytes: Vec<u8>) -> Result<Safetensors, SafetensorsError> {
        Safetensors::parse(file.to_owned(), Source::Owned(bytes))
    }

    fn parse(file: String, source: Source) -> Result<Safetensors, SafetensorsError> {
        match read(&source) {
            Ok((header, by_name, data_start)) => {
                Ok(Safetensors { source, file, header, by_name, data_start })
            }
            Err(fault) => Err(SafetensorsError { file, fault }),
        }
    }

    /// The file, as it was named to the reader.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Size of the file.
    pub fn file_bytes(&self) -> u64 {
        self.source.len() as u64
    }

    /// The pairs of `__metadata__`, sorted by key.
    pub fn metadata(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.header.metadata.iter().map(|(key, value)| (&**key, &**value))
    }

    /// Where the tensor of that name stands among all.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        let entry = |index: u32| &self.header.entries[index as usize];
        let at = self.by_name.binary_search_by(|&index| (*entry(index).name).cmp(name));
        Some(self.by_name[at.ok()?] as usize)
    }
}

impl TensorSource for Safetensors {
    fn tensor_count(&self) -> usize {
        self.header.entries.len()
    }

    fn tensor_at(&self, index: usize) -> TensorView<'_> {
        let Entry { name, kind, shape, begin, end } = &self.header.entries[index];
        // Both ends lie inside the file, which was checked.
        let bytes = &self.source[self.data_start..][*begin as usize..*end as usize];
        TensorView { name, kind: *kind, shape, bytes }
    }

    fn find_tensor(&self, name: &str) -> Option<TensorView<'_>> {
        self.find(name).map(|index| self.tensor_at(index))
    }
}

/// Counts only: names would fill pages.
impl std::fmt::Debug for Safetensors {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (file, tensors) = (&self.file, self.tensor_count());
        write!(formatter, "Safetensors({file}, {tensors} tensors, {} bytes)", self.file_bytes())
    }
}

/// The header, the order of its entries by name, and where the data begin.
fn read(bytes: &[u8]) -> Result<(Header, Vec<u32>, usize), SafetensorsFault> {
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
        return Err(SafetensorsFault::TooShort { bytes: bytes.len() });
    };
    let length = u64::from_le_bytes(*length);
    let max = SAFETENSORS_HEADER_BYTES_MAX as u64;
    if length > max {
        return Err(SafetensorsFault::HeaderSize { length, max });
    }
    let Some((json, data)) = rest.split_at_checked(length as usize) else {
        return Err(SafetensorsFault::HeaderBeyondFile { length, left: rest.len() });
    };
    if json.first() != Some(&b'{') {
        let found = shown(&String::from_utf8_lossy(&json[..json.len().min(4)]));
        return Err(SafetensorsFault::HeaderStart { found });
    }
    let json = std::str::from_utf8(json).map_err(|error| SafetensorsFault::HeaderEncoding {
        position: LENGTH_BYTES + error.valid_up_to(),
    })?;
    let header = header::read(json)?;
    let by_name = order_by_name(&header.entries)?;
    check_places(&header.entries, data.len())?;
    Ok((header, by_name, bytes.len() - data.len()))
}

fn order_by_name(entries: &[Entry]) -> Result<Vec<u32>, SafetensorsFault> {
    let mut by_name: Vec<u32> = (0..entries.len() as u32).collect();
    let name = |index: u32| &*entries[index as usize].name;
    by_name.sort_unstable_by(|&a, &b| name(a).cmp(name(b)));
    match by_name.windows(2).find(|pair| name(pair[0]) == name(pair[1])) {
        Some(pair) => Err(SafetensorsFault::DuplicateTensor { tensor: shown(name(pair[0])) }),
        None => Ok(by_name),
    }
}

/// Checks that the tensors cover all of the data, one behind the other. The header may have them in
/// any order.
fn check_places(entries: &[Entry], length: usize) -> Result<(), SafetensorsFault> {
    let mut by_place: Vec<u32> = (0..entries.len() as u32).collect();
    by_place.sort_unstable_by_key(|&index| entries[index as usize].begin);
    let (mut covered, mut before) = (0, None::<&Entry>);
    for entry in by_place.into_iter().map(|index| &entries[index as usize]) {
        let tensor = shown(&entry.name);
        if entry.begin < covered {
            let first = before.map_or(String::new(), |before| shown(&before.name));
            let (second, offset) = (tensor, entry.begin);
            return Err(SafetensorsFault::Overlap { first, second, offset });
        }
        if entry.begin > covered {
            return Err(SafetensorsFault::Hole { tensor, from: covered, to: entry.begin });
        }
        if entry.end > length as u64 {
            return Err(SafetensorsFault::TensorBeyondFile { tensor, end: entry.end, length });
        }
        (covered, before) = (entry.end, Some(entry));
    }
    if covered != length as u64 {
        return Err(SafetensorsFault::Trailing { end: covered, length });
    }
    Ok(())
}
