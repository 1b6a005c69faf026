//! Turns text into the pre-tokens of DeepSeek-V3: numbers and CJK apart, then words and signs.
//!
//! Three patterns, each cutting what the one before left:
//!
//! ```text
//! \p{N}{1,3}
//! [一-龥぀-ゟ゠-ヿ]+
//! [!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|
//!  ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
//! ```
//!
//! To the third, the border between a number, CJK, and everything else is as good as the end of
//! the text. What no pattern takes (controls, unassigned characters) stays together in pieces of
//! its own.

use super::{count_bytes, leave_last_space, numbers, run_of};
use crate::unicode::{Class, class, is_letter_or_mark, is_sign};

/// Length of the first pre-token of `text`.
pub(super) fn first_length(text: &str, first: char) -> usize {
    if let Some(length) = numbers(text, first, 3) {
        return length;
    }
    let side = Side::of(first);
    if let Some(length) = third(text, first, side) {
        return length;
    }
    // The gap ends where the pattern takes something again.
    text.char_indices()
        .skip(1)
        .find(|(at, c)| Side::of(*c) != side || third(&text[*at..], *c, side).is_some())
        .map_or(text.len(), |(at, _)| at)
}

/// What the third pattern takes at the beginning of `text`, of one side alone.
fn third(text: &str, first: char, side: Side) -> Option<usize> {
    let after = first.len_utf8();
    let second = text[after..].chars().next().filter(|c| Side::of(*c) == side);
    if first.is_ascii_punctuation() && second.is_some_and(|c| c.is_ascii_alphabetic()) {
        return Some(run_of(text, after, |c| c.is_ascii_alphabetic()));
    }
    let in_word = |c| is_letter_or_mark(c) && Side::of(c) == side;
    if in_word(first) {
        return Some(run_of(text, 0, in_word));
    }
    let sign = |c| is_sign(c) && Side::of(c) == side;
    if !sign(first) && !matches!(first, '\r' | '\n') && second.is_some_and(in_word) {
        return Some(run_of(text, after, in_word));
    }
    if sign(first) || (first == ' ' && second.is_some_and(sign)) {
        let end = run_of(text, after, sign);
        let line_ends = if side == Side::Rest { count_bytes(&text[end..], b"\r\n") } else { 0 };
        return Some(end + line_ends);
    }
    let spaces = run_of(text, 0, |c| class(c) == Class::Space);
    if let Some(last) = text[..spaces].rfind(['\r', '\n']) {
        return Some(last + 1);
    }
    let next = text[spaces..].chars().next();
    let followed_by_text = next.is_some_and(|c| Side::of(c) == side);
    (spaces > 0).then(|| leave_last_space(text, spaces, followed_by_text))
}

/// What the first two patterns keep apart.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    Number,
    Cjk,
    Rest,
}

impl Side {
    fn of(c: char) -> Side {
        if is_cjk(c) {
            Side::Cjk
        } else if class(c) == Class::Number {
            Side::Number
        } else {
            Side::Rest
        }
    }
}

/// `[一-龥぀-ゟ゠-ヿ]`
fn is_cjk(c: char) -> bool {
    matches!(c, '\u{4e00}'..='\u{9fa5}' | '\u{3040}'..='\u{30ff}')
}
