//! Turns rows into the positions that each of them attends to.

use myriad_kernels::{Activations, AttentionRow, KvCache, RopeHeads, rope};

use super::mla::MlaScratch;
use super::{Pass, Rows, sized};
use crate::config::Indexer;
use crate::weights::IndexerWeights;

/// Added to the variance in the key's layer norm: DeepSeek's, which no file has a key for.
const LAYER_NORM_EPSILON: f32 = 1e-6;

/// The positions that rows attend to, ascending.
#[derive(Default)]
pub(super) struct Chosen {
    positions: Vec<Vec<u32>>,
}

impl Chosen {
    /// The rows, with their positions.
    pub fn rows<'a>(&'a self, rows: &[AttentionRow<'a>]) -> Vec<AttentionRow<'a>> {
        let chosen = rows.iter().zip(&self.positions);
        chosen.map(|(row, positions)| AttentionRow { selection: Some(positions), ..*row }).collect()
    }
}

impl Pass<'_> {
    /// The key of each row goes into the cache; the weights of the heads stay behind it in `index`.
    /// input: rms_norm(residual), index: [rows, head_size + heads]
    pub(super) fn index_keys(
        &self,
        indexer: &Indexer,
        weights: &IndexerWeights,
        rows: &Rows<'_>,
        cache: &mut KvCache,
        input: &Activations,
        index: &mut Vec<f32>,
    ) {
        let (compute, count) = (self.compute, rows.count());
        let (size, stride) = (indexer.head_size, indexer.head_size + indexer.heads);
        let index = sized(index, count * stride);
        self.multiply(&weights.key_and_weights, input, index);
        for row in index.chunks_exact_mut(stride) {
            layer_norm(&mut row[..size], &weights.norm);
        }
        let turned = RopeHeads { heads: 1, head_size: size, offset: 0, stride };
        rope(compute, index, turned, &rows.positions, &self.model.ropes[indexer.rope]);
        cache.store(compute, self.cache_layer + 1, &rows.slots, index, stride, &[], 0);
    }

    /// The positions of the largest scores.
    pub(super) fn choose_positions(
        &self,
        _indexer: &Indexer,
        _rows: &Rows<'_>,
        _cache: &KvCache,
        _scratch: &mut MlaScratch,
    ) -> Chosen {
        unimplemented!()
    }
}

/// x = (x - mean) / deviation * scale + shift (Ba et al. 2016)
fn layer_norm(x: &mut [f32], [scale, shift]: &[Vec<f32>; 2]) {
    let count = x.len() as f32;
    let mean = x.iter().sum::<f32>() / count;
    let variance = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / count;
    let factor = 1.0 / (variance + LAYER_NORM_EPSILON).sqrt();
    for ((x, scale), shift) in x.iter_mut().zip(scale).zip(shift) {
        *x = (*x - mean) * factor * scale + shift;
    }
}
