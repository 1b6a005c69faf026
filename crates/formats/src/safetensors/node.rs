//! Turns any JSON value into as much of it as a safetensors header needs, and drops the rest.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess};
use serde::de::{Error, Visitor};

use crate::limits::SAFETENSORS_DIMENSIONS_MAX;

/// A value of a header.
#[derive(Debug, Default, PartialEq)]
pub(super) enum Node {
    #[default]
    Null,
    Bool,
    Whole(u64),
    /// Negative or with a fraction.
    Number,
    Text(Box<str>),
    /// A list of whole numbers: the first of them, and how many there are.
    Wholes {
        numbers: Vec<u64>,
        count: usize,
    },
    /// Any other list.
    List,
    /// The pairs that were to be kept, at most one more than the seed's `pairs_max`.
    Object(Vec<(Box<str>, Node)>),
}

impl Node {
    /// What the value is, for people.
    pub(super) fn describe(&self) -> &'static str {
        match self {
            Node::Null => "null",
            Node::Bool => "a bool",
            Node::Whole(_) => "a whole number",
            Node::Number => "a number that is negative or no whole one",
            Node::Text(_) => "a string",
            Node::Wholes { .. } => "a list of whole numbers",
            Node::List => "a list of other things than whole numbers",
            Node::Object(_) => "an object",
        }
    }
}

/// What to keep of an object; of what stands inside its values, nothing is.
#[derive(Clone, Copy)]
pub(super) struct NodeSeed {
    pub keep: fn(&str) -> bool,
    pub pairs_max: usize,
}

impl<'de> DeserializeSeed<'de> for NodeSeed {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// A value inside of another.
impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        NodeSeed { keep: |_| false, pairs_max: 0 }.deserialize(deserializer)
    }
}

impl<'de> Visitor<'de> for NodeSeed {
    type Value = Node;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Bool)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Node, E> {
        Ok(Node::Whole(number))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Number)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Number)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let (mut numbers, mut count, mut whole) = (Vec::new(), 0, true);
        while let Some(element) = list.next_element::<Node>()? {
            match element {
                Node::Whole(number) if count < SAFETENSORS_DIMENSIONS_MAX => numbers.push(number),
                Node::Whole(_) => {}
                _ => whole = false,
            }
            count += 1;
        }
        Ok(if whole { Node::Wholes { numbers, count } } else { Node::List })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut pairs = Vec::new();
        while let Some(key) = map.next_key::<Box<str>>()? {
            if pairs.len() <= self.pairs_max && (self.keep)(&key) {
                pairs.push((key, map.next_value::<Node>()?));
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Node::Object(pairs))
    }
}
