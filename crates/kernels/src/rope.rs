//! Turns queries and keys into queries and keys that know their position.
//!
//! Rotary position embedding (Su et al. 2021, arXiv:2104.09864). Angles are computed in f64 and
//! rounded once, as cosine and sine; products and differences are rounded one by one (no fused
//! multiply), so that every level has the same bits.

use crate::compute::Compute;
use crate::lanes::Lanes;
use crate::level::leveled;
use crate::pool::Shares;
use std::sync::OnceLock;

/// Positions whose angles are computed together, when the first of them is needed: 256 × 64 f32
/// are 64 KiB and take less than a millisecond, where a whole long context would take a second.
const CHUNK_POSITIONS: usize = 256;

/// Numbers below which waking the other threads costs more than it saves (~5 µs of work).
const PARALLEL_MIN: usize = 64 << 10;

/// Which two numbers of a head are rotated together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopePairing {
    /// `x[i]` with `x[i + n / 2]` (NEOX).
    Halves,
    /// `x[2 i]` with `x[2 i + 1]` (NORM).
    Adjacent,
}

/// Angles of a rotary position embedding.
pub struct Rope {
    /// Angle of each pair from one position to the next.
    steps: Vec<f64>,
    pairing: RopePairing,
    /// [chunk] → [CHUNK_POSITIONS][cosines, then sines].
    chunks: Box<[OnceLock<Box<[f32]>>]>,
}

impl Rope {
    /// Rotation of the first `head_size` numbers of each head (an odd last one stays) by
    /// `position * theta^(-2 i / head_size) / divisors[i]`. Angles of positions below
    /// `positions_max` are kept once computed; those beyond are computed in every call.
    ///
    /// # Panics
    ///
    /// If there are fewer divisors than pairs.
    pub fn new(
        head_size: usize,
        theta: f32,
        pairing: RopePairing,
        divisors: Option<&[f32]>,
        positions_max: usize,
    ) -> Rope {
        let pairs = head_size / 2;
        if let Some(divisors) = divisors {
            assert!(divisors.len() >= pairs, "{} divisors for {pairs} pairs", divisors.len());
        }
        let step = |pair: usize| {
            let step = f64::from(theta).powf(-2.0 * pair as f64 / head_size as f64);
            step / divisors.map_or(1.0, |divisors| f64::from(divisors[pair]))
        };
        let chunks = positions_max.div_ceil(CHUNK_POSITIONS);
        Rope {
            steps: (0..pairs).map(step).collect(),
            pairing,
            chunks: (0..chunks).map(|_| OnceLock::new()).collect(),
        }
    }

    /// Calls `body` with the cosines and the sines of `position`.
    fn with_angles(&self, position: u32, body: impl FnOnce(&[f32], &[f32])) {
        let (pairs, position) = (self.steps.len(), position as usize);
        match self.chunks.get(position / CHUNK_POSITIONS) {
            Some(chunk) => {
                let first = position - position % CHUNK_POSITIONS;
                let angles = chunk.get_or_init(|| {
                    let mut angles = vec![0.0; CHUNK_POSITIONS * 2 * pairs].into_boxed_slice();
                    for (offset, row) in angles.chunks_exact_mut((2 * pairs).max(1)).enumerate() {
                        self.angles(first + offset, row);
                    }
                    angles
                });
                let row = &angles[(position - first) * 2 * pairs..][..2 * pairs];
                body(&row[..pairs], &row[pairs..]);
            }
            None => {
                let mut row = vec![0.0; 2 * pairs];
                self.angles(position, &mut row);
                body(&row[..pairs], &row[pairs..]);
            }
        }
    }

    fn angles(&self, position: usize, row: &mut [f32]) {
        let (cosines, sines) = row.split_at_mut(self.steps.len());
        for ((step, cosine), sine) in self.steps.iter().zip(cosines).zip(sines) {
            let (s, c) = (step * position as f64).sin_cos();
            (*cosine, *sine) = (c as f32, s as f32);
        }
    }
}

/// Rotates `heads` heads at the start of each row of `x` in place. `x`: [rows, stride].
///
/// # Panics
///
/// If `x` or `positions` are too short, or a head is smaller than the rotation.
pub fn rope(
    compute: &Compute,
    x: &mut [f32],
    rows: usize,
    stride: usize,
    heads: usize,
    head_size: usize,
    positions: &[u32],
    rope: &Rope,
) {
    let Some(last) = rows.checked_sub(1) else { return };
    let width = heads * head_size;
    assert!(last * stride + width <= x.len() && positions.len() >= rows, "too few rows");
    assert!(2 * rope.steps.len() <= head_size && width <= stride, "heads of {head_size}");
    let x = Shares::new(x);
    let task = |row: usize, _worker: usize| {
        // SAFETY: rows do not overlap (`width <= stride`), and each is a task of its own.
        let x = unsafe { x.slice(row * stride, width) };
        rope.with_angles(positions[row], |cosines, sines| match rope.pairing {
            RopePairing::Halves => rotate_halves(compute.kernels, x, head_size, cosines, sines),
            RopePairing::Adjacent => rotate_adjacent(compute.kernels, x, head_size, cosines, sines),
        });
    };
    if rows * width < PARALLEL_MIN {
        (0..rows).for_each(|row| task(row, 0));
    } else {
        compute.pool.run(rows, &task);
    }
}

leveled!(
    fn rotate_halves(
        kernels,
        x: &mut [f32], // [heads][head_size]
        head_size: usize,
        cosines: &[f32],
        sines: &[f32],
    ) = halves
);

leveled!(
    fn rotate_adjacent(
        kernels,
        x: &mut [f32], // [heads][head_size]
        head_size: usize,
        cosines: &[f32],
        sines: &[f32],
    ) = adjacent
);

/// Plain loops: each level's copy is vectorised by the compiler, for its own registers.
///
/// # Safety
///
/// The processor has the instructions of `V`.
#[inline(always)]
unsafe fn halves<V: Lanes>(x: &mut [f32], head_size: usize, cosines: &[f32], sines: &[f32]) {
    for head in x.chunks_exact_mut(head_size) {
        let (first, rest) = head.split_at_mut(cosines.len());
        for (((a, b), c), s) in first.iter_mut().zip(rest).zip(cosines).zip(sines) {
            (*a, *b) = (*a * c - *b * s, *a * s + *b * c);
        }
    }
}

/// # Safety
///
/// The processor has the instructions of `V`.
#[inline(always)]
unsafe fn adjacent<V: Lanes>(x: &mut [f32], head_size: usize, cosines: &[f32], sines: &[f32]) {
    for head in x.chunks_exact_mut(head_size) {
        let pairs = head.as_chunks_mut::<2>().0;
        for (([a, b], c), s) in pairs.iter_mut().zip(cosines).zip(sines) {
            (*a, *b) = (*a * c - *b * s, *a * s + *b * c);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::{Kernels, Level};

    /// The rotation of one head in f64, with the pairs spelt out.
    fn plain(
        head: &[f32],
        dims: usize,
        theta: f32,
        pairing: RopePairing,
        divisors: Option<&[f32]>,
        position: u32,
    ) -> Vec<f64> {
        let mut out: Vec<f64> = head.iter().map(|&x| f64::from(x)).collect();
        for i in 0..dims / 2 {
            let frequency = f64::from(theta).powf(-((2 * i) as f64) / dims as f64);
            let angle = f64::from(position) * frequency / divisors.map_or(1.0, |d| d[i].into());
            let (a, b) = match pairing {
                RopePairing::Halves => (i, i + dims / 2),
                RopePairing::Adjacent => (2 * i, 2 * i + 1),
            };
            let (x, y) = (f64::from(head[a]), f64::from(head[b]));
            out[a] = x * angle.cos() - y * angle.sin();
            out[b] = x * angle.sin() + y * angle.cos();
        }
        out
    }

    fn case(dims: usize, head_size: usize, heads: usize, rows: usize, pairing: RopePairing) {
        let divisors: Vec<f32> = (0..dims / 2).map(|i| 1.0 + (i % 5) as f32).collect();
        let stride = heads * head_size + 5;
        let x: Vec<f32> =
            (0..rows * stride).map(|i| ((i * 7919) % 613) as f32 / 300.0 - 1.0).collect();
        let positions: Vec<u32> = (0..rows).map(|row| (row * row * 37 % 3000) as u32).collect();
        for divisors in [None, Some(divisors.as_slice())] {
            let mut first: Option<Vec<f32>> = None;
            // A table for all positions, for some and for none: the same bits.
            for positions_max in [4000, 700, 0] {
                let rotation = Rope::new(dims, 10_000.0, pairing, divisors, positions_max);
                for level in Level::available() {
                    let kernels = Kernels::at(level).expect("an available level");
                    let compute = Compute::new(kernels, 1 + rows % 2);
                    let mut y = x.clone();
                    rope(&compute, &mut y, rows, stride, heads, head_size, &positions, &rotation);
                    assert_eq!(first.get_or_insert_with(|| y.clone()), &y, "{level:?}");
                }
            }
            let y = first.expect("at least the scalar level");
            for (row, &position) in positions.iter().enumerate() {
                for head in 0..heads {
                    let at = row * stride + head * head_size..row * stride + (head + 1) * head_size;
                    let wanted = plain(&x[at.clone()], dims, 10_000.0, pairing, divisors, position);
                    for (y, wanted) in y[at].iter().zip(wanted) {
                        assert!((f64::from(*y) - wanted).abs() < 1e-6, "{y} for {wanted}");
                    }
                }
                let behind = row * stride + heads * head_size..(row + 1) * stride;
                assert_eq!(y[behind.clone()], x[behind]);
            }
        }
    }

    #[test]
    fn rotations_equal_those_in_f64() {
        for pairing in [RopePairing::Halves, RopePairing::Adjacent] {
            case(64, 64, 9, 7, pairing);
            case(128, 128, 2, 40, pairing);
            case(32, 80, 3, 5, pairing); // partial
            case(10, 16, 3, 4, pairing); // no whole register
            case(64, 64, 16, 70, pairing); // on several threads
            case(0, 8, 1, 2, pairing);
        }
    }

    #[test]
    fn a_long_context_costs_nothing_before_it_is_used() {
        let start = std::time::Instant::now();
        let rotation = Rope::new(128, 1e6, RopePairing::Halves, None, 1 << 20);
        assert!(start.elapsed().as_millis() < 100);
        rotation.with_angles(1 << 19, |cosines, sines| {
            assert!((cosines[0] - f64::from(1 << 19).cos() as f32).abs() < 1e-6);
            assert!((sines[0] - f64::from(1 << 19).sin() as f32).abs() < 1e-6);
        });
    }
}
