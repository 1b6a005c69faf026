//! Turns a file's keys into checked sizes and numbers: each rule once, for all families.

use myriad_formats::{Gguf, Value};

use super::{HEAD_SIZE_MAX, LAYERS_MAX, SIZE_MAX};
use crate::config::Family;
use crate::error::ModelError;
use crate::tensors;

/// A file's keys, read with the family's prefix and checked one by one.
pub(super) struct Keys<'a> {
    pub(super) gguf: &'a Gguf,
    pub(super) family: Family,
}

impl Keys<'_> {
    /// The full name of a key.
    pub(super) fn name(&self, key: &str) -> String {
        format!("{}.{key}", self.family.name())
    }

    pub(super) fn optional_u32(&self, key: &str) -> Result<Option<u32>, ModelError> {
        Ok(self.gguf.metadata().optional_u32(&self.name(key))?)
    }

    pub(super) fn optional_f32(&self, key: &str) -> Result<Option<f32>, ModelError> {
        Ok(self.gguf.metadata().optional_f32(&self.name(key))?)
    }

    /// A required size from 1 to `max`.
    pub(super) fn size(&self, key: &str, max: u32) -> Result<u32, ModelError> {
        let key = self.name(key);
        let value = self.gguf.metadata().u32(&key)?;
        in_range(key, value, max)
    }

    /// A required width that may be given once per layer.
    pub(super) fn width_of_layers(&self, key: &str, layers: usize) -> Result<u32, ModelError> {
        let value = self.same_for_all(key, layers)?;
        let key = self.name(key);
        match value {
            Some(value) => in_range(key, value, SIZE_MAX),
            // Says that the key is missing, in the words that all missing keys have.
            None => Ok(self.gguf.metadata().u32(&key)?),
        }
    }

    pub(super) fn layer_count(&self) -> Result<usize, ModelError> {
        let key = self.name("block_count");
        let value = self.gguf.metadata().u32(&key)?;
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
    pub(super) fn head_size(&self, hidden: u32, heads: u32) -> Result<usize, ModelError> {
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
    pub(super) fn vocab(&self) -> Result<usize, ModelError> {
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
    pub(super) fn epsilon(&self, key: &str) -> Result<f32, ModelError> {
        let key = self.name(key);
        let value = self.gguf.metadata().f32(&key)?;
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

    /// llama.cpp ignores the key in these families and attends to everything. A window as long as
    /// the context says the same; a shorter one does not, so it is refused rather than ignored.
    pub(super) fn refuse_window(&self, context: usize) -> Result<(), ModelError> {
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
