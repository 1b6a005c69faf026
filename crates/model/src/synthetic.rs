//! Turns a shape and a seed into a GGUF file with random weights, for tests of every room above.
//!
//! The weights are scaled so that a layer's parts all matter and logits have a spread of a few
//! units; norms and biases are moved away from 1 and 0, where mistakes in them would not show. The
//! vocabulary is a valid byte-level one with a ChatML template, so that the same file can be
//! tokenised, generated from and served.

use myriad_formats::{Gguf, GgufWriter, Value};
use myriad_kernels::{BlockType, quantise};

use crate::checkpoint::Source;
use crate::config::{Config, Family};
use crate::{families, tensors};

/// Smallest vocabulary: control tokens, bytes and the results of [`MERGES`].
pub const VOCAB_MIN: usize = CONTROL_TOKENS.len() + 256 + MERGES.len();

/// Control tokens, from id 0 on, in SmolLM2's order.
pub const CONTROL_TOKENS: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

/// A few real merges, so that encoding is not bytes alone. `Ġ` stands for the space.
const MERGES: [(&str, &str); 12] = [
    ("Ġ", "t"),
    ("h", "e"),
    ("i", "n"),
    ("r", "e"),
    ("Ġ", "a"),
    ("Ġt", "he"),
    ("e", "r"),
    ("o", "n"),
    ("Ġ", "s"),
    ("a", "t"),
    ("l", "l"),
    ("o", "u"),
];

const TEMPLATE: &str = "{% for message in messages %}\
    {{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}\
    {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// Sizes of a synthetic model.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// Which family's keys and tensors.
    pub family: Family,
    /// Number of layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of one head.
    pub head_size: usize,
    /// Width of the feed-forward, of dense layers and of shared experts.
    pub feed_forward: usize,
    /// Experts of each layer, in families that have them; width [`Shape::expert_feed_forward`].
    pub experts: usize,
    /// Experts that a token uses.
    pub experts_used: usize,
    /// Width of each expert.
    pub expert_feed_forward: usize,
    /// Positions that an indexer chooses, in families that have one.
    pub indexer_top: usize,
    /// Tokens, at least [`VOCAB_MIN`].
    pub vocab: usize,
    /// Block type of all matrices; norms and biases are F32.
    pub kind: BlockType,
    /// Context length.
    pub context: usize,
    /// Without `output.weight`: the embedding is the head.
    pub tied: bool,
    /// With a layer that guesses further tokens, in families that may have one.
    pub mtp: bool,
}

impl Shape {
    /// A model of three layers (as many as it takes where only the last differs) and half a million
    /// weights or more. Columns are multiples of 256,
    /// the block of K-quants; heads are not `hidden / heads` wide where the family allows it.
    pub fn small(family: Family, kind: BlockType) -> Shape {
        let (heads, head_size) = match family {
            Family::Bert | Family::Llama | Family::Qwen2 | Family::Qwen2Moe | Family::SmolLm3 => {
                (8, 32)
            }
            Family::GptOss | Family::Qwen3 | Family::Qwen3Moe | Family::SeedOss => (8, 64),
            Family::Gemma3 => (4, 64),
            Family::DeepSeek2 | Family::DeepSeek32 => (4, 96),
            Family::Qwen3Next | Family::Qwen35 | Family::Qwen35Moe => (4, 64),
        };
        Shape {
            family,
            layers: match family {
                Family::Gemma3 => 6,
                Family::GptOss
                | Family::Qwen3Next
                | Family::Qwen35
                | Family::Qwen35Moe
                | Family::SmolLm3 => 4,
                _ => 3,
            },
            hidden: 256,
            heads,
            kv_heads: 2,
            head_size,
            feed_forward: 512,
            experts: 8,
            experts_used: 2,
            expert_feed_forward: 256,
            indexer_top: 24,
            vocab: 288,
            kind,
            context: 512,
            tied: matches!(
                family,
                Family::Bert
                    | Family::Gemma3
                    | Family::Qwen2
                    | Family::Qwen3
                    | Family::Qwen3Moe
                    | Family::SmolLm3
            ),
            mtp: false,
        }
    }

    fn is_deepseek(&self) -> bool {
        matches!(self.family, Family::DeepSeek2 | Family::DeepSeek32)
    }

    fn is_hybrid(&self) -> bool {
        matches!(self.family, Family::Qwen3Next | Family::Qwen35 | Family::Qwen35Moe)
    }

    fn has_experts(&self) -> bool {
        self.is_deepseek()
            || matches!(
                self.family,
                Family::GptOss
                    | Family::Qwen2Moe
                    | Family::Qwen3Moe
                    | Family::Qwen3Next
                    | Family::Qwen35Moe
            )
    }

    /// Tensors whose being there tells a reader something.
    fn telling_tensors(&self) -> Vec<String> {
        let mut names: Vec<String> = match self.family {
            Family::DeepSeek2 | Family::DeepSeek32 => {
                ["blk.0.attn_q_a.weight", "blk.0.ffn_gate.weight", "blk.1.exp_probs_b.bias"]
                    .map(str::to_owned)
                    .into()
            }
            Family::Bert => vec!["token_types.weight".to_owned()],
            _ => Vec::new(),
        };
        if self.mtp {
            let name = |part| format!("blk.{}.nextn.{part}.weight", self.layers);
            names.extend(["eh_proj", "shared_head_norm"].map(name));
        }
        names
    }
}

/// The bytes of a GGUF file with random weights.
pub fn gguf(shape: &Shape, seed: u64) -> Vec<u8> {
    Parts::new(shape, seed).to_bytes()
}

/// A synthetic file before it is written: tests change keys and tensors here.
#[derive(Clone)]
pub struct Parts {
    /// Keys and values, in order.
    pub metadata: Vec<(String, Value)>,
    /// Tensors, in order.
    pub tensors: Vec<Tensor>,
}

/// A tensor of a synthetic file.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// Its block type.
    pub kind: BlockType,
    /// Its shape, columns first.
    pub shape: Vec<usize>,
    /// Its values before quantisation.
    pub values: Vec<f32>,
}

impl Parts {
    /// The keys and tensors of a random model.
    pub fn new(shape: &Shape, seed: u64) -> Parts {
        let metadata = metadata(shape);
        let tensors = random_tensors(shape, &config(shape, &metadata), seed);
        Parts { metadata, tensors }
    }

    /// Sets a key, or replaces its value.
    pub fn set(&mut self, key: &str, value: Value) {
        match self.metadata.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => *old = value,
            None => self.metadata.push((key.to_owned(), value)),
        }
    }

    /// Removes a key.
    pub fn remove(&mut self, key: &str) {
        self.metadata.retain(|(name, _)| name != key);
    }

    /// The tensor of that name, which must exist.
    pub fn tensor(&mut self, name: &str) -> &mut Tensor {
        self.tensors.iter_mut().find(|tensor| tensor.name == name).expect("no such tensor")
    }

    /// The file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = GgufWriter::new();
        for (key, value) in &self.metadata {
            writer.set(key, value.clone());
        }
        for tensor in &self.tensors {
            let bytes = quantise(tensor.kind, &tensor.values);
            writer.tensor(&tensor.name, tensor.kind, &tensor.shape, bytes);
        }
        writer.to_bytes()
    }
}

fn metadata(shape: &Shape) -> Vec<(String, Value)> {
    let family = shape.family.name();
    let theta = match shape.family {
        Family::Llama => 10_000.0,
        Family::SeedOss => 10_000_000.0,
        _ => 1_000_000.0,
    };
    let mut list = vec![
        ("general.architecture".to_owned(), Value::String(family.to_owned())),
        ("general.name".to_owned(), Value::String(format!("synthetic {family}"))),
    ];
    let mut add = |key: &str, value| list.push((format!("{family}.{key}"), value));
    add("block_count", u32_value(shape.layers + usize::from(shape.mtp)));
    if shape.mtp {
        add("nextn_predict_layers", Value::U32(1));
    }
    add("context_length", u32_value(shape.context));
    add("embedding_length", u32_value(shape.hidden));
    add("feed_forward_length", u32_value(shape.feed_forward));
    add("attention.head_count", u32_value(shape.heads));
    add("attention.head_count_kv", u32_value(shape.kv_heads));
    add("attention.layer_norm_rms_epsilon", Value::F32(1e-5));
    add("rope.freq_base", Value::F32(theta));
    add("vocab_size", u32_value(shape.vocab));
    if shape.family.is_encoder() {
        add("attention.head_count_kv", u32_value(shape.heads));
        add("attention.layer_norm_epsilon", Value::F32(1e-12));
        add("attention.causal", Value::Bool(false));
        list.extend(word_pieces(shape));
        return list;
    }
    if shape.has_experts() {
        add("expert_count", u32_value(shape.experts));
        add("expert_used_count", u32_value(shape.experts_used));
        add("expert_feed_forward_length", u32_value(shape.expert_feed_forward));
    }
    match shape.family {
        // Shorter than the tests' prompts, and no multiple of a page.
        Family::Gemma3 | Family::GptOss => add("attention.sliding_window", Value::U32(40)),
        Family::Qwen2Moe | Family::Qwen3Next | Family::Qwen35Moe => {
            add("expert_shared_feed_forward_length", u32_value(shape.feed_forward));
        }
        _ => {}
    }
    if shape.is_deepseek() {
        latent_metadata(shape, &mut add);
    } else if shape.heads * shape.head_size != shape.hidden
        || shape.is_hybrid()
        || matches!(shape.family, Family::Gemma3 | Family::Qwen3 | Family::Qwen3Moe)
    {
        add("attention.key_length", u32_value(shape.head_size));
        add("attention.value_length", u32_value(shape.head_size));
        if shape.is_hybrid() {
            delta_metadata(shape, &mut add);
        }
    } else {
        add("rope.dimension_count", u32_value(shape.head_size));
    }
    list.extend(vocabulary(shape));
    list
}

/// The keys of gated delta nets: two key heads, four value heads; and of a rope that turns a
/// quarter of each head.
fn delta_metadata(shape: &Shape, add: &mut impl FnMut(&str, Value)) {
    for (key, number) in [
        ("rope.dimension_count", shape.head_size / 4),
        ("ssm.conv_kernel", 4),
        ("ssm.group_count", 2),
        ("ssm.time_step_rank", 4),
        ("ssm.state_size", 48),
        ("ssm.inner_size", 256),
    ] {
        add(key, u32_value(number));
    }
}

/// The keys of DeepSeek: heads of `head_size`, a third of which rope turns.
fn latent_metadata(shape: &Shape, add: &mut impl FnMut(&str, Value)) {
    let (rope, value) = (shape.head_size / 3, shape.head_size * 2 / 3);
    for (key, number) in [
        ("attention.q_lora_rank", shape.hidden),
        ("attention.kv_lora_rank", shape.hidden),
        ("attention.key_length_mla", shape.head_size),
        ("attention.value_length_mla", value),
        ("rope.dimension_count", rope),
        ("leading_dense_block_count", 1),
        ("expert_shared_count", 2),
        ("expert_gating_func", 2),
        ("expert_group_count", 4),
        ("expert_group_used_count", if shape.experts_used == shape.experts { 4 } else { 2 }),
    ] {
        add(key, u32_value(number));
    }
    add("expert_weights_norm", Value::Bool(true));
    add("expert_weights_scale", Value::F32(1.5));
    if shape.family == Family::DeepSeek32 {
        add("attention.indexer.head_count", Value::U32(4));
        add("attention.indexer.key_length", u32_value(value));
        add("attention.indexer.top_k", u32_value(shape.indexer_top));
    }
}

/// Control tokens, the 256 bytes in GPT-2's alphabet, a few merges, and unused ones up to `vocab`.
fn vocabulary(shape: &Shape) -> Vec<(String, Value)> {
    const CONTROL: i32 = 3;
    const NORMAL: i32 = 1;
    const UNUSED: i32 = 5;
    assert!(shape.vocab >= VOCAB_MIN, "a synthetic vocabulary has at least {VOCAB_MIN} tokens");
    let mut tokens: Vec<(String, i32)> = Vec::with_capacity(shape.vocab);
    tokens.extend(CONTROL_TOKENS.map(|token| (token.to_owned(), CONTROL)));
    tokens.extend((0..=255).map(|byte| (byte_character(byte).to_string(), NORMAL)));
    tokens.extend(MERGES.map(|(left, right)| (format!("{left}{right}"), NORMAL)));
    tokens.extend((tokens.len()..shape.vocab).map(|id| (format!("[unused {id}]"), UNUSED)));
    let merges = MERGES.map(|(left, right)| format!("{left} {right}"));
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let (texts, types): (Vec<String>, Vec<i32>) = tokens.into_iter().unzip();
    vec![
        (key("model"), Value::String("gpt2".to_owned())),
        (key("pre"), Value::String("smollm".to_owned())),
        (key("tokens"), Value::from(texts)),
        (key("token_type"), Value::from(types)),
        (key("merges"), Value::from(merges.to_vec())),
        (key("bos_token_id"), Value::U32(1)),
        (key("eos_token_id"), Value::U32(2)),
        (key("unknown_token_id"), Value::U32(0)),
        (key("padding_token_id"), Value::U32(2)),
        (key("add_bos_token"), Value::Bool(false)),
        ("tokenizer.chat_template".to_owned(), Value::String(TEMPLATE.to_owned())),
    ]
}

/// Control tokens of BERT, and each printable ASCII character: as a word's beginning, and within.
fn word_pieces(shape: &Shape) -> Vec<(String, Value)> {
    const CONTROL: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
    let printable = ('!'..='~').filter(|character| !character.is_ascii_uppercase());
    let pieces = printable.flat_map(|character| [format!("▁{character}"), character.to_string()]);
    let mut tokens: Vec<String> = CONTROL.map(str::to_owned).into_iter().chain(pieces).collect();
    assert!(shape.vocab >= tokens.len(), "this vocabulary has at least {} tokens", tokens.len());
    tokens.extend((tokens.len()..shape.vocab).map(|id| format!("▁[unused{id}]")));
    let types = (0..shape.vocab).map(|id| if id < CONTROL.len() { 3 } else { 1 });
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    vec![
        (key("model"), Value::String("bert".to_owned())),
        (key("tokens"), Value::from(tokens)),
        (key("token_type"), Value::from(types.collect::<Vec<i32>>())),
        (key("padding_token_id"), Value::U32(0)),
        (key("unknown_token_id"), Value::U32(1)),
        (key("cls_token_id"), Value::U32(2)),
        (key("seperator_token_id"), Value::U32(3)),
    ]
}

/// The printable character that GPT-2's byte-level alphabet has for a byte.
fn byte_character(byte: u8) -> char {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if printable(byte) {
        return char::from(byte);
    }
    // The others are numbered from U+0100 on, in their order.
    let index = (0..byte).filter(|&other| !printable(other)).count() as u32;
    char::from_u32(0x100 + index).unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn u32_value(value: usize) -> Value {
    Value::U32(value as u32)
}

/// What the keys describe: read from a file of keys, the vocabulary's size, and what tells.
fn config(shape: &Shape, metadata: &[(String, Value)]) -> Config {
    let mut writer = GgufWriter::new();
    for (key, value) in metadata {
        writer.set(key, value.clone());
    }
    let mut add = |name: &str, rows: usize| {
        writer.tensor(name, BlockType::F32, &[1, rows], vec![0; rows * size_of::<f32>()]);
    };
    add("token_embd.weight", shape.vocab);
    if !shape.tied {
        add("output.weight", shape.vocab);
    }
    shape.telling_tensors().iter().for_each(|name| add(name, 1));
    let gguf = Gguf::from_bytes(writer.to_bytes()).expect("the writer writes what is read");
    families::read(Source::Gguf(&gguf)).expect("a synthetic model's keys are right")
}

fn random_tensors(shape: &Shape, config: &Config, seed: u64) -> Vec<Tensor> {
    let mut maker = Maker { random: SplitMix(seed), kind: shape.kind, tensors: Vec::new() };
    for (name, size) in tensors::all(config) {
        let whole = name.trim_end_matches(".weight").trim_end_matches(".bias");
        let part = whole.rsplit('.').next().unwrap_or(whole);
        match name.ends_with(".bias") || size.len() == 1 {
            true => maker.vector(&name, &size, centre(part)),
            // Kept in F32, as all converters do: logits that tell experts apart, and convolutions.
            false if part == "ffn_gate_inp" => maker.float_matrix(&name, &size, 2.0),
            false if part == "ssm_conv1d" => maker.float_matrix(&name, &size, 1.4),
            false => maker.matrix(&name, &size, gain(part)),
        }
    }
    maker.tensors
}

/// What the numbers of a vector are around.
fn centre(part: &str) -> f32 {
    match part {
        "attn_q_norm" | "attn_k_norm" => 1.4,
        "ssm_a" => -1.0,
        part if part.ends_with("norm") => 1.0,
        _ => 0.0,
    }
}

/// The spread of a matrix's products with inputs of spread 1.
fn gain(part: &str) -> f32 {
    match part {
        // Standard deviation of logits: about this, as the last norm makes inputs of about 1.
        "token_embd" | "output" => 3.0,
        // Scores of about ±2: attention that is neither flat nor a single position.
        "attn_q" | "attn_k" | "attn_q_b" => 1.4,
        "ffn_down" | "ffn_down_exps" | "ffn_down_shexp" => 1.5,
        _ => 1.0,
    }
}

struct Maker {
    random: SplitMix,
    kind: BlockType,
    tensors: Vec<Tensor>,
}

impl Maker {
    /// A matrix, or one for each expert, whose products with inputs of spread 1 have a spread of
    /// `gain`. Columns that no block fits are of a type that fits, as in llama.cpp's files.
    fn matrix(&mut self, name: &str, shape: &[usize], gain: f32) {
        let scale = gain / (shape[0] as f32).sqrt();
        let values = (0..shape.iter().product()).map(|_| self.random.bell() * scale).collect();
        let kind = match self.kind.row_bytes(shape[0]) {
            Some(_) => self.kind,
            None => BlockType::Q8_0,
        };
        self.tensors.push(Tensor { name: name.to_owned(), kind, shape: shape.to_vec(), values });
    }

    /// The same in F32.
    fn float_matrix(&mut self, name: &str, shape: &[usize], gain: f32) {
        let kind = std::mem::replace(&mut self.kind, BlockType::F32);
        self.matrix(name, shape, gain);
        self.kind = kind;
    }

    /// Numbers around `centre`, in F32.
    fn vector(&mut self, name: &str, shape: &[usize], centre: f32) {
        const SPREAD: f32 = 0.2;
        let count = shape.iter().product();
        let values = (0..count).map(|_| centre + self.random.bell() * SPREAD).collect();
        let (name, shape) = (name.to_owned(), shape.to_vec());
        self.tensors.push(Tensor { name, kind: BlockType::F32, shape, values });
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, seedable, and the same on every machine.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number of mean 0 and spread 1: the sum of four uniform ones. Only additions of exact
    /// numbers and one product, so that every machine makes the same bits.
    fn bell(&mut self) -> f32 {
        let bits = self.next();
        let sum: i32 = (0..4).map(|part| ((bits >> (16 * part)) & 0xffff) as i32).sum();
        // Four uniform numbers of 0..65535: mean 131070, variance 4 · (65536² − 1) / 12.
        const SPREAD: f32 = 37_837.23;
        (sum - 131_070) as f32 / SPREAD
    }
}
