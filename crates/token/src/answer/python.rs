//! A Python literal, `{'a': [True, None]}`, into JSON.

use crate::limits::JSON_DEPTH_MAX;

/// JSON for a literal of strings, numbers, `True`, `False`, `None`, lists, tuples and dictionaries;
/// `None` for anything else. Takes time in proportion to the text.
pub(super) fn to_json(text: &str) -> Option<String> {
    let mut reader = Reader { rest: text, json: String::new(), depth: 0 };
    reader.value()?;
    reader.rest.trim_start().is_empty().then_some(reader.json)
}

struct Reader<'a> {
    rest: &'a str,
    json: String,
    depth: usize,
}

impl Reader<'_> {
    fn value(&mut self) -> Option<()> {
        match self.peek()? {
            '[' => self.list('[', ']'),
            '(' => self.list('(', ')'),
            '{' => self.dictionary(),
            quote @ ('\'' | '"') => self.string(quote),
            _ => self.word(),
        }
    }

    /// The next character that is no white space.
    fn peek(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start();
        self.rest.chars().next()
    }

    fn take(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        if found {
            self.rest = &self.rest[c.len_utf8()..];
        }
        found
    }

    fn list(&mut self, open: char, close: char) -> Option<()> {
        self.items(open, close, '[', ']', Reader::value)
    }

    fn dictionary(&mut self) -> Option<()> {
        self.items('{', '}', '{', '}', |reader| {
            let quote = reader.peek().filter(|c| matches!(c, '\'' | '"'))?;
            reader.string(quote)?;
            if !reader.take(':') {
                return None;
            }
            reader.json.push_str(": ");
            reader.value()
        })
    }

    fn items(
        &mut self,
        open: char,
        close: char,
        json_open: char,
        json_close: char,
        item: impl Fn(&mut Self) -> Option<()>,
    ) -> Option<()> {
        self.depth += 1;
        if !self.take(open) || self.depth >= JSON_DEPTH_MAX {
            return None;
        }
        self.json.push(json_open);
        let mut count = 0;
        while !self.take(close) {
            if count > 0 {
                self.json.push_str(", ");
            }
            item(self)?;
            count += 1;
            if self.peek()? != close && !self.take(',') {
                return None;
            }
        }
        self.json.push(json_close);
        self.depth -= 1;
        Some(())
    }

    fn string(&mut self, quote: char) -> Option<()> {
        let mut text = String::new();
        let mut chars = self.rest.chars();
        chars.next();
        loop {
            match chars.next()? {
                '\\' => match chars.next()? {
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    'r' => text.push('\r'),
                    'x' => text.push(hex(&mut chars, 2)?),
                    'u' => text.push(hex(&mut chars, 4)?),
                    'U' => text.push(hex(&mut chars, 8)?),
                    c @ ('\\' | '\'' | '"') => text.push(c),
                    other => text.extend(['\\', other]),
                },
                '\n' => return None,
                c if c == quote => break,
                c => text.push(c),
            }
        }
        self.rest = chars.as_str();
        self.json.push_str(&serde_json::Value::from(text).to_string());
        Some(())
    }

    /// A number or a name.
    fn word(&mut self) -> Option<()> {
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && !"+-.".contains(c));
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.json.push_str(match word {
            "True" | "true" => "true",
            "False" | "false" => "false",
            "None" | "null" => "null",
            number => serde_json::from_str::<serde_json::Number>(number).ok().map(|_| number)?,
        });
        self.rest = rest;
        Some(())
    }
}

/// A character by its number of so many digits.
fn hex(chars: &mut std::str::Chars<'_>, digits: usize) -> Option<char> {
    let code = chars
        .by_ref()
        .take(digits)
        .try_fold(0, |code: u32, c| Some((code << 4) | c.to_digit(16)?))?;
    char::from_u32(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_become_json() {
        let cases = [
            ("{'a': 1, 'b': [True, False, None]}", r#"{"a": 1, "b": [true, false, null]}"#),
            ("('x',)", r#"["x"]"#),
            ("[ ]", "[]"),
            ("{}", "{}"),
            (
                r#"["it's", 'say "hi"', 'it\'s', '\n\x41\u00e9\q']"#,
                r#"["it's", "say \"hi\"", "it's", "\nAé\\q"]"#,
            ),
            ("-1.5e3", "-1.5e3"),
        ];
        for (text, expected) in cases {
            assert_eq!(to_json(text).as_deref(), Some(expected));
        }
        let bad = [
            "",
            "[",
            "[1 2]",
            "{1: 2}",
            "{'a'}",
            "nan",
            "'",
            "'a\nb'",
            "[1] 2",
            "+1",
            "f()",
            "'\\x4'",
            "'\\ud800'",
            "{,}",
            "[,]",
        ];
        for text in bad.map(str::to_owned).into_iter().chain(["[".repeat(100_000)]) {
            assert_eq!(to_json(&text), None, "{:.40}", text);
        }
    }
}
