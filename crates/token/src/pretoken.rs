//! Text into pre-tokens, the pieces inside which BPE may merge, in linear time.
//!
//! A GGUF file carries only the name of its pre-tokenizer. Published tokenizers define each by
//! regular expressions that cut one after the other, each the pieces that the one before it made,
//! into its matches and what is between them; here each expression is a scanner that looks at the
//! class of each character and at most one character ahead (`\s+(?!\S)` is the only look-ahead
//! among the patterns), so nothing backtracks.
//! Names and patterns are those of llama.cpp's `llama-vocab.cpp`; where the original Hugging Face
//! pattern ignores case (`(?i:'s|…)`) or names categories, the original wins, so that `'ſ` (long s)
//! counts as `'s`. Unicode normalisation (NFC, which some Hugging Face files ask for) is not done,
//! as in llama.cpp.

mod deepseek;
mod words;

use std::ops::Range;

use crate::unicode::Class;
use words::Words;

/// A way of cutting text into pre-tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreTokenizer {
    /// At most [`STAGES_MAX`].
    stages: &'static [Pattern],
    /// Whether a pre-token that is a token as a whole is taken without looking at the merges.
    pub(crate) whole_words_first: bool,
}

/// One regular expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pattern {
    /// `\p{N}{1,MOST}`
    Numbers { most: usize },
    /// `[\r\n]`
    LineEnd,
    /// `[一-龥぀-ゟ゠-ヿ]+`
    IdeographsAndKana,
    /// `[一-龥ࠀ-一가-퟿]+`
    EastAsian,
    /// `\s?\p{L}+`
    SpaceAndLetters,
    /// `\s?\p{P}+`
    SpaceAndPunctuation,
    /// `\s?[A-Za-zµÀ-Ö…]+`: most letters that have a case, in 87 ranges.
    SpaceAndCased,
    /// `\s?[!-/:-~！-／：-～‘-‟　-。]+`
    SpaceAndListed,
    /// `\s+$`
    SpaceAtEnd,
    /// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
    Gpt2,
    /// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,DIGITS}|
    ///  ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
    Cl100k(Words),
    /// `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|…)?|
    ///  [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|…)?|
    ///  \p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`
    O200k,
    /// ``[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|
    /// ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+``
    DeepSeek,
}

const STAGES_MAX: usize = 6;

const GPT2: PreTokenizer = of(&[Pattern::Gpt2]);
const SMOLLM: PreTokenizer = of(&[Pattern::Numbers { most: 1 }, Pattern::Gpt2]);
const QWEN2: PreTokenizer = of(&[Pattern::Cl100k(Words::QWEN2)]);
/// As qwen2 with `[\p{L}\p{M}]+` and `[^\s\p{L}\p{M}\p{N}]+`.
const QWEN35: PreTokenizer = of(&[Pattern::Cl100k(Words::QWEN35)]);
/// As qwen2 without the line ends after `[^\s\p{L}\p{N}\r\n]+`.
const SEED: PreTokenizer = of(&[Pattern::Cl100k(Words::SEED)]);
const DBRX: PreTokenizer = of(&[Pattern::Cl100k(Words::LLAMA3)]);
const LLAMA3: PreTokenizer = PreTokenizer { whole_words_first: true, ..DBRX };
/// Whole words first as in tiktoken, where the pattern comes from; llama.cpp merges only, with the
/// same result wherever merges lead to every token.
const GPT4O: PreTokenizer = PreTokenizer { whole_words_first: true, ..of(&[Pattern::O200k]) };
const DEEPSEEK_V3: PreTokenizer =
    of(&[Pattern::Numbers { most: 3 }, Pattern::IdeographsAndKana, Pattern::DeepSeek]);
/// Of DeepSeek-LLM and DeepSeek-V2. The original cuts every digit apart, llama.cpp runs of them:
/// the vocabularies have no token of several digits, so that the ids are the same.
const DEEPSEEK_LLM: PreTokenizer = of(&[
    Pattern::LineEnd,
    Pattern::SpaceAndCased,
    Pattern::SpaceAndListed,
    Pattern::SpaceAtEnd,
    Pattern::EastAsian,
    Pattern::Numbers { most: 1 },
]);
const DEEPSEEK_CODER: PreTokenizer = of(&[
    Pattern::LineEnd,
    Pattern::SpaceAndLetters,
    Pattern::SpaceAndPunctuation,
    Pattern::EastAsian,
    Pattern::Numbers { most: 1 },
]);

const fn of(stages: &'static [Pattern]) -> PreTokenizer {
    assert!(stages.len() <= STAGES_MAX);
    PreTokenizer { stages, whole_words_first: false }
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
    ("qwen35", QWEN35),
    ("seed-coder", SEED),
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
    ("gpt-4o", GPT4O),
    ("llama4", GPT4O),
    ("kanana2", GPT4O),
    ("deepseek-v3", DEEPSEEK_V3),
    ("hunyuan-dense", DEEPSEEK_V3),
    ("joyai-llm", DEEPSEEK_V3),
    ("deepseek-llm", DEEPSEEK_LLM),
    ("deepseek-coder", DEEPSEEK_CODER),
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
        let mut rests = [""; STAGES_MAX];
        rests[0] = text;
        PreTokens { stages: self.stages, rests }
    }
}

/// The pre-tokens of a text: see [`PreTokenizer::split`].
#[derive(Clone, Debug)]
pub struct PreTokens<'t> {
    stages: &'static [Pattern],
    /// What is left for each stage of the piece that the stage before it made. In the text, that of
    /// a later stage comes first.
    rests: [&'t str; STAGES_MAX],
}

impl<'t> Iterator for PreTokens<'t> {
    type Item = &'t str;

    fn next(&mut self) -> Option<&'t str> {
        loop {
            let stage = self.rests.iter().rposition(|rest| !rest.is_empty())?;
            let rest = self.rests[stage];
            let found = self.stages[stage].find(rest).unwrap_or(rest.len()..rest.len());
            let cut = if found.start == 0 { found.end } else { found.start };
            let (part, rest) = rest.split_at(cut);
            self.rests[stage] = rest;
            match self.rests[..self.stages.len()].get_mut(stage + 1) {
                Some(next) => *next = part,
                None => return Some(part),
            }
        }
    }
}

impl Pattern {
    /// The first match in `text`, which is not empty; nor is a match.
    fn find(self, text: &str) -> Option<Range<usize>> {
        use words::{find_run, find_spaced_run};
        match self {
            Pattern::Numbers { most } => find_run(text, most, Class::is_number),
            Pattern::LineEnd => text.find(['\r', '\n']).map(|at| at..at + 1),
            Pattern::IdeographsAndKana => deepseek::find_ideographs_and_kana(text),
            Pattern::EastAsian => deepseek::find_east_asian(text),
            Pattern::SpaceAndLetters => find_spaced_run(text, words::of_class(Class::is_letter)),
            Pattern::SpaceAndPunctuation => {
                find_spaced_run(text, words::of_class(|class| class == Class::Punctuation))
            }
            Pattern::SpaceAndCased => find_spaced_run(text, deepseek::is_cased),
            Pattern::SpaceAndListed => find_spaced_run(text, deepseek::is_listed),
            Pattern::SpaceAtEnd => {
                let start = text.trim_end().len();
                (start < text.len()).then_some(start..text.len())
            }
            Pattern::Gpt2 => Some(0..words::gpt2(text)),
            Pattern::Cl100k(words) => Some(0..words.first(text)),
            Pattern::O200k => Some(0..words::o200k(text)),
            Pattern::DeepSeek => deepseek::find_word(text),
        }
    }
}
