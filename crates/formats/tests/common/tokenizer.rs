//! Turns a choice of pre-tokenizer into a small `tokenizer.json`, and each way to break one into
//! its error.

use myriad_formats::{JsonFile, TokenizerFiles, VocabError};
use serde_json::{Value, json};

pub const LLAMA3: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|",
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);

/// Parts of the patterns of DeepSeek-V2.
const EAST_ASIAN: &str = "[一-龥ࠀ-一가-퟿]+";
const LISTED: &str = r"\s?[!-/:-~！-／：-～‘-‟　-。]+";
const CASED: &str = concat!(
    r"\s?[",
    "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ",
    "-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂ",
    "ℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚ",
    "ａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃",
    "]+"
);

/// What comes before BPE.
#[derive(Clone)]
pub enum Pre<'a> {
    Gpt2,
    Digits,
    Regex(&'a str),
    Regexes(Vec<&'a str>),
    /// The same, then every digit alone.
    AndDigits(Vec<&'a str>),
    /// The same, written as what is to be kept.
    Inverted(&'a str),
}

/// A small tokenizer.
#[derive(Clone)]
pub struct Tokenizer(Value);

impl Tokenizer {
    pub fn byte_level(pre: Pre<'_>) -> Tokenizer {
        let last = |regex: bool| {
            json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                "use_regex": regex})
        };
        let split = |regex: &str, behavior: &str, invert: bool| {
            json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": behavior,
                "invert": invert})
        };
        let steps = match pre {
            Pre::Gpt2 => vec![last(true)],
            Pre::Digits => vec![json!({"type": "Digits", "individual_digits": true}), last(true)],
            Pre::Regex(regex) => vec![split(regex, "Isolated", false), last(false)],
            Pre::Inverted(regex) => vec![split(regex, "Removed", true), last(false)],
            Pre::Regexes(list) => {
                let splits = list.into_iter().map(|regex| split(regex, "Isolated", false));
                splits.chain([last(false)]).collect()
            }
            Pre::AndDigits(list) => {
                let splits = list.into_iter().map(|regex| split(regex, "Isolated", false));
                let digits = json!({"type": "Digits", "individual_digits": true});
                splits.chain([digits, last(false)]).collect()
            }
        };
        let pre_tokenizer = match steps.as_slice() {
            [one] => one.clone(),
            _ => json!({"type": "Sequence", "pretokenizers": steps}),
        };
        Tokenizer(json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": [
                {"id": 5, "content": "<|begin|>", "single_word": false, "special": true},
                {"id": 6, "content": "<tool>", "normalized": false, "special": false},
                {"id": 7, "content": "<|end|>", "normalized": false, "special": false},
            ],
            "normalizer": {"type": "NFC"},
            "pre_tokenizer": pre_tokenizer,
            "post_processor": {"type": "Sequence", "processors": [
                {"type": "ByteLevel", "trim_offsets": false},
                {"type": "TemplateProcessing", "single": [
                    {"SpecialToken": {"id": "<|begin|>", "type_id": 0}},
                    {"Sequence": {"id": "A", "type_id": 0}}]}]},
            "decoder": {"type": "ByteLevel"},
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "byte_fallback": false,
                "continuing_subword_prefix": null, "end_of_word_suffix": "", "fuse_unk": false,
                "ignore_merges": false,
                "vocab": {"Ġ": 0, "a": 1, "b": 2, "ab": 3, "Ġab": 4},
                "merges": ["a b", "Ġ ab"],
            },
        }))
    }

    /// As in Gemma 3.
    pub fn sentencepiece() -> Tokenizer {
        Tokenizer(json!({
            "added_tokens": [
                {"id": 0, "content": "<pad>", "special": true},
                {"id": 1, "content": "<eos>", "special": true},
                {"id": 2, "content": "<unk>", "special": true},
            ],
            "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
            "pre_tokenizer": {"type": "Split", "pattern": {"String": " "},
                "behavior": "MergedWithPrevious", "invert": false},
            "model": {
                "type": "BPE", "unk_token": "<unk>", "byte_fallback": true, "fuse_unk": true,
                "vocab": {"<pad>": 0, "<eos>": 1, "<unk>": 2, "<0x0A>": 3, "▁": 4, "a": 5, "b": 6,
                    "ab": 7, "▁ab": 8},
                "merges": [["a", "b"], ["▁", "ab"], ["▁", "ab"]],
            },
        }))
    }

    pub fn ignore_merges(mut self, value: bool) -> Tokenizer {
        self.0["model"]["ignore_merges"] = value.into();
        self
    }

    pub fn json(self) -> Value {
        self.0
    }
}

/// Only `tokenizer.json`.
pub fn files(tokenizer: &[u8]) -> TokenizerFiles<'_> {
    TokenizerFiles {
        tokenizer,
        tokenizer_config: None,
        special_tokens_map: None,
        generation_config: None,
        config: None,
        chat_template: None,
    }
}

/// A file beside it.
pub fn json(name: &str, value: Value) -> Option<JsonFile> {
    Some(JsonFile::from_bytes(name, value.to_string().as_bytes()).expect("a sound file"))
}

/// Pre-tokenizers as published files have them, and their names. Some have line ends as they are,
/// some as `\r` and `\n`.
pub fn known() -> Vec<(Pre<'static>, &'static str)> {
    let qwen2 = concat!(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    );
    let qwen35 = concat!(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}|",
        r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    );
    let deepseek = "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|\
        [^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\
        \\s+(?!\\S)|\\s+";
    let seed = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|\
        [^\r\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\r\n]+|\\s*[\r\n]+|\
        \\s+(?!\\S)|\\s+";
    let o200k = concat!(
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|",
        r"\s+(?!\S)|\s+"
    );
    let gpt2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
    vec![
        (Pre::Gpt2, "gpt-2"),
        (Pre::Regex(gpt2), "gpt-2"),
        (Pre::Digits, "smollm"),
        (Pre::Regex(qwen2), "qwen2"),
        (Pre::Inverted(qwen2), "qwen2"),
        (Pre::Regex(qwen35), "qwen35"),
        (Pre::Regexes(vec![r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", deepseek]), "deepseek-v3"),
        (Pre::AndDigits(vec!["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", EAST_ASIAN]), "deepseek-coder"),
        (Pre::AndDigits(vec!["[\r\n]", CASED, LISTED, r"\s+$", EAST_ASIAN]), "deepseek-llm"),
        (Pre::Regex(o200k), "gpt-4o"),
        (Pre::Regex(seed), "seed-coder"),
    ]
}

/// Pre-tokenizers that cut otherwise than any known one.
pub fn unknown() -> Vec<Value> {
    let split = json!({"type": "Split", "pattern": {"Regex": LLAMA3}, "behavior": "Isolated",
        "invert": false});
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": false});
    let sequence = |steps: &[&Value]| json!({"type": "Sequence", "pretokenizers": steps});
    let mut merged = split.clone();
    merged["behavior"] = "MergedWithNext".into();
    let mut inverted = split.clone();
    inverted["invert"] = true.into();
    vec![
        Value::Null,
        json!({}),
        json!({"type": "Whitespace"}),
        json!({"type": "ByteLevel", "add_prefix_space": true, "use_regex": true}),
        json!({"type": "ByteLevel"}),
        bytes.clone(),
        split.clone(),
        sequence(&[]),
        sequence(&[&split]),
        sequence(&[&bytes, &split]),
        sequence(&[&split, &split, &bytes]),
        sequence(&[&merged, &bytes]),
        sequence(&[&inverted, &bytes]),
        sequence(&[&json!({"type": "Digits", "individual_digits": false}), &bytes]),
        json!("ByteLevel"),
    ]
}

/// One broken tokenizer.
pub struct Case {
    pub name: &'static str,
    tokenizer: String,
    neighbours: [Option<JsonFile>; 2],
    pub is: fn(&VocabError) -> bool,
    pub says: &'static [&'static str],
}

impl Case {
    pub fn files(&self) -> TokenizerFiles<'_> {
        let [tokenizer_config, config] = self.neighbours.clone();
        TokenizerFiles { tokenizer_config, config, ..files(self.tokenizer.as_bytes()) }
    }
}

macro_rules! case {
    ($name:literal, $tokenizer:expr, $pattern:pat, $says:expr) => {
        case!($name, $tokenizer, None, None, $pattern, $says)
    };
    ($name:literal, $tokenizer:expr, $beside:expr, $config:expr, $pattern:pat, $says:expr) => {
        Case {
            name: $name,
            tokenizer: $tokenizer.to_string(),
            neighbours: [$beside, $config],
            is: |error| matches!(error, $pattern),
            says: $says,
        }
    };
}

/// Every broken tokenizer.
pub fn cases() -> Vec<Case> {
    let mut all = broken_parts();
    all.extend(broken_tokens());
    all.extend(broken_neighbours());
    all.extend(broken_templates());
    all
}

/// The sound one with one place changed.
fn with(pointer: &str, value: Value) -> Value {
    let mut tokenizer = Tokenizer::byte_level(Pre::Gpt2).json();
    *tokenizer.pointer_mut(pointer).expect("a place in the file") = value;
    tokenizer
}

fn without(part: &str) -> Value {
    let mut tokenizer = Tokenizer::byte_level(Pre::Gpt2).json();
    tokenizer["model"].as_object_mut().expect("an object").remove(part);
    tokenizer
}

fn broken_parts() -> Vec<Case> {
    use VocabError::*;
    let unigram = json!({"model": {"type": "Unigram", "vocab": [["a", -1.0]]}});
    let twice = r#"{"model":{"type":"BPE","vocab":{},"vocab":{},"merges":[]}}"#;
    let two = r#"{"model":{"type":"BPE","vocab":{},"merges":[]},"model":{}}"#;
    let deep = format!("{{\"normalizer\":{}{}}}", "[".repeat(99), "]".repeat(99));
    let lower = json!({"type": "Lowercase"});
    let strip = json!({"type": "Sequence", "normalizers": [{"type": "Strip"}]});
    vec![
        case!("nothing", "", Syntax(_), &["tokenizer.json"]),
        case!("a list", "[]", Syntax(_), &["model"]),
        case!("deep", deep, Syntax(_), &["64"]),
        case!("no model", "{}", MissingPart { .. }, &["`model`"]),
        case!("two models", two, PartTwice { .. }, &["`model`"]),
        case!("two lists", twice, PartTwice { .. }, &["`model.vocab`"]),
        case!("no tokens", without("vocab"), MissingPart { .. }, &["`model.vocab`"]),
        case!("no merges", without("merges"), MissingPart { .. }, &["`model.merges`"]),
        case!("Unigram", unigram, ModelType { .. }, &["`Unigram`", "BPE"]),
        case!("WordPiece", with("/model/type", json!("WordPiece")), Normalizer { .. }, &["NFC"]),
        case!("a number", with("/model/type", json!(1)), ModelType { .. }, &["number"]),
        case!(
            "suffix",
            with("/model/end_of_word_suffix", json!("</w>")),
            ModelSetting { .. },
            &["`model.end_of_word_suffix`", "`</w>`"]
        ),
        case!(
            "bytes of text",
            with("/model/byte_fallback", json!("yes")),
            PartType { .. },
            &["`model.byte_fallback`", "a string"]
        ),
        case!("lower case", with("/normalizer", lower), Normalizer { .. }, &["Lowercase"]),
        case!("strip", with("/normalizer", strip), Normalizer { .. }, &["Strip"]),
        case!("merge of one", with("/model/merges/1", json!("ab")), Merge { .. }, &["[1]", "`ab`"]),
        case!("of three", with("/model/merges/0", json!("a b c")), Merge { .. }, &["[0]"]),
        case!("half", with("/model/merges/0", json!("a ")), Merge { .. }, &["[0]"]),
        case!("spaces", with("/model/merges/0", json!(["a b", "c"])), Merge { .. }, &["[0]"]),
        case!("list of one", with("/model/merges/0", json!(["a"])), Syntax(_), &["two pieces"]),
        case!("list of three", with("/model/merges/0", json!(["a", "b", "c"])), Syntax(_), &[]),
        case!("merge of numbers", with("/model/merges/0", json!([1, 2])), Syntax(_), &["integer"]),
    ]
}

fn broken_tokens() -> Vec<Case> {
    use VocabError::*;
    let added = |token: Value| with("/added_tokens/0", token);
    let mut lost = Tokenizer::sentencepiece().json();
    lost["model"]["merges"][0] = json!(["b", "a"]);
    let mut empty = with("/model/vocab", json!({}));
    empty["added_tokens"] = json!([]);
    vec![
        case!("no token", empty, TokenCount { count: 0, .. }, &["0 tokens"]),
        case!(
            "far id",
            with("/model/vocab/a", json!(1 << 21)),
            IdRange { .. },
            &["`a`", "2097152"]
        ),
        case!("negative id", with("/model/vocab/a", json!(-1)), Syntax(_), &["-1"]),
        case!("one id", with("/model/vocab/b", json!(1)), IdTwice { id: 1, .. }, &["`a`", "`b`"]),
        case!("hole", with("/model/vocab/a", json!(99_999)), UnusedIds { .. }, &["65536"]),
        case!("lost merge", lost, MergeResult { index: 0, .. }, &["`ba`"]),
        case!("added nothing", added(json!(5)), AddedToken { index: 0, .. }, &["[0]", "content"]),
        case!(
            "no id",
            added(json!({"content": "x", "special": true})),
            AddedToken { .. },
            &["`id`"]
        ),
        case!(
            "no special",
            added(json!({"content": "x", "id": 5})),
            AddedToken { .. },
            &["`special`"]
        ),
        case!(
            "empty text",
            added(json!({"content": "", "id": 5, "special": true})),
            AddedToken { .. },
            &["`content`"]
        ),
        case!(
            "far added id",
            added(json!({"content": "x", "id": u64::MAX, "special": true})),
            IdRange { .. },
            &["18446744073709551615"]
        ),
        case!(
            "another's id",
            added(json!({"content": "x", "id": 1, "special": true})),
            IdTwice { id: 1, .. },
            &["`a`", "`x`"]
        ),
        case!(
            "two ids",
            added(json!({"content": "ab", "id": 5, "special": true})),
            TokenTwice { first: 3, second: 5, .. },
            &["`ab`"]
        ),
        case!(
            "added object",
            with("/added_tokens", json!({})),
            PartType { .. },
            &["`added_tokens`"]
        ),
    ]
}

/// A `tokenizer_config.json`.
fn beside(value: Value) -> Option<JsonFile> {
    json("tokenizer_config.json", value)
}

fn broken_neighbours() -> Vec<Case> {
    use VocabError::*;
    let sound = || Tokenizer::byte_level(Pre::Gpt2).json();
    let eos = |value: Value| beside(json!({"eos_token": value}));
    let end = |value: Value| json("config.json", json!({"eos_token_id": value}));
    let rows = |value: Value| json("config.json", json!({"vocab_size": value}));
    let nested = json("config.json", json!({"text_config": {"vocab_size": 3}}));
    vec![
        case!(
            "unknown end",
            sound(),
            eos(json!("</s>")),
            None,
            SpecialToken { .. },
            &["tokenizer_config.json", "`eos_token`", "`</s>`"]
        ),
        case!("end of numbers", sound(), eos(json!(1)), None, Json(_), &["`eos_token`"]),
        case!("end without text", sound(), eos(json!({})), None, Json(_), &["eos_token.content"]),
        case!(
            "far end",
            sound(),
            None,
            end(json!([1, 8])),
            TokenId { id: 8, .. },
            &["config.json", "`eos_token_id`"]
        ),
        case!("text end", sound(), None, end(json!("x")), Json(_), &["`eos_token_id`"]),
        case!(
            "few rows",
            sound(),
            None,
            rows(json!(4)),
            VocabSize { last: 4, size: 4 },
            &["`vocab_size` is 4"]
        ),
        case!("many rows", sound(), None, rows(json!(99_999)), UnusedIds { .. }, &["65536"]),
        case!("all rows", sound(), None, rows(json!(u32::MAX)), TokenCount { .. }, &["4294967295"]),
        case!("nested rows", sound(), None, nested, VocabSize { .. }, &["`vocab_size` is 3"]),
    ]
}

fn broken_templates() -> Vec<Case> {
    use VocabError::*;
    let sound = || Tokenizer::byte_level(Pre::Gpt2).json();
    let template = |value: Value| beside(json!({"chat_template": value}));
    let large = template(json!("x".repeat((1 << 20) + 1)));
    let tools = template(json!([{"name": "tools", "template": "x"}]));
    vec![
        case!("a number", sound(), template(json!(1)), None, TemplateType { .. }, &["number"]),
        case!("texts", sound(), template(json!(["x"])), None, TemplateType { .. }, &["list"]),
        case!(
            "no default",
            sound(),
            tools,
            None,
            NoDefaultTemplate { .. },
            &["tools", "`default`"]
        ),
        case!("large template", sound(), large, None, TemplateSize { .. }, &["1048577"]),
    ]
}
