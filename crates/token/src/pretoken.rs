//! Text into pre-tokens, the pieces inside which BPE may merge, in linear time.
//!
//! A GGUF file carries only the name of its pre-tokenizer. Published tokenizers define each by a
//! regular expression; here it is a scanner that looks at a class of each character and at most one
//! character ahead (`\s+(?!\S)` is the only look-ahead among the patterns), so nothing backtracks.
//! Names and patterns are those of llama.cpp's `llama-vocab.cpp`; where the original Hugging Face
//! pattern ignores case (`(?i:'s|…)`) the original wins, so that `'ſ` (long s) counts as `'s`.
//! Unicode normalisation (NFC, which some Hugging Face files ask for) is not done, as in llama.cpp.

use crate::unicode::{Class, class};

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
}

const GPT2: PreTokenizer = PreTokenizer { pattern: Pattern::Gpt2, whole_words_first: false };
const SMOLLM: PreTokenizer =
    PreTokenizer { pattern: Pattern::SingleDigitsThenGpt2, whole_words_first: false };
const QWEN2: PreTokenizer =
    PreTokenizer { pattern: Pattern::Cl100k { digits: 1 }, whole_words_first: false };
const LLAMA3: PreTokenizer =
    PreTokenizer { pattern: Pattern::Cl100k { digits: 3 }, whole_words_first: true };
const DBRX: PreTokenizer =
    PreTokenizer { pattern: Pattern::Cl100k { digits: 3 }, whole_words_first: false };

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
    if first == '\''
        && let Some(length) = contraction(text, equal_when_folded)
    {
        return length;
    }
    let first_length = first.len_utf8();
    match class(first) {
        Class::Letter => return run(text, 0, Class::Letter),
        Class::Number => {
            let numbers = text.chars().take(digits).take_while(|c| class(*c) == Class::Number);
            return numbers.map(char::len_utf8).sum();
        }
        Class::Space | Class::Other => {}
    }
    let second = text[first_length..].chars().next().map(class);
    let line_end = matches!(first, '\r' | '\n');
    if !line_end && second == Some(Class::Letter) {
        return run(text, first_length, Class::Letter);
    }
    let is_other = class(first) == Class::Other;
    if is_other || (first == ' ' && second == Some(Class::Other)) {
        let others = run(text, if is_other { 0 } else { 1 }, Class::Other);
        let line_ends = text.as_bytes()[others..].iter().take_while(|b| matches!(b, b'\r' | b'\n'));
        return others + line_ends.count();
    }
    let spaces = run(text, 0, Class::Space);
    if let Some(last) = text[..spaces].rfind(['\r', '\n']) {
        return last + 1;
    }
    leave_last_space(text, spaces, spaces < text.len())
}

/// `\s+(?!\S)|\s+` on `spaces` bytes of white space: the last character stays for what follows.
fn leave_last_space(text: &str, spaces: usize, followed_by_text: bool) -> usize {
    let last = text[..spaces].chars().next_back().map_or(0, char::len_utf8);
    if followed_by_text && spaces > last { spaces - last } else { spaces }
}

/// End of the run of characters of one class that begins at byte `from`.
fn run(text: &str, from: usize, wanted: Class) -> usize {
    let rest = &text[from..];
    from + rest.find(|c| class(c) != wanted).unwrap_or(rest.len())
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
