//! Turns queries and the cached keys and values of their sequences into mixed values.

use crate::compute::Compute;
use crate::kv::KvCache;

/// One query row: a token of a sequence, which attends to positions `0..=position`.
#[derive(Clone, Copy, Debug)]
pub struct AttentionRow<'a> {
    /// The page table of its sequence.
    pub pages: &'a [u32],
    /// The token's position in its sequence.
    pub position: u32,
}

/// Buffers of [`attention`], kept from call to call.
#[derive(Default)]
pub struct AttentionScratch {}

impl AttentionScratch {
    /// Empty buffers; they grow on first use.
    pub fn new() -> AttentionScratch {
        AttentionScratch::default()
    }
}

/// Causal grouped-query attention. `q`: [rows, heads * head_size], `q_stride` floats apart;
/// `out`: [rows, heads * head_size], dense.
pub fn attention(
    _compute: &Compute,
    _cache: &KvCache,
    _layer: usize,
    _rows: &[AttentionRow<'_>],
    _q: &[f32],
    _q_stride: usize,
    _heads: usize,
    _scale: f32,
    _out: &mut [f32],
    _scratch: &mut AttentionScratch,
) {
    todo!()
}
