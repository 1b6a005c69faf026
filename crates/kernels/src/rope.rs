//! Turns queries and keys into queries and keys that know their position.

use crate::compute::Compute;

/// Which two numbers of a head are rotated together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopePairing {
    /// `x[i]` with `x[i + n / 2]` (NEOX).
    Halves,
    /// `x[2 i]` with `x[2 i + 1]` (NORM).
    Adjacent,
}

/// Angles of a rotary position embedding.
pub struct Rope {}

impl Rope {
    /// Rotation of the first `head_size` numbers of each head by `position * theta^(-2 i /
    /// head_size) / divisors[i]`, ready for positions below `positions_max`.
    pub fn new(
        _head_size: usize,
        _theta: f32,
        _pairing: RopePairing,
        _divisors: Option<&[f32]>,
        _positions_max: usize,
    ) -> Rope {
        todo!()
    }
}

/// Rotates `heads` heads at the start of each row of `x` in place. `x`: [rows, stride].
pub fn rope(
    _compute: &Compute,
    _x: &mut [f32],
    _rows: usize,
    _stride: usize,
    _heads: usize,
    _head_size: usize,
    _positions: &[u32],
    _rope: &Rope,
) {
    todo!()
}
