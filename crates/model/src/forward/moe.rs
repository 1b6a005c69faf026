//! Turns rows into the weighted sums of the experts that a router chooses for each of them.
//!
//! Rows are grouped by expert, so that each expert's weights are read once for all its rows. What
//! is added to a row is added in ascending order of experts, the shared one last, whichever rows
//! share the batch: so a row's sum has the same bits in every company.

use std::sync::atomic::Ordering::Relaxed;

use myriad_kernels::{Activation, matmul, rms_norm};

use super::{Pass, Scratch, sized};
use crate::config::{Groups, Moe, Scores};
use crate::weights::{MoeWeights, SwiGlu};

/// Working memory of mixtures of experts.
#[derive(Default)]
pub(super) struct MoeScratch {
    /// [rows, hidden]
    normed: Vec<f32>,
    /// [rows, experts + gate of the shared one]
    logits: Vec<f32>,
    /// Scores of one row, for its weights and for the choice. [experts]
    scores: [Vec<f32>; 2],
    /// Sorted by expert, then by row.
    routes: Vec<Route>,
    /// Experts of one row, ascending.
    chosen: Vec<usize>,
    /// The rows of one expert: its inputs, then its outputs. [rows, hidden]
    gathered: Vec<f32>,
}

/// That a row uses an expert.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Route {
    expert: usize,
    row: usize,
    weight: f32,
}

impl Pass<'_> {
    /// residual += sum of weight · expert(x) over the used experts, x = rms_norm(residual)
    pub(super) fn moe(&self, moe: &Moe, weights: &MoeWeights, count: usize, scratch: &mut Scratch) {
        let config = &self.model.config;
        let (compute, hidden) = (self.compute, config.hidden);
        let residual = &scratch.residual[..count * hidden];
        let normed = sized(&mut scratch.moe.normed, count * hidden);
        rms_norm(compute, residual, count, hidden, &weights.norm, config.norm_epsilon, normed);
        scratch.input.set(compute, normed, count, hidden);
        let stride = weights.router.rows();
        let logits = sized(&mut scratch.moe.logits, count * stride);
        self.multiply(&weights.router, &scratch.input, logits);
        if let Some(bias) = &weights.router_bias {
            for logits in logits.chunks_exact_mut(stride) {
                logits.iter_mut().zip(bias).for_each(|(logit, bias)| *logit += bias);
            }
        }
        scratch.moe.choose(moe, weights.selection_bias.as_deref(), stride, count);

        // Taken out while the rest of the scratch works; given back for its memory.
        let routes = std::mem::take(&mut scratch.moe.routes);
        for routes in routes.chunk_by(|a, b| a.expert == b.expert) {
            weights.used[routes[0].expert].fetch_add(routes.len() as u64, Relaxed);
        }
        if count == 1 {
            self.experts_of_one_row(moe, weights, &routes, scratch);
        } else {
            for routes in routes.chunk_by(|a, b| a.expert == b.expert) {
                self.rows_of_one_expert(moe, weights, routes, scratch);
            }
        }
        scratch.moe.routes = routes;
        if let (Some(shared), Some(weights)) = (&moe.shared, &weights.shared) {
            let stride = shared.gate.then_some(stride);
            self.shared_expert(shared.size, weights, stride, count, scratch);
        }
    }

    /// All experts of a row have the same input, so their first products are one parallel region.
    fn experts_of_one_row(
        &self,
        moe: &Moe,
        weights: &MoeWeights,
        routes: &[Route],
        scratch: &mut Scratch,
    ) {
        let width = 2 * moe.size;
        let mut gate_up = std::mem::take(&mut scratch.gate_up);
        let outputs = sized(&mut gate_up, routes.len() * width);
        let mut products = Vec::with_capacity(routes.len());
        for (route, out) in routes.iter().zip(outputs.chunks_exact_mut(width)) {
            weights.experts[route.expert].gate_up.products_of_row(out, &mut products);
        }
        matmul(self.compute, &scratch.input, &mut products);
        for (index, route) in routes.iter().enumerate() {
            let weights = &weights.experts[route.expert];
            let gate_up = &gate_up[index * width..(index + 1) * width];
            let routes = &routes[index..=index];
            self.add_outputs(moe.size, moe.activation, weights, gate_up, routes, scratch);
        }
        scratch.gate_up = gate_up;
    }

    fn rows_of_one_expert(
        &self,
        moe: &Moe,
        weights: &MoeWeights,
        routes: &[Route],
        scratch: &mut Scratch,
    ) {
        let (hidden, count) = (self.model.config.hidden, routes.len());
        let weights = &weights.experts[routes[0].expert];
        let gathered = sized(&mut scratch.moe.gathered, count * hidden);
        for (route, row) in routes.iter().zip(gathered.chunks_exact_mut(hidden)) {
            row.copy_from_slice(&scratch.moe.normed[route.row * hidden..][..hidden]);
        }
        scratch.input.set(self.compute, gathered, count, hidden);
        let mut gate_up = std::mem::take(&mut scratch.gate_up);
        let outputs = sized(&mut gate_up, count * 2 * moe.size);
        weights.gate_up.apply(self.compute, &scratch.input, outputs);
        self.add_outputs(moe.size, moe.activation, weights, outputs, routes, scratch);
        scratch.gate_up = gate_up;
    }

    /// The shared expert works on all rows, each weighted by its own gate, the last of `stride`
    /// logits, if it has one.
    fn shared_expert(
        &self,
        size: usize,
        weights: &SwiGlu,
        stride: Option<usize>,
        count: usize,
        scratch: &mut Scratch,
    ) {
        let hidden = self.model.config.hidden;
        let gate = |row: usize| match stride {
            Some(stride) => sigmoid(scratch.moe.logits[(row + 1) * stride - 1]),
            None => 1.0,
        };
        let all: Vec<Route> =
            (0..count).map(|row| Route { expert: 0, row, weight: gate(row) }).collect();
        let normed = &scratch.moe.normed[..count * hidden];
        scratch.input.set(self.compute, normed, count, hidden);
        let mut gate_up = std::mem::take(&mut scratch.gate_up);
        let outputs = sized(&mut gate_up, count * 2 * size);
        weights.gate_up.apply(self.compute, &scratch.input, outputs);
        self.add_outputs(size, Activation::Silu, weights, outputs, &all, scratch);
        scratch.gate_up = gate_up;
    }

    /// residual[route.row] += route.weight · (down(activation(gate, up)) + bias), one row for each
    /// route
    fn add_outputs(
        &self,
        size: usize,
        activation: Activation,
        weights: &SwiGlu,
        gate_up: &[f32],
        routes: &[Route],
        scratch: &mut Scratch,
    ) {
        let (hidden, count) = (self.model.config.hidden, routes.len());
        scratch.input.set_gated(self.compute, gate_up, count, size, activation);
        let outputs = sized(&mut scratch.moe.gathered, count * hidden);
        let bias = weights.down_bias.as_deref();
        self.multiply_and_add(&weights.down, bias, &scratch.input, outputs);
        for (route, output) in routes.iter().zip(outputs.chunks_exact(hidden)) {
            let residual = &mut scratch.residual[route.row * hidden..][..hidden];
            for (sum, value) in residual.iter_mut().zip(output) {
                *sum += route.weight * value;
            }
        }
    }
}

impl MoeScratch {
    /// Fills `routes` from `logits`. [rows, stride], the experts first in each row
    fn choose(&mut self, moe: &Moe, bias: Option<&[f32]>, stride: usize, count: usize) {
        self.routes.clear();
        let [scores, choice] = &mut self.scores;
        for (row, logits) in self.logits[..count * stride].chunks_exact(stride).enumerate() {
            let logits = &logits[..moe.experts];
            scores_of(moe.router.scores, logits, scores);
            // A softmax keeps the order, but equal results of unequal logits would lose it.
            choice.clear();
            choice.extend_from_slice(match moe.router.scores {
                Scores::Softmax => logits,
                Scores::Sigmoid => scores,
            });
            if let Some(bias) = bias {
                choice.clear();
                choice.extend(scores.iter().zip(bias).map(|(score, bias)| score + bias));
            }
            if let Some(groups) = moe.router.groups {
                close_groups(groups, choice);
            }
            largest(choice, moe.used, &mut self.chosen);
            let sum: f64 = match moe.router.renormalise {
                true => self.chosen.iter().map(|&expert| f64::from(scores[expert])).sum(),
                false => 1.0,
            };
            // Sigmoids may all be 0: no weight then, rather than no number.
            let factor = f64::from(moe.router.scale) / sum.max(f64::from(f32::MIN_POSITIVE));
            let weight = |expert: usize| (f64::from(scores[expert]) * factor) as f32;
            let routes = self.chosen.iter();
            self.routes.extend(routes.map(|&expert| Route { expert, row, weight: weight(expert) }));
        }
        self.routes.sort_unstable_by_key(|route| (route.expert, route.row));
    }
}

/// What a router makes of its logits. [experts]
fn scores_of(kind: Scores, logits: &[f32], scores: &mut Vec<f32>) {
    scores.clear();
    match kind {
        Scores::Softmax => {
            let greatest = logits.iter().copied().fold(f32::MIN, f32::max);
            let exponential = |logit: f32| f64::from(logit - greatest).exp();
            let total: f64 = logits.iter().map(|&logit| exponential(logit)).sum();
            scores.extend(logits.iter().map(|&logit| (exponential(logit) / total) as f32));
        }
        Scores::Sigmoid => scores.extend(logits.iter().map(|&logit| sigmoid(logit))),
    }
}

/// Takes the experts of all but the best groups out of the choice; of equal groups the first are
/// better.
fn close_groups(groups: Groups, choice: &mut [f32]) {
    let size = choice.len() / groups.count;
    let worth = |scores: &[f32]| {
        let mut sorted = scores.to_vec();
        sorted.sort_unstable_by(|a, b| b.total_cmp(a));
        sorted[..groups.counted].iter().sum::<f32>()
    };
    let worths: Vec<f32> = choice.chunks_exact(size).map(worth).collect();
    let mut open = Vec::new();
    largest(&worths, groups.used, &mut open);
    for (group, choice) in choice.chunks_exact_mut(size).enumerate() {
        if open.binary_search(&group).is_err() {
            choice.fill(f32::NEG_INFINITY);
        }
    }
}

/// The experts with the `used` largest logits, in no order; of equal ones the first.
fn largest(logits: &[f32], used: usize, chosen: &mut Vec<usize>) {
    chosen.clear();
    chosen.extend(0..logits.len());
    if used < logits.len() {
        let order = |&a: &usize, &b: &usize| logits[b].total_cmp(&logits[a]).then(a.cmp(&b));
        chosen.select_nth_unstable_by(used, order);
        chosen.truncate(used);
    }
    // The order of sums over them.
    chosen.sort_unstable();
}

fn sigmoid(x: f32) -> f32 {
    (1.0 / (1.0 + f64::from(-x).exp())) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Router;

    fn routes(used: usize, renormalise: bool, rows: &[[f32; 4]]) -> Vec<Route> {
        routes_of(Router::softmax(renormalise), None, used, rows)
    }

    fn routes_of<const N: usize>(
        router: Router,
        bias: Option<&[f32]>,
        used: usize,
        rows: &[[f32; N]],
    ) -> Vec<Route> {
        let activation = Activation::Silu;
        let moe = Moe { experts: N, used, size: 1, activation, bias: false, router, shared: None };
        let mut scratch = MoeScratch { logits: rows.concat(), ..MoeScratch::default() };
        scratch.choose(&moe, bias, N, rows.len());
        scratch.routes
    }

    /// DeepSeek-V3: the bias and the groups decide who is chosen, the scores alone what they weigh.
    #[test]
    fn groups_and_bias_choose_and_scores_weigh() {
        let logit = |score: f32| (score / (1.0 - score)).ln();
        // Groups of two: sums of two 1.0, 1.1, 0.9, and 0.3 with a bias that makes it 1.3.
        let row = [0.9, 0.1, 0.5, 0.6, 0.45, 0.45, 0.2, 0.1].map(logit);
        let bias = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0];
        let groups = Some(Groups { count: 4, used: 2, counted: 2 });
        let router = Router {
            scores: Scores::Sigmoid,
            selection_bias: true,
            groups,
            renormalise: true,
            scale: 2.0,
        };
        let found = routes_of(router, Some(&bias), 2, &[row]);
        let experts: Vec<usize> = found.iter().map(|route| route.expert).collect();
        assert_eq!(experts, [3, 6], "the best single one, 0, is in a closed group");
        for (route, right) in found.iter().zip([0.6 / 0.8 * 2.0, 0.2 / 0.8 * 2.0]) {
            assert!((route.weight - right).abs() < 1e-5, "{route:?}");
        }
    }

    /// DeepSeek-V2: a group is as good as its best expert.
    #[test]
    fn a_group_may_be_as_good_as_its_best() {
        let row = [2.0, 0.0, 1.5, 1.4, 1.0, 1.0];
        let groups = Some(Groups { count: 3, used: 1, counted: 1 });
        let router = Router { groups, scale: 3.0, ..Router::softmax(false) };
        let found = routes_of(router, None, 2, &[row]);
        let experts: Vec<usize> = found.iter().map(|route| route.expert).collect();
        assert_eq!(experts, [0, 1]);
        let total: f32 = row.iter().map(|logit| logit.exp()).sum();
        assert!((found[0].weight - 3.0 * row[0].exp() / total).abs() < 1e-5, "{found:?}");
    }

    #[test]
    fn routes_are_grouped_by_expert_and_weights_are_of_the_softmax() {
        let [ln1, ln2, ln4] = [1.0f32, 2.0, 4.0].map(f32::ln);
        let rows = [[ln1, ln4, ln2, ln1], [ln4, ln1, ln1, ln2]];
        let found = routes(2, false, &rows);
        let places: Vec<_> = found.iter().map(|route| (route.expert, route.row)).collect();
        assert_eq!(places, [(0, 1), (1, 0), (2, 0), (3, 1)]);
        for (route, right) in found.iter().zip([0.5, 0.5, 0.25, 0.25]) {
            assert!((route.weight - right).abs() < 1e-6, "{route:?}");
        }
        for (route, right) in routes(2, true, &rows).iter().zip([2.0, 2.0, 1.0, 1.0]) {
            assert!((route.weight - right / 3.0).abs() < 1e-6, "{route:?}");
        }
    }

    #[test]
    fn of_equal_logits_the_first_experts_are_used() {
        let experts = |used, row: [f32; 4]| -> Vec<usize> {
            routes(used, true, &[row]).iter().map(|route| route.expert).collect()
        };
        assert_eq!(experts(1, [0.5; 4]), [0]);
        assert_eq!(experts(3, [0.5; 4]), [0, 1, 2]);
        assert_eq!(experts(2, [0.0, 1.0, 0.0, 0.0]), [0, 1]);
        assert_eq!(experts(4, [0.0, 3.0, 1.0, 2.0]), [0, 1, 2, 3]);
    }

    /// A file may hold any weights: they give nonsense, but no panic, and as many experts.
    #[test]
    fn logits_that_are_no_numbers_still_choose() {
        for row in [[f32::NAN; 4], [f32::INFINITY; 4], [f32::NEG_INFINITY; 4]] {
            assert_eq!(routes(2, true, &[row]).len(), 2);
            assert_eq!(routes(2, false, &[row]).len(), 2);
        }
    }
}
