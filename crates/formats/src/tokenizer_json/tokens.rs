//! Turns tokens with ids into one list without holes, in which each text has one id.

use std::collections::HashMap;

use super::error::VocabError;
use super::read::Parts;
use crate::error::shown;
use crate::json::Json;
use crate::limits::{TOKENS_MAX, UNUSED_TOKENS_MAX};
use crate::vocab::{TokenType, is_byte_token};

/// Texts and types by id, and ids by text.
pub(super) struct Tokens {
    pub texts: Vec<String>,
    pub types: Vec<TokenType>,
    by_text: HashMap<String, u32>,
}

/// A token beside the model's own.
struct Added<'a> {
    id: u32,
    text: &'a str,
    special: bool,
}

impl Tokens {
    /// Puts the model's tokens and the added ones together. Ids without a token, up to `size` (the
    /// rows of the embedding), become unused tokens, and added tokens behind it are left out, both
    /// as in llama.cpp's converter.
    pub(super) fn new(parts: &mut Parts, size: Option<u32>) -> Result<Tokens, VocabError> {
        let model_tokens = std::mem::take(&mut parts.tokens);
        let mut added = added_tokens(&parts.added_tokens)?;
        added.retain(|token| size.is_none_or(|size| token.id < size));
        let last = model_tokens.iter().map(|(_, id)| *id).chain(added.iter().map(|token| token.id));
        let Some(last) = last.max() else {
            return Err(VocabError::TokenCount { count: 0, max: TOKENS_MAX });
        };
        let end = match size {
            Some(size) if size as usize > TOKENS_MAX => {
                return Err(VocabError::TokenCount { count: size as usize, max: TOKENS_MAX });
            }
            Some(size) if size <= last => {
                return Err(VocabError::VocabSize { last: last as usize, size });
            }
            size => size.unwrap_or(last + 1) as usize,
        };
        // At most so many more than the file has.
        let count = model_tokens.len() + added.len();
        let max = UNUSED_TOKENS_MAX;
        if end > count + max {
            return Err(VocabError::UnusedIds { count: end - count, end, max });
        }
        let mut list = List { texts: vec![None; end], by_text: HashMap::with_capacity(count) };
        model_tokens.into_iter().try_for_each(|(text, id)| list.put(text, id))?;
        let mut types = vec![TokenType::Normal; end];
        for Added { id, text, special } in added {
            list.put(text.to_owned(), id)?;
            let control = special || looks_special(text);
            types[id as usize] = if control { TokenType::Control } else { TokenType::UserDefined };
        }
        let unused = |(id, text): (usize, Option<String>)| match text {
            Some(text) => text,
            None => {
                types[id] = TokenType::Unused;
                format!("[PAD{id}]")
            }
        };
        let texts = list.texts.into_iter().enumerate().map(unused).collect();
        Ok(Tokens { texts, types, by_text: list.by_text })
    }

    /// The id of the token of that text.
    pub(super) fn find(&self, text: &str) -> Option<u32> {
        self.by_text.get(text).copied()
    }

    /// Marks the tokens of single bytes, which SentencePiece falls back to.
    pub(super) fn mark_bytes(&mut self) {
        for (text, kind) in self.texts.iter().zip(&mut self.types) {
            if *kind == TokenType::Normal && is_byte_token(text) {
                *kind = TokenType::Byte;
            }
        }
    }
}

struct List {
    texts: Vec<Option<String>>,
    by_text: HashMap<String, u32>,
}

impl List {
    /// Gives a token its id; the same token once more is nothing new.
    fn put(&mut self, text: String, id: u32) -> Result<(), VocabError> {
        if let Some(first) = &self.texts[id as usize] {
            if *first == text {
                return Ok(());
            }
            let (first, second) = (shown(first), shown(&text));
            return Err(VocabError::IdTwice { first, second, id });
        }
        if let Some(first) = self.by_text.insert(text.clone(), id) {
            return Err(VocabError::TokenTwice { token: shown(&text), first, second: id });
        }
        self.texts[id as usize] = Some(text);
        Ok(())
    }
}

fn added_tokens(json: &Json) -> Result<Vec<Added<'_>>, VocabError> {
    let list = match json {
        Json::Null => return Ok(Vec::new()),
        Json::List(list) => list,
        other => {
            let (part, found, expected) = ("added_tokens", other.describe(), "a list");
            return Err(VocabError::PartType { part, found, expected });
        }
    };
    list.iter().enumerate().map(|(index, token)| added_token(index, token)).collect()
}

fn added_token(index: usize, token: &Json) -> Result<Added<'_>, VocabError> {
    let missing = |expected| VocabError::AddedToken { index, expected };
    let text = token.get("content").and_then(Json::as_str);
    let text = text.filter(|text| !text.is_empty()).ok_or(missing("`content` of text"))?;
    let Some(Json::Whole(id)) = token.get("id") else { return Err(missing("whole `id`")) };
    let special = token.get("special").and_then(Json::as_bool);
    let special = special.ok_or(missing("`special` of true or false"))?;
    if *id >= TOKENS_MAX as u64 {
        return Err(VocabError::IdRange { token: shown(text), id: *id, max: TOKENS_MAX });
    }
    Ok(Added { id: *id as u32, text, special })
}

/// Whether text has the form of structure, though the file does not say `special`: such as
/// `<|fim_prefix|>` in Qwen. The rule is that of llama.cpp's converter (`does_token_look_special`).
fn looks_special(text: &str) -> bool {
    let between = |start, end| text.starts_with(start) && text.ends_with(end);
    matches!(text, "<pad>" | "<mask>" | "<2mass>" | "[@BOS@]")
        || between("<|", "|>")
        || between("<｜", "｜>")
        || between("<unused", ">")
}
