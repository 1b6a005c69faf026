//! Turns the bytes of a file from anywhere into bounded text, page by page.
//!
//! Files are hostile until they are text: nothing here opens a file, starts a thread or asks the
//! system for more than memory, so that a caller can run it in a process that may do nothing else.
//! [`extract()`] is the one door; [`kind`] tells files apart, [`plain`] finds the encoding of text,
//! [`pdf`] and [`docx`] read what is not text, [`layout`] puts letters on a page into lines.

pub mod docx;
pub mod kind;
pub mod layout;
pub mod limits;
pub mod pdf;
pub mod plain;

use serde::{Deserialize, Serialize};

pub use kind::Kind;

/// What a file says.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Text {
    /// What the file is.
    pub kind: Kind,
    /// The language of source code, as fences of Markdown name it.
    pub language: Option<String>,
    /// The text of each page; files without pages have one.
    pub pages: Vec<String>,
}

/// Why a file has no text for us, in words for whoever sent it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, thiserror::Error)]
#[non_exhaustive]
pub enum ExtractError {
    /// There is nothing in it.
    #[error("The file is empty.")]
    Empty,
    /// It is something else than text.
    #[error("This is {what}. Right would be text, source code, CSV, PDF or DOCX.")]
    NotText {
        /// What it seems to be.
        what: String,
    },
    /// It asks for a password.
    #[error("The file is locked with a password. Right would be a copy without one.")]
    Locked,
    /// Its pages are pictures.
    #[error(
        "No page of {pages} has text: they are pictures, as a scanner makes them. Right would be \
         a PDF with text in it, such as one that went through text recognition."
    )]
    Pictures {
        /// How many pages there are.
        pages: usize,
    },
    /// Its fonts do not say which letters their shapes are.
    #[error(
        "The fonts of this PDF do not say which letters their shapes are. Right would be one \
         that was made anew, with text in it."
    )]
    Letters,
    /// It breaks the rules of its own format.
    #[error("The file is damaged: {what}.")]
    Damaged {
        /// What is wrong with it.
        what: String,
    },
    /// It has more pages than allowed.
    #[error("The file has {pages} pages. Right would be at most {limit}.")]
    Pages {
        /// How many there are.
        pages: usize,
        /// How many may be.
        limit: usize,
    },
    /// It has more text than allowed.
    #[error("The file has more than {limit} bytes of text.")]
    Long {
        /// How many may be.
        limit: usize,
    },
}

/// Reads a file of this name.
///
/// # Errors
/// [`ExtractError`]: what about the file is not as it must be.
pub fn extract(name: &str, bytes: Vec<u8>) -> Result<Text, ExtractError> {
    let kind = kind::of(name, &bytes)?;
    let pages = match kind {
        Kind::Pdf => pdf::pages(bytes)?,
        Kind::Docx => vec![docx::text(&bytes)?],
        _ => vec![plain::text(&bytes)?],
    };
    let length: usize = pages.iter().map(String::len).sum();
    if length > limits::TEXT_BYTES_MAX {
        return Err(ExtractError::Long { limit: limits::TEXT_BYTES_MAX });
    }
    if pages.iter().all(|page| page.trim().is_empty()) {
        return Err(ExtractError::Empty);
    }
    let language = (kind == Kind::Code).then(|| kind::language(name)).flatten();
    Ok(Text { kind, language: language.map(str::to_owned), pages })
}
