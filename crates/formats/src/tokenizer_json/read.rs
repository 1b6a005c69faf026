//! Turns the bytes of `tokenizer.json` into its parts: tokens and merges in one pass, the rest as
//! small trees.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::error::VocabError;
use crate::error::shown;
use crate::json::{Budget, Json, TreeSeed, syntax, utf8};
use crate::limits::{JSON_VALUES_MAX, MERGES_MAX, TOKENS_MAX};

/// The name of BERT's algorithm.
const WORD_PIECE: &str = "WordPiece";

/// The parts of the file, not yet held against one another.
#[derive(Default)]
pub(super) struct Parts {
    /// Texts and ids, in the order of the file.
    pub tokens: Vec<(String, u32)>,
    /// Two pieces with a space between.
    pub merges: Vec<String>,
    pub added_tokens: Json,
    pub normalizer: Json,
    pub pre_tokenizer: Json,
    pub post_processor: Json,
    /// The small settings of the model.
    pub settings: Vec<(&'static str, Json)>,
    has_model: bool,
    has_tokens: bool,
    has_merges: bool,
}

impl Parts {
    /// Whether words are cut into the longest pieces, instead of pieces being merged.
    pub(super) fn is_word_piece(&self) -> bool {
        self.setting("type").as_str() == Some(WORD_PIECE)
    }

    /// A small setting of the model; null if it is not there.
    pub(super) fn setting(&self, name: &str) -> &Json {
        const NULL: &Json = &Json::Null;
        self.settings.iter().find(|(known, _)| *known == name).map_or(NULL, |(_, value)| value)
    }
}

/// Parses the file. Its memory is in proportion to its length, and tokens and merges are limited.
pub(super) fn read(bytes: &[u8]) -> Result<Parts, VocabError> {
    let text = utf8(bytes).map_err(VocabError::Syntax)?;
    let mut reader =
        Reader { parts: Parts::default(), budget: Budget::new(JSON_VALUES_MAX), fault: None };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let outcome = deserializer.deserialize_map(Top(&mut reader));
    let outcome = outcome.and_then(|()| deserializer.end());
    if let Some(fault) = reader.fault {
        return Err(fault);
    }
    if let Some(fault) = reader.budget.fault {
        return Err(VocabError::Syntax(fault));
    }
    outcome.map_err(|error| VocabError::Syntax(syntax(error)))?;
    let parts = reader.parts;
    if !parts.has_model {
        return Err(VocabError::MissingPart { part: "model" });
    }
    // Before what the list of tokens is like: other algorithms have other lists.
    match parts.setting("type") {
        Json::Null if parts.has_merges => {}
        Json::Text(kind) if matches!(&**kind, "BPE" | WORD_PIECE) => {}
        Json::Text(kind) => return Err(VocabError::ModelType { found: shown(kind) }),
        other => return Err(VocabError::ModelType { found: other.describe().to_owned() }),
    }
    let has_merges = parts.has_merges || parts.is_word_piece();
    for (part, there) in [("model.vocab", parts.has_tokens), ("model.merges", has_merges)] {
        if !there {
            return Err(VocabError::MissingPart { part });
        }
    }
    Ok(parts)
}

struct Reader {
    parts: Parts,
    budget: Budget,
    /// Why reading stopped, if it was a rule of this format.
    fault: Option<VocabError>,
}

impl Reader {
    /// Remembers the fault; what is returned only stops the JSON reader.
    fn stop<E: de::Error>(&mut self, fault: VocabError) -> E {
        self.fault = Some(fault);
        E::custom("stopped")
    }

    fn once<E: de::Error>(&mut self, part: &'static str, before: bool) -> Result<(), E> {
        match before {
            true => Err(self.stop(VocabError::PartTwice { part })),
            false => Ok(()),
        }
    }
}

/// The whole file.
struct Top<'a>(&'a mut Reader);

impl<'de> Visitor<'de> for Top<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object with a `model`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Top(reader) = self;
        while let Some(key) = map.next_key::<Box<str>>()? {
            let part = match &*key {
                "model" => {
                    let before = std::mem::replace(&mut reader.parts.has_model, true);
                    reader.once("model", before)?;
                    map.next_value_seed(Model(reader))?;
                    continue;
                }
                "added_tokens" => ("added_tokens", &mut reader.parts.added_tokens),
                "normalizer" => ("normalizer", &mut reader.parts.normalizer),
                "pre_tokenizer" => ("pre_tokenizer", &mut reader.parts.pre_tokenizer),
                "post_processor" => ("post_processor", &mut reader.parts.post_processor),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            let (name, place) = part;
            let before = *place != Json::Null;
            *place = map.next_value_seed(TreeSeed::new(&mut reader.budget))?;
            reader.once(name, before)?;
        }
        Ok(())
    }
}

/// The settings of a model that are looked at.
const SETTINGS: [&str; 7] = [
    "type",
    "unk_token",
    "byte_fallback",
    "ignore_merges",
    "continuing_subword_prefix",
    "end_of_word_suffix",
    "max_input_chars_per_word",
];

/// The value of `model`.
struct Model<'a>(&'a mut Reader);

impl<'de> DeserializeSeed<'de> for Model<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Model<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a model with `vocab` and `merges`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Model(reader) = self;
        while let Some(key) = map.next_key::<Box<str>>()? {
            match &*key {
                "vocab" => {
                    let before = std::mem::replace(&mut reader.parts.has_tokens, true);
                    reader.once("model.vocab", before)?;
                    map.next_value_seed(Tokens(reader))?;
                }
                "merges" => {
                    let before = std::mem::replace(&mut reader.parts.has_merges, true);
                    reader.once("model.merges", before)?;
                    map.next_value_seed(Merges(reader))?;
                }
                key => match SETTINGS.into_iter().find(|setting| *setting == key) {
                    Some(setting) => {
                        let before = *reader.parts.setting(setting) != Json::Null;
                        reader.once(setting, before)?;
                        let value = map.next_value_seed(TreeSeed::new(&mut reader.budget))?;
                        reader.parts.settings.push((setting, value));
                    }
                    None => {
                        map.next_value::<IgnoredAny>()?;
                    }
                },
            }
        }
        Ok(())
    }
}

/// The value of `model.vocab`: texts and ids. Other algorithms have lists there, which are passed
/// over: what is wrong with them is their algorithm.
struct Tokens<'a>(&'a mut Reader);

impl<'de> DeserializeSeed<'de> for Tokens<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tokens<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of tokens and their ids")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        self.0.parts.has_tokens = false;
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Tokens(reader) = self;
        while let Some(token) = map.next_key::<String>()? {
            let id = map.next_value::<u64>()?;
            let count = reader.parts.tokens.len() + 1;
            if count > TOKENS_MAX {
                return Err(reader.stop(VocabError::TokenCount { count, max: TOKENS_MAX }));
            }
            if id >= TOKENS_MAX as u64 {
                let (token, max) = (shown(&token), TOKENS_MAX);
                return Err(reader.stop(VocabError::IdRange { token, id, max }));
            }
            reader.parts.tokens.push((token, id as u32));
        }
        Ok(())
    }
}

/// The value of `model.merges`: `"a b"` or `["a", "b"]`, in either way.
struct Merges<'a>(&'a mut Reader);

/// One merge, its pieces with a space between.
struct Merge(String);

impl<'de> Deserialize<'de> for Merge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Merge, D::Error> {
        deserializer.deserialize_any(MergeVisitor)
    }
}

struct MergeVisitor;

impl<'de> Visitor<'de> for MergeVisitor {
    type Value = Merge;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a merge as \"a b\" or [\"a\", \"b\"]")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Merge, E> {
        Ok(Merge(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut pair: A) -> Result<Merge, A::Error> {
        let missing = |at| de::Error::invalid_length(at, &"a merge of two pieces");
        let mut merge = pair.next_element::<String>()?.ok_or_else(|| missing(0))?;
        let right = pair.next_element::<String>()?;
        merge.push(' ');
        merge.push_str(&right.ok_or_else(|| missing(1))?);
        // A third piece makes the JSON reader stop by itself.
        Ok(Merge(merge))
    }
}

impl<'de> DeserializeSeed<'de> for Merges<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Merges<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of merges")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Merges(reader) = self;
        while let Some(Merge(merge)) = list.next_element()? {
            let index = reader.parts.merges.len();
            if index == MERGES_MAX {
                return Err(reader.stop(VocabError::MergeCount { max: MERGES_MAX }));
            }
            let pieces = merge.split_once(' ');
            if !pieces.is_some_and(|(left, right)| is_piece(left) && is_piece(right)) {
                return Err(reader.stop(VocabError::Merge { index, merge: shown(&merge) }));
            }
            reader.parts.merges.push(merge);
        }
        Ok(())
    }
}

fn is_piece(text: &str) -> bool {
    !text.is_empty() && !text.contains(' ')
}
