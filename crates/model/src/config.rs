//! Turns a model file's keys into one description: sizes, and a list of layers.
//!
//! A model is described, not programmed. Every family that Myriad knows fills the same [`Config`];
//! `forward` and `reference` follow the description and never ask for the family's name. Each enum
//! here has exactly the variants that some family uses today; a new family adds the axis it needs.

use myriad_kernels::{Activation, DeltaShape, KvShape, RopePairing};

use crate::checkpoint::{Checkpoint, Source};
use crate::error::ModelError;
use crate::pooling::Pooling;
use crate::precision::Precision;
use crate::{families, tensors};

/// A family of models: which keys and tensors a file has, and how they are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// BERT and what is built like it: MiniLM, BGE, E5, GTE and other embedders; cross-encoders.
    Bert,
    /// Llama 1 to 3.x, SmolLM2, Mistral 7B, and everything else that converters call `llama`.
    Llama,
    /// Qwen2 and Qwen2.5, dense.
    Qwen2,
    /// Qwen1.5 and Qwen2 with a mixture of experts: Qwen1.5-MoE-A2.7B, Qwen2-57B-A14B.
    Qwen2Moe,
    /// Qwen3, dense.
    Qwen3,
    /// Qwen3 with a mixture of experts: Qwen3-30B-A3B, Qwen3-235B-A22B, Qwen3-Coder.
    Qwen3Moe,
    /// Qwen3-Next: gated delta nets in most layers, and a mixture of experts.
    Qwen3Next,
    /// Qwen3.5, dense: gated delta nets in most layers.
    Qwen35,
    /// Qwen3.5 with a mixture of experts.
    Qwen35Moe,
    /// DeepSeek V2, V2.5, V2-Lite, V3, V3.1 and R1; Kimi K2.
    DeepSeek2,
    /// DeepSeek V3.2, which chooses the positions that it attends to.
    DeepSeek32,
    /// Gemma 3, the part that reads and writes text.
    Gemma3,
    /// OpenAI's gpt-oss, 20B and 120B.
    GptOss,
    /// ByteDance's Seed-OSS 36B.
    SeedOss,
    /// SmolLM3.
    SmolLm3,
}

impl Family {
    /// Every family that can be loaded.
    pub const ALL: [Family; 15] = [
        Family::Bert,
        Family::DeepSeek2,
        Family::DeepSeek32,
        Family::Gemma3,
        Family::GptOss,
        Family::Llama,
        Family::Qwen2,
        Family::Qwen2Moe,
        Family::Qwen3,
        Family::Qwen3Moe,
        Family::Qwen3Next,
        Family::Qwen35,
        Family::Qwen35Moe,
        Family::SeedOss,
        Family::SmolLm3,
    ];

    /// Whether its models read texts whole instead of continuing them.
    pub fn is_encoder(self) -> bool {
        self == Family::Bert
    }

    /// The name that GGUF files carry in `general.architecture`; also the prefix of their keys.
    pub fn name(self) -> &'static str {
        match self {
            Family::Bert => "bert",
            Family::DeepSeek2 => "deepseek2",
            Family::DeepSeek32 => "deepseek32",
            Family::Gemma3 => "gemma3",
            Family::GptOss => "gpt-oss",
            Family::Llama => "llama",
            Family::Qwen2 => "qwen2",
            Family::Qwen2Moe => "qwen2moe",
            Family::Qwen3 => "qwen3",
            Family::Qwen3Moe => "qwen3moe",
            Family::Qwen3Next => "qwen3next",
            Family::Qwen35 => "qwen35",
            Family::Qwen35Moe => "qwen35moe",
            Family::SeedOss => "seed_oss",
            Family::SmolLm3 => "smollm3",
        }
    }

    /// The family of that name, if Myriad has it.
    pub fn parse(name: &str) -> Option<Family> {
        Family::ALL.into_iter().find(|family| family.name() == name)
    }

    /// The names that `config.json` has in `model_type`.
    pub fn model_types(self) -> &'static [&'static str] {
        match self {
            Family::Bert => &["bert"],
            Family::DeepSeek2 => &["deepseek_v2", "deepseek_v3"],
            Family::DeepSeek32 => &["deepseek_v32"],
            Family::Gemma3 => &["gemma3_text"],
            Family::GptOss => &["gpt_oss"],
            Family::Llama => &["llama", "mistral"],
            Family::Qwen2 => &["qwen2"],
            Family::Qwen2Moe => &["qwen2_moe"],
            Family::Qwen3 => &["qwen3"],
            Family::Qwen3Moe => &["qwen3_moe"],
            Family::Qwen3Next => &["qwen3_next"],
            Family::Qwen35 => &["qwen3_5_text"],
            Family::Qwen35Moe => &["qwen3_5_moe_text"],
            Family::SeedOss => &["seed_oss"],
            Family::SmolLm3 => &["smollm3"],
        }
    }

    /// The family of that `model_type`, if Myriad has it.
    pub fn of_model_type(name: &str) -> Option<Family> {
        Family::ALL.into_iter().find(|family| family.model_types().contains(&name))
    }
}

/// What a model is: everything that `forward` must know besides the weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The family whose reader filled this description.
    pub family: Family,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Number of tokens in the vocabulary: rows of the embedding and of the output head.
    pub vocab: usize,
    /// Number of positions that the model was trained for.
    pub context_length: usize,
    /// Added to the mean square in every RMS norm, and to the variance in every layer norm.
    pub norm_epsilon: f32,
    /// Factor of the embedding's rows where they enter the residual stream.
    pub embedding_scale: f32,
    /// The output head is the embedding itself: the file has no `output.weight`. Encoders, which
    /// have no head, have no such tensor either.
    pub tied_output: bool,
    /// The different rotary embeddings of this model; layers refer to them by index.
    pub ropes: Vec<RopeConfig>,
    /// The layers, first to last.
    pub layers: Vec<LayerConfig>,
    /// How the last states of a text become its vector.
    pub pooling: Pooling,
    /// What else a model has that reads whole texts and continues none; none: a decoder.
    pub encoder: Option<Encoder>,
    /// What guesses the token after the next, where the file has it.
    pub mtp: Option<Mtp>,
}

/// Multi-token prediction (DeepSeek-V3, arXiv:2412.19437, section 2.2): one more layer, behind the
/// last. Of a position's state, as the output head sees it, and of the token behind it, it makes
/// the state that says the token after that.
#[derive(Clone, Debug, PartialEq)]
pub struct Mtp {
    /// The layer; its input is `eh_proj([rms_norm(embedding), rms_norm(state)])`.
    pub layer: LayerConfig,
    /// It has an embedding of its own, instead of the model's.
    pub embedding: bool,
    /// The norm before its output head is its own, instead of the model's.
    pub norm: bool,
    /// It has an output head of its own, instead of the model's.
    pub head: bool,
    /// How many such layers the file has. Only the first is used: applied to its own states, it
    /// guesses as many tokens as are wanted.
    pub layers: usize,
}

/// What encoders have besides (Devlin et al. 2018, arXiv:1810.04805): each position has an
/// embedding, of which there are [`Config::context_length`], and so has each text of a pair; their
/// sum with the token's goes through a layer norm.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoder {
    /// Rows of the embedding that tells the texts of a pair apart.
    pub token_types: usize,
    /// Behind the layers, a pair gets one score, from the state of its first token
    /// (cross-encoders).
    pub classifier: bool,
}

/// One layer: `x += mixer(rms_norm(x))`, then `x += feed_forward(rms_norm(x))`; with norms behind
/// the parts too, `x += rms_norm(mixer(rms_norm(x)))` and so on. In encoders
/// `x = layer_norm(x + mixer(x))`, then `x = layer_norm(x + feed_forward(x))`.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerConfig {
    /// The part that lets positions see one another.
    pub mixer: Mixer,
    /// The part that works on each position alone.
    pub feed_forward: FeedForward,
    /// What each part adds goes through a norm of its own first (Gemma).
    pub post_norms: bool,
}

/// How positions see one another.
#[derive(Clone, Debug, PartialEq)]
pub enum Mixer {
    /// Grouped-query attention (Ainslie et al. 2023); multi-head attention where the counts agree.
    Gqa(Gqa),
    /// Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434).
    Mla(Mla),
    /// A gated delta net (Yang et al. 2024, arXiv:2412.06464): a memory of fixed size, which each
    /// position changes.
    GatedDelta(DeltaShape),
    /// Multi-head attention of all positions of a text to all (encoders). All products have biases.
    Bidirectional(Bidirectional),
}

/// Attention in both directions.
#[derive(Clone, Debug, PartialEq)]
pub struct Bidirectional {
    /// Heads of queries, keys and values alike.
    pub heads: usize,
    /// Width of one head: `heads * head_size` is the model's `hidden`. Scores are divided by its
    /// root.
    pub head_size: usize,
}

/// Grouped-query attention over all earlier positions, or a window of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Gqa {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of one head. `heads * head_size` need not be the model's `hidden`.
    pub head_size: usize,
    /// Q, K and V are products with a bias.
    pub qkv_bias: bool,
    /// So is what attention adds to the residual stream.
    pub output_bias: bool,
    /// A score for each head that takes part in the softmax and adds nothing.
    pub sinks: bool,
    /// What attention gives goes through a gate, `sigmoid(gate · x)`, element by element.
    pub gate: bool,
    /// Each head of Q and K goes through its own RMS norm before rope.
    pub qk_norm: bool,
    /// Index into [`Config::ropes`]; none where positions are told by causality alone (NoPE).
    pub rope: Option<usize>,
    /// Factor of the scores before the softmax.
    pub scale: f32,
    /// How many positions a row sees, itself included; none: all.
    pub window: Option<usize>,
}

impl Gqa {
    /// Columns of Q: `heads * head_size`.
    pub fn q_size(&self) -> usize {
        self.heads * self.head_size
    }

    /// Columns of K, and of V: `kv_heads * head_size`.
    pub fn kv_size(&self) -> usize {
        self.kv_heads * self.head_size
    }

    /// Columns of Q, K and V side by side, and of the gate behind them.
    pub fn qkv_size(&self) -> usize {
        self.gate_column() + if self.gate { self.q_size() } else { 0 }
    }

    /// Where the gate begins among those columns.
    pub fn gate_column(&self) -> usize {
        self.q_size() + 2 * self.kv_size()
    }
}

/// Latent attention: keys and values of all heads are products of one latent for each position, and
/// that is what the cache keeps, beside one part of a key that rope turns and all heads share.
#[derive(Clone, Debug, PartialEq)]
pub struct Mla {
    /// Query heads.
    pub heads: usize,
    /// Width of the latent that queries are made of; none where they are one product.
    pub q_rank: Option<usize>,
    /// Width of the latent of keys and values.
    pub kv_rank: usize,
    /// Elements of each head's query and key that know nothing of positions.
    pub nope_size: usize,
    /// Elements behind them, which rope turns.
    pub rope_size: usize,
    /// Width of each head's value.
    pub value_size: usize,
    /// Index into [`Config::ropes`].
    pub rope: usize,
    /// Factor of the scores before the softmax.
    pub scale: f32,
    /// Chooses the positions that are attended to; none: all.
    pub indexer: Option<Indexer>,
}

impl Mla {
    /// Columns of Q: `heads * (nope_size + rope_size)`.
    pub fn q_size(&self) -> usize {
        self.heads * self.head_size()
    }

    /// Width of one head's query: `nope_size + rope_size`.
    pub fn head_size(&self) -> usize {
        self.nope_size + self.rope_size
    }

    /// Elements that the cache keeps of a position: `kv_rank + rope_size`.
    pub fn latent_size(&self) -> usize {
        self.kv_rank + self.rope_size
    }

    /// Columns of the first products, side by side: the queries or their latent, the latent of keys
    /// and values with the turned part.
    pub fn first_size(&self) -> usize {
        self.q_rank.unwrap_or(self.q_size()) + self.latent_size()
    }

    /// Columns of an indexer's first products: its key, and a weight for each of its heads.
    pub fn index_size(&self) -> usize {
        self.indexer.as_ref().map_or(0, |indexer| indexer.head_size + indexer.heads)
    }
}

/// The lightning indexer of DeepSeek-V3.2: small heads whose scores say which positions are worth
/// attending to (`sum over heads of weight · relu(query · key)`).
#[derive(Clone, Debug, PartialEq)]
pub struct Indexer {
    /// Its heads, which share one key.
    pub heads: usize,
    /// Width of a query and of the key.
    pub head_size: usize,
    /// Positions that are attended to.
    pub top: usize,
    /// Index into [`Config::ropes`], for the first elements of queries and keys.
    pub rope: usize,
}

/// How each position is worked on alone.
#[derive(Clone, Debug, PartialEq)]
pub enum FeedForward {
    /// `down(f(gate(x)) * up(x))` (Shazeer 2020).
    Dense {
        /// Rows of gate and of up, columns of down.
        size: usize,
        /// The `f`: SiLU makes SwiGLU, GELU makes GeGLU.
        activation: Activation,
    },
    /// `down(gelu(up(x)))`, with biases, the GELU exact (encoders).
    Mlp {
        /// Rows of up, columns of down.
        size: usize,
    },
    /// The weighted sum of a few of many SwiGLUs (Shazeer et al. 2017).
    Moe(Moe),
}

impl FeedForward {
    /// Weights of the matrices that one token meets in a model of width `hidden`.
    pub fn weights_per_token(&self, hidden: usize) -> usize {
        match self {
            FeedForward::Dense { size, .. } => 3 * hidden * size,
            FeedForward::Mlp { size } => 2 * hidden * size,
            FeedForward::Moe(moe) => {
                let shared = moe
                    .shared
                    .as_ref()
                    .map_or(0, |shared| 3 * shared.size + usize::from(shared.gate));
                hidden * (moe.experts + 3 * moe.used * moe.size + shared)
            }
        }
    }
}

/// A mixture of experts: a router chooses, for each token, which experts work on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Moe {
    /// Experts to choose from.
    pub experts: usize,
    /// Experts that work on a token: 1 to `experts`.
    pub used: usize,
    /// Width of each expert, as a dense feed-forward's.
    pub size: usize,
    /// The function in each expert, as in a dense feed-forward.
    pub activation: Activation,
    /// The router and the three products of each expert have biases.
    pub bias: bool,
    /// How experts are chosen and weighted.
    pub router: Router,
    /// One more expert, which works on every token.
    pub shared: Option<SharedExpert>,
}

/// How experts are chosen and weighted by the router's logits, one for each expert: logits become
/// scores, the largest are used (of equal ones the first), their scores become weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Router {
    /// What scores are.
    pub scores: Scores,
    /// A number for each expert is added to its score for the choice, not for its weight.
    pub selection_bias: bool,
    /// Experts are chosen from a few of several groups.
    pub groups: Option<Groups>,
    /// The weights of the used ones are divided by their sum.
    pub renormalise: bool,
    /// Factor of the weights.
    pub scale: f32,
}

impl Router {
    /// The router of the Qwens: the softmax's largest.
    pub fn softmax(renormalise: bool) -> Router {
        Router {
            scores: Scores::Softmax,
            selection_bias: false,
            groups: None,
            renormalise,
            scale: 1.0,
        }
    }
}

/// How a router's logits become scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scores {
    /// The softmax over all experts.
    Softmax,
    /// Each expert's sigmoid.
    Sigmoid,
}

/// Neighbouring experts form groups, of which the best are open to choice. (Devices of a cluster,
/// when DeepSeek was trained.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Groups {
    /// How many; divides the experts.
    pub count: usize,
    /// How many are open.
    pub used: usize,
    /// A group is as good as the sum of so many of its largest scores: 1 in V2, 2 in V3.
    pub counted: usize,
}

/// An expert that works on every token.
#[derive(Clone, Debug, PartialEq)]
pub struct SharedExpert {
    /// Its width.
    pub size: usize,
    /// It is weighted by `sigmoid(gate · x)`.
    pub gate: bool,
}

/// A rotary position embedding (Su et al. 2021), its scaling already folded in.
#[derive(Clone, Debug, PartialEq)]
pub struct RopeConfig {
    /// How many elements of each head turn, from the first on; half as many pairs.
    pub dims: usize,
    /// Base of the angles: pair `i` turns by `position * theta^(-2i/dims) / divisors[i]`.
    pub theta: f32,
    /// Which two elements of a head form a pair.
    pub pairing: RopePairing,
    /// One divisor per pair: linear, Llama 3 and YaRN scaling all come down to these.
    pub divisors: Option<Vec<f32>>,
    /// Factor of all cosines and sines: YaRN's, where it is not a factor of whole scores.
    pub magnitude: f32,
}

impl Config {
    /// Reads and checks a file's keys and the list of its tensors; touches no weights.
    ///
    /// # Errors
    /// [`ModelError`] names the key or tensor, its value, and what would be right. A file that
    /// passes has every tensor that [`Model::load`](crate::Model::load) needs, in its right shape.
    pub fn read<'a>(source: impl Into<Source<'a>>) -> Result<Config, ModelError> {
        let source = source.into();
        let config = families::read(source)?;
        tensors::check(&config, &Checkpoint::of(source, &config))?;
        Ok(config)
    }

    /// Bytes of the weights of the file that this was read from, as the types that `precision`
    /// says; packed ones take about as much.
    ///
    /// # Errors
    /// [`ModelError`] where the file is another one.
    pub fn weight_bytes<'a>(
        &self,
        source: impl Into<Source<'a>>,
        precision: Precision,
    ) -> Result<u64, ModelError> {
        let file = Checkpoint::of(source.into(), self).with(precision);
        Ok(tensors::bytes(tensors::expected(self), &file)? as u64)
    }

    /// The same of the layer that guesses further tokens; 0 where there is none.
    ///
    /// # Errors
    /// As of [`Config::weight_bytes`].
    pub fn mtp_weight_bytes<'a>(
        &self,
        source: impl Into<Source<'a>>,
        precision: Precision,
    ) -> Result<u64, ModelError> {
        let file = Checkpoint::of(source.into(), self).with(precision);
        Ok(tensors::bytes(tensors::expected_of_mtp(self), &file)? as u64)
    }

    /// What each layer keeps of a token in the KV cache, layer by layer. An indexer keeps its keys
    /// in one more behind its layer's.
    pub fn kv_shapes(&self) -> Vec<KvShape> {
        self.layers.iter().flat_map(|layer| layer.mixer.kv_shapes()).collect()
    }

    /// What the layer that guesses further tokens keeps of a token; nothing where there is none.
    pub fn mtp_kv_shapes(&self) -> Vec<KvShape> {
        self.mtp.iter().flat_map(|mtp| mtp.layer.mixer.kv_shapes()).collect()
    }

    /// What each layer keeps of a whole sequence; none where it keeps keys and values.
    pub fn state_shapes(&self) -> Vec<Option<DeltaShape>> {
        let shape = |layer: &LayerConfig| match layer.mixer {
            Mixer::GatedDelta(shape) => Some(shape),
            Mixer::Gqa(_) | Mixer::Mla(_) | Mixer::Bidirectional(_) => None,
        };
        self.layers.iter().map(shape).collect()
    }
}

impl Mixer {
    /// Weights of the matrices that one token meets in a model of width `hidden`.
    pub fn weights_per_token(&self, hidden: usize) -> usize {
        match self {
            Mixer::Gqa(gqa) => hidden * (gqa.qkv_size() + gqa.q_size()),
            Mixer::Mla(mla) => {
                let index_queries = mla.indexer.as_ref().map_or(0, |i| i.heads * i.head_size);
                let of_latent = mla.q_rank.map_or(0, |rank| rank * (mla.q_size() + index_queries));
                let of_heads = mla.heads * mla.kv_rank * (mla.nope_size + mla.value_size);
                let output = mla.heads * mla.value_size;
                hidden * (mla.first_size() + mla.index_size() + output) + of_latent + of_heads
            }
            Mixer::GatedDelta(shape) => {
                let gates = shape.value_width() + 2 * shape.value_heads;
                hidden * (shape.channels() + gates + shape.value_width())
            }
            Mixer::Bidirectional(_) => 4 * hidden * hidden,
        }
    }

    /// How many layers of the cache are this layer's.
    pub(crate) fn cache_layers(&self) -> usize {
        match self {
            Mixer::Gqa(_) => 1,
            Mixer::Mla(mla) => 1 + usize::from(mla.indexer.is_some()),
            Mixer::GatedDelta(_) | Mixer::Bidirectional(_) => 0,
        }
    }

    /// What the cache keeps of a token, for this layer.
    pub(crate) fn kv_shapes(&self) -> Vec<KvShape> {
        match self {
            Mixer::Gqa(Gqa { kv_heads, head_size, .. }) => {
                let (kv_heads, key_size, value_size) = (*kv_heads, *head_size, *head_size);
                vec![KvShape { kv_heads, key_size, value_size }]
            }
            Mixer::Mla(mla) => {
                let (key_size, value_size) = (mla.latent_size(), mla.kv_rank);
                let mut shapes = vec![KvShape { kv_heads: 1, key_size, value_size }];
                if let Some(indexer) = &mla.indexer {
                    let key_size = indexer.head_size;
                    shapes.push(KvShape { kv_heads: 1, key_size, value_size: 0 });
                }
                shapes
            }
            // An encoder keeps nothing from one text to the next.
            Mixer::GatedDelta(_) | Mixer::Bidirectional(_) => Vec::new(),
        }
    }
}
