//! Turns text into the pre-tokens of o200k (gpt-4o, gpt-oss): words end before capitals.
//!
//! ```text
//! [^\r\n\p{L}\p{N}]?U*W+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|
//! [^\r\n\p{L}\p{N}]?U+W*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|
//! \p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+
//! U = [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]   W = [\p{Ll}\p{Lm}\p{Lo}\p{M}]
//! ```

use super::{
    count_bytes, folded_contraction, numbers, run, run_of, white_space, with_space, word_start,
};
use crate::unicode::{Case, Class, case, class, is_letter_or_mark};

/// Length of the first pre-token of `text`.
pub(super) fn first_length(text: &str, first: char) -> usize {
    let others = |from| {
        let end = run(text, from, Class::Other);
        end + count_bytes(&text[end..], b"\r\n/")
    };
    numbers(text, first, 3)
        .or_else(|| word_start(text, first, is_letter_or_mark).map(|start| word_end(text, start)))
        .or_else(|| with_space(text, first, |c| class(c) == Class::Other).map(others))
        .unwrap_or_else(|| white_space(text))
}

/// End of the word whose letters and marks begin at `start`.
///
/// The pattern's first line takes all of U, then needs one of W: a small letter that follows, or
/// else the last character of the run that is of both, which U gives back; what stood behind that
/// one is left for the next word. Without any, the second line takes the capitals alone.
fn word_end(text: &str, start: usize) -> usize {
    let capitals = run_of(text, start, |c| matches!(case(c), Some(Case::Upper | Case::Both)));
    let small = run_of(text, capitals, |c| matches!(case(c), Some(Case::Lower | Case::Both)));
    let end = if small > capitals {
        small
    } else {
        let both = |c: char| case(c) == Some(Case::Both);
        let last = text[start..capitals].char_indices().rfind(|(_, c)| both(*c));
        last.map_or(capitals, |(at, c)| start + at + c.len_utf8())
    };
    let rest = &text[end..];
    let contraction = rest.chars().next().and_then(|first| folded_contraction(rest, first));
    end + contraction.unwrap_or(0)
}
