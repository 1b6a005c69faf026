//! Turns rows into what latent attention adds to them.
//!
//! Keys and values of a head are products of a latent: `q · (W_k c) = (W_kᵀ q) · c`, so each head's
//! query is turned into one for latents and all heads attend to the same short key (DeepSeek-V2,
//! arXiv:2405.04434, "absorbed"). Expanding keys and values instead takes fewer operations in long
//! prompts, but sums in another order: a prompt would have other bits in other chunks.

use myriad_kernels::{
    Activations, AttentionCall, AttentionRow, Compute, KvCache, Matrix, Product, RopeHeads,
    attention, matmul, rms_norm_heads, rope,
};

use super::{Pass, Rows, Scratch, sized};
use crate::config::Mla;
use crate::weights::MlaWeights;

/// Columns of parts that share one set of activations begin at multiples of this.
const ALIGNMENT: usize = 32;

/// Working memory of latent attention.
#[derive(Default)]
pub(super) struct MlaScratch {
    /// The queries' latents, then parts of heads side by side. [rows, q_rank], [rows, heads, part]
    gathered: Vec<f32>,
    /// [rows, heads, nope_size + rope_size]
    q: Vec<f32>,
    /// Products of single heads. [heads, rows, size]
    of_heads: Vec<f32>,
    /// Queries for latents. [rows, heads, kv_rank + rope_size]
    queries: Vec<f32>,
    /// What an indexer's first products left: its key, then a weight for each of its heads.
    /// [rows, head_size + heads]
    pub index: Vec<f32>,
    /// The queries of an indexer. [rows, heads, head_size]
    pub index_q: Vec<f32>,
    /// Of some rows: a score for each position.
    pub index_scores: Vec<Vec<f32>>,
}

impl Pass<'_> {
    /// first = first products of rms_norm(residual); latents and their turned parts go into the
    /// cache.
    pub(super) fn latents(
        &self,
        mla: &Mla,
        weights: &MlaWeights,
        rows: &Rows<'_>,
        cache: &mut KvCache,
        scratch: &mut Scratch,
    ) {
        let config = &self.model.config;
        let (compute, count, hidden) = (self.compute, rows.count(), config.hidden);
        let residual = &scratch.residual[..count * hidden];
        let epsilon = config.norm_epsilon;
        scratch.input.set_rms_norm(compute, residual, count, hidden, &weights.norm, epsilon);
        let stride = mla.first_size();
        let first = sized(&mut scratch.qkv, count * stride);
        weights.first.apply(compute, &scratch.input, first);
        if let (Some(indexer), Some(weights)) = (&mla.indexer, &weights.indexer) {
            self.index_keys(indexer, weights, rows, cache, &scratch.input, &mut scratch.mla.index);
        }
        if count == 0 {
            return;
        }
        let latents = &mut first[stride - mla.latent_size()..];
        let (rank, norm) = (mla.kv_rank, &weights.kv_norm);
        rms_norm_heads(compute, latents, count, stride, 1, rank, norm, epsilon);
        let head_size = mla.latent_size();
        // The last row ends where the buffer does: rows begin at their latents here.
        let turned = RopeHeads { heads: 1, head_size, offset: rank, stride };
        rope(compute, latents, turned, &rows.positions, &self.model.ropes[mla.rope]);
        cache.store(compute, self.cache_layer, &rows.slots, latents, stride, latents, stride);
    }

    /// residual += output(values of attention(queries, latents))
    pub(super) fn attend_latents(
        &self,
        mla: &Mla,
        weights: &MlaWeights,
        rows: &Rows<'_>,
        cache: &KvCache,
        scratch: &mut Scratch,
    ) {
        let (compute, count) = (self.compute, rows.count());
        self.queries(mla, weights, rows, scratch);
        let chosen = match &mla.indexer {
            Some(indexer) => self.choose_positions(indexer, rows, cache, &mut scratch.mla),
            None => vec![None; rows.count()],
        };
        let selected = rows
            .attention
            .iter()
            .zip(&chosen)
            .map(|(row, chosen)| AttentionRow { selection: chosen.as_deref(), ..*row });
        let attention_rows: Vec<AttentionRow<'_>> = selected.collect();
        let Scratch { mla: MlaScratch { gathered, of_heads, queries, .. }, .. } = scratch;
        let attended = sized(&mut scratch.attended, count * mla.heads * mla.kv_rank);
        let stride = mla.heads * mla.latent_size();
        let call = AttentionCall {
            cache,
            layer: self.cache_layer,
            rows: &attention_rows,
            q: &queries[..count * stride],
            q_stride: stride,
            heads: mla.heads,
            scale: mla.scale,
            exact: weights.v_b.iter().all(|v_b| v_b.kind().is_float()),
            window: None,
            sinks: None,
        };
        attention(compute, &call, attended, &mut scratch.attention);
        let of_values = OfHeads { weights: &weights.v_b, columns: mla.kv_rank, offset: 0, count };
        let (stride, input) = (mla.heads * mla.kv_rank, &mut scratch.input);
        of_values.apply(compute, attended, stride, gathered, input, of_heads);
        let width = mla.heads * mla.value_size;
        let values = sized(gathered, count * width);
        side_by_side(of_heads, mla.value_size, count, values, width, mla.value_size);
        scratch.input.set(compute, values, count, width);
        self.add_to_residual(&weights.output, None, None, count, scratch);
    }

    /// Each row's queries for latents, and those of an indexer.
    fn queries(&self, mla: &Mla, weights: &MlaWeights, rows: &Rows<'_>, scratch: &mut Scratch) {
        let (compute, count) = (self.compute, rows.count());
        let MlaScratch { gathered, q, of_heads, queries, index_q, .. } = &mut scratch.mla;
        let first = &scratch.qkv[..count * mla.first_size()];
        let (stride, size) = (mla.q_size(), mla.head_size());
        let q = sized(q, count * stride);
        let leading = mla.q_rank.unwrap_or(stride);
        let gather = |to: &mut [f32]| {
            for (to, from) in to.chunks_exact_mut(leading).zip(first.chunks_exact(mla.first_size()))
            {
                to.copy_from_slice(&from[..leading]);
            }
        };
        match &weights.q_latent {
            Some((norm, q_b)) => {
                let latents = sized(gathered, count * leading);
                gather(latents);
                let epsilon = self.model.config.norm_epsilon;
                scratch.input.set_rms_norm(compute, latents, count, leading, norm, epsilon);
                let mut products = vec![product(q_b, None, q)];
                if let Some(indexer) = &weights.indexer {
                    let index_q = sized(index_q, count * indexer.q_b.rows());
                    products.push(product(&indexer.q_b, None, index_q));
                }
                matmul(compute, &scratch.input, &mut products);
            }
            None => gather(q),
        }
        let turned = RopeHeads { heads: mla.heads, head_size: size, offset: mla.nope_size, stride };
        rope(compute, q, turned, &rows.positions, &self.model.ropes[mla.rope]);

        let of_keys =
            OfHeads { weights: &weights.k_b, columns: mla.nope_size, offset: size, count };
        of_keys.apply(compute, q, stride, gathered, &mut scratch.input, of_heads);
        let width = mla.latent_size();
        let queries = sized(queries, count * mla.heads * width);
        side_by_side(of_heads, mla.kv_rank, count, queries, mla.heads * width, width);
        for (to, from) in queries.chunks_exact_mut(width).zip(q.chunks_exact(size)) {
            to[mla.kv_rank..].copy_from_slice(&from[mla.nope_size..]);
        }
    }
}

/// Products of parts of rows, one for each head.
struct OfHeads<'a> {
    weights: &'a [Matrix],
    /// Columns of each head's part.
    columns: usize,
    /// Columns from one head's part to the next; 0: none between them.
    offset: usize,
    /// Rows.
    count: usize,
}

impl OfHeads<'_> {
    /// x: [rows, stride] → out: [heads, rows, size]
    fn apply(
        &self,
        compute: &Compute,
        x: &[f32],
        stride: usize,
        gathered: &mut Vec<f32>,
        input: &mut Activations,
        out: &mut Vec<f32>,
    ) {
        let OfHeads { weights, columns, count, .. } = *self;
        let offset = if self.offset == 0 { columns } else { self.offset };
        let padded = columns.next_multiple_of(ALIGNMENT);
        let width = weights.len() * padded;
        if columns == offset && columns == padded {
            input.set(compute, &x[..count * stride], count, width);
        } else {
            let parts = sized(gathered, count * width);
            for (parts, row) in parts.chunks_exact_mut(width).zip(x.chunks_exact(stride)) {
                for (part, head) in parts.chunks_exact_mut(padded).zip(row.chunks_exact(offset)) {
                    part[..columns].copy_from_slice(&head[..columns]);
                    part[columns..].fill(0.0);
                }
            }
            input.set(compute, parts, count, width);
        }
        let size = weights[0].rows();
        let out = sized(out, weights.len() * count * size);
        let mut products: Vec<Product<'_>> = weights
            .iter()
            .zip(out.chunks_exact_mut(count * size))
            .enumerate()
            .map(|(head, (weight, out))| product(weight, Some(head * padded), out))
            .collect();
        matmul(compute, input, &mut products);
    }
}

fn product<'a>(weight: &'a Matrix, first_column: Option<usize>, out: &'a mut [f32]) -> Product<'a> {
    let (bias, out_stride, accumulate) = (None, weight.rows(), false);
    Product { weight, first_column, bias, out, out_stride, accumulate }
}

/// x: [heads, rows, size] → out: [rows, stride], each head `offset` behind the one before
fn side_by_side(
    x: &[f32],
    size: usize,
    rows: usize,
    out: &mut [f32],
    stride: usize,
    offset: usize,
) {
    for (row, out) in out.chunks_exact_mut(stride).enumerate() {
        for (head, out) in out.chunks_exact_mut(offset).enumerate() {
            out[..size].copy_from_slice(&x[(head * rows + row) * size..][..size]);
        }
    }
}
