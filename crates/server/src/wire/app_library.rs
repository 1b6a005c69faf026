//! Turns presets and prompts of the chat in the browser into checked records.
//!
//! The fields are those of `web/src/lib/store/types.ts`, in its spelling.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::fields::Fields;
use crate::errors::ApiError;
use crate::limits::{APP_ITEM_BYTES_MAX, APP_TITLE_BYTES_MAX, SMALL_TEXT_BYTES_MAX};

/// A model with its parameters, under a name.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, ToSchema)]
pub struct AppPreset {
    /// Its name among presets, which the browser gave it.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// The model that it asks; null: whichever is asked.
    pub model: Option<String>,
    /// Parameters by their names in the chat: numbers, texts, truths.
    #[schema(value_type = Object)]
    pub settings: Map<String, Value>,
}

/// A text to begin with, with places to fill in.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, ToSchema)]
pub struct AppPrompt {
    /// Its name among prompts, which the browser gave it.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// The text, with `{{names}}` to fill in.
    pub text: String,
}

/// All presets and prompts of an owner.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct AppLibrary {
    /// In the order in which they came.
    pub presets: Vec<AppPreset>,
    /// In the order in which they came.
    pub prompts: Vec<AppPrompt>,
}

impl AppPreset {
    /// # Errors
    /// 400 naming the field that is missing, unknown, of a wrong type or too large.
    pub fn parse(mut fields: Fields<'_>, id: &str) -> Result<AppPreset, ApiError> {
        check_id(&mut fields, id)?;
        let name = name(&mut fields)?;
        let model = fields.string("model", SMALL_TEXT_BYTES_MAX)?;
        let raw = fields.peek("settings").map_or(0, |settings| settings.get().len());
        if raw > APP_ITEM_BYTES_MAX {
            let message = format!("'settings' has more than {APP_ITEM_BYTES_MAX} bytes.");
            return Err(ApiError::invalid("settings", message));
        }
        let settings = fields.take("settings", "an object")?.unwrap_or_default();
        fields.none_left()?;
        Ok(AppPreset { id: id.to_owned(), name, model, settings })
    }
}

impl AppPrompt {
    /// # Errors
    /// As [`AppPreset::parse`].
    pub fn parse(mut fields: Fields<'_>, id: &str) -> Result<AppPrompt, ApiError> {
        check_id(&mut fields, id)?;
        let name = name(&mut fields)?;
        let text = fields.string("text", APP_ITEM_BYTES_MAX)?;
        let text = text.ok_or_else(|| ApiError::missing("text"))?;
        fields.none_left()?;
        Ok(AppPrompt { id: id.to_owned(), name, text })
    }
}

/// The browser writes the id into the item, too.
fn check_id(fields: &mut Fields<'_>, id: &str) -> Result<(), ApiError> {
    match fields.string("id", SMALL_TEXT_BYTES_MAX)? {
        Some(other) if other != id => {
            Err(ApiError::invalid("id", "'id' is another one than the path's."))
        }
        _ => Ok(()),
    }
}

fn name(fields: &mut Fields<'_>) -> Result<String, ApiError> {
    let name = fields.string("name", APP_TITLE_BYTES_MAX)?;
    name.filter(|name| !name.trim().is_empty()).ok_or_else(|| ApiError::missing("name"))
}
