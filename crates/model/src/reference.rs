//! Turns a whole token sequence into logits in plain f32: the twin that `forward` is tested
//! against.
//!
//! Every weight is dequantised when loaded and every step is a loop that can be held against the
//! paper it comes from: no packed layouts, no int8 activations, no pages, no f16 keys. The only
//! concession to speed is that rows are shared out among threads and dot products summed in
//! sixteen lanes, so that a few thousand tokens of a small model take a minute and not an hour.

mod delta;
mod encoder;
mod experts;
mod gqa;
mod mla;
mod mtp;

use std::sync::{Mutex, PoisonError};

use myriad_kernels::{Activation, RopePairing};

use crate::checkpoint::{Checkpoint, Source};
use crate::config::{self, Config, LayerConfig, Mixer, RopeConfig};
use crate::error::ModelError;
use crate::forward::Text;
use crate::tensors;
use delta::DeltaNet;
use encoder::EncoderTwin;
use experts::Experts;
use gqa::GroupedAttention;
use mla::LatentAttention;
use mtp::MtpTwin;

/// A model with all weights in f32.
pub struct Reference {
    config: Config,
    embedding: Linear,
    /// Empty in encoders, as is the norm.
    layers: Vec<Layer>,
    output_norm: Vec<f32>,
    encoder: Option<EncoderTwin>,
    /// None where the embedding is the head.
    output: Option<Linear>,
    mtp: Option<MtpTwin>,
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
    mixer: MixerTwin,
    /// Norms of what attention and what the feed-forward add.
    post_norms: Option<[Vec<f32>; 2]>,
    ffn_norm: Vec<f32>,
    feed_forward: FeedForward,
}

/// The twin of each [`Mixer`].
enum MixerTwin {
    Gqa(GroupedAttention),
    Mla(LatentAttention),
    GatedDelta(DeltaNet),
}

enum FeedForward {
    Dense(SwiGlu),
    Moe(Box<Experts>),
}

struct SwiGlu {
    gate: Linear,
    up: Linear,
    down: Linear,
    activation: Activation,
}

impl Reference {
    /// Reads a file's weights in full: four bytes for each.
    ///
    /// # Errors
    /// As [`Model::load`](crate::Model::load).
    pub fn load<'a>(source: impl Into<Source<'a>>) -> Result<Reference, ModelError> {
        let source = source.into();
        let config = Config::read(source)?;
        let tensors = Checkpoint::of(source, &config);
        let file = File { tensors, config: &config };
        let embedding = file.linear("token_embd")?;
        if let Some(described) = &config.encoder {
            let encoder = Some(EncoderTwin::load(&file, described.classifier)?);
            let (layers, output_norm, output, mtp) = (Vec::new(), Vec::new(), None, None);
            return Ok(Reference { embedding, layers, output_norm, encoder, output, mtp, config });
        }
        let layers = config.layers.iter().enumerate();
        let layers = layers.map(|(index, layer)| file.layer(index, layer));
        let layers = layers.collect::<Result<_, _>>()?;
        Ok(Reference {
            embedding,
            layers,
            output_norm: file.vector("output_norm.weight")?,
            encoder: None,
            output: match config.tied_output {
                true => None,
                false => Some(file.linear("output")?),
            },
            mtp: MtpTwin::load(&file)?,
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

    /// The states of all tokens of an encoder's text. [tokens, hidden]
    ///
    /// # Panics
    /// As [`Model::encode`](crate::Model::encode).
    pub fn encode(&self, text: Text<'_>) -> Vec<f32> {
        let encoder = self.encoder.as_ref().expect("the model is an encoder");
        encoder.states(text, &self.embedding, &self.config)
    }

    /// The score of a pair by the state of its first token, before the sigmoid; none where the
    /// model scores no pairs.
    pub fn pair_score(&self, state: &[f32]) -> Option<f32> {
        self.encoder.as_ref()?.score(state)
    }

    /// What the output head sees of every position of `tokens`. [tokens, hidden]
    ///
    /// # Panics
    /// As [`logits`](Reference::logits), and of an encoder.
    pub fn states(&self, tokens: &[u32]) -> Vec<f32> {
        let config = &self.config;
        assert!(self.encoder.is_none(), "an encoder has no output head");
        // x: [tokens, hidden], the residual stream
        let mut x = self.embed(&self.embedding, tokens);
        for (layer, described) in self.layers.iter().zip(&config.layers) {
            layer.apply(&mut x, described, config);
        }
        rms_norm(&x, &self.output_norm, config.norm_epsilon)
    }

    /// The embedding's rows. [tokens, hidden]
    fn embed(&self, embedding: &Linear, tokens: &[u32]) -> Vec<f32> {
        let Config { hidden, embedding_scale, .. } = self.config;
        let mut x = Vec::with_capacity(tokens.len() * hidden);
        for &token in tokens {
            let row = &embedding.weight[token as usize * hidden..][..hidden];
            x.extend(row.iter().map(|value| value * embedding_scale));
        }
        x
    }
}

impl Layer {
    /// x: [tokens, hidden], the residual stream
    fn apply(&self, x: &mut [f32], described: &LayerConfig, config: &Config) {
        let epsilon = config.norm_epsilon;
        let normed = rms_norm(x, &self.attn_norm, epsilon);
        let mut mixed = match (&self.mixer, &described.mixer) {
            (MixerTwin::Gqa(twin), Mixer::Gqa(gqa)) => twin.apply(&normed, gqa, config),
            (MixerTwin::Mla(twin), Mixer::Mla(mla)) => twin.apply(&normed, mla, config),
            (MixerTwin::GatedDelta(twin), Mixer::GatedDelta(shape)) => {
                twin.apply(&normed, shape, epsilon)
            }
            _ => unreachable!("weights are loaded as the layer is described"),
        };
        if let Some([norm, _]) = &self.post_norms {
            mixed = rms_norm(&mixed, norm, epsilon);
        }
        add(x, &mixed);

        let normed = rms_norm(x, &self.ffn_norm, epsilon);
        let mut worked = match &self.feed_forward {
            FeedForward::Dense(swiglu) => swiglu.apply(&normed),
            FeedForward::Moe(experts) => experts.apply(&normed),
        };
        if let Some([_, norm]) = &self.post_norms {
            worked = rms_norm(&worked, norm, epsilon);
        }
        add(x, &worked);
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

/// Turns each pair of each head, from element `offset` on, by an angle that grows with the
/// position: row `n` is position `n`.
fn turn(x: &mut [f32], width: usize, head_size: usize, offset: usize, rope: &RopeConfig) {
    let pairs = rope.dims / 2;
    for (position, row) in x.chunks_exact_mut(width).enumerate() {
        let angles: Vec<(f32, f32)> = (0..pairs)
            .map(|pair| {
                let exponent = -2.0 * pair as f64 / rope.dims as f64;
                let divisor = rope.divisors.as_ref().map_or(1.0, |divisors| divisors[pair]);
                let turns = f64::from(rope.theta).powf(exponent) / f64::from(divisor);
                let (sin, cos) = (position as f64 * turns).sin_cos();
                let magnitude = f64::from(rope.magnitude);
                ((sin * magnitude) as f32, (cos * magnitude) as f32)
            })
            .collect();
        for head in row.chunks_exact_mut(head_size) {
            let head = &mut head[offset..];
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

/// Softmax-weighted sums of the values of some positions: what one head makes of its query.
/// `sink`: a score that takes part and adds nothing.
fn attend<'a>(
    scores: &[f32],
    sink: Option<f32>,
    values: impl Iterator<Item = &'a [f32]>,
    out: &mut [f32],
) {
    let mut weights: Vec<f32> = scores.iter().copied().chain(sink).collect();
    softmax(&mut weights);
    for (weight, value) in weights.iter().zip(values) {
        out.iter_mut().zip(value).for_each(|(out, value)| *out += weight * value);
    }
}

/// A file and what it was found to be.
struct File<'a> {
    tensors: Checkpoint<'a>,
    config: &'a Config,
}

impl File<'_> {
    fn layer(&self, index: usize, described: &LayerConfig) -> Result<Layer, ModelError> {
        let name = |name: &str| format!("blk.{index}.{name}");
        Ok(Layer {
            attn_norm: self.vector(&name("attn_norm.weight"))?,
            mixer: match &described.mixer {
                Mixer::Gqa(gqa) => MixerTwin::Gqa(GroupedAttention::load(self, index, gqa)?),
                Mixer::Mla(mla) => MixerTwin::Mla(LatentAttention::load(self, index, mla)?),
                Mixer::GatedDelta(_) => MixerTwin::GatedDelta(DeltaNet::load(self, index)?),
                Mixer::Bidirectional(_) => unreachable!("encoders have layers of their own"),
            },
            post_norms: match described.post_norms {
                true => Some([
                    self.vector(&name("post_attention_norm.weight"))?,
                    self.vector(&name("post_ffw_norm.weight"))?,
                ]),
                false => None,
            },
            ffn_norm: self.vector(&name(tensors::ffn_norm(self.config.family)))?,
            feed_forward: match &described.feed_forward {
                config::FeedForward::Dense { activation, .. } => {
                    FeedForward::Dense(self.swiglu(index, "", *activation)?)
                }
                config::FeedForward::Mlp { .. } => unreachable!("decoders have gates"),
                config::FeedForward::Moe(moe) => {
                    FeedForward::Moe(Box::new(Experts::load(self, index, moe)?))
                }
            },
        })
    }

    fn swiglu(
        &self,
        layer: usize,
        suffix: &str,
        activation: Activation,
    ) -> Result<SwiGlu, ModelError> {
        let part = |part: &str| self.linear(&format!("blk.{layer}.ffn_{part}{suffix}"));
        Ok(SwiGlu { gate: part("gate")?, up: part("up")?, down: part("down")?, activation })
    }

    /// A product with a bias, where the model has one.
    fn linear_with(&self, name: &str, has_bias: bool) -> Result<Linear, ModelError> {
        let mut linear = self.linear(name)?;
        if has_bias {
            linear.bias = Some(self.vector(&format!("{name}.bias"))?);
        }
        Ok(linear)
    }

    fn linear(&self, name: &str) -> Result<Linear, ModelError> {
        let tensor = self.tensors.find(&format!("{name}.weight"))?;
        Ok(Linear { weight: tensor.values()?, columns: tensor.columns(), bias: None })
    }

    fn vector(&self, name: &str) -> Result<Vec<f32>, ModelError> {
        self.tensors.find(name)?.vector()
    }
}
