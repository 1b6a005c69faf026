//! Turns a body into what must be known before the rest of it can be read: whose vocabulary counts.

use super::fields::Fields;
use crate::limits::SMALL_TEXT_BYTES_MAX;

/// The model that a body names, and whether it wants a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// The model's name; none where there is none, or nothing that could be one. Whoever reads the
    /// body then says what is wrong with it.
    pub model: Option<String>,
    /// Whether a stream is asked for, where it says.
    pub stream: Option<bool>,
}

impl Named {
    /// Of a body that may be wrong in any way.
    pub fn of(body: &[u8]) -> Named {
        let Ok(mut fields) = Fields::of_body(body) else { return Named::default() };
        Named {
            model: fields.string("model", SMALL_TEXT_BYTES_MAX).ok().flatten(),
            stream: fields.boolean("stream").ok().flatten(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_left_to_others() {
        let of = |body: &str| Named::of(body.as_bytes());
        let right = Named { model: Some("a".to_owned()), stream: Some(true) };
        assert_eq!(of(r#"{"model": "a", "stream": true, "messages": 7}"#), right);
        for nothing in ["", "[]", "{", "{}", r#"{"model": 7, "stream": "x"}"#, r#"{"model": null}"#]
        {
            assert_eq!(of(nothing), Named::default(), "{nothing}");
        }
    }
}
