//! Turns packed matrices into a file, and that file into matrices that need no memory of their own.
//!
//! The file has all matrices of a model in the order of loading, each from a multiple of 64 bytes
//! on, as the kernels have them in memory, and a mark at its end. Which model it is of is for its
//! name to say: whoever keeps it knows where the weights come from.

use std::io::Write;
use std::sync::Arc;

use myriad_kernels::{BlockType, Compute, MappedFile, Matrix};

use crate::error::ModelError;

/// Begins every matrix: a cache line, which is also the widest register.
const ALIGNMENT: usize = 64;

/// Ends the file, so that one that was not written to its end is not taken for whole. The number is
/// that of the layout.
const MARK: &[u8; 16] = b"myriad-packed-2\n";

/// Where packed matrices go, or come from.
pub(crate) enum Packed<'a> {
    /// Into memory.
    Held,
    /// Into a file, and nowhere else: matrices come back empty.
    Written(&'a mut dyn Write),
    /// From such a file, one behind the other.
    Mapped { file: Arc<MappedFile>, next: usize },
}

impl Packed<'_> {
    /// The next matrix, if it is packed already.
    ///
    /// # Errors
    /// [`ModelError::PackedFile`] where the file ends before it.
    pub fn stored(
        &mut self,
        kind: BlockType,
        rows: usize,
        columns: usize,
    ) -> Result<Option<Matrix>, ModelError> {
        let Packed::Mapped { file, next } = self else { return Ok(None) };
        let matrix = Matrix::mapped(kind, rows, columns, file, *next);
        let matrix = matrix.map_err(|_| ModelError::PackedFile)?;
        *next += matrix.packed().len().next_multiple_of(ALIGNMENT);
        Ok(Some(matrix))
    }

    /// What becomes of a matrix that was packed just now.
    ///
    /// # Errors
    /// [`ModelError::PackedWrite`] where it cannot be written.
    pub fn keep(&mut self, compute: &Compute, matrix: Matrix) -> Result<Matrix, ModelError> {
        let Packed::Written(out) = self else { return Ok(matrix) };
        let tiles = matrix.packed();
        let zeros = tiles.len().next_multiple_of(ALIGNMENT) - tiles.len();
        let written = out.write_all(tiles).and_then(|()| out.write_all(&[0; ALIGNMENT][..zeros]));
        written.map_err(ModelError::PackedWrite)?;
        let empty = Matrix::pack(compute, matrix.kind(), 0, matrix.columns(), &[]);
        empty.map_err(|_| ModelError::PackedFile)
    }

    /// Ends the file, or checks that it ends here.
    ///
    /// # Errors
    /// As of the other two.
    pub fn finish(self) -> Result<(), ModelError> {
        match self {
            Packed::Held => Ok(()),
            Packed::Written(out) => {
                out.write_all(MARK).and_then(|()| out.flush()).map_err(ModelError::PackedWrite)
            }
            Packed::Mapped { file, next } => match file.get(next..) == Some(&MARK[..]) {
                true => Ok(()),
                false => Err(ModelError::PackedFile),
            },
        }
    }
}
