//! The source of a template into the source that is compiled: training tags out, checks in.
//!
//! - `{% generation %}` marks the answer for training. It renders as nothing, so it becomes an `if`
//!   that is always true, which keeps the tag's white-space control.
//! - What a `{% set %}` stores goes through a filter (see [`crate::keep`]). Nothing else in a
//!   template lasts from one turn of a loop to the next, so nothing else can build values that are
//!   nested without limit or hold themselves, on which minijinja would overflow the stack.
//!
//! Tags are found wherever `{%` stands, without asking whether that is in a comment or a raw block:
//! then no trick of quoting can hide one. (Text in a raw block that looks like a tag is changed.)

/// Filter for what is stored in a variable.
pub(crate) const KEEP: &str = "__keep";
/// Filter for what is stored in an attribute of a namespace.
pub(crate) const KEEP_INSIDE: &str = "__keep_inside";

/// A `{% set %}` whose value has brackets that do not match.
#[derive(Debug, thiserror::Error)]
#[error("brackets do not match in `{{%{0}%}}`")]
pub(crate) struct Unbalanced(String);

/// The source to compile.
pub(crate) fn prepare(source: &str) -> Result<String, Unbalanced> {
    let mut out = String::with_capacity(source.len() + source.len() / 8);
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, after) = rest.split_at(at + 2);
        out.push_str(before);
        rest = after;
        let start = after.trim_start_matches(['-', '+']).trim_start();
        let word_end = start.find(|c: char| !c.is_alphanumeric() && c != '_');
        let word = &start[..word_end.unwrap_or(start.len())];
        let replacement = match word {
            "generation" => "if true",
            "endgeneration" => "endif",
            "set" => {
                let tag = checked_set(after, after.len() - start.len() + word.len())?;
                out.push_str(&tag.text);
                rest = &after[tag.length..];
                continue;
            }
            _ => continue,
        };
        out.push_str(&after[..after.len() - start.len()]);
        out.push_str(replacement);
        rest = &start[word.len()..];
    }
    out.push_str(rest);
    Ok(out)
}

struct Tag {
    text: String,
    /// Bytes of the original, without `%}`.
    length: usize,
}

/// A `set` tag with its value filtered; `name_end` is where the word `set` ends in `tag`.
fn checked_set(tag: &str, name_end: usize) -> Result<Tag, Unbalanced> {
    let unchanged = |length: usize| Tag { text: tag[..length].to_owned(), length };
    let is_target = |c: char| c.is_alphanumeric() || c.is_whitespace() || "_.,()".contains(c);
    let rest = &tag[name_end..];
    let target_end = name_end + rest.find(|c| !is_target(c)).unwrap_or(rest.len());
    let filter = if tag[name_end..target_end].contains('.') { KEEP_INSIDE } else { KEEP };
    let operator = tag[target_end..].chars().next();
    if !matches!(operator, Some('=' | '|')) {
        // `{% set x %}text{% endset %}` stores text, and anything else is no valid tag.
        return Ok(unchanged(target_end));
    }
    let value_start = target_end + 1;
    let end = value_end(&tag[value_start..]).map(|length| value_start + length);
    let end = end.ok_or_else(|| Unbalanced(tag.chars().take(100).collect()))?;
    let value = tag[value_start..end].trim_end();
    let (value, control) = match value.strip_suffix(['-', '+']) {
        Some(before) => (before, &value[before.len()..]),
        None => (value, ""),
    };
    let target = &tag[..value_start];
    let text = match operator {
        Some('=') => format!("{target} ({value})|{filter} {control}"),
        _ => format!("{target}{value}|{filter} {control}"),
    };
    Ok(Tag { text, length: end })
}

/// Where the `%}` is that ends a value; `None` if its brackets do not match. A value that closes a
/// bracket which it did not open could leave the parentheses put around it.
fn value_end(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut open = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            quote @ (b'\'' | b'"') => {
                at += 1;
                while *bytes.get(at)? != quote {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
            }
            b'%' if bytes.get(at + 1) == Some(&b'}') => return open.is_empty().then_some(at),
            b'(' => open.push(b')'),
            b'[' => open.push(b']'),
            b'{' => open.push(b'}'),
            close @ (b')' | b']' | b'}') if open.pop() != Some(close) => return None,
            _ => {}
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generation_tags_become_a_condition() {
        let cases = [
            ("a{% generation %}b{% endgeneration %}c", "a{% if true %}b{% endif %}c"),
            ("{%- generation -%}x{%endgeneration-%}", "{%- if true -%}x{%endif-%}"),
            ("{% if add_generation_prompt %}", "{% if add_generation_prompt %}"),
            ("generation {% generation", "generation {% if true"),
        ];
        for (source, expected) in cases {
            assert_eq!(prepare(source).expect("balanced"), expected);
        }
    }

    #[test]
    fn stored_values_are_filtered() {
        let cases = [
            ("{% set x = 1 %}", "{% set x = ( 1 )|__keep %}"),
            (
                "{%- set ns.x = a if b else [c] -%}",
                "{%- set ns.x = ( a if b else [c] )|__keep_inside -%}",
            ),
            ("{%set x='%}' ~ \"\\\"%}\"%}y", "{%set x= ('%}' ~ \"\\\"%}\")|__keep %}y"),
            ("{% set x %}1{% endset %}", "{% set x %}1{% endset %}"),
            ("{% set ns.x | default(ns) %}", "{% set ns.x | default(ns) |__keep_inside %}"),
            ("{% set a, ns.b = 1, {2: 3} %}", "{% set a, ns.b = ( 1, {2: 3} )|__keep_inside %}"),
            ("{% settle = 1 %}", "{% settle = 1 %}"),
        ];
        for (source, expected) in cases {
            let spaces = |text: &str| text.replace(' ', "");
            assert_eq!(spaces(&prepare(source).expect("balanced")), spaces(expected));
        }
        for source in
            ["{% set ns.x = ns) or (1 %}", "{% set x = [1)] %}", "{% set x = 'a %}", "{% set x = 1"]
        {
            assert!(prepare(source).is_err(), "{source}");
        }
    }
}
