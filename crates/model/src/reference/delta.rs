//! Turns rows into what a gated delta net adds to them, position by position (Yang et al. 2024,
//! arXiv:2412.06464, equation 10; transformers' `torch_recurrent_gated_delta_rule`).

use myriad_kernels::{DeltaShape, HeadOrder};

use super::{File, Linear, dot, rms_norm};
use crate::error::ModelError;

/// The twin of `forward`'s gated delta net.
pub(super) struct DeltaNet {
    qkv: Linear,
    gate: Linear,
    beta: Linear,
    alpha: Linear,
    /// [channels, kernel], the position's own weight last
    convolution: Vec<f32>,
    /// [value_heads], negative
    decay: Vec<f32>,
    /// [value_heads]
    dt_bias: Vec<f32>,
    /// [value_size]
    norm: Vec<f32>,
    output: Linear,
}

impl DeltaNet {
    pub fn load(file: &File<'_>, index: usize) -> Result<DeltaNet, ModelError> {
        let name = |name: &str| format!("blk.{index}.{name}");
        Ok(DeltaNet {
            qkv: file.linear(&name("attn_qkv"))?,
            gate: file.linear(&name("attn_gate"))?,
            beta: file.linear(&name("ssm_beta"))?,
            alpha: file.linear(&name("ssm_alpha"))?,
            convolution: file.vector(&name("ssm_conv1d.weight"))?,
            decay: file.vector(&name("ssm_a"))?,
            dt_bias: file.vector(&name("ssm_dt.bias"))?,
            norm: file.vector(&name("ssm_norm.weight"))?,
            output: file.linear(&name("ssm_out"))?,
        })
    }

    /// x: [tokens, hidden] → [tokens, hidden]
    pub fn apply(&self, x: &[f32], shape: &DeltaShape, epsilon: f32) -> Vec<f32> {
        let DeltaShape { key_heads, value_heads, key_size, value_size, order, .. } = *shape;
        let mixed = self.convolve(&self.qkv.apply(x), shape);
        let (alpha, beta) = (self.alpha.apply(x), self.beta.apply(x));
        let mut states = vec![vec![0.0f32; key_size * value_size]; value_heads];
        let mut out = Vec::new();
        for (position, row) in mixed.chunks_exact(shape.channels()).enumerate() {
            let (q, rest) = row.split_at(key_heads * key_size);
            let (k, v) = rest.split_at(key_heads * key_size);
            for (head, state) in states.iter_mut().enumerate() {
                let key_head = match order {
                    HeadOrder::Grouped => head / (value_heads / key_heads),
                    HeadOrder::Tiled => head % key_heads,
                };
                let q = of_length_one(&q[key_head * key_size..][..key_size]);
                let k = of_length_one(&k[key_head * key_size..][..key_size]);
                let v = &v[head * value_size..][..value_size];
                let gate = position * value_heads + head;
                let time = softplus(alpha[gate] + self.dt_bias[head]);
                let kept = (self.decay[head] * time).exp();
                let learnt = 1.0 / (1.0 + (-beta[gate]).exp());
                out.extend(step(state, &q, &k, v, kept, learnt));
            }
        }
        let mut out = rms_norm(&out, &self.norm, epsilon);
        for (out, gate) in out.iter_mut().zip(self.gate.apply(x)) {
            *out *= gate / (1.0 + (-gate).exp());
        }
        self.output.apply(&out)
    }

    /// silu(sum over the last positions of weight · x), channel by channel. [tokens, channels]
    fn convolve(&self, x: &[f32], shape: &DeltaShape) -> Vec<f32> {
        let (channels, kernel) = (shape.channels(), shape.kernel);
        let at = |position: usize, channel: usize| {
            let weights = &self.convolution[channel * kernel..][..kernel];
            let seen = weights.iter().enumerate().filter_map(|(tap, weight)| {
                let before = (position + tap + 1).checked_sub(kernel)?;
                Some(weight * x[before * channels + channel])
            });
            let sum: f32 = seen.sum();
            sum / (1.0 + (-sum).exp())
        };
        let tokens = x.len() / channels;
        (0..tokens)
            .flat_map(|token| (0..channels).map(move |channel| (token, channel)))
            .map(|(token, channel)| at(token, channel))
            .collect()
    }
}

/// One position of one head: S ← kept · S; S ← S + k ⊗ learnt · (v − Sᵀ k); gives Sᵀ q / √|q|.
/// state: [key_size, value_size]
fn step(state: &mut [f32], q: &[f32], k: &[f32], v: &[f32], kept: f32, learnt: f32) -> Vec<f32> {
    let recall = |state: &[f32], by: &[f32]| {
        let mut sum = vec![0.0; v.len()];
        for (row, by) in state.chunks_exact(v.len()).zip(by) {
            sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += by * value);
        }
        sum
    };
    state.iter_mut().for_each(|value| *value *= kept);
    let known = recall(state, k);
    for (row, k) in state.chunks_exact_mut(v.len()).zip(k) {
        for ((value, v), known) in row.iter_mut().zip(v).zip(&known) {
            *value += k * learnt * (v - known);
        }
    }
    let scale = 1.0 / (q.len() as f32).sqrt();
    recall(state, q).into_iter().map(|value| value * scale).collect()
}

fn of_length_one(x: &[f32]) -> Vec<f32> {
    let factor = 1.0 / (dot(x, x) + 1e-6).sqrt();
    x.iter().map(|x| x * factor).collect()
}

fn softplus(x: f32) -> f32 {
    // Beyond 20 the two agree in f32.
    if x > 20.0 { x } else { x.exp().ln_1p() }
}
