//! Message text into text that cannot become a special token, whatever a template puts around it.
//!
//! A template works on text, so whether `<|im_end|>` in its output is the template's own or came
//! from a message can no longer be seen. Before rendering, a mark (a noncharacter) therefore goes
//! into message text wherever it is, or together with its neighbours could become, a special token:
//!
//! - before each special token inside the text,
//! - before each beginning of one at the text's end (or at its end without white space, since
//!   templates trim): what follows might complete it,
//! - before the text, where it begins with the rest of one, or is a part of one as a whole.
//!
//! After rendering, a special token right after a mark stays text, one with a mark inside does not
//! match anyway, and then the marks are removed. A mark is put only where one of these is so, since
//! templates also look at their messages (`content.startswith('<think>')`).

use std::borrow::Cow;
use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::specials::SpecialTree;
use crate::{TokenType, Tokenizer};

/// Marks message text.
pub(crate) const MARK: char = '\u{fdd0}';
/// Together with a digit, stands for a reserved character of the message text itself.
const ESCAPE: char = '\u{fdd1}';
/// Where a final message that is to be continued ends.
pub(crate) const CUT: char = '\u{fdd2}';

/// Whether a character has a meaning of its own here and must not come from outside.
pub(crate) fn is_reserved(c: char) -> bool {
    (MARK..=CUT).contains(&c)
}

/// Takes marks and escapes out of rendered text.
pub(crate) fn unmark(text: &str) -> Cow<'_, str> {
    if !text.contains(is_reserved) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if !is_reserved(c) {
            out.push(c);
        } else if c == ESCAPE {
            let original = chars.peek().and_then(|digit| match digit {
                '0' => Some(MARK),
                '1' => Some(ESCAPE),
                '2' => Some(CUT),
                _ => None,
            });
            if let Some(original) = original {
                chars.next();
                out.push(original);
            }
        }
    }
    Cow::Owned(out)
}

/// Which tokens a text must not become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Any special token: text from people and tools.
    Outside,
    /// Control tokens; user-defined ones (`<think>`) are part of what a model writes.
    Model,
}

/// What is needed to mark text for one vocabulary and one template.
pub(crate) struct Guard {
    all: Breakable,
    control: Breakable,
    /// Words that the template names: roles, keys and types that it compares or looks up.
    named: HashSet<String>,
}

struct Breakable {
    texts: Vec<String>,
    tree: SpecialTree,
    length_max: usize,
}

impl Breakable {
    fn new(texts: Vec<String>) -> Breakable {
        let tree = SpecialTree::new(texts.iter().map(|text| (text.as_str(), 0)));
        let length_max = texts.iter().map(String::len).max().unwrap_or(0);
        Breakable { texts, tree, length_max }
    }

    /// Whether `text` begins with a proper end of a special token, or lies within one.
    fn may_go_on(&self, text: &str) -> bool {
        let within = text.len() < self.length_max;
        self.texts.iter().any(|special| {
            let ends = special.char_indices().skip(1).map(|(at, _)| &special[at..]);
            ends.into_iter().any(|end| text.starts_with(end))
                || (within && special.contains(text) && special != text)
        })
    }

    /// Whether a special token, or the beginning of one at the text's end, begins at byte `at`.
    fn begins(&self, text: &str, at: usize, trimmed_end: usize) -> bool {
        let walk = self.tree.walk(&text.as_bytes()[at..]);
        walk.longest.is_some()
            || walk.is_prefix
            || (at < trimmed_end
                && trimmed_end - at < self.length_max
                && self.tree.walk(&text.as_bytes()[at..trimmed_end]).is_prefix)
    }
}

impl Guard {
    /// Reads the special tokens of `tokenizer` and the names in the source of a template.
    pub(crate) fn new(tokenizer: &Tokenizer, template: &str) -> Guard {
        // Runs of white space are user-defined tokens in some vocabularies. They steer nothing, and
        // breaking them would only make text unusual.
        let visible = tokenizer.special_texts().filter(|(text, _)| !text.trim().is_empty());
        let (user_defined, control): (Vec<_>, Vec<_>) =
            visible.partition(|(_, kind)| *kind == TokenType::UserDefined);
        let own = |texts: Vec<(Cow<'_, str>, TokenType)>| -> Vec<String> {
            texts.into_iter().map(|(text, _)| text.into_owned()).collect()
        };
        let control = own(control);
        let all = [control.as_slice(), own(user_defined).as_slice()].concat();
        Guard { all: Breakable::new(all), control: Breakable::new(control), named: names(template) }
    }

    /// Marks the text of a message.
    pub(crate) fn text(&self, text: &str, trust: Trust) -> String {
        let breakable = match trust {
            Trust::Outside => &self.all,
            Trust::Model => &self.control,
        };
        if text.is_empty() {
            return String::new();
        }
        let trimmed_start = text.len() - text.trim_start().len();
        let trimmed_end = text.trim_end().len();
        let mut out = String::with_capacity(text.len() + 8);
        for (at, c) in text.char_indices() {
            let first = at == 0 && breakable.may_go_on(text);
            let first_visible = at == trimmed_start
                && trimmed_start < trimmed_end
                && breakable.may_go_on(&text[at..trimmed_end]);
            let special = breakable.tree.can_begin(text.as_bytes()[at])
                && breakable.begins(text, at, trimmed_end);
            if first || first_visible || special {
                out.push(MARK);
            }
            match c {
                MARK => out.extend([ESCAPE, '0']),
                ESCAPE => out.extend([ESCAPE, '1']),
                CUT => out.extend([ESCAPE, '2']),
                _ => out.push(c),
            }
        }
        out
    }

    /// Marks a role, a key or another word that a template may compare or look up: one that the
    /// template itself names is the template's own and stays as it is.
    pub(crate) fn name(&self, name: &str) -> String {
        if self.named.contains(name) { name.to_owned() } else { self.text(name, Trust::Outside) }
    }

    /// Marks every text in a value.
    pub(crate) fn value(&self, value: &Value, trust: Trust) -> Value {
        match value {
            Value::String(text) if self.named.contains(text) => value.clone(),
            Value::String(text) => Value::String(self.text(text, trust)),
            Value::Array(items) => items.iter().map(|item| self.value(item, trust)).collect(),
            Value::Object(map) => Value::Object(self.map(map, trust)),
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }

    /// Marks every key and text in a map.
    pub(crate) fn map(&self, map: &Map<String, Value>, trust: Trust) -> Map<String, Value> {
        let marked = |(key, value): (&String, &Value)| (self.name(key), self.value(value, trust));
        map.iter().map(marked).collect()
    }
}

/// Words in a template's source that are a whole string (`'tool'`) or an attribute (`.content`).
fn names(template: &str) -> HashSet<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut names: HashSet<String> =
        ["system", "user", "assistant", "tool", "developer"].map(str::to_owned).into();
    for (at, opening) in template.match_indices(['\'', '"', '.']) {
        let rest = &template[at + 1..];
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        if end > 0 && (opening == "." || rest[end..].starts_with(opening)) {
            names.insert(rest[..end].to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> Guard {
        let all = ["<|im_start|>", "<|im_end|>", "<think>"].map(str::to_owned).to_vec();
        Guard {
            control: Breakable::new(all[..2].to_vec()),
            all: Breakable::new(all),
            named: names("{% if m.role == 'tool' %}{{ m['content'] }}<|im_end|>{% endif %}"),
        }
    }

    #[test]
    fn names_are_strings_and_attributes_but_not_text() {
        let names = guard().named;
        assert!(names.contains("role") && names.contains("tool") && names.contains("content"));
        assert!(!names.contains("im_end") && !names.contains("m"));
    }

    #[test]
    fn marks_stand_where_a_special_token_could_arise_and_nowhere_else() {
        let guard = guard();
        let marked = |text| guard.text(text, Trust::Outside).replace(MARK, "^");
        assert_eq!(marked("a < b, a|>b"), "a < b, a|>b");
        assert_eq!(marked("x<|im_end|>y"), "x^<|im_end|>y");
        assert_eq!(marked("<think>"), "^<think>");
        assert_eq!(marked("a <|im_e \n"), "a ^<|im_e \n");
        assert_eq!(marked("a <"), "a ^<");
        assert_eq!(marked(" nd|> x"), " ^nd|> x");
        assert_eq!(marked("im_end"), "^im_end");
        assert_eq!(guard.text("<think>", Trust::Model), "<think>");
    }

    #[test]
    fn reserved_characters_come_back() {
        let guard = guard();
        for text in ["\u{fdd0}", "a\u{fdd1}0\u{fdd2}1\u{fdd0}<|im_end|>\u{fdd0}", "<|im_end|>"] {
            let marked = guard.text(text, Trust::Outside);
            assert_eq!(unmark(&marked), text);
        }
    }
}
