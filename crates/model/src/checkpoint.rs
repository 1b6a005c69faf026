//! Turns a model file of either format into tensors with GGUF's names and layouts.
//!
//! Everything behind this file knows one convention: that of llama.cpp's converters of today. What
//! a Hugging Face folder or an older GGUF file stores otherwise (one tensor for each expert, 8-bit
//! floats with scales, keys and values of latents in one matrix) is put in order here, piece by
//! piece, when it is asked for.

mod mxfp4;
mod names;
mod place;

use std::borrow::Cow;
use std::ops::Range;

use myriad_formats::{Fp8Weights, Gguf, ModelFolder, TensorKind, TensorSource, TensorView};
use myriad_kernels::{BlockType, DeltaShape, dequantise, quantise};

use crate::config::{Config, Family, Mixer};
use crate::error::ModelError;
use place::{DeltaPart, Part, Place};

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
    sizes: Sizes,
}

/// The sizes that tell apart what some files have in one matrix; 0 where the model has none.
#[derive(Clone, Copy, Debug, Default)]
struct Sizes {
    /// Heads of latent attention.
    heads: usize,
    /// Rows of each head's keys without rope.
    nope: usize,
    /// Rows of each head's values.
    value: usize,
    /// Of gated delta nets.
    delta: Option<DeltaShape>,
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
    change: Change<'a>,
}

#[derive(Clone, Debug)]
struct Run {
    view: usize,
    rows: Range<usize>,
}

/// What the file's rows become.
#[derive(Clone, Copy, Debug)]
enum Change<'a> {
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

impl<'a> Checkpoint<'a> {
    /// The tensors of a file of which no more than its family is known: enough to see what is
    /// there.
    pub fn new(source: Source<'a>, family: Family) -> Checkpoint<'a> {
        Checkpoint { source, family, sizes: Sizes::default() }
    }

    /// The tensors of the file that `config` was read from.
    pub fn of(source: Source<'a>, config: &Config) -> Checkpoint<'a> {
        let mut sizes = Sizes::default();
        for layer in &config.layers {
            match &layer.mixer {
                Mixer::Gqa(_) => {}
                Mixer::Mla(mla) => {
                    let (heads, nope, value) = (mla.heads, mla.nope_size, mla.value_size);
                    sizes = Sizes { heads, nope, value, ..sizes };
                }
                Mixer::GatedDelta(shape) => sizes.delta = Some(*shape),
            }
        }
        Checkpoint { source, family: config.family, sizes }
    }

    /// The tensor of that GGUF name, if the file has it.
    pub fn optional(&self, name: &str) -> Result<Option<Tensor<'a>>, ModelError> {
        let place = self.place(name);
        let views = place.views(self.source.tensors());
        let Some(&first) = views.first() else { return Ok(None) };
        let tensor = match place.part {
            Part::Whole => self.whole(first, Vec::from(first.shape), Change::None)?,
            Part::PlusOne => self.whole(first, Vec::from(first.shape), Change::PlusOne)?,
            Part::MinusExp => self.whole(first, Vec::from(first.shape), Change::MinusExp)?,
            Part::Squeezed => {
                let shape = first.shape.iter().copied().filter(|&size| size != 1).collect();
                self.whole(first, shape, Change::None)?
            }
            Part::Experts => self.stack(views)?,
            Part::Half(half) => self.half(first, half)?,
            Part::Alternate(from) => {
                let mut shape = Vec::from(first.shape);
                shape[0] /= 2;
                self.whole(first, shape, Change::Alternate(from))?
            }
            Part::Transposed(alternate) => self.transposed(first, alternate)?,
            Part::Mxfp4(alternate) => self.mxfp4(&views, alternate)?,
            Part::LatentKeys => self.of_latents(first, true)?,
            Part::LatentValues => self.of_latents(first, false)?,
            Part::Delta(part) => self.of_delta(first, part)?,
        };
        Ok(Some(tensor))
    }

    /// The tensor of that GGUF name.
    pub fn find(&self, name: &str) -> Result<Tensor<'a>, ModelError> {
        self.optional(name)?.ok_or_else(|| ModelError::MissingTensor {
            name: self.place(name).for_people(),
            family: self.family.name(),
        })
    }

    /// Whether the file has the tensor of that GGUF name.
    pub fn has(&self, name: &str) -> bool {
        !self.place(name).views(self.source.tensors()).is_empty()
    }

    /// Whether a tensor of the file is no part of the model's description: scales of other tensors,
    /// tables that older programs saved, a head that repeats the embedding, layers that guess
    /// further tokens.
    pub fn is_ignorable(&self, name: &str, config: &Config) -> bool {
        match self.source {
            Source::Gguf(_) => names::is_behind_the_trunk(name, "blk.", config),
            Source::Folder(folder) => names::is_ignorable(folder, name, config),
        }
    }

    fn place(&self, name: &str) -> Place {
        match self.source {
            Source::Gguf(gguf) => names::in_gguf(gguf, name),
            Source::Folder(folder) => names::in_folder(folder, self.family, name),
        }
    }

    fn whole(
        &self,
        view: TensorView<'a>,
        shape: Vec<usize>,
        change: Change<'a>,
    ) -> Result<Tensor<'a>, ModelError> {
        let kind = loaded_kind(&view)?;
        let runs = vec![Run { view: 0, rows: 0..view.rows() }];
        let (name, source) = (view.name.to_owned(), self.source);
        Ok(Tensor { name, shape, kind, views: vec![view], runs, source, change })
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
        let tensor = self.whole(first, shape, Change::None)?;
        let runs = (0..experts).map(|view| Run { view, rows: 0..rows }).collect();
        Ok(Tensor { views, runs, ..tensor })
    }

    /// The first or the second half of each expert's rows. Another shape than that of experts is
    /// left as it is: the check of shapes names it.
    fn half(&self, view: TensorView<'a>, half: usize) -> Result<Tensor<'a>, ModelError> {
        let mut tensor = self.whole(view, Vec::from(view.shape), Change::None)?;
        if let [columns, both, experts] = *view.shape {
            let size = both / 2;
            let start = |expert: usize| expert * both + half * size;
            let rows = |expert: usize| start(expert)..start(expert) + size;
            tensor.runs = (0..experts).map(|expert| Run { view: 0, rows: rows(expert) }).collect();
            tensor.shape = vec![columns, size, experts];
        }
        Ok(tensor)
    }

    /// The matrix of each expert, transposed.
    fn transposed(
        &self,
        view: TensorView<'a>,
        alternate: Option<usize>,
    ) -> Result<Tensor<'a>, ModelError> {
        let mut tensor = self.whole(view, Vec::from(view.shape), Change::Transposed(alternate))?;
        if let [columns, rows, experts] = *view.shape {
            tensor.runs = runs_of(experts, rows, 0..rows);
            tensor.shape = vec![rows, columns >> usize::from(alternate.is_some()), experts];
        }
        Ok(tensor)
    }

    /// What one matrix has of the keys, or of the values, of all heads of latent attention. Keys
    /// become queries' matrices: transposed.
    fn of_latents(&self, view: TensorView<'a>, is_keys: bool) -> Result<Tensor<'a>, ModelError> {
        let Sizes { heads, nope, value, .. } = self.sizes;
        let shape = Vec::from(view.shape);
        if view.rows() != heads * (nope + value) || shape.len() != 2 {
            return self.whole(view, shape, Change::None);
        }
        let columns = shape[0];
        let (rows, shape, change) = match is_keys {
            true => (0..nope, vec![nope, columns, heads], Change::Transposed(None)),
            false => (nope..nope + value, vec![columns, value, heads], Change::None),
        };
        let tensor = self.whole(view, shape, change)?;
        // A row of blocks has no columns in blocks: half floats hold what 8 bits and less held.
        let is_whole = !is_keys || tensor.kind.is_float();
        let kind = if is_whole { tensor.kind } else { BlockType::F16 };
        Ok(Tensor { kind, runs: runs_of(heads, nope + value, rows), ..tensor })
    }

    /// What one matrix has of a part of all key heads' first products.
    fn of_delta(&self, view: TensorView<'a>, part: DeltaPart) -> Result<Tensor<'a>, ModelError> {
        let tensor = self.whole(view, Vec::from(view.shape), Change::None)?;
        let Some(DeltaShape { key_heads, value_heads, key_size, value_size, .. }) =
            self.sizes.delta
        else {
            return Ok(tensor);
        };
        // Of one key head: its value heads' rows of values, and of numbers.
        let (heads, values) = (value_heads / key_heads, value_heads / key_heads * value_size);
        let whole = 2 * key_size + 2 * values;
        let stride = match part {
            DeltaPart::Qkv | DeltaPart::Gate => whole,
            DeltaPart::Beta | DeltaPart::Alpha => 2 * heads,
        };
        let after = |start: usize, rows: usize| start..start + rows;
        let parts = match part {
            DeltaPart::Qkv => {
                let values = after(2 * key_size, values);
                vec![after(0, key_size), after(key_size, key_size), values]
            }
            DeltaPart::Gate => vec![after(whole - values, values)],
            DeltaPart::Beta => vec![after(0, heads)],
            DeltaPart::Alpha => vec![after(heads, heads)],
        };
        if view.rows() != key_heads * stride {
            return Ok(tensor);
        }
        let rows = parts.iter().map(|part| part.len() * key_heads).sum();
        let runs = parts.into_iter().flat_map(|part| runs_of(key_heads, stride, part));
        let runs = runs.collect();
        Ok(Tensor { shape: vec![view.columns(), rows], runs, ..tensor })
    }

    /// 4-bit floats with their scales beside them, as the blocks of MXFP4.
    fn mxfp4(
        &self,
        views: &[TensorView<'a>],
        alternate: Option<usize>,
    ) -> Result<Tensor<'a>, ModelError> {
        let (blocks, scales) = (views[0], views[1]);
        let [experts, rows, columns] = mxfp4::check(blocks, scales)?;
        let used = rows >> usize::from(alternate.is_some());
        Ok(Tensor {
            name: blocks.name.to_owned(),
            shape: vec![columns, used, experts],
            kind: BlockType::MXFP4,
            views: vec![blocks],
            runs: runs_of(experts, rows, 0..rows),
            source: self.source,
            change: Change::Mxfp4 { scales, alternate },
        })
    }
}

/// The same rows of each of several matrices that stand one behind the other.
fn runs_of(count: usize, stride: usize, rows: Range<usize>) -> Vec<Run> {
    let run = |index: usize| rows.start + index * stride..rows.end + index * stride;
    (0..count).map(|index| Run { view: 0, rows: run(index) }).collect()
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
        self.shape.iter().skip(1).product()
    }

    /// Bytes in the file.
    pub fn file_bytes(&self) -> usize {
        if let Change::Mxfp4 { .. } = self.change {
            return self.kind.row_bytes(self.columns()).unwrap_or(0) * self.rows();
        }
        self.runs.iter().map(|run| self.views[run.view].row_bytes() * run.rows.len()).sum()
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
        let (mut views, mut runs) = (Vec::new(), Vec::new());
        let (from, to) = (expert * size, (expert + 1) * size);
        let mut before = 0;
        for run in &self.runs {
            let after = before + run.rows.len();
            let (start, end) = (from.max(before), to.min(after));
            if start < end {
                let first = run.rows.start;
                let rows = first + start - before..first + end - before;
                runs.push(Run { view: views.len(), rows });
                views.push(self.views[run.view]);
            }
            before = after;
        }
        let name = views.first().map_or(self.name.as_str(), |view| view.name).to_owned();
        let Tensor { kind, source, change, .. } = *self;
        Tensor { name, shape, kind, views, runs, source, change }
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

    /// The rows as they are loaded: borrowed where the file has them so.
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
        let is_fp8 = self.views.iter().any(|view| view.kind == TensorKind::F8E4M3);
        if is_fp8 || !matches!(self.change, Change::None) {
            return Ok(Cow::Owned(quantise(self.kind, &self.values()?)));
        }
        match &self.runs[..] {
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

/// All items, or every other one from the first or the second on.
fn alternate_of<I: IntoIterator>(
    items: I,
    alternate: Option<usize>,
) -> impl Iterator<Item = I::Item> {
    let (from, step) = alternate.map_or((0, 1), |from| (from, 2));
    items.into_iter().skip(from).step_by(step)
}
