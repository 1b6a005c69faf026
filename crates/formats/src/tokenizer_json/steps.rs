//! Turns the normaliser and the pre-tokenizer of `tokenizer.json` into the names that GGUF has for
//! them.

use super::error::VocabError;
use super::read::Parts;
use crate::error::shown;
use crate::json::Json;

/// What comes before BPE, under GGUF's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scheme {
    /// `tokenizer.ggml.model`
    pub model: &'static str,
    /// `tokenizer.ggml.pre`
    pub pre: &'static str,
    /// `tokenizer.ggml.add_space_prefix`
    pub add_space_prefix: bool,
}

/// The character that stands for a space in SentencePiece.
const SPACE_MARK: &str = "▁";

/// Contractions as most patterns write them, and as some do.
const CONTRACTIONS: &str = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const CONTRACTIONS_SPELLED: &str = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])";

/// Patterns before a byte level that splits no further, and their names. They are the originals of
/// what llama.cpp has in `llama-vocab.cpp` under the same names.
const PATTERNS: &[(&[&str], &str)] = &[
    (&[r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"], "gpt-2"),
    (
        &[concat!(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|",
            r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )],
        "qwen2",
    ),
    (
        &[concat!(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}|",
            r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )],
        "qwen35",
    ),
    (
        &[concat!(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|",
            r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )],
        LLAMA3,
    ),
    (
        &[
            r"\p{N}{1,3}",
            r"[一-龥぀-ゟ゠-ヿ]+",
            concat!(
                r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|"##,
                r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|",
                r"\s*[\r\n]+|\s+(?!\S)|\s+"
            ),
        ],
        "deepseek-v3",
    ),
    (
        &[concat!(
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*",
            r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|",
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+",
            r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|",
            r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )],
        "gpt-4o",
    ),
    (
        &[concat!(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|",
            r" ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+"
        )],
        "seed-coder",
    ),
    (
        &[
            r"[\r\n]",
            concat!(
                r"\s?[",
                "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ",
                "-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂ",
                "ℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚ",
                "ａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃",
                "]+"
            ),
            r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
            r"\s+$",
            EAST_ASIAN,
            r"\p{N}",
        ],
        "deepseek-llm",
    ),
    (&[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", EAST_ASIAN, r"\p{N}"], "deepseek-coder"),
];

/// Of DeepSeek's first tokenizers.
const EAST_ASIAN: &str = "[一-龥ࠀ-一가-퟿]+";

/// Llama 3's name, which stands for `ignore_merges` too; without it the same pattern is `dbrx`.
const LLAMA3: &str = "llama-bpe";
const LLAMA3_WITH_MERGES: &str = "dbrx";

/// One step of a pre-tokenizer.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// Every match of the pattern stands alone, and what is between matches too.
    Pattern(String),
    /// Every digit stands alone.
    Digits,
    /// Bytes become the characters of GPT-2's alphabet, perhaps split by its pattern before.
    ByteLevel { split: bool },
    /// Spaces stay with what is before them; none is left where the normaliser replaced them.
    Spaces,
    /// Spaces become `▁`, and one may be put before the text.
    Metaspace { prefix: bool },
}

/// How text is written before it is split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writing {
    /// As it is (or in Unicode's form NFC, which no GGUF file can say).
    Plain,
    /// With `▁` for spaces.
    Marks { prefix: bool },
}

/// The names of what comes before BPE.
pub(super) fn recognise(parts: &Parts) -> Result<Scheme, VocabError> {
    let writing = writing(&parts.normalizer)?;
    let unknown =
        || VocabError::PreTokenizer { shown: describe(&parts.pre_tokenizer), known: known_names() };
    let steps = steps(&parts.pre_tokenizer).ok_or_else(unknown)?;
    let byte_level = |pre| Scheme { model: "gpt2", pre, add_space_prefix: false };
    let marks = |prefix| Scheme { model: "llama", pre: "default", add_space_prefix: prefix };
    match (writing, steps.as_slice()) {
        (Writing::Plain, [Step::ByteLevel { split: true }]) => Ok(byte_level("gpt-2")),
        (Writing::Plain, [Step::Digits, Step::ByteLevel { split: true }]) => {
            Ok(byte_level("smollm"))
        }
        (Writing::Plain, [patterns @ .., Step::ByteLevel { split: false }]) => {
            let pre = named(patterns).ok_or_else(unknown)?;
            let keeps_words = parts.setting("ignore_merges").as_bool() == Some(true);
            Ok(byte_level(if pre == LLAMA3 && !keeps_words { LLAMA3_WITH_MERGES } else { pre }))
        }
        (Writing::Marks { prefix }, [] | [Step::Spaces]) => Ok(marks(prefix)),
        (Writing::Plain, [Step::Metaspace { prefix }]) => Ok(marks(*prefix)),
        _ => Err(unknown()),
    }
}

fn named(steps: &[Step]) -> Option<&'static str> {
    let is = |known: &str, step: &Step| match step {
        Step::Digits => known == r"\p{N}",
        step => *step == Step::Pattern(canonical(known)),
    };
    let same = |patterns: &[&str]| {
        let pairs = patterns.iter().zip(steps);
        patterns.len() == steps.len() && pairs.into_iter().all(|(known, step)| is(known, step))
    };
    PATTERNS.iter().find(|(patterns, _)| same(patterns)).map(|(_, name)| *name)
}

/// One spelling of what is written in several.
fn canonical(pattern: &str) -> String {
    pattern
        .replace('\r', r"\r")
        .replace('\n', r"\n")
        .replace(CONTRACTIONS_SPELLED, CONTRACTIONS)
        .replace(r"\p{N}{1}", r"\p{N}")
}

fn known_names() -> String {
    let names = PATTERNS.iter().map(|(_, name)| *name);
    names.chain(["smollm", "the one of Gemma and Llama 2"]).collect::<Vec<_>>().join(", ")
}

/// The steps of a pre-tokenizer; none if one of them is unknown.
fn steps(pre_tokenizer: &Json) -> Option<Vec<Step>> {
    if *pre_tokenizer == Json::Null {
        return Some(Vec::new());
    }
    match pre_tokenizer.get("type")?.as_str()? {
        "Sequence" => pre_tokenizer.get("pretokenizers")?.as_list()?.iter().map(step).collect(),
        _ => Some(vec![step(pre_tokenizer)?]),
    }
}

fn step(json: &Json) -> Option<Step> {
    let flag = |key, default| json.get(key).map_or(Some(default), Json::as_bool);
    match json.get("type")?.as_str()? {
        "Split" => split(json),
        "Digits" => flag("individual_digits", false)?.then_some(Step::Digits),
        "ByteLevel" if !flag("add_prefix_space", true)? => {
            Some(Step::ByteLevel { split: flag("use_regex", true)? })
        }
        "Metaspace" if is_text(json.get("replacement"), SPACE_MARK) => {
            let prefix = match json.get("prepend_scheme").and_then(Json::as_str) {
                None => flag("add_prefix_space", true)?,
                Some("first" | "always") => true,
                Some("never") => false,
                Some(_) => return None,
            };
            // SentencePiece merges across spaces.
            (!flag("split", true)?).then_some(Step::Metaspace { prefix })
        }
        _ => None,
    }
}

/// Matches that stand alone, written in either of two ways, or spaces as in Gemma.
fn split(json: &Json) -> Option<Step> {
    let behavior = json.get("behavior")?.as_str()?;
    let invert = json.get("invert").map_or(Some(false), Json::as_bool)?;
    let pattern = json.get("pattern")?;
    if is_text(pattern.get("String"), " ") {
        return (behavior == "MergedWithPrevious" && !invert).then_some(Step::Spaces);
    }
    let pattern = pattern.get("Regex")?.as_str()?;
    matches!((behavior, invert), ("Isolated", false) | ("Removed", true))
        .then(|| Step::Pattern(canonical(pattern)))
}

fn writing(normalizer: &Json) -> Result<Writing, VocabError> {
    let unknown = || VocabError::Normalizer { shown: describe(normalizer) };
    let single = std::slice::from_ref(normalizer);
    let kind = |json: &Json| json.get("type").and_then(Json::as_str).map(str::to_owned);
    let steps = match kind(normalizer).as_deref() {
        Some("Sequence") => {
            let steps = normalizer.get("normalizers").and_then(Json::as_list);
            steps.ok_or_else(unknown)?
        }
        _ => single,
    };
    let (mut prefix, mut marks) = (false, false);
    for step in steps {
        match kind(step).as_deref() {
            None if *step == Json::Null => {}
            Some("NFC") => {}
            Some("Prepend") if is_text(step.get("prepend"), SPACE_MARK) => prefix = true,
            Some("Replace")
                if is_text(step.get("pattern").and_then(|p| p.get("String")), " ")
                    && is_text(step.get("content"), SPACE_MARK) =>
            {
                marks = true;
            }
            _ => return Err(unknown()),
        }
    }
    match (marks, prefix) {
        (true, prefix) => Ok(Writing::Marks { prefix }),
        (false, false) => Ok(Writing::Plain),
        (false, true) => Err(unknown()),
    }
}

fn is_text(json: Option<&Json>, text: &str) -> bool {
    json.and_then(Json::as_str) == Some(text)
}

/// A part of the file for a message: the kinds of its steps, and the first pattern cut short.
pub(super) fn describe(json: &Json) -> String {
    let kind = |json: &Json| match json.get("type").and_then(Json::as_str) {
        Some(kind) => shown(kind),
        None => json.describe().to_owned(),
    };
    let list = ["pretokenizers", "normalizers"].iter().find_map(|key| json.get(key)?.as_list());
    let steps = list.unwrap_or(std::slice::from_ref(json));
    let kinds: Vec<String> = steps.iter().take(8).map(kind).collect();
    let pattern = steps.iter().find_map(|step| step.get("pattern")?.get("Regex")?.as_str());
    let pattern = pattern.map_or(String::new(), |pattern| format!(" with `{}`", shown(pattern)));
    format!("{}{pattern}", kinds.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_names_have_the_same_pattern() {
        for (at, (patterns, name)) in PATTERNS.iter().enumerate() {
            let steps: Vec<Step> =
                patterns.iter().map(|pattern| Step::Pattern(canonical(pattern))).collect();
            assert_eq!(named(&steps), Some(*name));
            assert!(PATTERNS[at + 1..].iter().all(|(other, _)| other != patterns));
        }
    }
}
