//! Turns `model.safetensors.index.json` into the list of shards and what each should hold.

use std::collections::HashMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::error::FolderError;
use crate::error::shown;
use crate::limits::{SAFETENSORS_TENSORS_MAX, SHARDS_MAX};

/// Which tensor is in which shard.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Names of files, each once.
    pub shards: Vec<String>,
    /// Names of tensors, and the indices of their shards.
    pub tensors: Vec<(Box<str>, u32)>,
}

/// Parses an index. Its memory is bounded by the length of `json`.
pub(super) fn read(json: &[u8]) -> Result<Index, FolderError> {
    let mut reader = Reader::default();
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let outcome = deserializer.deserialize_map(&mut reader).and_then(|()| deserializer.end());
    if let Some(fault) = reader.fault {
        return Err(fault);
    }
    let syntax =
        |error: serde_json::Error| FolderError::IndexSyntax { message: shown(&error.to_string()) };
    outcome.map_err(syntax)?;
    if !reader.has_map {
        return Err(FolderError::MissingWeightMap);
    }
    let mut index = reader.index;
    index.tensors.sort_unstable();
    match index.tensors.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        Some(pair) => Err(FolderError::IndexedTwice { tensor: shown(&pair[0].0) }),
        None => Ok(index),
    }
}

#[derive(Default)]
struct Reader {
    index: Index,
    /// Indices of shards by name.
    known: HashMap<String, u32>,
    has_map: bool,
    /// Why reading stopped, if it was a rule of this format.
    fault: Option<FolderError>,
}

impl Reader {
    /// Remembers the fault; what is returned only stops the JSON reader.
    fn stop<E: Error>(&mut self, fault: FolderError) -> E {
        self.fault = Some(fault);
        E::custom("stopped")
    }

    fn add<E: Error>(&mut self, tensor: Box<str>, shard: String) -> Result<(), E> {
        if self.index.tensors.len() == SAFETENSORS_TENSORS_MAX {
            return Err(self.stop(FolderError::TensorCount { max: SAFETENSORS_TENSORS_MAX }));
        }
        if !is_shard_name(&shard) {
            let (tensor, shard) = (shown(&tensor), shown(&shard));
            return Err(self.stop(FolderError::ShardName { tensor, shard }));
        }
        let index = match self.known.get(&shard) {
            Some(index) => *index,
            None if self.known.len() == SHARDS_MAX => {
                return Err(self.stop(FolderError::ShardCount { max: SHARDS_MAX }));
            }
            None => {
                let index = self.known.len() as u32;
                self.index.shards.push(shard.clone());
                self.known.insert(shard, index);
                index
            }
        };
        self.index.tensors.push((tensor, index));
        Ok(())
    }
}

/// A plain name in the same folder on any system.
fn is_shard_name(name: &str) -> bool {
    let plain = |c: char| !matches!(c, '/' | '\\' | ':') && !c.is_control();
    name.len() <= 255
        && name.len() > ".safetensors".len()
        && name.ends_with(".safetensors")
        && !name.starts_with('.')
        && name.chars().all(plain)
}

impl<'de> Visitor<'de> for &mut Reader {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object with a `weight_map`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if key != "weight_map" {
                map.next_value::<IgnoredAny>()?;
            } else if std::mem::replace(&mut self.has_map, true) {
                return Err(self.stop(FolderError::WeightMapTwice));
            } else {
                map.next_value_seed(WeightMap(self))?;
            }
        }
        Ok(())
    }
}

/// The value of `weight_map`.
struct WeightMap<'a>(&'a mut Reader);

impl<'de> DeserializeSeed<'de> for WeightMap<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for WeightMap<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of tensors and the names of their files")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(tensor) = map.next_key::<Box<str>>()? {
            let shard = map.next_value::<String>()?;
            self.0.add(tensor, shard)?;
        }
        Ok(())
    }
}
