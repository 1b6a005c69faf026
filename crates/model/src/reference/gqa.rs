//! Turns rows into what grouped-query attention adds to them.

use super::{File, Linear, attend, dot, rms_norm, rows_in_parallel, turn};
use crate::config::{Config, Gqa};
use crate::error::ModelError;

/// The twin of `forward`'s GQA.
pub(super) struct GroupedAttention {
    q: Linear,
    gate: Option<Linear>,
    k: Linear,
    v: Linear,
    /// Norms of each head of Q and of K.
    qk_norms: Option<[Vec<f32>; 2]>,
    sinks: Option<Vec<f32>>,
    output: Linear,
}

impl GroupedAttention {
    pub fn load(file: &File<'_>, index: usize, gqa: &Gqa) -> Result<Self, ModelError> {
        let name = |name: &str| format!("blk.{index}.{name}");
        let projection = |part: &str| file.linear_with(&name(part), gqa.qkv_bias);
        let (q, gate) = match gqa.gate {
            // Each head is followed by its gate.
            true => {
                let both = projection("attn_q")?;
                (alternate(&both, gqa.head_size, 0), Some(alternate(&both, gqa.head_size, 1)))
            }
            false => (projection("attn_q")?, None),
        };
        Ok(GroupedAttention {
            q,
            gate,
            k: projection("attn_k")?,
            v: projection("attn_v")?,
            qk_norms: match gqa.qk_norm {
                true => Some([
                    file.vector(&name("attn_q_norm.weight"))?,
                    file.vector(&name("attn_k_norm.weight"))?,
                ]),
                false => None,
            },
            sinks: match gqa.sinks {
                true => Some(file.vector(&name("attn_sinks.weight"))?),
                false => None,
            },
            output: file.linear_with(&name("attn_output"), gqa.output_bias)?,
        })
    }

    /// Causal attention of all positions. x: [tokens, hidden] → [tokens, hidden]
    pub fn apply(&self, x: &[f32], gqa: &Gqa, config: &Config) -> Vec<f32> {
        let (size, epsilon) = (gqa.head_size, config.norm_epsilon);
        let (mut q, mut k, v) = (self.q.apply(x), self.k.apply(x), self.v.apply(x));
        if let Some([q_norm, k_norm]) = &self.qk_norms {
            q = rms_norm(&q, q_norm, epsilon);
            k = rms_norm(&k, k_norm, epsilon);
        }
        if let Some(rope) = gqa.rope.map(|rope| &config.ropes[rope]) {
            turn(&mut q, gqa.q_size(), size, 0, rope);
            turn(&mut k, gqa.kv_size(), size, 0, rope);
        }

        let mut out = vec![0.0; q.len()];
        rows_in_parallel(&mut out, gqa.q_size(), 1, |position, out| {
            let q = &q[position * gqa.q_size()..][..gqa.q_size()];
            for (head, out) in out.chunks_exact_mut(size).enumerate() {
                let kv_head = head / (gqa.heads / gqa.kv_heads);
                let q = &q[head * size..][..size];
                let row = |of: usize| of * gqa.kv_size() + kv_head * size;
                let first = gqa.window.map_or(0, |window| (position + 1).saturating_sub(window));
                let scores: Vec<f32> = (first..=position)
                    .map(|other| dot(q, &k[row(other)..][..size]) * gqa.scale)
                    .collect();
                let sink = self.sinks.as_ref().map(|sinks| sinks[head]);
                attend(
                    &scores,
                    sink,
                    (first..=position).map(|other| &v[row(other)..][..size]),
                    out,
                );
            }
        });
        if let Some(gate) = &self.gate {
            let opened = gate.apply(x).into_iter().map(|gate| 1.0 / (1.0 + (-gate).exp()));
            out.iter_mut().zip(opened).for_each(|(out, gate)| *out *= gate);
        }
        self.output.apply(&out)
    }
}

/// Every other group of rows.
fn alternate(linear: &Linear, rows: usize, from: usize) -> Linear {
    let groups = linear.weight.chunks_exact(rows * linear.columns).skip(from).step_by(2);
    Linear { weight: groups.flatten().copied().collect(), columns: linear.columns, bias: None }
}
