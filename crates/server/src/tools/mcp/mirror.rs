//! Turns the arguments that a schema marks with `x-mcp-header` into headers of a call.
//!
//! MCP 2026-07-28, "Custom Headers from Tool Parameters": what stands between client and server
//! routes by them without reading bodies. A schema that breaks the rules makes its tool unusable.

use axum::http::{HeaderName, HeaderValue};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

/// The keyword.
const KEYWORD: &str = "x-mcp-header";

/// Whole numbers that every reader of JSON can tell apart.
const WHOLE_MAX: i64 = (1 << 53) - 1;

/// An argument that is sent as a header, too.
#[derive(Clone, Debug, PartialEq)]
pub struct Mirrored {
    /// Names of properties, from the root to the argument.
    path: Vec<String>,
    /// The header.
    header: HeaderName,
}

/// All that a schema marks.
///
/// # Errors
/// What is wrong with a mark.
pub fn find(schema: &Value) -> Result<Vec<Mirrored>, String> {
    let mut found = Vec::new();
    walk(schema, &mut Vec::new(), &mut found)?;
    if found.len() != marks(schema) {
        return Err(format!("its schema has {KEYWORD} where no fixed property is"));
    }
    for (at, one) in found.iter().enumerate() {
        if found[..at].iter().any(|other: &Mirrored| other.header == one.header) {
            return Err(format!("its schema has one {KEYWORD} twice"));
        }
    }
    Ok(found)
}

/// The headers of a call.
pub fn headers(
    mirrored: &[Mirrored],
    arguments: &Map<String, Value>,
) -> Vec<(HeaderName, HeaderValue)> {
    let of = |one: &Mirrored| {
        let (first, rest) = one.path.split_first()?;
        let value = rest.iter().try_fold(arguments.get(first)?, |value, name| value.get(name))?;
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            _ => return None,
        };
        Some((one.header.clone(), encoded(&text)?))
    };
    mirrored.iter().filter_map(of).collect()
}

/// A text as the value of a header, in base64 where it could not stand there as it is.
pub fn encoded(text: &str) -> Option<HeaderValue> {
    const BEFORE: &str = "=?base64?";
    let plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t'))
        && text.trim() == text
        && !(text.starts_with(BEFORE) && text.ends_with("?="));
    match plain {
        true => HeaderValue::from_str(text).ok(),
        false => HeaderValue::from_str(&format!("{BEFORE}{}?=", STANDARD.encode(text))).ok(),
    }
}

/// Marks that a chain of `properties` reaches; the depth of schemas is bounded before.
fn walk(schema: &Value, path: &mut Vec<String>, found: &mut Vec<Mirrored>) -> Result<(), String> {
    if let Some(mark) = schema.get(KEYWORD) {
        let name = mark.as_str().filter(|name| !name.is_empty());
        let header = name.and_then(|name| format!("mcp-param-{name}").parse().ok());
        let header =
            header.ok_or_else(|| format!("its schema has an {KEYWORD} that is no name"))?;
        let kind = schema["type"].as_str().unwrap_or_default();
        if !["string", "integer", "boolean"].contains(&kind) || path.is_empty() {
            return Err(format!("its schema has {KEYWORD} on a value of type '{kind}'"));
        }
        if bounds(schema).any(|bound| !(-WHOLE_MAX..=WHOLE_MAX).contains(&bound)) {
            return Err(format!("its schema has {KEYWORD} on integers beyond 2^53"));
        }
        found.push(Mirrored { path: path.clone(), header });
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        path.push(name.clone());
        walk(property, path, found)?;
        path.pop();
    }
    Ok(())
}

fn bounds(schema: &Value) -> impl Iterator<Item = i64> {
    ["minimum", "maximum"].into_iter().filter_map(|name| schema[name].as_i64())
}

/// All marks, wherever they stand. A property of that name is none.
fn marks(schema: &Value) -> usize {
    match schema {
        Value::Array(values) => values.iter().map(marks).sum(),
        Value::Object(map) => map.iter().map(|(name, value)| marks_of(name, value)).sum(),
        _ => 0,
    }
}

fn marks_of(name: &str, value: &Value) -> usize {
    match (name, value) {
        (KEYWORD, _) => 1,
        ("properties" | "$defs" | "patternProperties", Value::Object(schemas)) => {
            schemas.values().map(marks).sum()
        }
        (_, value) => marks(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn marked_arguments_become_headers() {
        let schema = json!({ "type": "object", "properties": {
            "region": { "type": "string", "x-mcp-header": "Region" },
            "deep": { "type": "object", "properties": {
                "on": { "type": "boolean", "x-mcp-header": "On" },
                "n": { "type": "integer", "x-mcp-header": "N" } } },
            "x-mcp-header": { "type": "string" },
        } });
        let found = find(&schema).unwrap();
        let sent = |arguments: Value| -> Vec<(String, String)> {
            let headers = headers(&found, arguments.as_object().unwrap());
            let text = |value: HeaderValue| value.to_str().unwrap().to_owned();
            headers.into_iter().map(|(name, value)| (name.to_string(), text(value))).collect()
        };
        let all = sent(json!({ "region": "us-west1", "deep": { "on": true, "n": -7 } }));
        let right = [("region", "us-west1"), ("on", "true"), ("n", "-7")];
        let right = right.map(|(name, value)| (format!("mcp-param-{name}"), value.to_owned()));
        assert_eq!(all, right);
        assert_eq!(sent(json!({ "region": null })), []);
        for (text, value) in [
            ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
            (" padded ", "=?base64?IHBhZGRlZCA=?="),
            ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
            ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
        ] {
            assert_eq!(sent(json!({ "region": text }))[0].1, value);
        }
    }

    #[test]
    fn marks_that_break_the_rules_are_told() {
        let property = |schema: Value| json!({ "properties": { "a": schema } });
        let string = json!({ "type": "string", "x-mcp-header": "A" });
        for schema in [
            property(json!({ "type": "number", "x-mcp-header": "A" })),
            property(json!({ "type": "string", "x-mcp-header": "" })),
            property(json!({ "type": "string", "x-mcp-header": "a b" })),
            property(json!({ "type": "string", "x-mcp-header": 3 })),
            property(json!({ "type": "integer", "maximum": 1i64 << 60, "x-mcp-header": "A" })),
            property(json!({ "type": "array", "items": string })),
            json!({ "type": "string", "x-mcp-header": "A" }),
            json!({ "properties": { "a": string, "b": string } }),
            json!({ "anyOf": [property(string.clone())] }),
        ] {
            assert!(find(&schema).is_err(), "{schema}");
        }
        assert_eq!(find(&json!({ "type": "object" })), Ok(Vec::new()));
    }
}
