//! Turns the parts of a WordPiece tokenizer into the rules and the tokens that GGUF has for it.

use super::error::VocabError;
use super::read::Parts;
use super::steps::{Scheme, describe};
use super::tokens::Tokens;
use crate::error::shown;
use crate::json::Json;
use crate::vocab::{TokenType, WordRules};

/// What stands before pieces within a word in `tokenizer.json`.
const WITHIN: &str = "##";

/// What stands before pieces that begin a word in GGUF.
const BEGINNING: char = '▁';

/// Most characters of a word that is looked at: each of its places is tried with each length.
const CHARACTERS_MAX: u64 = 1000;

/// The rules of BERT's tokenizer, the only one that uses WordPiece.
pub(super) fn recognise(parts: &Parts) -> Result<(Scheme, WordRules), VocabError> {
    let normalizer = &parts.normalizer;
    let kind = |json: &Json| json.get("type").and_then(Json::as_str).map(str::to_owned);
    if kind(normalizer).as_deref() != Some("BertNormalizer") {
        return Err(VocabError::Normalizer { shown: describe(normalizer) });
    }
    if kind(&parts.pre_tokenizer).as_deref() != Some("BertPreTokenizer") {
        let shown = describe(&parts.pre_tokenizer);
        let known = "BertPreTokenizer, for WordPiece".to_owned();
        return Err(VocabError::PreTokenizer { shown, known });
    }
    let prefix = parts.setting("continuing_subword_prefix");
    if !matches!(prefix, Json::Null) && prefix.as_str() != Some(WITHIN) {
        let setting = "continuing_subword_prefix";
        let value = prefix.as_str().map_or(prefix.describe().to_owned(), shown);
        return Err(VocabError::ModelSetting { setting, value });
    }
    let usual = WordRules::default();
    let characters_max = match parts.setting("max_input_chars_per_word") {
        Json::Null => usual.characters_max,
        Json::Whole(count @ 1..=CHARACTERS_MAX) => *count as usize,
        other => {
            let setting = "max_input_chars_per_word";
            return Err(VocabError::ModelSetting { setting, value: other.describe().to_owned() });
        }
    };
    let flag = |key: &str, usual: bool| match normalizer.get(key) {
        None => Ok(usual),
        Some(value) => value
            .as_bool()
            .ok_or_else(|| VocabError::Normalizer { shown: format!("BertNormalizer with {key}") }),
    };
    let lower_case = flag("lowercase", usual.lower_case)?;
    let rules = WordRules {
        clean: flag("clean_text", usual.clean)?,
        chinese: flag("handle_chinese_chars", usual.chinese)?,
        // As in the first BERT: what is not said goes with the letters' size.
        strip_accents: flag("strip_accents", lower_case)?,
        lower_case,
        characters_max,
    };
    Ok((Scheme { model: "bert", pre: "default", add_space_prefix: false }, rules))
}

/// Marks pieces as GGUF does: those that begin a word, instead of those within.
pub(super) fn mark_beginnings(tokens: &mut Tokens) {
    for (text, kind) in tokens.texts.iter_mut().zip(&tokens.types) {
        if *kind == TokenType::Normal {
            match text.strip_prefix(WITHIN).filter(|rest| !rest.is_empty()) {
                Some(rest) => *text = rest.to_owned(),
                None => text.insert(0, BEGINNING),
            }
        }
    }
}
