//! Template values into JSON as Python's `json.dumps` writes it, which is what templates were made
//! with: `, ` and `: ` between items, characters beyond ASCII as they are, nothing escaped for
//! HTML.

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, Value};

use crate::guard;
use crate::limits::{JSON_DEPTH_MAX, TEMPLATE_OUTPUT_BYTES_MAX};

/// The arguments of `json.dumps` that templates use.
#[derive(Clone, Debug)]
pub(crate) struct JsonStyle {
    pub(crate) ensure_ascii: bool,
    /// What one level is indented by; `None` writes all on one line.
    pub(crate) indent: Option<String>,
    pub(crate) item_separator: String,
    pub(crate) key_separator: String,
    pub(crate) sort_keys: bool,
}

/// A value as JSON.
pub(crate) fn to_json(value: &Value, style: &JsonStyle) -> Result<String, Error> {
    let mut writer = Writer { out: String::new(), style, depth: 0 };
    writer.value(value)?;
    Ok(writer.out)
}

struct Writer<'a> {
    out: String,
    style: &'a JsonStyle,
    depth: usize,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value) -> Result<(), Error> {
        if self.depth > JSON_DEPTH_MAX || self.out.len() > TEMPLATE_OUTPUT_BYTES_MAX {
            return Err(invalid("tojson: the value is too deep or too large"));
        }
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.out.push_str(&number(value)),
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => self.list(value)?,
            ValueKind::Map => self.map(value)?,
            kind => return Err(invalid(format!("tojson: {kind} cannot be written as JSON"))),
        }
        Ok(())
    }

    fn list(&mut self, value: &Value) -> Result<(), Error> {
        self.out.push('[');
        self.depth += 1;
        let mut count = 0;
        for item in value.try_iter()?.checked() {
            self.before_item(count);
            self.value(&item?)?;
            count += 1;
        }
        self.end(count, ']');
        Ok(())
    }

    fn map(&mut self, value: &Value) -> Result<(), Error> {
        let mut pairs = Vec::new();
        for key in value.try_iter()?.checked() {
            let key = key?;
            let text = match key.kind() {
                ValueKind::String => key.as_str().unwrap_or_default().to_owned(),
                ValueKind::None => "null".to_owned(),
                ValueKind::Bool => if key.is_true() { "true" } else { "false" }.to_owned(),
                ValueKind::Number => number(&key),
                kind => return Err(invalid(format!("tojson: {kind} cannot be a key"))),
            };
            pairs.push((text, value.get_item(&key)?));
        }
        if self.style.sort_keys {
            pairs.sort_by(|(left, _), (right, _)| left.cmp(right));
        }
        self.out.push('{');
        self.depth += 1;
        for (count, (key, item)) in pairs.iter().enumerate() {
            self.before_item(count);
            self.string(key);
            self.out.push_str(&self.style.key_separator);
            self.value(item)?;
        }
        self.end(pairs.len(), '}');
        Ok(())
    }

    fn before_item(&mut self, count: usize) {
        if count > 0 {
            self.out.push_str(&self.style.item_separator);
        }
        self.new_line();
    }

    fn end(&mut self, count: usize, bracket: char) {
        self.depth -= 1;
        if count > 0 {
            self.new_line();
        }
        self.out.push(bracket);
    }

    fn new_line(&mut self) {
        if let Some(indent) = &self.style.indent {
            self.out.push('\n');
            for _ in 0..self.depth {
                self.out.push_str(indent);
            }
        }
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                '\0'..='\x1f' => self.escape(u32::from(c) as u16),
                // An escaped mark would no longer guard the text behind it.
                c if self.style.ensure_ascii && c > '~' && !guard::is_reserved(c) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        self.escape(*unit);
                    }
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }

    fn escape(&mut self, unit: u16) {
        self.out.push_str(&format!("\\u{unit:04x}"));
    }
}

fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

/// A number as Python writes it.
fn number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    match f64::try_from(value.clone()) {
        Ok(number) => float(number),
        Err(_) => value.to_string(),
    }
}

/// `repr` of a Python float: the shortest digits, with an exponent below 1e-4 and from 1e16 on.
fn float(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let size = number.abs();
    if size != 0.0 && !(1e-4..1e16).contains(&size) {
        let text = format!("{number:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => ('-', exponent),
            None => ('+', exponent),
        };
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    let text = number.to_string();
    if text.contains('.') { text } else { format!("{text}.0") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_python_writes_them() {
        let cases = [
            (1.0, "1.0"),
            (0.1, "0.1"),
            (-2.5, "-2.5"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e300, "1.5e+300"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (-0.0, "-0.0"),
            (f64::NAN, "NaN"),
        ];
        for (value, expected) in cases {
            assert_eq!(float(value), expected);
        }
    }
}
