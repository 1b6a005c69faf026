//! Characters into the classes by which pre-tokenizers cut text.

use unicode_general_category::{GeneralCategory, get_general_category};

/// What a pre-token pattern can ask about a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// `\s`: the property White_Space.
    Space,
    /// `[\p{Lu}\p{Lt}]`
    Upper,
    /// `\p{Ll}`
    Lower,
    /// `[\p{Lm}\p{Lo}]`
    Caseless,
    /// `\p{M}`
    Mark,
    /// `\p{N}`: all numbers, not decimal digits alone.
    Number,
    /// `\p{P}`
    Punctuation,
    /// `\p{S}`
    Symbol,
    /// `\p{C}`: controls, unassigned.
    Other,
}

impl Class {
    /// `\s`
    pub(crate) fn is_space(self) -> bool {
        self == Class::Space
    }

    /// `\p{L}`
    pub(crate) fn is_letter(self) -> bool {
        matches!(self, Class::Upper | Class::Lower | Class::Caseless)
    }

    /// `[\p{L}\p{M}]`
    pub(crate) fn is_letter_or_mark(self) -> bool {
        self.is_letter() || self == Class::Mark
    }

    /// `\p{N}`
    pub(crate) fn is_number(self) -> bool {
        self == Class::Number
    }

    /// `[\p{P}\p{S}]`
    pub(crate) fn is_punctuation_or_symbol(self) -> bool {
        matches!(self, Class::Punctuation | Class::Symbol)
    }

    /// `[^\s\p{L}\p{N}]`
    pub(crate) fn is_other(self) -> bool {
        !(self.is_space() || self.is_letter() || self.is_number())
    }
}

/// The class of a character, by Unicode 16. Letters that are younger than an oracle's own table
/// are `Other` there; texts with them may be cut differently, never wrongly decoded.
pub(crate) fn class(c: char) -> Class {
    match ASCII.get(c as usize) {
        Some(class) => *class,
        None => class_beyond_ascii(c),
    }
}

/// The classes of the first 128 characters, which most texts are made of.
static ASCII: [Class; 128] = {
    let mut classes = [Class::Other; 128];
    let mut code = 0;
    while code < 128 {
        classes[code as usize] = match code {
            b'a'..=b'z' => Class::Lower,
            b'A'..=b'Z' => Class::Upper,
            b'0'..=b'9' => Class::Number,
            b'\t'..=b'\r' | b' ' => Class::Space,
            b'$' | b'+' | b'<' | b'=' | b'>' | b'^' | b'`' | b'|' | b'~' => Class::Symbol,
            b'!'..=b'~' => Class::Punctuation,
            _ => Class::Other,
        };
        code += 1;
    }
    classes
};

fn class_beyond_ascii(c: char) -> Class {
    use GeneralCategory as G;
    match get_general_category(c) {
        G::UppercaseLetter | G::TitlecaseLetter => Class::Upper,
        G::LowercaseLetter => Class::Lower,
        G::ModifierLetter | G::OtherLetter => Class::Caseless,
        G::NonspacingMark | G::SpacingMark | G::EnclosingMark => Class::Mark,
        G::DecimalNumber | G::LetterNumber | G::OtherNumber => Class::Number,
        G::ConnectorPunctuation
        | G::DashPunctuation
        | G::OpenPunctuation
        | G::ClosePunctuation
        | G::InitialPunctuation
        | G::FinalPunctuation
        | G::OtherPunctuation => Class::Punctuation,
        G::MathSymbol | G::CurrencySymbol | G::ModifierSymbol | G::OtherSymbol => Class::Symbol,
        _ if c.is_whitespace() => Class::Space,
        _ => Class::Other,
    }
}
