//! Turns the keys of each GGUF family into a `Config`: one reader function per family.
//!
//! The names of keys are those of llama.cpp's `llama-arch.cpp`; what they mean was read in its
//! `llama-model.cpp` (`load_hparams`) and, per family, in `models/{llama,qwen2,qwen3}.cpp`.

use myriad_formats::{Gguf, Value};
use myriad_kernels::RopePairing;

use crate::config::{Config, Family, FeedForward, Gqa, LayerConfig, Mixer, RopeConfig};
use crate::error::ModelError;
use crate::tensors;

/// Most layers of a model. The deepest published ones have about 130.
pub const LAYERS_MAX: usize = 1024;
/// Largest width, feed-forward width and number of heads: about ten times what any published dense
/// model has, and small enough that no product of two sizes wraps.
pub const SIZE_MAX: u32 = 1 << 20;
/// Longest context: four times the longest published (10 million positions of Llama 4 aside).
pub const CONTEXT_MAX: u32 = 1 << 22;
/// Widest head: the kernels keep one head's accumulators in registers and a small stack buffer.
pub const HEAD_SIZE_MAX: usize = 512;

/// Reads the keys of a file of any family.
pub(crate) fn read(gguf: &Gguf) -> Result<Config, ModelError> {
    let found = gguf.metadata().str("general.architecture")?;
    let Some(family) = Family::parse(found) else {
        let known = Family::ALL.map(Family::name).join(", ");
        return Err(ModelError::UnknownFamily { found: shorten(found), known });
    };
    let keys = Keys { gguf, family };
    match family {
        Family::Llama => llama(&keys),
        Family::Qwen2 => qwen2(&keys),
        Family::Qwen3 => qwen3(&keys),
    }
}

/// Llama: rope over adjacent pairs, because the converter permutes the rows of Q and K so; Llama
/// 3.x carries its divisors as a tensor. Some relatives have biases on Q, K and V: told by the
/// file.
fn llama(keys: &Keys<'_>) -> Result<Config, ModelError> {
    decoder(
        keys,
        Traits {
            pairing: RopePairing::Adjacent,
            rope_freqs: true,
            qkv_bias: keys.gguf.tensor("blk.0.attn_q.bias").is_some(),
            qk_norm: false,
        },
    )
}

/// Qwen2 and 2.5: rope over halves, biases on Q, K and V.
fn qwen2(keys: &Keys<'_>) -> Result<Config, ModelError> {
    decoder(
        keys,
        Traits { pairing: RopePairing::Halves, rope_freqs: false, qkv_bias: true, qk_norm: false },
    )
}

/// Qwen3: rope over halves, no biases, an RMS norm on each head of Q and K.
fn qwen3(keys: &Keys<'_>) -> Result<Config, ModelError> {
    decoder(
        keys,
        Traits { pairing: RopePairing::Halves, rope_freqs: false, qkv_bias: false, qk_norm: true },
    )
}

/// What tells the dense decoders apart.
struct Traits {
    pairing: RopePairing,
    rope_freqs: bool,
    qkv_bias: bool,
    qk_norm: bool,
}

/// A decoder of equal layers: GQA, then SwiGLU, each behind an RMS norm.
fn decoder(keys: &Keys<'_>, traits: Traits) -> Result<Config, ModelError> {
    let layers = keys.layer_count()?;
    let hidden = keys.size("embedding_length", SIZE_MAX)?;
    let feed_forward = keys.width_of_layers("feed_forward_length", layers)?;
    let context_length = keys.size("context_length", CONTEXT_MAX)? as usize;
    let norm_epsilon = keys.epsilon("attention.layer_norm_rms_epsilon")?;
    keys.refuse_experts()?;
    keys.refuse_window(context_length)?;

    let (heads, kv_heads) = keys.heads(layers)?;
    let head_size = keys.head_size(hidden, heads)?;
    let (rope, rope_magnitude) = keys.rope(&traits, head_size, context_length)?;
    let mixer = Gqa {
        heads: heads as usize,
        kv_heads: kv_heads as usize,
        head_size,
        qkv_bias: traits.qkv_bias,
        qk_norm: traits.qk_norm,
        rope: 0,
        // Rope turns whole heads here, so a factor on its cosines and sines is one on q and on k.
        scale: rope_magnitude * rope_magnitude / (head_size as f32).sqrt(),
    };
    let layer = LayerConfig {
        mixer: Mixer::Gqa(mixer),
        feed_forward: FeedForward::Dense { size: feed_forward as usize },
    };
    Ok(Config {
        family: keys.family,
        hidden: hidden as usize,
        vocab: keys.vocab()?,
        context_length,
        norm_epsilon,
        tied_output: keys.gguf.tensor("output.weight").is_none(),
        ropes: vec![rope],
        layers: vec![layer; layers],
    })
}

/// A file's keys, read with the family's prefix and checked one by one.
struct Keys<'a> {
    gguf: &'a Gguf,
    family: Family,
}

impl Keys<'_> {
    /// The full name of a key.
    fn name(&self, key: &str) -> String {
        format!("{}.{key}", self.family.name())
    }

    fn optional_u32(&self, key: &str) -> Result<Option<u32>, ModelError> {
        Ok(self.gguf.metadata().optional_u32(&self.name(key))?)
    }

    fn optional_f32(&self, key: &str) -> Result<Option<f32>, ModelError> {
        Ok(self.gguf.metadata().optional_f32(&self.name(key))?)
    }

    /// A required size from 1 to `max`.
    fn size(&self, key: &str, max: u32) -> Result<u32, ModelError> {
        let key = self.name(key);
        let value = self.gguf.metadata().u32(&key)?;
        in_range(key, value, max)
    }

    /// A required width that may be given once per layer.
    fn width_of_layers(&self, key: &str, layers: usize) -> Result<u32, ModelError> {
        let value = self.same_for_all(key, layers)?;
        let key = self.name(key);
        match value {
            Some(value) => in_range(key, value, SIZE_MAX),
            // Says that the key is missing, in the words that all missing keys have.
            None => Ok(self.gguf.metadata().u32(&key)?),
        }
    }

    fn layer_count(&self) -> Result<usize, ModelError> {
        let key = self.name("block_count");
        let value = self.gguf.metadata().u32(&key)?;
        if value == 0 || value as usize > LAYERS_MAX {
            return Err(ModelError::LayerCount { key, value, max: LAYERS_MAX });
        }
        Ok(value as usize)
    }

    /// Query heads and key heads.
    fn heads(&self, layers: usize) -> Result<(u32, u32), ModelError> {
        let key = self.name("attention.head_count");
        let heads = match self.same_for_all("attention.head_count", layers)? {
            Some(heads) => in_range(key, heads, SIZE_MAX)?,
            None => self.gguf.metadata().u32(&key)?,
        };
        let key = self.name("attention.head_count_kv");
        let kv_heads = match self.same_for_all("attention.head_count_kv", layers)? {
            Some(kv_heads) => in_range(key.clone(), kv_heads, SIZE_MAX)?,
            None => heads,
        };
        if !heads.is_multiple_of(kv_heads) {
            return Err(ModelError::KvHeads { key, kv_heads, heads });
        }
        Ok((heads, kv_heads))
    }

    /// Width of one head, of keys and values alike.
    fn head_size(&self, hidden: u32, heads: u32) -> Result<usize, ModelError> {
        let (key, head_size) = match self.optional_u32("attention.key_length")? {
            Some(length) => (self.name("attention.key_length"), length),
            None if hidden.is_multiple_of(heads) => {
                (self.name("attention.head_count"), hidden / heads)
            }
            None => {
                let key = self.name("attention.head_count");
                return Err(ModelError::HeadCount { key, heads, hidden });
            }
        };
        let head_size = in_range(key.clone(), head_size, SIZE_MAX)? as usize;
        if !head_size.is_multiple_of(2) || head_size > HEAD_SIZE_MAX {
            let expected = format!("an even number up to {HEAD_SIZE_MAX} is needed");
            return Err(ModelError::HeadSize { key, value: head_size, expected });
        }
        for (key, reason) in [
            ("attention.value_length", "keys and values of this family have one width"),
            ("rope.dimension_count", "rope turns whole heads in this family"),
        ] {
            let value = self.optional_u32(key)?.map_or(head_size, |value| value as usize);
            if value != head_size {
                let key = self.name(key);
                return Err(ModelError::Disagree { key, value, expected: head_size, reason });
            }
        }
        Ok(head_size)
    }

    /// The rows of the embedding, which every other list of tokens must match.
    fn vocab(&self) -> Result<usize, ModelError> {
        let embedding = tensors::find(self.gguf, "token_embd.weight", self.family)?;
        let rows = embedding.rows();
        let tokens = self.gguf.metadata().strings("tokenizer.ggml.tokens")?.len();
        if tokens != rows {
            let what = "the vocabulary `tokenizer.ggml.tokens`";
            return Err(ModelError::Vocab { what, found: tokens, rows });
        }
        match self.optional_u32("vocab_size")? {
            Some(size) if size as usize != rows => {
                Err(ModelError::Vocab { what: "the key `vocab_size`", found: size as usize, rows })
            }
            _ => Ok(rows),
        }
    }

    /// The added number in RMS norms.
    fn epsilon(&self, key: &str) -> Result<f32, ModelError> {
        let key = self.name(key);
        let value = self.gguf.metadata().f32(&key)?;
        if value > 0.0 && value < 1.0 {
            return Ok(value);
        }
        Err(ModelError::Number { key, value, expected: "between 0 and 1, both excluded" })
    }

    /// An optional number greater than zero.
    fn positive(&self, key: &str) -> Result<Option<f32>, ModelError> {
        match self.optional_f32(key)? {
            Some(value) if !(value > 0.0 && value.is_finite()) => Err(ModelError::Number {
                key: self.name(key),
                value,
                expected: "positive and finite",
            }),
            value => Ok(value),
        }
    }

    /// Mixtral and its like also call themselves `llama`.
    fn refuse_experts(&self) -> Result<(), ModelError> {
        match self.optional_u32("expert_count")? {
            None | Some(0) => Ok(()),
            Some(value) => Err(ModelError::Experts { key: self.name("expert_count"), value }),
        }
    }

    /// llama.cpp ignores the key in these families and attends to everything. A window as long as
    /// the context says the same; a shorter one does not, so it is refused rather than ignored.
    fn refuse_window(&self, context: usize) -> Result<(), ModelError> {
        match self.optional_u32("attention.sliding_window")? {
            Some(value) if (value as usize) < context => {
                let key = self.name("attention.sliding_window");
                Err(ModelError::SlidingWindow { key, value, context })
            }
            _ => Ok(()),
        }
    }

    /// A whole number given once, or once per layer and every time the same.
    fn same_for_all(&self, key: &str, layers: usize) -> Result<Option<u32>, ModelError> {
        let name = self.name(key);
        let Some(Value::Array(_)) = self.gguf.metadata().get(&name) else {
            return self.optional_u32(key);
        };
        let values = self.gguf.metadata().u32s(&name)?;
        match values.first() {
            Some(first) if values.len() == layers && values.iter().all(|value| value == first) => {
                Ok(Some(*first))
            }
            _ => {
                let found = shorten(&format!("{values:?}"));
                Err(ModelError::PerLayer { key: name, found, layers })
            }
        }
    }

    /// The rotary embedding, and the factor that its scaling puts on cosines and sines.
    fn rope(
        &self,
        traits: &Traits,
        head_size: usize,
        context_length: usize,
    ) -> Result<(RopeConfig, f32), ModelError> {
        let theta = self.positive("rope.freq_base")?.unwrap_or(10_000.0);
        let pairs = head_size / 2;
        let mut divisors = vec![1.0f32; pairs];
        if traits.rope_freqs && self.gguf.tensor(ROPE_FREQS).is_some() {
            divisors = self.rope_freqs(pairs)?;
        }
        // `rope.scale_linear` is the name that the first GGUF files used.
        let factor = match self.positive("rope.scaling.factor")? {
            Some(factor) => factor,
            None => self.positive("rope.scale_linear")?.unwrap_or(1.0),
        };
        let key = self.name("rope.scaling.type");
        let magnitude = match self.gguf.metadata().optional_str(&key)?.unwrap_or("linear") {
            "none" => 1.0,
            "linear" => {
                divisors.iter_mut().for_each(|divisor| *divisor *= factor);
                1.0
            }
            "yarn" => self.yarn(theta, factor, context_length, &mut divisors)?,
            other => return Err(ModelError::RopeScaling { key, value: shorten(other) }),
        };
        // Products of positive and finite numbers can still be neither.
        if !divisors.iter().all(|&divisor| divisor > 0.0 && divisor.is_finite()) {
            let key = self.name("rope.scaling.factor");
            let expected = "such that scaled angles stay finite and are not 0";
            return Err(ModelError::Number { key, value: factor, expected });
        }
        let divisors = divisors.iter().any(|&divisor| divisor != 1.0).then_some(divisors);
        let rope = RopeConfig { dims: head_size, theta, pairing: traits.pairing, divisors };
        Ok((rope, magnitude))
    }

    /// YaRN (Peng et al. 2023) as ggml computes it (`ggml_rope_yarn_corr_dims`, `rope_yarn`): slow
    /// pairs are interpolated by `factor`, fast ones kept, with a ramp between. Since a pair's
    /// angle is linear in the position, this is one divisor per pair. Returns the factor on the
    /// cosines.
    fn yarn(
        &self,
        theta: f32,
        factor: f32,
        context_length: usize,
        divisors: &mut [f32],
    ) -> Result<f32, ModelError> {
        let original = match self.optional_u32("rope.scaling.original_context_length")? {
            Some(value) => {
                let key = self.name("rope.scaling.original_context_length");
                in_range(key, value, CONTEXT_MAX)? as f32
            }
            None => context_length as f32,
        };
        if theta <= 1.0 {
            let key = self.name("rope.freq_base");
            return Err(ModelError::Number { key, value: theta, expected: "above 1 with YaRN" });
        }
        let beta_fast = self.positive("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0);
        let beta_slow = self.positive("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0);
        let attention_factor = self.positive("rope.scaling.attn_factor")?.unwrap_or(1.0);

        let dims = 2 * divisors.len();
        // The pair that turns `turns` times over the original context.
        let dim_of = |turns: f32| {
            dims as f32 * (original / (turns * std::f32::consts::TAU)).ln() / (2.0 * theta.ln())
        };
        let low = dim_of(beta_fast).floor().max(0.0);
        let high = dim_of(beta_slow).ceil().min(dims as f32 - 1.0);
        for (pair, divisor) in divisors.iter_mut().enumerate() {
            let kept = 1.0 - ((pair as f32 - low) / (high - low).max(0.001)).clamp(0.0, 1.0);
            *divisor /= (1.0 - kept) / factor + kept;
        }
        Ok(if factor > 1.0 {
            attention_factor * (1.0 + 0.1 * factor.ln())
        } else {
            attention_factor
        })
    }

    /// The divisors of Llama 3.x, which its converter stores as a tensor.
    fn rope_freqs(&self, pairs: usize) -> Result<Vec<f32>, ModelError> {
        let info = tensors::find(self.gguf, ROPE_FREQS, self.family)?;
        tensors::check_shape(info, &[pairs])?;
        let divisors = tensors::vector(self.gguf, info)?;
        for (index, &value) in divisors.iter().enumerate() {
            if !(value > 0.0 && value.is_finite()) {
                let name = ROPE_FREQS.to_owned();
                return Err(ModelError::RopeDivisor { name, index, value });
            }
        }
        Ok(divisors)
    }
}

/// Llama 3.x's divisors of rotary angles.
pub(crate) const ROPE_FREQS: &str = "rope_freqs.weight";

fn in_range(key: String, value: u32, max: u32) -> Result<u32, ModelError> {
    match value {
        0 => Err(ModelError::Zero { key }),
        value if value > max => Err(ModelError::TooLarge { key, value, max }),
        value => Ok(value),
    }
}

/// The beginning of a text from a file, so that a message stays one line.
fn shorten(text: &str) -> String {
    const CHARACTERS_MAX: usize = 64;
    let clean: String = text
        .chars()
        .take(CHARACTERS_MAX)
        .map(|character| if character.is_control() { '\u{fffd}' } else { character })
        .collect();
    if text.chars().nth(CHARACTERS_MAX).is_some() { clean + "…" } else { clean }
}
