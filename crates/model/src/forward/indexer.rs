//! Turns rows into the positions that each of them attends to.

use myriad_kernels::{
    Activations, IndexCall, KvCache, RopeHeads, index_scores, rope, top_positions,
};

use super::mla::MlaScratch;
use super::{Pass, Rows, sized};
use crate::config::Indexer;
use crate::weights::IndexerWeights;

/// Added to the variance in the key's layer norm: DeepSeek's, which no file has a key for.
const LAYER_NORM_EPSILON: f32 = 1e-6;

/// Rows that are scored together: of a long text each has as many scores as the text has tokens.
const BAND_ROWS: usize = 32;

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

    /// For each row, the positions of the largest scores, ascending; none where those are all that
    /// it sees.
    pub(super) fn choose_positions(
        &self,
        indexer: &Indexer,
        rows: &Rows<'_>,
        cache: &KvCache,
        scratch: &mut MlaScratch,
    ) -> Vec<Option<Vec<u32>>> {
        let (heads, size) = (indexer.heads, indexer.head_size);
        let (q_stride, weight_stride) = (heads * size, size + heads);
        let MlaScratch { index, index_q, index_scores: scores, .. } = scratch;
        let q = &mut index_q[..rows.count() * q_stride];
        let turned = RopeHeads { heads, head_size: size, offset: 0, stride: q_stride };
        rope(self.compute, q, turned, &rows.positions, &self.model.ropes[indexer.rope]);
        scores.resize_with(BAND_ROWS, Vec::new);
        let mut chosen = Vec::with_capacity(rows.count());
        for (band, rows) in rows.attention.chunks(BAND_ROWS).enumerate() {
            if rows.iter().all(|row| (row.position as usize) < indexer.top) {
                chosen.extend(rows.iter().map(|_| None));
                continue;
            }
            let first = band * BAND_ROWS;
            let call = IndexCall {
                cache,
                layer: self.cache_layer + 1,
                rows,
                q: &q[first * q_stride..],
                q_stride,
                // Behind the key, in each row.
                weights: &index[first * weight_stride + size..],
                weight_stride,
                heads,
                scale: 1.0 / ((heads * size) as f32).sqrt(),
            };
            index_scores(self.compute, &call, &mut scores[..rows.len()]);
            for (row, scores) in rows.iter().zip(&*scores) {
                let sees_more = row.position as usize >= indexer.top;
                chosen.push(sees_more.then(|| top_positions(scores, indexer.top)));
            }
        }
        chosen
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
