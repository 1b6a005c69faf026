//! Turns a file's keys into checked sizes and numbers: each rule once, for all families.

use myriad_formats::{JsonObject, Metadata, Value};

use super::{HEAD_SIZE_MAX, LAYERS_MAX, SIZE_MAX};
use crate::checkpoint::{Checkpoint, Source};
use crate::config::{Family, LayerConfig, Mtp};
use crate::error::ModelError;
use crate::pooling::Pooling;

/// A file's keys under GGUF's names, checked one by one.
pub(super) struct Keys<'a> {
    pub(super) file: Settings<'a>,
    pub(super) tensors: Checkpoint<'a>,
    pub(super) family: Family,
}

/// Where a file's keys stand.
pub(super) enum Settings<'a> {
    /// In the file itself, with the family's name before each.
    Gguf(&'a Metadata),
    /// In `config.json`: the part about the decoder.
    Folder(JsonObject<'a>),
}

/// What `config.json` calls a key; some have had two names. Keys without one do not occur in it.
const IN_FOLDER: [(&str, &str); 40] = [
    ("attention.head_count", "num_attention_heads"),
    ("attention.head_count_kv", "num_key_value_heads"),
    ("attention.indexer.head_count", "index_n_heads"),
    ("attention.indexer.key_length", "index_head_dim"),
    ("attention.indexer.top_k", "index_topk"),
    ("attention.key_length", "head_dim"),
    ("attention.kv_lora_rank", "kv_lora_rank"),
    ("attention.layer_norm_epsilon", "layer_norm_eps"),
    ("attention.layer_norm_rms_epsilon", "rms_norm_eps"),
    ("attention.q_lora_rank", "q_lora_rank"),
    ("attention.sliding_window", "sliding_window"),
    ("attention.value_length_mla", "v_head_dim"),
    ("block_count", "num_hidden_layers"),
    ("context_length", "max_position_embeddings"),
    ("embedding_length", "hidden_size"),
    ("expert_count", "num_experts"),
    ("expert_count", "num_local_experts"),
    ("expert_count", "n_routed_experts"),
    ("expert_feed_forward_length", "moe_intermediate_size"),
    ("expert_group_count", "n_group"),
    ("expert_group_used_count", "topk_group"),
    ("expert_shared_count", "n_shared_experts"),
    ("expert_shared_feed_forward_length", "shared_expert_intermediate_size"),
    ("expert_used_count", "num_experts_per_tok"),
    ("expert_used_count", "experts_per_token"),
    ("expert_weights_norm", "norm_topk_prob"),
    ("expert_weights_scale", "routed_scaling_factor"),
    ("feed_forward_length", "intermediate_size"),
    ("full_attention_interval", "full_attention_interval"),
    ("leading_dense_block_count", "first_k_dense_replace"),
    ("nextn_predict_layers", "num_nextn_predict_layers"),
    ("nextn_predict_layers", "mtp_num_hidden_layers"),
    ("rope.dimension_count", "qk_rope_head_dim"),
    ("ssm.conv_kernel", "linear_conv_kernel_dim"),
    ("ssm.group_count", "linear_num_key_heads"),
    ("ssm.state_size", "linear_key_head_dim"),
    ("ssm.time_step_rank", "linear_num_value_heads"),
    ("swiglu_alpha", "swiglu_alpha"),
    ("swiglu_limit", "swiglu_limit"),
    ("vocab_size", "vocab_size"),
];

/// The name that a folder's settings have for a key, or would have.
fn in_folder(json: &JsonObject<'_>, key: &str) -> Option<&'static str> {
    let names = || IN_FOLDER.iter().filter(|(gguf, _)| *gguf == key).map(|(_, theirs)| *theirs);
    names().find(|name| json.has(name)).or_else(|| names().next())
}

impl Keys<'_> {
    /// The full name of a key, as the file has it.
    pub(super) fn name(&self, key: &str) -> String {
        match &self.file {
            Settings::Gguf(_) => format!("{}.{key}", self.family.name()),
            Settings::Folder(json) => in_folder(json, key).unwrap_or(key).to_owned(),
        }
    }

    pub(super) fn optional_u32(&self, key: &str) -> Result<Option<u32>, ModelError> {
        match &self.file {
            Settings::Gguf(metadata) => Ok(metadata.optional_u32(&self.name(key))?),
            Settings::Folder(json) => {
                in_folder(json, key).map_or(Ok(None), |key| Ok(json.optional_u32(key)?))
            }
        }
    }

    pub(super) fn optional_f32(&self, key: &str) -> Result<Option<f32>, ModelError> {
        match &self.file {
            Settings::Gguf(metadata) => Ok(metadata.optional_f32(&self.name(key))?),
            Settings::Folder(json) => {
                in_folder(json, key).map_or(Ok(None), |key| Ok(json.optional_f32(key)?))
            }
        }
    }

    pub(super) fn optional_bool(&self, key: &str) -> Result<Option<bool>, ModelError> {
        match &self.file {
            Settings::Gguf(metadata) => Ok(metadata.optional_bool(&self.name(key))?),
            Settings::Folder(json) => {
                in_folder(json, key).map_or(Ok(None), |key| Ok(json.optional_bool(key)?))
            }
        }
    }

    /// A whole number that must be there.
    fn required_u32(&self, key: &str) -> Result<u32, ModelError> {
        match &self.file {
            Settings::Gguf(metadata) => Ok(metadata.u32(&self.name(key))?),
            Settings::Folder(json) => Ok(json.u32(&self.name(key))?),
        }
    }

    fn required_f32(&self, key: &str) -> Result<f32, ModelError> {
        match &self.file {
            Settings::Gguf(metadata) => Ok(metadata.f32(&self.name(key))?),
            Settings::Folder(json) => Ok(json.f32(&self.name(key))?),
        }
    }

    /// A required size from 1 to `max`.
    pub(super) fn size(&self, key: &str, max: u32) -> Result<u32, ModelError> {
        let value = self.required_u32(key)?;
        in_range(self.name(key), value, max)
    }

    /// A required width that may be given once per layer.
    pub(super) fn width_of_layers(&self, key: &str, layers: usize) -> Result<u32, ModelError> {
        match self.same_for_all(key, layers)? {
            Some(value) => in_range(self.name(key), value, SIZE_MAX),
            // Says that the key is missing, in the words that all missing keys have.
            None => self.required_u32(key),
        }
    }

    pub(super) fn layer_count(&self) -> Result<usize, ModelError> {
        let key = self.name("block_count");
        let value = self.required_u32("block_count")?;
        if value == 0 || value as usize > LAYERS_MAX {
            return Err(ModelError::LayerCount { key, value, max: LAYERS_MAX });
        }
        Ok(value as usize)
    }

    /// Query heads and key heads.
    pub(super) fn heads(&self, layers: usize) -> Result<(u32, u32), ModelError> {
        let key = self.name("attention.head_count");
        let heads = match self.same_for_all("attention.head_count", layers)? {
            Some(heads) => in_range(key, heads, SIZE_MAX)?,
            None => self.required_u32("attention.head_count")?,
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

    /// Layers of the trunk: GGUF counts those behind it, which guess further tokens, too.
    pub(super) fn trunk_layer_count(&self) -> Result<usize, ModelError> {
        let layers = self.layer_count()?;
        let behind = match &self.file {
            Settings::Gguf(_) => self.optional_u32("nextn_predict_layers")?.unwrap_or(0) as usize,
            Settings::Folder(_) => 0,
        };
        if behind >= layers {
            let (key, expected) = (self.name("nextn_predict_layers"), layers - 1);
            let reason = "at least one layer is the model's own";
            return Err(ModelError::Disagree { key, value: behind, expected, reason });
        }
        Ok(layers - behind)
    }

    /// What guesses the token after the next, behind the `trunk` layers: where the file has its
    /// first matrix. Keys alone may say so of files that have lost it; Qwen3-Next's folders have
    /// no key.
    pub(super) fn mtp(
        &self,
        trunk: usize,
        layer: impl FnOnce() -> Result<LayerConfig, ModelError>,
    ) -> Result<Option<Mtp>, ModelError> {
        let has = |part: &str| self.tensors.has(&format!("blk.{trunk}.nextn.{part}.weight"));
        let unsaid = match &self.file {
            Settings::Gguf(_) => 0,
            Settings::Folder(_) => 1,
        };
        let layers = self.optional_u32("nextn_predict_layers")?.unwrap_or(unsaid) as usize;
        if layers == 0 || !has("eh_proj") {
            return Ok(None);
        }
        let (embedding, head) = (has("embed_tokens"), has("shared_head_head"));
        Ok(Some(Mtp { layer: layer()?, embedding, norm: has("shared_head_norm"), head, layers }))
    }

    /// Width of one head, of keys and values alike, all of which rope turns.
    pub(super) fn head_size(&self, hidden: u32, heads: u32) -> Result<usize, ModelError> {
        let head_size = self.partly_turned_head_size(hidden, heads)?;
        self.check_turned(head_size)
    }

    /// The same where rope turns a part of each head.
    pub(super) fn partly_turned_head_size(
        &self,
        hidden: u32,
        heads: u32,
    ) -> Result<usize, ModelError> {
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
        self.check_head_size(key, head_size)
    }

    /// The same in families that have one width where no key says another.
    pub(super) fn head_size_or(&self, usual: u32) -> Result<usize, ModelError> {
        let length = self.optional_u32("attention.key_length")?.unwrap_or(usual);
        let head_size = self.check_head_size(self.name("attention.key_length"), length)?;
        self.check_turned(head_size)
    }

    fn check_head_size(&self, key: String, head_size: u32) -> Result<usize, ModelError> {
        let head_size = in_range(key.clone(), head_size, SIZE_MAX)? as usize;
        if !head_size.is_multiple_of(2) || head_size > HEAD_SIZE_MAX {
            let expected = format!("an even number up to {HEAD_SIZE_MAX} is needed");
            return Err(ModelError::HeadSize { key, value: head_size, expected });
        }
        let reason = "keys and values of this family have one width";
        self.check_equal("attention.value_length", head_size, reason)?;
        Ok(head_size)
    }

    fn check_turned(&self, head_size: usize) -> Result<usize, ModelError> {
        let reason = "rope turns whole heads in this family";
        self.check_equal("rope.dimension_count", head_size, reason)?;
        Ok(head_size)
    }

    fn check_equal(
        &self,
        key: &str,
        expected: usize,
        reason: &'static str,
    ) -> Result<(), ModelError> {
        match self.optional_u32(key)?.map(|value| value as usize) {
            Some(value) if value != expected => {
                Err(ModelError::Disagree { key: self.name(key), value, expected, reason })
            }
            _ => Ok(()),
        }
    }

    /// The rows of the embedding, which every other list of tokens must match.
    pub(super) fn vocab(&self) -> Result<usize, ModelError> {
        let rows = self.tensors.find("token_embd.weight")?.rows();
        // A folder's tokenizer may know fewer tokens than the embedding has rows.
        if let Settings::Gguf(metadata) = &self.file {
            let tokens = metadata.strings("tokenizer.ggml.tokens")?.len();
            if tokens != rows {
                let what = "the vocabulary `tokenizer.ggml.tokens`";
                return Err(ModelError::Vocab { what, found: tokens, rows });
            }
        }
        match self.optional_u32("vocab_size")? {
            Some(size) if size as usize != rows => {
                Err(ModelError::Vocab { what: "the key `vocab_size`", found: size as usize, rows })
            }
            _ => Ok(rows),
        }
    }

    /// Whether the embedding is the output head.
    pub(super) fn has_tied_output(&self) -> Result<bool, ModelError> {
        let said = match &self.file {
            Settings::Gguf(_) => None,
            Settings::Folder(json) => json.optional_bool("tie_word_embeddings")?,
        };
        Ok(said == Some(true) || !self.tensors.has("output.weight"))
    }

    /// How a text's states become its vector. Without a word about it, the last state has seen
    /// everything in a decoder; of an encoder sentence-transformers takes the mean.
    pub(super) fn pooling(&self) -> Result<Pooling, ModelError> {
        let usual = match self.family {
            Family::Bert => Pooling::Mean,
            _ => Pooling::Last,
        };
        let said = match (&self.file, self.tensors.source) {
            (Settings::Folder(_), Source::Folder(folder)) => Pooling::of_folder(folder)?,
            _ => Pooling::of_key(self.name("pooling_type"), self.optional_u32("pooling_type")?)?,
        };
        Ok(said.unwrap_or(usual))
    }

    /// The layers that have no rope: each last of so many, where `config.json` says nothing else.
    pub(super) fn layers_without_rope(&self, every: usize) -> Result<Vec<usize>, ModelError> {
        let layers = self.layer_count()?;
        let (mut step, mut listed) = (every, None);
        if let Settings::Folder(json) = &self.file {
            listed = json.optional_u32s("no_rope_layers")?;
            if let Some(value) = json.optional_u32("no_rope_layer_interval")? {
                step = in_range("no_rope_layer_interval".to_owned(), value, u32::MAX)? as usize;
            }
        }
        match listed {
            // 1 says that a layer has rope, whatever the name of the key says.
            Some(list) if list.len() == layers => {
                Ok((0..layers).filter(|&layer| list[layer] == 0).collect())
            }
            Some(list) => Err(ModelError::Disagree {
                key: "no_rope_layers".to_owned(),
                value: list.len(),
                expected: layers,
                reason: "the list has one number for each layer",
            }),
            None => Ok((0..layers).filter(|layer| (layer + 1).is_multiple_of(step)).collect()),
        }
    }

    /// The added number in norms.
    pub(super) fn epsilon(&self, key: &str) -> Result<f32, ModelError> {
        let value = self.required_f32(key)?;
        let key = self.name(key);
        if value > 0.0 && value < 1.0 {
            return Ok(value);
        }
        Err(ModelError::Number { key, value, expected: "between 0 and 1, both excluded" })
    }

    /// An optional number greater than zero.
    pub(super) fn positive(&self, key: &str) -> Result<Option<f32>, ModelError> {
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
    pub(super) fn refuse_experts(&self) -> Result<(), ModelError> {
        match self.optional_u32("expert_count")? {
            None | Some(0) => Ok(()),
            Some(value) => Err(ModelError::Experts { key: self.name("expert_count"), value }),
        }
    }

    /// A folder's window counts where `use_sliding_window` does not say otherwise. In GGUF,
    /// llama.cpp ignores the key in these families and attends to everything. A window as long as
    /// the context says the same; a shorter one does not, so it is refused rather than ignored.
    pub(super) fn refuse_window(&self, context: usize) -> Result<(), ModelError> {
        if let Settings::Folder(json) = &self.file
            && json.optional_bool("use_sliding_window")? == Some(false)
        {
            return Ok(());
        }
        match self.optional_u32("attention.sliding_window")? {
            Some(value) if (value as usize) < context => {
                let key = self.name("attention.sliding_window");
                Err(ModelError::SlidingWindow { key, value, context })
            }
            _ => Ok(()),
        }
    }

    /// A whole number given once, or once per layer and every time the same.
    pub(super) fn same_for_all(&self, key: &str, layers: usize) -> Result<Option<u32>, ModelError> {
        let name = self.name(key);
        let metadata = match &self.file {
            Settings::Gguf(metadata) if matches!(metadata.get(&name), Some(Value::Array(_))) => {
                metadata
            }
            _ => return self.optional_u32(key),
        };
        let values = metadata.u32s(&name)?;
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
}

/// A whole number from 1 to `max`.
pub(super) fn in_range(key: String, value: u32, max: u32) -> Result<u32, ModelError> {
    match value {
        0 => Err(ModelError::Zero { key }),
        value if value > max => Err(ModelError::TooLarge { key, value, max }),
        value => Ok(value),
    }
}

/// The beginning of a text from a file, so that a message stays one line.
pub(super) fn shorten(text: &str) -> String {
    const CHARACTERS_MAX: usize = 64;
    let clean: String = text
        .chars()
        .take(CHARACTERS_MAX)
        .map(|character| if character.is_control() { '\u{fffd}' } else { character })
        .collect();
    if text.chars().nth(CHARACTERS_MAX).is_some() { clean + "…" } else { clean }
}
