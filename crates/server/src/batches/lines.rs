//! Turns the input file of a batch into its lines, one at a time, and a line into a request.

use std::io;

use serde_json::value::RawValue;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, BufReader};

use crate::errors::ApiError;
use crate::limits::{
    BATCH_LINE_BYTES_MAX, CUSTOM_ID_BYTES_MAX, FILE_PIECE_BYTES, SMALL_TEXT_BYTES_MAX,
};
use crate::wire::batches::LineError;
use crate::wire::fields::Fields;

/// The lines of a file. Blank ones are counted and left out.
pub struct Lines<R> {
    reader: BufReader<R>,
    /// The latest line, from 1.
    number: u64,
}

/// A line as it stands in the file.
#[derive(Debug, PartialEq)]
pub enum Text {
    /// Without its break.
    Whole(Vec<u8>),
    /// It is larger than [`BATCH_LINE_BYTES_MAX`] and was skipped.
    TooLarge,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub fn new(file: R) -> Lines<R> {
        Lines { reader: BufReader::with_capacity(FILE_PIECE_BYTES, file), number: 0 }
    }

    /// The next line with its number; `None` at the end.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub async fn next(&mut self) -> io::Result<Option<(u64, Text)>> {
        loop {
            let Some(text) = read_line(&mut self.reader).await? else { return Ok(None) };
            self.number += 1;
            match &text {
                Text::Whole(bytes) if bytes.trim_ascii().is_empty() => {}
                _ => return Ok(Some((self.number, text))),
            }
        }
    }
}

async fn read_line(reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Text>> {
    let mut line = Some(Vec::new());
    let mut begun = false;
    loop {
        let piece = reader.fill_buf().await?;
        if piece.is_empty() && !begun {
            return Ok(None);
        }
        let at = piece.iter().position(|byte| *byte == b'\n');
        let length = at.unwrap_or(piece.len());
        let ends = at.is_some() || piece.is_empty();
        begun = true;
        line = line.filter(|line| line.len() + length <= BATCH_LINE_BYTES_MAX);
        if let Some(line) = &mut line {
            line.extend_from_slice(&piece[..length]);
        }
        reader.consume(length + usize::from(at.is_some()));
        if ends {
            return Ok(Some(line.map_or(Text::TooLarge, Text::Whole)));
        }
    }
}

/// A line's request.
#[derive(Debug)]
pub struct Line<'a> {
    /// The client's own name for it.
    pub custom_id: String,
    /// The model that it asks.
    pub model: Option<String>,
    /// The body of its request.
    pub body: &'a RawValue,
}

impl<'a> Line<'a> {
    /// Reads a line of a batch for `endpoint`.
    ///
    /// # Errors
    /// What is wrong with it, without its number.
    pub fn parse(text: &'a [u8], endpoint: &str) -> Result<Line<'a>, LineError> {
        let mut fields = Fields::of_body(text).map_err(|_| {
            error("invalid_json_line", None, "This line is not parseable as valid JSON.")
        })?;
        let custom_id = required(&mut fields, "custom_id", CUSTOM_ID_BYTES_MAX)?;
        if custom_id.is_empty() {
            return Err(error("invalid_value", Some("custom_id"), "The custom_id is empty."));
        }
        if required(&mut fields, "method", SMALL_TEXT_BYTES_MAX)? != "POST" {
            return Err(error("invalid_method", Some("method"), "The method must be 'POST'."));
        }
        if required(&mut fields, "url", SMALL_TEXT_BYTES_MAX)? != endpoint {
            let message =
                format!("The URL of this request does not match the batch's endpoint, {endpoint}.");
            return Err(error("url_mismatch", Some("url"), &message));
        }
        let body = fields.raw("body").ok_or_else(|| refusal(ApiError::missing("body")))?;
        fields.none_left().map_err(refusal)?;
        let mut within = Fields::of_value(body, "body".into()).map_err(refusal)?;
        let model = within.string("model", SMALL_TEXT_BYTES_MAX).map_err(refusal)?;
        Ok(Line { custom_id, model, body })
    }
}

fn required(fields: &mut Fields<'_>, name: &str, bytes_max: usize) -> Result<String, LineError> {
    let value = fields.string(name, bytes_max).map_err(refusal)?;
    value.ok_or_else(|| refusal(ApiError::missing(name)))
}

fn refusal(refused: ApiError) -> LineError {
    let code = refused.code.unwrap_or("invalid_request");
    error(code, refused.param.as_deref(), &refused.message)
}

/// An error of the line that is read; its number is added by whoever knows it.
pub fn error(code: &str, param: Option<&str>, message: &str) -> LineError {
    let param = param.map(str::to_owned);
    LineError { code: code.to_owned(), message: message.to_owned(), param, line: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(text: &[u8]) -> Vec<(u64, Text)> {
        let (mut lines, mut found) = (Lines::new(text), Vec::new());
        while let Some(line) = lines.next().await.unwrap() {
            found.push(line);
        }
        found
    }

    #[tokio::test]
    async fn lines_are_counted_and_large_ones_skipped() {
        let whole = |number, text: &str| (number, Text::Whole(text.as_bytes().to_vec()));
        let read_text = read(b"one\n\n  \r\nfour\r\nfive").await;
        assert_eq!(read_text, [whole(1, "one"), whole(4, "four\r"), whole(5, "five")]);
        assert!(read(b"").await.is_empty() && read(b"\n\n").await.is_empty());
        let right = vec![b'a'; BATCH_LINE_BYTES_MAX];
        let text = [&right[..], b"\n", &right, b"b\nlast\n"].concat();
        let found = read(&text).await;
        assert_eq!(found[0], (1, Text::Whole(right)));
        assert_eq!(found[1..], [(2, Text::TooLarge), whole(3, "last")]);
    }

    #[test]
    fn wrong_lines_say_what_is_wrong() {
        let endpoint = "/v1/completions";
        let good =
            r#"{"custom_id":"a","method":"POST","url":"/v1/completions","body":{"model":"m"}}"#;
        let line = Line::parse(good.as_bytes(), endpoint).unwrap();
        assert_eq!((line.custom_id.as_str(), line.model.as_deref()), ("a", Some("m")));
        assert_eq!(line.body.get(), r#"{"model":"m"}"#);
        for (from, to, code, param) in [
            ("{", "[", "invalid_json_line", None),
            ("\"a\"", "7", "invalid_type", Some("custom_id")),
            ("\"a\"", "\"\"", "invalid_value", Some("custom_id")),
            ("\"a\"", "null", "missing_required_parameter", Some("custom_id")),
            ("POST", "GET", "invalid_method", Some("method")),
            ("/v1/", "/v2/", "url_mismatch", Some("url")),
            ("{\"model\":\"m\"}", "null", "missing_required_parameter", Some("body")),
            ("{\"model\":\"m\"}", "[]", "invalid_type", Some("body")),
            ("\"m\"", "7", "invalid_type", Some("body.model")),
            ("\"method\"", "\"color\":1,\"method\"", "unknown_parameter", Some("color")),
        ] {
            let text = good.replacen(from, to, 1);
            let error = Line::parse(text.as_bytes(), endpoint).unwrap_err();
            assert_eq!((error.code.as_str(), error.param.as_deref()), (code, param), "{text}");
        }
        let long = good.replacen("\"a\"", &format!("\"{}\"", "a".repeat(600)), 1);
        let error = Line::parse(long.as_bytes(), endpoint).unwrap_err();
        assert_eq!(error.param.as_deref(), Some("custom_id"));
    }
}
