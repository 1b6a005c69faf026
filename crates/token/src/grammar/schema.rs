//! A JSON Schema as a client wrote it into one whose every keyword will be enforced.
//!
//! The compiler overlooks some things, and its own options can be set from within a schema. So each
//! keyword is judged here first: kept, dropped because it says nothing about values, or refused by
//! name and place. References are followed here as well, whatever way they go, and become plain
//! ones into `$defs`.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::error::GrammarError;
use super::formats::{Format, format, translated};
use crate::limits::SUBSCHEMAS_MAX;

/// A schema that may be compiled.
pub(super) struct Judged {
    /// The schema, without what its references lead to.
    pub(super) root: Value,
    /// What its references lead to, by names that begin with a given prefix.
    pub(super) definitions: Map<String, Value>,
    /// The JSON pointer of each definition in the schema as it came.
    pub(super) origins: HashMap<String, String>,
}

impl Judged {
    /// A whole schema with `root` as its root.
    pub(super) fn whole(root: Value, definitions: &Map<String, Value>) -> Value {
        let mut root = match root {
            Value::Object(root) => root,
            other => Map::from_iter([("allOf".to_owned(), json!([other]))]),
        };
        if !definitions.is_empty() {
            root.insert("$defs".to_owned(), Value::Object(definitions.clone()));
        }
        Value::Object(root)
    }
}

/// Judges a schema; names of definitions begin with `prefix`.
///
/// # Errors
/// [`GrammarError::Keyword`] for the first keyword that is wrong or cannot be enforced;
/// [`GrammarError::TooLarge`].
pub(super) fn judge(schema: &Value, prefix: &str) -> Result<Judged, GrammarError> {
    let mut judge = Judge {
        root: schema,
        prefix,
        names: HashMap::new(),
        done: HashMap::new(),
        definitions: Map::new(),
        count: 0,
    };
    let mut root = judge.schema(schema, "")?;
    if let Some(name) = judge.names.get("").cloned() {
        // The root refers to itself.
        judge.definitions.insert(name.clone(), root);
        root = reference(&name);
    }
    let origins = judge.names.into_iter().map(|(pointer, name)| (name, pointer)).collect();
    Ok(Judged { root, definitions: judge.definitions, origins })
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{name}") })
}

struct Judge<'a> {
    root: &'a Value,
    prefix: &'a str,
    /// The names of what references lead to, by JSON pointer; the root's is empty.
    names: HashMap<String, String>,
    /// The sizes of the definitions that are judged, by name.
    done: HashMap<String, usize>,
    definitions: Map<String, Value>,
    /// Schemas so far.
    count: usize,
}

/// Keywords that cannot be enforced, with the values that ask for nothing.
const UNENFORCED: &[(&str, &[&str])] = &[
    ("$dynamicRef", &[]),
    ("$recursiveRef", &[]),
    ("contains", &[]),
    ("dependencies", &["{}"]),
    ("dependentRequired", &["{}"]),
    ("dependentSchemas", &["{}"]),
    ("if", &[]),
    ("not", &["false"]),
    ("propertyNames", &["true", "{}"]),
    ("unevaluatedItems", &["true", "{}"]),
    ("unevaluatedProperties", &["true", "{}"]),
    ("uniqueItems", &["false"]),
];

const TYPES: &[&str] = &["null", "boolean", "object", "array", "number", "string", "integer"];

const SPECIFICATIONS: &[&str] = &[
    "https://json-schema.org/draft/2020-12/schema",
    "https://json-schema.org/draft/2019-09/schema",
    "http://json-schema.org/draft-07/schema",
    "http://json-schema.org/draft-06/schema",
    "http://json-schema.org/draft-04/schema",
];

/// Whole numbers below this are exact in the compiler's floats, and in most readers'.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// Fractions with more digits make automata that are too large.
const FRACTION_MIN: f64 = 1e-9;

pub(super) fn refuse(pointer: &str, keyword: &str, reason: impl AsRef<str>) -> GrammarError {
    // All may have the client's own text: shown, but not at any length.
    let cut = |text: &str, length| text.chars().take(length).collect::<String>();
    GrammarError::Keyword {
        pointer: cut(pointer, 200),
        keyword: cut(keyword, 64),
        reason: cut(reason.as_ref(), 300),
    }
}

/// The pointer of a member.
pub(super) fn join(pointer: &str, step: &str) -> String {
    format!("{pointer}/{}", step.replace('~', "~0").replace('/', "~1"))
}

impl Judge<'_> {
    fn schema(&mut self, schema: &Value, pointer: &str) -> Result<Value, GrammarError> {
        self.count(1)?;
        let schema = match schema {
            Value::Bool(_) => return Ok(schema.clone()),
            Value::Object(schema) => schema,
            _ => {
                let (parent, step) = pointer.rsplit_once('/').unwrap_or(("", "schema"));
                return Err(refuse(parent, step, "must be a schema: an object, true or false"));
            }
        };
        check_together(schema, pointer)?;
        let mut judged = Map::new();
        for (keyword, value) in schema {
            if let Some(value) = self.keyword(keyword, value, pointer)? {
                judged.insert(keyword.clone(), value);
            }
        }
        if let Some(pattern) = judged.get("format").and_then(Value::as_str).and_then(pattern_of) {
            let all = judged.entry("allOf").or_insert_with(|| json!([]));
            if let Value::Array(all) = all {
                all.push(json!({ "pattern": pattern }));
            }
        }
        Ok(Value::Object(judged))
    }

    fn count(&mut self, more: usize) -> Result<(), GrammarError> {
        self.count += more;
        if self.count > SUBSCHEMAS_MAX {
            let (found, limit) = (self.count, SUBSCHEMAS_MAX);
            return Err(GrammarError::TooLarge { what: "schemas within it", found, limit });
        }
        Ok(())
    }

    /// What is kept of a keyword.
    fn keyword(
        &mut self,
        keyword: &str,
        value: &Value,
        pointer: &str,
    ) -> Result<Option<Value>, GrammarError> {
        let wrong = |right: &str| refuse(pointer, keyword, format!("must be {right}"));
        let place = join(pointer, keyword);
        match keyword {
            "$ref" => {
                let target = value.as_str().ok_or_else(|| wrong("a string"))?;
                let name = self.follow(target, pointer)?;
                Ok(Some(Value::String(format!("#/$defs/{name}"))))
            }
            "allOf" | "anyOf" | "oneOf" | "prefixItems" => {
                let schemas = self.list(value, &place, keyword == "oneOf")?;
                schemas.map(Some).ok_or_else(|| wrong("a list of at least one schema"))
            }
            "items" if value.is_array() => self.list(value, &place, false),
            "items" | "additionalItems" | "additionalProperties" => {
                self.schema(value, &place).map(Some)
            }
            "properties" | "patternProperties" => {
                let members = value.as_object().ok_or_else(|| wrong("an object of schemas"))?;
                let mut schemas = Map::new();
                for (name, member) in members {
                    let judged = self.schema(member, &join(&place, name))?;
                    let name = match keyword {
                        "properties" => Ok(name.clone()),
                        _ => pattern(name),
                    };
                    let name = name.map_err(|reason| refuse(pointer, keyword, reason))?;
                    schemas.insert(name, judged);
                }
                Ok(Some(Value::Object(schemas)))
            }
            "required" | "enum" => {
                self.count(value.as_array().map_or(0, Vec::len))?;
                assertion(keyword, value).map_err(|reason| refuse(pointer, keyword, reason))
            }
            "$id" if !pointer.is_empty() && value.is_string() => {
                let reason = "is supported at the root only: references start there";
                Err(refuse(pointer, keyword, reason))
            }
            _ => assertion(keyword, value).map_err(|reason| refuse(pointer, keyword, reason)),
        }
    }

    /// A list of schemas; `None` where it is none, or empty. With `follow`, references are put in
    /// place, since the compiler looks at each to tell them apart.
    fn list(
        &mut self,
        value: &Value,
        pointer: &str,
        follow: bool,
    ) -> Result<Option<Value>, GrammarError> {
        let Some(schemas) = value.as_array().filter(|schemas| !schemas.is_empty()) else {
            return Ok(None);
        };
        let mut judged = Vec::with_capacity(schemas.len());
        for (at, schema) in schemas.iter().enumerate() {
            let mut schema = self.schema(schema, &format!("{pointer}/{at}"))?;
            if follow
                && let Some(fields) = schema.as_object().filter(|fields| fields.len() == 1)
                && let Some(name) = fields.get("$ref").and_then(Value::as_str)
                && let Some(name) = name.strip_prefix("#/$defs/")
                // One that refers to itself, by and by, is not known yet.
                && let Some(&size) = self.done.get(name)
            {
                self.count(size)?;
                schema = self.definitions[name].clone();
            }
            judged.push(schema);
        }
        Ok(Some(Value::Array(judged)))
    }

    /// The name of the definition that a reference leads to.
    fn follow(&mut self, target: &str, pointer: &str) -> Result<String, GrammarError> {
        let refuse = |reason: &str| {
            let shown: String = target.chars().take(100).collect();
            refuse(pointer, "$ref", format!("'{shown}' {reason}"))
        };
        let Some(fragment) = target.strip_prefix('#') else {
            return Err(refuse("leads out of the schema: right would be '#' or '#/…'"));
        };
        let Some(path) = percent_decoded(fragment) else {
            return Err(refuse("has a broken percent-encoding"));
        };
        // `#/` is meant as the root by many, though it names the member "".
        let path = if path == "/" { String::new() } else { path };
        if !path.is_empty() && !path.starts_with('/') {
            return Err(refuse("is an anchor, which is not supported: right would be '#/…'"));
        }
        if let Some(name) = self.names.get(&path) {
            return Ok(name.clone());
        }
        let root = self.root;
        let schema = root.pointer(&path).ok_or_else(|| refuse("leads nowhere"))?;
        let name = format!("{}{}", self.prefix, self.names.len());
        self.names.insert(path.clone(), name.clone());
        // The root is judged already, or being so.
        if !path.is_empty() {
            let before = self.count;
            let judged = self.schema(schema, &path)?;
            self.definitions.insert(name.clone(), judged);
            self.done.insert(name.clone(), self.count - before);
        }
        Ok(name)
    }
}

/// What values of a format follow beside what the compiler knows of it.
fn pattern_of(name: &str) -> Option<&'static str> {
    match format(name) {
        Format::EnforcedWith(pattern) => Some(pattern),
        _ => None,
    }
}

/// What is kept of a keyword that has no schemas within, or what is wrong with it.
fn assertion(keyword: &str, value: &Value) -> Result<Option<Value>, String> {
    match keyword {
        "type" => check_type(value)?,
        "const" => check_value(value)?,
        "enum" => match value.as_array() {
            Some(values) if !values.is_empty() => values.iter().try_for_each(check_value)?,
            _ => return Err("must be a list of at least one value".to_owned()),
        },
        "required" => match value.as_array() {
            Some(names) if names.iter().all(Value::is_string) => {}
            _ => return Err("must be a list of strings".to_owned()),
        },
        "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties" | "maxProperties" => {
            // 1.0 is as whole as 1.
            let whole = value.as_f64().filter(|number| number.fract() == 0.0);
            let whole = whole.filter(|number| (0.0..=f64::from(u32::MAX)).contains(number));
            let whole = whole.ok_or("must be a whole number from 0 to 2^32 - 1")?;
            return Ok(Some(Value::from(whole as u64)));
        }
        // As draft 4 has them.
        "exclusiveMinimum" | "exclusiveMaximum" if value.is_boolean() => {}
        "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" => {
            check_number(value.as_number().ok_or("must be a number")?)?;
        }
        "multipleOf" => {
            let number = value.as_number();
            let number = number.filter(|number| number.as_f64().is_some_and(|it| it > 0.0));
            check_number(number.ok_or("must be a number above 0")?)?;
        }
        "pattern" => {
            return pattern(value.as_str().ok_or("must be a string")?).map(|it| Some(it.into()));
        }
        "format" => {
            let name = value.as_str().ok_or("must be a string")?;
            match format(name) {
                Format::Enforced | Format::EnforcedWith(_) => {}
                Format::Annotation => return Ok(None),
                Format::Unknown => return Err(format!("'{name}' cannot be enforced")),
            }
        }
        "$schema" => {
            let name = value.as_str().unwrap_or_default().trim_end_matches('#');
            if !SPECIFICATIONS.contains(&name) {
                return Err(format!("must be one of {}", SPECIFICATIONS.join(", ")));
            }
            return Ok(None);
        }
        _ => return unenforced(keyword, value),
    }
    Ok(Some(value.clone()))
}

/// Keywords that are dropped, or refused. What nobody knows is an annotation (JSON Schema core,
/// 6.5), as are `title` and the like, and what means something beside another keyword alone.
fn unenforced(keyword: &str, value: &Value) -> Result<Option<Value>, String> {
    match UNENFORCED.iter().find(|(name, _)| *name == keyword) {
        Some((_, nothing)) if !nothing.contains(&value.to_string().as_str()) => {
            Err("cannot be enforced".to_owned())
        }
        _ => Ok(None),
    }
}

fn check_type(value: &Value) -> Result<(), String> {
    let known = |name: &Value| name.as_str().is_some_and(|name| TYPES.contains(&name));
    let right = match value {
        Value::Array(names) => !names.is_empty() && names.iter().all(known),
        name => known(name),
    };
    if right { Ok(()) } else { Err(format!("must be one or a list of {}", TYPES.join(", "))) }
}

/// What is wrong only beside another keyword.
fn check_together(schema: &Map<String, Value>, pointer: &str) -> Result<(), GrammarError> {
    if schema.contains_key("additionalItems") && schema.contains_key("prefixItems") {
        let reason = "has no meaning beside 'prefixItems': right would be 'items'";
        return Err(refuse(pointer, "additionalItems", reason));
    }
    let required = schema.get("required").and_then(Value::as_array).map_or(0, Vec::len);
    let least = schema.get("minProperties").and_then(Value::as_f64).unwrap_or(0.0);
    if least > required as f64 + 1.0 {
        // Names that the schema does not list are not compared with each other.
        let reason = "can be enforced up to one more than there are 'required' properties";
        return Err(refuse(pointer, "minProperties", reason));
    }
    Ok(())
}

/// A pattern as the compiler writes it.
fn pattern(text: &str) -> Result<String, String> {
    translated(text).map_err(|foreign| format!("has {foreign}, which cannot be enforced"))
}

/// Values that can be written.
fn check_value(value: &Value) -> Result<(), String> {
    match value {
        Value::String(text) => {
            // Written as \u00XX, which is not allowed in answers: it could spell the name of a
            // property in a second way.
            let unwritten = |c: char| (c < ' ' && !"\n\r\t\u{8}\u{c}".contains(c)) || c == '\u{7f}';
            match text.contains(unwritten) {
                true => Err("has a control character, which cannot be enforced".to_owned()),
                false => Ok(()),
            }
        }
        Value::Number(number) => check_number(number),
        Value::Array(values) => values.iter().try_for_each(check_value),
        Value::Object(members) => members.values().try_for_each(check_value),
        Value::Null | Value::Bool(_) => Ok(()),
    }
}

fn check_number(number: &serde_json::Number) -> Result<(), String> {
    let value = number.as_f64().unwrap_or(f64::INFINITY);
    if value.abs() >= EXACT_MAX {
        return Err("has a number of 2^53 or more, which cannot be enforced exactly".to_owned());
    }
    if value != 0.0 && value.abs() < FRACTION_MIN {
        return Err(format!(
            "has a number nearer to 0 than {FRACTION_MIN}, which cannot be enforced"
        ));
    }
    Ok(())
}

/// A fragment of a URI as it was before its encoding.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let [high, low, after @ ..] = rest else { return None };
        let digit = |byte: &u8| (*byte as char).to_digit(16);
        bytes.push((digit(high)? * 16 + digit(low)?) as u8);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}
