//! Turns a variable of the environment, or a file, into a secret for another server.

use std::fmt;
use std::path::{Path, PathBuf};

use axum::http::HeaderValue;

/// Bytes of a key.
const BYTES_MAX: usize = 4096;

/// A key, which is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(String);

/// Where a key is: never in the operator's file itself, which is read and copied by many.
#[derive(Clone, Debug, Default)]
pub struct KeyPlace {
    /// A variable of the environment.
    pub variable: Option<String>,
    /// A file of one line, relative to the operator's file.
    pub file: Option<PathBuf>,
}

/// Why there is no key. No variant holds one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// There are two places for one key.
    #[error("a variable and a file for one key exclude each other")]
    TwoPlaces,
    /// The variable is not there.
    #[error("the variable {0} is not set")]
    NoVariable(String),
    /// The file cannot be read.
    #[error("{path}: {1}", path = .0.display())]
    NoFile(PathBuf, std::io::Error),
    /// What stands there is no key.
    #[error("the key in {0} is empty, too long, or no text of one line")]
    Unfit(String),
}

impl KeyPlace {
    /// The key; none where there is no place for one. `variable` is the environment.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn read(
        self,
        folder: &Path,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<Key>, KeyError> {
        let (text, place) = match (self.variable, self.file) {
            (Some(_), Some(_)) => return Err(KeyError::TwoPlaces),
            (None, None) => return Ok(None),
            (Some(name), None) => match variable(&name) {
                Some(text) => (text, name),
                None => return Err(KeyError::NoVariable(name)),
            },
            (None, Some(file)) => {
                let file = folder.join(file);
                match std::fs::read_to_string(&file) {
                    Ok(text) => (text, file.display().to_string()),
                    Err(source) => return Err(KeyError::NoFile(file, source)),
                }
            }
        };
        let text = text.trim();
        let right = (1..=BYTES_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        match right {
            true => Ok(Some(Key(text.to_owned()))),
            false => Err(KeyError::Unfit(place)),
        }
    }
}

impl Key {
    /// The header's value: `before` and the key. Header maps do not show it either.
    pub fn header(&self, before: &str) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(&format!("{before}{}", self.0)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Another server's words without the key, should it repeat it.
    pub fn hidden_in(&self, text: &str) -> String {
        text.replace(&self.0, "[key]")
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Key")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sent_and_never_shown() {
        let place = KeyPlace { variable: Some("A".into()), file: None };
        let key = place.read(Path::new("/"), &|_| Some("  sk-SECRET \n".into()));
        let key = key.expect("a place that is right").expect("a key");
        let header = key.header("Bearer ").expect("a header");
        assert_eq!(header.as_bytes(), b"Bearer sk-SECRET");
        for shown in [format!("{key:?}"), format!("{header:?}")] {
            assert!(!shown.contains("SECRET"), "{shown}");
        }
        assert_eq!(key.hidden_in("no sk-SECRET here"), "no [key] here");
        assert!(matches!(KeyPlace::default().read(Path::new("/"), &|_| None), Ok(None)));
    }
}
