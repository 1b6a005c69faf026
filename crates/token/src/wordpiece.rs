//! Text into token ids as BERT does: BasicTokenizer makes words, WordPiece cuts each into the
//! longest pieces (Devlin et al. 2018).

use unicode_general_category::{GeneralCategory as Category, get_general_category};
use unicode_normalization::UnicodeNormalization;

use crate::error::TokenizerError;
use crate::sentencepiece::SPACE;
use crate::unicode::{Class, class};
use crate::{VocabSpec, WordRules};

/// Chinese characters: CJK ideographs, as BERT counts them.
const CHINESE: [(u32, u32); 8] = [
    (0x4e00, 0x9fff),
    (0x3400, 0x4dbf),
    (0x20000, 0x2a6df),
    (0x2a700, 0x2b73f),
    (0x2b740, 0x2b81f),
    (0x2b920, 0x2ceaf),
    (0xf900, 0xfaff),
    (0x2f800, 0x2fa1f),
];

/// The rules of a WordPiece vocabulary.
pub(crate) struct WordPiece {
    rules: WordRules,
    /// Stands for words that no pieces make.
    unknown: u32,
    /// Bytes of the longest piece.
    longest: usize,
}

impl WordPiece {
    pub(crate) fn new(spec: &VocabSpec) -> Result<WordPiece, TokenizerError> {
        let unknown = spec.unknown.ok_or(TokenizerError::NoUnknown)?;
        let longest = spec.tokens.iter().map(String::len).max().unwrap_or(0);
        Ok(WordPiece { rules: spec.words, unknown, longest })
    }

    /// Appends the ids of a text; `find` gives the token of a piece.
    pub(crate) fn encode(
        &self,
        text: &str,
        find: impl Fn(&str) -> Option<u32>,
        out: &mut Vec<u32>,
    ) {
        let text = self.written(text);
        let mut piece = String::new();
        for part in text.split(char::is_whitespace) {
            let mut rest = part;
            while !rest.is_empty() {
                let end = match rest.find(is_punctuation) {
                    // Punctuation stands alone.
                    Some(0) => rest.chars().next().map_or(rest.len(), char::len_utf8),
                    Some(end) => end,
                    None => rest.len(),
                };
                let (word, after) = rest.split_at(end);
                self.word(word, &find, &mut piece, out);
                rest = after;
            }
        }
    }

    /// The longest piece at each place of a word, or the unknown token for all of it.
    fn word(
        &self,
        word: &str,
        find: impl Fn(&str) -> Option<u32>,
        piece: &mut String,
        out: &mut Vec<u32>,
    ) {
        let before = out.len();
        let mut rest = word;
        if word.chars().nth(self.rules.characters_max).is_some() {
            out.push(self.unknown);
            return;
        }
        while !rest.is_empty() {
            piece.clear();
            if rest.len() == word.len() {
                piece.push(SPACE);
            }
            let mark = piece.len();
            piece.push_str(&rest[..floor(rest, self.longest)]);
            let found = loop {
                if piece.len() == mark {
                    break None;
                }
                if let Some(id) = find(piece) {
                    break Some((id, piece.len() - mark));
                }
                piece.pop();
            };
            let Some((id, length)) = found else {
                out.truncate(before);
                out.push(self.unknown);
                return;
            };
            out.push(id);
            rest = &rest[length..];
        }
    }

    /// The text as the vocabulary writes it.
    fn written(&self, text: &str) -> String {
        let WordRules { clean, chinese, strip_accents, lower_case, .. } = self.rules;
        let cleaned = text.chars().filter(|c| !(clean && is_dropped(*c)));
        let spaced = cleaned.flat_map(|c| {
            let alone = chinese && is_chinese(c);
            let c = if clean && c.is_whitespace() { ' ' } else { c };
            [alone.then_some(' '), Some(c), alone.then_some(' ')].into_iter().flatten()
        });
        let plain: String = match strip_accents {
            true => spaced.nfd().filter(|c| !is_accent(*c)).collect(),
            false => spaced.collect(),
        };
        // One by one: a sigma at a word's end is one like others.
        if lower_case { plain.chars().flat_map(char::to_lowercase).collect() } else { plain }
    }
}

/// Whether a character is no text: a control character, or one that nobody can read.
fn is_dropped(c: char) -> bool {
    match c {
        '\t' | '\n' | '\r' => false,
        '\0' | '\u{fffd}' => true,
        _ => matches!(
            get_general_category(c),
            Category::Control | Category::Format | Category::PrivateUse
        ),
    }
}

fn is_chinese(c: char) -> bool {
    CHINESE.iter().any(|(first, last)| (*first..=*last).contains(&(c as u32)))
}

fn is_accent(c: char) -> bool {
    get_general_category(c) == Category::NonspacingMark
}

/// Of ASCII, also what Unicode calls symbols.
fn is_punctuation(c: char) -> bool {
    c.is_ascii_punctuation() || class(c) == Class::Punctuation
}

/// The last boundary between characters up to `end`.
fn floor(text: &str, end: usize) -> usize {
    (0..=end.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}
