//! Turns the JSON header of a safetensors file into descriptions of tensors, one at a time.

use std::fmt;

use myriad_kernels::BlockType;
use serde::de::{self, Deserializer, MapAccess, Visitor};

use super::error::SafetensorsFault;
use super::node::{Node, NodeSeed};
use crate::error::shown;
use crate::limits::{
    SAFETENSORS_DIMENSIONS_MAX, SAFETENSORS_METADATA_MAX, SAFETENSORS_NAME_BYTES_MAX,
    SAFETENSORS_TENSORS_MAX,
};
use crate::source::TensorKind;

/// The key of a header that names no tensor.
pub(super) const METADATA: &str = "__metadata__";

/// What a header says; where the tensors lie is still to be checked.
#[derive(Default)]
pub(super) struct Header {
    /// In the order of the header.
    pub entries: Vec<Entry>,
    /// Sorted by key.
    pub metadata: Vec<(Box<str>, Box<str>)>,
}

/// What a header says about one tensor: its bytes are as many as its sizes need.
#[derive(Debug)]
pub(super) struct Entry {
    pub name: Box<str>,
    pub kind: TensorKind,
    /// Columns first: the file has them last.
    pub shape: Box<[usize]>,
    /// Where its bytes begin and end in the data section.
    pub begin: u64,
    pub end: u64,
}

/// The names of element types, and what they are here.
pub(super) const DTYPES: [(&str, TensorKind); 8] = [
    ("F32", TensorKind::Blocks(BlockType::F32)),
    ("F16", TensorKind::Blocks(BlockType::F16)),
    ("BF16", TensorKind::Blocks(BlockType::BF16)),
    ("F8_E4M3", TensorKind::F8E4M3),
    ("U8", TensorKind::U8),
    ("I8", TensorKind::I8),
    ("I32", TensorKind::I32),
    ("I64", TensorKind::I64),
];

/// Element types of the format that Myriad does not compute with.
const UNSUPPORTED: [&str; 14] = [
    "BOOL",
    "F4",
    "F6_E2M3",
    "F6_E3M2",
    "F8_E5M2",
    "F8_E8M0",
    "F8_E4M3FNUZ",
    "F8_E5M2FNUZ",
    "I16",
    "U16",
    "U32",
    "U64",
    "F64",
    "C64",
];

/// Parses the header. Its memory is bounded by the length of `json`.
pub(super) fn read(json: &str) -> Result<Header, SafetensorsFault> {
    let mut reader = Reader::default();
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let outcome = deserializer.deserialize_map(&mut reader).and_then(|()| deserializer.end());
    if let Some(fault) = reader.fault {
        return Err(fault);
    }
    outcome
        .map_err(|error| SafetensorsFault::HeaderSyntax { message: shown(&error.to_string()) })?;
    let mut header = reader.header;
    header.metadata.sort_unstable();
    if let Some(pair) = header.metadata.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(SafetensorsFault::MetadataKeyTwice { key: shown(&pair[0].0) });
    }
    Ok(header)
}

#[derive(Default)]
struct Reader {
    header: Header,
    has_metadata: bool,
    /// Why reading stopped, if it was a rule of this format.
    fault: Option<SafetensorsFault>,
}

impl Reader {
    /// Remembers the fault; what is returned only stops the JSON reader.
    fn stop<E: de::Error>(&mut self, fault: SafetensorsFault) -> E {
        self.fault = Some(fault);
        E::custom("stopped")
    }

    fn check_name<E: de::Error>(&mut self, name: &str) -> Result<(), E> {
        let max = SAFETENSORS_NAME_BYTES_MAX;
        if name.is_empty() {
            return Err(self.stop(SafetensorsFault::EmptyName { max }));
        }
        if name.len() > max {
            let (tensor, length) = (shown(name), name.len());
            return Err(self.stop(SafetensorsFault::NameLength { tensor, length, max }));
        }
        if self.header.entries.len() == SAFETENSORS_TENSORS_MAX {
            let max = SAFETENSORS_TENSORS_MAX;
            return Err(self.stop(SafetensorsFault::TensorCount { max }));
        }
        Ok(())
    }

    fn metadata<E: de::Error>(&mut self, value: Node) -> Result<(), E> {
        if std::mem::replace(&mut self.has_metadata, true) {
            return Err(self.stop(SafetensorsFault::MetadataTwice));
        }
        let pairs = match value {
            Node::Null => return Ok(()),
            Node::Object(pairs) if pairs.len() > METADATA_SEED.pairs_max => {
                let max = METADATA_SEED.pairs_max;
                return Err(self.stop(SafetensorsFault::MetadataCount { max }));
            }
            Node::Object(pairs) => pairs,
            other => {
                let found = other.describe();
                return Err(self.stop(SafetensorsFault::MetadataType { found }));
            }
        };
        self.header.metadata.reserve_exact(pairs.len());
        for (key, value) in pairs {
            match value {
                Node::Text(text) => self.header.metadata.push((key, text)),
                other => {
                    let (key, found) = (shown(&key), other.describe());
                    return Err(self.stop(SafetensorsFault::MetadataValue { key, found }));
                }
            }
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for &mut Reader {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<Box<str>>()? {
            if &*name == METADATA {
                let value = map.next_value_seed(METADATA_SEED)?;
                self.metadata(value)?;
                continue;
            }
            self.check_name(&name)?;
            let entry = match map.next_value_seed(ENTRY_SEED)? {
                Node::Object(fields) => entry(&name, fields),
                other => {
                    let (tensor, found) = (shown(&name), other.describe());
                    Err(SafetensorsFault::EntryType { tensor, found })
                }
            };
            match entry {
                Ok((kind, shape, begin, end)) => {
                    self.header.entries.push(Entry { name, kind, shape, begin, end });
                }
                Err(fault) => return Err(self.stop(fault)),
            }
        }
        Ok(())
    }
}

const METADATA_SEED: NodeSeed = NodeSeed { keep: |_| true, pairs_max: SAFETENSORS_METADATA_MAX };

/// A part that comes twice is among the first four that are kept.
const ENTRY_SEED: NodeSeed = NodeSeed { keep: |key| FIELDS.contains(&key), pairs_max: 4 };

/// The parts of a description. Others are passed over, as the official reader does.
const FIELDS: [&str; 3] = ["dtype", "shape", "data_offsets"];

type Described = (TensorKind, Box<[usize]>, u64, u64);

/// One description, with all that can be checked without the others.
fn entry(name: &str, pairs: Vec<(Box<str>, Node)>) -> Result<Described, SafetensorsFault> {
    let tensor = || shown(name);
    let mut fields = [None, None, None];
    for (key, value) in pairs {
        let Some(at) = FIELDS.iter().position(|field| *field == &*key) else { continue };
        if fields[at].replace(value).is_some() {
            return Err(SafetensorsFault::FieldTwice { tensor: tensor(), field: FIELDS[at] });
        }
    }
    if let Some(at) = fields.iter().position(Option::is_none) {
        return Err(SafetensorsFault::MissingField { tensor: tensor(), field: FIELDS[at] });
    }
    let [dtype, shape, offsets] = fields.map(Option::unwrap_or_default);
    let wrong = |field, node: &Node, expected| SafetensorsFault::FieldType {
        tensor: tensor(),
        field,
        found: node.describe(),
        expected,
    };
    let Node::Text(dtype) = dtype else { return Err(wrong("dtype", &dtype, "a string")) };
    let kind = kind_of(name, &dtype)?;
    let Node::Wholes { numbers: sizes, count } = shape else {
        return Err(wrong("shape", &shape, "a list of whole numbers"));
    };
    if count > SAFETENSORS_DIMENSIONS_MAX {
        let max = SAFETENSORS_DIMENSIONS_MAX;
        return Err(SafetensorsFault::DimensionCount { tensor: tensor(), count, max });
    }
    let (shape, bytes) = sizes_of(name, kind, &sizes)?;
    let Node::Wholes { numbers, count } = offsets else {
        return Err(wrong("data_offsets", &offsets, "a list of two whole numbers"));
    };
    let (2, &[begin, end]) = (count, &numbers[..]) else {
        return Err(SafetensorsFault::OffsetCount { tensor: tensor(), count });
    };
    let Some(found) = end.checked_sub(begin) else {
        return Err(SafetensorsFault::OffsetOrder { tensor: tensor(), begin, end });
    };
    if found != bytes {
        let (tensor, dtype, expected) = (tensor(), kind.name(), bytes);
        return Err(SafetensorsFault::TensorBytes { tensor, begin, end, found, dtype, expected });
    }
    Ok((kind, shape, begin, end))
}

fn kind_of(name: &str, dtype: &str) -> Result<TensorKind, SafetensorsFault> {
    if let Some((_, kind)) = DTYPES.iter().find(|(known, _)| *known == dtype) {
        return Ok(*kind);
    }
    let (tensor, supported) = (shown(name), DTYPES.map(|(name, _)| name).join(", "));
    Err(match UNSUPPORTED.iter().find(|known| **known == dtype) {
        Some(dtype) => SafetensorsFault::UnsupportedDtype { tensor, dtype, supported },
        None => SafetensorsFault::UnknownDtype { tensor, dtype: shown(dtype), supported },
    })
}

/// The sizes with columns first, and the bytes that they need.
fn sizes_of(
    name: &str,
    kind: TensorKind,
    sizes: &[u64],
) -> Result<(Box<[usize]>, u64), SafetensorsFault> {
    if let Some(dimension) = sizes.iter().position(|&size| size == 0) {
        return Err(SafetensorsFault::ZeroDimension { tensor: shown(name), dimension });
    }
    let elements = sizes.iter().try_fold(1u64, |product, &size| product.checked_mul(size));
    // Every kind here has blocks of one element, so that all elements together are like one row.
    let bytes = elements
        .and_then(|elements| usize::try_from(elements).ok())
        .and_then(|elements| kind.row_bytes(elements))
        .filter(|bytes| isize::try_from(*bytes).is_ok());
    let Some(bytes) = bytes else {
        return Err(SafetensorsFault::ShapeOverflow { tensor: shown(name), shape: sizes.to_vec() });
    };
    // No size is larger than the product.
    Ok((sizes.iter().rev().map(|&size| size as usize).collect(), bytes as u64))
}
