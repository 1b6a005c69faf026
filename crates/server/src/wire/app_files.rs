//! Turns files of the chat into JSON and rows, and passages of them into what a message keeps.

use myriad_extract::Kind;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::fields::Fields;
use crate::errors::ApiError;
use crate::limits::{APP_FILES_MAX, APP_PASSAGES_BYTES_MAX, APP_PASSAGES_MAX, FILE_NAME_BYTES_MAX};

/// A file that was added to a chat.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AppFile {
    /// Its name here.
    pub id: String,
    /// The name that its sender gave it.
    pub name: String,
    /// What it is.
    #[schema(value_type = String)]
    pub kind: Kind,
    /// The language of source code.
    pub language: Option<String>,
    /// Length of the file as it was sent.
    pub bytes: u64,
    /// How many pages it has, where it has pages.
    pub pages: Option<u32>,
    /// Tokens of its text, as the server's own model counts.
    pub tokens: u64,
}

/// The text of one page of a file.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AppFileText {
    /// Which page, from 1.
    pub page: usize,
    /// How many there are; files without pages have one.
    pub pages: usize,
    /// What a model reads of it.
    pub text: String,
}

/// A passage of a file that an answer was made with.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AppPassage {
    /// The file's id.
    pub file: String,
    /// The file's name.
    pub name: String,
    /// The page, from 1, where the file has pages.
    pub page: Option<u32>,
    /// The text, as it stands in the file.
    pub text: String,
    /// How well it fits the question, among the others.
    pub score: f64,
}

/// How far the reading of large files is.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Reading {
    /// Pieces that are read.
    pub done: usize,
    /// All pieces.
    pub total: usize,
}

/// The files of a message.
///
/// # Errors
/// 400 naming what is wrong.
pub fn take_files(fields: &mut Fields<'_>) -> Result<Vec<AppFile>, ApiError> {
    let files: Option<Vec<AppFile>> =
        fields.take("files", "a list of the chat's files, or null")?;
    let files = files.unwrap_or_default();
    let right = |file: &AppFile| {
        file.name.len() <= FILE_NAME_BYTES_MAX
            && file.id.len() <= FILE_NAME_BYTES_MAX
            && file.language.as_ref().is_none_or(|it| it.len() <= FILE_NAME_BYTES_MAX)
    };
    if files.len() > APP_FILES_MAX || !files.iter().all(right) {
        let name = fields.name("files");
        let message = format!(
            "'{name}' is too long. Right would be at most {APP_FILES_MAX} files with names of at \
             most {FILE_NAME_BYTES_MAX} bytes."
        );
        return Err(ApiError::invalid(name, message));
    }
    Ok(files)
}

/// The passages that an answer was made with.
///
/// # Errors
/// 400 naming what is wrong.
pub fn take_sources(fields: &mut Fields<'_>) -> Result<Vec<AppPassage>, ApiError> {
    let sources: Option<Vec<AppPassage>> =
        fields.take("sources", "a list of the chat's passages, or null")?;
    let sources = sources.unwrap_or_default();
    let bytes = |it: &AppPassage| it.file.len() + it.name.len() + it.text.len();
    let bytes: usize = sources.iter().map(bytes).sum();
    if sources.len() > APP_PASSAGES_MAX || bytes > APP_PASSAGES_BYTES_MAX {
        let name = fields.name("sources");
        let message = format!(
            "'{name}' is too long. Right would be at most {APP_PASSAGES_MAX} passages with \
             {APP_PASSAGES_BYTES_MAX} bytes together."
        );
        return Err(ApiError::invalid(name, message));
    }
    Ok(sources)
}
