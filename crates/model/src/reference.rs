//! Turns a whole token sequence into logits in plain f32: the twin that `forward` is tested
//! against.
//!
//! Every weight is dequantised when loaded and every step is a loop that can be held against the
//! paper it comes from: no packed layouts, no int8 activations, no pages, no f16 keys. The only
//! concession to speed is that rows are shared out among threads and dot products summed in
//! sixteen lanes, so that a few thousand tokens of a small model take a minute and not an hour.

use std::sync::{Mutex, PoisonError};

use myriad_kernels::{Activation, RopePairing};

use crate::checkpoint::{Checkpoint, Source};
use crate::config::{self, Config, Gqa, Mixer, Moe, RopeConfig, Router};
use crate::error::ModelError;
use crate::tensors;

/// A model with all weights in f32.
pub struct Reference {
    config: Config,
    embedding: Linear,
    layers: Vec<Layer>,
    output_norm: Vec<f32>,
    /// None where the embedding is the head.
    output: Option<Linear>,
}

/// x → weight · x + bias
struct Linear {
    /// [rows, columns]
    weight: Vec<f32>,
    columns: usize,
    bias: Option<Vec<f32>>,
}

struct Layer {
    attn_norm: Vec<f32>,
    q: Linear,
    k: Linear,
    v: Linear,
    /// Norms of each head of Q and of K.
    qk_norms: Option<[Vec<f32>; 2]>,
    attn_output: Linear,
    /// Norms of what attention and what the feed-forward add.
    post_norms: Option<[Vec<f32>; 2]>,
    ffn_norm: Vec<f32>,
    feed_forward: FeedForward,
}

enum FeedForward {
    Dense(SwiGlu),
    Moe(Experts),
}

struct SwiGlu {
    gate: Linear,
    up: Linear,
    down: Linear,
    activation: Activation,
}

struct Experts {
    used: usize,
    router: Router,
    /// One row for each expert.
    gate: Linear,
    experts: Vec<SwiGlu>,
    /// Its gate, which has one row, and itself.
    shared: Option<(Linear, SwiGlu)>,
}

impl Reference {
    /// Reads a file's weights in full: four bytes for each.
    ///
    /// # Errors
    /// As [`Model::load`](crate::Model::load).
    pub fn load<'a>(source: impl Into<Source<'a>>) -> Result<Reference, ModelError> {
        let source = source.into();
        let config = Config::read(source)?;
        let tensors = Checkpoint { source, family: config.family };
        let file = File { tensors, config: &config };
        let layers =
            (0..config.layers.len()).map(|index| file.layer(index)).collect::<Result<_, _>>()?;
        Ok(Reference {
            embedding: file.linear("token_embd")?,
            layers,
            output_norm: file.vector("output_norm.weight")?,
            output: match config.tied_output {
                true => None,
                false => Some(file.linear("output")?),
            },
            config,
        })
    }

    /// What this model is.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The logits of every position of `tokens`. [tokens, vocab]
    ///
    /// # Panics
    /// Where a token is not below the model's `vocab`.
    pub fn logits(&self, tokens: &[u32]) -> Vec<f32> {
        self.head(&self.states(tokens))
    }

    /// The logits of some rows of [`states`](Reference::states), for texts whose logits would not
    /// fit in memory at once. states: [rows, hidden] → [rows, vocab]
    pub fn head(&self, states: &[f32]) -> Vec<f32> {
        self.output.as_ref().unwrap_or(&self.embedding).apply(states)
    }

    /// What the output head sees of every position of `tokens`. [tokens, hidden]
    ///
    /// # Panics
    /// As [`logits`](Reference::logits).
    pub fn states(&self, tokens: &[u32]) -> Vec<f32> {
        let config = &self.config;
        let (hidden, epsilon) = (config.hidden, config.norm_epsilon);
        // x: [tokens, hidden], the residual stream
        let mut x = Vec::with_capacity(tokens.len() * hidden);
        for &token in tokens {
            let start = token as usize * hidden;
            let row = &self.embedding.weight[start..start + hidden];
            x.extend(row.iter().map(|value| value * config.embedding_scale));
        }
        for (layer, described) in self.layers.iter().zip(&config.layers) {
            let Mixer::Gqa(gqa) = &described.mixer;
            let normed = rms_norm(&x, &layer.attn_norm, epsilon);
            let mixed =
                layer.attention(&normed, gqa, gqa.rope.map(|rope| &config.ropes[rope]), epsilon);
            let mut mixed = layer.attn_output.apply(&mixed);
            if let Some([norm, _]) = &layer.post_norms {
                mixed = rms_norm(&mixed, norm, epsilon);
            }
            add(&mut x, &mixed);

            let normed = rms_norm(&x, &layer.ffn_norm, epsilon);
            let mut worked = match &layer.feed_forward {
                FeedForward::Dense(swiglu) => swiglu.apply(&normed),
                FeedForward::Moe(experts) => experts.apply(&normed),
            };
            if let Some([_, norm]) = &layer.post_norms {
                worked = rms_norm(&worked, norm, epsilon);
            }
            add(&mut x, &worked);
        }
        rms_norm(&x, &self.output_norm, epsilon)
    }
}

impl Layer {
    /// Causal attention of all positions. x: [tokens, hidden] → [tokens, heads * head_size]
    fn attention(&self, x: &[f32], gqa: &Gqa, rope: Option<&RopeConfig>, epsilon: f32) -> Vec<f32> {
        let size = gqa.head_size;
        let (mut q, mut k, v) = (self.q.apply(x), self.k.apply(x), self.v.apply(x));
        if let Some([q_norm, k_norm]) = &self.qk_norms {
            q = rms_norm(&q, q_norm, epsilon);
            k = rms_norm(&k, k_norm, epsilon);
        }
        if let Some(rope) = rope {
            turn(&mut q, gqa.q_size(), size, rope);
            turn(&mut k, gqa.kv_size(), size, rope);
        }

        let mut out = vec![0.0; q.len()];
        rows_in_parallel(&mut out, gqa.q_size(), 1, |position, out| {
            let q = &q[position * gqa.q_size()..][..gqa.q_size()];
            for (head, out) in out.chunks_exact_mut(size).enumerate() {
                let kv_head = head / (gqa.heads / gqa.kv_heads);
                let q = &q[head * size..][..size];
                let row = |of: usize| of * gqa.kv_size() + kv_head * size;
                let first = gqa.window.map_or(0, |window| (position + 1).saturating_sub(window));
                let mut weights: Vec<f32> = (first..=position)
                    .map(|other| dot(q, &k[row(other)..][..size]) * gqa.scale)
                    .collect();
                softmax(&mut weights);
                for (other, weight) in (first..).zip(&weights) {
                    for (out, v) in out.iter_mut().zip(&v[row(other)..][..size]) {
                        *out += weight * v;
                    }
                }
            }
        });
        out
    }
}

impl SwiGlu {
    /// x: [tokens, hidden] → [tokens, hidden]
    fn apply(&self, x: &[f32]) -> Vec<f32> {
        let (gate, up) = (self.gate.apply(x), self.up.apply(x));
        let gated: Vec<f32> =
            gate.iter().zip(&up).map(|(&gate, &up)| gated(self.activation, gate, up)).collect();
        self.down.apply(&gated)
    }
}

impl Experts {
    /// Each expert works on all tokens, also on those that weight it with 0, as the paper (Shazeer
    /// et al. 2017) writes the sum. x: [tokens, hidden] → [tokens, hidden]
    fn apply(&self, x: &[f32]) -> Vec<f32> {
        let count = self.experts.len();
        let mut weights = self.gate.apply(x);
        weights.chunks_exact_mut(count).for_each(|weights| self.weigh(weights));
        let mut out = vec![0.0; x.len()];
        for (index, expert) in self.experts.iter().enumerate() {
            let of_expert = weights.iter().skip(index).step_by(count);
            add_weighted(&mut out, &expert.apply(x), of_expert.copied());
        }
        if let Some((gate, expert)) = &self.shared {
            let opened = gate.apply(x).into_iter().map(|gate| 1.0 / (1.0 + (-gate).exp()));
            add_weighted(&mut out, &expert.apply(x), opened);
        }
        out
    }

    /// The logits of one token → the weight of each expert, 0 for those not used.
    fn weigh(&self, weights: &mut [f32]) {
        let Router::Softmax { renormalise } = self.router;
        softmax(weights);
        let mut order: Vec<usize> = (0..weights.len()).collect();
        // Stable: of equal ones the first stay first.
        order.sort_by(|&a, &b| weights[b].total_cmp(&weights[a]));
        for &unused in &order[self.used..] {
            weights[unused] = 0.0;
        }
        if renormalise {
            let sum: f32 = weights.iter().sum();
            weights.iter_mut().for_each(|weight| *weight /= sum);
        }
    }
}

/// Adds `y` to `x`, each row times its weight.
fn add_weighted(x: &mut [f32], y: &[f32], weights: impl ExactSizeIterator<Item = f32>) {
    let width = x.len() / weights.len().max(1);
    for ((x, y), weight) in x.chunks_mut(width).zip(y.chunks(width)).zip(weights) {
        x.iter_mut().zip(y).for_each(|(x, y)| *x += weight * y);
    }
}

impl Linear {
    /// x: [tokens, columns] → [tokens, rows]
    fn apply(&self, x: &[f32]) -> Vec<f32> {
        /// Inputs that stay in the second-level cache while the weights pass by once.
        const TOKENS_PER_BAND: usize = 32;
        let rows = self.weight.len() / self.columns;
        let mut out = vec![0.0; x.len() / self.columns * rows];
        rows_in_parallel(&mut out, rows, TOKENS_PER_BAND, |first, out| {
            let x = &x[first * self.columns..];
            for (row, weight) in self.weight.chunks_exact(self.columns).enumerate() {
                let bias = self.bias.as_ref().map_or(0.0, |bias| bias[row]);
                for (out, x) in out.chunks_exact_mut(rows).zip(x.chunks_exact(self.columns)) {
                    out[row] = dot(weight, x) + bias;
                }
            }
        });
        out
    }
}

/// Rows of x / sqrt(mean(x²) + epsilon) * weight, as wide as the weight (Zhang and Sennrich 2019).
fn rms_norm(x: &[f32], weight: &[f32], epsilon: f32) -> Vec<f32> {
    let mut out = Vec::with_capacity(x.len());
    for row in x.chunks_exact(weight.len()) {
        let scale = 1.0 / (dot(row, row) / row.len() as f32 + epsilon).sqrt();
        out.extend(row.iter().zip(weight).map(|(x, weight)| x * scale * weight));
    }
    out
}

/// Turns each pair of each head by an angle that grows with the position: row `n` is position `n`.
fn turn(x: &mut [f32], width: usize, head_size: usize, rope: &RopeConfig) {
    let pairs = rope.dims / 2;
    for (position, row) in x.chunks_exact_mut(width).enumerate() {
        let angles: Vec<(f32, f32)> = (0..pairs)
            .map(|pair| {
                let exponent = -2.0 * pair as f64 / rope.dims as f64;
                let divisor = rope.divisors.as_ref().map_or(1.0, |divisors| divisors[pair]);
                let turns = f64::from(rope.theta).powf(exponent) / f64::from(divisor);
                let (sin, cos) = (position as f64 * turns).sin_cos();
                (sin as f32, cos as f32)
            })
            .collect();
        for head in row.chunks_exact_mut(head_size) {
            for (pair, &(sin, cos)) in angles.iter().enumerate() {
                let (i, j) = match rope.pairing {
                    RopePairing::Halves => (pair, pair + pairs),
                    RopePairing::Adjacent => (2 * pair, 2 * pair + 1),
                };
                let (a, b) = (head[i], head[j]);
                head[i] = a * cos - b * sin;
                head[j] = a * sin + b * cos;
            }
        }
    }
}

/// exp(x) / sum(exp(x)), without overflow.
fn softmax(x: &mut [f32]) {
    let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for x in x.iter_mut() {
        *x = (*x - max).exp();
        sum += *x;
    }
    for x in x.iter_mut() {
        *x /= sum;
    }
}

/// What the two halves of a gated feed-forward become.
fn gated(activation: Activation, gate: f32, up: f32) -> f32 {
    match activation {
        Activation::Silu => gate / (1.0 + (-gate).exp()) * up,
        Activation::GeluTanh => {
            let inner = (2.0 / std::f32::consts::PI).sqrt() * (gate + 0.044_715 * gate.powi(3));
            0.5 * gate * (1.0 + inner.tanh()) * up
        }
        Activation::ClampedSwiglu { limit, alpha } => {
            let (gate, up) = (gate.min(limit), up.clamp(-limit, limit));
            gate / (1.0 + (-alpha * gate).exp()) * (up + 1.0)
        }
    }
}

fn add(x: &mut [f32], y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

/// The sum of products, in sixteen lanes that a compiler can put into registers.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0.0f32; LANES];
    let (a_lanes, a_rest) = a.as_chunks::<LANES>();
    let (b_lanes, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_lanes.iter().zip(b_lanes) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

/// Calls `body(first row, rows)` for bands of rows of `out`, on all cores.
fn rows_in_parallel(
    out: &mut [f32],
    width: usize,
    band_rows: usize,
    body: impl Fn(usize, &mut [f32]) + Sync,
) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let bands = Mutex::new(out.chunks_mut(band_rows * width).enumerate());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let next = bands.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some((band, out)) = next else { break };
                    body(band * band_rows, out);
                }
            });
        }
    });
}

/// A file and what it was found to be.
struct File<'a> {
    tensors: Checkpoint<'a>,
    config: &'a Config,
}

impl File<'_> {
    fn layer(&self, index: usize) -> Result<Layer, ModelError> {
        let Mixer::Gqa(gqa) = &self.config.layers[index].mixer;
        let name = |name: &str| format!("blk.{index}.{name}");
        let projection = |part: &str| {
            let mut linear = self.linear(&name(part))?;
            if gqa.qkv_bias {
                linear.bias = Some(self.vector(&name(&format!("{part}.bias")))?);
            }
            Ok::<_, ModelError>(linear)
        };
        let qk_norms = match gqa.qk_norm {
            true => Some([
                self.vector(&name("attn_q_norm.weight"))?,
                self.vector(&name("attn_k_norm.weight"))?,
            ]),
            false => None,
        };
        Ok(Layer {
            attn_norm: self.vector(&name("attn_norm.weight"))?,
            q: projection("attn_q")?,
            k: projection("attn_k")?,
            v: projection("attn_v")?,
            qk_norms,
            attn_output: self.linear(&name("attn_output"))?,
            post_norms: match self.config.layers[index].post_norms {
                true => Some([
                    self.vector(&name("post_attention_norm.weight"))?,
                    self.vector(&name("post_ffw_norm.weight"))?,
                ]),
                false => None,
            },
            ffn_norm: self.vector(&name(tensors::ffn_norm(self.config.family)))?,
            feed_forward: match &self.config.layers[index].feed_forward {
                config::FeedForward::Dense { activation, .. } => {
                    let swiglu = self.swiglu(index, "")?;
                    FeedForward::Dense(SwiGlu { activation: *activation, ..swiglu })
                }
                config::FeedForward::Moe(moe) => FeedForward::Moe(self.experts(index, moe)?),
            },
        })
    }

    fn swiglu(&self, layer: usize, suffix: &str) -> Result<SwiGlu, ModelError> {
        let part = |part: &str| self.linear(&format!("blk.{layer}.ffn_{part}{suffix}"));
        let activation = Activation::Silu;
        Ok(SwiGlu { gate: part("gate")?, up: part("up")?, down: part("down")?, activation })
    }

    /// The stacked tensors, cut into their experts.
    fn experts(&self, layer: usize, moe: &Moe) -> Result<Experts, ModelError> {
        let stacked = self.swiglu(layer, "_exps")?;
        let cut = |linear: &Linear, expert: usize| {
            let size = linear.weight.len() / moe.experts;
            let weight = linear.weight[expert * size..(expert + 1) * size].to_vec();
            Linear { weight, columns: linear.columns, bias: None }
        };
        let expert = |expert| SwiGlu {
            gate: cut(&stacked.gate, expert),
            up: cut(&stacked.up, expert),
            down: cut(&stacked.down, expert),
            activation: stacked.activation,
        };
        let shared = match &moe.shared {
            Some(_) => Some((
                self.linear(&format!("blk.{layer}.ffn_gate_inp_shexp"))?,
                self.swiglu(layer, "_shexp")?,
            )),
            None => None,
        };
        Ok(Experts {
            used: moe.used,
            router: moe.router,
            gate: self.linear(&format!("blk.{layer}.ffn_gate_inp"))?,
            experts: (0..moe.experts).map(expert).collect(),
            shared,
        })
    }

    fn linear(&self, name: &str) -> Result<Linear, ModelError> {
        let tensor = self.tensors.find(&format!("{name}.weight"))?;
        Ok(Linear { weight: tensor.values()?, columns: tensor.columns(), bias: None })
    }

    fn vector(&self, name: &str) -> Result<Vec<f32>, ModelError> {
        self.tensors.find(name)?.vector()
    }
}
