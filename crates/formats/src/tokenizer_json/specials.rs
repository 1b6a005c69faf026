//! Turns the files beside `tokenizer.json` into special tokens and a chat template.

use super::error::VocabError;
use crate::error::shown;
use crate::json::{Json, JsonError, JsonFile, JsonObject};
use crate::limits::TEMPLATE_BYTES_MAX;

/// The files that say which tokens are special, first those that are asked first.
pub(super) struct Neighbours<'a> {
    pub tokenizer_config: Option<JsonObject<'a>>,
    pub special_tokens_map: Option<JsonObject<'a>>,
    pub generation_config: Option<JsonObject<'a>>,
    pub config: Option<JsonObject<'a>>,
}

const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const SPECIAL_TOKENS_MAP: &str = "special_tokens_map.json";

impl<'a> Neighbours<'a> {
    /// The text of a special token, and the file that has it.
    pub(super) fn text(&self, key: &str) -> Result<Option<(&'a str, &'static str)>, VocabError> {
        let files = [
            (&self.tokenizer_config, TOKENIZER_CONFIG),
            (&self.special_tokens_map, SPECIAL_TOKENS_MAP),
        ];
        for (object, file) in files {
            let Some(object) = object else { continue };
            let text = match object.find(key) {
                None => continue,
                Some(Json::Object(_)) => object.object(key)?.str("content")?,
                Some(_) => object.str(key)?,
            };
            return Ok(Some((text, file)));
        }
        Ok(None)
    }

    /// Ids under a key, alone or in a list, and the file that has them.
    pub(super) fn ids(&self, key: &str) -> Result<(Vec<u32>, &'static str), JsonError> {
        let files =
            [(&self.generation_config, "generation_config.json"), (&self.config, "config.json")];
        for (object, file) in files {
            let ids = object.as_ref().map(|object| object.u32_or_list(key)).transpose()?;
            if let Some(ids) = ids.filter(|ids| !ids.is_empty()) {
                return Ok((ids, file));
            }
        }
        Ok((Vec::new(), "config.json"))
    }

    /// A switch of `tokenizer_config.json`.
    pub(super) fn switch(&self, key: &str) -> Result<Option<bool>, JsonError> {
        match &self.tokenizer_config {
            Some(object) => object.optional_bool(key),
            None => Ok(None),
        }
    }

    /// How many rows the embedding has.
    pub(super) fn vocab_size(&self) -> Result<Option<u32>, JsonError> {
        let Some(config) = &self.config else { return Ok(None) };
        if let Some(size) = config.optional_u32("vocab_size")? {
            return Ok(Some(size));
        }
        // Models that see images keep the sizes of their text part apart.
        match config.optional_object("text_config")? {
            Some(text) => text.optional_u32("vocab_size"),
            None => Ok(None),
        }
    }

    /// The template for ordinary chats: a string, or the one named `default` in a list.
    pub(super) fn template(&self) -> Result<Option<String>, VocabError> {
        let Some(object) = &self.tokenizer_config else { return Ok(None) };
        let text = match object.find("chat_template") {
            None => return Ok(None),
            Some(Json::Text(text)) => text,
            Some(Json::List(list)) => default_template(list)?,
            Some(other) => return Err(VocabError::TemplateType { found: other.describe() }),
        };
        let (bytes, max) = (text.len(), TEMPLATE_BYTES_MAX);
        if bytes > max {
            return Err(VocabError::TemplateSize { bytes, max });
        }
        Ok(Some(text.to_owned()))
    }
}

fn default_template(list: &[Json]) -> Result<&str, VocabError> {
    let mut names = Vec::new();
    for entry in list {
        let text = |key| entry.get(key).and_then(Json::as_str);
        let (Some(name), Some(template)) = (text("name"), text("template")) else {
            return Err(VocabError::TemplateType { found: "a list of other things" });
        };
        if name == "default" {
            return Ok(template);
        }
        names.push(name);
    }
    Err(VocabError::NoDefaultTemplate { names: shown(&names.join(", ")) })
}

/// The object of a file that may not be there.
pub(super) fn object(file: &Option<JsonFile>) -> Option<JsonObject<'_>> {
    file.as_ref().map(JsonFile::object)
}
