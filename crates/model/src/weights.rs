//! Turns a model's description into its packed weights, laid out as `forward` uses them.

mod load;
mod packed;

pub(crate) use load::{load, load_mtp};
pub(crate) use packed::Packed;

use std::sync::atomic::AtomicU64;

use myriad_kernels::{Activations, Compute, DeltaWeights, Forms, Matrix, Product, matmul_beside};

/// All weights of a model.
pub(crate) struct Weights {
    /// [vocab, hidden]; read row by row, and as the output head where that is tied.
    pub embedding: Matrix,
    /// [vocab, hidden]; none where the embedding is the output head.
    pub output: Option<Matrix>,
    /// [hidden]; empty in encoders, which have no head.
    pub output_norm: Vec<f32>,
    /// What encoders have around their layers.
    pub encoder: Option<EncoderWeights>,
    pub layers: Vec<Layer>,
    /// What the matrices are multiplied by.
    pub forms: Forms,
    /// Bytes held in memory.
    pub held_bytes: usize,
    /// Bytes, in blocks of the types that weights were loaded as, that each decoded token reads.
    pub bytes_per_token: usize,
}

impl Weights {
    /// The output head.
    pub fn head(&self) -> &Matrix {
        self.output.as_ref().unwrap_or(&self.embedding)
    }
}

/// Weights of what guesses the token after the next ([`Mtp`](crate::config::Mtp)).
pub(crate) struct MtpWeights {
    /// [vocab, hidden]; none: the model's.
    pub embedding: Option<Matrix>,
    /// Of a token's embedding. [hidden]
    pub token_norm: Vec<f32>,
    /// Of a position's state. [hidden]
    pub state_norm: Vec<f32>,
    /// Of both, the token's first. [hidden, 2 * hidden]
    pub joined: Matrix,
    pub layer: Layer,
    /// [hidden]; none: the model's.
    pub norm: Option<Vec<f32>>,
    /// [vocab, hidden]; none: the model's.
    pub head: Option<Matrix>,
    /// What these matrices are multiplied by.
    pub forms: Forms,
    /// Bytes held in memory.
    pub held_bytes: usize,
    /// Bytes that each guess reads, without the model's head.
    pub bytes_per_token: usize,
}

/// The weights of one layer.
pub(crate) struct Layer {
    pub mixer: MixerWeights,
    pub feed_forward: FeedForwardWeights,
}

/// Weights of a [`Mixer`](crate::config::Mixer), one variant for each of its.
pub(crate) enum MixerWeights {
    Gqa(GqaWeights),
    Mla(MlaWeights),
    GatedDelta(DeltaNetWeights),
    Bidirectional(BidirectionalWeights),
}

/// What encoders have around their layers.
pub(crate) struct EncoderWeights {
    /// [context, hidden]
    pub positions: Matrix,
    /// [token types, hidden]
    pub token_types: Matrix,
    /// Of the sum of the three embeddings.
    pub norm: LayerNorm,
    pub classifier: Option<ClassifierWeights>,
}

/// What makes a score of a pair's first state.
pub(crate) struct ClassifierWeights {
    /// [hidden, hidden]
    pub pooler: Biased,
    /// [1, hidden]
    pub output: Biased,
}

/// A product and its bias. [rows, columns], [rows]
pub(crate) struct Biased {
    pub weight: Matrix,
    pub bias: Vec<f32>,
}

/// Scale and shift of a layer norm. [hidden]
pub(crate) struct LayerNorm {
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
}

/// Weights of attention in both directions, and of the norm behind it.
pub(crate) struct BidirectionalWeights {
    /// [3 * hidden, hidden]
    pub qkv: Fused,
    /// [hidden, hidden]
    pub output: Biased,
    pub norm: LayerNorm,
}

/// Weights of a feed-forward without a gate, and of the norm behind it.
pub(crate) struct MlpWeights {
    /// [size, hidden]
    pub up: Biased,
    /// [hidden, size]
    pub down: Biased,
    pub norm: LayerNorm,
}

/// Weights of grouped-query attention.
pub(crate) struct GqaWeights {
    /// [hidden]
    pub norm: Vec<f32>,
    /// [q + k + v, hidden]
    pub qkv: Fused,
    /// [head_size] each, for Q and for K.
    pub qk_norms: Option<[Vec<f32>; 2]>,
    /// [heads]
    pub sinks: Option<Vec<f32>>,
    /// [hidden, q]
    pub output: Matrix,
    /// [hidden]
    pub output_bias: Option<Vec<f32>>,
    /// [hidden], for what is added to the residual stream.
    pub post_norm: Option<Vec<f32>>,
}

/// Weights of a gated delta net.
pub(crate) struct DeltaNetWeights {
    /// [hidden]
    pub norm: Vec<f32>,
    /// Queries, keys and values before the convolution, the gate of the output; then what decides
    /// how much is learnt and how much is forgotten, in F32: errors there stay in the memory.
    /// [channels + value width + 2 * value heads, hidden]
    pub first: Fused,
    pub recurrence: DeltaWeights,
    /// [value_size]
    pub output_norm: Vec<f32>,
    /// [hidden, value width]
    pub output: Matrix,
}

/// Weights of latent attention.
pub(crate) struct MlaWeights {
    /// [hidden]
    pub norm: Vec<f32>,
    /// The queries or their latent, then the latent of keys and values with the turned part.
    /// [q or q_rank + kv_rank + rope_size, hidden]
    pub first: Fused,
    /// Norm and product of the queries' latent. [q_rank], [q, q_rank]
    pub q_latent: Option<(Vec<f32>, Matrix)>,
    /// [kv_rank]
    pub kv_norm: Vec<f32>,
    /// Of each head: its queries as queries for latents. [kv_rank, nope_size]
    pub k_b: Vec<Matrix>,
    /// Of each head: its values from latents. [value_size, kv_rank]
    pub v_b: Vec<Matrix>,
    /// [hidden, heads * value_size]
    pub output: Matrix,
    pub indexer: Option<IndexerWeights>,
}

/// Weights of an indexer.
pub(crate) struct IndexerWeights {
    /// [heads * head_size, q_rank]
    pub q_b: Matrix,
    /// The key, then a weight for each head, in F32: a small difference here is another position
    /// there. [head_size + heads, hidden]
    pub key_and_weights: Matrix,
    /// Scale and shift of the key's layer norm. [head_size]
    pub norm: [Vec<f32>; 2],
}

/// Weights of a [`FeedForward`](crate::config::FeedForward), one variant for each of its.
pub(crate) enum FeedForwardWeights {
    Dense(DenseWeights),
    Mlp(MlpWeights),
    Moe(MoeWeights),
}

/// Weights of one SwiGLU behind its norm.
pub(crate) struct DenseWeights {
    /// [hidden]
    pub norm: Vec<f32>,
    pub swiglu: SwiGlu,
    /// [hidden], for what is added to the residual stream.
    pub post_norm: Option<Vec<f32>>,
}

/// Weights of a mixture of experts.
pub(crate) struct MoeWeights {
    /// [hidden]
    pub norm: Vec<f32>,
    /// [experts, hidden], and one row more for the gate of the shared expert. Always in F32: a
    /// small difference here is another expert there.
    pub router: Matrix,
    /// Added to the router's logits. [experts]
    pub router_bias: Option<Vec<f32>>,
    /// Added to the router's scores, for the choice alone. [experts]
    pub selection_bias: Option<Vec<f32>>,
    pub experts: Vec<SwiGlu>,
    pub shared: Option<SwiGlu>,
    /// Tokens that each expert has worked on since loading. The one thing that a forward pass
    /// changes here, and nothing that it reads.
    pub used: Vec<AtomicU64>,
}

/// Weights of SwiGLU.
pub(crate) struct SwiGlu {
    /// [gate + up, hidden]
    pub gate_up: Fused,
    /// [hidden, size]
    pub down: Matrix,
    /// [hidden]
    pub down_bias: Option<Vec<f32>>,
}

/// Several weights with the same input and their outputs side by side. One matrix where the file
/// stores them in one block type, else (`Q4_K_M` files keep half of the V in Q6_K) a few.
pub(crate) struct Fused {
    parts: Vec<Part>,
    /// Rows of all parts together.
    rows: usize,
}

struct Part {
    weight: Matrix,
    /// [weight.rows()]
    bias: Option<Vec<f32>>,
}

impl Fused {
    /// Puts one more matrix behind the others.
    fn push(&mut self, weight: Matrix) {
        self.rows += weight.rows();
        self.parts.push(Part { weight, bias: None });
    }

    /// The matrix, where it is one without a bias.
    pub fn only(&self) -> Option<&Matrix> {
        match &self.parts[..] {
            [Part { weight, bias: None }] => Some(weight),
            _ => None,
        }
    }

    /// out = x · weightᵀ + bias, in one parallel region. out: [x.rows(), rows]
    pub fn apply(&self, compute: &Compute, x: &Activations, out: &mut [f32]) {
        let parts = self.parts.iter().map(|part| (&part.weight, part.bias.as_deref()));
        matmul_beside(compute, x, parts, out);
    }

    /// The products of [`apply`](Fused::apply) for one row, to be put into one parallel region with
    /// others of the same input. out: [rows]
    pub fn products_of_row<'a>(&'a self, mut out: &'a mut [f32], products: &mut Vec<Product<'a>>) {
        for part in &self.parts {
            let width = part.weight.rows();
            let (place, rest) = out.split_at_mut(width);
            out = rest;
            products.push(Product {
                weight: &part.weight,
                first_column: None,
                bias: part.bias.as_deref(),
                out: place,
                out_stride: width,
                accumulate: false,
            });
        }
    }
}
