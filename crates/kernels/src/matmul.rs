//! Turns activations and packed weights into products: streaming for few rows, tiled for many.
//!
//! Both ways do the same operations in the same order for each output, so that a row's result does
//! not depend on how many rows there are: inside a block of 32 columns exact integers; across
//! blocks one f32 accumulator, in ascending order.

use crate::activations::Activations;
use crate::block::BlockType;
use crate::compute::Compute;
use crate::lanes::Lanes;
use crate::level::leveled;
use crate::matrix::Matrix;
use crate::pool::Shares;
use crate::tiles::{BLOCK, Format, GROUP_ROWS, with_format};
use std::cell::RefCell;
use std::ops::Range;

/// One product of a [`matmul`] call.
pub struct Product<'a> {
    /// The weights. [outputs, columns]
    pub weight: &'a Matrix,
    /// Added to each row. [outputs]
    pub bias: Option<&'a [f32]>,
    /// Where the outputs go. [rows, out_stride], the first `outputs` of each row
    pub out: &'a mut [f32],
    /// Floats from one row of `out` to the next.
    pub out_stride: usize,
    /// Whether the products are added to what is there (the residual).
    pub accumulate: bool,
}

/// Rows from which weights are unpacked once into a panel instead of once for every four rows.
const PANEL_ROWS_MIN: usize = 8;

/// Groups in a panel: 32 outputs, so that one load of an activation serves two registers.
const PANEL_GROUPS: usize = 2;

/// Least weight bytes in a task of the streaming way: about a microsecond of memory time, against
/// some 50 ns that taking a task costs.
const TASK_BYTES_MIN: usize = 16 << 10;

/// `out[r, o] (+)= Σ_c weight[o, c] · x[r, c] + bias[o]` for all products, in one parallel region.
///
/// # Panics
///
/// If shapes do not agree.
pub fn matmul(compute: &Compute, x: &Activations, products: &mut [Product<'_>]) {
    let mut jobs: Vec<Job<'_>> = Vec::with_capacity(products.len());
    let mut tasks = 0;
    for product in products.iter_mut() {
        let job = Job::new(x, product, tasks, compute.pool.threads());
        tasks = job.tasks.end;
        jobs.push(job);
    }
    if x.rows() == 0 {
        return;
    }
    compute.pool.run(tasks, &|task, _| {
        for job in jobs.iter().filter(|job| job.tasks.contains(&task)) {
            let first = (task - job.tasks.start) * job.groups_per_task;
            let groups = first..(first + job.groups_per_task).min(job.weight.groups());
            if job.weight.kind().is_float() {
                multiply_floats(compute.kernels, job, groups);
            } else if x.rows() < PANEL_ROWS_MIN {
                stream(compute.kernels, job, groups);
            } else {
                multiply_panel(compute.kernels, job, groups);
            }
        }
    });
}

/// One product and the tasks that it is split into.
struct Job<'a> {
    x: &'a Activations,
    weight: &'a Matrix,
    bias: Option<&'a [f32]>,
    out: Shares<f32>,
    out_stride: usize,
    accumulate: bool,
    groups_per_task: usize,
    tasks: Range<usize>,
}

impl<'a> Job<'a> {
    fn new(
        x: &'a Activations,
        product: &'a mut Product<'_>,
        first_task: usize,
        threads: usize,
    ) -> Job<'a> {
        let weight = product.weight;
        let (rows, outputs) = (x.rows(), weight.rows());
        assert_eq!(weight.columns(), x.columns(), "columns of weights and activations");
        assert!(product.out_stride >= outputs, "out_stride holds the outputs");
        assert!(
            rows == 0 || product.out.len() >= (rows - 1) * product.out_stride + outputs,
            "out: [rows, out_stride]"
        );
        assert!(product.bias.is_none_or(|bias| bias.len() == outputs), "bias: [outputs]");
        let groups = weight.groups();
        let groups_per_task = if rows < PANEL_ROWS_MIN {
            let least = TASK_BYTES_MIN.div_ceil((weight.bytes() / groups.max(1)).max(1));
            groups.div_ceil(4 * threads).max(least)
        } else {
            PANEL_GROUPS
        };
        let tasks = first_task..first_task + groups.div_ceil(groups_per_task);
        Job {
            x,
            weight,
            bias: product.bias,
            out: Shares::new(product.out),
            out_stride: product.out_stride,
            accumulate: product.accumulate,
            groups_per_task,
            tasks,
        }
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
        // SAFETY: `Job::new` checked that `out` holds every row's outputs; groups are disjoint.
        unsafe {
            let out = self.out.slice(row * self.out_stride + first, count);
            let mut sums = sums;
            if let Some(bias) = self.bias {
                sums = sums.add(L::load_first(bias[first..].as_ptr(), count));
            }
            if self.accumulate {
                sums = L::load_first(out.as_ptr(), count).add(sums);
            }
            sums.store_first(out.as_mut_ptr(), count);
        }
    }

    /// Pointers to one row of the quantised activations.
    #[inline(always)]
    fn row(&self, row: usize) -> Row {
        let blocks = self.x.blocks();
        Row {
            values: self.x.values[row * blocks * BLOCK..].as_ptr(),
            scales: self.x.scales[row * blocks..].as_ptr(),
            sums: self.x.sums[row * blocks * 2..].as_ptr(),
            scaled_sums: self.x.scaled_sums[row * blocks..].as_ptr(),
        }
    }
}

/// One row of quantised activations, bounds checked when it was taken.
#[derive(Clone, Copy)]
struct Row {
    values: *const i8,
    scales: *const f32,
    sums: *const i32,
    scaled_sums: *const f32,
}

impl Row {
    /// Four neighbouring values of block `block`, as one word. `step`: 0..8
    #[inline(always)]
    unsafe fn word(&self, block: usize, step: usize) -> i32 {
        // SAFETY: the caller stays inside the row's blocks.
        unsafe { self.values.add(block * BLOCK + 4 * step).cast::<i32>().read_unaligned() }
    }

    /// −bias · Σ values of one half of a block.
    #[inline(always)]
    unsafe fn correction<F: Format>(&self, block: usize, half: usize) -> i32 {
        // SAFETY: as above.
        if F::BIAS == 0 { 0 } else { -F::BIAS * unsafe { *self.sums.add(2 * block + half) } }
    }

    /// Adds block `block` to `sums`, from the integer sums of its halves.
    #[inline(always)]
    unsafe fn add_block<L: Lanes, F: Format>(
        &self,
        block: usize,
        halves: [L::Ints; 2],
        scales: [L; 2],
        minima: L,
        sums: L,
    ) -> L {
        // SAFETY: as above.
        unsafe {
            let scale = L::splat(*self.scales.add(block));
            let mut sums = if F::HALVES {
                let first = L::from_ints(halves[0]).mul_add(scales[0].mul(scale), sums);
                L::from_ints(halves[1]).mul_add(scales[1].mul(scale), first)
            } else {
                let both = L::add_ints(halves[0], halves[1]);
                L::from_ints(both).mul_add(scales[0].mul(scale), sums)
            };
            if F::MINIMA {
                sums = minima.mul_add(L::splat(*self.scaled_sums.add(block)), sums);
            }
            sums
        }
    }
}

leveled!(fn stream(kernels, job: &Job<'_>, groups: Range<usize>) = stream_lanes);

/// Few rows: each group is read once from memory for up to four rows and unpacked in registers.
#[inline(always)]
unsafe fn stream_lanes<L: Lanes>(job: &Job<'_>, groups: Range<usize>) {
    // SAFETY: the caller's level runs here.
    with_format!(job.weight.kind(), F => unsafe {
        for group in groups {
            let mut row = 0;
            while row + 4 <= job.x.rows() {
                stream_group::<L, F, 4>(job, group, row);
                row += 4;
            }
            if row + 2 <= job.x.rows() {
                stream_group::<L, F, 2>(job, group, row);
                row += 2;
            }
            if row < job.x.rows() {
                stream_group::<L, F, 1>(job, group, row);
            }
        }
    });
}

#[inline(always)]
unsafe fn stream_group<L: Lanes, F: Format, const R: usize>(
    job: &Job<'_>,
    group: usize,
    first: usize,
) {
    let tile = job.weight.group(group);
    let rows: [Row; R] = std::array::from_fn(|r| job.row(first + r));
    // SAFETY: the caller's level runs here; tile and rows hold `blocks` blocks.
    unsafe {
        let mut sums = [L::splat(0.0); R];
        for unit in 0..job.weight.blocks() / F::BLOCKS {
            let at = tile.as_ptr().add(unit * F::BYTES);
            for sub in 0..F::BLOCKS {
                let block = unit * F::BLOCKS + sub;
                let levels = F::levels::<L>(at, sub);
                let scales = F::scales::<L>(at, sub);
                let minima = if F::MINIMA { F::minima::<L>(at, sub) } else { L::splat(0.0) };
                for r in 0..R {
                    // Two sums, though one would do without halves: chains that do not wait.
                    let halves = [
                        dot_steps::<L, F>(&levels, &rows[r], block, 0),
                        dot_steps::<L, F>(&levels, &rows[r], block, 1),
                    ];
                    sums[r] = rows[r].add_block::<L, F>(block, halves, scales, minima, sums[r]);
                }
            }
        }
        for (r, sums) in sums.into_iter().enumerate() {
            job.finish(group, first + r, sums);
        }
    }
}

/// The integer sums of one half of a block.
#[inline(always)]
unsafe fn dot_steps<L: Lanes, F: Format>(
    levels: &[L::Bytes; 8],
    row: &Row,
    block: usize,
    half: usize,
) -> L::Ints {
    let length = L::CHAIN_STEPS[F::BITS].min(4);
    // SAFETY: the caller's level runs here.
    unsafe {
        let mut correction = row.correction::<F>(block, half);
        let mut sums = L::splat_int(0);
        for start in (4 * half..4 * half + 4).step_by(length) {
            let mut chain = begin::<L, F>(correction);
            for (step, levels) in levels.iter().enumerate().skip(start).take(length) {
                chain = dot::<L, F>(chain, *levels, row.word(block, step));
            }
            sums = L::add_ints(sums, end::<L, F>(chain, correction));
            correction = 0;
        }
        sums
    }
}

#[inline(always)]
unsafe fn begin<L: Lanes, F: Format>(correction: i32) -> L::Chain {
    // SAFETY: the caller's level runs here.
    unsafe {
        if F::BITS == 8 {
            L::begin_chain::<true>(correction)
        } else {
            L::begin_chain::<false>(correction)
        }
    }
}

#[inline(always)]
unsafe fn dot<L: Lanes, F: Format>(chain: L::Chain, levels: L::Bytes, word: i32) -> L::Chain {
    // SAFETY: the caller's level runs here.
    unsafe {
        if F::BITS == 8 {
            L::dot4::<true>(chain, levels, word)
        } else {
            L::dot4::<false>(chain, levels, word)
        }
    }
}

#[inline(always)]
unsafe fn end<L: Lanes, F: Format>(chain: L::Chain, correction: i32) -> L::Ints {
    // SAFETY: the caller's level runs here.
    unsafe {
        if F::BITS == 8 {
            L::end_chain::<true>(chain, correction)
        } else {
            L::end_chain::<false>(chain, correction)
        }
    }
}

/// Bytes of one unpacked block of a group: eight steps of levels, two scales, minima.
const PANEL_BLOCK: usize = 8 * 64 + 3 * 64;

thread_local! {
    /// The panel of the running task: it stays in the core's own cache.
    static PANEL: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

fn multiply_panel(kernels: &crate::level::Kernels, job: &Job<'_>, groups: Range<usize>) {
    let bytes = PANEL_GROUPS * job.weight.blocks() * PANEL_BLOCK + 64;
    PANEL.with_borrow_mut(|panel| {
        panel.resize(bytes.max(panel.len()), 0);
        let offset = panel.as_ptr().align_offset(64);
        panel_tasks(kernels, job, groups, &mut panel[offset..]);
    });
}

leveled!(
    fn panel_tasks(kernels, job: &Job<'_>, groups: Range<usize>, panel: &mut [u8]) = panel_lanes
);

/// Many rows: one or two groups are unpacked into the panel, then all rows pass over it.
#[inline(always)]
unsafe fn panel_lanes<L: Lanes>(job: &Job<'_>, groups: Range<usize>, panel: &mut [u8]) {
    // SAFETY: the caller's level runs here; `multiply_panel` sized the panel.
    with_format!(job.weight.kind(), F => unsafe {
        for (place, group) in groups.clone().enumerate() {
            let panel = &mut panel[place * job.weight.blocks() * PANEL_BLOCK..];
            unpack::<L, F>(job, group, panel.as_mut_ptr());
        }
        if groups.len() == PANEL_GROUPS && L::MANY_REGISTERS {
            all_rows::<L, F, 6, 2>(job, groups.start, panel.as_ptr());
        } else {
            for (place, group) in groups.enumerate() {
                let panel = panel[place * job.weight.blocks() * PANEL_BLOCK..].as_ptr();
                all_rows::<L, F, 3, 1>(job, group, panel);
            }
        }
    });
}

#[inline(always)]
unsafe fn unpack<L: Lanes, F: Format>(job: &Job<'_>, group: usize, panel: *mut u8) {
    let tile = job.weight.group(group);
    // SAFETY: the caller's level runs here; the panel holds every block.
    unsafe {
        for unit in 0..job.weight.blocks() / F::BLOCKS {
            let at = tile.as_ptr().add(unit * F::BYTES);
            for sub in 0..F::BLOCKS {
                let to = panel.add((unit * F::BLOCKS + sub) * PANEL_BLOCK);
                for (step, levels) in F::levels::<L>(at, sub).into_iter().enumerate() {
                    L::store_bytes(levels, to.add(64 * step));
                }
                let scales = F::scales::<L>(at, sub);
                scales[0].store(to.add(512).cast());
                if F::HALVES {
                    scales[1].store(to.add(576).cast());
                }
                if F::MINIMA {
                    F::minima::<L>(at, sub).store(to.add(640).cast());
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn all_rows<L: Lanes, F: Format, const R: usize, const G: usize>(
    job: &Job<'_>,
    group: usize,
    panel: *const u8,
) {
    // SAFETY: as for the caller.
    unsafe {
        let mut row = 0;
        while row + R <= job.x.rows() {
            tile::<L, F, R, G>(job, group, row, panel);
            row += R;
        }
        while row < job.x.rows() {
            tile::<L, F, 1, G>(job, group, row, panel);
            row += 1;
        }
    }
}

/// R rows times G groups, every accumulator in a register.
#[inline(always)]
unsafe fn tile<L: Lanes, F: Format, const R: usize, const G: usize>(
    job: &Job<'_>,
    group: usize,
    first: usize,
    panel: *const u8,
) {
    let blocks = job.weight.blocks();
    let rows: [Row; R] = std::array::from_fn(|r| job.row(first + r));
    // SAFETY: as for the caller; the panel holds `blocks` blocks for each group.
    unsafe {
        let mut sums = [[L::splat(0.0); R]; G];
        for block in 0..blocks {
            let at: [*const u8; G] =
                std::array::from_fn(|g| panel.add((g * blocks + block) * PANEL_BLOCK));
            let halves = if F::HALVES {
                let mut one = [[[L::splat_int(0); 2]; R]; G];
                #[allow(clippy::needless_range_loop)] // `half` names a range of columns too
                for half in 0..2 {
                    let dots = half_block::<L, F, R, G>(&at, &rows, block, half..half + 1);
                    for g in 0..G {
                        for r in 0..R {
                            one[g][r][half] = dots[g][r];
                        }
                    }
                }
                one
            } else {
                let dots = half_block::<L, F, R, G>(&at, &rows, block, 0..2);
                dots.map(|dots| dots.map(|dots| [dots, L::splat_int(0)]))
            };
            for g in 0..G {
                let scales = [
                    L::load(at[g].add(512).cast()),
                    if F::HALVES { L::load(at[g].add(576).cast()) } else { L::splat(0.0) },
                ];
                let minima = if F::MINIMA { L::load(at[g].add(640).cast()) } else { L::splat(0.0) };
                for r in 0..R {
                    sums[g][r] =
                        rows[r].add_block::<L, F>(block, halves[g][r], scales, minima, sums[g][r]);
                }
            }
        }
        for (g, sums) in sums.into_iter().enumerate() {
            for (r, sums) in sums.into_iter().enumerate() {
                job.finish(group + g, first + r, sums);
            }
        }
    }
}

/// The integer sums of some halves of a block, R rows times G groups.
#[inline(always)]
unsafe fn half_block<L: Lanes, F: Format, const R: usize, const G: usize>(
    at: &[*const u8; G],
    rows: &[Row; R],
    block: usize,
    halves: Range<usize>,
) -> [[L::Ints; R]; G] {
    let length = L::CHAIN_STEPS[F::BITS].min(4 * halves.len());
    // SAFETY: as for the caller.
    unsafe {
        let mut corrections = [0; R];
        for (correction, row) in corrections.iter_mut().zip(rows) {
            *correction = halves.clone().map(|half| row.correction::<F>(block, half)).sum();
        }
        let mut sums = [[L::splat_int(0); R]; G];
        for start in (4 * halves.start..4 * halves.end).step_by(length) {
            let mut chains = [corrections.map(|correction| begin::<L, F>(correction)); G];
            for step in start..start + length {
                let levels: [L::Bytes; G] =
                    std::array::from_fn(|g| L::load_bytes(at[g].add(64 * step)));
                for r in 0..R {
                    let word = rows[r].word(block, step);
                    for g in 0..G {
                        chains[g][r] = dot::<L, F>(chains[g][r], levels[g], word);
                    }
                }
            }
            for g in 0..G {
                for r in 0..R {
                    let more = end::<L, F>(chains[g][r], corrections[r]);
                    sums[g][r] = L::add_ints(sums[g][r], more);
                }
            }
            corrections = [0; R];
        }
        sums
    }
}

leveled!(fn multiply_floats(kernels, job: &Job<'_>, groups: Range<usize>) = float_lanes);

/// Float weights against float activations, four partial sums by column modulo 4.
#[inline(always)]
unsafe fn float_lanes<L: Lanes>(job: &Job<'_>, groups: Range<usize>) {
    // SAFETY: the caller's level runs here.
    unsafe {
        for group in groups {
            let mut row = 0;
            while row + 4 <= job.x.rows() {
                float_group::<L, 4>(job, group, row);
                row += 4;
            }
            while row < job.x.rows() {
                float_group::<L, 1>(job, group, row);
                row += 1;
            }
        }
    }
}

#[inline(always)]
unsafe fn float_group<L: Lanes, const R: usize>(job: &Job<'_>, group: usize, first: usize) {
    let tile = job.weight.group(group).as_ptr();
    let columns = job.weight.columns();
    let x: [*const f32; R] =
        std::array::from_fn(|r| job.x.floats[(first + r) * columns..].as_ptr());
    // SAFETY: the caller's level runs here; tile and rows hold `columns` columns.
    unsafe {
        let mut sums = [[L::splat(0.0); 4]; R];
        for column in 0..columns {
            let weights = match job.weight.kind() {
                BlockType::F32 => L::load(tile.cast::<f32>().add(column * GROUP_ROWS)),
                BlockType::F16 => L::load_f16(tile.cast::<u16>().add(column * GROUP_ROWS)),
                _ => L::load_bf16(tile.cast::<u16>().add(column * GROUP_ROWS)),
            };
            for r in 0..R {
                let sum = &mut sums[r][column % 4];
                *sum = weights.mul_add(L::splat(*x[r].add(column)), *sum);
            }
        }
        for (r, sums) in sums.into_iter().enumerate() {
            let sum = sums[0].add(sums[1]).add(sums[2].add(sums[3]));
            job.finish(group, first + r, sum);
        }
    }
}
