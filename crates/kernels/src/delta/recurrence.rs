//! Turns a token's query, key and value, and some columns of a head's state, into the next state
//! and the token's output.

use super::states::BLOCK_COLUMNS;
use crate::lanes::Lanes;
use crate::level::leveled;

/// One token of one value head.
pub(super) struct Token<'a> {
    /// [key_size]
    pub(super) query: &'a [f32],
    /// [key_size]
    pub(super) key: &'a [f32],
    /// The block's columns of the value.
    pub(super) value: &'a [f32],
    /// What the state is multiplied by before anything else.
    pub(super) keep: f32,
    /// How much of the difference between the value and what the state has for the key is written.
    pub(super) write: f32,
}

leveled!(
    /// S ← keep · S; S ← S + key ⊗ write · (value − Sᵀ key); `out` = Sᵀ query, for one block of
    /// columns. `state`: [key_size][columns], the value's and the output's columns rounded up to
    /// sixteen.
    pub(super) fn step(
        kernels,
        state: &mut [f32],
        token: &Token<'_>,
        out: &mut [f32],
    ) = step_lanes
);

/// Every column for itself, and each sum one chain over the key's numbers, ascending: neither the
/// blocks nor the registers show.
///
/// # Safety
///
/// The processor has the instructions of `L`.
#[inline(always)]
unsafe fn step_lanes<L: Lanes>(state: &mut [f32], token: &Token<'_>, out: &mut [f32]) {
    let columns = out.len().next_multiple_of(16);
    assert!(token.query.len() == token.key.len() && token.value.len() == out.len(), "one head");
    assert!(columns <= BLOCK_COLUMNS, "{columns} columns in a block");
    assert_eq!(state.len(), token.key.len() * columns, "state: [key_size][columns]");
    let mut delta = [0.0; BLOCK_COLUMNS];
    // SAFETY: the caller's promise; so many columns are left.
    unsafe {
        // Sums of chains wait for each other: the more at a time, the better.
        let mut column = 0;
        while column < columns {
            let (state, delta) = (state.as_ptr().add(column), delta[column..].as_mut_ptr());
            column += 16
                * match (columns - column) / 16 {
                    4.. => read::<L, 4>(state, columns, token, column, delta),
                    2.. => read::<L, 2>(state, columns, token, column, delta),
                    _ => read::<L, 1>(state, columns, token, column, delta),
                };
        }
        // Here two registers are needed for each column of registers.
        let mut column = 0;
        while column < columns {
            let (state, delta) = (state.as_mut_ptr().add(column), delta[column..].as_ptr());
            let out = &mut out[column..];
            column += 16
                * match (columns - column) / 16 {
                    4.. if L::MANY_REGISTERS => write::<L, 4>(state, columns, token, delta, out),
                    2.. => write::<L, 2>(state, columns, token, delta, out),
                    _ => write::<L, 1>(state, columns, token, delta, out),
                };
        }
    }
}

/// What N times sixteen columns are to learn: write · (value − keep · Sᵀ key). Gives N.
///
/// # Safety
///
/// `state` is good for [key_size][stride] from a column on, `delta` for 16 N floats, and the
/// processor has the instructions of `L`.
#[inline(always)]
unsafe fn read<L: Lanes, const N: usize>(
    state: *const f32,
    stride: usize,
    token: &Token<'_>,
    column: usize,
    delta: *mut f32,
) -> usize {
    // SAFETY: the caller's promise.
    unsafe {
        let keep = L::splat(token.keep);
        let mut sums = [L::splat(0.0); N];
        for (row, key) in token.key.iter().enumerate() {
            let (state, key) = (state.add(row * stride), L::splat(*key));
            for (n, sum) in sums.iter_mut().enumerate() {
                *sum = L::load(state.add(16 * n)).mul(keep).mul_add(key, *sum);
            }
        }
        let value = &token.value[column..];
        for (n, sum) in sums.into_iter().enumerate() {
            // What lies behind the value is 0, and so is what is written there.
            let value = L::load_first(value[16 * n..].as_ptr(), (value.len() - 16 * n).min(16));
            value.sub(sum).mul(L::splat(token.write)).store(delta.add(16 * n));
        }
    }
    N
}

/// Writes to N times sixteen columns what they are to learn, and reads the output. Gives N.
///
/// # Safety
///
/// As for [`read`].
#[inline(always)]
unsafe fn write<L: Lanes, const N: usize>(
    state: *mut f32,
    stride: usize,
    token: &Token<'_>,
    delta: *const f32,
    out: &mut [f32],
) -> usize {
    // SAFETY: the caller's promise.
    unsafe {
        let keep = L::splat(token.keep);
        let mut sums = [L::splat(0.0); N];
        let mut deltas = [L::splat(0.0); N];
        for (n, lanes) in deltas.iter_mut().enumerate() {
            *lanes = L::load(delta.add(16 * n));
        }
        for (row, (key, query)) in token.key.iter().zip(token.query).enumerate() {
            let (state, key, query) = (state.add(row * stride), L::splat(*key), L::splat(*query));
            for (n, (sum, delta)) in sums.iter_mut().zip(deltas).enumerate() {
                let at = state.add(16 * n);
                let next = key.mul_add(delta, L::load(at).mul(keep));
                next.store(at);
                *sum = query.mul_add(next, *sum);
            }
        }
        for (n, sum) in sums.into_iter().enumerate() {
            let out = &mut out[16 * n..];
            sum.store_first(out.as_mut_ptr(), out.len().min(16));
        }
    }
    N
}
