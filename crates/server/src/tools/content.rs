//! Turns the result of a tool into a text of bounded length, which is data and nothing else.

use serde_json::Value;

use crate::limits::TOOL_RESULT_BYTES_MAX;

/// What a call gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Called {
    /// What the model is told, and people see.
    pub text: String,
    /// Whether it went wrong.
    pub failed: bool,
}

impl Called {
    /// What went wrong, in words.
    pub fn failed(text: String) -> Called {
        Called { text: bounded(text), failed: true }
    }

    /// A text that is all well.
    pub fn good(text: String) -> Called {
        Called { text: bounded(text), failed: false }
    }

    /// The result of `tools/call`: its texts, and in words what else it has.
    pub fn of(result: &Value) -> Called {
        let parts = result["content"].as_array();
        let parts = parts.into_iter().flatten().map(described);
        let mut text = parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n\n");
        let structured = result.get("structuredContent");
        if let Some(structured) = structured.filter(|_| text.is_empty()) {
            text = structured.to_string();
        }
        Called { text: bounded(text), failed: result["isError"] == true }
    }
}

/// A part of a result.
fn described(part: &Value) -> String {
    let text = |pointer: &str| part.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    match text("/type") {
        "text" => text("/text").to_owned(),
        kind @ ("image" | "audio") => {
            // Four letters are three bytes.
            let bytes = text("/data").len() / 4 * 3;
            format!("[{kind}, {}, about {bytes} bytes: it is not shown]", text("/mimeType"))
        }
        "resource_link" => {
            let name = [text("/title"), text("/name")].into_iter().find(|name| !name.is_empty());
            format!("[resource: {} {}]", name.unwrap_or_default(), text("/uri"))
        }
        "resource" => match text("/resource/text") {
            "" => format!("[resource: {} {}]", text("/resource/uri"), text("/resource/mimeType")),
            inner => format!("[resource: {}]\n{inner}", text("/resource/uri")),
        },
        other => format!("[a part of the type '{other}', which is not shown]"),
    }
}

/// The beginning of a text, with a word on what is missing.
fn bounded(mut text: String) -> String {
    let bytes = text.len();
    if bytes <= TOOL_RESULT_BYTES_MAX {
        return text;
    }
    let fits = |at: &usize| text.is_char_boundary(*at);
    let end = (0..=TOOL_RESULT_BYTES_MAX).rev().find(fits).unwrap_or(0);
    text.truncate(end);
    let missing = bytes - text.len();
    text.push_str(&format!("\n\n[{missing} bytes more are left out]"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn texts_are_kept_and_all_else_is_named() {
        let result = json!({ "content": [
            { "type": "text", "text": "It <b>rains</b>." },
            { "type": "image", "data": "AAAA", "mimeType": "image/png" },
            { "type": "resource_link", "uri": "file:///a", "name": "a" },
            { "type": "resource", "resource": { "uri": "file:///b", "text": "inner" } },
            { "type": "resource", "resource": { "uri": "file:///c", "mimeType": "x/y" } },
            { "type": "hologram" },
            7,
        ] });
        let right = "It <b>rains</b>.\n\n[image, image/png, about 3 bytes: it is not shown]\n\n\
                     [resource: a file:///a]\n\n[resource: file:///b]\ninner\n\n\
                     [resource: file:///c x/y]\n\n[a part of the type 'hologram', which is not \
                     shown]\n\n[a part of the type '', which is not shown]";
        assert_eq!(Called::of(&result), Called { text: right.into(), failed: false });
        let structured = json!({ "content": [], "structuredContent": { "a": 1 }, "isError": true });
        assert_eq!(Called::of(&structured), Called { text: "{\"a\":1}".into(), failed: true });
        assert_eq!(Called::of(&json!({})).text, "");
    }

    #[test]
    fn long_results_end_with_how_much_is_missing() {
        let called = Called::good("é".repeat(TOOL_RESULT_BYTES_MAX));
        assert!(called.text.len() < TOOL_RESULT_BYTES_MAX + 64);
        let end = format!("[{TOOL_RESULT_BYTES_MAX} bytes more are left out]");
        assert!(called.text.ends_with(&end), "{}", &called.text[called.text.len() - 64..]);
    }
}
