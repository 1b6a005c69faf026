//! Turns projections of tokens and the states of their sequences into mixed values: the gated delta
//! rule.
//!
//! Yang, Kautz and Hatamizadeh 2024 (arXiv:2412.06464), as Qwen3-Next and Qwen3.5 have it: a short
//! convolution over queries, keys and values, then for each value head a memory S that forgets, and
//! that learns for each key the difference between the value and what it has already.
//!
//! A token's operations and their order are the same in a run of one and in a run of many, and
//! nothing is summed across tokens but S itself, token by token. Hence neither the cutting of a
//! sequence into runs nor the other runs of a call show in its bits.

mod convolution;
mod recurrence;
mod states;

pub use states::{DeltaShape, HeadOrder, RecurrentStates, StateError};

use crate::compute::Compute;
use crate::memory::Floats;
use crate::pool::Shares;
use recurrence::Token;
use states::{BLOCK_COLUMNS, KERNEL_MAX, Layer};

/// Channels of all rows below which the convolution is not worth more than one thread: about 4 µs.
const CONVOLVED_MIN: usize = 8 << 10;

/// Numbers of S that all tokens read and write, below which they are not worth more than one
/// thread: about 4 µs.
const RECALLED_MIN: usize = 32 << 10;

/// What a layer's gated delta net has learnt, apart from its projections.
pub struct DeltaWeights {
    shape: DeltaShape,
    /// [kernel, channels]: the channels of a tap side by side, in registers.
    convolution: Vec<f32>,
    decay: Vec<f32>,
    dt_bias: Vec<f32>,
}

impl DeltaWeights {
    /// Takes the weights as files have them. `convolution`: [channels, kernel], the weight of the
    /// token itself last; `decay`: -e^A_log, and `dt_bias`: [value_heads]
    ///
    /// # Panics
    ///
    /// If a slice is not as long as the shape says.
    pub fn new(
        shape: DeltaShape,
        convolution: &[f32],
        decay: &[f32],
        dt_bias: &[f32],
    ) -> DeltaWeights {
        let DeltaShape { value_heads, kernel, .. } = shape;
        let length = shape.channels().saturating_mul(kernel);
        assert_eq!(convolution.len(), length, "convolution: [channels, kernel]");
        assert_eq!(decay.len(), value_heads, "decay: [value_heads]");
        assert_eq!(dt_bias.len(), value_heads, "dt_bias: [value_heads]");
        let tap = |tap: usize| convolution.iter().skip(tap).step_by(kernel).copied();
        DeltaWeights {
            shape,
            convolution: (0..kernel).flat_map(tap).collect(),
            decay: decay.to_vec(),
            dt_bias: dt_bias.to_vec(),
        }
    }

    /// The sizes that they are for.
    pub fn shape(&self) -> DeltaShape {
        self.shape
    }
}

/// Consecutive tokens of one sequence.
#[derive(Clone, Copy, Debug)]
pub struct DeltaRun<'a> {
    /// The slot of its sequence: the state before the first of the tokens, and afterwards that
    /// behind the last.
    pub slot: usize,
    /// The row of the first token; the others follow.
    pub first_row: usize,
    /// Tokens.
    pub rows: usize,
    /// States in between that are to be kept.
    pub snapshots: &'a [DeltaSnapshot],
}

/// A state to be copied on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeltaSnapshot {
    /// After how many rows of the run, from 0 to all of them.
    pub after_rows: usize,
    /// Where to. Only the called layer's part of the slot is written.
    pub slot: usize,
}

/// What is to be mixed, and by what.
#[derive(Clone, Copy)]
pub struct DeltaCall<'a> {
    /// Which layer of the states.
    pub layer: usize,
    /// Of the layer's shape.
    pub weights: &'a DeltaWeights,
    /// In ascending order of their rows, which do not meet; no slot twice, those of snapshots among
    /// them.
    pub runs: &'a [DeltaRun<'a>],
    /// Queries, keys and values of all heads before the convolution. [rows, channels]
    pub qkv: &'a [f32],
    /// Floats from one row of `qkv` to the next.
    pub qkv_stride: usize,
    /// What decides how much is forgotten, before `dt_bias` and softplus. [rows, value_heads]
    pub a: &'a [f32],
    /// What decides how much is learnt, before the sigmoid. [rows, value_heads]
    pub b: &'a [f32],
    /// Floats from one row of `a`, and of `b`, to the next.
    pub gate_stride: usize,
}

/// Buffers of [`gated_delta`], kept from call to call.
#[derive(Default)]
pub struct DeltaScratch {
    /// [rows, channels]
    convolved: Floats,
    /// [rows, 2 · value_heads]
    gates: Floats,
}

impl DeltaScratch {
    /// Empty buffers; they grow on first use.
    pub fn new() -> DeltaScratch {
        DeltaScratch::default()
    }
}

/// Takes the tokens of all runs through the recurrence, and their states with them. `out`:
/// [rows, value_heads · value_size], dense; rows of no run stay as they are.
///
/// For each token: the causal convolution of each channel, then SiLU; queries and keys of each head
/// x / √(Σ x² + 1e-6), queries also / √key_size; then for each value head
/// S ← e^(decay · softplus(a + dt_bias)) · S; S ← S + k ⊗ sigmoid(b) · (v − Sᵀ k); out = Sᵀ q.
///
/// # Panics
///
/// If the layer is not recurrent or not of the weights' shape, a slot is not there or named twice,
/// or the rows and slices do not fit each other.
pub fn gated_delta(
    compute: &Compute,
    states: &mut RecurrentStates,
    call: &DeltaCall<'_>,
    out: &mut [f32],
    scratch: &mut DeltaScratch,
) {
    let layer = states.layer(call.layer);
    let shape = layer.shape;
    assert_eq!(call.weights.shape, shape, "shapes of weights and of layer {}", call.layer);
    check_slots(call.runs, states.slots());
    let rows = end_of_rows(call.runs);
    let holds = |x: &[f32], stride: usize, width: usize| {
        rows == 0 || (rows - 1).saturating_mul(stride).saturating_add(width) <= x.len()
    };
    let (heads, width) = (shape.value_heads, shape.value_width());
    assert!(holds(call.qkv, call.qkv_stride, shape.channels()), "qkv: [rows, qkv_stride]");
    assert!(holds(call.a, call.gate_stride, heads), "a: [rows, gate_stride]");
    assert!(holds(call.b, call.gate_stride, heads), "b: [rows, gate_stride]");
    assert!(holds(out, width, width), "out: [rows, value_heads · value_size]");

    let convolved = scratch.convolved.take(rows * shape.channels());
    let gates = scratch.gates.take(rows * 2 * heads);
    let mut plan = Plan { compute, call, shape, layer, states: states.shares(), rows: 0 };
    plan.rows = call.runs.iter().map(|run| run.rows).sum();
    plan.convolve(convolved, gates);
    plan.recur(convolved, gates, out);
}

/// Each slot is there, and has one writer.
fn check_slots(runs: &[DeltaRun<'_>], count: usize) {
    let mut slots = vec![];
    for run in runs {
        slots.push(run.slot);
        for snapshot in run.snapshots {
            let (after, rows) = (snapshot.after_rows, run.rows);
            assert!(after <= rows, "a snapshot after {after} rows, of {rows}");
            slots.push(snapshot.slot);
        }
    }
    slots.sort_unstable();
    if let Some(&last) = slots.last() {
        assert!(last < count, "slot {last} of {count}");
    }
    for pair in slots.windows(2) {
        assert!(pair[0] != pair[1], "slot {} is named twice", pair[0]);
    }
}

/// The row behind the last one. Fails where rows of two runs meet.
fn end_of_rows(runs: &[DeltaRun<'_>]) -> usize {
    runs.iter().fold(0, |end, run| {
        assert!(run.first_row >= end, "a run from row {} on, before {end}", run.first_row);
        run.first_row.checked_add(run.rows).expect("rows that can be counted")
    })
}

/// The call, as every task sees it.
struct Plan<'a> {
    compute: &'a Compute,
    call: &'a DeltaCall<'a>,
    shape: DeltaShape,
    layer: Layer,
    states: Shares<f32>,
    /// Rows of all runs together.
    rows: usize,
}

/// Some channels of one head of the convolution.
#[derive(Clone, Copy)]
struct Channels {
    first: usize,
    count: usize,
    /// Which length they are given.
    length: Option<f32>,
}

impl Plan<'_> {
    /// The first loop: what of each token does not depend on S. A task for each run and head of
    /// queries, keys and values, and one for the gates of each run.
    fn convolve(&self, convolved: &mut [f32], gates: &mut [f32]) {
        let heads = 2 * self.shape.key_heads + self.shape.value_heads;
        let (convolved, gates) = (Shares::new(convolved), Shares::new(gates));
        let task = |task: usize| {
            let run = &self.call.runs[task / (heads + 1)];
            match task % (heads + 1) {
                head if head < heads => self.convolve_head(run, self.channels(head), &convolved),
                _ => self.gate(run, &gates),
            }
        };
        let is_small = self.rows * self.shape.channels() < CONVOLVED_MIN;
        self.run(is_small, self.call.runs.len() * (heads + 1), &task);
    }

    /// The second loop, along S. A task for each run, value head and block of columns.
    fn recur(&self, convolved: &[f32], gates: &[f32], out: &mut [f32]) {
        let (heads, blocks) = (self.shape.value_heads, self.shape.blocks());
        let out = Shares::new(out);
        let task = |task: usize| {
            let run = &self.call.runs[task / (heads * blocks)];
            let (head, block) = (task / blocks % heads, task % blocks);
            self.recur_block(run, head, block, convolved, gates, &out);
        };
        let is_small = self.rows * self.shape.key_size * self.shape.value_width() < RECALLED_MIN;
        self.run(is_small, self.call.runs.len() * heads * blocks, &task);
    }

    fn run(&self, is_small: bool, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        if is_small {
            (0..tasks).for_each(task);
        } else {
            self.compute.pool.run(tasks, &|index, _| task(index));
        }
    }

    /// The channels of a head: queries first, then keys, then values.
    fn channels(&self, head: usize) -> Channels {
        let DeltaShape { key_heads, key_size, value_size, .. } = self.shape;
        match head.checked_sub(2 * key_heads) {
            None => {
                let length = if head < key_heads { 1.0 / (key_size as f32).sqrt() } else { 1.0 };
                Channels { first: head * key_size, count: key_size, length: Some(length) }
            }
            Some(value) => {
                let first = 2 * key_heads * key_size + value * value_size;
                Channels { first, count: value_size, length: None }
            }
        }
    }

    /// One head of all tokens of a run. `convolved`: [rows, channels]
    fn convolve_head(&self, run: &DeltaRun<'_>, channels: Channels, convolved: &Shares<f32>) {
        let (kernel, stride) = (self.shape.kernel, self.shape.channels());
        let weights = &self.call.weights.convolution[channels.first..];
        for row in 0..run.rows {
            let mut taps: [&[f32]; KERNEL_MAX] = [&[]; KERNEL_MAX];
            for (number, tap) in taps[..kernel].iter_mut().enumerate() {
                *tap = self.input(run, channels, row + number);
            }
            let start = (run.first_row + row) * stride + channels.first;
            // SAFETY: only the task of this run and head writes these channels of its rows.
            let out = unsafe { convolved.slice(start, channels.count) };
            let (kernels, taps) = (self.compute.kernels, &taps[..kernel]);
            convolution::convolve(kernels, taps, weights, stride, channels.length, out);
        }
        for snapshot in run.snapshots {
            self.keep_inputs(run, channels, snapshot.after_rows, snapshot.slot);
        }
        if run.rows > 0 {
            self.keep_inputs(run, channels, run.rows, run.slot);
        }
    }

    /// What goes into a head, counted from the oldest of the inputs that its state has: those are
    /// followed by those of the run's rows.
    fn input(&self, run: &DeltaRun<'_>, channels: Channels, index: usize) -> &[f32] {
        match index.checked_sub(self.shape.kernel - 1) {
            Some(row) => {
                let start = (run.first_row + row) * self.call.qkv_stride + channels.first;
                &self.call.qkv[start..][..channels.count]
            }
            None => self.kept_inputs(channels, run.slot, index),
        }
    }

    /// Makes the inputs before the token after `rows` rows those of a slot. In the run's own slot
    /// each place is written after it was read: the inputs move to the front.
    fn keep_inputs(&self, run: &DeltaRun<'_>, channels: Channels, rows: usize, slot: usize) {
        for place in 0..self.shape.kernel - 1 {
            self.kept_inputs(channels, slot, place).copy_from_slice(self.input(
                run,
                channels,
                rows + place,
            ));
        }
    }

    /// A head's part of the inputs that a slot has, the oldest first.
    #[allow(clippy::mut_from_ref)]
    fn kept_inputs(&self, channels: Channels, slot: usize, place: usize) -> &mut [f32] {
        let start = self.layer.inputs(slot) + place * self.shape.channels() + channels.first;
        // SAFETY: no slot belongs to two runs, and each head of a run to one task of the first
        // loop; nothing else uses the inputs. In a slot that it writes to, `keep_inputs` reads only
        // places behind the one that it writes.
        unsafe { self.states.slice(start, channels.count) }
    }

    /// The gates of all tokens of a run. `gates`: [rows, 2 · value_heads]
    fn gate(&self, run: &DeltaRun<'_>, gates: &Shares<f32>) {
        let (heads, weights) = (self.shape.value_heads, self.call.weights);
        for row in run.first_row..run.first_row + run.rows {
            let [a, b] =
                [self.call.a, self.call.b].map(|x| &x[row * self.call.gate_stride..][..heads]);
            // SAFETY: each row belongs to one run, whose gates belong to one task.
            let gates = unsafe { gates.slice(row * 2 * heads, 2 * heads) };
            let (keep, write) = gates.split_at_mut(heads);
            let (decay, dt_bias) = (&weights.decay, &weights.dt_bias);
            convolution::gates(self.compute.kernels, a, b, decay, dt_bias, keep, write);
        }
    }

    /// Some columns of one head's S, along all tokens of a run.
    fn recur_block(
        &self,
        run: &DeltaRun<'_>,
        head: usize,
        block: usize,
        convolved: &[f32],
        gates: &[f32],
        out: &Shares<f32>,
    ) {
        let DeltaShape { key_heads, value_heads, key_size, value_size, .. } = self.shape;
        let first_column = block * BLOCK_COLUMNS;
        let columns = (value_size - first_column).min(BLOCK_COLUMNS);
        let query = self.shape.key_head(head) * key_size;
        let key = key_heads * key_size + query;
        let value = 2 * key_heads * key_size + head * value_size + first_column;
        let state = |slot: usize| {
            let (start, length) = self.layer.block(slot, head, block);
            // SAFETY: no slot belongs to two runs, and each block of a run to one task of the
            // second loop; a run's own slot is not among its snapshots'.
            unsafe { self.states.slice(start, length) }
        };
        let own = state(run.slot);
        let keep_after = |own: &[f32], rows: usize| {
            for snapshot in run.snapshots.iter().filter(|snapshot| snapshot.after_rows == rows) {
                state(snapshot.slot).copy_from_slice(own);
            }
        };
        for index in 0..run.rows {
            keep_after(own, index);
            let row = run.first_row + index;
            let convolved = &convolved[row * self.shape.channels()..];
            let gates = &gates[row * 2 * value_heads..];
            let token = Token {
                query: &convolved[query..][..key_size],
                key: &convolved[key..][..key_size],
                value: &convolved[value..][..columns],
                keep: gates[head],
                write: gates[value_heads + head],
            };
            let start = row * value_heads * value_size + head * value_size + first_column;
            // SAFETY: each row belongs to one run, and these columns to one task of it.
            let out = unsafe { out.slice(start, columns) };
            recurrence::step(self.compute.kernels, own, &token, out);
        }
        keep_after(own, run.rows);
    }
}
