//! Turns a whole text into the states of its tokens: the twin of `forward`'s encoder.

use super::{File, Linear, add, attend, dot, rows_in_parallel};
use crate::config::{Config, FeedForward, Mixer};
use crate::error::ModelError;
use crate::forward::Text;

/// What an encoder has besides the embedding of its tokens.
pub(super) struct EncoderTwin {
    /// [context, hidden]
    positions: Vec<f32>,
    /// [token types, hidden]
    token_types: Vec<f32>,
    norm: LayerNorm,
    layers: Vec<EncoderLayer>,
    /// Pooler and output.
    classifier: Option<[Linear; 2]>,
}

struct EncoderLayer {
    q: Linear,
    k: Linear,
    v: Linear,
    output: Linear,
    output_norm: LayerNorm,
    up: Linear,
    down: Linear,
    last_norm: LayerNorm,
}

struct LayerNorm {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl EncoderTwin {
    pub fn load(file: &File<'_>, has_classifier: bool) -> Result<EncoderTwin, ModelError> {
        let layer = |index: usize| {
            let linear = |part: &str| file.linear_with(&format!("blk.{index}.{part}"), true);
            let norm = |part: &str| LayerNorm::load(file, &format!("blk.{index}.{part}"));
            Ok(EncoderLayer {
                q: linear("attn_q")?,
                k: linear("attn_k")?,
                v: linear("attn_v")?,
                output: linear("attn_output")?,
                output_norm: norm("attn_output_norm")?,
                up: linear("ffn_up")?,
                down: linear("ffn_down")?,
                last_norm: norm("layer_output_norm")?,
            })
        };
        Ok(EncoderTwin {
            positions: file.linear("position_embd")?.weight,
            token_types: file.linear("token_types")?.weight,
            norm: LayerNorm::load(file, "token_embd_norm")?,
            layers: (0..file.config.layers.len()).map(layer).collect::<Result<_, ModelError>>()?,
            classifier: match has_classifier {
                true => {
                    Some([file.linear_with("cls", true)?, file.linear_with("cls.output", true)?])
                }
                false => None,
            },
        })
    }

    /// The states of all tokens. embedding: [vocab, hidden] → [tokens, hidden]
    pub fn states(&self, text: Text<'_>, embedding: &Linear, config: &Config) -> Vec<f32> {
        let (hidden, epsilon) = (config.hidden, config.norm_epsilon);
        let last_type = self.token_types.len() / hidden - 1;
        let mut x = Vec::with_capacity(text.tokens.len() * hidden);
        for (position, &token) in text.tokens.iter().enumerate() {
            let row = |table: &[f32], index: usize| table[index * hidden..][..hidden].to_vec();
            let mut sum = row(&embedding.weight, token as usize);
            add(&mut sum, &row(&self.positions, position));
            let token_type = usize::from(position >= text.first).min(last_type);
            add(&mut sum, &row(&self.token_types, token_type));
            x.extend(sum);
        }
        self.norm.apply(&mut x, epsilon);
        for (layer, described) in self.layers.iter().zip(&config.layers) {
            let (Mixer::Bidirectional(attention), FeedForward::Mlp { .. }) =
                (&described.mixer, &described.feed_forward)
            else {
                unreachable!("weights are loaded as the layer is described")
            };
            let mixed = layer.attention(&x, attention.heads, attention.head_size);
            add(&mut x, &layer.output.apply(&mixed));
            layer.output_norm.apply(&mut x, epsilon);

            let mut worked = layer.up.apply(&x);
            worked.iter_mut().for_each(|value| *value = gelu(*value));
            add(&mut x, &layer.down.apply(&worked));
            layer.last_norm.apply(&mut x, epsilon);
        }
        x
    }

    /// The score of a pair by its first token's state, before the sigmoid.
    pub fn score(&self, state: &[f32]) -> Option<f32> {
        let [pooler, output] = self.classifier.as_ref()?;
        let pooled: Vec<f32> = pooler.apply(state).into_iter().map(f32::tanh).collect();
        Some(output.apply(&pooled)[0])
    }
}

impl EncoderLayer {
    /// Attention of all positions to all. x: [tokens, hidden] → [tokens, hidden]
    fn attention(&self, x: &[f32], heads: usize, size: usize) -> Vec<f32> {
        let hidden = heads * size;
        let (q, k, v) = (self.q.apply(x), self.k.apply(x), self.v.apply(x));
        let tokens = x.len() / hidden;
        let scale = 1.0 / (size as f32).sqrt();
        let mut out = vec![0.0; x.len()];
        rows_in_parallel(&mut out, hidden, 1, |position, out| {
            for (head, out) in out.chunks_exact_mut(size).enumerate() {
                let part = |of: usize| of * hidden + head * size;
                let q = &q[part(position)..][..size];
                let scores: Vec<f32> =
                    (0..tokens).map(|other| dot(q, &k[part(other)..][..size]) * scale).collect();
                attend(&scores, None, (0..tokens).map(|other| &v[part(other)..][..size]), out);
            }
        });
        out
    }
}

impl LayerNorm {
    fn load(file: &File<'_>, name: &str) -> Result<LayerNorm, ModelError> {
        let weight = file.vector(&format!("{name}.weight"))?;
        Ok(LayerNorm { weight, bias: file.vector(&format!("{name}.bias"))? })
    }

    /// x = (x - mean) / sqrt(variance + epsilon) * weight + bias (Ba et al. 2016)
    fn apply(&self, x: &mut [f32], epsilon: f32) {
        for row in x.chunks_exact_mut(self.weight.len()) {
            let count = row.len() as f32;
            let mean = row.iter().sum::<f32>() / count;
            row.iter_mut().for_each(|value| *value -= mean);
            let factor = 1.0 / (dot(row, row) / count + epsilon).sqrt();
            for ((value, weight), bias) in row.iter_mut().zip(&self.weight).zip(&self.bias) {
                *value = *value * factor * weight + bias;
            }
        }
    }
}

/// x · Φ(x) = x / 2 · (1 + erf(x / √2)); the error function by its series, or 1 beyond it.
fn gelu(x: f32) -> f32 {
    const END: f64 = 6.0;
    let z = f64::from(x) / std::f64::consts::SQRT_2;
    if z.abs() >= END {
        return x.max(0.0);
    }
    // erf(z) = 2 / √π · Σ (-1)ⁿ z^(2n+1) / (n! (2n+1)); terms vanish behind n = 2 z².
    let (mut power, mut sum) = (z, z);
    for n in 1..=150 {
        power *= -z * z / f64::from(n);
        sum += power / f64::from(2 * n + 1);
    }
    let erf = sum * 2.0 / std::f64::consts::PI.sqrt();
    (f64::from(x) * 0.5 * (1.0 + erf)) as f32
}
