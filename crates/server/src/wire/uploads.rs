//! Turns uploads in parts into JSON and rows, and requests about them into what they mean.

use myriad_store::Document;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::fields::Fields;
use super::files::{FileObject, check_filename, check_purpose, take_expiry, unreadable};
use crate::errors::ApiError;
use crate::limits::{SMALL_TEXT_BYTES_MAX, UPLOAD_BYTES_MAX, UPLOAD_PARTS_MAX};
use crate::storage::created_at;

/// Takes parts.
pub const PENDING: &str = "pending";
/// Has become a file.
pub const COMPLETED: &str = "completed";
/// Was given up.
pub const CANCELLED: &str = "cancelled";

/// What an upload's row holds as its body.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct UploadRecord {
    /// Bytes that the file will have.
    pub bytes: u64,
    /// Its name.
    pub filename: String,
    /// What it is for.
    pub purpose: String,
    /// For how many seconds it will be kept, where that was wished.
    pub seconds: Option<i64>,
    /// The file that it has become.
    pub file_id: Option<String>,
}

/// An upload as clients see it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct UploadObject {
    /// Its name.
    pub id: String,
    /// Always `upload`.
    pub object: &'static str,
    /// Bytes that the file will have.
    pub bytes: u64,
    /// In seconds since 1970.
    pub created_at: i64,
    /// When it takes no more parts, in seconds since 1970.
    pub expires_at: Option<i64>,
    /// The file's name.
    pub filename: String,
    /// What the file is for.
    pub purpose: String,
    /// `pending`, `completed` or `cancelled`.
    pub status: String,
    /// What it has become.
    pub file: Option<FileObject>,
}

/// A part as clients see it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PartObject {
    /// Its name.
    pub id: String,
    /// Always `upload.part`.
    pub object: &'static str,
    /// In seconds since 1970.
    pub created_at: i64,
    /// What it is a part of.
    pub upload_id: String,
}

/// Which parts make the file.
#[derive(Clone, Debug)]
pub struct CompleteRequest {
    /// In their order.
    pub part_ids: Vec<String>,
    /// MD5 of all of them together, in hexadecimal digits.
    pub md5: Option<String>,
}

impl UploadRecord {
    /// Reads a request's body.
    ///
    /// # Errors
    /// 400 naming the parameter that is wrong or unknown.
    pub fn parse(body: &[u8]) -> Result<UploadRecord, ApiError> {
        let mut fields = Fields::of_body(body)?;
        let filename = required(&mut fields, "filename")?;
        let purpose = required(&mut fields, "purpose")?;
        required(&mut fields, "mime_type")?;
        let bytes = fields.integer("bytes", 0..=UPLOAD_BYTES_MAX as i64)?;
        let seconds = take_expiry(&mut fields, "expires_after")?;
        fields.none_left()?;
        Ok(UploadRecord {
            bytes: bytes.ok_or_else(|| ApiError::missing("bytes"))?.unsigned_abs(),
            filename: check_filename("filename", &filename)?,
            purpose: check_purpose(purpose)?,
            seconds,
            file_id: None,
        })
    }

    /// The record in a row.
    ///
    /// # Errors
    /// 500 where the row holds something else.
    pub fn of(document: &Document) -> Result<UploadRecord, ApiError> {
        serde_json::from_str(&document.body).map_err(|error| unreadable(document, &error))
    }

    /// The record as a row's body.
    pub fn body(&self) -> String {
        // Strings and numbers are always JSON.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The upload as clients see it.
    pub fn object(self, document: &Document, file: Option<FileObject>) -> UploadObject {
        UploadObject {
            id: document.id.clone(),
            object: "upload",
            bytes: self.bytes,
            created_at: created_at(document),
            expires_at: document.expires_at,
            filename: self.filename,
            purpose: self.purpose,
            status: document.state.clone(),
            file,
        }
    }
}

impl PartObject {
    /// A part as its row has it.
    pub fn of(document: &Document) -> PartObject {
        PartObject {
            id: document.id.clone(),
            object: "upload.part",
            created_at: created_at(document),
            upload_id: document.parent.clone(),
        }
    }
}

impl CompleteRequest {
    /// Reads a request's body.
    ///
    /// # Errors
    /// 400 naming the parameter that is wrong or unknown.
    pub fn parse(body: &[u8]) -> Result<CompleteRequest, ApiError> {
        let mut fields = Fields::of_body(body)?;
        let part_ids: Option<Vec<String>> = fields.take("part_ids", "an array of strings")?;
        let part_ids = part_ids.ok_or_else(|| ApiError::missing("part_ids"))?;
        let md5 = fields.string("md5", SMALL_TEXT_BYTES_MAX)?;
        fields.none_left()?;
        if part_ids.len() > UPLOAD_PARTS_MAX {
            let message = format!("'part_ids' may have {UPLOAD_PARTS_MAX} elements at most.");
            return Err(ApiError::invalid("part_ids", message));
        }
        Ok(CompleteRequest { part_ids, md5: md5.filter(|md5| !md5.is_empty()) })
    }
}

fn required(fields: &mut Fields<'_>, name: &str) -> Result<String, ApiError> {
    fields.string(name, SMALL_TEXT_BYTES_MAX)?.ok_or_else(|| ApiError::missing(name))
}
