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
    /// Factor of all cosines and sines.
    factor: f64,
    pairing: RopePairing,
    /// [chunk] → [CHUNK_POSITIONS][cosines, then sines].
    chunks: Box<[OnceLock<Box<[f32]>>]>,
}

impl Rope {
    /// Rotation of `dims` numbers of each head (an odd last one stays) by
    /// `position * theta^(-2 i / dims) / divisors[i]`. Angles of positions below
    /// `positions_max` are kept once computed; those beyond are computed in every call.
    ///
    /// # Panics
    ///
    /// If there are fewer divisors than pairs.
    pub fn new(
        dims: usize,
        theta: f32,
        pairing: RopePairing,
        divisors: Option<&[f32]>,
        positions_max: usize,
    ) -> Rope {
        let pairs = dims / 2;
        if let Some(divisors) = divisors {
            assert!(divisors.len() >= pairs, "{} divisors for {pairs} pairs", divisors.len());
        }
        let step = |pair: usize| {
            let step = f64::from(theta).powf(-2.0 * pair as f64 / dims as f64);
            step / divisors.map_or(1.0, |divisors| f64::from(divisors[pair]))
        };
        let chunks = positions_max.div_ceil(CHUNK_POSITIONS);
        Rope {
            steps: (0..pairs).map(step).collect(),
            factor: 1.0,
            pairing,
            chunks: (0..chunks).map(|_| OnceLock::new()).collect(),
        }
    }

    /// The same rotation, which also stretches what it turns by `factor` (YaRN's attention factor,
    /// Peng et al. 2023, arXiv:2309.00071). Where it turns whole heads of queries and keys, the
    /// square of the factor may stand in the scale of the scores instead.
    pub fn stretched(self, factor: f32) -> Rope {
        let chunks = self.chunks.iter().map(|_| OnceLock::new()).collect();
        Rope { factor: f64::from(factor), chunks, ..self }
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
            (*cosine, *sine) = ((self.factor * c) as f32, (self.factor * s) as f32);
        }
    }
}

/// Which numbers of each row are turned.
#[derive(Clone, Copy, Debug)]
pub struct RopeHeads {
    /// Heads at the start of each row.
    pub heads: usize,
    /// Floats from one head to the next.
    pub head_size: usize,
    /// Floats of each head before the first that is turned.
    pub offset: usize,
    /// Floats from one row to the next.
    pub stride: usize,
}

/// Rotates each row of `x` to its position, in place. `x`: [positions.len(), heads.stride]
///
/// # Panics
///
/// If `x` is too short, or a head is smaller than its offset and the rotation together.
pub fn rope(compute: &Compute, x: &mut [f32], heads: RopeHeads, positions: &[u32], rope: &Rope) {
    let RopeHeads { heads, head_size, offset, stride } = heads;
    let Some(last) = positions.len().checked_sub(1) else { return };
    let width = heads * head_size;
    assert!(last * stride + width <= x.len(), "too few rows");
    assert!(width <= stride, "the heads fit into the row");
    assert!(offset + 2 * rope.steps.len() <= head_size, "heads of {head_size}");
    if heads == 0 || rope.steps.is_empty() {
        return;
    }
    let x = Shares::new(x);
    let task = |row: usize, _worker: usize| {
        // SAFETY: rows do not overlap (`width <= stride`), and each is a task of its own.
        let x = unsafe { x.slice(row * stride + offset, width - offset) };
        rope.with_angles(positions[row], |cosines, sines| match rope.pairing {
            RopePairing::Halves => rotate_halves(compute.kernels, x, head_size, cosines, sines),
            RopePairing::Adjacent => rotate_adjacent(compute.kernels, x, head_size, cosines, sines),
        });
    };
    if positions.len() * width < PARALLEL_MIN {
        (0..positions.len()).for_each(|row| task(row, 0));
    } else {
        compute.pool.run(positions.len(), &task);
    }
}

leveled!(
    fn rotate_halves(
        kernels,
        x: &mut [f32], // [heads][head_size], from the first number that is turned on
        head_size: usize,
        cosines: &[f32],
        sines: &[f32],
    ) = halves
);

leveled!(
    fn rotate_adjacent(
        kernels,
        x: &mut [f32], // [heads][head_size], from the first number that is turned on
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
    for head in x.chunks_mut(head_size) {
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
    for head in x.chunks_mut(head_size) {
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

    const THETA: f32 = 10_000.0;

    /// The rotation of one head in f64, with the pairs spelt out.
    fn plain(
        head: &[f32],
        offset: usize,
        dims: usize,
        pairing: RopePairing,
        divisors: Option<&[f32]>,
        factor: f32,
        position: u32,
    ) -> Vec<f64> {
        let mut out: Vec<f64> = head.iter().map(|&x| f64::from(x)).collect();
        for i in 0..dims / 2 {
            let frequency = f64::from(THETA).powf(-((2 * i) as f64) / dims as f64);
            let angle = f64::from(position) * frequency / divisors.map_or(1.0, |d| d[i].into());
            let (a, b) = match pairing {
                RopePairing::Halves => (offset + i, offset + i + dims / 2),
                RopePairing::Adjacent => (offset + 2 * i, offset + 2 * i + 1),
            };
            let (x, y) = (f64::from(head[a]), f64::from(head[b]));
            out[a] = f64::from(factor) * (x * angle.cos() - y * angle.sin());
            out[b] = f64::from(factor) * (x * angle.sin() + y * angle.cos());
        }
        out
    }

    fn case(dims: usize, offset: usize, head_size: usize, heads: usize, rows: usize) {
        let divisors: Vec<f32> = (0..dims / 2).map(|i| 1.0 + (i % 5) as f32).collect();
        let turned = RopeHeads { heads, head_size, offset, stride: heads * head_size + 5 };
        let x: Vec<f32> =
            (0..rows * turned.stride).map(|i| ((i * 7919) % 613) as f32 / 300.0 - 1.0).collect();
        let positions: Vec<u32> = (0..rows).map(|row| (row * row * 37 % 3000) as u32).collect();
        let variants = [(None, 1.0), (Some(divisors.as_slice()), 1.0), (None, 1.3466)];
        for pairing in [RopePairing::Halves, RopePairing::Adjacent] {
            for (divisors, factor) in variants {
                let mut first: Option<Vec<f32>> = None;
                // A table for all positions, for some and for none: the same bits.
                for positions_max in [4000, 700, 0] {
                    let rotation = Rope::new(dims, THETA, pairing, divisors, positions_max);
                    let rotation = rotation.stretched(factor);
                    for level in Level::available() {
                        let kernels = Kernels::at(level).expect("an available level");
                        let compute = Compute::new(kernels, 1 + rows % 2);
                        let mut y = x.clone();
                        rope(&compute, &mut y, turned, &positions, &rotation);
                        assert_eq!(first.get_or_insert_with(|| y.clone()), &y, "{level:?}");
                    }
                }
                let y = first.expect("at least the scalar level");
                for (row, &position) in positions.iter().enumerate() {
                    let at = row * turned.stride;
                    let (x, y) = (&x[at..][..turned.stride], &y[at..][..turned.stride]);
                    for (x, y) in x.chunks_exact(head_size).zip(y.chunks_exact(head_size)) {
                        let wanted = plain(x, offset, dims, pairing, divisors, factor, position);
                        for (i, (y, wanted)) in y.iter().zip(wanted).enumerate() {
                            let error = (f64::from(*y) - wanted).abs();
                            assert!(error < 1e-6, "{i} of {head_size}: {y} for {wanted}");
                        }
                    }
                    assert_eq!(y[heads * head_size..], x[heads * head_size..]);
                }
            }
        }
    }

    #[test]
    fn rotations_equal_those_in_f64() {
        case(64, 0, 64, 9, 7);
        case(128, 0, 128, 2, 40);
        case(32, 0, 80, 3, 5); // the first numbers of each head
        case(64, 128, 192, 4, 6); // the last ones
        case(8, 8, 16, 4, 3);
        case(8, 512, 576, 1, 3); // some in between
        case(10, 3, 16, 3, 4); // no whole register
        case(64, 0, 64, 16, 70); // on several threads
        case(32, 32, 64, 16, 70);
        case(0, 0, 8, 1, 2);
    }

    #[test]
    #[should_panic(expected = "heads of 64")]
    fn a_head_must_hold_what_is_turned() {
        let compute = Compute::new(Kernels::at(Level::Scalar).expect("always there"), 1);
        let rotation = Rope::new(32, THETA, RopePairing::Halves, None, 8);
        let heads = RopeHeads { heads: 2, head_size: 64, offset: 33, stride: 128 };
        rope(&compute, &mut [0.0; 128], heads, &[1], &rotation);
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
