//! Turns a model file of either format into tensors with GGUF's names and layouts.
//!
//! Everything behind this file knows one convention: that of llama.cpp's converters. What a Hugging
//! Face folder stores otherwise (one tensor for each expert, 8-bit floats with scales) is put in
//! order here, piece by piece, when it is asked for.

mod names;

use std::borrow::Cow;
use std::ops::Range;

use myriad_formats::{Fp8Weights, Gguf, ModelFolder, TensorKind, TensorSource, TensorView};
use myriad_kernels::{BlockType, quantise};

use crate::config::Family;
use crate::error::ModelError;

/// A model file: GGUF, or a folder as Hugging Face publishes models.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// One GGUF file.
    Gguf(&'a Gguf),
    /// A folder of `config.json` and safetensors.
    Folder(&'a ModelFolder),
}

impl<'a> From<&'a Gguf> for Source<'a> {
    fn from(gguf: &'a Gguf) -> Source<'a> {
        Source::Gguf(gguf)
    }
}

impl<'a> From<&'a ModelFolder> for Source<'a> {
    fn from(folder: &'a ModelFolder) -> Source<'a> {
        Source::Folder(folder)
    }
}

impl<'a> Source<'a> {
    /// The tensors as the file has them.
    pub(crate) fn tensors(self) -> &'a dyn TensorSource {
        match self {
            Source::Gguf(gguf) => gguf,
            Source::Folder(folder) => folder,
        }
    }
}

/// The tensors of a file whose family is known, under GGUF's names.
#[derive(Clone, Copy)]
pub(crate) struct Checkpoint<'a> {
    pub source: Source<'a>,
    pub family: Family,
}

/// A tensor in GGUF's layout: runs of rows of the file's tensors, one behind the other.
#[derive(Clone, Debug)]
pub(crate) struct Tensor<'a> {
    /// The name in the file, for people; of several tensors the first one's.
    pub name: String,
    /// Columns first.
    pub shape: Vec<usize>,
    /// The type that its weights are loaded as.
    pub kind: BlockType,
    /// The file's tensors.
    views: Vec<TensorView<'a>>,
    /// Which rows of which of them, in order.
    runs: Vec<Run>,
    source: Source<'a>,
    /// Added to every value: folders of Gemma keep what norms have above 1.
    offset: f32,
}

#[derive(Clone, Debug)]
struct Run {
    view: usize,
    rows: Range<usize>,
}

impl<'a> Checkpoint<'a> {
    /// The tensor of that GGUF name, if the file has it.
    pub fn optional(&self, name: &str) -> Result<Option<Tensor<'a>>, ModelError> {
        match self.source {
            Source::Gguf(gguf) => match gguf.find_tensor(name) {
                Some(view) => self.whole(view, Vec::from(view.shape)).map(Some),
                None => Ok(None),
            },
            Source::Folder(folder) => self.of_folder(folder, name),
        }
    }

    /// The tensor of that GGUF name.
    pub fn find(&self, name: &str) -> Result<Tensor<'a>, ModelError> {
        self.optional(name)?.ok_or_else(|| ModelError::MissingTensor {
            name: match self.source {
                Source::Gguf(_) => name.to_owned(),
                Source::Folder(folder) => names::in_folder(folder, self.family, name).for_people(),
            },
            family: self.family.name(),
        })
    }

    /// Whether the file has the tensor of that GGUF name.
    pub fn has(&self, name: &str) -> bool {
        match self.source {
            Source::Gguf(gguf) => gguf.find_tensor(name).is_some(),
            Source::Folder(folder) => {
                !names::in_folder(folder, self.family, name).views(folder).is_empty()
            }
        }
    }

    /// The names in the file of what is no weight of the model by itself: scales of other tensors,
    /// tables that older programs saved, a head that repeats the embedding.
    pub fn is_ignorable(&self, name: &str, tied_output: bool) -> bool {
        match self.source {
            Source::Gguf(_) => false,
            Source::Folder(folder) => names::is_ignorable(folder, name, tied_output),
        }
    }

    fn of_folder(
        &self,
        folder: &'a ModelFolder,
        name: &str,
    ) -> Result<Option<Tensor<'a>>, ModelError> {
        let place = names::in_folder(folder, self.family, name);
        let views = place.views(folder);
        let Some(&first) = views.first() else { return Ok(None) };
        if let names::Place::Experts { .. } = place {
            return self.stack(views).map(Some);
        }
        // Rows of one fused tensor: gate and up of all experts.
        let rows = place.rows_within(first);
        let mut shape = Vec::from(first.shape);
        if let Some((_, size)) = &rows {
            shape[1] = *size;
        }
        let mut tensor = self.whole(first, shape)?;
        if let Some((runs, _)) = rows {
            tensor.runs = runs.into_iter().map(|rows| Run { view: 0, rows }).collect();
        }
        Ok(Some(tensor))
    }

    fn whole(&self, view: TensorView<'a>, shape: Vec<usize>) -> Result<Tensor<'a>, ModelError> {
        let kind = loaded_kind(&view)?;
        let runs = vec![Run { view: 0, rows: 0..view.rows() }];
        let (name, source) = (view.name.to_owned(), self.source);
        let is_offset = matches!(source, Source::Folder(_))
            && self.family == Family::Gemma3
            && view.name.ends_with("norm.weight");
        let offset = if is_offset { 1.0 } else { 0.0 };
        Ok(Tensor { name, shape, kind, views: vec![view], runs, source, offset })
    }

    /// Matrices of one shape and type, one for each expert, as one tensor.
    fn stack(&self, views: Vec<TensorView<'a>>) -> Result<Tensor<'a>, ModelError> {
        let first = views[0];
        if let Some(other) =
            views.iter().find(|view| view.shape != first.shape || view.kind != first.kind)
        {
            return Err(ModelError::UnequalExperts {
                name: other.name.to_owned(),
                found: format!("{} {:?}", other.kind.name(), other.shape),
                first: first.name.to_owned(),
                expected: format!("{} {:?}", first.kind.name(), first.shape),
            });
        }
        let (rows, experts) = (first.rows(), views.len());
        let shape = [first.shape, &[experts]].concat();
        let tensor = self.whole(first, shape)?;
        let runs = (0..experts).map(|view| Run { view, rows: 0..rows }).collect();
        Ok(Tensor { views, runs, ..tensor })
    }
}

/// The type that a file's tensor is loaded as: scaled 8-bit floats become BF16, which has more bits
/// than they.
fn loaded_kind(view: &TensorView<'_>) -> Result<BlockType, ModelError> {
    match view.kind {
        TensorKind::Blocks(kind) => Ok(kind),
        TensorKind::F8E4M3 => Ok(BlockType::BF16),
        other => {
            let (name, kind) = (view.name.to_owned(), other.name());
            Err(ModelError::WeightKind { name, kind })
        }
    }
}

impl<'a> Tensor<'a> {
    /// Elements of one row.
    pub fn columns(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// Rows of all experts together.
    pub fn rows(&self) -> usize {
        self.runs.iter().map(|run| run.rows.len()).sum()
    }

    /// Bytes in the file.
    pub fn file_bytes(&self) -> usize {
        self.runs.iter().map(|run| self.views[run.view].row_bytes() * run.rows.len()).sum()
    }

    /// The names of the file's tensors that it is made of.
    pub fn names(&self) -> impl Iterator<Item = &'a str> + '_ {
        self.views.iter().map(|view| view.name)
    }

    /// What one of several experts has of it.
    pub fn of_expert(&self, expert: usize, experts: usize) -> Tensor<'a> {
        let size = self.rows() / experts;
        let mut tensor = Tensor { runs: Vec::new(), ..self.clone_head() };
        let (from, to) = (expert * size, (expert + 1) * size);
        let mut before = 0;
        for run in &self.runs {
            let after = before + run.rows.len();
            let (start, end) = (from.max(before), to.min(after));
            if start < end {
                let first = run.rows.start;
                tensor.views.push(self.views[run.view]);
                let rows = first + start - before..first + end - before;
                tensor.runs.push(Run { view: tensor.views.len() - 1, rows });
            }
            before = after;
        }
        if let Some(view) = tensor.views.first() {
            view.name.clone_into(&mut tensor.name);
        }
        tensor
    }

    /// All but views and runs; without the dimension of the experts.
    fn clone_head(&self) -> Tensor<'a> {
        let shape = self.shape[..self.shape.len().min(2)].to_vec();
        let (name, kind, source) = (self.name.clone(), self.kind, self.source);
        Tensor {
            name,
            shape,
            kind,
            views: Vec::new(),
            runs: Vec::new(),
            source,
            offset: self.offset,
        }
    }

    /// The rows as they are loaded: borrowed where the file has them so.
    ///
    /// # Errors
    /// [`ModelError`] where scales of 8-bit floats are missing or of another shape.
    pub fn bytes(&self) -> Result<Cow<'a, [u8]>, ModelError> {
        let is_fp8 = self.views.iter().any(|view| view.kind == TensorKind::F8E4M3);
        match &self.runs[..] {
            _ if is_fp8 => Ok(Cow::Owned(quantise(self.kind, &self.values()?))),
            [run] => Ok(Cow::Borrowed(self.views[run.view].row_range(run.rows.clone()))),
            runs => {
                let mut bytes = Vec::with_capacity(self.file_bytes());
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
        let columns = self.columns();
        let mut values = vec![0.0; self.rows() * columns];
        let mut rest = &mut values[..];
        for run in &self.runs {
            let (out, after) = rest.split_at_mut(run.rows.len() * columns);
            rest = after;
            let view = self.views[run.view];
            if view.kind == TensorKind::F8E4M3 {
                let weights = Fp8Weights::find(self.source.tensors(), view)?;
                weights.dequantise_rows(run.rows.clone(), out);
            } else {
                view.dequantise_rows(run.rows.clone(), out)?;
            }
        }
        if self.offset != 0.0 {
            values.iter_mut().for_each(|value| *value += self.offset);
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
