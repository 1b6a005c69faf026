//! Turns files of the chat into rows that live as long as a conversation has the file.
//!
//! A new file has a day to be asked about. Then each conversation that has it holds a row that says
//! so, which goes with the conversation; the file goes with the last of them.

use std::collections::HashSet;

use myriad_extract::Text;
use myriad_store::{Change, Document, Kind, StoreError};
use tokio::io::AsyncReadExt;

use super::passages::Loaded;
use crate::app::unix_seconds;
use crate::errors::ApiError;
use crate::limits::{APP_FILE_SECONDS, EXTRACT_OUTPUT_BYTES_MAX};
use crate::random;
use crate::routes::documents::body;
use crate::storage::{Owner, Storage, position};
use crate::wire::app_files::AppFile;

/// Rows that are read at once.
const PAGE: usize = 100;

/// Keeps a file with its text.
///
/// # Errors
/// Where the store or the disk fails.
pub async fn keep(
    storage: &Storage,
    owner: &Owner,
    about: &AppFile,
    text: &Text,
) -> Result<(), ApiError> {
    // Texts are always JSON.
    let content = serde_json::to_vec(text).unwrap_or_default();
    let mut writer = storage.blobs.writer(EXTRACT_OUTPUT_BYTES_MAX).await?;
    writer.write(&content).await?;
    let blob = writer.finish().await?;
    let document = Document {
        blob: Some(blob.digest.clone()),
        bytes: blob.bytes as i64,
        expires_at: Some(unix_seconds() as i64 + APP_FILE_SECONDS),
        body: serde_json::to_string(about).unwrap_or_default(),
        ..Document::new(Kind::AppFile, owner.as_str(), &about.id, position())
    };
    Ok(storage.store.commit(Change::new().insert(document)).await?)
}

/// A file of this owner's.
///
/// # Errors
/// 404.
pub async fn find(
    storage: &Storage,
    owner: &Owner,
    id: &str,
) -> Result<(Document, AppFile), ApiError> {
    let found = storage.find(Kind::AppFile, owner, id).await?;
    let document = found.ok_or_else(|| ApiError::not_found("file", id))?;
    let about = body(&document)?;
    Ok((document, about))
}

/// A file with its text.
///
/// # Errors
/// 404; 500 where its text cannot be read.
pub async fn load(storage: &Storage, owner: &Owner, id: &str) -> Result<Loaded, ApiError> {
    let (document, about) = find(storage, owner, id).await?;
    let content = storage.blobs.read(document.blob.as_deref().unwrap_or_default()).await?;
    let mut bytes = Vec::new();
    let unreadable = |error: &dyn std::fmt::Display| {
        tracing::error!(%error, id, "the text of a file cannot be read");
        ApiError::internal()
    };
    let mut content = content.take(EXTRACT_OUTPUT_BYTES_MAX);
    content.read_to_end(&mut bytes).await.map_err(|error| unreadable(&error))?;
    let text: Text = serde_json::from_slice(&bytes).map_err(|error| unreadable(&error))?;
    Ok(Loaded { document, about, text: text.into() })
}

/// Adds to a change that a conversation has these files; those that are not there stay names.
///
/// # Errors
/// Where the store fails.
pub async fn with_uses(
    storage: &Storage,
    mut change: Change,
    owner: &Owner,
    chat_row: &str,
    files: impl Iterator<Item = &AppFile>,
) -> Result<Change, ApiError> {
    let wanted: HashSet<&str> = files.map(|file| file.id.as_str()).collect();
    if wanted.is_empty() {
        return Ok(change);
    }
    let known = of_chat(storage, owner, chat_row).await?;
    for id in wanted {
        if known.iter().any(|known| known == id) {
            continue;
        }
        let Some(document) = storage.find(Kind::AppFile, owner, id).await? else { continue };
        let row = random::identifier("use_");
        let usage = Document {
            parent: chat_row.to_owned(),
            state: id.to_owned(),
            ..Document::new(Kind::AppFileUse, owner.as_str(), row, position())
        };
        change = change.insert(usage).update(Document { expires_at: None, ..document });
    }
    Ok(change)
}

/// The ids of the files that a conversation has.
///
/// # Errors
/// Where the store fails.
pub async fn of_chat(
    storage: &Storage,
    owner: &Owner,
    chat_row: &str,
) -> Result<Vec<String>, StoreError> {
    let chat = Document::new(Kind::AppChat, owner.as_str(), chat_row, 0);
    let (mut files, mut after) = (Vec::new(), None);
    loop {
        let page = storage.parts(Kind::AppFileUse, &chat, after.as_deref(), PAGE).await?;
        after = page.last().map(|usage| usage.id.clone());
        let whole = page.len() == PAGE;
        files.extend(page.into_iter().map(|usage| usage.state));
        if !whole {
            return Ok(files);
        }
    }
}

/// Deletes those of the files that no conversation has any more.
///
/// # Errors
/// Where the store or the disk fails.
pub async fn release(storage: &Storage, owner: &Owner, files: &[String]) -> Result<(), StoreError> {
    for id in files {
        if !storage.store.in_state(Kind::AppFileUse, id).await?.is_empty() {
            continue;
        }
        if let Some(document) = storage.find(Kind::AppFile, owner, id).await? {
            match storage.delete(&document).await {
                Ok(()) | Err(StoreError::Conflict(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}
