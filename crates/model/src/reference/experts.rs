//! Turns rows into the weighted sums of their experts.

use myriad_kernels::Activation;

use super::{File, Linear, SwiGlu, add_weighted, softmax};
use crate::config::{Moe, Router, Scores};
use crate::error::ModelError;

/// The twin of `forward`'s mixtures.
pub(super) struct Experts {
    used: usize,
    router: Router,
    /// One row for each expert.
    gate: Linear,
    selection_bias: Option<Vec<f32>>,
    experts: Vec<SwiGlu>,
    /// Its gate, which has one row, and itself.
    shared: Option<(Option<Linear>, SwiGlu)>,
}

impl Experts {
    /// The stacked tensors, cut into their experts.
    pub fn load(file: &File<'_>, layer: usize, moe: &Moe) -> Result<Experts, ModelError> {
        let name = |name: &str| format!("blk.{layer}.{name}");
        let mut stacked = file.swiglu(layer, "_exps", moe.activation)?;
        if moe.bias {
            for (linear, part) in
                [(&mut stacked.gate, "gate"), (&mut stacked.up, "up"), (&mut stacked.down, "down")]
            {
                linear.bias = Some(file.vector(&name(&format!("ffn_{part}_exps.bias")))?);
            }
        }
        let cut = |linear: &Linear, expert: usize| {
            let part = |values: &[f32]| {
                let size = values.len() / moe.experts;
                values[expert * size..(expert + 1) * size].to_vec()
            };
            let bias = linear.bias.as_deref().map(part);
            Linear { weight: part(&linear.weight), columns: linear.columns, bias }
        };
        let expert = |expert| SwiGlu {
            gate: cut(&stacked.gate, expert),
            up: cut(&stacked.up, expert),
            down: cut(&stacked.down, expert),
            activation: stacked.activation,
        };
        let shared = match &moe.shared {
            Some(shared) => {
                let gate = match shared.gate {
                    true => Some(file.linear(&name("ffn_gate_inp_shexp"))?),
                    false => None,
                };
                Some((gate, file.swiglu(layer, "_shexp", Activation::Silu)?))
            }
            None => None,
        };
        Ok(Experts {
            used: moe.used,
            router: moe.router,
            gate: file.linear_with(&name("ffn_gate_inp"), moe.bias)?,
            selection_bias: match moe.router.selection_bias {
                true => Some(file.vector(&name("exp_probs_b.bias"))?),
                false => None,
            },
            experts: (0..moe.experts).map(expert).collect(),
            shared,
        })
    }

    /// Each expert works on all tokens, also on those that weight it with 0, as the paper (Shazeer
    /// et al. 2017) writes the sum. x: [tokens, hidden] → [tokens, hidden]
    pub fn apply(&self, x: &[f32]) -> Vec<f32> {
        let count = self.experts.len();
        let mut weights = self.gate.apply(x);
        weights.chunks_exact_mut(count).for_each(|weights| self.weigh(weights));
        let mut out = vec![0.0; x.len()];
        for (index, expert) in self.experts.iter().enumerate() {
            let of_expert = weights.iter().skip(index).step_by(count);
            add_weighted(&mut out, &expert.apply(x), of_expert.copied());
        }
        if let Some((gate, expert)) = &self.shared {
            let opened: Vec<f32> = match gate {
                Some(gate) => gate.apply(x).into_iter().map(sigmoid).collect(),
                None => vec![1.0; weights.len() / count],
            };
            add_weighted(&mut out, &expert.apply(x), opened.into_iter());
        }
        out
    }

    /// The logits of one token → the weight of each expert, 0 for those not used.
    fn weigh(&self, weights: &mut [f32]) {
        match self.router.scores {
            Scores::Softmax => softmax(weights),
            Scores::Sigmoid => weights.iter_mut().for_each(|weight| *weight = sigmoid(*weight)),
        }
        let mut choice = weights.to_vec();
        if let Some(bias) = &self.selection_bias {
            choice.iter_mut().zip(bias).for_each(|(score, bias)| *score += bias);
        }
        if let Some(groups) = self.router.groups {
            let size = choice.len() / groups.count;
            let worths: Vec<f32> = choice
                .chunks_exact(size)
                .map(|scores| {
                    let best = descending(scores).into_iter().take(groups.counted);
                    best.map(|index| scores[index]).sum()
                })
                .collect();
            for &closed in &descending(&worths)[groups.used..] {
                choice[closed * size..(closed + 1) * size].fill(f32::NEG_INFINITY);
            }
        }
        for &unused in &descending(&choice)[self.used..] {
            weights[unused] = 0.0;
        }
        if self.router.renormalise {
            let sum: f32 = weights.iter().sum();
            weights.iter_mut().for_each(|weight| *weight /= sum);
        }
        weights.iter_mut().for_each(|weight| *weight *= self.router.scale);
    }
}

/// Indices of the greatest first; of equal ones the first stay first.
fn descending(values: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
    order
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}
