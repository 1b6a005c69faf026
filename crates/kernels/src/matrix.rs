//! Turns rows of a weight tensor into a matrix in the layout that matmul streams.

use crate::block::BlockType;
use crate::compute::Compute;
use crate::map::MappedFile;
use crate::memory::Memory;
use crate::pool::Shares;
use crate::tiles::{BLOCK, GROUP_ROWS, group_bytes, read_row, write_row};
use std::fmt;
use std::sync::Arc;

/// Why a tensor could not be packed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PackError {
    /// The columns do not fill whole blocks of the type.
    Columns {
        /// The type.
        kind: BlockType,
        /// The columns given.
        columns: usize,
    },
    /// The bytes are not those of the rows and columns.
    Bytes {
        /// Bytes that the shape needs.
        expected: Option<usize>,
        /// Bytes given.
        found: usize,
    },
    /// The system did not give the memory.
    OutOfMemory {
        /// Bytes that were wanted.
        bytes: usize,
    },
}

impl fmt::Display for PackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PackError::Columns { kind, columns } => write!(
                f,
                "{columns} columns do not fill blocks of {} ({})",
                kind.block_elements(),
                kind.name()
            ),
            PackError::Bytes { expected: Some(expected), found } => {
                write!(f, "{found} bytes of weights, expected {expected}")
            }
            PackError::Bytes { expected: None, .. } => {
                write!(f, "the shape has more bytes than a machine can address")
            }
            PackError::OutOfMemory { bytes } => {
                write!(f, "not enough memory for {bytes} bytes of weights")
            }
        }
    }
}

impl std::error::Error for PackError {}

/// A weight matrix [rows, columns], repacked: groups of sixteen rows interleaved (`tiles.rs`).
pub struct Matrix {
    rows: usize,
    columns: usize,
    kind: BlockType,
    group_bytes: usize,
    tiles: Tiles,
}

/// Where packed weights are.
enum Tiles {
    /// In memory of their own.
    Held(Memory),
    /// In a file, from this byte on; the system brings what is touched, and lets go of it again.
    Mapped { file: Arc<MappedFile>, start: usize, length: usize },
}

impl Tiles {
    fn bytes(&self) -> &[u8] {
        match self {
            Tiles::Held(memory) => memory.bytes(),
            Tiles::Mapped { file, start, length } => &file[*start..][..*length],
        }
    }
}

impl Matrix {
    /// Packs a tensor: `rows` rows of `columns` weights, as the file has them.
    ///
    /// # Errors
    ///
    /// If shape and bytes do not agree, or memory runs out.
    pub fn pack(
        compute: &Compute,
        kind: BlockType,
        rows: usize,
        columns: usize,
        bytes: &[u8],
    ) -> Result<Matrix, PackError> {
        Matrix::pack_parts(compute, kind, columns, &[(rows, bytes)])
    }

    /// Packs the rows of several tensors one below the other (q, k, v; gate, up): one product then
    /// serves them all.
    ///
    /// # Errors
    ///
    /// As for [`Matrix::pack`].
    pub fn pack_parts(
        compute: &Compute,
        kind: BlockType,
        columns: usize,
        parts: &[(usize, &[u8])],
    ) -> Result<Matrix, PackError> {
        let row_bytes = kind.row_bytes(columns).ok_or(PackError::Columns { kind, columns })?;
        let mut sources: Vec<&[u8]> = Vec::new(); // one row each
        for (rows, bytes) in parts {
            let expected = rows.checked_mul(row_bytes);
            if expected != Some(bytes.len()) {
                return Err(PackError::Bytes { expected, found: bytes.len() });
            }
            sources.extend(bytes.chunks_exact(row_bytes.max(1)));
        }
        let rows = sources.len();
        let group_bytes = group_bytes(kind, columns);
        let bytes = group_bytes * rows.div_ceil(GROUP_ROWS);
        let mut tiles = Memory::zeroed(bytes).ok_or(PackError::OutOfMemory { bytes })?;
        let shares = Shares::new(tiles.bytes_mut());
        compute.pool.run(rows.div_ceil(GROUP_ROWS), &|group, _| {
            // SAFETY: each task writes its own group.
            let tile = unsafe { shares.slice(group * group_bytes, group_bytes) };
            let first = group * GROUP_ROWS;
            for (row, source) in sources[first..].iter().take(GROUP_ROWS).enumerate() {
                write_row(kind, tile, row, source);
            }
        });
        Ok(Matrix { rows, columns, kind, group_bytes, tiles: Tiles::Held(tiles) })
    }

    /// A matrix whose [packed](Matrix::packed) weights stand in a file from byte `start` on, a
    /// multiple of 64. Equal to the one that was written, bit for bit.
    ///
    /// # Errors
    ///
    /// If columns do not fill blocks, or the file ends before the matrix does.
    pub fn mapped(
        kind: BlockType,
        rows: usize,
        columns: usize,
        file: &Arc<MappedFile>,
        start: usize,
    ) -> Result<Matrix, PackError> {
        kind.row_bytes(columns).ok_or(PackError::Columns { kind, columns })?;
        let group_bytes = group_bytes(kind, columns);
        let expected = group_bytes.checked_mul(rows.div_ceil(GROUP_ROWS));
        let found = file.len().saturating_sub(start);
        let length = expected.filter(|&length| length <= found);
        let length = length.ok_or(PackError::Bytes { expected, found })?;
        let tiles = Tiles::Mapped { file: Arc::clone(file), start, length };
        Ok(Matrix { rows, columns, kind, group_bytes, tiles })
    }

    /// The packed weights, to be written to a file. Their layout is the same on every machine that
    /// has little-endian numbers, and may change with Myriad's version.
    pub fn packed(&self) -> &[u8] {
        self.tiles.bytes()
    }

    /// Outputs of a product with this matrix.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs of a product with this matrix.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The weights' type.
    pub fn kind(&self) -> BlockType {
        self.kind
    }

    /// Bytes of memory held: none where weights are read from a mapped file.
    pub fn bytes(&self) -> usize {
        match &self.tiles {
            Tiles::Held(memory) => memory.bytes().len(),
            Tiles::Mapped { .. } => 0,
        }
    }

    /// One row as floats, equal to `dequantise` of the file's row. `out`: [columns].
    ///
    /// # Panics
    ///
    /// If there is no such row, or `out` is not `columns` long.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        assert_eq!(out.len(), self.columns, "columns");
        read_row(self.kind, self.group(row / GROUP_ROWS), row % GROUP_ROWS, out);
    }

    /// The tile of sixteen rows.
    pub(crate) fn group(&self, group: usize) -> &[u8] {
        &self.tiles.bytes()[group * self.group_bytes..][..self.group_bytes]
    }

    /// Bytes of one of them.
    pub(crate) fn group_bytes(&self) -> usize {
        self.group_bytes
    }

    /// Groups of sixteen rows.
    pub(crate) fn groups(&self) -> usize {
        self.rows.div_ceil(GROUP_ROWS)
    }

    /// Blocks of 32 columns (quantised types).
    pub(crate) fn blocks(&self) -> usize {
        self.columns / BLOCK
    }
}
