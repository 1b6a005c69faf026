//! Turns the summary of a dialogue into the text that clients carry in its place, and back.

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Before each summary: another server's text is not taken for one.
const MARK: &[u8] = b"myriad-summary-1:";

/// What is left of a dialogue. Clients get it as base64, for their software expects a text that it
/// cannot read. It is no secret: whoever has it had the dialogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary(pub String);

impl Summary {
    /// What clients carry.
    pub fn written(&self) -> String {
        BASE64.encode([MARK, self.0.as_bytes()].concat())
    }

    /// What a client carried; `None` where it is something else.
    pub fn read(text: &str) -> Option<Summary> {
        let bytes = BASE64.decode(text).ok()?;
        let summary = bytes.strip_prefix(MARK)?;
        Some(Summary(String::from_utf8(summary.to_vec()).ok()?))
    }

    /// What the model is told of the dialogue before.
    pub fn told(&self) -> String {
        format!("Summary of the conversation before this point:\n\n{}", self.0)
    }
}

impl Serialize for Summary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.written())
    }
}

impl<'de> Deserialize<'de> for Summary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Summary, D::Error> {
        let text = String::deserialize(deserializer)?;
        Summary::read(&text).ok_or_else(|| de::Error::custom("not a summary"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_come_back_and_nothing_else_does() {
        for text in ["", "a", "Über 10 €", "line\nline"] {
            let summary = Summary(text.to_owned());
            assert_eq!(Summary::read(&summary.written()), Some(summary));
        }
        let other = BASE64.encode(b"gAAAAB another server's");
        let cut = Summary("abcdef".to_owned()).written().replace('=', "");
        let invalid = BASE64.encode([MARK, &[0xff]].concat());
        for text in ["", "!", &other, &cut[..cut.len() - 1], &invalid] {
            assert_eq!(Summary::read(text), None, "{text}");
        }
    }
}
