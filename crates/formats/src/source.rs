//! Turns a model file of either format into the same thing: named tensors and their bytes.

use std::ops::Range;

use myriad_kernels::{BlockType, dequantise};

use crate::fp8::e4m3_to_f32;
use crate::gguf::Gguf;

/// How the elements of a tensor are stored, in any format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TensorKind {
    /// Weights in blocks that the kernels know; plain floats are blocks of one.
    Blocks(BlockType),
    /// 8-bit floats of 4 exponent and 3 mantissa bits, to be multiplied by scales that stand in a
    /// tensor of their own: see [`Fp8Weights`](crate::Fp8Weights).
    F8E4M3,
    /// Bytes: packed levels and scales, as of MXFP4.
    U8,
    /// 8-bit whole numbers.
    I8,
    /// 32-bit whole numbers.
    I32,
    /// 64-bit whole numbers.
    I64,
}

/// A tensor where it lies in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorView<'a> {
    /// Its name in the file.
    pub name: &'a str,
    /// How its elements are stored.
    pub kind: TensorKind,
    /// Its dimensions, columns first in either format; none of them is 0. Empty for a single value.
    pub shape: &'a [usize],
    /// `rows` times `row_bytes`.
    pub bytes: &'a [u8],
}

/// A model file, or a folder of them. Every tensor lies wholly inside its file, and names are
/// unique.
pub trait TensorSource {
    /// How many tensors there are.
    fn tensor_count(&self) -> usize;

    /// The tensor at `index`, in the order of the files.
    ///
    /// # Panics
    ///
    /// If there are not so many tensors.
    fn tensor_at(&self, index: usize) -> TensorView<'_>;

    /// The tensor of that name.
    fn find_tensor(&self, name: &str) -> Option<TensorView<'_>>;

    /// All tensors, in the order of the files.
    fn tensor_views(&self) -> Box<dyn Iterator<Item = TensorView<'_>> + '_> {
        Box::new((0..self.tensor_count()).map(|index| self.tensor_at(index)))
    }
}

/// The elements of a tensor are no weights by themselves.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{tensor}` is {kind}, which is no number by itself; F32, F16, BF16 or blocks are needed")]
pub struct NotNumbers {
    /// The tensor.
    pub tensor: String,
    /// The name of its kind.
    pub kind: &'static str,
}

impl TensorKind {
    /// The name that model files use.
    pub fn name(self) -> &'static str {
        match self {
            TensorKind::Blocks(kind) => kind.name(),
            TensorKind::F8E4M3 => "F8_E4M3",
            TensorKind::U8 => "U8",
            TensorKind::I8 => "I8",
            TensorKind::I32 => "I32",
            TensorKind::I64 => "I64",
        }
    }

    /// The block type of weights that the kernels know.
    pub fn block_type(self) -> Option<BlockType> {
        match self {
            TensorKind::Blocks(kind) => Some(kind),
            _ => None,
        }
    }

    /// Bytes of a row of `columns` elements; none if they do not fill whole blocks.
    pub fn row_bytes(self, columns: usize) -> Option<usize> {
        match self {
            TensorKind::Blocks(kind) => kind.row_bytes(columns),
            TensorKind::F8E4M3 | TensorKind::U8 | TensorKind::I8 => Some(columns),
            TensorKind::I32 => columns.checked_mul(4),
            TensorKind::I64 => columns.checked_mul(8),
        }
    }
}

impl<'a> TensorView<'a> {
    /// Elements in one row.
    pub fn columns(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// Rows: the product of all dimensions but the first.
    pub fn rows(&self) -> usize {
        self.shape.iter().skip(1).product()
    }

    /// Elements in all.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Bytes of one row.
    pub fn row_bytes(&self) -> usize {
        self.bytes.len() / self.rows()
    }

    /// The bytes of some rows.
    ///
    /// # Panics
    ///
    /// If the tensor has not so many rows.
    pub fn row_range(&self, rows: Range<usize>) -> &'a [u8] {
        &self.bytes[rows.start * self.row_bytes()..rows.end * self.row_bytes()]
    }

    /// Writes the values of some rows to `out`. 8-bit floats come without their scales.
    ///
    /// # Panics
    ///
    /// If the tensor has not so many rows, or `out` is not as long as they are.
    pub fn dequantise_rows(&self, rows: Range<usize>, out: &mut [f32]) -> Result<(), NotNumbers> {
        assert_eq!(rows.len() * self.columns(), out.len(), "{} rows", rows.len());
        let bytes = self.row_range(rows);
        match self.kind {
            TensorKind::Blocks(kind) => dequantise(kind, bytes, out),
            TensorKind::F8E4M3 => {
                out.iter_mut().zip(bytes).for_each(|(out, &byte)| *out = e4m3_to_f32(byte));
            }
            TensorKind::U8 | TensorKind::I8 | TensorKind::I32 | TensorKind::I64 => {
                return Err(NotNumbers { tensor: self.name.to_owned(), kind: self.kind.name() });
            }
        }
        Ok(())
    }
}

impl TensorSource for Gguf {
    fn tensor_count(&self) -> usize {
        self.tensors().len()
    }

    fn tensor_at(&self, index: usize) -> TensorView<'_> {
        let info = &self.tensors()[index];
        TensorView {
            name: &info.name,
            kind: TensorKind::Blocks(info.kind),
            shape: &info.shape,
            bytes: self.data(info),
        }
    }

    fn find_tensor(&self, name: &str) -> Option<TensorView<'_>> {
        self.tensor_index(name).map(|index| self.tensor_at(index))
    }
}
