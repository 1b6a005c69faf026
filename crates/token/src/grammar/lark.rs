//! Texts, markers and free text into rules in llguidance's variant of Lark.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{AnswerFormat, Tokenizer};

/// Any text.
pub(super) const ANY: &str = "/(?s:.*)/";

/// Writes a grammar rule by rule.
pub(super) struct Writer {
    /// Control tokens that have a place in answers, with their texts.
    tokens: Vec<(&'static str, u32)>,
    rules: String,
    terminals: usize,
}

/// A part of a text.
enum Piece<'a> {
    Text(&'a str),
    /// A control token, which no text could have.
    Token(u32),
}

impl Writer {
    pub(super) fn new(tokenizer: &Tokenizer, format: &AnswerFormat) -> Writer {
        let id = |marker| tokenizer.id_of(marker).filter(|id| tokenizer.is_control(*id));
        let tokens = format.markers().filter_map(|marker| Some((marker, id(marker)?)));
        Writer { tokens: tokens.collect(), rules: String::new(), terminals: 0 }
    }

    /// All rules.
    pub(super) fn finish(self) -> String {
        self.rules
    }

    pub(super) fn rule(&mut self, name: &str, body: &str) {
        self.rules.push_str(&format!("{name}: {body}\n"));
    }

    /// A terminal with a name of its own, which is returned.
    pub(super) fn terminal(&mut self, body: &str) -> String {
        let name = format!("T{}", self.terminals);
        self.terminals += 1;
        self.rule(&name, body);
        name
    }

    /// How many terminals there are: a number that no rule has yet.
    pub(super) fn count(&mut self) -> usize {
        self.terminals += 1;
        self.terminals
    }

    /// A text as it is, whose control tokens are tokens.
    pub(super) fn literal(&self, text: &str) -> String {
        let written: Vec<String> = self.pieces(text).iter().map(Piece::written).collect();
        written.join(" ")
    }

    /// What the terminal `inside` describes, then `close`, which ends with a marker. None of the
    /// markers in `bars` is inside, so that a reader finds the end where it is; the one that
    /// `close` ends with must be among them.
    pub(super) fn until(&mut self, inside: &str, bars: &[&str], close: &str) -> String {
        let pieces = self.pieces(close);
        let (body, rest) = match pieces.split_first() {
            // One terminal with the text before it: a lexer that has taken the beginning of the
            // marker for text does not go back. So what it begins with is not inside either.
            Some((Piece::Text(text), rest)) => {
                let bars: Vec<&str> = match rest {
                    [] => bars.to_vec(),
                    _ => bars.iter().copied().chain([*text]).collect(),
                };
                (format!("({}) {}", without(inside, &bars), quoted(text)), rest)
            }
            _ => (without(inside, bars), pieces.as_slice()),
        };
        let rest: Vec<String> = rest.iter().map(Piece::written).collect();
        let terminal = self.terminal(&body);
        format!("{terminal} {}", rest.join(" "))
    }

    fn pieces<'t>(&self, text: &'t str) -> Vec<Piece<'t>> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let found = self.tokens.iter().filter_map(|(marker, id)| {
                rest.find(marker).map(|at| (at, std::cmp::Reverse(marker.len()), *id))
            });
            let Some((at, length, id)) = found.min() else {
                pieces.push(Piece::Text(rest));
                break;
            };
            if at > 0 {
                pieces.push(Piece::Text(&rest[..at]));
            }
            pieces.push(Piece::Token(id));
            rest = &rest[at + length.0..];
        }
        pieces
    }
}

impl Piece<'_> {
    fn written(&self) -> String {
        match self {
            Piece::Text(text) => quoted(text),
            Piece::Token(id) => format!("<[{id}]>"),
        }
    }
}

/// The part of a terminal that has none of some markers, also where those are tokens: who reads an
/// answer sees no difference.
pub(super) fn without(inside: &str, bars: &[&str]) -> String {
    match bars {
        [] => inside.to_owned(),
        _ if inside == ANY => lacking(bars),
        _ => format!("({inside}) & ({})", lacking(bars)),
    }
}

/// A terminal for the texts that have none of some markers.
///
/// The complement of what has them is said in fewer words, but asks for a search at every step.
/// As all markers have a `<` at their beginning and nowhere else, a text without them is made of
/// other characters and of beginnings of markers (`begun`) that go on as none does (`broken`).
fn lacking(bars: &[&str]) -> String {
    let tails: Vec<&str> = bars.iter().filter_map(|bar| bar.strip_prefix('<')).collect();
    let begun = format!("(?:<{})*", begun(&tails));
    format!("/(?:[^<]|{begun}<{})*{begun}/", broken(&tails))
}

/// The first characters of the tails, each with what follows it; no tail is a beginning of another.
fn branches<'t>(tails: &[&'t str]) -> BTreeMap<char, Vec<&'t str>> {
    let mut branches: BTreeMap<char, Vec<&str>> = BTreeMap::new();
    for tail in tails {
        let mut rest = tail.chars();
        if let Some(first) = rest.next() {
            branches.entry(first).or_default().push(rest.as_str());
        }
    }
    branches
}

/// Any beginning of a tail but a whole one.
fn begun(tails: &[&str]) -> String {
    let ways: Vec<String> = branches(tails)
        .into_iter()
        .filter(|(_, rest)| rest.iter().all(|rest| !rest.is_empty()))
        .map(|(first, rest)| format!("{}{}", escaped(&first.to_string()), begun(&rest)))
        .collect();
    if ways.is_empty() { String::new() } else { format!("(?:{})?", ways.join("|")) }
}

/// A beginning of a tail and a character with which none goes on, nor a new marker begins.
fn broken(tails: &[&str]) -> String {
    let branches = branches(tails);
    let others: String = branches.keys().map(|first| escaped(&first.to_string())).collect();
    let mut ways = vec![format!("[^<{others}]")];
    let longer = branches.into_iter().filter(|(_, rest)| rest.iter().all(|rest| !rest.is_empty()));
    let longer =
        longer.map(|(first, rest)| format!("{}{}", escaped(&first.to_string()), broken(&rest)));
    ways.extend(longer);
    format!("(?:{})", ways.join("|"))
}

/// A string of the grammar.
pub(super) fn quoted(text: &str) -> String {
    Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

/// A regular expression for a text as it is, within slashes.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            c if r"\.+*?()|[]{}^$#&-~/".contains(c) => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_written_as_they_are() {
        assert_eq!(quoted("a\"\n\u{1}\u{7f}"), r#""a\"\n\u0001\u007f""#);
        assert_eq!(escaped("</a.b>\n[x]"), r"<\/a\.b>\n\[x\]");
    }

    #[test]
    fn markers_are_kept_out() {
        let begun = r"(?:<(?:\/(?:a)?|b)?)*";
        let broken = r"(?:[^<\/b]|\/(?:[^<a]|a(?:[^<>]))|b(?:[^<c]))";
        let terminal = format!("/(?:[^<]|{begun}<{broken})*{begun}/");
        assert_eq!(without(ANY, &["</a>", "<bc"]), terminal);
        assert_eq!(without("/x/", &["</a>", "<bc"]), format!("(/x/) & ({terminal})"));
        assert_eq!(without("/x/", &[]), "/x/");
    }
}
