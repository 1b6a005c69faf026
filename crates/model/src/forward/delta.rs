//! Turns rows and the states of their sequences into what a gated delta net adds to the rows.

use myriad_kernels::{DeltaCall, DeltaShape, RecurrentStates, gated_delta};

use super::{Pass, Rows, Scratch, sized};
use crate::weights::DeltaNetWeights;

impl Pass<'_> {
    /// residual += output(norm(recurrence(x)) · silu(gate(x))), x = rms_norm(residual)
    pub(super) fn recur(
        &self,
        layer: usize,
        shape: &DeltaShape,
        weights: &DeltaNetWeights,
        rows: &Rows<'_>,
        states: &mut RecurrentStates,
        scratch: &mut Scratch,
    ) {
        let config = &self.model.config;
        let (compute, count, hidden) = (self.compute, rows.count(), config.hidden);
        let (channels, width, heads) = (shape.channels(), shape.value_width(), shape.value_heads);
        let residual = &scratch.residual[..count * hidden];
        let epsilon = config.norm_epsilon;
        scratch.input.set_rms_norm(compute, residual, count, hidden, &weights.norm, epsilon);
        // In each row: what goes through the convolution, the gate, beta, alpha.
        let stride = channels + width + 2 * heads;
        let first = sized(&mut scratch.qkv, count * stride);
        weights.first.apply(compute, &scratch.input, first);
        let from = |column: usize| &first[column.min(first.len())..];
        let call = DeltaCall {
            layer,
            weights: &weights.recurrence,
            runs: &rows.runs,
            qkv: first,
            qkv_stride: stride,
            a: from(channels + width + heads),
            b: from(channels + width),
            gate_stride: stride,
        };
        let mixed = sized(&mut scratch.attended, count * width);
        gated_delta(compute, states, &call, mixed, &mut scratch.delta);
        let (norm, gate) = (&weights.output_norm, from(channels));
        let input = &mut scratch.input;
        input.set_gated_rms_norm(compute, mixed, count, width, norm, epsilon, gate, stride);
        self.add_to_residual(&weights.output, None, None, count, scratch);
    }
}
