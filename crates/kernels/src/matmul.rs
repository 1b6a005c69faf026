//! Turns activations and packed weights into products: streaming for few rows, from an unpacked
//! panel for many.
//!
//! Both ways do the same operations in the same order for each output, so that a row's result does
//! not depend on how many rows there are: inside a block of 32 columns exact integers; across
//! blocks one f32 accumulator, in ascending order.

mod floats;
mod gated;
pub(crate) mod pairs;
mod panel;
mod source;

use crate::activations::{Activations, CORRECTED_BIAS};
use crate::block::BlockType;
use crate::compute::Compute;
use crate::lanes::Lanes;
use crate::level::{Kernels, Level, leveled};
use crate::matrix::Matrix;
use crate::pool::Shares;
use crate::tiles::{BLOCK, Format, GROUP_ROWS, with_format};
use floats::multiply_floats;
use pairs::multiply_pairs;
use panel::multiply_panel;

pub use gated::matmul_gated;
use source::{AHEAD_BYTES, Ahead, Block, Packed, Source};
use std::ops::Range;

/// One product of a [`matmul`] call.
pub struct Product<'a> {
    /// The weights. [outputs, columns]
    pub weight: &'a Matrix,
    /// The first of the columns of `x` that the weights multiply, a multiple of 32, where they do
    /// not multiply all of them: so matrices of single heads share an `x`, and a call.
    pub first_column: Option<usize>,
    /// Added to each row. [outputs]
    pub bias: Option<&'a [f32]>,
    /// Where the outputs go. [rows, out_stride], the first `outputs` of each row. Each product has
    /// a slice of its own, so heads lie behind one another, [heads][rows, out_stride]: for a single
    /// row that is [rows, heads · out_stride].
    pub out: &'a mut [f32],
    /// Floats from one row of `out` to the next.
    pub out_stride: usize,
    /// Whether the products are added to what is there (the residual).
    pub accumulate: bool,
}

/// Rows from which weights are unpacked once into a panel instead of once for every few rows: then
/// unpacking anew costs more than writing and reading what was unpacked, and waiting for memory
/// meanwhile. Measured (`bench/DIARY.md`).
fn panel_rows_min(kernels: &Kernels, kind: BlockType) -> usize {
    match kernels.level() {
        _ if kind.is_float() => FLOAT_TILE_ROWS_MIN,
        Level::Avx512Vnni => 48,
        _ => 24,
    }
}

/// Rows from which two groups of floats are multiplied at a time.
const FLOAT_TILE_ROWS_MIN: usize = 8;

/// Groups in a panel: 32 outputs, so that one load of an activation serves two registers.
const PANEL_GROUPS: usize = 2;

/// Rows up to which one group is multiplied at a time: one pass, at the speed of memory.
const STREAM_ROWS: usize = 4;

/// Least weight bytes in a task of the streaming way: about a microsecond of memory time, against
/// some 50 ns that taking a task costs.
const TASK_BYTES_MIN: usize = 16 << 10;

/// `out[r, o] (+)= Σ_c weight[o, c] · x[r, first_column + c] + bias[o]` for all products, in one
/// parallel region.
///
/// # Panics
///
/// If shapes do not agree.
pub fn matmul(compute: &Compute, x: &Activations, products: &mut [Product<'_>]) {
    let mut jobs: Vec<Job<'_>> = Vec::with_capacity(products.len());
    for product in products.iter_mut() {
        let (weight, stride) = (product.weight, product.out_stride);
        let first_column = first_column(x, product);
        assert!(stride >= weight.rows(), "out_stride holds the outputs");
        let places = x.rows().checked_sub(1).map_or(0, |last| last * stride + weight.rows());
        assert!(product.out.len() >= places, "out: [rows, out_stride]");
        let out = Out {
            values: Shares::new(product.out),
            stride,
            first: 0,
            accumulate: product.accumulate,
        };
        let job = Job::new(compute, x, first_column, weight, product.bias, out, &jobs);
        jobs.push(job);
    }
    run(compute, x, &jobs);
}

/// The products of several matrices and all columns of `x`, side by side, in one parallel region.
/// `parts`: weights with what is added to their outputs. `out`: [rows, outputs of all parts]
///
/// # Panics
///
/// If shapes do not agree.
pub fn matmul_beside<'a>(
    compute: &Compute,
    x: &'a Activations,
    parts: impl Iterator<Item = (&'a Matrix, Option<&'a [f32]>)> + Clone,
    out: &mut [f32],
) {
    let stride = parts.clone().map(|(weight, _)| weight.rows()).sum();
    assert_eq!(out.len(), x.rows() * stride, "out: [rows, outputs of all parts]");
    let mut jobs: Vec<Job<'_>> = Vec::new();
    let mut place = Out { values: Shares::new(out), stride, first: 0, accumulate: false };
    for (weight, bias) in parts {
        assert_eq!(weight.columns(), x.columns(), "columns of weights and activations");
        let job = Job::new(compute, x, 0, weight, bias, place, &jobs);
        jobs.push(job);
        place.first += weight.rows();
    }
    run(compute, x, &jobs);
}

fn run(compute: &Compute, x: &Activations, jobs: &[Job<'_>]) {
    let tasks = jobs.last().map_or(0, |job| job.tasks.end);
    if x.rows() == 0 {
        return;
    }
    compute.pool.run(tasks, &|task, _| {
        // Each job's tasks begin where those of the one before end.
        let job = &jobs[jobs.partition_point(|job| job.tasks.end <= task)];
        let first = (task - job.tasks.start) * job.groups_per_task;
        let groups = first..(first + job.groups_per_task).min(job.weight.groups());
        match job.weight.kind() {
            BlockType::F32 | BlockType::F16 => multiply_floats(compute.kernels, job, groups),
            BlockType::BF16 => multiply_pairs(compute.kernels, job, groups),
            _ if job.unpacks => multiply_panel(compute.kernels, job, groups),
            _ => stream(compute.kernels, job, groups),
        }
    });
}

/// Where outputs go.
#[derive(Clone, Copy)]
struct Out {
    values: Shares<f32>,
    /// Floats from one row to the next.
    stride: usize,
    /// The place of the first output in each row.
    first: usize,
    /// Whether they are added to what is there.
    accumulate: bool,
}

/// One product and the tasks that it is split into.
struct Job<'a> {
    x: &'a Activations,
    weight: &'a Matrix,
    first_column: usize,
    bias: Option<&'a [f32]>,
    out: Out,
    /// Whether there are rows enough to unpack weights into a panel.
    unpacks: bool,
    groups_per_task: usize,
    tasks: Range<usize>,
}

impl<'a> Job<'a> {
    /// `before`: the jobs whose tasks come before; `out` holds all rows and outputs.
    fn new(
        compute: &Compute,
        x: &'a Activations,
        first_column: usize,
        weight: &'a Matrix,
        bias: Option<&'a [f32]>,
        out: Out,
        before: &[Job<'_>],
    ) -> Job<'a> {
        let (rows, groups) = (x.rows(), weight.groups());
        assert!(x.serves(weight.kind()), "no activations for weights of {}", weight.kind().name());
        assert!(bias.is_none_or(|bias| bias.len() == weight.rows()), "bias: [outputs]");
        let unpacks = rows >= panel_rows_min(compute.kernels, weight.kind());
        let groups_per_task = if unpacks {
            PANEL_GROUPS
        } else {
            let least = TASK_BYTES_MIN.div_ceil((weight.bytes() / groups.max(1)).max(1));
            let share = groups.div_ceil(4 * compute.pool.threads()).max(least);
            // In pairs where pairs are multiplied.
            if rows > STREAM_ROWS { share.next_multiple_of(PANEL_GROUPS) } else { share }
        };
        let first_task = before.last().map_or(0, |job| job.tasks.end);
        let tasks = first_task..first_task + groups.div_ceil(groups_per_task);
        Job { x, weight, first_column, bias, out, unpacks, groups_per_task, tasks }
    }

    /// What to ask for while all rows pass over two groups, six at a time: in a single pass what
    /// follows closely, else the groups `next` places further.
    fn ahead(&self, pair: [usize; 2], next: usize) -> Option<Ahead> {
        let (bytes, passes) = (self.weight.group_bytes(), tiles_of(self.x.rows(), 6));
        let distance = if passes == 1 { AHEAD_BYTES } else { next * bytes };
        let starts = pair.map(|group| self.weight.group(group).as_ptr().wrapping_add(distance));
        Some(Ahead::new(starts, bytes, passes * self.weight.blocks()))
    }

    /// Stores the sixteen outputs of one group and row.
    ///
    /// # Safety
    ///
    /// The level of `L` runs here; no other task holds this group.
    #[inline(always)]
    unsafe fn finish<L: Lanes>(&self, group: usize, row: usize, sums: L) {
        let first = group * GROUP_ROWS;
        let count = (self.weight.rows() - first).min(GROUP_ROWS);
        let place = row * self.out.stride + self.out.first + first;
        // SAFETY: whoever made the job checked that `out` holds every row's outputs; groups are
        // disjoint.
        unsafe {
            let out = self.out.values.slice(place, count);
            let mut sums = sums;
            if let Some(bias) = self.bias {
                sums = sums.add(L::load_first(bias[first..].as_ptr(), count));
            }
            if self.out.accumulate {
                sums = L::load_first(out.as_ptr(), count).add(sums);
            }
            sums.store_first(out.as_mut_ptr(), count);
        }
    }

    /// Where the product's part of a row of activations rounded to BF16 begins.
    #[inline(always)]
    fn rounded_row(&self, row: usize) -> usize {
        row * self.x.blocks() * BLOCK + self.first_column
    }

    /// Pointers to the product's part of one row of the quantised activations.
    #[inline(always)]
    fn row(&self, row: usize) -> Row {
        let first = row * self.x.blocks() + self.first_column / BLOCK;
        Row {
            values: self.x.values[first * BLOCK..].as_ptr(),
            scales: self.x.scales[first..].as_ptr(),
            corrections: self.x.corrections[first..].as_ptr(),
            half_corrections: self.x.half_corrections[first * 2..].as_ptr(),
            scaled_sums: self.x.scaled_sums[first..].as_ptr(),
            scaled_half_sums: self.x.scaled_half_sums[first * 2..].as_ptr(),
        }
    }
}

/// Where a product's columns begin in each row of `x`: the weights find all of theirs there.
fn first_column(x: &Activations, product: &Product<'_>) -> usize {
    let columns = product.weight.columns();
    let Some(first) = product.first_column else {
        assert_eq!(columns, x.columns(), "columns of weights and activations");
        return 0;
    };
    // Then the blocks of the part, each with its scale, are those of a row of its own.
    assert!(first.is_multiple_of(BLOCK), "first_column {first} is no multiple of {BLOCK}");
    assert!(
        first.checked_add(columns).is_some_and(|end| end <= x.columns()),
        "{columns} columns from column {first} on, of {}",
        x.columns()
    );
    first
}

/// One row of quantised activations, bounds checked when it was taken.
#[derive(Clone, Copy)]
struct Row {
    values: *const i8,
    scales: *const f32,
    corrections: *const i32,
    half_corrections: *const i32,
    scaled_sums: *const f32,
    scaled_half_sums: *const f32,
}

impl Row {
    /// Four neighbouring values of block `block`, as one word. `step`: 0..8
    #[inline(always)]
    unsafe fn word(&self, block: usize, step: usize) -> i32 {
        // SAFETY: the caller stays inside the row's blocks.
        unsafe { self.values.add(block * BLOCK + 4 * step).cast::<i32>().read_unaligned() }
    }

    /// −bias · Σ values of a block, or of one half of it.
    #[inline(always)]
    unsafe fn correction<L: Lanes, F: Format, S: Source>(
        &self,
        block: usize,
        halves: &Range<usize>,
    ) -> i32 {
        let bias = S::bias::<L, F>();
        if bias == 0 {
            return 0;
        }
        // SAFETY: as above.
        let correction = unsafe {
            if halves.len() == 2 {
                *self.corrections.add(block)
            } else {
                *self.half_corrections.add(2 * block + halves.start)
            }
        };
        // As it is for the common bias, so that it is read from memory into all lanes at once.
        if bias == CORRECTED_BIAS {
            correction
        } else {
            (correction >> CORRECTED_BIAS.trailing_zeros()) * bias
        }
    }

    /// Adds block `block` to `sums`, from the integer sums of its halves (of the whole block in the
    /// first, unless `HALVES`).
    #[inline(always)]
    unsafe fn add_block<L: Lanes, F: Format>(
        &self,
        block: usize,
        halves: [L::Ints; 2],
        scales: [L; 2],
        minima: [L; 2],
        sums: L,
    ) -> L {
        // SAFETY: as above.
        unsafe {
            let scale = L::splat(*self.scales.add(block));
            let mut sums = if F::HALVES {
                let first = L::from_ints(halves[0]).mul_add(scales[0].mul(scale), sums);
                L::from_ints(halves[1]).mul_add(scales[1].mul(scale), first)
            } else {
                L::from_ints(halves[0]).mul_add(scales[0].mul(scale), sums)
            };
            if F::MINIMA && F::HALVES {
                let halves = self.scaled_half_sums.add(2 * block);
                let (first, second) = (L::splat(*halves), L::splat(*halves.add(1)));
                sums = minima[1].mul_add(second, minima[0].mul_add(first, sums));
            } else if F::MINIMA {
                sums = minima[0].mul_add(L::splat(*self.scaled_sums.add(block)), sums);
            }
            sums
        }
    }
}

leveled!(fn stream(kernels, job: &Job<'_>, groups: Range<usize>) = stream_lanes);

/// Few rows: each group is read once from memory and unpacked in registers, for up to four rows at
/// a time; where there are more, and registers enough, two groups for up to six.
#[inline(always)]
unsafe fn stream_lanes<L: Lanes>(job: &Job<'_>, groups: Range<usize>) {
    let packed = |group: usize| Packed(job.weight.group(group).as_ptr());
    let mut group = groups.start;
    // SAFETY: the caller's level runs here.
    with_format!(job.weight.kind(), F => unsafe {
        if L::MANY_REGISTERS && job.x.rows() > STREAM_ROWS {
            while group + PANEL_GROUPS <= groups.end {
                let pair = [packed(group), packed(group + 1)];
                let ahead = job.ahead([group, group + 1], PANEL_GROUPS);
                all_rows::<L, F, Packed, 6, PANEL_GROUPS>(job, pair, ahead, ToOut { job, group });
                group += PANEL_GROUPS;
            }
        }
        for group in group..groups.end {
            all_rows::<L, F, Packed, 4, 1>(job, [packed(group)], None, ToOut { job, group });
        }
    });
}

/// What is done with the sums of R rows from row `first` on and G groups.
trait Finish<L>: Copy {
    /// # Safety
    ///
    /// The level of `L` runs here.
    unsafe fn finish<const R: usize, const G: usize>(self, first: usize, sums: [[L; R]; G]);
}

/// Sums of groups from this one on go to the job's outputs.
#[derive(Clone, Copy)]
struct ToOut<'a> {
    job: &'a Job<'a>,
    group: usize,
}

impl<L: Lanes> Finish<L> for ToOut<'_> {
    #[inline(always)]
    unsafe fn finish<const R: usize, const G: usize>(self, first: usize, sums: [[L; R]; G]) {
        for (g, sums) in sums.into_iter().enumerate() {
            for (r, sums) in sums.into_iter().enumerate() {
                // SAFETY: as for the caller; the task holds these groups.
                unsafe { self.job.finish(self.group + g, first + r, sums) }
            }
        }
    }
}

/// All rows in tiles of R, and what is left in smaller ones. `ahead`: what to ask for meanwhile;
/// none: what follows closely in the sources.
#[inline(always)]
unsafe fn all_rows<L: Lanes, F: Format, S: Source, const R: usize, const G: usize>(
    job: &Job<'_>,
    sources: [S; G],
    mut ahead: Option<Ahead>,
    finish: impl Finish<L>,
) {
    // SAFETY: as for the caller.
    unsafe {
        let (mut row, rows) = (0, job.x.rows());
        while row < large_tiles_end(rows, R) {
            finish.finish(row, tile::<L, F, S, R, G>(job, row, sources, &mut ahead));
            row += R;
        }
        while row + 4 <= rows {
            finish.finish(row, tile::<L, F, S, 4, G>(job, row, sources, &mut ahead));
            row += 4;
        }
        if row + 2 <= rows {
            finish.finish(row, tile::<L, F, S, 2, G>(job, row, sources, &mut ahead));
            row += 2;
        }
        if row < rows {
            finish.finish(row, tile::<L, F, S, 1, G>(job, row, sources, &mut ahead));
        }
    }
}

/// The rows of so many that are multiplied in tiles of `most`. Eight are two tiles of four rather
/// than six and two: small tiles wait for their sums.
#[inline(always)]
fn large_tiles_end(rows: usize, most: usize) -> usize {
    let end = rows / most * most;
    if most > 4 && rows >= 8 && rows - end == 8 - most { end - most } else { end }
}

/// Tiles of up to `most` rows in which so many are multiplied.
fn tiles_of(rows: usize, most: usize) -> usize {
    let end = large_tiles_end(rows, most);
    let rest = rows - end;
    end / most + rest / 4 + rest % 4 / 2 + rest % 2
}

/// R rows times G groups, every accumulator in a register.
#[inline(always)]
unsafe fn tile<L: Lanes, F: Format, S: Source, const R: usize, const G: usize>(
    job: &Job<'_>,
    first: usize,
    sources: [S; G],
    ahead: &mut Option<Ahead>,
) -> [[L; R]; G] {
    let rows: [Row; R] = std::array::from_fn(|r| job.row(first + r));
    // SAFETY: as for the caller; the sources hold every block of the groups.
    unsafe {
        let mut sums = [[L::splat(0.0); R]; G];
        for unit in 0..job.weight.blocks() / F::BLOCKS {
            for place in 0..F::BLOCKS {
                let at = Block { unit, place };
                if let Some(ahead) = ahead {
                    ahead.call();
                } else {
                    for source in sources {
                        source.ahead::<F>(at);
                    }
                }
                add_block::<L, F, S, R, G>(&sources, &rows, at, &mut sums);
            }
        }
        sums
    }
}

/// Adds the products of one block.
#[inline(always)]
unsafe fn add_block<L: Lanes, F: Format, S: Source, const R: usize, const G: usize>(
    sources: &[S; G],
    rows: &[Row; R],
    at: Block,
    sums: &mut [[L; R]; G],
) {
    // SAFETY: as for the caller.
    unsafe {
        let dots = if F::HALVES {
            [
                dot_steps::<L, F, S, R, G>(sources, rows, at, 0..1),
                dot_steps::<L, F, S, R, G>(sources, rows, at, 1..2),
            ]
        } else {
            [dot_steps::<L, F, S, R, G>(sources, rows, at, 0..2); 2]
        };
        let number = at.number::<F>();
        for g in 0..G {
            let scales = sources[g].scales::<L, F>(at);
            let minima = if F::MINIMA { sources[g].minima::<L, F>(at) } else { [L::splat(0.0); 2] };
            for r in 0..R {
                let halves = [dots[0][g][r], dots[1][g][r]];
                sums[g][r] = rows[r].add_block::<L, F>(number, halves, scales, minima, sums[g][r]);
            }
        }
    }
}

/// The integer sums of some halves of a block, R rows times G groups.
#[inline(always)]
unsafe fn dot_steps<L: Lanes, F: Format, S: Source, const R: usize, const G: usize>(
    sources: &[S; G],
    rows: &[Row; R],
    at: Block,
    halves: Range<usize>,
) -> [[L::Ints; R]; G] {
    let block = at.number::<F>();
    let length = L::CHAIN_STEPS[S::bits::<L, F>()].min(4 * halves.len());
    // SAFETY: as for the caller.
    unsafe {
        let mut corrections = [0; R];
        for r in 0..R {
            corrections[r] = rows[r].correction::<L, F, S>(block, &halves);
        }
        let mut sums = [[L::splat_int(0); R]; G];
        for start in (4 * halves.start..4 * halves.end).step_by(length) {
            let mut chains = [[L::begin_chain::<false>(0); R]; G];
            for chains in &mut chains {
                for r in 0..R {
                    chains[r] = begin::<L, F, S>(corrections[r]);
                }
            }
            for step in start..start + length {
                for g in 0..G {
                    let level = sources[g].level::<L, F>(at, step);
                    for r in 0..R {
                        chains[g][r] =
                            dot::<L, F, S>(chains[g][r], level, rows[r].word(block, step));
                    }
                }
            }
            for g in 0..G {
                for r in 0..R {
                    let more = end::<L, F, S>(chains[g][r], corrections[r]);
                    sums[g][r] = L::add_ints(sums[g][r], more);
                }
            }
            corrections = [0; R];
        }
        sums
    }
}

#[inline(always)]
unsafe fn begin<L: Lanes, F: Format, S: Source>(correction: i32) -> L::Chain {
    // SAFETY: the caller's level runs here.
    unsafe {
        if S::bits::<L, F>() == 8 {
            L::begin_chain::<true>(correction)
        } else {
            L::begin_chain::<false>(correction)
        }
    }
}

#[inline(always)]
unsafe fn dot<L: Lanes, F: Format, S: Source>(
    chain: L::Chain,
    levels: L::Bytes,
    word: i32,
) -> L::Chain {
    // SAFETY: the caller's level runs here.
    unsafe {
        if S::bits::<L, F>() == 8 {
            L::dot4::<true>(chain, levels, word)
        } else {
            L::dot4::<false>(chain, levels, word)
        }
    }
}

#[inline(always)]
unsafe fn end<L: Lanes, F: Format, S: Source>(chain: L::Chain, correction: i32) -> L::Ints {
    // SAFETY: the caller's level runs here.
    unsafe {
        if S::bits::<L, F>() == 8 {
            L::end_chain::<true>(chain, correction)
        } else {
            L::end_chain::<false>(chain, correction)
        }
    }
}
