//! Turns rows of floats into what products multiply: int8 with one scale per 32 columns, BF16, or
//! the floats themselves.

use crate::block::BlockType;
use crate::compute::Compute;
use crate::f16::{bf16_to_f32, f32_to_bf16};
use crate::lanes::Lanes;
use crate::level::leveled;
use crate::pool::Shares;
use crate::tiles::BLOCK;
use crate::vector::{Activation, gelu, normalise, times_sigmoid};
use std::ops::Range;

/// The forms of activations that weights of some types are multiplied by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forms {
    floats: bool,
    halves: bool,
    ints: bool,
}

impl Forms {
    /// For no weights.
    pub const NONE: Forms = Forms { floats: false, halves: false, ints: false };
    /// For weights of all types.
    pub const ALL: Forms = Forms { floats: true, halves: true, ints: true };

    /// These, and the one for weights of type `kind`.
    pub fn and_of(mut self, kind: BlockType) -> Forms {
        match kind {
            BlockType::F32 | BlockType::F16 => self.floats = true,
            BlockType::BF16 => self.halves = true,
            _ => self.ints = true,
        }
        self
    }
}

impl Default for Forms {
    fn default() -> Forms {
        Forms::ALL
    }
}

/// Rows of activations in the forms that products read, made once and used by several of them.
#[derive(Default)]
pub struct Activations {
    rows: usize,
    columns: usize,
    /// What is made from now on.
    forms: Forms,
    /// What the rows held were made as: a wish for more since then made none of it.
    made: Option<Forms>,
    /// The floats. [rows, columns]; where no product reads them, a row for each thread to work on
    pub(crate) floats: Vec<f32>,
    /// Rounded to BF16, subnormal ones to 0, for processors that multiply BF16.
    /// [rows, blocks · 32], what is beyond the columns 0
    pub(crate) halves: Vec<u16>,
    /// The same as floats, for all others.
    pub(crate) rounded: Vec<f32>,
    /// x ≈ scale · value. [rows, blocks · 32], the tail of the last block 0
    pub(crate) values: Vec<i8>,
    /// Largest magnitude ÷ 127. [rows, blocks]
    pub(crate) scales: Vec<f32>,
    /// What chains of unsigned levels begin with: −[`CORRECTED_BIAS`] · sum of a block's values.
    /// [rows, blocks]
    pub(crate) corrections: Vec<i32>,
    /// The same for each half block. [rows, blocks · 2]
    pub(crate) half_corrections: Vec<i32>,
    /// Scale · sum of the block's values: what a weight's addend is multiplied by. [rows, blocks]
    pub(crate) scaled_sums: Vec<f32>,
    /// The same for each half block, where halves have addends of their own. [rows, blocks · 2]
    pub(crate) scaled_half_sums: Vec<f32>,
}

/// What a row is made from.
#[derive(Clone, Copy)]
enum Source<'a> {
    Plain { x: &'a [f32] },
    Gelu { x: &'a [f32] },
    RmsNorm { x: &'a [f32], weight: &'a [f32], eps: f32 },
    Gated { gate_up: &'a [f32], activation: Activation },
    SigmoidMul { x: &'a [f32], gate: &'a [f32], gate_stride: usize },
    GatedRmsNorm { x: &'a [f32], weight: &'a [f32], eps: f32, gate: &'a [f32], gate_stride: usize },
}

/// The bias of levels that [`Activations`] has corrections for: that of signed bytes.
pub(crate) const CORRECTED_BIAS: i32 = 128;

/// Columns above which several rows are worth more than one thread: about 2 µs of work each.
const PARALLEL_MIN: usize = 8192;

impl Activations {
    /// Empty buffers; they grow on first use.
    pub fn new() -> Activations {
        Activations::default()
    }

    /// Makes no other forms than these from now on.
    pub fn keep(&mut self, forms: Forms) {
        self.forms = forms;
    }

    /// Whether there is the form that weights of type `kind` are multiplied by.
    pub(crate) fn serves(&self, kind: BlockType) -> bool {
        self.made.is_some_and(|made| made.and_of(kind) == made)
    }

    /// Takes `x` as it is. `x`: [rows, columns]
    ///
    /// # Panics
    ///
    /// If a slice is not as long as its shape says; so for all that follow.
    pub fn set(&mut self, compute: &Compute, x: &[f32], rows: usize, columns: usize) {
        assert_eq!(x.len(), rows * columns, "x: [rows, columns]");
        self.fill(compute, rows, columns, Source::Plain { x });
    }

    /// Takes `x / rms(x) · weight`, row by row. `x`: [rows, columns], `weight`: [columns]
    pub fn set_rms_norm(
        &mut self,
        compute: &Compute,
        x: &[f32],
        rows: usize,
        columns: usize,
        weight: &[f32],
        eps: f32,
    ) {
        assert_eq!(x.len(), rows * columns, "x: [rows, columns]");
        assert_eq!(weight.len(), columns, "weight: [columns]");
        self.fill(compute, rows, columns, Source::RmsNorm { x, weight, eps });
    }

    /// Takes `x · Φ(x)`, where Φ is the normal distribution. `x`: [rows, columns]
    pub fn set_gelu(&mut self, compute: &Compute, x: &[f32], rows: usize, columns: usize) {
        assert_eq!(x.len(), rows * columns, "x: [rows, columns]");
        self.fill(compute, rows, columns, Source::Gelu { x });
    }

    /// Takes `up` as its gate lets it through. `gate_up`: [rows, 2 · columns], the gate first in
    /// each row
    pub fn set_gated(
        &mut self,
        compute: &Compute,
        gate_up: &[f32],
        rows: usize,
        columns: usize,
        activation: Activation,
    ) {
        assert_eq!(gate_up.len(), rows * 2 * columns, "gate_up: [rows, 2 · columns]");
        self.fill(compute, rows, columns, Source::Gated { gate_up, activation });
    }

    /// Takes `x · sigmoid(gate)`. `x`: [rows, columns], `gate`: the same, `gate_stride` floats from
    /// one row to the next
    pub fn set_sigmoid_mul(
        &mut self,
        compute: &Compute,
        x: &[f32],
        rows: usize,
        columns: usize,
        gate: &[f32],
        gate_stride: usize,
    ) {
        assert_eq!(x.len(), rows * columns, "x: [rows, columns]");
        let gate_length = rows.checked_sub(1).map_or(0, |last| last * gate_stride + columns);
        assert!(gate.len() >= gate_length, "gate: [rows, columns]");
        self.fill(compute, rows, columns, Source::SigmoidMul { x, gate, gate_stride });
    }

    /// Takes `x / rms(x) · weight` of each head, times `gate · sigmoid(gate)`. `x`:
    /// [rows, heads · head_size], `weight`: [head_size], `gate`: as `x`, `gate_stride` floats from
    /// one row to the next
    pub fn set_gated_rms_norm(
        &mut self,
        compute: &Compute,
        x: &[f32],
        rows: usize,
        columns: usize,
        weight: &[f32],
        eps: f32,
        gate: &[f32],
        gate_stride: usize,
    ) {
        assert_eq!(x.len(), rows * columns, "x: [rows, columns]");
        let whole_heads = !weight.is_empty() && columns.is_multiple_of(weight.len());
        assert!(whole_heads, "{columns} columns in heads of {}", weight.len());
        let gate_length = rows.checked_sub(1).map_or(0, |last| last * gate_stride + columns);
        assert!(gate.len() >= gate_length, "gate: [rows, columns]");
        self.fill(
            compute,
            rows,
            columns,
            Source::GatedRmsNorm { x, weight, eps, gate, gate_stride },
        );
    }

    /// Rows held.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns of each row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Blocks of 32 columns in each row, the last one padded.
    pub(crate) fn blocks(&self) -> usize {
        self.columns.div_ceil(BLOCK)
    }

    /// Makes room for the int8 form of so many rows, and returns where each block goes: for who
    /// makes the rows himself, where there is no other form.
    pub(crate) fn reserve_ints(&mut self, rows: usize, columns: usize) -> Option<Blocks> {
        if self.forms != Forms::NONE.and_of(BlockType::Q8_0) {
            return None;
        }
        (self.rows, self.columns, self.made) = (rows, columns, Some(self.forms));
        Some(self.blocks_of_rows())
    }

    fn blocks_of_rows(&mut self) -> Blocks {
        let per_row = if self.forms.ints { self.blocks() } else { 0 };
        let blocks = self.rows * per_row;
        self.values.resize(blocks * BLOCK, 0);
        self.scales.resize(blocks, 0.0);
        self.corrections.resize(blocks, 0);
        self.half_corrections.resize(blocks * 2, 0);
        self.scaled_sums.resize(blocks, 0.0);
        self.scaled_half_sums.resize(blocks * 2, 0.0);
        Blocks {
            per_row,
            values: Shares::new(&mut self.values),
            scales: Shares::new(&mut self.scales),
            corrections: Shares::new(&mut self.corrections),
            half_corrections: Shares::new(&mut self.half_corrections),
            scaled_sums: Shares::new(&mut self.scaled_sums),
            scaled_half_sums: Shares::new(&mut self.scaled_half_sums),
        }
    }

    fn fill(&mut self, compute: &Compute, rows: usize, columns: usize, source: Source<'_>) {
        (self.rows, self.columns, self.made) = (rows, columns, Some(self.forms));
        let keeps_floats = self.forms.floats;
        let padded = if self.forms.halves { self.blocks() * BLOCK } else { 0 };
        let (halves, rounded) = if compute.kernels.has_bf16() { (padded, 0) } else { (0, padded) };
        let float_rows = if keeps_floats { rows } else { compute.pool.threads().min(rows) };
        self.floats.resize(float_rows * columns, 0.0);
        self.halves.resize(rows * halves, 0);
        self.rounded.resize(rows * rounded, 0.0);
        let blocks = self.blocks_of_rows();
        let all_floats = Shares::new(&mut self.floats);
        let all_halves = Shares::new(&mut self.halves);
        let all_rounded = Shares::new(&mut self.rounded);
        let one = |row: usize, thread: usize| {
            let float_row = if keeps_floats { row } else { thread };
            // SAFETY: each row writes its own part of every buffer, or that of its thread.
            let place = unsafe {
                Row {
                    source: source.row(row, columns),
                    floats: all_floats.slice(float_row * columns, columns),
                    halves: all_halves.slice(row * halves, halves),
                    rounded: all_rounded.slice(row * rounded, rounded),
                    blocks: blocks.of_row(row, 0..blocks.per_row),
                }
            };
            fill_row(compute.kernels, place);
        };
        if rows * columns < PARALLEL_MIN {
            (0..rows).for_each(|row| one(row, 0));
        } else {
            compute.pool.run(rows, &one);
        }
    }
}

/// Where blocks of int8 go.
#[derive(Clone, Copy)]
pub(crate) struct Blocks {
    per_row: usize,
    values: Shares<i8>,
    scales: Shares<f32>,
    corrections: Shares<i32>,
    half_corrections: Shares<i32>,
    scaled_sums: Shares<f32>,
    scaled_half_sums: Shares<f32>,
}

impl Blocks {
    /// Some neighbouring blocks of a row.
    ///
    /// # Safety
    ///
    /// Nobody else writes these blocks, or reads them meanwhile.
    #[inline(always)]
    pub(crate) unsafe fn of_row(&self, row: usize, blocks: Range<usize>) -> RowBlocks<'_> {
        let (at, count) = (row * self.per_row + blocks.start, blocks.len());
        // SAFETY: as for the caller.
        unsafe {
            RowBlocks {
                values: self.values.slice(at * BLOCK, count * BLOCK),
                scales: self.scales.slice(at, count),
                corrections: self.corrections.slice(at, count),
                half_corrections: self.half_corrections.slice(at * 2, count * 2),
                scaled_sums: self.scaled_sums.slice(at, count),
                scaled_half_sums: self.scaled_half_sums.slice(at * 2, count * 2),
            }
        }
    }
}

/// Some blocks of a row.
pub(crate) struct RowBlocks<'a> {
    values: &'a mut [i8],
    scales: &'a mut [f32],
    corrections: &'a mut [i32],
    half_corrections: &'a mut [i32],
    scaled_sums: &'a mut [f32],
    scaled_half_sums: &'a mut [f32],
}

impl RowBlocks<'_> {
    /// Makes the blocks from floats, the last one perhaps from less than 32.
    ///
    /// # Safety
    ///
    /// The level of `L` runs here.
    #[inline(always)]
    pub(crate) unsafe fn write<L: Lanes>(self, floats: &[f32]) {
        for (block, values) in self.values.chunks_exact_mut(BLOCK).enumerate() {
            let floats = &floats[block * BLOCK..];
            // SAFETY: as for the caller.
            let (scale, sums) = unsafe { quantise_block::<L>(floats, values) };
            self.scales[block] = scale;
            let sum = sums[0] + sums[1];
            self.corrections[block] = -CORRECTED_BIAS * sum;
            let corrections = sums.map(|sum| -CORRECTED_BIAS * sum);
            self.half_corrections[2 * block..2 * block + 2].copy_from_slice(&corrections);
            self.scaled_sums[block] = scale * sum as f32;
            let scaled = sums.map(|sum| scale * sum as f32);
            self.scaled_half_sums[2 * block..2 * block + 2].copy_from_slice(&scaled);
        }
    }
}

impl<'a> Source<'a> {
    /// The part of the source that belongs to one row.
    fn row(self, row: usize, columns: usize) -> Source<'a> {
        let part = |x: &'a [f32], width: usize| &x[row * width..][..width];
        match self {
            Source::Plain { x } => Source::Plain { x: part(x, columns) },
            Source::Gelu { x } => Source::Gelu { x: part(x, columns) },
            Source::RmsNorm { x, weight, eps } => {
                Source::RmsNorm { x: part(x, columns), weight, eps }
            }
            Source::Gated { gate_up, activation } => {
                Source::Gated { gate_up: part(gate_up, 2 * columns), activation }
            }
            Source::SigmoidMul { x, gate, gate_stride } => {
                let gate = &gate[row * gate_stride..][..columns];
                Source::SigmoidMul { x: part(x, columns), gate, gate_stride }
            }
            Source::GatedRmsNorm { x, weight, eps, gate, gate_stride } => {
                let gate = &gate[row * gate_stride..][..columns];
                Source::GatedRmsNorm { x: part(x, columns), weight, eps, gate, gate_stride }
            }
        }
    }
}

/// One row: what it is made from and where it goes.
struct Row<'a> {
    source: Source<'a>,
    floats: &'a mut [f32],
    halves: &'a mut [u16],
    rounded: &'a mut [f32],
    blocks: RowBlocks<'a>,
}

leveled!(fn fill_row(kernels, row: Row<'_>) = fill_row_lanes);

#[inline(always)]
unsafe fn fill_row_lanes<L: Lanes>(row: Row<'_>) {
    // SAFETY: the caller's level runs here; slices bound every access below.
    unsafe {
        match row.source {
            Source::Plain { x } => row.floats.copy_from_slice(x),
            Source::Gelu { x } => {
                for start in (0..x.len()).step_by(16) {
                    let count = (x.len() - start).min(16);
                    let x = gelu(L::load_first(x.as_ptr().add(start), count));
                    x.store_first(row.floats.as_mut_ptr().add(start), count);
                }
            }
            Source::RmsNorm { x, weight, eps } => normalise::<L>(x, weight, eps, row.floats),
            Source::Gated { gate_up, activation } => {
                let (gate, up) = gate_up.split_at(row.floats.len());
                for start in (0..gate.len()).step_by(16) {
                    let count = (gate.len() - start).min(16);
                    let gate = L::load_first(gate.as_ptr().add(start), count);
                    let up = L::load_first(up.as_ptr().add(start), count);
                    let gated = activation.apply(gate, up);
                    gated.store_first(row.floats.as_mut_ptr().add(start), count);
                }
            }
            Source::SigmoidMul { x, gate, .. } => {
                for start in (0..x.len()).step_by(16) {
                    let count = (x.len() - start).min(16);
                    let x = L::load_first(x.as_ptr().add(start), count);
                    let gate = L::load_first(gate.as_ptr().add(start), count);
                    let gated = times_sigmoid(x, gate);
                    gated.store_first(row.floats.as_mut_ptr().add(start), count);
                }
            }
            Source::GatedRmsNorm { x, weight, eps, gate, .. } => {
                let heads = x.chunks_exact(weight.len()).zip(gate.chunks_exact(weight.len()));
                for ((x, gate), out) in heads.zip(row.floats.chunks_exact_mut(weight.len())) {
                    normalise::<L>(x, weight, eps, out);
                    for start in (0..out.len()).step_by(16) {
                        let count = (out.len() - start).min(16);
                        let gate = L::load_first(gate.as_ptr().add(start), count);
                        let at = out.as_mut_ptr().add(start);
                        let gated = Activation::Silu.apply(gate, L::load_first(at, count));
                        gated.store_first(at, count);
                    }
                }
            }
        }
        // The products take subnormal numbers for 0 at one level, and so at all.
        let round = |float: f32| match float.abs() < f32::MIN_POSITIVE {
            true => 0,
            false => f32_to_bf16(float),
        };
        if !row.halves.is_empty() {
            let (halves, padding) = row.halves.split_at_mut(row.floats.len());
            for (half, float) in halves.iter_mut().zip(row.floats.iter()) {
                *half = round(*float);
            }
            padding.fill(0);
        }
        if !row.rounded.is_empty() {
            let (rounded, padding) = row.rounded.split_at_mut(row.floats.len());
            for (rounded, float) in rounded.iter_mut().zip(row.floats.iter()) {
                *rounded = bf16_to_f32(round(*float));
            }
            padding.fill(0.0);
        }
        row.blocks.write::<L>(row.floats);
    }
}

/// The first (up to) 32 floats as int8; gives the scale and the sums of both halves.
///
/// # Safety
///
/// The level of `L` runs here, and `values` has 32 places.
#[inline(always)]
pub(crate) unsafe fn quantise_block<L: Lanes>(
    floats: &[f32],
    values: &mut [i8],
) -> (f32, [i32; 2]) {
    let count = floats.len().min(BLOCK);
    // SAFETY: the caller's level runs here; at most `count` floats are read, 32 values written.
    unsafe {
        let low = L::load_first(floats.as_ptr(), count.min(16));
        let high = if count > 16 {
            L::load_first(floats.as_ptr().add(16), count - 16)
        } else {
            L::splat(0.0)
        };
        let greatest = low.abs().max(high.abs()).greatest();
        let inverse = L::splat(if greatest > 0.0 { 127.0 / greatest } else { 0.0 });
        let low = low.mul(inverse).store_rounded_i8(values.as_mut_ptr());
        let high = high.mul(inverse).store_rounded_i8(values.as_mut_ptr().add(16));
        (greatest / 127.0, [low, high])
    }
}
