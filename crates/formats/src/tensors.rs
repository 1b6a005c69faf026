//! Turns a file's tensor table into descriptions whose every byte lies inside the file.

use myriad_kernels::BlockType;

use crate::cursor::Cursor;
use crate::error::{GgufError, shown};
use crate::limits::{DIMENSIONS_MAX, TENSOR_NAME_BYTES_MAX};
use crate::types::{TypeFault, block_type, supported_types};

/// Least bytes of an entry: length and one byte of name, dimensions, one size, type, offset.
const ENTRY_BYTES_MIN: u64 = 8 + 1 + 4 + 8 + 4 + 8;

/// Memory of an entry without what it points to; two indices have four bytes more each.
const ENTRY_MEMORY: u64 = size_of::<TensorInfo>() as u64 + 8;

/// What a file says about one tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name, such as `blk.0.attn_q.weight`.
    pub name: String,
    /// How its weights are stored.
    pub kind: BlockType,
    /// Its dimensions in GGUF's order, columns first: at least one, none of them 0.
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

/// Tensors in the order of the file, and their order by name.
#[derive(Debug)]
pub(crate) struct TensorTable {
    pub(crate) tensors: Vec<TensorInfo>,
    by_name: Vec<u32>,
}

impl TensorTable {
    /// Reads `count` descriptions; whether their bytes are there is for [`check_data`] to say.
    ///
    /// [`check_data`]: TensorTable::check_data
    pub(crate) fn read(
        cursor: &mut Cursor<'_>,
        count: u64,
        alignment: u32,
    ) -> Result<TensorTable, GgufError> {
        cursor.check_count("tensors", count, ENTRY_BYTES_MIN)?;
        cursor.book(count.saturating_mul(ENTRY_MEMORY), "the table of tensors")?;
        let mut tensors = Vec::with_capacity(count as usize);
        for index in 0..count as usize {
            tensors.push(read_tensor(cursor, index, alignment)?);
        }
        let mut by_name: Vec<u32> = (0..count as u32).collect();
        let name = |index: u32| tensors[index as usize].name.as_str();
        by_name.sort_unstable_by(|&a, &b| name(a).cmp(name(b)));
        if let Some(pair) = by_name.windows(2).find(|pair| name(pair[0]) == name(pair[1])) {
            return Err(GgufError::DuplicateTensor { tensor: shown(name(pair[0])) });
        }
        Ok(TensorTable { tensors, by_name })
    }

    /// Where the tensor of that name stands.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        let tensor = |index: u32| &self.tensors[index as usize];
        let at = self.by_name.binary_search_by(|&index| tensor(index).name.as_str().cmp(name));
        Some(self.by_name[at.ok()?] as usize)
    }

    /// Checks that all tensors lie inside a data section of `length` bytes, each in a place of its
    /// own. Gaps are allowed.
    pub(crate) fn check_data(&self, length: usize) -> Result<(), GgufError> {
        for tensor in &self.tensors {
            let end = tensor.offset.checked_add(tensor.bytes);
            if end.is_none_or(|end| end > length) {
                return Err(GgufError::TensorBeyondFile {
                    tensor: shown(&tensor.name),
                    offset: tensor.offset as u64,
                    bytes: tensor.bytes as u64,
                    left: length,
                });
            }
        }
        let mut by_offset: Vec<u32> = (0..self.tensors.len() as u32).collect();
        by_offset.sort_unstable_by_key(|&index| self.tensors[index as usize].offset);
        for pair in by_offset.windows(2) {
            let [first, second] = [pair[0], pair[1]].map(|index| &self.tensors[index as usize]);
            if first.offset + first.bytes > second.offset {
                let offset = second.offset as u64;
                let [first, second] = [first, second].map(|tensor| shown(&tensor.name));
                return Err(GgufError::Overlap { first, second, offset });
            }
        }
        Ok(())
    }
}

fn read_tensor(
    cursor: &mut Cursor<'_>,
    index: usize,
    alignment: u32,
) -> Result<TensorInfo, GgufError> {
    let name = read_name(cursor, index)?;
    let shape = read_shape(cursor, name)?;
    let kind = read_kind(cursor, name)?;
    let bytes = data_bytes(name, kind, &shape)?;
    let offset = cursor.u64("the offset of a tensor")?;
    if !offset.is_multiple_of(alignment.into()) {
        return Err(GgufError::OffsetAlignment { tensor: shown(name), offset, alignment });
    }
    let Ok(place) = usize::try_from(offset) else {
        let (tensor, bytes, left) = (shown(name), bytes as u64, cursor.left());
        return Err(GgufError::TensorBeyondFile { tensor, offset, bytes, left });
    };
    cursor.book(name.len() as u64 + size_of_val(&shape[..]) as u64, "a tensor's description")?;
    Ok(TensorInfo { name: name.to_owned(), kind, shape, offset: place, bytes })
}

fn read_name<'a>(cursor: &mut Cursor<'a>, index: usize) -> Result<&'a str, GgufError> {
    let length = cursor.u64("the length of a tensor's name")?;
    match length {
        0 => return Err(GgufError::EmptyTensorName { index }),
        1..=TENSOR_NAME_BYTES_MAX => {}
        _ => {
            let max = TENSOR_NAME_BYTES_MAX;
            return Err(GgufError::TensorNameLength { index, length, max });
        }
    }
    let bytes = cursor.take(length, "a tensor's name")?;
    std::str::from_utf8(bytes).map_err(|_| GgufError::TensorNameEncoding { index })
}

/// One to four sizes, none of them 0, whose product is a number of elements.
fn read_shape(cursor: &mut Cursor<'_>, name: &str) -> Result<Vec<usize>, GgufError> {
    let count = cursor.u32("the dimensions of a tensor")?;
    if !(1..=DIMENSIONS_MAX).contains(&count) {
        let (tensor, max) = (shown(name), DIMENSIONS_MAX);
        return Err(GgufError::DimensionCount { tensor, count, max });
    }
    let mut sizes = [1u64; DIMENSIONS_MAX as usize];
    let sizes = &mut sizes[..count as usize];
    for size in &mut *sizes {
        *size = cursor.u64("the dimensions of a tensor")?;
    }
    if let Some(dimension) = sizes.iter().position(|&size| size == 0) {
        return Err(GgufError::ZeroDimension { tensor: shown(name), dimension });
    }
    // ggml counts elements in an i64.
    let product = sizes.iter().try_fold(1u64, |product, &size| product.checked_mul(size));
    let fits = product
        .is_some_and(|product| product <= i64::MAX as u64 && usize::try_from(product).is_ok());
    if !fits {
        return Err(GgufError::TensorSize { tensor: shown(name), shape: sizes.to_vec() });
    }
    // No size is larger than the product.
    Ok(sizes.iter().map(|&size| size as usize).collect())
}

fn read_kind(cursor: &mut Cursor<'_>, name: &str) -> Result<BlockType, GgufError> {
    let id = cursor.u32("the type of a tensor")?;
    block_type(id).map_err(|fault| {
        let (tensor, supported) = (shown(name), supported_types());
        match fault {
            TypeFault::Unsupported(name) => GgufError::UnsupportedType { tensor, name, supported },
            TypeFault::Removed(name) => GgufError::RemovedType { tensor, name, supported },
            TypeFault::Unknown => GgufError::UnknownType { tensor, id, supported },
        }
    })
}

/// Bytes of all rows.
fn data_bytes(name: &str, kind: BlockType, shape: &[usize]) -> Result<usize, GgufError> {
    let (columns, block) = (shape[0], kind.block_elements());
    if !columns.is_multiple_of(block) {
        return Err(GgufError::RowBlocks {
            tensor: shown(name),
            columns,
            kind: kind.name(),
            block,
        });
    }
    let rows: usize = shape[1..].iter().product();
    kind.row_bytes(columns).and_then(|row| row.checked_mul(rows)).ok_or_else(|| {
        let shape = shape.iter().map(|&size| size as u64).collect();
        GgufError::TensorSize { tensor: shown(name), shape }
    })
}
