//! The text of a parameter into JSON of the type that the tool's JSON Schema asks for.

use serde::de::IgnoredAny;
use serde_json::Value;

use super::python;

/// Schemas inside one another (`anyOf`, references and their like) that are looked through for
/// types: a definition from a request may nest them as deep as JSON allows, or without end.
const DEPTH_MAX: usize = 8;

/// JSON for a value as a tool defines it; `root` is what references in its schema start from. What
/// the schema does not speak of, or what is not of a type that it names, is a string: so nothing is
/// lost.
pub(super) fn typed(text: &str, schema: Option<&Value>, root: Option<&Value>) -> String {
    let types = Types::of(schema, root);
    let trimmed = text.trim();
    let null = types.null && matches!(trimmed, "null" | "None");
    let json = if null || !types.reads_text() { of_types(trimmed, &types) } else { None };
    json.unwrap_or_else(|| string(text))
}

/// What a reference leads to, where it is one that stays in the schema.
pub(crate) fn followed<'a>(schema: &'a Value, root: Option<&'a Value>) -> &'a Value {
    let mut schema = schema;
    for _ in 0..DEPTH_MAX {
        let target = schema.get("$ref").and_then(Value::as_str);
        let target = target.and_then(|target| target.strip_prefix('#'));
        match target.and_then(|pointer| root?.pointer(pointer)) {
            Some(found) => schema = found,
            None => break,
        }
    }
    schema
}

/// JSON for a value that is marked as anything but a string.
pub(super) fn untyped(text: &str) -> String {
    let all = Types { string: true, number: true, boolean: true, null: true, nested: true };
    of_types(text.trim(), &all).unwrap_or_else(|| string(text))
}

/// JSON for a string.
pub(super) fn string(text: &str) -> String {
    Value::from(text).to_string()
}

/// Which types a schema allows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Types {
    string: bool,
    number: bool,
    boolean: bool,
    null: bool,
    /// Lists and objects.
    nested: bool,
}

impl Types {
    pub(crate) fn of(schema: Option<&Value>, root: Option<&Value>) -> Types {
        let mut types = Types::default();
        if let Some(schema) = schema {
            types.collect(schema, root, 0);
        }
        types
    }

    /// Whether a value is taken as it stands, word for word, and not as JSON.
    pub(crate) fn reads_text(&self) -> bool {
        self.string || !(self.number || self.boolean || self.null || self.nested)
    }

    /// Whether `null` is no string nevertheless.
    pub(crate) fn reads_null(&self) -> bool {
        self.null
    }

    fn collect(&mut self, schema: &Value, root: Option<&Value>, depth: usize) {
        match schema.get("type") {
            Some(Value::String(name)) => self.add(name),
            Some(Value::Array(names)) => {
                names.iter().filter_map(Value::as_str).for_each(|name| self.add(name));
            }
            _ => {}
        }
        let listed = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
        for value in listed.chain(schema.get("const")) {
            self.add(match value {
                Value::String(_) => "string",
                Value::Number(_) => "number",
                Value::Bool(_) => "boolean",
                Value::Null => "null",
                Value::Array(_) | Value::Object(_) => "object",
            });
        }
        if depth < DEPTH_MAX {
            let lists = ["anyOf", "oneOf", "allOf"].map(|key| schema.get(key));
            for list in lists.into_iter().flatten().filter_map(Value::as_array) {
                list.iter().for_each(|schema| self.collect(schema, root, depth + 1));
            }
            if schema.get("$ref").is_some() {
                let target = followed(schema, root);
                if !std::ptr::eq(target, schema) {
                    self.collect(target, root, depth + 1);
                }
            }
        }
    }

    fn add(&mut self, name: &str) {
        match name {
            "string" => self.string = true,
            "number" | "integer" => self.number = true,
            "boolean" => self.boolean = true,
            "null" => self.null = true,
            "array" | "object" => self.nested = true,
            _ => {}
        }
    }

    /// Whether a text is JSON of one of them. A number may have more digits than any machine's.
    fn allow(&self, json: &str) -> bool {
        serde_json::from_str::<IgnoredAny>(json).is_ok()
            && match json.as_bytes().first() {
                Some(b'"') => self.string,
                Some(b't' | b'f') => self.boolean,
                Some(b'n') => self.null,
                Some(b'[' | b'{') => self.nested,
                _ => self.number,
            }
    }
}

/// JSON as the model wrote it, digit by digit, or what it wrote as Python: templates show it values
/// that went through Python's `str`.
fn of_types(text: &str, types: &Types) -> Option<String> {
    if types.allow(text) {
        return Some(text.to_owned());
    }
    python::to_json(text).filter(|json| types.allow(json))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_take_the_type_of_their_schema() {
        let long = "123456789012345678901234567890.5";
        let cases = [
            (json!({"type": "string"}), "12", r#""12""#),
            (json!({"type": "string"}), " a\n\"b\" ", r#"" a\n\"b\" ""#),
            (json!({"type": "integer"}), " 12\n", "12"),
            (json!({"type": "number"}), long, long),
            (json!({"type": "number"}), "1e999", "1e999"),
            (json!({"$ref": "#/$defs/count"}), "12", "12"),
            (json!({"$ref": "#/$defs/itself"}), "12", r#""12""#),
            (json!({"anyOf": [{"$ref": "#/$defs/count"}, {"type": "null"}]}), "12", "12"),
            (json!({"type": "number"}), "many", r#""many""#),
            (json!({"type": "boolean"}), "true", "true"),
            (json!({"type": "boolean"}), "False", "false"),
            (json!({"type": "boolean"}), "1", r#""1""#),
            (json!({"type": "array"}), "[1, \"a\"]", "[1, \"a\"]"),
            (json!({"type": "array"}), "(1, 'a')", r#"[1, "a"]"#),
            (json!({"type": "object"}), "{'a': None}", r#"{"a": null}"#),
            (json!({"type": "object"}), "{broken", r#""{broken""#),
            (json!({"type": ["string", "null"]}), "null", "null"),
            (json!({"type": ["string", "null"]}), "nullable", r#""nullable""#),
            (json!({"type": ["integer", "string"]}), "12", r#""12""#),
            (json!({"anyOf": [{"type": "integer"}, {"type": "null"}]}), "12", "12"),
            (json!({"anyOf": [{"type": "integer"}, {"type": "null"}]}), "None", "null"),
            (json!({"enum": [1, 2]}), "2", "2"),
            (json!({"enum": ["1", "2"]}), "2", r#""2""#),
            (json!({"const": true}), "True", "true"),
            (json!({"description": "anything"}), "12", r#""12""#),
            (json!(true), "12", r#""12""#),
        ];
        let root = json!({"$defs": {
            "count": {"$ref": "#/$defs/whole"}, "whole": {"type": "integer"},
            "itself": {"$ref": "#/$defs/itself"},
        }});
        for (schema, text, expected) in cases {
            assert_eq!(typed(text, Some(&schema), Some(&root)), expected, "{schema} of {text:?}");
        }
        assert_eq!(typed("12", None, None), r#""12""#);
        for (depth, expected) in [(DEPTH_MAX, "12"), (DEPTH_MAX + 1, r#""12""#)] {
            let nest = |schema, _| json!({"anyOf": [schema]});
            let schema = (0..depth).fold(json!({"type": "integer"}), nest);
            assert_eq!(typed("12", Some(&schema), None), expected);
        }
    }

    #[test]
    fn values_that_are_no_strings_need_no_schema() {
        let cases = [("12", "12"), ("null", "null"), ("True", "true"), (" [1] ", "[1]")];
        for (text, expected) in cases.into_iter().chain([("no json", "\"no json\"")]) {
            assert_eq!(untyped(text), expected);
        }
    }
}
