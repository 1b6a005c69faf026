//! The text of a parameter into JSON of the type that the tool's JSON Schema asks for.

use serde_json::Value;

use super::python;

/// Schemas inside one another (`anyOf` and its like) that are looked through for types: a
/// definition from a request may nest them as deep as JSON allows.
const DEPTH_MAX: usize = 8;

/// JSON for a value as a tool defines it. What its schema does not speak of, or what is not of a
/// type that it names, is a string: so nothing is lost.
pub(super) fn typed(text: &str, schema: Option<&Value>) -> String {
    let mut types = Types::default();
    if let Some(schema) = schema {
        types.collect(schema, 0);
    }
    let trimmed = text.trim();
    let null = types.null && matches!(trimmed, "null" | "None");
    let other = !types.string && types.any();
    let json = if null || other { of_types(trimmed, &types) } else { None };
    json.unwrap_or_else(|| string(text))
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
struct Types {
    string: bool,
    number: bool,
    boolean: bool,
    null: bool,
    /// Lists and objects.
    nested: bool,
}

impl Types {
    fn any(&self) -> bool {
        self.string || self.number || self.boolean || self.null || self.nested
    }

    fn collect(&mut self, schema: &Value, depth: usize) {
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
                list.iter().for_each(|schema| self.collect(schema, depth + 1));
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

    fn allow(&self, value: &Value) -> bool {
        match value {
            Value::String(_) => self.string,
            Value::Number(_) => self.number,
            Value::Bool(_) => self.boolean,
            Value::Null => self.null,
            Value::Array(_) | Value::Object(_) => self.nested,
        }
    }
}

/// JSON as the model wrote it, digit by digit, or what it wrote as Python: templates show it values
/// that went through Python's `str`.
fn of_types(text: &str, types: &Types) -> Option<String> {
    let is_allowed =
        |json: &str| serde_json::from_str::<Value>(json).is_ok_and(|value| types.allow(&value));
    if is_allowed(text) {
        return Some(text.to_owned());
    }
    python::to_json(text).filter(|json| is_allowed(json))
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
            (json!({"type": "number"}), "1e999", r#""1e999""#),
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
        for (schema, text, expected) in cases {
            assert_eq!(typed(text, Some(&schema)), expected, "{schema} of {text:?}");
        }
        assert_eq!(typed("12", None), r#""12""#);
        for (depth, expected) in [(DEPTH_MAX, "12"), (DEPTH_MAX + 1, r#""12""#)] {
            let nest = |schema, _| json!({"anyOf": [schema]});
            let schema = (0..depth).fold(json!({"type": "integer"}), nest);
            assert_eq!(typed("12", Some(&schema)), expected);
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
