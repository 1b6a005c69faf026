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

/// `\p{M}`
pub(crate) fn is_mark(c: char) -> bool {
    use GeneralCategory as G;
    let mark = |category| matches!(category, G::NonspacingMark | G::SpacingMark | G::EnclosingMark);
    !c.is_ascii() && mark(get_general_category(c))
}

/// `[\p{L}\p{M}]`
pub(crate) fn is_letter_or_mark(c: char) -> bool {
    class(c) == Class::Letter || is_mark(c)
}

/// `[\p{P}\p{S}]`
pub(crate) fn is_sign(c: char) -> bool {
    use GeneralCategory as G;
    if c.is_ascii() {
        return c.is_ascii_punctuation();
    }
    matches!(
        get_general_category(c),
        G::ConnectorPunctuation
            | G::DashPunctuation
            | G::OpenPunctuation
            | G::ClosePunctuation
            | G::InitialPunctuation
            | G::FinalPunctuation
            | G::OtherPunctuation
            | G::MathSymbol
            | G::CurrencySymbol
            | G::ModifierSymbol
            | G::OtherSymbol
    )
}

/// On which side of a word's capital beginning a letter or mark may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    /// `[\p{Lu}\p{Lt}]`
    Upper,
    /// `\p{Ll}`
    Lower,
    /// `[\p{Lm}\p{Lo}\p{M}]`
    Both,
}

/// The case of a letter or mark; none for anything else.
pub(crate) fn case(c: char) -> Option<Case> {
    use GeneralCategory as G;
    match c {
        'a'..='z' => return Some(Case::Lower),
        'A'..='Z' => return Some(Case::Upper),
        _ if c.is_ascii() => return None,
        _ => {}
    }
    match get_general_category(c) {
        G::UppercaseLetter | G::TitlecaseLetter => Some(Case::Upper),
        G::LowercaseLetter => Some(Case::Lower),
        G::ModifierLetter | G::OtherLetter => Some(Case::Both),
        G::NonspacingMark | G::SpacingMark | G::EnclosingMark => Some(Case::Both),
        _ => None,
    }
}
