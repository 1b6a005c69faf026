//! Turns a small JSON file into typed answers whose errors name the key.

mod error;
mod tree;

use serde::de::DeserializeSeed;

pub use error::{JsonError, JsonFault};
pub(crate) use tree::{Budget, Json, TreeSeed};

use crate::error::shown;
use crate::limits::{JSON_BYTES_MAX, JSON_VALUES_MAX};

/// A parsed JSON file whose outermost value is an object.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonFile {
    file: String,
    /// An object.
    root: Json,
}

/// An object inside of a [`JsonFile`].
///
/// A key whose value is null counts as missing: published files write both. Errors name the file
/// and the whole path of a key, such as `text_config.rope_scaling.factor`.
#[derive(Clone, Debug)]
pub struct JsonObject<'a> {
    file: &'a str,
    /// The keys that lead to this object, each with a dot behind it.
    path: String,
    entries: &'a [(Box<str>, Json)],
}

impl JsonFile {
    /// Parses a file; `file` names it in errors.
    pub fn from_bytes(file: &str, bytes: &[u8]) -> Result<JsonFile, JsonError> {
        let fail = |fault| JsonError { file: file.to_owned(), fault };
        if bytes.len() > JSON_BYTES_MAX {
            let (bytes, max) = (bytes.len() as u64, JSON_BYTES_MAX);
            return Err(fail(JsonFault::Size { bytes, max }));
        }
        match parse(bytes).map_err(fail)? {
            root @ Json::Object(_) => Ok(JsonFile { file: file.to_owned(), root }),
            other => Err(fail(JsonFault::NotAnObject { found: other.describe() })),
        }
    }

    /// The outermost object.
    pub fn object(&self) -> JsonObject<'_> {
        let entries = self.root.as_object().unwrap_or_default();
        JsonObject { file: &self.file, path: String::new(), entries }
    }
}

fn parse(bytes: &[u8]) -> Result<Json, JsonFault> {
    let text = utf8(bytes)?;
    let mut budget = Budget::new(JSON_VALUES_MAX);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let outcome = TreeSeed::new(&mut budget)
        .deserialize(&mut deserializer)
        .and_then(|root| deserializer.end().map(|()| root));
    match budget.fault {
        Some(fault) => Err(fault),
        None => outcome.map_err(syntax),
    }
}

/// The text of a file.
pub(crate) fn utf8(bytes: &[u8]) -> Result<&str, JsonFault> {
    std::str::from_utf8(bytes)
        .map_err(|error| JsonFault::Encoding { position: error.valid_up_to() })
}

/// What the JSON reader did not like.
pub(crate) fn syntax(error: serde_json::Error) -> JsonFault {
    JsonFault::Syntax { message: shown(&error.to_string()) }
}

impl<'a> JsonObject<'a> {
    /// The keys whose values are not null, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &'a str> {
        let entries = self.entries.iter().filter(|(_, value)| *value != Json::Null);
        entries.map(|(key, _)| &**key)
    }

    /// Whether a key is there and not null.
    pub fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// An object under a key.
    pub fn object(&self, key: &str) -> Result<JsonObject<'a>, JsonError> {
        self.required(key, self.optional_object(key)?)
    }

    /// As [`object`](Self::object); none if the key is not there.
    pub fn optional_object(&self, key: &str) -> Result<Option<JsonObject<'a>>, JsonError> {
        match self.find(key) {
            None => Ok(None),
            Some(Json::Object(entries)) => {
                let path = format!("{}{}.", self.path, shown(key));
                Ok(Some(JsonObject { file: self.file, path, entries }))
            }
            Some(other) => Err(self.wrong_type(key, other, "an object")),
        }
    }

    /// A whole number that is a size or an id.
    pub fn u32(&self, key: &str) -> Result<u32, JsonError> {
        self.required(key, self.optional_u32(key)?)
    }

    /// As [`u32`](Self::u32); none if the key is not there.
    pub fn optional_u32(&self, key: &str) -> Result<Option<u32>, JsonError> {
        self.find(key).map(|value| self.to_u32(key, value)).transpose()
    }

    /// A number, with or without a fraction.
    pub fn f32(&self, key: &str) -> Result<f32, JsonError> {
        self.required(key, self.optional_f32(key)?)
    }

    /// As [`f32`](Self::f32); none if the key is not there.
    pub fn optional_f32(&self, key: &str) -> Result<Option<f32>, JsonError> {
        self.find(key).map(|value| self.to_f32(key, value)).transpose()
    }

    /// A truth value.
    pub fn bool(&self, key: &str) -> Result<bool, JsonError> {
        self.required(key, self.optional_bool(key)?)
    }

    /// As [`bool`](Self::bool); none if the key is not there.
    pub fn optional_bool(&self, key: &str) -> Result<Option<bool>, JsonError> {
        let to_bool =
            |value: &Json| value.as_bool().ok_or_else(|| self.wrong_type(key, value, "a bool"));
        self.find(key).map(to_bool).transpose()
    }

    /// A string.
    pub fn str(&self, key: &str) -> Result<&'a str, JsonError> {
        self.required(key, self.optional_str(key)?)
    }

    /// As [`str`](Self::str); none if the key is not there.
    pub fn optional_str(&self, key: &str) -> Result<Option<&'a str>, JsonError> {
        self.find(key).map(|value| self.to_str(key, value)).transpose()
    }

    /// A list of whole numbers.
    pub fn u32s(&self, key: &str) -> Result<Vec<u32>, JsonError> {
        self.required(key, self.optional_u32s(key)?)
    }

    /// As [`u32s`](Self::u32s); none if the key is not there.
    pub fn optional_u32s(&self, key: &str) -> Result<Option<Vec<u32>>, JsonError> {
        self.optional_list(key, "a list of whole numbers", |at, value| self.to_u32(at, value))
    }

    /// A whole number alone, or a list of them; empty if the key is not there. Token ids that end
    /// an answer are written in both ways.
    pub fn u32_or_list(&self, key: &str) -> Result<Vec<u32>, JsonError> {
        match self.find(key) {
            Some(Json::List(_)) => self.u32s(key),
            _ => Ok(self.optional_u32(key)?.into_iter().collect()),
        }
    }

    /// A list of numbers.
    pub fn f32s(&self, key: &str) -> Result<Vec<f32>, JsonError> {
        self.required(key, self.optional_f32s(key)?)
    }

    /// As [`f32s`](Self::f32s); none if the key is not there.
    pub fn optional_f32s(&self, key: &str) -> Result<Option<Vec<f32>>, JsonError> {
        self.optional_list(key, "a list of numbers", |at, value| self.to_f32(at, value))
    }

    /// A list of strings.
    pub fn strs(&self, key: &str) -> Result<Vec<&'a str>, JsonError> {
        self.required(key, self.optional_strs(key)?)
    }

    /// As [`strs`](Self::strs); none if the key is not there.
    pub fn optional_strs(&self, key: &str) -> Result<Option<Vec<&'a str>>, JsonError> {
        self.optional_list(key, "a list of strings", |at, value| self.to_str(at, value))
    }

    pub(crate) fn find(&self, key: &str) -> Option<&'a Json> {
        tree::find(self.entries, key)
    }

    fn optional_list<T>(
        &self,
        key: &str,
        expected: &'static str,
        element: impl Fn(&str, &'a Json) -> Result<T, JsonError>,
    ) -> Result<Option<Vec<T>>, JsonError> {
        let Some(value) = self.find(key) else { return Ok(None) };
        let Json::List(values) = value else {
            return Err(self.wrong_type(key, value, expected));
        };
        let values = values.iter().enumerate();
        values
            .map(|(at, value)| element(&format!("{key}[{at}]"), value))
            .collect::<Result<_, _>>()
            .map(Some)
    }

    fn to_u32(&self, key: &str, value: &Json) -> Result<u32, JsonError> {
        let range =
            |value: String| self.fail(JsonFault::NumberRange { key: self.path(key), value });
        match value {
            Json::Whole(number) => u32::try_from(*number).map_err(|_| range(number.to_string())),
            Json::Negative(number) => Err(range(number.to_string())),
            other => Err(self.wrong_type(key, other, "a whole number")),
        }
    }

    fn to_f32(&self, key: &str, value: &Json) -> Result<f32, JsonError> {
        let wide = match value {
            Json::Whole(number) => *number as f64,
            Json::Negative(number) => *number as f64,
            Json::Float(number) => *number,
            other => return Err(self.wrong_type(key, other, "a number")),
        };
        let number = wide as f32;
        if !number.is_finite() {
            return Err(self.fail(JsonFault::FloatRange { key: self.path(key), value: wide }));
        }
        Ok(number)
    }

    fn to_str(&self, key: &str, value: &'a Json) -> Result<&'a str, JsonError> {
        value.as_str().ok_or_else(|| self.wrong_type(key, value, "a string"))
    }

    fn required<T>(&self, key: &str, value: Option<T>) -> Result<T, JsonError> {
        value.ok_or_else(|| self.fail(JsonFault::MissingKey { key: self.path(key) }))
    }

    fn path(&self, key: &str) -> String {
        format!("{}{}", self.path, shown(key))
    }

    pub(crate) fn wrong_type(&self, key: &str, value: &Json, expected: &'static str) -> JsonError {
        let (key, found) = (self.path(key), value.describe());
        self.fail(JsonFault::WrongType { key, found, expected })
    }

    fn fail(&self, fault: JsonFault) -> JsonError {
        JsonError { file: self.file.to_owned(), fault }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> JsonFile {
        JsonFile::from_bytes("config.json", text.as_bytes()).expect("a sound file")
    }

    fn refused(bytes: &[u8]) -> JsonFault {
        JsonFile::from_bytes("config.json", bytes).unwrap_err().fault
    }

    #[test]
    fn answers_have_the_types_of_their_keys() {
        let file = file(
            r#"{"size": 64, "theta": 10000, "eps": 1e-6, "tied": false, "kind": "llama",
                "types": ["a", "b"], "no_rope": [1, 0], "factors": [1, 2.5], "eos": [7, 9],
                "bos": 3, "nothing": null, "text": {"rope": {"factor": 8.0}}}"#,
        );
        let object = file.object();
        assert_eq!((object.u32("size"), object.f32("theta")), (Ok(64), Ok(10000.0)));
        assert_eq!((object.f32("eps"), object.bool("tied")), (Ok(1e-6), Ok(false)));
        assert_eq!((object.str("kind"), object.strs("types")), (Ok("llama"), Ok(vec!["a", "b"])));
        assert_eq!(object.u32s("no_rope"), Ok(vec![1, 0]));
        assert_eq!(object.f32s("factors"), Ok(vec![1.0, 2.5]));
        assert_eq!(object.u32_or_list("eos"), Ok(vec![7, 9]));
        assert_eq!(object.u32_or_list("bos"), Ok(vec![3]));
        assert_eq!(object.u32_or_list("nothing"), Ok(vec![]));
        assert_eq!(object.optional_u32("nothing"), Ok(None));
        assert_eq!(object.optional_strs("absent"), Ok(None));
        assert!(object.has("kind") && !object.has("nothing"));
        assert_eq!(object.keys().count(), 11);
        let rope = object.object("text").and_then(|text| text.object("rope")).unwrap();
        assert_eq!(rope.f32("factor"), Ok(8.0));
    }

    #[test]
    fn errors_name_the_file_and_the_whole_key() {
        let file = file(
            r#"{"a": {"b": {"n": -1, "big": 4294967296, "half": 0.5, "wide": 1e39, "t": "x",
                "list": [1, "x"]}}}"#,
        );
        let b = file.object().object("a").and_then(|a| a.object("b")).unwrap();
        let told = [
            (b.u32("n").unwrap_err(), "`a.b.n` is -1; a whole number from 0 to 4294967295"),
            (b.u32("big").unwrap_err(), "`a.b.big` is 4294967296; a whole number"),
            (b.u32("half").unwrap_err(), "`a.b.half` is a number with a fraction; a whole number"),
            (b.f32("wide").unwrap_err(), "`a.b.wide` is 1000000000000000000000000000000000000000"),
            (b.f32("t").unwrap_err(), "`a.b.t` is a string; a number is needed"),
            (b.bool("t").unwrap_err(), "`a.b.t` is a string; a bool is needed"),
            (b.str("n").unwrap_err(), "`a.b.n` is a negative number; a string is needed"),
            (b.u32s("list").unwrap_err(), "`a.b.list[1]` is a string; a whole number is needed"),
            (b.strs("t").unwrap_err(), "`a.b.t` is a string; a list of strings is needed"),
            (b.object("t").unwrap_err(), "`a.b.t` is a string; an object is needed"),
            (b.u32("absent").unwrap_err(), "the key `a.b.absent` is missing"),
        ];
        for (error, words) in told {
            let message = error.to_string();
            assert!(message.starts_with("config.json: ") && message.contains(words), "{message}");
        }
    }

    #[test]
    fn each_broken_file_ends_in_its_fault() {
        assert!(matches!(refused(b""), JsonFault::Syntax { .. }));
        assert!(matches!(refused(b"{\"a\": NaN}"), JsonFault::Syntax { .. }));
        assert!(matches!(refused(b"{\"a\": 1e999}"), JsonFault::Syntax { .. }));
        assert!(matches!(refused(b"{} {}"), JsonFault::Syntax { .. }));
        assert!(matches!(refused(b"{\"a\": \"\\ud800\"}"), JsonFault::Syntax { .. }));
        assert_eq!(refused(b"{\"a\": \"\xff\"}"), JsonFault::Encoding { position: 7 });
        assert_eq!(refused(b"[1]"), JsonFault::NotAnObject { found: "a list" });
        let key = "a".to_owned();
        assert_eq!(refused(b"{\"a\": 1, \"b\": 2, \"a\": 1}"), JsonFault::DuplicateKey { key });
        let deep = format!("{{\"a\": {}{}}}", "[".repeat(65), "]".repeat(65));
        assert_eq!(refused(deep.as_bytes()), JsonFault::Depth { max: 64 });
        let many = format!("{{\"a\": [0{}]}}", ",0".repeat(JSON_VALUES_MAX));
        assert_eq!(refused(many.as_bytes()), JsonFault::Values { max: JSON_VALUES_MAX });
        let large = vec![b' '; JSON_BYTES_MAX + 1];
        assert!(matches!(refused(&large), JsonFault::Size { .. }));
    }

    #[test]
    fn the_deepest_that_is_accepted_is_accepted() {
        file(&format!("{{\"a\": {}{}}}", "[".repeat(64), "]".repeat(64)));
    }
}
