//! Turns BF16 weights and activations rounded to BF16 into products, two columns at a time.
//!
//! For each pair of columns the odd product is added first and the even one then, each rounded
//! once: what `vdpbf16ps` does, and what levels without it do by two multiplications that add.

use std::ops::Range;

use super::source::call_ahead;
use super::{Job, PANEL_GROUPS, STREAM_ROWS};
use crate::activations::Activations;
use crate::lanes::Lanes;
use crate::level::{Kernels, leveled};
use crate::tiles::GROUP_ROWS;

/// Partial sums of each output, by pair modulo this: so that additions need not wait for another.
const PARTS: usize = 2;

/// Bytes of a pair of columns of a group.
pub(crate) const PAIR_BYTES: usize = GROUP_ROWS * 4;

/// Multiplies some groups by all rows.
pub(super) fn multiply_pairs(kernels: &Kernels, job: &Job<'_>, groups: Range<usize>) {
    #[cfg(target_arch = "x86_64")]
    if kernels.has_bf16() {
        static REACHED: crate::reached::Reached =
            crate::reached::Reached::new(concat!(module_path!(), "::native"));
        REACHED.mark(kernels.level());
        // SAFETY: the processor has these instructions.
        return unsafe { native(job, groups) };
    }
    multiply_widened_pairs(kernels, job, groups);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16")]
unsafe fn native(job: &Job<'_>, groups: Range<usize>) {
    use crate::lanes::avx512::{Avx512, PairsOfBf16};
    // SAFETY: this function's own target features.
    unsafe { pair_groups::<Avx512, PairsOfBf16>(job, groups) }
}

leveled!(fn multiply_widened_pairs(kernels, job: &Job<'_>, groups: Range<usize>) = widened);

#[inline(always)]
unsafe fn widened<L: Lanes>(job: &Job<'_>, groups: Range<usize>) {
    // SAFETY: the caller's level runs here.
    unsafe { pair_groups::<L, Widened<L>>(job, groups) }
}

/// Pairs of BF16 columns of sixteen rows, and how they are multiplied.
///
/// # Safety
///
/// As for [`Lanes`].
pub(crate) trait Pairs<L: Lanes>: Copy {
    /// A value of the activations.
    type Element;

    /// Those it is multiplied with. [rows, blocks · 32]
    fn elements(x: &Activations) -> &[Self::Element];
    /// [`PAIR_BYTES`] from memory: [16 rows][2 columns]
    unsafe fn load(from: *const u8) -> Self;
    /// `sum` + odd · x\[1\], + even · x\[0\].
    unsafe fn dot(self, sum: L, x: *const Self::Element) -> L;
}

/// As two registers of floats.
#[derive(Clone, Copy)]
struct Widened<L> {
    even: L,
    odd: L,
}

// SAFETY (all): as for the caller.
impl<L: Lanes> Pairs<L> for Widened<L> {
    type Element = f32;

    #[inline(always)]
    fn elements(x: &Activations) -> &[f32] {
        &x.rounded
    }
    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        let (even, odd) = unsafe { L::load_bf16_pairs(from.cast()) };
        Widened { even, odd }
    }
    #[inline(always)]
    unsafe fn dot(self, sum: L, x: *const f32) -> L {
        unsafe {
            let odd = self.odd.mul_add(L::splat(*x.add(1)), sum);
            self.even.mul_add(L::splat(*x), odd)
        }
    }
}

#[inline(always)]
unsafe fn pair_groups<L: Lanes, P: Pairs<L>>(job: &Job<'_>, groups: Range<usize>) {
    let (rows, mut group) = (job.x.rows(), groups.start);
    // SAFETY: the caller's level runs here.
    unsafe {
        if L::MANY_REGISTERS && rows > STREAM_ROWS {
            while group + PANEL_GROUPS <= groups.end {
                let mut row = tiles_of::<L, P, 6, PANEL_GROUPS>(job, group, 0);
                row = tiles_of::<L, P, 4, PANEL_GROUPS>(job, group, row);
                row = tiles_of::<L, P, 2, PANEL_GROUPS>(job, group, row);
                tiles_of::<L, P, 1, PANEL_GROUPS>(job, group, row);
                group += PANEL_GROUPS;
            }
        }
        for group in group..groups.end {
            let row = if L::MANY_REGISTERS { tiles_of::<L, P, 4, 1>(job, group, 0) } else { 0 };
            let row = tiles_of::<L, P, 2, 1>(job, group, row);
            tiles_of::<L, P, 1, 1>(job, group, row);
        }
    }
}

/// As many tiles of R rows as there are from row `row` on; gives the row behind them.
#[inline(always)]
unsafe fn tiles_of<L: Lanes, P: Pairs<L>, const R: usize, const G: usize>(
    job: &Job<'_>,
    group: usize,
    mut row: usize,
) -> usize {
    while row + R <= job.x.rows() {
        // SAFETY: the caller's level runs here.
        unsafe {
            // What other rows have used is in the core's own cache.
            if row == 0 {
                tile::<L, P, R, G, true>(job, group, row);
            } else {
                tile::<L, P, R, G, false>(job, group, row);
            }
        }
        row += R;
    }
    row
}

/// R rows times G groups, every sum in a register. `AHEAD`: whether weights come from memory
#[inline(always)]
unsafe fn tile<L: Lanes, P: Pairs<L>, const R: usize, const G: usize, const AHEAD: bool>(
    job: &Job<'_>,
    group: usize,
    first: usize,
) {
    let weights: [*const u8; G] = std::array::from_fn(|g| job.weight.group(group + g).as_ptr());
    let pairs = job.weight.columns().div_ceil(2);
    let x = P::elements(job.x);
    // Other kernels than these may have made the activations: then these elements are not there.
    let x = std::array::from_fn(|r| x[job.rounded_row(first + r)..][..2 * pairs].as_ptr());
    // SAFETY: the caller's level runs here; weights and rows hold `pairs` pairs.
    unsafe {
        let mut sums = [[[L::splat(0.0); R]; G]; PARTS];
        for start in (0..pairs / PARTS * PARTS).step_by(PARTS) {
            for (part, sums) in sums.iter_mut().enumerate() {
                add_pair::<L, P, R, G, AHEAD>(&weights, &x, start + part, sums);
            }
        }
        if !pairs.is_multiple_of(PARTS) {
            add_pair::<L, P, R, G, AHEAD>(&weights, &x, pairs - 1, &mut sums[0]);
        }
        let [even, odd] = sums;
        for (g, (even, odd)) in even.into_iter().zip(odd).enumerate() {
            for (r, (even, odd)) in even.into_iter().zip(odd).enumerate() {
                job.finish(group + g, first + r, even.add(odd));
            }
        }
    }
}

#[inline(always)]
unsafe fn add_pair<L: Lanes, P: Pairs<L>, const R: usize, const G: usize, const AHEAD: bool>(
    weights: &[*const u8; G],
    x: &[*const P::Element; R],
    pair: usize,
    sums: &mut [[L; R]; G],
) {
    // SAFETY: as for the caller.
    unsafe {
        let mut loaded = [P::load(weights[0].add(pair * PAIR_BYTES)); G];
        for g in 0..G {
            let at = weights[g].add(pair * PAIR_BYTES);
            loaded[g] = P::load(at);
            if AHEAD {
                call_ahead(at, PAIR_BYTES);
            }
        }
        for r in 0..R {
            for g in 0..G {
                sums[g][r] = loaded[g].dot(sums[g][r], x[r].add(2 * pair));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::BlockType;
    use crate::compute::Compute;
    use crate::level::Level;
    use crate::matmul::Out;
    use crate::matrix::Matrix;
    use crate::pool::Shares;

    /// Where the processor has the instruction, the public product takes it: this is what others
    /// with the same level do.
    #[test]
    fn every_level_does_without_the_instruction_what_it_does() {
        let (rows, outputs, columns) = (13, 50, 77);
        let number = |i: usize| ((i * 2_654_435_761 % 1009) as f32 - 504.0) / 97.0;
        let weights: Vec<u8> = (0..outputs * columns)
            .flat_map(|i| crate::f16::f32_to_bf16(number(i)).to_le_bytes())
            .collect();
        let values: Vec<f32> = (0..rows * columns).map(|i| number(i + 7) * 1.01).collect();
        let mut right: Option<Vec<f32>> = None;
        for level in Level::available() {
            let compute = Compute::new(Kernels::at(level).expect("it is there"), 1);
            let weight = Matrix::pack(&compute, BlockType::BF16, outputs, columns, &weights);
            let weight = weight.expect("whole rows");
            let mut x = Activations::new();
            x.set(&compute, &values, rows, columns);
            if x.rounded.is_empty() {
                x.rounded = x.halves.iter().map(|half| crate::f16::bf16_to_f32(*half)).collect();
            }
            for native in [false, true] {
                let mut out = vec![f32::NAN; rows * outputs];
                let (values, stride) = (Shares::new(&mut out), outputs);
                let place = Out { values, stride, first: 0, accumulate: false };
                let job = Job::new(&compute, &x, 0, &weight, None, place, &[]);
                match native {
                    true => multiply_pairs(compute.kernels, &job, 0..weight.groups()),
                    false => multiply_widened_pairs(compute.kernels, &job, 0..weight.groups()),
                }
                let bits = |values: &[f32]| -> Vec<u32> {
                    values.iter().map(|value| value.to_bits()).collect()
                };
                let right = right.get_or_insert_with(|| out.clone());
                assert_eq!(bits(&out), bits(right), "{} native {native}", level.name());
            }
        }
    }
}
