//! Turns a model file of either format into tensors with GGUF's names and layouts.
//!
//! Everything behind this file knows one convention: that of llama.cpp's converters of today. What
//! a Hugging Face folder or an older GGUF file stores otherwise (one tensor for each expert, 8-bit
//! floats with scales, keys and values of latents in one matrix) is put in order here, piece by
//! piece, when it is asked for.

mod mxfp4;
mod names;
mod place;
mod tensor;

use std::ops::Range;

use myriad_formats::{Gguf, ModelFolder, TensorKind, TensorSource, TensorView};
use myriad_kernels::{BlockType, DeltaShape};

use crate::config::{Config, Family, Mixer};
use crate::error::ModelError;
use crate::precision::Precision;
use place::{DeltaPart, Part, Place};
use tensor::{Change, Run};

pub(crate) use tensor::{Tensor, encode_all};

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
    precision: Precision,
}

/// The sizes that tell apart what some files have in one matrix; 0 where the model has none.
#[derive(Clone, Copy, Debug, Default)]
struct Sizes {
    /// Layers of the model itself, where those behind have other names; none: not known.
    trunk: Option<usize>,
    /// Heads of latent attention.
    heads: usize,
    /// Rows of each head's keys without rope.
    nope: usize,
    /// Rows of each head's values.
    value: usize,
    /// Of gated delta nets.
    delta: Option<DeltaShape>,
}

impl<'a> Checkpoint<'a> {
    /// The tensors of a file of which no more than its family is known: enough to see what is
    /// there.
    pub fn new(source: Source<'a>, family: Family) -> Checkpoint<'a> {
        let (sizes, precision) = (Sizes::default(), Precision::AsStored);
        Checkpoint { source, family, sizes, precision }
    }

    /// The same tensors, to become other types.
    pub fn with(self, precision: Precision) -> Checkpoint<'a> {
        Checkpoint { precision, ..self }
    }

    /// The tensors of the file that `config` was read from.
    pub fn of(source: Source<'a>, config: &Config) -> Checkpoint<'a> {
        let mut sizes = Sizes { trunk: Some(config.layers.len()), ..Sizes::default() };
        for layer in &config.layers {
            match &layer.mixer {
                Mixer::Gqa(_) | Mixer::Bidirectional(_) => {}
                Mixer::Mla(mla) => {
                    let (heads, nope, value) = (mla.heads, mla.nope_size, mla.value_size);
                    sizes = Sizes { heads, nope, value, ..sizes };
                }
                Mixer::GatedDelta(shape) => sizes.delta = Some(*shape),
            }
        }
        Checkpoint { sizes, ..Checkpoint::new(source, config.family) }
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
        let goal = self.precision.goal(name, &tensor.shape, tensor.kind);
        Ok(Some(Tensor { goal, ..tensor }))
    }

    /// The tensor of that GGUF name.
    pub fn find(&self, name: &str) -> Result<Tensor<'a>, ModelError> {
        self.optional(name)?.ok_or_else(|| ModelError::MissingTensor {
            name: self.place(name).for_people(),
            family: self.family.name(),
        })
    }

    /// A tensor of the file as it is, under its own name.
    pub fn stored(&self, view: TensorView<'a>) -> Result<Tensor<'a>, ModelError> {
        let tensor = self.whole(view, Vec::from(view.shape), Change::None)?;
        let goal = self.precision.goal(view.name, &tensor.shape, tensor.kind);
        Ok(Tensor { goal, ..tensor })
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
            Source::Folder(folder) => names::in_folder(folder, self.family, self.sizes.trunk, name),
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
        Ok(Tensor {
            name,
            shape,
            kind,
            goal: kind,
            views: vec![view],
            runs,
            source,
            change,
            column_order: None,
        })
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
            goal: BlockType::MXFP4,
            views: vec![blocks],
            runs: runs_of(experts, rows, 0..rows),
            source: self.source,
            change: Change::Mxfp4 { scales, alternate },
            column_order: None,
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
