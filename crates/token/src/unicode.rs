//! Characters into the four classes by which pre-tokenizers cut text.

use unicode_general_category::{GeneralCategory, get_general_category};

/// What a pre-token pattern can ask about a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// `\s`: the property White_Space.
    Space,
    /// `\p{L}`
    Letter,
    /// `\p{N}`: all numbers, not decimal digits alone.
    Number,
    /// Everything else: marks, punctuation, symbols, controls, unassigned.
    Other,
}

/// The class of a character, by Unicode 16. Letters that are younger than an oracle's own table
/// are `Other` there; texts with them may be cut differently, never wrongly decoded.
pub(crate) fn class(c: char) -> Class {
    match c {
        'a'..='z' | 'A'..='Z' => Class::Letter,
        '0'..='9' => Class::Number,
        '\t'..='\r' | ' ' => Class::Space,
        '\0'..='\x7f' => Class::Other,
        _ => class_beyond_ascii(c),
    }
}

fn class_beyond_ascii(c: char) -> Class {
    use GeneralCategory as G;
    match get_general_category(c) {
        G::UppercaseLetter
        | G::LowercaseLetter
        | G::TitlecaseLetter
        | G::ModifierLetter
        | G::OtherLetter => Class::Letter,
        G::DecimalNumber | G::LetterNumber | G::OtherNumber => Class::Number,
        _ if c.is_whitespace() => Class::Space,
        _ => Class::Other,
    }
}
