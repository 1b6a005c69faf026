//! Text into the length of its first pre-token, by the patterns that leave nothing over.

use std::ops::Range;

use crate::unicode::{Class, class};

/// What the patterns of the cl100k kind differ in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Words {
    /// Most numbers in a pre-token.
    digits: usize,
    /// Whether marks are letters.
    marks_are_letters: bool,
    /// Whether punctuation takes the line ends after it.
    line_ends_follow: bool,
}

impl Words {
    pub(super) const QWEN2: Words =
        Words { digits: 1, marks_are_letters: false, line_ends_follow: true };
    pub(super) const QWEN35: Words = Words { marks_are_letters: true, ..Words::QWEN2 };
    pub(super) const SEED: Words = Words { line_ends_follow: false, ..Words::QWEN2 };
    pub(super) const LLAMA3: Words = Words { digits: 3, ..Words::QWEN2 };

    /// Length of the first pre-token of `text`.
    pub(super) fn first(self, text: &str) -> usize {
        let Some((first, first_class)) = first_of(text) else { return 0 };
        if first == '\''
            && let Some(length) = contraction(text, equal_when_folded)
        {
            return length;
        }
        let is_letter =
            |class: Class| class.is_letter() || (self.marks_are_letters && class == Class::Mark);
        if is_letter(first_class) {
            return run(text, 0, is_letter);
        }
        if first_class.is_number() {
            return numbers(text, self.digits);
        }
        let first_length = first.len_utf8();
        let second = first_of(&text[first_length..]).map(|(_, class)| class);
        if !is_line_end(first) && second.is_some_and(is_letter) {
            return run(text, first_length, is_letter);
        }
        let line_ends: &[char] = if self.line_ends_follow { &['\r', '\n'] } else { &[] };
        others_or_spaces(text, |class| class.is_other() && !is_letter(class), line_ends)
    }
}

/// Length of the first pre-token of `text` by the pattern of GPT-2.
pub(super) fn gpt2(text: &str) -> usize {
    let Some((first, first_class)) = first_of(text) else { return 0 };
    if first == '\''
        && let Some(length) = contraction(text, str::eq)
    {
        return length;
    }
    let run_from = |from: usize, of: Class| {
        if of.is_letter() {
            run(text, from, Class::is_letter)
        } else if of.is_number() {
            run(text, from, Class::is_number)
        } else {
            run(text, from, Class::is_other)
        }
    };
    if !first_class.is_space() {
        return run_from(0, first_class);
    }
    match first_of(&text[first.len_utf8()..]) {
        Some((_, second)) if first == ' ' && !second.is_space() => run_from(1, second),
        _ => spaces(text),
    }
}

/// Length of the first pre-token of `text` by the pattern of o200k.
pub(super) fn o200k(text: &str) -> usize {
    let Some((first, first_class)) = first_of(text) else { return 0 };
    if let Some(end) = cased_word(text, first) {
        return end + contraction(&text[end..], equal_when_folded).unwrap_or(0);
    }
    if first_class.is_number() {
        return numbers(text, 3);
    }
    others_or_spaces(text, Class::is_other, &['\r', '\n', '/'])
}

/// End of a word of capitals and then small letters, where letters without case and marks are both.
///
/// The pattern tries, in this order: a character before the word and capitals that end in something
/// small; the same without that character (which a mark may be); the same two with capitals alone.
/// A word that ends before a capital is at least half of what was looked at, or is followed by a
/// word that goes as far: hence the linear time.
fn cased_word(text: &str, first: char) -> Option<usize> {
    let may_precede = !is_line_end(first) && !class(first).is_letter() && !class(first).is_number();
    let after = may_precede.then(|| capitals_then_small(text, first.len_utf8())).flatten();
    if let Some((end, true)) = after {
        return Some(end);
    }
    match (capitals_then_small(text, 0), after) {
        (Some((end, true)), _) | (_, Some((end, _))) | (Some((end, _)), None) => Some(end),
        (None, None) => None,
    }
}

/// End of capitals and then small letters from byte `from` on, and whether there is something small
/// among them; of capitals after the last letter without case, none belong to the word.
fn capitals_then_small(text: &str, from: usize) -> Option<(usize, bool)> {
    let is_both = |class: Class| matches!(class, Class::Caseless | Class::Mark);
    let capitals = run(text, from, |class| class == Class::Upper || is_both(class));
    let end = run(text, capitals, |class| class == Class::Lower || is_both(class));
    if end > capitals {
        return Some((end, true));
    }
    let last = text[from..capitals].char_indices().rfind(|(_, c)| is_both(class(*c)));
    match last {
        Some((at, c)) => Some((from + at + c.len_utf8(), true)),
        None => (capitals > from).then_some((capitals, false)),
    }
}

/// ` ?OTHERS+[TAIL]*|\s*[\r\n]+|\s+(?!\S)|\s+` at the beginning of `text`.
pub(super) fn others_or_spaces(
    text: &str,
    is_other: impl Fn(Class) -> bool + Copy,
    tail: &[char],
) -> usize {
    let space = usize::from(text.starts_with(' '));
    let others = run(text, space, is_other);
    if others > space {
        let after = &text[others..];
        return text.len() - after.trim_start_matches(tail).len();
    }
    let blank = run(text, 0, Class::is_space);
    match text[..blank].rfind(['\r', '\n']) {
        Some(last) => last + 1,
        None => spaces(text),
    }
}

/// `\s+(?!\S)|\s+` at the beginning of `text`: the last character stays for what follows.
fn spaces(text: &str) -> usize {
    let all = run(text, 0, Class::is_space);
    let last = text[..all].chars().next_back().map_or(0, char::len_utf8);
    if all < text.len() && all > last { all - last } else { all }
}

/// The first match of at most `most` characters of a class.
pub(super) fn find_run(
    text: &str,
    most: usize,
    wanted: impl Fn(Class) -> bool,
) -> Option<Range<usize>> {
    let start = text.find(|c| wanted(class(c)))?;
    let run = text[start..].chars().take(most).take_while(|c| wanted(class(*c)));
    Some(start..start + run.map(char::len_utf8).sum::<usize>())
}

/// The first match of `\s?WANTED+`.
pub(super) fn find_spaced_run(text: &str, wanted: impl Fn(char) -> bool) -> Option<Range<usize>> {
    let from = text.find(&wanted)?;
    let end = text[from..].find(|c| !wanted(c)).map_or(text.len(), |length| from + length);
    let before = text[..from].chars().next_back().filter(|c| class(*c).is_space());
    Some(from - before.map_or(0, char::len_utf8)..end)
}

/// Turns a question about a class into one about a character.
pub(super) fn of_class(wanted: impl Fn(Class) -> bool) -> impl Fn(char) -> bool {
    move |c| wanted(class(c))
}

/// The first character and its class.
pub(super) fn first_of(text: &str) -> Option<(char, Class)> {
    text.chars().next().map(|c| (c, class(c)))
}

/// End of the run of characters of a class that begins at byte `from`.
pub(super) fn run(text: &str, from: usize, wanted: impl Fn(Class) -> bool) -> usize {
    let rest = &text[from..];
    from + rest.find(|c| !wanted(class(c))).unwrap_or(rest.len())
}

pub(super) fn is_line_end(c: char) -> bool {
    matches!(c, '\r' | '\n')
}

fn numbers(text: &str, most: usize) -> usize {
    let numbers = text.chars().take(most).take_while(|c| class(*c).is_number());
    numbers.map(char::len_utf8).sum()
}

/// Length of the English contraction at the beginning of `text`.
fn contraction(text: &str, equal: impl Fn(&str, &str) -> bool) -> Option<usize> {
    let letters = text.strip_prefix('\'')?;
    let mut ends = letters.char_indices().skip(1).map(|(at, _)| at).chain([letters.len()]);
    let (one, two) = (ends.next()?, ends.next());
    let starts_with =
        |end: usize, endings: &[&str]| endings.iter().any(|ending| equal(&letters[..end], ending));
    if starts_with(one, &["s", "t", "m", "d"]) {
        return Some(1 + one);
    }
    two.filter(|end| starts_with(*end, &["re", "ve", "ll"])).map(|end| 1 + end)
}

/// Equality without case. The only letter beyond ASCII that folds to one of a contraction's is
/// U+017F (long s).
fn equal_when_folded(text: &str, lower: &str) -> bool {
    text.eq_ignore_ascii_case(lower) || (text == "ſ" && lower == "s")
}
