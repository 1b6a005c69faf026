//! Turns rows into what latent attention adds to them, keys and values of all heads written out.

use super::{File, Linear, attend, dot, rms_norm, rows_in_parallel, turn};
use crate::config::{Config, Indexer, Mla};
use crate::error::ModelError;

/// Added to the variance in an indexer's layer norm: DeepSeek's, which no file has a key for.
const LAYER_NORM_EPSILON: f32 = 1e-6;

/// The twin of `forward`'s MLA.
pub(super) struct LatentAttention {
    /// Of the model's width, or of the queries' latent.
    q: Linear,
    q_latent: Option<(Linear, Vec<f32>)>,
    kv: Linear,
    kv_norm: Vec<f32>,
    /// [heads][kv_rank, nope_size]
    k_b: Vec<f32>,
    /// [heads][value_size, kv_rank]
    v_b: Vec<f32>,
    output: Linear,
    indexer: Option<IndexerTwin>,
}

/// The twin of `forward`'s indexer.
struct IndexerTwin {
    q: Linear,
    k: Linear,
    /// Scale and shift.
    norm: [Vec<f32>; 2],
    weights: Linear,
}

impl LatentAttention {
    pub fn load(file: &File<'_>, index: usize, mla: &Mla) -> Result<Self, ModelError> {
        let name = |name: &str| format!("blk.{index}.{name}");
        let (q, q_latent) = match mla.q_rank {
            Some(_) => {
                let norm = file.vector(&name("attn_q_a_norm.weight"))?;
                ("attn_q_b", Some((file.linear(&name("attn_q_a"))?, norm)))
            }
            None => ("attn_q", None),
        };
        let indexer = match mla.indexer {
            Some(_) => Some(IndexerTwin {
                q: file.linear(&name("indexer.attn_q_b"))?,
                k: file.linear(&name("indexer.attn_k"))?,
                norm: [
                    file.vector(&name("indexer.k_norm.weight"))?,
                    file.vector(&name("indexer.k_norm.bias"))?,
                ],
                weights: file.linear(&name("indexer.proj"))?,
            }),
            None => None,
        };
        Ok(LatentAttention {
            q: file.linear(&name(q))?,
            q_latent,
            kv: file.linear(&name("attn_kv_a_mqa"))?,
            kv_norm: file.vector(&name("attn_kv_a_norm.weight"))?,
            k_b: file.linear(&name("attn_k_b"))?.weight,
            v_b: file.linear(&name("attn_v_b"))?.weight,
            output: file.linear(&name("attn_output"))?,
            indexer,
        })
    }

    /// x: [tokens, hidden] → [tokens, hidden]
    pub fn apply(&self, x: &[f32], mla: &Mla, config: &Config) -> Vec<f32> {
        let rope = &config.ropes[mla.rope];
        let latent = self
            .q_latent
            .as_ref()
            .map(|(down, norm)| rms_norm(&down.apply(x), norm, config.norm_epsilon));
        let q_input = latent.as_deref().unwrap_or(x);
        let mut q = self.q.apply(q_input);
        turn(&mut q, mla.q_size(), mla.head_size(), mla.nope_size, rope);
        let mut kv = self.kv.apply(x);
        turn(&mut kv, mla.latent_size(), mla.latent_size(), mla.kv_rank, rope);
        let tokens = kv.len() / mla.latent_size();
        let (keys, values) = self.keys_and_values(&kv, mla, config.norm_epsilon);

        let chosen = self
            .indexer
            .as_ref()
            .zip(mla.indexer.as_ref())
            .map(|(twin, indexer)| twin.choose(x, q_input, indexer, config));
        let (heads, size) = (mla.heads, mla.head_size());
        let mut out = vec![0.0; tokens * heads * mla.value_size];
        rows_in_parallel(&mut out, heads * mla.value_size, 1, |position, out| {
            let seen: Vec<usize> = match &chosen {
                Some(chosen) => chosen[position].clone(),
                None => (0..=position).collect(),
            };
            for (head, out) in out.chunks_exact_mut(mla.value_size).enumerate() {
                let q = &q[position * heads * size + head * size..][..size];
                let row = |of: usize| of * heads + head;
                let score = |&of: &usize| dot(q, &keys[row(of) * size..][..size]) * mla.scale;
                let scores: Vec<f32> = seen.iter().map(score).collect();
                let value = |&of: &usize| &values[row(of) * mla.value_size..][..mla.value_size];
                attend(&scores, None, seen.iter().map(value), out);
            }
        });
        self.output.apply(&out)
    }

    /// Keys [tokens, heads, nope_size + rope_size] and values [tokens, heads, value_size] of
    /// latents [tokens, kv_rank + rope_size], whose last part rope has turned.
    fn keys_and_values(&self, kv: &[f32], mla: &Mla, epsilon: f32) -> (Vec<f32>, Vec<f32>) {
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for row in kv.chunks_exact(mla.latent_size()) {
            let (latent, turned) = row.split_at(mla.kv_rank);
            let latent = rms_norm(latent, &self.kv_norm, epsilon);
            let heads = self.k_b.chunks_exact(mla.kv_rank * mla.nope_size);
            for (k_b, v_b) in heads.zip(self.v_b.chunks_exact(mla.value_size * mla.kv_rank)) {
                let mut key = vec![0.0; mla.nope_size];
                for (latent, k_b) in latent.iter().zip(k_b.chunks_exact(mla.nope_size)) {
                    key.iter_mut().zip(k_b).for_each(|(key, k_b)| *key += latent * k_b);
                }
                keys.extend(key);
                keys.extend_from_slice(turned);
                values.extend(v_b.chunks_exact(mla.kv_rank).map(|v_b| dot(v_b, &latent)));
            }
        }
        (keys, values)
    }
}

impl IndexerTwin {
    /// The positions that each row attends to, ascending. x: [tokens, hidden], q: [tokens, q_rank]
    fn choose(&self, x: &[f32], q: &[f32], indexer: &Indexer, config: &Config) -> Vec<Vec<usize>> {
        let (heads, size) = (indexer.heads, indexer.head_size);
        let rope = &config.ropes[indexer.rope];
        let (mut q, mut k) = (self.q.apply(q), layer_norm(&self.k.apply(x), &self.norm));
        turn(&mut q, heads * size, size, 0, rope);
        turn(&mut k, size, size, 0, rope);
        let weights = self.weights.apply(x);
        let factor = 1.0 / ((size * heads) as f32).sqrt();
        let choose = |position: usize| {
            let q = &q[position * heads * size..][..heads * size];
            let weights = &weights[position * heads..][..heads];
            let score = |other: usize| -> f32 {
                let k = &k[other * size..][..size];
                let of_heads = q.chunks_exact(size).zip(weights);
                of_heads.map(|(q, weight)| weight * factor * dot(q, k).max(0.0)).sum()
            };
            let scores: Vec<f32> = (0..=position).map(score).collect();
            let mut order: Vec<usize> = (0..=position).collect();
            // Stable: of equal ones the first stay first.
            order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
            order.truncate(indexer.top);
            order.sort_unstable();
            order
        };
        (0..k.len() / size).map(choose).collect()
    }
}

/// Rows of (x - mean) / deviation * scale + shift (Ba et al. 2016), as wide as the scale.
fn layer_norm(x: &[f32], [scale, shift]: &[Vec<f32>; 2]) -> Vec<f32> {
    let mut out = Vec::with_capacity(x.len());
    for row in x.chunks_exact(scale.len()) {
        let mean = row.iter().sum::<f32>() / row.len() as f32;
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / row.len() as f32;
        let factor = 1.0 / (variance + LAYER_NORM_EPSILON).sqrt();
        let norms = row.iter().zip(scale).zip(shift);
        out.extend(norms.map(|((x, scale), shift)| (x - mean) * factor * scale + shift));
    }
    out
}
