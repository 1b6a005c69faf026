//! Turns what a server says of a tool into one that models may be offered, or why it may not be.

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::mcp::mirror::{self, Mirrored};
use crate::limits::{
    TOOL_OFFER_DESCRIPTION_CHARS_MAX, TOOL_OFFER_SCHEMA_BYTES_MAX, TOOL_OFFER_TITLE_CHARS_MAX,
    TOOL_SCHEMA_DEPTH_MAX,
};

/// Bytes of a name that models call, as all providers take it.
const NAME_BYTES_MAX: usize = 64;

/// Hexadecimal digits that tell names apart which had to be changed.
const DIGITS: usize = 8;

/// A tool as models know it.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// What models call.
    pub name: String,
    /// What its server calls it.
    pub own: String,
    /// What people call it.
    pub title: Option<String>,
    /// What it is for.
    pub description: String,
    /// The JSON Schema of its arguments.
    pub schema: Value,
    /// Arguments that its server wants in headers, too.
    pub mirrored: Vec<Mirrored>,
    /// Whether arguments can be held to the schema.
    pub held: bool,
    /// Why it cannot be offered.
    pub unavailable: Option<String>,
}

impl Tool {
    /// What the server of this name says of a tool; none where that has no name.
    pub fn read(server: &str, said: &Value) -> Option<Tool> {
        let own = said["name"].as_str().filter(|name| !name.is_empty())?;
        let text = |field: &str, chars_max: usize| {
            let text = said[field].as_str().map(str::trim).filter(|text| !text.is_empty());
            text.map(|text| clipped(text, chars_max))
        };
        let schema = said["inputSchema"].clone();
        let (mirrored, unavailable) = match judged(&schema) {
            Ok(mirrored) => (mirrored, None),
            Err(reason) => (Vec::new(), Some(reason)),
        };
        Some(Tool {
            name: full_name(server, own),
            own: own.to_owned(),
            title: text("title", TOOL_OFFER_TITLE_CHARS_MAX),
            description: text("description", TOOL_OFFER_DESCRIPTION_CHARS_MAX).unwrap_or_default(),
            // What is no schema is not kept.
            schema: if unavailable.is_none() { schema } else { Value::Null },
            mirrored,
            held: false,
            unavailable,
        })
    }
}

/// What is told of a schema's arguments, or why it is none that can be offered.
fn judged(schema: &Value) -> Result<Vec<Mirrored>, String> {
    if !schema.is_object() {
        return Err("its inputSchema is no object".to_owned());
    }
    let bytes = schema.to_string().len();
    if bytes > TOOL_OFFER_SCHEMA_BYTES_MAX {
        return Err(format!(
            "its schema has {bytes} bytes; right would be at most {TOOL_OFFER_SCHEMA_BYTES_MAX}"
        ));
    }
    if depth(schema) > TOOL_SCHEMA_DEPTH_MAX {
        return Err(format!("its schema is nested deeper than {TOOL_SCHEMA_DEPTH_MAX} levels"));
    }
    mirror::find(schema)
}

/// Levels of arrays and objects: the reader of JSON bounds them.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(values) => 1 + values.iter().map(depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// `SERVER__TOOL`, of letters that all providers take. It follows from the two names alone, so that
/// what other tools there are changes nothing; names of servers have no `__`, and what had to be
/// changed ends in digits of the name that it had.
fn full_name(server: &str, own: &str) -> String {
    let letter = |char: char| char.is_ascii_alphanumeric() || char == '_' || char == '-';
    let plain = format!("{server}__{own}");
    if plain.len() <= NAME_BYTES_MAX && own.chars().all(letter) {
        return plain;
    }
    let digest = Sha256::digest(plain.as_bytes());
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let cleaned = plain.chars().map(|char| if letter(char) { char } else { '_' });
    let begun: String = cleaned.take(NAME_BYTES_MAX - DIGITS - 1).collect();
    format!("{begun}_{}", &digits[..DIGITS])
}

/// The beginning of a text.
fn clipped(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_follow_from_two_names_and_never_meet() {
        assert_eq!(full_name("weather", "get_forecast"), "weather__get_forecast");
        assert_eq!(full_name("a", "_b"), "a___b");
        let odd = ["a b", "a.b", "a/b", "ü", &"x".repeat(200), &"x".repeat(201), "a_b"];
        let mut names: Vec<String> = odd.iter().map(|own| full_name("s", own)).collect();
        for name in &names {
            assert!(name.len() <= NAME_BYTES_MAX && name.starts_with("s__"), "{name}");
            let right = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
            assert!(name.bytes().all(right), "{name}");
        }
        names.sort();
        names.dedup();
        assert_eq!(names.len(), odd.len());
    }

    #[test]
    fn what_cannot_be_offered_says_why_and_the_rest_is_bounded() {
        let said =
            |schema: Value| json!({ "name": "t", "description": "d", "inputSchema": schema });
        let mut deep = json!({});
        for _ in 0..40 {
            deep = json!({ "items": deep });
        }
        let large = json!({ "description": "x".repeat(TOOL_OFFER_SCHEMA_BYTES_MAX) });
        for (schema, reason) in [
            (Value::Null, "no object"),
            (json!(true), "no object"),
            (deep, "nested deeper"),
            (large, "right would be at most"),
        ] {
            let tool = Tool::read("s", &said(schema)).unwrap();
            let unavailable = tool.unavailable.unwrap();
            assert!(unavailable.contains(reason), "{unavailable}");
        }
        let mut long = said(json!({ "type": "object" }));
        long["description"] = json!("é".repeat(TOOL_OFFER_DESCRIPTION_CHARS_MAX + 1));
        let tool = Tool::read("s", &long).unwrap();
        assert_eq!(tool.description.chars().count(), TOOL_OFFER_DESCRIPTION_CHARS_MAX + 1);
        assert!(tool.unavailable.is_none() && tool.description.ends_with('…'));
        assert_eq!(Tool::read("s", &json!({ "inputSchema": {} })), None);
    }
}
