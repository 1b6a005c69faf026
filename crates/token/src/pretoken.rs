//! Text into pre-tokens, the pieces inside which BPE may merge, in linear time.
//!
//! A GGUF file carries only the name of its pre-tokenizer. Published tokenizers define each by a
//! regular expression; here it is a scanner that looks at a class of each character and at most one
//! character ahead (`\s+(?!\S)` is the only look-ahead among the patterns), so nothing backtracks.
//! Names and patterns are those of llama.cpp's `llama-vocab.cpp`; where the original Hugging Face
//! pattern ignores case (`(?i:'s|…)`) the original wins, so that `'ſ` (long s) counts as `'s`.
//! Unicode normalisation (NFC, which some Hugging Face files ask for) is not done, as in llama.cpp.

mod deepseek;
mod o200k;

use crate::unicode::{Class, class, is_letter_or_mark, is_mark};

/// A way of cutting text into pre-tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreTokenizer {
    pattern: Pattern,
    /// Whether a pre-token that is a token as a whole is taken without looking at the merges.
    pub(crate) whole_words_first: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pattern {
    /// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
    Gpt2,
    /// First every `\p{N}` alone, then [`Pattern::Gpt2`] in what is between them.
    SingleDigitsThenGpt2,
    /// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,DIGITS}|
    ///  ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
    Cl100k { digits: usize },
    /// [`Pattern::Cl100k`] with single digits, and with marks as parts of words: `[\p{L}\p{M}]+`
    /// and `[^\s\p{L}\p{M}\p{N}]+`.
    Marks,
    /// [`Pattern::Cl100k`] with single digits, and line ends for themselves: no `[\r\n]*`.
    LineEndsApart,
    /// See [`o200k`].
    O200k,
    /// See [`deepseek`].
    DeepSeekV3,
}

const GPT2: PreTokenizer = plain(Pattern::Gpt2);
const SMOLLM: PreTokenizer = plain(Pattern::SingleDigitsThenGpt2);
const QWEN2: PreTokenizer = plain(Pattern::Cl100k { digits: 1 });
const LLAMA3: PreTokenizer =
    PreTokenizer { pattern: Pattern::Cl100k { digits: 3 }, whole_words_first: true };
const DBRX: PreTokenizer = plain(Pattern::Cl100k { digits: 3 });
const O200K: PreTokenizer = plain(Pattern::O200k);

const fn plain(pattern: Pattern) -> PreTokenizer {
    PreTokenizer { pattern, whole_words_first: false }
}

/// Every value of `tokenizer.ggml.pre` that is understood.
const NAMED: &[(&str, PreTokenizer)] = &[
    ("gpt-2", GPT2),
    ("phi-2", GPT2),
    ("mpt", GPT2),
    ("olmo", GPT2),
    ("jais", GPT2),
    ("trillion", GPT2),
    ("smollm", SMOLLM),
    ("starcoder", SMOLLM),
    ("refact", SMOLLM),
    ("codeshell", SMOLLM),
    ("exaone", SMOLLM),
    ("minerva-7b", SMOLLM),
    ("qwen2", QWEN2),
    ("deepseek-r1-qwen", QWEN2),
    ("stablelm2", QWEN2),
    ("hunyuan", QWEN2),
    ("solar-open", QWEN2),
    ("megrez", QWEN2),
    ("llama-bpe", LLAMA3),
    ("llama3", LLAMA3),
    ("llama-v3", LLAMA3),
    ("falcon3", LLAMA3),
    ("falcon-h1", LLAMA3),
    ("pixtral", LLAMA3),
    ("midm-2.0", LLAMA3),
    ("lfm2", LLAMA3),
    ("dbrx", DBRX),
    ("smaug-bpe", DBRX),
    ("glm4", DBRX),
    ("qwen35", plain(Pattern::Marks)),
    ("seed-coder", plain(Pattern::LineEndsApart)),
    ("gpt-4o", O200K),
    ("llama4", O200K),
    ("deepseek-v3", plain(Pattern::DeepSeekV3)),
];

impl PreTokenizer {
    /// The pre-tokenizer of a name as in `tokenizer.ggml.pre`.
    pub fn named(name: &str) -> Option<PreTokenizer> {
        NAMED.iter().find(|(known, _)| *known == name).map(|(_, found)| *found)
    }

    /// Every name that [`PreTokenizer::named`] knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMED.iter().map(|(name, _)| *name)
    }

    /// The pre-tokens of `text`, in order and without gaps.
    pub fn split<'t>(&self, text: &'t str) -> PreTokens<'t> {
        PreTokens { pattern: self.pattern, rest: text }
    }
}

/// The pre-tokens of a text: see [`PreTokenizer::split`].
#[derive(Clone, Debug)]
pub struct PreTokens<'t> {
    pattern: Pattern,
    rest: &'t str,
}

impl<'t> Iterator for PreTokens<'t> {
    type Item = &'t str;

    fn next(&mut self) -> Option<&'t str> {
        let first = self.rest.chars().next()?;
        let length = match self.pattern {
            Pattern::Gpt2 => gpt2(self.rest, first, false),
            Pattern::SingleDigitsThenGpt2 if class(first) == Class::Number => first.len_utf8(),
            Pattern::SingleDigitsThenGpt2 => gpt2(self.rest, first, true),
            Pattern::Cl100k { digits } => cl100k(self.rest, first, digits),
            Pattern::Marks => marks(self.rest, first),
            Pattern::LineEndsApart => line_ends_apart(self.rest, first),
            Pattern::O200k => o200k::first_length(self.rest, first),
            Pattern::DeepSeekV3 => deepseek::first_length(self.rest, first),
        };
        let (token, rest) = self.rest.split_at(length);
        self.rest = rest;
        Some(token)
    }
}

/// Length of the first GPT-2 pre-token of `text`. Where numbers have been cut out before
/// (`numbers_end_text`), a number is as good as the end of the text.
fn gpt2(text: &str, first: char, numbers_end_text: bool) -> usize {
    if first == '\''
        && let Some(length) = contraction(text, str::eq)
    {
        return length;
    }
    let first_class = class(first);
    if first_class != Class::Space {
        return run(text, 0, first_class);
    }
    if first == ' '
        && let Some(second) = text[1..].chars().next()
    {
        match class(second) {
            Class::Space => {}
            Class::Number if numbers_end_text => return 1,
            second_class => return run(text, 1, second_class),
        }
    }
    let spaces = run(text, 0, Class::Space);
    let followed_by_text = match text[spaces..].chars().next() {
        None => false,
        Some(next) => !(numbers_end_text && class(next) == Class::Number),
    };
    leave_last_space(text, spaces, followed_by_text)
}

/// Length of the first pre-token of `text` by the patterns of the cl100k kind.
fn cl100k(text: &str, first: char, digits: usize) -> usize {
    let others = |from| {
        let end = run(text, from, Class::Other);
        end + count_bytes(&text[end..], b"\r\n")
    };
    let letter = |c| class(c) == Class::Letter;
    folded_contraction(text, first)
        .or_else(|| numbers(text, first, digits))
        .or_else(|| word(text, first, letter))
        .or_else(|| with_space(text, first, |c| class(c) == Class::Other).map(others))
        .unwrap_or_else(|| white_space(text))
}

/// As [`cl100k`], by [`Pattern::Marks`].
fn marks(text: &str, first: char) -> usize {
    let other = |c| class(c) == Class::Other && !is_mark(c);
    let others = |from| {
        let end = run_of(text, from, other);
        end + count_bytes(&text[end..], b"\r\n")
    };
    folded_contraction(text, first)
        .or_else(|| numbers(text, first, 1))
        .or_else(|| word(text, first, is_letter_or_mark))
        .or_else(|| with_space(text, first, other).map(others))
        .unwrap_or_else(|| white_space(text))
}

/// As [`cl100k`], by [`Pattern::LineEndsApart`].
fn line_ends_apart(text: &str, first: char) -> usize {
    let others = |from| run(text, from, Class::Other);
    folded_contraction(text, first)
        .or_else(|| numbers(text, first, 1))
        .or_else(|| word(text, first, |c| class(c) == Class::Letter))
        .or_else(|| with_space(text, first, |c| class(c) == Class::Other).map(others))
        .unwrap_or_else(|| white_space(text))
}

/// `(?i:'s|'t|'re|'ve|'m|'ll|'d)`
fn folded_contraction(text: &str, first: char) -> Option<usize> {
    if first == '\'' { contraction(text, equal_when_folded) } else { None }
}

/// `\p{N}{1,digits}`
fn numbers(text: &str, first: char, digits: usize) -> Option<usize> {
    let number = |c: &char| class(*c) == Class::Number;
    let length = || text.chars().take(digits).take_while(number).map(char::len_utf8).sum();
    number(&first).then(length)
}

/// `[^\r\n\p{L}\p{N}]?W+` for the characters W of words: all letters, and perhaps marks.
fn word(text: &str, first: char, in_word: impl Fn(char) -> bool) -> Option<usize> {
    word_start(text, first, &in_word).map(|start| run_of(text, start, in_word))
}

/// Where the characters of a word begin: at once, or after one character that is no line end.
fn word_start(text: &str, first: char, in_word: impl Fn(char) -> bool) -> Option<usize> {
    if in_word(first) {
        return Some(0);
    }
    let after = first.len_utf8();
    let may_lead = !matches!(first, '\r' | '\n');
    (may_lead && text[after..].chars().next().is_some_and(in_word)).then_some(after)
}

/// Where the characters of ` ?X+` begin.
fn with_space(text: &str, first: char, wanted: impl Fn(char) -> bool) -> Option<usize> {
    if wanted(first) {
        return Some(0);
    }
    (first == ' ' && text[1..].chars().next().is_some_and(wanted)).then_some(1)
}

/// `\s*[\r\n]+|\s+(?!\S)|\s+`
fn white_space(text: &str) -> usize {
    let spaces = run(text, 0, Class::Space);
    match text[..spaces].rfind(['\r', '\n']) {
        Some(last) => last + 1,
        None => leave_last_space(text, spaces, spaces < text.len()),
    }
}

/// `\s+(?!\S)|\s+` on `spaces` bytes of white space: the last character stays for what follows.
fn leave_last_space(text: &str, spaces: usize, followed_by_text: bool) -> usize {
    let last = text[..spaces].chars().next_back().map_or(0, char::len_utf8);
    if followed_by_text && spaces > last { spaces - last } else { spaces }
}

/// End of the run of characters of one class that begins at byte `from`.
fn run(text: &str, from: usize, wanted: Class) -> usize {
    run_of(text, from, |c| class(c) == wanted)
}

/// End of the run of wanted characters that begins at byte `from`.
fn run_of(text: &str, from: usize, wanted: impl Fn(char) -> bool) -> usize {
    let rest = &text[from..];
    from + rest.find(|c| !wanted(c)).unwrap_or(rest.len())
}

/// How many of these bytes follow each other at the beginning.
fn count_bytes(text: &str, wanted: &[u8]) -> usize {
    text.bytes().take_while(|byte| wanted.contains(byte)).count()
}

/// Length of the English contraction at the beginning of `text`, which begins with `'`.
fn contraction(text: &str, equal: impl Fn(&str, &str) -> bool) -> Option<usize> {
    let mut ends = text.char_indices().skip(2).map(|(at, _)| at).chain([text.len()]);
    let (one, two) = (ends.next()?, ends.next());
    let starts_with = |end: usize, endings: &[&str]| {
        end > 1 && endings.iter().any(|ending| equal(&text[1..end], ending))
    };
    if starts_with(one, &["s", "t", "m", "d"]) {
        return Some(one);
    }
    two.filter(|end| starts_with(*end, &["re", "ve", "ll"]))
}

/// Equality without case. The only letter beyond ASCII that folds to one of a contraction's is
/// U+017F (long s).
fn equal_when_folded(text: &str, lower: &str) -> bool {
    text.eq_ignore_ascii_case(lower) || (text == "ſ" && lower == "s")
}
