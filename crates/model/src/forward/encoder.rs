//! Turns whole texts into the states of their tokens, layer by layer: the forward pass of encoders.
//!
//! Every position sees every other, so a text is computed as a whole and nothing of it is kept. Its
//! keys and values stand in pages of working memory, one layer at a time, and attention is that of
//! decoders, in which all of its tokens stand at the last one's position. So, as there, what a
//! text's states are does not depend on the texts beside it.

use myriad_kernels::{
    Activations, AttentionCall, AttentionRow, AttentionScratch, Compute, KvCache, KvShape, KvType,
    PAGE_TOKENS, Product, RowSlot, attention, layer_norm, matmul,
};

use super::sized;
use crate::Model;
use crate::config::{Bidirectional, FeedForward, Mixer};
use crate::error::ModelError;
use crate::weights::{
    Biased, BidirectionalWeights, EncoderWeights, FeedForwardWeights, LayerNorm, MixerWeights,
    MlpWeights,
};

/// A text, or a pair of texts one behind the other.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    /// The tokens, each below the model's `vocab`; at most `context_length`.
    pub tokens: &'a [u32],
    /// How many of them are the first text's; all where there is one.
    pub first: usize,
}

impl<'a> Text<'a> {
    /// One text.
    pub fn alone(tokens: &'a [u32]) -> Text<'a> {
        Text { tokens, first: tokens.len() }
    }

    /// Pages of working memory that so many tokens take.
    pub fn pages(tokens: usize) -> usize {
        tokens.div_ceil(PAGE_TOKENS)
    }
}

/// Working memory of [`Model::encode`], kept from call to call.
pub struct Encoding {
    /// Keys and values of the layer under way, in floats.
    cache: KvCache,
    pages: usize,
    /// The residual stream. [rows, hidden]
    residual: Vec<f32>,
    /// The input of the next product, in the kernels' form.
    input: Activations,
    /// [rows, 3 * hidden]
    qkv: Vec<f32>,
    /// [rows, hidden]
    attended: Vec<f32>,
    /// [rows, size]
    up: Vec<f32>,
    attention: AttentionScratch,
}

impl Encoding {
    /// Pages that all texts of a call take together at most.
    pub fn pages(&self) -> usize {
        self.pages
    }
}

impl Model {
    /// Working memory for texts of up to `pages` pages together (see [`Text::pages`]).
    ///
    /// # Errors
    /// [`ModelError::Cache`] where it does not fit in memory, [`ModelError::NoEncoder`] of a
    /// decoder.
    pub fn new_encoding(&self, pages: usize) -> Result<Encoding, ModelError> {
        let Some(Mixer::Bidirectional(Bidirectional { heads, head_size })) =
            self.config.layers.first().map(|layer| &layer.mixer)
        else {
            return Err(ModelError::NoEncoder { family: self.config.family.name() });
        };
        let (kv_heads, key_size, value_size) = (*heads, *head_size, *head_size);
        let shape = KvShape { kv_heads, key_size, value_size };
        Ok(Encoding {
            cache: KvCache::with_type(KvType::F32, &[shape], pages)?,
            pages,
            residual: Vec::new(),
            input: Activations::new(),
            qkv: Vec::new(),
            attended: Vec::new(),
            up: Vec::new(),
            attention: AttentionScratch::new(),
        })
    }

    /// The states of all tokens behind the last layer, text after text. [tokens, hidden]
    ///
    /// # Panics
    /// Where the caller breaks what [`Text`] asks for, or texts take more pages than there are, or
    /// the model is a decoder.
    pub fn encode<'s>(
        &self,
        compute: &Compute,
        texts: &[Text<'_>],
        encoding: &'s mut Encoding,
    ) -> &'s [f32] {
        let weights = self.weights.encoder.as_ref().expect("the model is an encoder");
        let tables = page_tables(texts, encoding.pages);
        let rows = Rows::of(texts, &tables);
        encoding.input.keep(self.weights.forms);
        let pass = Pass { model: self, compute, rows: &rows };
        pass.embed(texts, weights, encoding);
        for (layer, weights) in self.config.layers.iter().zip(&self.weights.layers) {
            match (&layer.mixer, &weights.mixer) {
                (Mixer::Bidirectional(described), MixerWeights::Bidirectional(weights)) => {
                    pass.attend(described, weights, encoding);
                }
                _ => unreachable!("weights are loaded as the layer is described"),
            }
            match (&layer.feed_forward, &weights.feed_forward) {
                (FeedForward::Mlp { size }, FeedForwardWeights::Mlp(weights)) => {
                    pass.mlp(*size, weights, encoding);
                }
                _ => unreachable!("weights are loaded as the layer is described"),
            }
        }
        &encoding.residual[..rows.count() * self.config.hidden]
    }

    /// The scores of pairs by the states of their first tokens, before the sigmoid: one for each
    /// row of `states`, [rows, hidden]. None where the model scores no pairs.
    pub fn pair_scores(&self, compute: &Compute, states: &[f32]) -> Option<Vec<f32>> {
        let classifier = self.weights.encoder.as_ref()?.classifier.as_ref()?;
        let hidden = self.config.hidden;
        let rows = states.len() / hidden;
        let mut input = Activations::new();
        input.keep(self.weights.forms);
        input.set(compute, &states[..rows * hidden], rows, hidden);
        let mut pooled = vec![0.0; rows * hidden];
        multiply(compute, &input, &classifier.pooler, &mut pooled, false);
        pooled.iter_mut().for_each(|value| *value = value.tanh());
        input.set(compute, &pooled, rows, hidden);
        let mut scores = vec![0.0; rows];
        multiply(compute, &input, &classifier.output, &mut scores, false);
        Some(scores)
    }
}

/// The pages of each text, one text's behind the other's.
fn page_tables(texts: &[Text<'_>], pages: usize) -> Vec<Vec<u32>> {
    let mut next = 0;
    let tables = texts.iter().map(|text| {
        let first = next;
        next += Text::pages(text.tokens.len());
        assert!(next <= pages, "{next} pages or more of {pages}");
        (first as u32..next as u32).collect()
    });
    tables.collect()
}

/// One row for each token, and where each belongs.
struct Rows<'a> {
    attention: Vec<AttentionRow<'a>>,
    slots: Vec<RowSlot>,
}

impl<'a> Rows<'a> {
    fn of(texts: &[Text<'_>], tables: &'a [Vec<u32>]) -> Rows<'a> {
        let mut rows = Rows { attention: Vec::new(), slots: Vec::new() };
        for (text, pages) in texts.iter().zip(tables) {
            let count = text.tokens.len();
            for index in 0..count {
                let position = count as u32 - 1;
                rows.attention.push(AttentionRow { pages, position, selection: None });
                let page = pages[index / PAGE_TOKENS];
                rows.slots.push(RowSlot { page, slot: (index % PAGE_TOKENS) as u32 });
            }
        }
        rows
    }

    fn count(&self) -> usize {
        self.slots.len()
    }
}

/// One forward pass.
struct Pass<'a> {
    model: &'a Model,
    compute: &'a Compute,
    rows: &'a Rows<'a>,
}

impl Pass<'_> {
    /// residual = layer_norm(token + position + token type)
    fn embed(&self, texts: &[Text<'_>], weights: &EncoderWeights, encoding: &mut Encoding) {
        let hidden = self.model.config.hidden;
        let residual = sized(&mut encoding.residual, self.rows.count() * hidden);
        let mut rows = residual.chunks_exact_mut(hidden);
        let mut part = vec![0.0; hidden];
        // Models of single texts may have one type only.
        let last_type = weights.token_types.rows() - 1;
        for text in texts {
            for ((position, &token), row) in text.tokens.iter().enumerate().zip(rows.by_ref()) {
                self.model.weights.embedding.row(token as usize, row);
                weights.positions.row(position, &mut part);
                add(row, &part);
                let token_type = usize::from(position >= text.first).min(last_type);
                weights.token_types.row(token_type, &mut part);
                add(row, &part);
            }
        }
        self.norm(&weights.norm, encoding);
    }

    /// residual = layer_norm(residual + output(attention(qkv(residual))))
    fn attend(
        &self,
        described: &Bidirectional,
        weights: &BidirectionalWeights,
        encoding: &mut Encoding,
    ) {
        let (compute, count, hidden) = (self.compute, self.rows.count(), self.model.config.hidden);
        let stride = 3 * hidden;
        let Encoding { cache, residual, input, qkv, attended, .. } = encoding;
        let residual = &mut residual[..count * hidden];
        input.set(compute, residual, count, hidden);
        let qkv = sized(qkv, count * stride);
        weights.qkv.apply(compute, input, qkv);
        let part = |index: usize| &qkv[(index * hidden).min(count * stride)..];
        cache.store(compute, 0, &self.rows.slots, part(1), stride, part(2), stride);
        let attended = sized(attended, count * hidden);
        let call = AttentionCall {
            cache,
            layer: 0,
            rows: &self.rows.attention,
            q: qkv,
            q_stride: stride,
            heads: described.heads,
            scale: 1.0 / (described.head_size as f32).sqrt(),
            exact: weights.output.weight.kind().is_float(),
            window: None,
            sinks: None,
        };
        attention(compute, &call, attended, &mut encoding.attention);
        input.set(compute, attended, count, hidden);
        multiply(compute, input, &weights.output, residual, true);
        self.norm(&weights.norm, encoding);
    }

    /// residual = layer_norm(residual + down(gelu(up(residual))))
    fn mlp(&self, size: usize, weights: &MlpWeights, encoding: &mut Encoding) {
        let (compute, count, hidden) = (self.compute, self.rows.count(), self.model.config.hidden);
        let Encoding { residual, input, up, .. } = encoding;
        let residual = &mut residual[..count * hidden];
        input.set(compute, residual, count, hidden);
        let up = sized(up, count * size);
        multiply(compute, input, &weights.up, up, false);
        input.set_gelu(compute, up, count, size);
        multiply(compute, input, &weights.down, residual, true);
        self.norm(&weights.norm, encoding);
    }

    fn norm(&self, norm: &LayerNorm, encoding: &mut Encoding) {
        let (count, hidden) = (self.rows.count(), self.model.config.hidden);
        let residual = &mut encoding.residual[..count * hidden];
        let epsilon = self.model.config.norm_epsilon;
        layer_norm(self.compute, residual, count, hidden, &norm.weight, &norm.bias, epsilon);
    }
}

/// out (+)= weight · input + bias
fn multiply(
    compute: &Compute,
    input: &Activations,
    Biased { weight, bias }: &Biased,
    out: &mut [f32],
    accumulate: bool,
) {
    let (first_column, out_stride) = (None, weight.rows());
    let bias = Some(&bias[..]);
    matmul(
        compute,
        input,
        &mut [Product { weight, first_column, bias, out, out_stride, accumulate }],
    );
}

fn add(sum: &mut [f32], values: &[f32]) {
    sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
}
