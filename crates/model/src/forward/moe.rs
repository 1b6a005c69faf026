//! Turns rows into the weighted sums of the experts that a router chooses for each of them.
//!
//! Rows are grouped by expert, so that each expert's weights are read once for all its rows. What
//! is added to a row is added in ascending order of experts, the shared one last, whichever rows
//! share the batch: so a row's sum has the same bits in every company.

use myriad_kernels::{Activation, Activations, Matrix, Product, matmul, rms_norm};

use super::{Pass, Scratch, sized};
use crate::config::{Moe, Router};
use crate::weights::{MoeWeights, SwiGlu};

/// Working memory of mixtures of experts.
#[derive(Default)]
pub(super) struct MoeScratch {
    /// [rows, hidden]
    normed: Vec<f32>,
    /// [rows, experts + gate of the shared one]
    logits: Vec<f32>,
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
        scratch.moe.choose(moe, stride, count);

        // Taken out while the rest of the scratch works; given back for its memory.
        let routes = std::mem::take(&mut scratch.moe.routes);
        if count == 1 {
            self.experts_of_one_row(moe, weights, &routes, scratch);
        } else {
            for routes in routes.chunk_by(|a, b| a.expert == b.expert) {
                self.rows_of_one_expert(moe, weights, routes, scratch);
            }
        }
        scratch.moe.routes = routes;
        if let (Some(shared), Some(weights)) = (&moe.shared, &weights.shared) {
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
            let down = &weights.experts[route.expert].down;
            let gate_up = &gate_up[index * width..(index + 1) * width];
            self.add_outputs(moe.size, down, gate_up, &routes[index..=index], scratch);
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
        let SwiGlu { gate_up: weight, down } = &weights.experts[routes[0].expert];
        let gathered = sized(&mut scratch.moe.gathered, count * hidden);
        for (route, row) in routes.iter().zip(gathered.chunks_exact_mut(hidden)) {
            row.copy_from_slice(&scratch.moe.normed[route.row * hidden..][..hidden]);
        }
        scratch.input.set(self.compute, gathered, count, hidden);
        let mut gate_up = std::mem::take(&mut scratch.gate_up);
        let outputs = sized(&mut gate_up, count * 2 * moe.size);
        weight.apply(self.compute, &scratch.input, outputs, &mut scratch.staging);
        self.add_outputs(moe.size, down, outputs, routes, scratch);
        scratch.gate_up = gate_up;
    }

    /// The shared expert works on all rows, each weighted by its own gate.
    fn shared_expert(
        &self,
        size: usize,
        weights: &SwiGlu,
        stride: usize,
        count: usize,
        scratch: &mut Scratch,
    ) {
        let hidden = self.model.config.hidden;
        let gate = |row: usize| sigmoid(scratch.moe.logits[(row + 1) * stride - 1]);
        let all: Vec<Route> =
            (0..count).map(|row| Route { expert: 0, row, weight: gate(row) }).collect();
        let normed = &scratch.moe.normed[..count * hidden];
        scratch.input.set(self.compute, normed, count, hidden);
        let mut gate_up = std::mem::take(&mut scratch.gate_up);
        let outputs = sized(&mut gate_up, count * 2 * size);
        weights.gate_up.apply(self.compute, &scratch.input, outputs, &mut scratch.staging);
        self.add_outputs(size, &weights.down, outputs, &all, scratch);
        scratch.gate_up = gate_up;
    }

    /// residual[route.row] += route.weight · down(silu(gate) * up), one row for each route
    fn add_outputs(
        &self,
        size: usize,
        down: &Matrix,
        gate_up: &[f32],
        routes: &[Route],
        scratch: &mut Scratch,
    ) {
        let (hidden, count) = (self.model.config.hidden, routes.len());
        scratch.input.set_gated(self.compute, gate_up, count, size, Activation::Silu);
        let outputs = sized(&mut scratch.moe.gathered, count * hidden);
        self.multiply(down, &scratch.input, outputs);
        for (route, output) in routes.iter().zip(outputs.chunks_exact(hidden)) {
            let residual = &mut scratch.residual[route.row * hidden..][..hidden];
            for (sum, value) in residual.iter_mut().zip(output) {
                *sum += route.weight * value;
            }
        }
    }

    /// out = weight · input
    fn multiply(&self, weight: &Matrix, input: &Activations, out: &mut [f32]) {
        let out_stride = weight.rows();
        let product = Product { weight, bias: None, out, out_stride, accumulate: false };
        matmul(self.compute, input, &mut [product]);
    }
}

impl MoeScratch {
    /// Fills `routes` from `logits`. [rows, stride], the experts first in each row
    fn choose(&mut self, moe: &Moe, stride: usize, count: usize) {
        self.routes.clear();
        for (row, logits) in self.logits[..count * stride].chunks_exact(stride).enumerate() {
            let logits = &logits[..moe.experts];
            largest(logits, moe.used, &mut self.chosen);
            let greatest =
                self.chosen.iter().map(|&expert| logits[expert]).fold(f32::MIN, f32::max);
            let exponential = |logit: f32| f64::from(logit - greatest).exp();
            let chosen = self.chosen.iter().map(|&expert| exponential(logits[expert]));
            let total: f64 = match moe.router {
                Router::Softmax { renormalise: true } => chosen.clone().sum(),
                Router::Softmax { renormalise: false } => {
                    logits.iter().map(|&logit| exponential(logit)).sum()
                }
            };
            let weights = chosen.map(|part| (part / total) as f32);
            let routes = self.chosen.iter().zip(weights);
            self.routes.extend(routes.map(|(&expert, weight)| Route { expert, row, weight }));
        }
        self.routes.sort_unstable_by_key(|route| (route.expert, route.row));
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

    fn routes(used: usize, renormalise: bool, rows: &[[f32; 4]]) -> Vec<Route> {
        let router = Router::Softmax { renormalise };
        let moe = Moe { experts: 4, used, size: 1, router, shared: None };
        let mut scratch = MoeScratch { logits: rows.concat(), ..MoeScratch::default() };
        scratch.choose(&moe, 4, rows.len());
        scratch.routes
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
