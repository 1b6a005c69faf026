//! Turns a batch of token ids and a KV cache into logits, layer by layer.
//!
//! What a row's logits are does not depend on which other rows share the batch, on how a prompt is
//! cut into chunks, or on threads: every kernel called here keeps one fixed order of reduction per
//! row. `tests/invariance.rs` holds this to equal bits. [`crate::reference`] is the plain twin.

mod delta;
mod encoder;
mod indexer;
mod mla;
mod moe;
mod mtp;

use myriad_kernels::{
    Activation, Activations, AttentionCall, AttentionRow, AttentionScratch, Compute, DeltaRun,
    DeltaScratch, DeltaSnapshot as Snapshot, Forms, KvCache, Matrix, PAGE_TOKENS, Product,
    RopeHeads, RowSlot, add_rms_norm, attention, matmul, matmul_gated, rms_norm, rms_norm_heads,
    rope,
};

pub use encoder::{Encoding, Text};

use crate::Model;
use crate::cache::Cache;
use crate::config::{FeedForward, Gqa, LayerConfig, Mixer};
use crate::weights::{DenseWeights, FeedForwardWeights, GqaWeights, Layer, MixerWeights, SwiGlu};

/// The rows of one forward pass: pieces of any number of sequences.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Pieces of different sequences. Their pages are disjoint where they are written.
    pub sequences: &'a [Segment<'a>],
}

/// Consecutive tokens of one sequence; everything before them is in the cache already.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// The tokens, each below the model's `vocab`.
    pub tokens: &'a [u32],
    /// Position of `tokens[0]` in its sequence.
    pub start: u32,
    /// The sequence's pages from position 0 on, at least up to its last token here.
    pub pages: &'a [u32],
    /// Which of the tokens want logits.
    pub logits: LogitRows,
    /// Whether those want the states that a head would see, instead of logits.
    pub states: bool,
    /// Whether the states that a head would see of all tokens are wanted besides: guesses of
    /// further tokens begin there ([`Model::guess`]).
    pub all_states: bool,
    /// The slot of the sequence's state, in models that have states; no two segments share one.
    pub state: usize,
    /// States in between that are to be kept, each in a slot of its own.
    pub snapshots: &'a [Snapshot],
}

impl<'a> Segment<'a> {
    /// Tokens of the only sequence of a batch.
    pub fn alone(
        tokens: &'a [u32],
        start: u32,
        pages: &'a [u32],
        logits: LogitRows,
    ) -> Segment<'a> {
        let (states, all_states) = (false, false);
        Segment { tokens, start, pages, logits, states, all_states, state: 0, snapshots: &[] }
    }
}

/// Which tokens of a segment want logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogitRows {
    /// None: a chunk in the middle of a prompt.
    None,
    /// The last token: what comes next is to be sampled.
    Last,
    /// All tokens: a text is to be scored.
    All,
}

/// Logits of the rows that wanted them, in order of segments, then of tokens.
#[derive(Clone, Copy, Debug)]
pub struct Logits<'a> {
    values: &'a [f32],
    vocab: usize,
    states: &'a [f32],
    all_states: &'a [f32],
}

impl<'a> Logits<'a> {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.values.len() / self.vocab
    }

    /// One row. [vocab]
    pub fn row(&self, row: usize) -> &'a [f32] {
        &self.values[row * self.vocab..(row + 1) * self.vocab]
    }

    /// All rows. [rows, vocab]
    pub fn values(&self) -> &'a [f32] {
        self.values
    }

    /// The states behind the last norm, of the rows that wanted those instead, in the same order.
    /// [rows, hidden]
    pub fn states(&self) -> &'a [f32] {
        self.states
    }

    /// The states behind the last norm, of all rows of the segments that wanted those.
    /// [rows, hidden]
    pub fn all_states(&self) -> &'a [f32] {
        self.all_states
    }
}

/// Working memory of [`Model::forward`], kept from call to call.
#[derive(Default)]
pub struct Scratch {
    /// The residual stream. [rows, hidden]
    residual: Vec<f32>,
    /// The input of the next product, in the kernels' form.
    input: Activations,
    /// What gates let through. [rows, size]
    gated: Activations,
    /// [rows, q + k + v]
    qkv: Vec<f32>,
    /// [rows, q]
    attended: Vec<f32>,
    /// What a part adds to the residual stream, where a norm comes before. [rows, hidden]
    added: Vec<f32>,
    /// [rows, gate + up]
    gate_up: Vec<f32>,
    /// [logit rows, vocab]
    logits: Vec<f32>,
    /// [rows that want states, hidden]
    states: Vec<f32>,
    /// [rows of segments that want all states, hidden]
    all_states: Vec<f32>,
    attention: AttentionScratch,
    delta: DeltaScratch,
    mla: mla::MlaScratch,
    moe: moe::MoeScratch,
}

impl Scratch {
    /// Empty buffers; they grow to the largest batch they see.
    pub fn new() -> Scratch {
        Scratch::default()
    }
}

impl Model {
    /// Computes a batch: writes its keys and values into the cache, returns the logits asked for.
    ///
    /// The residual stream goes through each layer in about ten parallel regions; the last layer
    /// works on the rows that want logits only, beyond its keys and values.
    ///
    /// # Panics
    /// Where the caller breaks what [`Segment`] asks for: a token beyond the vocabulary, or pages
    /// that do not cover the positions, or pages or slots that do not exist in the cache. (Of an
    /// encoder there is no cache to call this with.)
    pub fn forward<'s>(
        &self,
        compute: &Compute,
        batch: &Batch<'_>,
        cache: &mut Cache,
        scratch: &'s mut Scratch,
    ) -> Logits<'s> {
        let mut rows = Rows::of(batch);
        if self.state_bytes() > 0 {
            let begun = batch.sequences.iter().filter(|segment| segment.start == 0);
            begun.for_each(|segment| cache.states.clear(segment.state));
        }
        scratch.input.keep(self.weights.forms);
        self.embed(None, batch, scratch);
        let last = self.config.layers.len() - 1;
        let mut cache_layer = 0;
        for (index, layer) in self.config.layers.iter().enumerate() {
            let pass = Pass { model: self, compute, index, cache_layer };
            pass.layer(
                layer,
                &self.weights.layers[index],
                index == last,
                &mut rows,
                cache,
                scratch,
            );
            cache_layer += layer.mixer.cache_layers();
        }
        let (hidden, vocab) = (self.config.hidden, self.config.vocab);
        self.states(compute, &mut rows, scratch);
        let (norm, weight) = (&self.weights.output_norm, self.weights.head());
        self.head(compute, norm, weight, rows.count(), scratch);
        let Scratch { logits, states, all_states, .. } = scratch;
        let values = &logits[..rows.count() * vocab];
        let states = &states[..rows.states * hidden];
        Logits { values, vocab, states, all_states: &all_states[..rows.all_states * hidden] }
    }

    /// states = rms_norm(residual) of the rows that want states, and of those of which all are
    /// wanted; the rows that want logits move together.
    fn states(&self, compute: &Compute, rows: &mut Rows<'_>, scratch: &mut Scratch) {
        let hidden = self.config.hidden;
        let (norm, epsilon) = (&self.weights.output_norm, self.config.norm_epsilon);
        let Scratch { residual, added, states, all_states, .. } = scratch;
        let of = |which: fn(&Wanted) -> bool| {
            let wanted = rows.wanted.iter().enumerate();
            wanted.filter(|(_, wanted)| which(wanted)).map(|(row, _)| row).collect::<Vec<_>>()
        };
        let mut norms = |chosen: &[usize], out: &mut Vec<f32>| {
            let input = sized(added, chosen.len() * hidden);
            for (&row, input) in chosen.iter().zip(input.chunks_exact_mut(hidden)) {
                input.copy_from_slice(&residual[row * hidden..][..hidden]);
            }
            let out = sized(out, chosen.len() * hidden);
            if !chosen.is_empty() {
                rms_norm(compute, input, chosen.len(), hidden, norm, epsilon, out);
            }
            chosen.len()
        };
        rows.all_states = norms(&of(|wanted| wanted.is_followed), all_states);
        rows.states = norms(&of(|wanted| wanted.head == Some(Head::State)), states);
        let logits = of(|wanted| wanted.head == Some(Head::Logits));
        for (to, &from) in logits.iter().enumerate() {
            copy_row(residual, from, to, hidden);
        }
        rows.attention.truncate(logits.len());
    }

    /// residual = rows of the embedding (none: the model's) for the tokens
    fn embed(&self, embedding: Option<&Matrix>, batch: &Batch<'_>, scratch: &mut Scratch) {
        let embedding = embedding.unwrap_or(&self.weights.embedding);
        let hidden = self.config.hidden;
        let tokens = batch.sequences.iter().flat_map(|segment| segment.tokens);
        let count = batch.sequences.iter().map(|segment| segment.tokens.len()).sum::<usize>();
        let residual = sized(&mut scratch.residual, count * hidden);
        for (&token, row) in tokens.zip(residual.chunks_exact_mut(hidden)) {
            embedding.row(token as usize, row);
            if self.config.embedding_scale != 1.0 {
                row.iter_mut().for_each(|value| *value *= self.config.embedding_scale);
            }
        }
    }

    /// logits = weight · rms_norm(residual), for the first rows
    fn head(
        &self,
        compute: &Compute,
        norm: &[f32],
        weight: &Matrix,
        rows: usize,
        scratch: &mut Scratch,
    ) {
        let (hidden, vocab) = (self.config.hidden, self.config.vocab);
        let out = sized(&mut scratch.logits, rows * vocab);
        if rows > 0 {
            let residual = &scratch.residual[..rows * hidden];
            let epsilon = self.config.norm_epsilon;
            scratch.input.set_rms_norm(compute, residual, rows, hidden, norm, epsilon);
            let (first_column, bias, out_stride) = (None, None, vocab);
            let product =
                Product { weight, first_column, bias, out, out_stride, accumulate: false };
            matmul(compute, &scratch.input, &mut [product]);
        }
    }
}

/// One layer of one forward pass.
struct Pass<'a> {
    model: &'a Model,
    compute: &'a Compute,
    /// The layer's place among those of the cache that it is computed with.
    index: usize,
    /// The first of the layer's own keys in the cache.
    cache_layer: usize,
}

impl Pass<'_> {
    /// Brings the residual stream through the layer. The last one works on the rows that want
    /// something only, beyond its keys and values.
    fn layer(
        &self,
        layer: &LayerConfig,
        weights: &Layer,
        is_last: bool,
        rows: &mut Rows<'_>,
        cache: &mut Cache,
        scratch: &mut Scratch,
    ) {
        let hidden = self.model.config.hidden;
        let Cache { keys: cache, states } = cache;
        match (&layer.mixer, &weights.mixer) {
            (Mixer::Gqa(gqa), MixerWeights::Gqa(mixer)) => {
                self.keys_and_values(gqa, mixer, rows, cache, scratch);
                if is_last {
                    rows.keep_wanted(scratch, hidden, gqa.qkv_size(), 0);
                }
                if rows.count() > 0 {
                    self.attend(gqa, mixer, rows, cache, scratch);
                }
            }
            (Mixer::Mla(mla), MixerWeights::Mla(mixer)) => {
                self.latents(mla, mixer, rows, cache, scratch);
                if is_last {
                    rows.keep_wanted(scratch, hidden, mla.first_size(), mla.index_size());
                }
                if rows.count() > 0 {
                    self.attend_latents(mla, mixer, rows, cache, scratch);
                }
            }
            (Mixer::GatedDelta(shape), MixerWeights::GatedDelta(mixer)) => {
                self.recur(self.index, shape, mixer, rows, states, scratch);
                if is_last {
                    rows.keep_wanted(scratch, hidden, 0, 0);
                }
            }
            _ => unreachable!("weights are loaded as the layer is described"),
        }
        if rows.count() == 0 {
            return;
        }
        match (&layer.feed_forward, &weights.feed_forward) {
            (FeedForward::Dense { size, activation }, FeedForwardWeights::Dense(weights)) => {
                self.dense(*size, *activation, weights, rows.count(), scratch)
            }
            (FeedForward::Moe(moe), FeedForwardWeights::Moe(weights)) => {
                self.moe(moe, weights, rows.count(), scratch);
            }
            _ => unreachable!("weights are loaded as the layer is described"),
        }
    }

    /// q, k, v = qkv(rms_norm(residual)), normed and turned; k and v go into the cache.
    fn keys_and_values(
        &self,
        gqa: &Gqa,
        weights: &GqaWeights,
        rows: &Rows<'_>,
        cache: &mut KvCache,
        scratch: &mut Scratch,
    ) {
        let config = &self.model.config;
        let (compute, count, hidden) = (self.compute, rows.count(), config.hidden);
        let (heads, kv_heads, head_size) = (gqa.heads, gqa.kv_heads, gqa.head_size);
        let (q_size, stride) = (gqa.q_size(), gqa.qkv_size());
        let residual = &scratch.residual[..count * hidden];
        let epsilon = config.norm_epsilon;
        scratch.input.set_rms_norm(compute, residual, count, hidden, &weights.norm, epsilon);
        let qkv = sized(&mut scratch.qkv, count * stride);
        weights.qkv.apply(compute, &scratch.input, qkv);
        if let Some([q_norm, k_norm]) = &weights.qk_norms {
            rms_norm_heads(compute, qkv, count, stride, heads, head_size, q_norm, epsilon);
            let k = &mut qkv[q_size.min(count * stride)..];
            rms_norm_heads(compute, k, count, stride, kv_heads, head_size, k_norm, epsilon);
        }
        if let Some(index) = gqa.rope {
            // The heads of K follow those of Q in each row, and both are turned alike.
            let turned = RopeHeads { heads: heads + kv_heads, head_size, offset: 0, stride };
            rope(compute, qkv, turned, &rows.positions, &self.model.ropes[index]);
        }
        let k = &qkv[q_size.min(count * stride)..];
        let v = &qkv[(q_size + gqa.kv_size()).min(count * stride)..];
        cache.store(compute, self.cache_layer, &rows.slots, k, stride, v, stride);
    }

    /// residual += output(attention(q, cache))
    fn attend(
        &self,
        gqa: &Gqa,
        weights: &GqaWeights,
        rows: &Rows<'_>,
        cache: &KvCache,
        scratch: &mut Scratch,
    ) {
        let (compute, count, stride) = (self.compute, rows.count(), gqa.qkv_size());
        let attended = sized(&mut scratch.attended, count * gqa.q_size());
        let call = AttentionCall {
            cache,
            layer: self.cache_layer,
            rows: &rows.attention,
            q: &scratch.qkv[..count * stride],
            q_stride: stride,
            heads: gqa.heads,
            scale: gqa.scale,
            exact: weights.output.kind().is_float(),
            window: gqa.window,
            sinks: weights.sinks.as_deref(),
        };
        attention(compute, &call, attended, &mut scratch.attention);
        if gqa.gate {
            let gate = &scratch.qkv[gqa.gate_column()..];
            let (input, width) = (&mut scratch.input, gqa.q_size());
            input.set_sigmoid_mul(compute, attended, count, width, gate, stride);
        } else {
            scratch.input.set(compute, attended, count, gqa.q_size());
        }
        let (bias, norm) = (weights.output_bias.as_deref(), weights.post_norm.as_deref());
        self.add_to_residual(&weights.output, bias, norm, count, scratch);
    }

    /// residual += down(activation(gate(x)) * up(x)), x = rms_norm(residual)
    fn dense(
        &self,
        size: usize,
        activation: Activation,
        weights: &DenseWeights,
        count: usize,
        scratch: &mut Scratch,
    ) {
        let config = &self.model.config;
        let (compute, hidden, epsilon) = (self.compute, config.hidden, config.norm_epsilon);
        let residual = &scratch.residual[..count * hidden];
        scratch.input.set_rms_norm(compute, residual, count, hidden, &weights.norm, epsilon);
        let SwiGlu { gate_up, down, down_bias } = &weights.swiglu;
        let Scratch { input, gated, gate_up: products, .. } = scratch;
        // Nothing else reads it.
        gated.keep(Forms::NONE.and_of(down.kind()));
        if let Some(weight) = gate_up.only() {
            matmul_gated(compute, input, weight, activation, gated, products);
        } else {
            let products = sized(products, count * 2 * size);
            gate_up.apply(compute, input, products);
            gated.set_gated(compute, products, count, size, activation);
        }
        std::mem::swap(&mut scratch.input, &mut scratch.gated);
        let norm = weights.post_norm.as_deref();
        self.add_to_residual(down, down_bias.as_deref(), norm, count, scratch);
        std::mem::swap(&mut scratch.input, &mut scratch.gated);
    }

    /// residual += weight · input + bias, or the norm of that
    fn add_to_residual(
        &self,
        weight: &Matrix,
        bias: Option<&[f32]>,
        norm: Option<&[f32]>,
        count: usize,
        scratch: &mut Scratch,
    ) {
        let (compute, hidden) = (self.compute, self.model.config.hidden);
        let residual = &mut scratch.residual[..count * hidden];
        let product = |out, accumulate| {
            let first_column = None;
            Product { weight, first_column, bias, out, out_stride: hidden, accumulate }
        };
        let Some(norm) = norm else {
            return matmul(compute, &scratch.input, &mut [product(residual, true)]);
        };
        let added = sized(&mut scratch.added, count * hidden);
        matmul(compute, &scratch.input, &mut [product(added, false)]);
        let epsilon = self.model.config.norm_epsilon;
        add_rms_norm(compute, added, count, hidden, norm, epsilon, residual);
    }

    /// out = weight · input
    fn multiply(&self, weight: &Matrix, input: &Activations, out: &mut [f32]) {
        self.multiply_and_add(weight, None, input, out);
    }

    /// out = weight · input + bias
    fn multiply_and_add(
        &self,
        weight: &Matrix,
        bias: Option<&[f32]>,
        input: &Activations,
        out: &mut [f32],
    ) {
        let (first_column, out_stride) = (None, weight.rows());
        let product = Product { weight, first_column, bias, out, out_stride, accumulate: false };
        matmul(self.compute, input, &mut [product]);
    }
}

/// What a row wants of the last layer.
struct Wanted {
    row: usize,
    head: Option<Head>,
    /// Its segment wants all states.
    is_followed: bool,
}

/// What is made of a row behind the layers.
#[derive(PartialEq)]
enum Head {
    Logits,
    State,
}

/// The rows of a batch, one for each token, and where each belongs.
struct Rows<'a> {
    /// What each row attends to.
    attention: Vec<AttentionRow<'a>>,
    positions: Vec<u32>,
    /// Where each row's key and value go.
    slots: Vec<RowSlot>,
    /// The rows that want something of the last layer, ascending.
    wanted: Vec<Wanted>,
    /// How many of them turned out to want states, and have all states wanted.
    states: usize,
    all_states: usize,
    /// The rows of each sequence, and its state.
    runs: Vec<DeltaRun<'a>>,
}

impl<'a> Rows<'a> {
    fn of(batch: &Batch<'a>) -> Rows<'a> {
        let count = batch.sequences.iter().map(|segment| segment.tokens.len()).sum();
        let mut rows = Rows {
            attention: Vec::with_capacity(count),
            positions: Vec::with_capacity(count),
            slots: Vec::with_capacity(count),
            wanted: Vec::new(),
            states: 0,
            all_states: 0,
            runs: Vec::with_capacity(batch.sequences.len()),
        };
        for segment in batch.sequences {
            rows.runs.push(DeltaRun {
                slot: segment.state,
                first_row: rows.positions.len(),
                rows: segment.tokens.len(),
                snapshots: segment.snapshots,
            });
            for index in 0..segment.tokens.len() {
                let position = segment.start as usize + index;
                let page = segment.pages[position / PAGE_TOKENS];
                let slot = (position % PAGE_TOKENS) as u32;
                let is_wanted = match segment.logits {
                    LogitRows::All => true,
                    LogitRows::Last => index + 1 == segment.tokens.len(),
                    LogitRows::None => false,
                };
                let head = if segment.states { Head::State } else { Head::Logits };
                let (row, head) = (rows.positions.len(), is_wanted.then_some(head));
                let is_followed = segment.all_states;
                if head.is_some() || is_followed {
                    rows.wanted.push(Wanted { row, head, is_followed });
                }
                rows.positions.push(position as u32);
                rows.slots.push(RowSlot { page, slot });
                rows.attention.push(AttentionRow {
                    pages: segment.pages,
                    position: position as u32,
                    selection: None,
                });
            }
        }
        rows
    }

    fn count(&self) -> usize {
        self.attention.len()
    }

    /// Drops the rows that want nothing more, here and in the buffers that the last layer still
    /// needs. `first_size`: columns of what the layer's first products left in `qkv`,
    /// `index_size`: those of its indexer's
    fn keep_wanted(
        &mut self,
        scratch: &mut Scratch,
        hidden: usize,
        first_size: usize,
        index_size: usize,
    ) {
        for (to, &Wanted { row: from, .. }) in self.wanted.iter().enumerate() {
            self.attention.swap(to, from);
            self.positions.swap(to, from);
            copy_row(&mut scratch.residual, from, to, hidden);
            copy_row(&mut scratch.qkv, from, to, first_size);
            copy_row(&mut scratch.mla.index, from, to, index_size);
        }
        self.attention.truncate(self.wanted.len());
        self.positions.truncate(self.wanted.len());
    }
}

fn copy_row(rows: &mut [f32], from: usize, to: usize, width: usize) {
    rows.copy_within(from * width..(from + 1) * width, to * width);
}

/// The first `length` elements of a buffer that only grows.
fn sized(buffer: &mut Vec<f32>, length: usize) -> &mut [f32] {
    if buffer.len() < length {
        buffer.resize(length, 0.0);
    }
    &mut buffer[..length]
}
