//! What a schema says of strings into terminals for their bare text, without quotes and escapes.

use llguidance::regex_to_lark;
use serde_json::{Map, Value};

use super::error::GrammarError;
use super::lark::{ANY, quoted};
use super::schema::refuse;

/// References and combinations inside one another that are followed.
const DEPTH_MAX: usize = 16;

/// The strings that a schema allows.
#[derive(Clone, Debug)]
pub(super) struct Texts {
    /// All of these hold; none: any string.
    terminals: Vec<String>,
    /// Whether it allows null too.
    pub(super) null: bool,
    whole: String,
}

impl Texts {
    /// `None` where it allows no string. `pointer`: where the schema is, for errors.
    ///
    /// # Errors
    /// [`GrammarError::Keyword`] for what cannot be said of bare text.
    pub(super) fn of(
        schema: &Value,
        definitions: &Map<String, Value>,
        pointer: &str,
    ) -> Result<Option<Texts>, GrammarError> {
        let reader = Reader { definitions, pointer };
        let terminals = reader.strings(schema, 0)?;
        let null = reader.admits_null(schema, 0);
        Ok(terminals.map(|terminals| {
            let whole = joined(&terminals);
            Texts { terminals, null, whole }
        }))
    }

    /// The terminal; `None` for any text.
    pub(super) fn terminal(&self) -> Option<&str> {
        (!self.terminals.is_empty()).then_some(self.whole.as_str())
    }

    /// Those that are not read as null.
    pub(super) fn without_null(&self) -> Texts {
        let mut terminals = self.terminals.clone();
        if terminals.is_empty() {
            terminals.push(ANY.to_owned());
        }
        terminals.push(format!("/{}/", other_than(&["null", "None"])));
        Texts { whole: joined(&terminals), terminals, null: self.null }
    }
}

fn joined(terminals: &[String]) -> String {
    terminals.iter().map(|it| format!("({it})")).collect::<Vec<_>>().join(" & ")
}

/// What a reference leads to; the judge made them all lead to definitions.
pub(super) fn followed<'a>(schema: &'a Value, definitions: &'a Map<String, Value>) -> &'a Value {
    let mut schema = schema;
    for _ in 0..DEPTH_MAX {
        let name = schema.get("$ref").and_then(Value::as_str);
        let found = name.and_then(|name| definitions.get(name.strip_prefix("#/$defs/")?));
        match found {
            Some(found) if schema.as_object().is_some_and(|it| it.len() == 1) => schema = found,
            _ => break,
        }
    }
    schema
}

struct Reader<'a> {
    definitions: &'a Map<String, Value>,
    pointer: &'a str,
}

impl Reader<'_> {
    /// Terminals that all have to hold; `None` where no string is allowed.
    fn strings(&self, schema: &Value, depth: usize) -> Result<Option<Vec<String>>, GrammarError> {
        if depth > DEPTH_MAX {
            return Err(refuse(self.pointer, "$ref", "goes too deep for a value in tags"));
        }
        let schema = match schema {
            Value::Bool(any) => return Ok(any.then(Vec::new)),
            Value::Object(schema) => schema,
            _ => return Ok(None),
        };
        let mut terminals = Vec::new();
        for (keyword, value) in schema {
            match self.keyword(keyword, value, schema, depth)? {
                Some(found) => terminals.extend(found),
                None => return Ok(None),
            }
        }
        Ok(Some(terminals))
    }

    fn keyword(
        &self,
        keyword: &str,
        value: &Value,
        schema: &Map<String, Value>,
        depth: usize,
    ) -> Result<Option<Vec<String>>, GrammarError> {
        let list = || value.as_array().map(Vec::as_slice).unwrap_or_default();
        let one = |terminal: String| Ok(Some(vec![terminal]));
        match keyword {
            "type" => {
                let allowed = value == "string" || list().iter().any(|name| name == "string");
                Ok(allowed.then(Vec::new))
            }
            "const" => Ok(value.as_str().map(|text| vec![quoted(text)])),
            "enum" => {
                let texts: Vec<String> =
                    list().iter().filter_map(Value::as_str).map(quoted).collect();
                Ok((!texts.is_empty()).then(|| vec![texts.join(" | ")]))
            }
            "minLength" => one(length(value, schema.get("maxLength"))),
            "maxLength" if schema.contains_key("minLength") => Ok(Some(Vec::new())),
            "maxLength" => one(length(&Value::from(0), Some(value))),
            "pattern" => {
                let found = value.as_str().and_then(searched);
                let reason = "has anchors or choices that cannot be enforced for a value in tags";
                let found = found.ok_or_else(|| refuse(self.pointer, keyword, reason))?;
                one(found)
            }
            "format" => {
                let name = value.as_str().unwrap_or_default();
                let reason = format!("'{name}' cannot be enforced for a value in tags");
                let found = base(name).ok_or_else(|| refuse(self.pointer, keyword, reason))?;
                one(format!("/{}/", regex_to_lark(found, "dw")))
            }
            "$ref" => {
                let name = value.as_str().and_then(|name| name.strip_prefix("#/$defs/"));
                let target = name.and_then(|name| self.definitions.get(name));
                target.map_or(Ok(Some(Vec::new())), |target| self.strings(target, depth + 1))
            }
            "allOf" => {
                let mut all = Vec::new();
                for schema in list() {
                    match self.strings(schema, depth + 1)? {
                        Some(terminals) => all.extend(terminals),
                        None => return Ok(None),
                    }
                }
                Ok(Some(all))
            }
            "anyOf" | "oneOf" => self.any_of(keyword, list(), depth),
            // Of values that are no strings.
            _ => Ok(Some(Vec::new())),
        }
    }

    fn any_of(
        &self,
        keyword: &str,
        schemas: &[Value],
        depth: usize,
    ) -> Result<Option<Vec<String>>, GrammarError> {
        let mut ways = Vec::new();
        for schema in schemas {
            ways.extend(self.strings(schema, depth + 1)?);
        }
        if keyword == "oneOf" && ways.len() > 1 {
            let reason = "has several schemas of strings, which cannot be told apart in tags";
            return Err(refuse(self.pointer, keyword, reason));
        }
        if ways.is_empty() {
            return Ok(None);
        }
        if ways.iter().any(Vec::is_empty) {
            return Ok(Some(Vec::new()));
        }
        let ways: Vec<String> = ways.iter().map(|way| format!("({})", joined(way))).collect();
        Ok(Some(vec![ways.join(" | ")]))
    }

    fn admits_null(&self, schema: &Value, depth: usize) -> bool {
        let schema = match schema {
            _ if depth > DEPTH_MAX => return false,
            Value::Bool(any) => return *any,
            Value::Object(schema) => schema,
            _ => return false,
        };
        schema.iter().all(|(keyword, value)| {
            let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
            let mut inner = list.iter().map(|schema| self.admits_null(schema, depth + 1));
            match keyword.as_str() {
                "type" => value == "null" || list.iter().any(|name| name == "null"),
                "const" => value.is_null(),
                "enum" => list.contains(&Value::Null),
                "allOf" => inner.all(|admits| admits),
                "anyOf" => inner.any(|admits| admits),
                "oneOf" => inner.filter(|admits| *admits).count() == 1,
                "$ref" => {
                    let name = value.as_str().and_then(|name| name.strip_prefix("#/$defs/"));
                    let target = name.and_then(|name| self.definitions.get(name));
                    target.is_some_and(|target| self.admits_null(target, depth + 1))
                }
                _ => true,
            }
        })
    }
}

/// Texts that are none of some words, which begin differently, with white space around them or
/// without.
fn other_than(words: &[&str]) -> String {
    let firsts: String = words.iter().filter_map(|word| word.chars().next()).collect();
    let tail = |word: &&str| {
        // From the last letter on, then that before it, and so on.
        let end = r"\s*\S(?s:.*)".to_owned();
        word.chars().rev().fold(end, |rest, letter| {
            let other = if firsts.contains(letter) && word.starts_with(letter) {
                String::new()
            } else {
                format!("|[^{letter}](?s:.*)")
            };
            format!("(?:{letter}{rest}{other})?")
        })
    };
    let words: Vec<String> = words.iter().map(tail).collect();
    format!(r"\s*(?:[^\s{firsts}](?s:.*)|{})", words.join("|"))
}

/// Texts of so many characters.
fn length(least: &Value, most: Option<&Value>) -> String {
    let most = most.map(Value::to_string).unwrap_or_default();
    format!("/(?s:.){{{least},{most}}}/")
}

/// A terminal for texts that a pattern is found in; `None` where it is not certain what its anchors
/// hold.
fn searched(pattern: &str) -> Option<String> {
    let mut rest = pattern;
    let start = rest.strip_prefix('^');
    rest = start.unwrap_or(rest);
    let end = rest.strip_suffix('$').filter(|before| {
        let escapes = before.len() - before.trim_end_matches('\\').len();
        escapes % 2 == 0
    });
    rest = end.unwrap_or(rest);
    let (mut depth, mut class, mut escaped) = (0usize, false, false);
    for c in rest.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '[' => class = true,
            ']' => class = false,
            _ if class => {}
            '(' => depth += 1,
            ')' => depth = depth.checked_sub(1)?,
            '^' | '$' => return None,
            '|' if depth == 0 && (start.is_some() || end.is_some()) => return None,
            _ => {}
        }
    }
    let any = "(?s:.*)";
    let (before, after) =
        (if start.is_some() { "" } else { any }, if end.is_some() { "" } else { any });
    Some(format!("/{before}(?:{}){after}/", regex_to_lark(rest, "dw")))
}

/// What the compiler of JSON knows of formats by itself, for those that are often met; the judge
/// has put the rest beside it.
fn base(name: &str) -> Option<&'static str> {
    match name {
        "date" => Some(
            "[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|\
             (?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-9]))",
        ),
        "time" => Some(
            "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]+)?\
             (?:[zZ]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])",
        ),
        "date-time" => Some(
            "[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|\
             (?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-9]))\
             [tT](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]+)?\
             (?:[zZ]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])",
        ),
        "uuid" => Some("[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"),
        "ipv4" => Some(
            "(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\\.){3}\
             (?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])",
        ),
        "email" => Some("[a-zA-Z0-9_+-]+(?:\\.[a-zA-Z0-9_+-]+)*@[a-zA-Z0-9.]+"),
        "hostname" => Some(
            "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?\
             (?:\\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_searched_for_or_given_up() {
        for (pattern, terminal) in [
            ("^a+$", Some("/(?:a+)/")),
            ("a|b", Some("/(?s:.*)(?:a|b)(?s:.*)/")),
            (r"^a\$", Some(r"/(?:a\$)(?s:.*)/")),
            (r"^/\d[$^|]", Some(r"/(?:\/[0-9][$^|])(?s:.*)/")),
            ("^a|b$", None),
            ("^(a|b)$", Some("/(?:(a|b))/")),
            ("(^a)", None),
            ("a)", None),
        ] {
            assert_eq!(searched(pattern).as_deref(), terminal, "{pattern}");
        }
    }

    #[test]
    fn what_is_no_string_has_no_texts() {
        let texts = |schema: Value| {
            let texts = Texts::of(&schema, &Map::new(), "").expect("texts");
            texts.map(|texts| (texts.terminal().map(str::to_owned), texts.null))
        };
        use serde_json::json;
        assert_eq!(texts(json!({ "type": "integer" })), None);
        assert_eq!(texts(json!({ "enum": [1] })), None);
        assert_eq!(texts(json!({ "type": ["string", "null"] })), Some((None, true)));
        assert_eq!(texts(json!({ "type": "string" })), Some((None, false)));
        let one = texts(json!({ "anyOf": [{ "const": "a" }, { "type": "null" }] }));
        assert_eq!(one, Some((Some(r#"((("a")))"#.to_owned()), true)));
    }
}
