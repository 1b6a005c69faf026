//! Turns JSON into a tree of bounded depth and size, whose objects have each key once.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::error::JsonFault;
use crate::error::shown;
use crate::limits::JSON_DEPTH_MAX;

/// A JSON value.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Json {
    #[default]
    Null,
    Bool(bool),
    Whole(u64),
    Negative(i64),
    Float(f64),
    Text(Box<str>),
    List(Vec<Json>),
    /// Sorted by key.
    Object(Vec<(Box<str>, Json)>),
}

impl Json {
    /// What the value is, for people.
    pub(crate) fn describe(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "a bool",
            Json::Whole(_) => "a whole number",
            Json::Negative(_) => "a negative number",
            Json::Float(_) => "a number with a fraction",
            Json::Text(_) => "a string",
            Json::List(_) => "a list",
            Json::Object(_) => "an object",
        }
    }

    /// The value under a key; nothing if this is no object.
    pub(crate) fn get(&self, key: &str) -> Option<&Json> {
        find(self.as_object()?, key)
    }

    pub(crate) fn as_object(&self) -> Option<&[(Box<str>, Json)]> {
        match self {
            Json::Object(entries) => Some(entries),
            _ => None,
        }
    }

    pub(crate) fn as_list(&self) -> Option<&[Json]> {
        match self {
            Json::List(list) => Some(list),
            _ => None,
        }
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        match self {
            Json::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn as_bool(&self) -> Option<bool> {
        match self {
            Json::Bool(value) => Some(*value),
            _ => None,
        }
    }
}

/// The value of a key; none if it is null.
pub(crate) fn find<'a>(entries: &'a [(Box<str>, Json)], key: &str) -> Option<&'a Json> {
    let at = entries.binary_search_by(|(name, _)| (**name).cmp(key)).ok()?;
    Some(&entries[at].1).filter(|value| **value != Json::Null)
}

/// How many values may still be read, and the rule that was broken, if one was.
pub(crate) struct Budget {
    max: usize,
    left: usize,
    pub(crate) fault: Option<JsonFault>,
}

impl Budget {
    pub(crate) fn new(max: usize) -> Budget {
        Budget { max, left: max, fault: None }
    }

    /// Remembers the fault; what is returned only stops the JSON reader.
    fn stop<E: Error>(&mut self, fault: JsonFault) -> E {
        self.fault = Some(fault);
        E::custom("stopped")
    }
}

/// Reads a value at a depth.
pub(crate) struct TreeSeed<'a> {
    budget: &'a mut Budget,
    depth: usize,
}

impl<'a> TreeSeed<'a> {
    /// The outermost value.
    pub(crate) fn new(budget: &'a mut Budget) -> TreeSeed<'a> {
        TreeSeed { budget, depth: 0 }
    }

    /// A value inside of this one.
    fn inner(&mut self) -> TreeSeed<'_> {
        TreeSeed { budget: &mut *self.budget, depth: self.depth + 1 }
    }
}

impl<'de> DeserializeSeed<'de> for TreeSeed<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        if self.depth > JSON_DEPTH_MAX {
            return Err(self.budget.stop(JsonFault::Depth { max: JSON_DEPTH_MAX }));
        }
        let Some(left) = self.budget.left.checked_sub(1) else {
            let max = self.budget.max;
            return Err(self.budget.stop(JsonFault::Values { max }));
        };
        self.budget.left = left;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for TreeSeed<'_> {
    type Value = Json;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Json, E> {
        Ok(Json::Whole(number))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Json, E> {
        Ok(u64::try_from(number).map_or(Json::Negative(number), Json::Whole))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Json, E> {
        Ok(Json::Float(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Json, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(self.inner())? {
            values.push(value);
        }
        Ok(Json::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Json, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Box<str>>()? {
            entries.push((key, map.next_value_seed(self.inner())?));
        }
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        if let Some(pair) = entries.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(self.budget.stop(JsonFault::DuplicateKey { key: shown(&pair[0].0) }));
        }
        Ok(Json::Object(entries))
    }
}
