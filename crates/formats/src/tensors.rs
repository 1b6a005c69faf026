//! Turns a file's tensor table into descriptions whose every byte lies inside the file.

use myriad_kernels::BlockType;

/// What a file says about one tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name, such as `blk.0.attn_q.weight`.
    pub name: String,
    /// How its weights are stored.
    pub kind: BlockType,
    /// Its dimensions in GGUF's order, columns first.
    pub shape: Vec<usize>,
    /// Bytes from the beginning of the data section.
    offset: usize,
    /// Bytes of all its blocks.
    bytes: usize,
}

impl TensorInfo {
    /// Weights in one row.
    pub fn columns(&self) -> usize {
        self.shape[0]
    }

    /// Rows: the product of all dimensions but the first.
    pub fn rows(&self) -> usize {
        self.shape[1..].iter().product()
    }

    /// Weights in all.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Bytes in the file.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where its bytes begin, from the beginning of the data section.
    pub fn offset(&self) -> usize {
        self.offset
    }
}
