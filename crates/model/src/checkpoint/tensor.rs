//! Turns runs of rows of a file's tensors into one tensor of GGUF's layout, whole or in pieces.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use myriad_formats::{Fp8Weights, TensorKind, TensorView};
use myriad_kernels::{BlockType, Compute, dequantise, quantise};

use super::{Source, mxfp4};
use crate::error::ModelError;

/// Weights that are converted at a time: 4 MB as floats, so that threads share even one tensor and
/// none needs much memory.
const PIECE: usize = 1 << 20;

/// A tensor in GGUF's layout: runs of rows of the file's tensors, one behind the other.
#[derive(Clone, Debug)]
pub(crate) struct Tensor<'a> {
    /// The name in the file, for people; of several tensors the first one's.
    pub name: String,
    /// Columns first.
    pub shape: Vec<usize>,
    /// The type that holds its weights as the file has them.
    pub kind: BlockType,
    /// The type that they are to become: `kind`, unless a [`Precision`](crate::Precision) says
    /// otherwise.
    pub goal: BlockType,
    /// The file's tensors.
    pub(super) views: Vec<TensorView<'a>>,
    /// Which rows of which of them, in order.
    pub(super) runs: Vec<Run>,
    pub(super) source: Source<'a>,
    pub(super) change: Change<'a>,
    /// Where in a row each of its elements comes from; none where all are in their places.
    pub(super) column_order: Option<Arc<[usize]>>,
}

#[derive(Clone, Debug)]
pub(super) struct Run {
    pub view: usize,
    pub rows: Range<usize>,
}

/// What the file's rows become.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change<'a> {
    None,
    /// Folders of some families keep what norms have above 1.
    PlusOne,
    /// Folders keep the logarithms of what is taken away.
    MinusExp,
    /// Of each row, every other element, from the first or the second on.
    Alternate(usize),
    /// Each run of rows is a matrix, whose columns become rows: all, or every other one.
    Transposed(Option<usize>),
    /// Blocks of 4-bit floats, whose scales are in another tensor: all rows of each run, or every
    /// other one.
    Mxfp4 {
        scales: TensorView<'a>,
        alternate: Option<usize>,
    },
}

impl<'a> Tensor<'a> {
    /// Elements of one row.
    pub fn columns(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// Rows of all experts together.
    pub fn rows(&self) -> usize {
        self.shape.iter().skip(1).product()
    }

    /// Bytes in blocks of the type that it is to become.
    pub fn goal_bytes(&self) -> usize {
        self.goal.row_bytes(self.columns()).unwrap_or(0) * self.rows()
    }

    /// Whether it is another whole tensor of the file once more, byte by byte.
    pub fn is_equal(&self, other: &Tensor<'_>) -> bool {
        match (&self.views[..], &other.views[..]) {
            ([own], [others]) => {
                (self.goal, &self.shape) == (other.goal, &other.shape)
                    && (own.kind, own.bytes) == (others.kind, others.bytes)
            }
            _ => false,
        }
    }

    /// The names of the file's tensors that it is made of.
    pub fn names(&self) -> impl Iterator<Item = &'a str> + '_ {
        let scales = match self.change {
            Change::Mxfp4 { scales, .. } => Some(scales.name),
            _ => None,
        };
        self.views.iter().map(|view| view.name).chain(scales)
    }

    /// What one of several experts, or heads, has of it.
    pub fn of_expert(&self, expert: usize, experts: usize) -> Tensor<'a> {
        let size = self.runs.iter().map(|run| run.rows.len()).sum::<usize>() / experts;
        let shape = self.shape[..self.shape.len().min(2)].to_vec();
        Tensor { shape, ..self.of_file_rows(expert * size..(expert + 1) * size) }
    }

    /// What some of the file's rows, counted through all runs, become. The shape stays.
    fn of_file_rows(&self, range: Range<usize>) -> Tensor<'a> {
        let (mut views, mut runs) = (Vec::new(), Vec::new());
        let mut before = 0;
        for run in &self.runs {
            let after = before + run.rows.len();
            let (start, end) = (range.start.max(before), range.end.min(after));
            if start < end {
                let first = run.rows.start;
                let rows = first + start - before..first + end - before;
                runs.push(Run { view: views.len(), rows });
                views.push(self.views[run.view]);
            }
            before = after;
        }
        let name = views.first().map_or(self.name.as_str(), |view| view.name).to_owned();
        let (shape, column_order) = (self.shape.clone(), self.column_order.clone());
        Tensor { name, views, runs, shape, column_order, ..*self }
    }

    /// The same rows, or the elements of a vector, in another order: where each comes from.
    pub fn in_order(mut self, order: &[usize]) -> Tensor<'a> {
        if self.rows() == 1 {
            return self.columns_in_order(order);
        }
        let rows = self.runs.iter().flat_map(|run| run.rows.clone().map(|row| (run.view, row)));
        let rows: Vec<(usize, usize)> = rows.collect();
        let row = |&from: &usize| (rows[from].0, rows[from].1..rows[from].1 + 1);
        self.runs = order.iter().map(row).map(|(view, rows)| Run { view, rows }).collect();
        self
    }

    /// The same rows with their elements in another order: where each comes from.
    pub fn columns_in_order(self, order: &[usize]) -> Tensor<'a> {
        Tensor { column_order: Some(order.into()), ..self }
    }

    /// The same rows in tensors of about [`PIECE`] weights, in order.
    pub fn pieces(&self) -> Vec<Tensor<'a>> {
        let runs = self.runs.len();
        match self.change {
            // Columns become rows, or every other row is meant: within a run only.
            Change::Transposed(_) | Change::Mxfp4 { .. } => {
                (0..runs).map(|run| self.of_expert(run, runs)).collect()
            }
            _ => {
                let (rows, columns) = (self.rows(), self.columns());
                let size = (PIECE / columns.max(1)).max(1);
                let piece = |start: usize| {
                    let end = rows.min(start + size);
                    let shape = vec![columns, end - start];
                    Tensor { shape, ..self.of_file_rows(start..end) }
                };
                (0..rows).step_by(size).map(piece).collect()
            }
        }
    }

    /// Of rows in groups of `size`, every other group, from the first or the second on.
    pub fn alternate_groups(&self, size: usize, from: usize) -> Tensor<'a> {
        let rows: usize = self.rows();
        let mut tensor = self.of_expert(0, 1);
        let runs = tensor.runs.iter().flat_map(|run| {
            let starts = run.rows.clone().skip(from * size).step_by(2 * size);
            starts.map(|start| Run { view: run.view, rows: start..start + size })
        });
        tensor.runs = runs.collect();
        tensor.shape = vec![self.columns(), rows / 2];
        tensor
    }

    /// The rows in blocks of the type that they are to become: borrowed where the file has them so,
    /// else converted on all threads.
    ///
    /// # Errors
    /// As [`bytes`](Tensor::bytes).
    pub fn goal_rows(&self, compute: &Compute) -> Result<Cow<'a, [u8]>, ModelError> {
        if self.goal == self.kind && !self.is_computed() {
            return self.bytes();
        }
        let pieces = self.pieces();
        let done = encode_all(&pieces, compute)?;
        Ok(Cow::Owned(done.concat()))
    }

    /// The rows in blocks of the type that they are to become.
    fn encode(&self) -> Result<Cow<'a, [u8]>, ModelError> {
        match self.goal == self.kind {
            true => self.bytes(),
            false => Ok(Cow::Owned(quantise(self.goal, &self.values()?))),
        }
    }

    /// Whether the file has something else than the rows.
    fn is_computed(&self) -> bool {
        let is_fp8 = self.views.iter().any(|view| view.kind == TensorKind::F8E4M3);
        is_fp8 || self.column_order.is_some() || !matches!(self.change, Change::None)
    }

    /// The rows as the file has them, in GGUF's layout: borrowed where they lie so.
    ///
    /// # Errors
    /// [`ModelError`] where scales of 8-bit floats are missing or of another shape.
    pub fn bytes(&self) -> Result<Cow<'a, [u8]>, ModelError> {
        if let Change::Mxfp4 { scales, alternate } = self.change {
            let rows = self.runs.iter().flat_map(|run| run.rows.clone());
            return Ok(Cow::Owned(mxfp4::blocks(
                self.views[0],
                scales,
                alternate_of(rows, alternate),
            )));
        }
        if self.is_computed() {
            return Ok(Cow::Owned(quantise(self.kind, &self.values()?)));
        }
        match &self.runs[..] {
            [run] => Ok(Cow::Borrowed(self.views[run.view].row_range(run.rows.clone()))),
            runs => {
                let mut bytes = Vec::new();
                for run in runs {
                    bytes.extend_from_slice(self.views[run.view].row_range(run.rows.clone()));
                }
                Ok(Cow::Owned(bytes))
            }
        }
    }

    /// The values, dequantised.
    ///
    /// # Errors
    /// As [`bytes`](Tensor::bytes).
    pub fn values(&self) -> Result<Vec<f32>, ModelError> {
        if let Change::Mxfp4 { .. } = self.change {
            let mut values = vec![0.0; self.rows() * self.columns()];
            dequantise(self.kind, &self.bytes()?, &mut values);
            return Ok(values);
        }
        let mut values = Vec::with_capacity(self.rows() * self.columns());
        for run in &self.runs {
            let view = self.views[run.view];
            let stored = self.stored(view, run.rows.clone())?;
            match self.change {
                Change::None | Change::Mxfp4 { .. } => values.extend(stored),
                Change::PlusOne => values.extend(stored.into_iter().map(|value| value + 1.0)),
                Change::MinusExp => values.extend(stored.into_iter().map(|value| -value.exp())),
                Change::Alternate(from) => values.extend(alternate_of(stored, Some(from))),
                Change::Transposed(alternate) => {
                    for column in alternate_of(0..view.columns(), alternate) {
                        values.extend(stored[column..].iter().step_by(view.columns()));
                    }
                }
            }
        }
        if let Some(order) = &self.column_order {
            let rows = values.chunks_exact(order.len());
            values = rows.flat_map(|row| order.iter().map(|&from| row[from])).collect();
        }
        Ok(values)
    }

    /// Rows of one of the file's tensors, dequantised.
    fn stored(&self, view: TensorView<'a>, rows: Range<usize>) -> Result<Vec<f32>, ModelError> {
        let mut values = vec![0.0; rows.len() * view.columns()];
        if view.kind == TensorKind::F8E4M3 {
            let weights = Fp8Weights::find(self.source.tensors(), view)?;
            weights.dequantise_rows(rows, &mut values);
        } else {
            view.dequantise_rows(rows, &mut values)?;
        }
        Ok(values)
    }

    /// The values of a norm, bias or divisor, which no file quantises.
    ///
    /// # Errors
    /// [`ModelError::VectorKind`] where this one does.
    pub fn vector(&self) -> Result<Vec<f32>, ModelError> {
        let kind = self.views[0].kind;
        if !kind.block_type().is_some_and(BlockType::is_float) {
            let (name, kind) = (self.name.clone(), kind.name());
            return Err(ModelError::VectorKind { name, kind });
        }
        self.values()
    }
}

/// Converts tensors on all threads: the blocks of each, in order.
///
/// # Errors
/// That of the first tensor that has one.
pub(crate) fn encode_all<'a>(
    tensors: &[Tensor<'a>],
    compute: &Compute,
) -> Result<Vec<Cow<'a, [u8]>>, ModelError> {
    let done: Vec<Mutex<Option<_>>> = tensors.iter().map(|_| Mutex::new(None)).collect();
    compute.pool.run(tensors.len(), &|index, _| {
        let encoded = tensors[index].encode();
        // Each lock is taken by one task, once: none is poisoned or waited for.
        if let Ok(mut slot) = done[index].lock() {
            *slot = Some(encoded);
        }
    });
    let slots = done.into_iter().filter_map(|slot| slot.into_inner().ok().flatten());
    slots.collect()
}

/// All items, or every other one from the first or the second on.
fn alternate_of<I: IntoIterator>(
    items: I,
    alternate: Option<usize>,
) -> impl Iterator<Item = I::Item> {
    let (from, step) = alternate.map_or((0, 1), |from| (from, 2));
    items.into_iter().skip(from).step_by(step)
}
