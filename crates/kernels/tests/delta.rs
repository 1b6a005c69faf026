//! Turns tokens of random sequences through the gated delta rule, held against its definition in
//! f64, and against itself: alone, cut into runs, among others, on threads, at every level.

mod common;

use common::{Random, assert_same_bits, best, compute};
use myriad_kernels::{
    Compute, DeltaCall, DeltaRun, DeltaScratch, DeltaShape, DeltaSnapshot, DeltaWeights, HeadOrder,
    Level, RecurrentStates, gated_delta,
};

const LAYER: usize = 1;

const fn shape(
    key_heads: usize,
    value_heads: usize,
    key_size: usize,
    value_size: usize,
    kernel: usize,
    order: HeadOrder,
) -> DeltaShape {
    DeltaShape { key_heads, value_heads, key_size, value_size, kernel, order }
}

/// Models' sizes, and blocks, registers and rows around every edge.
const SHAPES: [DeltaShape; 9] = [
    shape(2, 4, 128, 128, 4, HeadOrder::Grouped),
    shape(2, 6, 64, 64, 4, HeadOrder::Tiled),
    shape(1, 1, 16, 16, 4, HeadOrder::Grouped),
    shape(3, 6, 32, 48, 3, HeadOrder::Tiled),
    shape(1, 2, 12, 20, 2, HeadOrder::Grouped),
    shape(2, 2, 33, 65, 1, HeadOrder::Tiled),
    shape(1, 3, 7, 150, 5, HeadOrder::Grouped),
    shape(1, 17, 1, 1, 16, HeadOrder::Tiled),
    shape(5, 20, 8, 112, 4, HeadOrder::Grouped),
];

/// Sequences whose tokens all are there, and states for them.
struct World {
    shape: DeltaShape,
    weights: DeltaWeights,
    /// As files have them: the convolution [channels, kernel], decay, dt_bias.
    plain: [Vec<f32>; 3],
    /// Per sequence: [tokens, channels], then twice [tokens, value_heads].
    sequences: Vec<[Vec<f32>; 3]>,
    states: RecurrentStates,
}

/// Some tokens of a sequence in a slot.
#[derive(Clone, Debug)]
struct Run {
    sequence: usize,
    first: usize,
    tokens: usize,
    slot: usize,
    snapshots: Vec<DeltaSnapshot>,
}

fn run(sequence: usize, first: usize, tokens: usize, slot: usize) -> Run {
    Run { sequence, first, tokens, slot, snapshots: vec![] }
}

impl World {
    /// `lengths`: tokens of each sequence. The layers before and behind have another shape.
    fn new(shape: DeltaShape, lengths: &[usize], slots: usize, seed: u64) -> World {
        let mut random = Random(seed);
        let (channels, heads) = (shape.channels(), shape.value_heads);
        let convolution = random.values(channels * shape.kernel);
        // From heads that keep nearly all to heads that forget within a token or two.
        let decay: Vec<f32> = (0..heads).map(|_| -(3.0 * random.value() - 1.5).exp()).collect();
        let dt_bias: Vec<f32> = (0..heads).map(|_| 3.0 * random.value() - 1.0).collect();
        let sequences = lengths.iter().map(|length| {
            let qkv = random.activations(length * channels);
            let gates = [0, 1].map(|_| -> Vec<f32> {
                random.values(length * heads).iter().map(|x| 4.0 * x).collect()
            });
            let [a, b] = gates;
            [qkv, a, b]
        });
        let sequences = sequences.collect();
        let weights = DeltaWeights::new(shape, &convolution, &decay, &dt_bias);
        let other = DeltaShape { key_size: 3, value_size: 5, ..shape };
        let states = RecurrentStates::new(&[Some(other), Some(shape), None], slots);
        let states = states.expect("small");
        let plain = [convolution, decay, dt_bias];
        World { shape, weights, plain, sequences, states }
    }

    /// One call. Gives the outputs of each run.
    fn step(
        &mut self,
        compute: &Compute,
        runs: &[Run],
        scratch: &mut DeltaScratch,
    ) -> Vec<Vec<f32>> {
        let (channels, heads) = (self.shape.channels(), self.shape.value_heads);
        let width = self.shape.value_width();
        // Among other numbers, and with a row of nobody's before each run.
        let (qkv_stride, gate_stride) = (channels + 3, heads + 2);
        let rows: usize = runs.iter().map(|run| run.tokens + 1).sum();
        let mut qkv = vec![f32::NAN; rows * qkv_stride];
        let mut gates = [vec![f32::NAN; rows * gate_stride], vec![f32::NAN; rows * gate_stride]];
        let mut delta_runs = vec![];
        let mut next = 0;
        for run in runs {
            let first_row = next + 1;
            next = first_row + run.tokens;
            delta_runs.push(DeltaRun {
                slot: run.slot,
                first_row,
                rows: run.tokens,
                snapshots: &run.snapshots,
            });
            let [own_qkv, own_a, own_b] = &self.sequences[run.sequence];
            for row in 0..run.tokens {
                let (token, to) = (run.first + row, first_row + row);
                qkv[to * qkv_stride..][..channels]
                    .copy_from_slice(&own_qkv[token * channels..][..channels]);
                for (gate, own) in gates.iter_mut().zip([own_a, own_b]) {
                    gate[to * gate_stride..][..heads]
                        .copy_from_slice(&own[token * heads..][..heads]);
                }
            }
        }
        let call = DeltaCall {
            layer: LAYER,
            weights: &self.weights,
            runs: &delta_runs,
            qkv: &qkv,
            qkv_stride,
            a: &gates[0],
            b: &gates[1],
            gate_stride,
        };
        let mut out = vec![7.0; rows * width];
        gated_delta(compute, &mut self.states, &call, &mut out, scratch);
        let outs = delta_runs.iter().map(|run| {
            let before = &out[(run.first_row - 1) * width..][..width];
            assert!(before.iter().all(|&x| x == 7.0), "the row of nobody's is untouched");
            out[run.first_row * width..][..run.rows * width].to_vec()
        });
        outs.collect()
    }

    /// The outputs of a whole sequence, a token for each call, in a slot.
    fn alone(&mut self, compute: &Compute, sequence: usize, slot: usize) -> Vec<f32> {
        let mut scratch = DeltaScratch::new();
        self.states.clear(slot);
        let tokens = self.sequences[sequence][1].len() / self.shape.value_heads;
        (0..tokens)
            .flat_map(|token| {
                self.step(compute, &[run(sequence, token, 1, slot)], &mut scratch).remove(0)
            })
            .collect()
    }

    /// The outputs of a whole sequence by the definition, in f64, and for each the greatest that it
    /// could be: the product of the lengths of what is multiplied.
    fn plain(&self, sequence: usize) -> Vec<(f64, f64)> {
        let DeltaShape { key_heads, value_heads, key_size, value_size, kernel, order } = self.shape;
        let [convolution, decay, dt_bias] = &self.plain;
        let [qkv, a, b] = &self.sequences[sequence];
        let channels = self.shape.channels();
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let mut s = vec![0.0; value_heads * key_size * value_size];
        let mut out = vec![];
        for token in 0..a.len() / value_heads {
            let convolved: Vec<f64> = (0..channels)
                .map(|channel| {
                    let taps = (0..kernel).filter(|tap| token + tap + 1 >= kernel).map(|tap| {
                        let input = qkv[(token + tap + 1 - kernel) * channels + channel];
                        f64::from(input) * f64::from(convolution[channel * kernel + tap])
                    });
                    let sum: f64 = taps.sum();
                    sum * sigmoid(sum)
                })
                .collect();
            let unit = |x: &[f64]| -> Vec<f64> {
                let length = (x.iter().map(|x| x * x).sum::<f64>() + 1e-6).sqrt();
                x.iter().map(|x| x / length).collect()
            };
            for head in 0..value_heads {
                let key_head = match order {
                    HeadOrder::Grouped => head / (value_heads / key_heads),
                    HeadOrder::Tiled => head % key_heads,
                };
                let q = unit(&convolved[key_head * key_size..][..key_size]);
                let k = unit(&convolved[(key_heads + key_head) * key_size..][..key_size]);
                let v = &convolved[2 * key_heads * key_size + head * value_size..][..value_size];
                let gate = |x: &[f32]| f64::from(x[token * value_heads + head]);
                let softplus = (gate(a) + f64::from(dt_bias[head])).exp().ln_1p();
                let keep = (f64::from(decay[head]) * softplus).exp();
                let s = &mut s[head * key_size * value_size..][..key_size * value_size];
                s.iter_mut().for_each(|s| *s *= keep);
                for column in 0..value_size {
                    let known: f64 = (0..key_size).map(|i| k[i] * s[i * value_size + column]).sum();
                    let delta = sigmoid(gate(b)) * (v[column] - known);
                    (0..key_size).for_each(|i| s[i * value_size + column] += k[i] * delta);
                    let column = (0..key_size).map(|i| s[i * value_size + column]);
                    let sum: f64 = column.clone().zip(&q).map(|(s, q)| s * q).sum();
                    let length = column.map(|s| s * s).sum::<f64>().sqrt();
                    let scale = 1.0 / (key_size as f64).sqrt();
                    out.push((scale * sum, scale * length));
                }
            }
        }
        out
    }
}

#[test]
fn outputs_are_those_of_the_definition_and_equal_at_every_level() {
    for (index, shape) in SHAPES.into_iter().enumerate() {
        let tokens = if index == 0 { 12 } else { 70 };
        let mut world = World::new(shape, &[tokens], 1, 800 + index as u64);
        let plain = world.plain(0);
        let mut scratch = DeltaScratch::new();
        let mut twin: Option<Vec<f32>> = None;
        for level in Level::available() {
            for threads in 1..=3 {
                world.states.clear(0);
                let all = [run(0, 0, tokens, 0)];
                let out = world.step(&compute(level, threads), &all, &mut scratch).remove(0);
                let what = format!("{shape:?} at {level:?} with {threads} threads");
                assert_same_bits(&what, &out, twin.get_or_insert(out.clone()));
            }
        }
        // Few channels may all be differences of larger numbers, and are made a length of 1.
        let close = if shape.key_size < 4 { 1e-4 } else { 1e-5 };
        for (at, (out, (plain, size))) in twin.expect("scalar").iter().zip(plain).enumerate() {
            let error = (f64::from(*out) - plain).abs();
            assert!(error <= close * size + 1e-30, "{shape:?} at {at}: {out}, truly {plain}");
        }
    }
}

/// Sequences in random runs among each other, with a snapshot now and then from which another slot
/// goes on later: the bits of each token alone.
#[test]
fn runs_companions_threads_and_snapshots_do_not_show() {
    for (index, shape) in SHAPES.into_iter().enumerate() {
        let seed = 900 + index as u64;
        println!("seed {seed}");
        let mut random = Random(seed);
        let lengths = if index == 0 { [20, 9, 14] } else { [61, 20, 45] };
        let mut world = World::new(shape, &lengths, 7, seed);
        let alone: Vec<Vec<f32>> =
            (0..3).map(|sequence| world.alone(&compute(Level::Scalar, 1), sequence, 6)).collect();
        let width = shape.value_width();
        for (round, level) in Level::available().into_iter().cycle().take(4).enumerate() {
            let several = compute(level, 1 + (round + index) % 3);
            let mut scratch = DeltaScratch::new();
            // Slots 0..3 are the sequences', 3..6 their snapshots'.
            (0..3).for_each(|slot| world.states.clear(slot));
            let mut done = [0; 3];
            let mut kept: [Option<usize>; 3] = [None; 3];
            while done != lengths {
                let mut runs = vec![];
                for sequence in 0..3 {
                    // Back to the snapshot, by a copy.
                    if let Some(at) = kept[sequence].filter(|_| random.below(5) == 0) {
                        world.states.clear(sequence);
                        world.states.copy(3 + sequence, sequence);
                        done[sequence] = at;
                        kept[sequence] = None;
                    }
                    let most = [1, 4, 70][random.below(3)];
                    let left = lengths[sequence] - done[sequence];
                    let mut run =
                        run(sequence, done[sequence], random.below(most + 1).min(left), sequence);
                    if random.below(3) == 0 {
                        let after_rows = random.below(run.tokens + 1);
                        kept[sequence] = Some(run.first + after_rows);
                        run.snapshots.push(DeltaSnapshot { after_rows, slot: 3 + sequence });
                    }
                    done[sequence] += run.tokens;
                    runs.push(run);
                }
                runs.rotate_left(random.below(3));
                for (run, out) in runs.iter().zip(world.step(&several, &runs, &mut scratch)) {
                    let expected = &alone[run.sequence][run.first * width..][..out.len()];
                    assert_same_bits(&format!("{shape:?} at {level:?}, {run:?}"), &out, expected);
                }
            }
        }
    }
}

#[test]
fn several_snapshots_of_one_run_each_go_on_from_their_point() {
    let shape = SHAPES[3];
    let mut world = World::new(shape, &[30], 6, 71);
    let two = compute(best(), 2);
    let whole = world.alone(&two, 0, 5);
    let mut first = run(0, 0, 30, 0);
    let snapshot = |after_rows, slot| DeltaSnapshot { after_rows, slot };
    // In any order; two of one point; before the first row; behind the last.
    first.snapshots =
        vec![snapshot(17, 3), snapshot(0, 1), snapshot(1, 2), snapshot(30, 4), snapshot(17, 5)];
    let mut scratch = DeltaScratch::new();
    world.step(&two, &[first.clone()], &mut scratch);
    for DeltaSnapshot { after_rows, slot } in first.snapshots {
        let rest = [run(0, after_rows, 30 - after_rows, slot)];
        let out = world.step(&two, &rest, &mut scratch).remove(0);
        let expected = &whole[after_rows * shape.value_width()..];
        assert_same_bits(&format!("after {after_rows}"), &out, expected);
    }
}

#[test]
fn other_layers_and_slots_are_untouched() {
    let shape = SHAPES[4];
    let mut world = World::new(shape, &[5, 5], 3, 72);
    let one = compute(best(), 1);
    let mut scratch = DeltaScratch::new();
    // Slot 2 has tokens 0..3 in it; the layer before has another shape.
    world.step(&one, &[run(0, 0, 3, 2)], &mut scratch);
    let expected = world.alone(&one, 0, 0)[3 * shape.value_width()..].to_vec();
    let other = DeltaShape { key_size: 3, value_size: 5, ..shape };
    let x = vec![0.5; other.channels() * other.kernel];
    let heads = vec![-1.0; other.value_heads];
    let weights = DeltaWeights::new(other, &x, &heads, &heads);
    let runs =
        [0, 1, 2].map(|slot| DeltaRun { slot, first_row: 4 * slot, rows: 4, snapshots: &[] });
    let call = DeltaCall {
        layer: 0,
        weights: &weights,
        runs: &runs,
        qkv: &x,
        qkv_stride: 0,
        a: &heads,
        b: &heads,
        gate_stride: 0,
    };
    let mut out = vec![0.0; 12 * other.value_width()];
    gated_delta(&one, &mut world.states, &call, &mut out, &mut scratch);
    let found = world.step(&one, &[run(0, 3, 2, 2)], &mut scratch).remove(0);
    assert_same_bits("layer 1", &found, &expected);
}

#[test]
fn a_broken_sequence_stays_alone_and_a_cleared_slot_forgets_it() {
    let shape = SHAPES[5];
    for level in Level::available() {
        let mut world = World::new(shape, &[12, 12], 3, 73);
        let two = compute(level, 2);
        let sound = world.alone(&two, 1, 2);
        world.sequences[0][0][2 * shape.channels() + 3] = f32::NAN;
        world.sequences[0][1][3 * shape.value_heads] = f32::INFINITY;
        let both = [run(0, 0, 12, 0), run(1, 0, 12, 1)];
        let outs = world.step(&two, &both, &mut DeltaScratch::new());
        assert!(outs[0][..2 * shape.value_width()].iter().all(|x| x.is_finite()));
        assert!(outs[0][2 * shape.value_width()..][..shape.value_size].iter().all(|x| x.is_nan()));
        assert_same_bits(level.name(), &outs[1], &sound);
        let again = world.alone(&two, 1, 0);
        assert_same_bits(level.name(), &again, &sound);
    }
}

/// Gates at their ends: all is forgotten or kept, all is written or nothing.
#[test]
fn gates_at_their_ends() {
    let shape = shape(1, 1, 4, 4, 1, HeadOrder::Grouped);
    let large = [1e3, 3e38, f32::INFINITY];
    for level in Level::available() {
        let one = compute(level, 1);
        for x in large {
            for (a, b) in [(x, x), (x, -x), (-x, x), (-x, -x)] {
                let mut world = World::new(shape, &[6], 1, 74);
                world.sequences[0][1] = vec![0.0, 0.0, 0.0, a, -x, -x];
                world.sequences[0][2] = vec![x, 0.5, 0.5, b, -x, -x];
                let plain = world.plain(0);
                let out = world.alone(&one, 0, 0);
                for (out, (plain, size)) in out.iter().zip(plain) {
                    let error = (f64::from(*out) - plain).abs();
                    assert!(
                        error <= 1e-6 * size,
                        "gates {a}, {b} at {level:?}: {out}, truly {plain}"
                    );
                }
            }
        }
    }
}

#[test]
fn no_runs_and_runs_of_nothing_are_no_work() {
    let mut world = World::new(SHAPES[2], &[4], 3, 75);
    let two = compute(best(), 2);
    let mut scratch = DeltaScratch::new();
    assert!(world.step(&two, &[], &mut scratch).is_empty());
    let whole = world.alone(&two, 0, 2);
    world.step(&two, &[run(0, 0, 2, 0)], &mut scratch);
    let mut nothing = run(0, 2, 0, 0);
    nothing.snapshots.push(DeltaSnapshot { after_rows: 0, slot: 1 });
    assert!(world.step(&two, &[nothing], &mut scratch)[0].is_empty());
    for slot in [0, 1] {
        let rest = world.step(&two, &[run(0, 2, 2, slot)], &mut scratch).remove(0);
        assert_same_bits("the rest", &rest, &whole[2 * SHAPES[2].value_width()..]);
    }
}

/// The message of the panic that a call of two rows and two slots ends in.
fn refusal(runs: &[DeltaRun<'_>], change: impl FnOnce(&mut DeltaCall<'_>)) -> String {
    let shape = SHAPES[2];
    let mut world = World::new(shape, &[2], 2, 76);
    let [qkv, a, b] = &world.sequences[0];
    let mut call = DeltaCall {
        layer: LAYER,
        weights: &world.weights,
        runs,
        qkv,
        qkv_stride: shape.channels(),
        a,
        b,
        gate_stride: 1,
    };
    change(&mut call);
    let mut out = vec![0.0; 2 * shape.value_width()];
    let (one, states) = (compute(Level::Scalar, 1), &mut world.states);
    let step = || gated_delta(&one, states, &call, &mut out, &mut DeltaScratch::new());
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(step)).expect_err("refused");
    panic
        .downcast_ref::<String>()
        .cloned()
        .unwrap_or_else(|| panic.downcast_ref::<&str>().expect("a message").to_string())
}

#[test]
fn what_does_not_fit_is_refused() {
    fn one(slot: usize, first_row: usize, rows: usize) -> DeltaRun<'static> {
        DeltaRun { slot, first_row, rows, snapshots: &[] }
    }
    let runs = |runs: &[DeltaRun<'_>]| refusal(runs, |_| {});
    assert!(runs(&[one(2, 0, 2)]).contains("slot 2 of 2"));
    assert!(runs(&[one(1, 0, 1), one(1, 1, 1)]).contains("slot 1 is named twice"));
    assert!(runs(&[one(0, 0, 2), one(1, 1, 1)]).contains("a run from row 1 on, before 2"));
    assert!(runs(&[one(0, 1, 1), one(1, 0, 1)]).contains("a run from row 0 on, before 2"));
    assert!(runs(&[one(0, 1, 2)]).contains("qkv: [rows, qkv_stride]"));
    assert!(runs(&[one(0, usize::MAX, 2)]).contains("rows that can be counted"));
    assert!(runs(&[one(0, usize::MAX - 2, 2)]).contains("qkv: [rows, qkv_stride]"));
    let with = |after_rows, slot| {
        let snapshots = &[DeltaSnapshot { after_rows, slot }];
        runs(&[DeltaRun { snapshots, ..one(0, 0, 2) }])
    };
    assert!(with(3, 1).contains("a snapshot after 3 rows, of 2"));
    assert!(with(1, 0).contains("slot 0 is named twice"));
    assert!(with(1, 2).contains("slot 2 of 2"));

    let call = |change: fn(&mut DeltaCall<'_>)| refusal(&[one(0, 0, 2)], change);
    assert!(call(|call| call.layer = 0).contains("shapes of weights and of layer 0"));
    assert!(call(|call| call.layer = 2).contains("layer 2 is not recurrent"));
    assert!(call(|call| call.layer = 3).contains("layer 3 of 3"));
    assert!(call(|call| call.a = &call.a[1..]).contains("a: [rows, gate_stride]"));
    assert!(call(|call| call.b = &call.b[1..]).contains("b: [rows, gate_stride]"));
}
