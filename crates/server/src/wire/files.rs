//! Turns files into JSON and rows, and what a request says of a file into what it means.

use myriad_store::{Document, Kind};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::fields::Fields;
use crate::errors::ApiError;
use crate::limits::{FILE_NAME_BYTES_MAX, FILE_SECONDS, SMALL_TEXT_BYTES_MAX};
use crate::storage::created_at;

/// The purposes that a client may give a file; a server's own are others.
pub const PURPOSES: [&str; 6] =
    ["assistants", "batch", "fine-tune", "vision", "user_data", "evals"];

/// The purpose of what a batch wrote.
pub const BATCH_OUTPUT: &str = "batch_output";

/// How long files of batches are kept where nobody says it, as OpenAI's.
const BATCH_SECONDS: i64 = *FILE_SECONDS.end();

/// A file as clients see it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct FileObject {
    /// Its name.
    pub id: String,
    /// Always `file`.
    pub object: &'static str,
    /// Length of its content.
    pub bytes: i64,
    /// In seconds since 1970.
    pub created_at: i64,
    /// When it is deleted, in seconds since 1970.
    pub expires_at: Option<i64>,
    /// The name that its sender gave it.
    pub filename: String,
    /// What it is for.
    pub purpose: String,
    /// Always `processed`; deprecated, and required.
    pub status: &'static str,
    /// Always none; deprecated.
    pub status_details: Option<String>,
}

/// What a file's row holds as its body.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct FileRecord {
    /// The name that its sender gave it.
    pub filename: String,
    /// What it is for.
    pub purpose: String,
}

impl FileRecord {
    /// A new file; content and expiry are its maker's to add.
    pub fn document(&self, owner: &str, id: String, position: i64) -> Document {
        // Strings are always JSON.
        let body = serde_json::to_string(self).unwrap_or_default();
        Document { body, ..Document::new(Kind::File, owner, id, position) }
    }

    /// The record in a row.
    ///
    /// # Errors
    /// 500 where the row holds something else.
    pub fn of(document: &Document) -> Result<FileRecord, ApiError> {
        serde_json::from_str(&document.body).map_err(|error| unreadable(document, &error))
    }
}

impl FileObject {
    /// A file as its row has it.
    ///
    /// # Errors
    /// 500 where the row holds something else.
    pub fn of(document: &Document) -> Result<FileObject, ApiError> {
        let record = FileRecord::of(document)?;
        Ok(FileObject {
            id: document.id.clone(),
            object: "file",
            bytes: document.bytes,
            created_at: created_at(document),
            expires_at: document.expires_at,
            filename: record.filename,
            purpose: record.purpose,
            status: "processed",
            status_details: None,
        })
    }
}

/// 500 for a row that holds what this program did not write.
pub fn unreadable(document: &Document, error: &serde_json::Error) -> ApiError {
    tracing::error!(id = document.id, kind = document.kind.name(), %error, "a row cannot be read");
    ApiError::internal()
}

/// A purpose that a client may give.
///
/// # Errors
/// 400 with those that there are.
pub fn check_purpose(purpose: String) -> Result<String, ApiError> {
    if PURPOSES.contains(&purpose.as_str()) {
        return Ok(purpose);
    }
    let shown: String = purpose.chars().take(64).collect();
    let right = PURPOSES.join("', '");
    let message = format!("Invalid value for 'purpose': '{shown}'. Right would be '{right}'.");
    Err(ApiError::invalid("purpose", message))
}

/// The last part of a file's name: folders are its sender's own affair, and no file here has the
/// name of one there.
///
/// # Errors
/// 400 naming `param` where nothing is left, or what no name has.
pub fn check_filename(param: &str, name: &str) -> Result<String, ApiError> {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let right = !matches!(last, "" | "." | "..")
        && last.len() <= FILE_NAME_BYTES_MAX
        && !last.chars().any(char::is_control);
    if right {
        return Ok(last.to_owned());
    }
    let message = format!(
        "The name of the file in '{param}' cannot be used. Right would be one of 1 to \
         {FILE_NAME_BYTES_MAX} bytes without control characters."
    );
    Err(ApiError::invalid(param, message))
}

/// Takes `expires_after` (or its like) out of a body: seconds after the file's making.
///
/// # Errors
/// 400 naming what is wrong.
pub fn take_expiry(fields: &mut Fields<'_>, name: &str) -> Result<Option<i64>, ApiError> {
    let Some(value) = fields.raw(name) else { return Ok(None) };
    expiry(value, name).map(Some)
}

fn expiry(value: &RawValue, name: &str) -> Result<i64, ApiError> {
    let mut fields = Fields::of_value(value, name.to_owned())?;
    let anchor = fields.string("anchor", SMALL_TEXT_BYTES_MAX)?;
    let seconds = fields.integer("seconds", FILE_SECONDS)?;
    let (anchor_name, seconds_name) = (fields.name("anchor"), fields.name("seconds"));
    fields.none_left()?;
    let anchor = anchor.ok_or_else(|| ApiError::missing(&anchor_name))?;
    check_anchor(&anchor_name, &anchor)?;
    seconds.ok_or_else(|| ApiError::missing(&seconds_name))
}

/// The expiry of a form: `expires_after[anchor]` and `expires_after[seconds]`.
///
/// # Errors
/// 400 naming what is wrong.
pub fn form_expiry(anchor: Option<&str>, seconds: Option<&str>) -> Result<Option<i64>, ApiError> {
    const ANCHOR: &str = "expires_after[anchor]";
    const SECONDS: &str = "expires_after[seconds]";
    let (anchor, seconds) = match (anchor, seconds) {
        (None, None) => return Ok(None),
        (None, Some(_)) => return Err(ApiError::missing(ANCHOR)),
        (Some(_), None) => return Err(ApiError::missing(SECONDS)),
        (Some(anchor), Some(seconds)) => (anchor, seconds),
    };
    check_anchor(ANCHOR, anchor)?;
    let number = seconds.parse().ok().filter(|number| FILE_SECONDS.contains(number));
    number.map(Some).ok_or_else(|| {
        let message = format!(
            "Invalid value for '{SECONDS}'. Right would be a whole number between {} and {}.",
            FILE_SECONDS.start(),
            FILE_SECONDS.end()
        );
        ApiError::invalid(SECONDS, message)
    })
}

fn check_anchor(name: &str, anchor: &str) -> Result<(), ApiError> {
    if anchor == "created_at" {
        return Ok(());
    }
    let message = format!("Invalid value for '{name}'. Right would be 'created_at'.");
    Err(ApiError::invalid(name, message))
}

/// For how many seconds a file of this purpose is kept.
pub fn seconds_kept(purpose: &str, wished: Option<i64>) -> Option<i64> {
    wished.or_else(|| (purpose == "batch").then_some(BATCH_SECONDS))
}
