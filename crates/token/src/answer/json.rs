//! JSON, one character after another, into the place where a value ends.

use super::input::{Input, Part, is_space};
use super::output::Output;
use crate::limits::JSON_DEPTH_MAX;

/// Checks one value as it arrives (RFC 8259), so that fragments of it may be handed out before all
/// of it is known.
#[derive(Clone, Debug)]
pub(super) struct JsonScanner {
    /// The lists and objects around the place; true is an object.
    nest: Vec<bool>,
    place: Place,
}

/// What a character did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    More,
    /// The value ends with it.
    Done,
    /// The value, a number, ended before it.
    Before,
    /// No JSON goes on like this.
    Bad,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Value,
    FirstItem,
    FirstKey,
    Key,
    Colon,
    /// Behind a value in a list or object.
    Next,
    Text {
        key: bool,
    },
    Escape {
        key: bool,
    },
    Hex {
        key: bool,
        left: u8,
    },
    /// What is left of `true`, `false` or `null`.
    Word(&'static str),
    Number(Digits),
}

/// Where in a number.
#[derive(Clone, Copy, Debug)]
enum Digits {
    Minus,
    Zero,
    Whole,
    Point,
    Fraction,
    Exponent,
    Sign,
    Power,
}

impl JsonScanner {
    /// A scanner before the first character of a value.
    pub(super) fn new() -> JsonScanner {
        JsonScanner { nest: Vec::new(), place: Place::Value }
    }

    pub(super) fn push(&mut self, c: char) -> Progress {
        use Place::{
            Colon, Escape, FirstItem, FirstKey, Hex, Key, Next, Number, Text, Value, Word,
        };
        match (self.place, c) {
            (Value | FirstItem | FirstKey | Key | Colon | Next, c) if is_space(c) => Progress::More,
            (FirstItem, ']') | (FirstKey, '}') => self.close(),
            (Value | FirstItem, c) => self.begin(c),
            (FirstKey | Key, '"') => self.go(Text { key: true }),
            (Colon, ':') => self.go(Value),
            (Next, ',') => self.go(if self.nest.last() == Some(&true) { Key } else { Value }),
            (Next, '}') if self.nest.last() == Some(&true) => self.close(),
            (Next, ']') if self.nest.last() == Some(&false) => self.close(),
            (Text { key: true }, '"') => self.go(Colon),
            (Text { key: false }, '"') => self.end(),
            (Text { key }, '\\') => self.go(Escape { key }),
            (Text { .. }, ' '..) => Progress::More,
            (Escape { key }, 'u') => self.go(Hex { key, left: 4 }),
            (Escape { key }, '"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't') => {
                self.go(Text { key })
            }
            (Hex { key, left }, c) if c.is_ascii_hexdigit() => match left {
                1 => self.go(Text { key }),
                _ => self.go(Hex { key, left: left - 1 }),
            },
            (Word(word), c) => match word.strip_prefix(c) {
                Some("") => self.end(),
                Some(rest) => self.go(Word(rest)),
                None => Progress::Bad,
            },
            (Number(digits), c) => self.number(digits, c),
            _ => Progress::Bad,
        }
    }

    fn go(&mut self, place: Place) -> Progress {
        self.place = place;
        Progress::More
    }

    fn begin(&mut self, c: char) -> Progress {
        match c {
            // Readers of the arguments, serde_json one of them, take less than this limit.
            '{' | '[' if self.nest.len() + 1 >= JSON_DEPTH_MAX => Progress::Bad,
            '{' | '[' => {
                self.nest.push(c == '{');
                self.go(if c == '{' { Place::FirstKey } else { Place::FirstItem })
            }
            '"' => self.go(Place::Text { key: false }),
            't' => self.go(Place::Word("rue")),
            'f' => self.go(Place::Word("alse")),
            'n' => self.go(Place::Word("ull")),
            '-' => self.go(Place::Number(Digits::Minus)),
            '0' => self.go(Place::Number(Digits::Zero)),
            '1'..='9' => self.go(Place::Number(Digits::Whole)),
            _ => Progress::Bad,
        }
    }

    fn close(&mut self) -> Progress {
        self.nest.pop();
        self.end()
    }

    /// A value is complete.
    fn end(&mut self) -> Progress {
        self.place = Place::Next;
        if self.nest.is_empty() { Progress::Done } else { Progress::More }
    }

    fn number(&mut self, digits: Digits, c: char) -> Progress {
        use Digits::{Exponent, Fraction, Minus, Point, Power, Sign, Whole, Zero};
        let next = match (digits, c) {
            (Minus, '0') => Zero,
            (Minus, '1'..='9') | (Whole, '0'..='9') => Whole,
            (Zero | Whole, '.') => Point,
            (Point | Fraction, '0'..='9') => Fraction,
            (Zero | Whole | Fraction, 'e' | 'E') => Exponent,
            (Exponent, '+' | '-') => Sign,
            (Exponent | Sign | Power, '0'..='9') => Power,
            (Zero | Whole | Fraction | Power, c) => match self.end() {
                Progress::Done => return Progress::Before,
                _ => return self.push(c),
            },
            _ => return Progress::Bad,
        };
        self.go(Place::Number(next))
    }
}

/// Hands out the arguments of the call that was started, which are one object, and its end.
pub(super) fn scan_arguments(
    scanner: &mut JsonScanner,
    input: &mut Input,
    out: &mut Output,
) -> Part {
    let rest = input.rest();
    let stop = rest.char_indices().find_map(|(at, c)| match scanner.push(c) {
        Progress::More => None,
        Progress::Done => Some((at + c.len_utf8(), Part::Done)),
        Progress::Before | Progress::Bad => Some((at, Part::Broken)),
    });
    let (bytes, part) = stop.unwrap_or((rest.len(), Part::Wait));
    out.arguments(input.take(bytes));
    if part == Part::Done {
        out.end_call(true);
    }
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether `text` is one value, with nothing after it.
    fn is_value(text: &str) -> bool {
        let mut scanner = JsonScanner::new();
        let mut progress = Progress::More;
        for c in text.chars() {
            if progress != Progress::More {
                return false;
            }
            progress = scanner.push(c);
        }
        // A number at the outside ends with what follows it.
        progress == Progress::Done
            || (progress == Progress::More && scanner.push('!') == Progress::Before)
    }

    #[test]
    fn values_are_what_serde_takes_for_values() {
        let parts = [
            "{", "}", "[", "]", ",", ":", "\"", "\"a\"", "\\", "\\n", "\\u00e9", "0", "-", "12",
            ".", "5", "e", "E+", "true", "null", "fals", " ", "\n", "é", "\u{1}",
        ];
        let mut accepted = 0;
        let mut state: u64 = 1;
        for case in 0..200_000 {
            let mut text = String::new();
            for _ in 0..1 + case % 7 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                text.push_str(parts[(state >> 33) as usize % parts.len()]);
            }
            let expected = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
            // White space after a value is serde's to take.
            assert_eq!(is_value(text.trim_end()), expected, "{text:?}");
            accepted += usize::from(expected);
        }
        assert!(accepted > 1000, "only {accepted} of the cases were JSON");
    }

    #[test]
    fn depth_is_what_serde_reads() {
        for depth in [1, 2, JSON_DEPTH_MAX - 1, JSON_DEPTH_MAX, JSON_DEPTH_MAX + 1] {
            let text = "[".repeat(depth) + &"]".repeat(depth);
            let read = serde_json::from_str::<serde_json::Value>(&text).is_ok();
            assert_eq!((depth, is_value(&text)), (depth, read));
        }
    }
}
