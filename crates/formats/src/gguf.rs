//! Turns a GGUF file into its keys, its tensors and their bytes.

use std::path::Path;

use myriad_kernels::BlockType;

use crate::cursor::Cursor;
use crate::error::{GgufError, shown};
use crate::file::Source;
use crate::limits::{KEYS_MAX, TENSORS_MAX};
use crate::metadata::Metadata;
use crate::tensors::{TensorInfo, TensorTable};
use crate::values::read_metadata;
use crate::vocab::VocabSpec;

/// Alignment of tensors where the file does not say.
pub(crate) const ALIGNMENT_DEFAULT: u32 = 32;

/// A parsed GGUF file: its header in typed form, its tensors' bytes where they lie.
pub struct Gguf {
    source: Source,
    header: Header,
    /// Where the data section begins; at most the size of the file.
    data_start: usize,
}

struct Header {
    version: u32,
    metadata: Metadata,
    table: TensorTable,
}

/// How much of a file one block type takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindSummary {
    /// The block type.
    pub kind: BlockType,
    /// Tensors of that type.
    pub tensors: usize,
    /// Their bytes together.
    pub bytes: u64,
}

impl Gguf {
    /// Maps a file into memory and parses its header.
    pub fn open(path: &Path) -> Result<Gguf, GgufError> {
        let source = Source::open(path);
        let source = source.map_err(|source| GgufError::Io { path: path.to_path_buf(), source })?;
        Gguf::parse(source)
    }

    /// Parses a file that is in memory already.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Gguf, GgufError> {
        Gguf::parse(Source::Owned(bytes))
    }

    fn parse(source: Source) -> Result<Gguf, GgufError> {
        let mut cursor = Cursor::new(&source);
        let version = read_version(&mut cursor)?;
        let (tensors, keys) = read_counts(&mut cursor)?;
        let metadata = read_metadata(&mut cursor, keys)?;
        let alignment = read_alignment(&metadata)?;
        let table = TensorTable::read(&mut cursor, tensors, alignment)?;
        // A file without tensors may end before the data section would begin.
        let data_start = cursor
            .position()
            .checked_next_multiple_of(alignment as usize)
            .map_or(source.len(), |start| start.min(source.len()));
        table.check_data(source.len() - data_start)?;
        Ok(Gguf { header: Header { version, metadata, table }, data_start, source })
    }

    /// The version of the format: 2 or 3.
    pub fn version(&self) -> u32 {
        self.header.version
    }

    /// Keys and values.
    pub fn metadata(&self) -> &Metadata {
        &self.header.metadata
    }

    /// The tensors in the order of the file.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.header.table.tensors
    }

    /// The tensor of that name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensor_index(name).map(|index| &self.tensors()[index])
    }

    /// Where in [`tensors`](Self::tensors) the tensor of that name stands.
    pub(crate) fn tensor_index(&self, name: &str) -> Option<usize> {
        self.header.table.find(name)
    }

    /// A tensor's bytes: `tensor.rows()` rows of blocks.
    ///
    /// # Panics
    ///
    /// If the tensor is of another, larger file.
    pub fn data(&self, tensor: &TensorInfo) -> &[u8] {
        &self.source[self.data_start..][tensor.offset()..][..tensor.bytes()]
    }

    /// Size of the file.
    pub fn file_bytes(&self) -> u64 {
        self.source.len() as u64
    }

    /// The vocabulary, checked as far as a format can: sizes, types, and ids in range.
    pub fn vocab(&self) -> Result<VocabSpec, GgufError> {
        VocabSpec::read(self.metadata())
    }

    /// Tensors and bytes of each block type that the file has, in the order of [`BlockType::ALL`].
    pub fn kind_summary(&self) -> Vec<KindSummary> {
        let summary = |kind| {
            let of_kind = self.tensors().iter().filter(|tensor| tensor.kind == kind);
            KindSummary {
                kind,
                tensors: of_kind.clone().count(),
                bytes: of_kind.map(|tensor| tensor.bytes() as u64).sum(),
            }
        };
        BlockType::ALL.map(summary).into_iter().filter(|summary| summary.tensors > 0).collect()
    }
}

/// Counts only: a vocabulary would fill pages.
impl std::fmt::Debug for Gguf {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (keys, tensors) = (self.metadata().len(), self.tensors().len());
        write!(
            formatter,
            "Gguf(version {}, {keys} keys, {tensors} tensors, {} bytes)",
            self.version(),
            self.file_bytes()
        )
    }
}

fn read_version(cursor: &mut Cursor<'_>) -> Result<u32, GgufError> {
    let magic = cursor.take(4, "the magic")?;
    match magic {
        b"GGUF" => {}
        b"FUGG" => return Err(GgufError::BigEndian),
        _ => return Err(GgufError::Magic { found: shown(&String::from_utf8_lossy(magic)) }),
    }
    match cursor.u32("the version")? {
        version @ 2..=3 => Ok(version),
        version if (1..=3).contains(&version.swap_bytes()) => Err(GgufError::BigEndian),
        version => Err(GgufError::Version { version }),
    }
}

/// How many tensors and keys the file says it has.
fn read_counts(cursor: &mut Cursor<'_>) -> Result<(u64, u64), GgufError> {
    let tensors = cursor.u64("the number of tensors")?;
    if tensors > TENSORS_MAX {
        return Err(GgufError::TensorCount { count: tensors, max: TENSORS_MAX });
    }
    let keys = cursor.u64("the number of keys")?;
    if keys > KEYS_MAX {
        return Err(GgufError::KeyCount { count: keys, max: KEYS_MAX });
    }
    Ok((tensors, keys))
}

fn read_alignment(metadata: &Metadata) -> Result<u32, GgufError> {
    match metadata.optional_u32("general.alignment")? {
        None => Ok(ALIGNMENT_DEFAULT),
        Some(value) if value.is_power_of_two() => Ok(value),
        Some(value) => Err(GgufError::Alignment { value }),
    }
}
