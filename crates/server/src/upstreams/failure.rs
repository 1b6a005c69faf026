//! Turns what goes wrong at another server into an error that says what it is and whose.

use std::time::Duration;

use axum::http::{StatusCode, header};
use serde_json::Value;

use crate::errors::ApiError;
use crate::outbound::{Answer, Key, OutboundError};

/// Bytes of an error's body.
const BODY_BYTES_MAX: usize = 64 << 10;

/// Characters of another server's words.
const MESSAGE_CHARS_MAX: usize = 400;

/// Longest wait that another server may ask for before a request is sent again. Whoever is told to
/// wait longer is told so.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(10);

/// Wait before the second try where nobody says how long; doubled each time.
const BACKOFF: Duration = Duration::from_millis(250);

/// Why there is no answer.
#[derive(Clone, Debug)]
pub enum Failure {
    /// None came, or not all of it.
    Outbound(OutboundError),
    /// A status that says no.
    Status { status: StatusCode, message: String, retry_after: Option<Duration> },
    /// An answer that is none: what is wrong with it.
    Unreadable(String),
    /// An error in the middle of a stream.
    Told(String),
}

impl From<OutboundError> for Failure {
    fn from(error: OutboundError) -> Failure {
        match error {
            OutboundError::EventTooLarge(_) | OutboundError::EventText => {
                Failure::Unreadable(error.to_string())
            }
            error => Failure::Outbound(error),
        }
    }
}

impl Failure {
    /// Of an answer whose status says no.
    pub async fn of(answer: Answer, key: Option<&Key>) -> Failure {
        let status = answer.status;
        let retry_after = answer.headers.get(header::RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let retry_after = retry_after
            .filter(|seconds: &f64| (0.0..1e6).contains(seconds))
            .map(Duration::from_secs_f64);
        let body = answer.whole(BODY_BYTES_MAX).await.unwrap_or_default();
        let message = said(&String::from_utf8_lossy(&body), key);
        Failure::Status { status, message, retry_after }
    }

    /// An error that stands in an answer, in OpenAI's shape or Anthropic's.
    pub fn told(error: &Value, key: Option<&Key>) -> Failure {
        Failure::Told(said(&error.to_string(), key))
    }

    /// A word for logs and metrics.
    pub fn outcome(&self) -> &'static str {
        match self {
            Failure::Outbound(error) => match error {
                OutboundError::Connect(_) | OutboundError::ConnectTime(_) => "unreachable",
                OutboundError::FirstByte(_) | OutboundError::Idle(_) => "silent",
                OutboundError::Broken(_) | OutboundError::Head(_) => "broken",
                _ => "unreadable",
            },
            Failure::Status { status, .. } => match status.as_u16() {
                401 | 403 => "key_refused",
                429 => "limited",
                400..=499 => "refused",
                _ => "failed",
            },
            Failure::Unreadable(_) => "unreadable",
            Failure::Told(_) => "failed",
        }
    }

    /// How long to wait before the same request is sent again, after so many tries; none where
    /// that is no use, or could do the work twice.
    pub fn wait(&self, tries: u32, random: u64) -> Option<Duration> {
        let asked = match self {
            Failure::Outbound(error) if error.before_answer() => None,
            // 529 is Anthropic's "overloaded".
            Failure::Status { status, retry_after, .. }
                if matches!(status.as_u16(), 429 | 503 | 529) =>
            {
                *retry_after
            }
            _ => return None,
        };
        match asked {
            Some(asked) => (asked <= RETRY_AFTER_MAX).then_some(asked),
            None => {
                let longest = BACKOFF * 2u32.saturating_pow(tries.saturating_sub(1).min(8));
                // Between half of it and all, so that many do not come back together.
                Some(longest.mul_f64(0.5 + (random % 1024) as f64 / 2048.0))
            }
        }
    }

    /// As clients here are told; `name` is the server's.
    pub fn error(&self, name: &str) -> ApiError {
        let (status, message, code) = match self {
            Failure::Outbound(error) => {
                let status = match error {
                    OutboundError::ConnectTime(_)
                    | OutboundError::FirstByte(_)
                    | OutboundError::Idle(_) => StatusCode::GATEWAY_TIMEOUT,
                    _ => StatusCode::BAD_GATEWAY,
                };
                (status, format!("The upstream '{name}' gave {error}."), "upstream_unreachable")
            }
            Failure::Unreadable(what) => (
                StatusCode::BAD_GATEWAY,
                format!("The upstream '{name}' gave an answer that cannot be read: {what}."),
                "upstream_unreadable",
            ),
            Failure::Told(message) => (
                StatusCode::BAD_GATEWAY,
                format!("The upstream '{name}' broke its answer off: {message}"),
                "upstream_error",
            ),
            Failure::Status { status, message, .. } => of_status(*status, message, name),
        };
        ApiError::upstream(status, message, code)
    }
}

/// The client's own mistakes keep their status. What the operator has to mend is no fault of the
/// client's, least of all a key: a 401 would make it look for its own.
fn of_status(status: StatusCode, message: &str, name: &str) -> (StatusCode, String, &'static str) {
    let number = status.as_u16();
    let says = format!("The upstream '{name}' says ({number}): {message}");
    match number {
        401 | 403 => (
            StatusCode::BAD_GATEWAY,
            format!(
                "The upstream '{name}' refuses the key that this server's operator configured for \
                 it ({number}). Yours is fine."
            ),
            "upstream_key_refused",
        ),
        400 | 404 | 413 | 429 => (status, says, "upstream_refused"),
        422 => (StatusCode::BAD_REQUEST, says, "upstream_refused"),
        503 | 529 => (StatusCode::SERVICE_UNAVAILABLE, says, "upstream_error"),
        _ => (StatusCode::BAD_GATEWAY, says, "upstream_error"),
    }
}

/// The words in an error's body: JSON of one of the usual shapes, or the text itself.
fn said(body: &str, key: Option<&Key>) -> String {
    let parsed: Option<Value> = serde_json::from_str(body).ok();
    let within = parsed.as_ref().and_then(|value| {
        let pointers = ["/error/message", "/message", "/error", "/detail"];
        pointers.iter().find_map(|pointer| value.pointer(pointer)?.as_str())
    });
    let text = match within {
        Some(text) => text,
        // A page for people, from something in between.
        None if body.trim_start().starts_with('<') => "a page of HTML",
        None if body.trim().is_empty() => "nothing more",
        None => body.trim(),
    };
    let text = key.map_or_else(|| text.to_owned(), |key| key.hidden_in(text));
    text.chars().filter(|char| !char.is_control()).take(MESSAGE_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(number: u16, seconds: Option<f64>) -> Failure {
        Failure::Status {
            status: StatusCode::from_u16(number).unwrap(),
            message: "m".into(),
            retry_after: seconds.map(Duration::from_secs_f64),
        }
    }

    #[test]
    fn waits_follow_the_other_side_within_a_bound_and_spread_otherwise() {
        assert_eq!(status(429, Some(2.5)).wait(1, 0), Some(Duration::from_millis(2500)));
        assert_eq!(status(429, Some(10.5)).wait(1, 0), None);
        assert_eq!(status(503, None).wait(1, 0), Some(BACKOFF / 2));
        assert!(status(529, None).wait(3, 1023).unwrap() > BACKOFF * 3);
        assert!(status(529, None).wait(3, 1023).unwrap() < BACKOFF * 4);
        assert!(status(503, None).wait(u32::MAX, 7).is_some());
        for final_one in [status(500, None), status(400, None), Failure::Told("x".into())] {
            assert_eq!(final_one.wait(1, 0), None);
        }
        assert!(Failure::from(OutboundError::Connect(String::new())).wait(1, 0).is_some());
        let silent = Failure::from(OutboundError::FirstByte(BACKOFF));
        assert_eq!(silent.wait(1, 0), None, "the other side may be at work");
    }

    #[test]
    fn words_are_found_in_every_usual_shape() {
        for (body, words) in [
            (r#"{"error":{"message":"a"}}"#, "a"),
            (r#"{"type":"error","error":{"type":"x","message":"b"}}"#, "b"),
            (r#"{"error":"c"}"#, "c"),
            (r#"{"detail":"d"}"#, "d"),
            ("  text\u{7} of its own ", "text of its own"),
            ("<html>", "a page of HTML"),
            ("", "nothing more"),
            ("{}", "{}"),
        ] {
            assert_eq!(said(body, None), words);
        }
        assert_eq!(said(&"a".repeat(1000), None).len(), MESSAGE_CHARS_MAX);
    }
}
