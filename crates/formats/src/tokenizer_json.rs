//! Turns `tokenizer.json` and its neighbours into the vocabulary that a GGUF file would have.

mod error;
mod read;
mod specials;
mod steps;
mod tokens;
mod words;

pub use error::VocabError;

use crate::error::shown;
use crate::json::{Json, JsonFile};
use crate::vocab::{TokenType, VocabSpec, WordRules};
use read::Parts;
use specials::{Neighbours, object};
use steps::Scheme;
use tokens::Tokens;

/// The files of a tokenizer, as they are in the folder of a model.
#[derive(Clone, Debug)]
pub struct TokenizerFiles<'a> {
    /// The bytes of `tokenizer.json`.
    pub tokenizer: &'a [u8],
    /// `tokenizer_config.json`: the texts of special tokens, and a chat template.
    pub tokenizer_config: Option<JsonFile>,
    /// `special_tokens_map.json`: the same texts, where the first file has none.
    pub special_tokens_map: Option<JsonFile>,
    /// `generation_config.json`: the ids of tokens that end an answer.
    pub generation_config: Option<JsonFile>,
    /// `config.json`: the same ids in older models, and how many rows the embedding has.
    pub config: Option<JsonFile>,
    /// `chat_template.jinja`, which is asked before `tokenizer_config.json`.
    pub chat_template: Option<&'a str>,
}

impl TokenizerFiles<'_> {
    /// Reads the vocabulary and checks sizes, ids and types. What the pieces mean, and that
    /// byte-level merges are made of tokens, is for the tokenizer to check.
    pub fn vocab(&self) -> Result<VocabSpec, VocabError> {
        let mut parts = read::read(self.tokenizer)?;
        let is_word_piece = parts.is_word_piece();
        let (scheme, rules) = match is_word_piece {
            true => words::recognise(&parts)?,
            false => {
                check_settings(&parts)?;
                (steps::recognise(&parts)?, WordRules::default())
            }
        };
        let neighbours = Neighbours {
            tokenizer_config: object(&self.tokenizer_config),
            special_tokens_map: object(&self.special_tokens_map),
            generation_config: object(&self.generation_config),
            config: object(&self.config),
        };
        let mut tokens = Tokens::new(&mut parts, neighbours.vocab_size()?)?;
        let scores = match scheme.model {
            "llama" => scores(&parts.merges, &tokens)?,
            _ => Vec::new(),
        };
        if parts.setting("byte_fallback").as_bool() == Some(true) {
            tokens.mark_bytes();
        }
        let specials = Specials::read(&neighbours, &parts, &scheme, &tokens)?;
        if let (Some(id), "llama") = (specials.unknown, scheme.model) {
            tokens.types[id as usize] = TokenType::Unknown;
        }
        if is_word_piece {
            words::mark_beginnings(&mut tokens);
        }
        let chat_template = match self.chat_template {
            Some(template) => Some(template.to_owned()),
            None => neighbours.template()?,
        };
        Ok(VocabSpec {
            model: scheme.model.to_owned(),
            pre: scheme.pre.to_owned(),
            ignore_merges: Some(parts.setting("ignore_merges").as_bool() == Some(true)),
            add_space_prefix: scheme.add_space_prefix,
            words: rules,
            tokens: tokens.texts,
            token_types: tokens.types,
            merges: parts.merges,
            scores,
            bos: specials.bos,
            eos: specials.eos,
            eot: None,
            ends: specials.ends,
            unknown: specials.unknown,
            padding: specials.padding,
            // These files have no place for them: they are known by their names.
            fim: [None; 3],
            add_bos: specials.add_bos,
            add_eos: specials.add_eos,
            closing: specials.closing,
            chat_template,
        })
    }
}

/// Refuses variants of BPE that would split words otherwise.
fn check_settings(parts: &Parts) -> Result<(), VocabError> {
    for setting in ["continuing_subword_prefix", "end_of_word_suffix"] {
        match parts.setting(setting) {
            Json::Null => {}
            Json::Text(text) if text.is_empty() => {}
            other => {
                let value = other.as_str().map_or(other.describe().to_owned(), shown);
                return Err(VocabError::ModelSetting { setting, value });
            }
        }
    }
    for (part, setting) in
        [("model.byte_fallback", "byte_fallback"), ("model.ignore_merges", "ignore_merges")]
    {
        let value = parts.setting(setting);
        if !matches!(value, Json::Null | Json::Bool(_)) {
            let found = value.describe();
            return Err(VocabError::PartType { part, found, expected: "a bool" });
        }
    }
    Ok(())
}

/// How early each token is made by a merge. In SentencePiece, of all neighbours those are merged
/// whose token has the highest score; merges in the order of their ranks are the same. What no
/// merge makes comes after everything.
fn scores(merges: &[String], tokens: &Tokens) -> Result<Vec<f32>, VocabError> {
    let mut scores = vec![-(merges.len() as f32); tokens.texts.len()];
    let mut token = String::new();
    for (index, merge) in merges.iter().enumerate().rev() {
        token.clear();
        token.extend(merge.split(' '));
        let Some(id) = tokens.find(&token) else {
            return Err(VocabError::MergeResult { index, token: shown(&token) });
        };
        scores[id as usize] = -(index as f32);
    }
    Ok(scores)
}

/// The tokens that begin, end and fill.
struct Specials {
    bos: Option<u32>,
    eos: Option<u32>,
    ends: Vec<u32>,
    unknown: Option<u32>,
    padding: Option<u32>,
    add_bos: bool,
    add_eos: bool,
    closing: Option<u32>,
}

impl Specials {
    fn read(
        neighbours: &Neighbours<'_>,
        parts: &Parts,
        scheme: &Scheme,
        tokens: &Tokens,
    ) -> Result<Specials, VocabError> {
        let is_bert = scheme.model == "bert";
        let (begin, end) = match is_bert {
            true => (["cls_token", "cls_token_id"], ["sep_token", "sep_token_id"]),
            false => (["bos_token", "bos_token_id"], ["eos_token", "eos_token_id"]),
        };
        let (bos, _) = needed(neighbours, tokens, begin)?;
        let (eos, mut ends) = needed(neighbours, tokens, end)?;
        ends.extend(eos);
        ends.sort_unstable();
        ends.dedup();
        // A token that is named but not there never stands in a text, nor does a batch need it.
        let optional = |key| -> Result<Option<u32>, VocabError> {
            Ok(neighbours.text(key)?.and_then(|(text, _)| tokens.find(text)))
        };
        let unknown = parts.setting("unk_token").as_str().and_then(|text| tokens.find(text));
        let unknown = unknown.map_or_else(|| optional("unk_token"), |id| Ok(Some(id)))?;
        let (first, last) = template_ends(&parts.post_processor);
        let is = |text: Option<&str>, id: Option<u32>| {
            text.is_some_and(|text| id.is_some() && tokens.find(text) == id)
        };
        // Without a word about it, Llama's and Gemma's own tokenizers begin with `bos`. BERT's
        // always has both, by a post-processor of several forms.
        let by_default = scheme.model == "llama" && parts.post_processor == Json::Null || is_bert;
        let add_bos = neighbours.switch("add_bos_token")?;
        let add_eos = neighbours.switch("add_eos_token")?;
        let add_eos = add_eos.unwrap_or(is_bert || is(last, eos)) && eos.is_some();
        let last = last.and_then(|text| tokens.find(text));
        Ok(Specials {
            add_bos: add_bos.unwrap_or(by_default || is(first, bos)) && bos.is_some(),
            add_eos,
            closing: if add_eos { eos } else { last },
            padding: optional("pad_token")?,
            bos,
            eos,
            ends,
            unknown,
        })
    }
}

/// A special token by its text, or else the first of the ids; and all ids.
fn needed(
    neighbours: &Neighbours<'_>,
    tokens: &Tokens,
    [text_key, id_key]: [&'static str; 2],
) -> Result<(Option<u32>, Vec<u32>), VocabError> {
    let (ids, file) = neighbours.ids(id_key)?;
    let count = tokens.texts.len();
    if let Some(&id) = ids.iter().find(|id| **id as usize >= count) {
        return Err(VocabError::TokenId { file, key: id_key, id, tokens: count });
    }
    match neighbours.text(text_key)? {
        None => Ok((ids.first().copied(), ids)),
        Some((text, file)) => match tokens.find(text) {
            Some(id) => Ok((Some(id), ids)),
            None => {
                let (key, token) = (text_key, shown(text));
                Err(VocabError::SpecialToken { file, key, token })
            }
        },
    }
}

/// The special tokens at the beginning and at the end of a single text, by the template of a
/// post-processor, alone or in a sequence.
fn template_ends(post_processor: &Json) -> (Option<&str>, Option<&str>) {
    let list = post_processor.get("processors").and_then(Json::as_list);
    let processors = list.unwrap_or(std::slice::from_ref(post_processor));
    let template = processors.iter().find_map(|processor| processor.get("single")?.as_list());
    fn special(step: Option<&Json>) -> Option<&str> {
        step?.get("SpecialToken")?.get("id")?.as_str()
    }
    let steps = template.unwrap_or_default();
    (special(steps.first()), special(steps.last()))
}
