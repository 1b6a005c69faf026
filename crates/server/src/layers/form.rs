//! Turns a body of `multipart/form-data` (RFC 7578) into its fields, piece by piece.
//!
//! Nothing here grows with the body: of a field's head a few kilobytes are held, of its content the
//! piece that just came.

use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use tokio::time::{Instant, timeout_at};

use super::upload::Upload;
use crate::errors::ApiError;
use crate::limits::{FORM_FIELDS_MAX, FORM_HEAD_BYTES_MAX, UPLOAD_SILENCE_MAX, UPLOAD_TIME_MAX};

/// As RFC 2046 has it.
const BOUNDARY_BYTES_MAX: usize = 70;

/// Header lines of a field; clients send two.
const HEADERS_MAX: usize = 16;

/// The fields of a form that is still on its way.
pub struct Form {
    upload: Upload,
    /// What came and was not used.
    buffer: BytesMut,
    /// What stands between two fields: a line break, two dashes, the boundary.
    delimiter: Vec<u8>,
    place: Place,
    fields: usize,
    /// When all of it must be there.
    end: Instant,
}

/// What comes next.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// A content, or what stands before the first field.
    Content,
    /// The rest of a delimiter's line.
    Delimiter,
    /// Nothing that matters.
    End,
}

/// The head of a field.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// The name of the file that it is, as its sender has it.
    pub filename: Option<String>,
}

impl Form {
    /// The form of a request's body.
    ///
    /// # Errors
    /// 400 where the body is none.
    pub fn of(upload: Upload, headers: &HeaderMap) -> Result<Form, ApiError> {
        let kind = headers.get(header::CONTENT_TYPE).map(|kind| kind.as_bytes());
        let boundary = boundary(kind.unwrap_or_default())?;
        Ok(Form {
            upload,
            // As if a line had ended before: so the first delimiter is like all others.
            buffer: BytesMut::from(&b"\r\n"[..]),
            delimiter: [b"\r\n--", boundary.as_slice()].concat(),
            place: Place::Content,
            fields: 0,
            end: Instant::now() + UPLOAD_TIME_MAX,
        })
    }

    /// The next field; what was not read of the one before is skipped.
    ///
    /// # Errors
    /// 400 where the body is not well formed, 408 where it does not come.
    pub async fn field(&mut self) -> Result<Option<Field>, ApiError> {
        while self.piece().await?.is_some() {}
        if self.place == Place::End {
            return Ok(None);
        }
        self.at_least(2).await?;
        if self.buffer.starts_with(b"--") {
            self.place = Place::End;
            return Ok(None);
        }
        self.fields += 1;
        if self.fields > FORM_FIELDS_MAX {
            let message = format!("The form has more than {FORM_FIELDS_MAX} fields.");
            return Err(ApiError::bad_request(message));
        }
        // Spaces may stand behind a boundary.
        let line = self.until(b"\r\n").await?;
        if line.iter().any(|byte| !matches!(byte, b' ' | b'\t')) {
            return Err(malformed("something stands behind a boundary"));
        }
        self.at_least(2).await?;
        let head = match self.buffer.starts_with(b"\r\n") {
            true => return Err(malformed("a field has no Content-Disposition")),
            false => self.until(b"\r\n\r\n").await?,
        };
        self.place = Place::Content;
        read_head(&head).map(Some)
    }

    /// The next piece of the field's content; `None` at its end.
    ///
    /// # Errors
    /// As [`Form::field`].
    pub async fn piece(&mut self) -> Result<Option<Bytes>, ApiError> {
        if self.place != Place::Content {
            return Ok(None);
        }
        loop {
            let found = find(&self.buffer, &self.delimiter);
            // What could be the beginning of a delimiter stays.
            let safe = found.unwrap_or_else(|| tail(&self.buffer, &self.delimiter));
            if safe > 0 {
                return Ok(Some(self.buffer.split_to(safe).freeze()));
            }
            if found.is_some() {
                let _ = self.buffer.split_to(self.delimiter.len());
                self.place = Place::Delimiter;
                return Ok(None);
            }
            self.more().await?;
        }
    }

    /// The rest of the field's content as text of at most `bytes_max` bytes; `name` is its own.
    ///
    /// # Errors
    /// As [`Form::field`]; 400 where it is longer, or not UTF-8.
    pub async fn text(&mut self, name: &str, bytes_max: usize) -> Result<String, ApiError> {
        let mut text = Vec::new();
        while let Some(piece) = self.piece().await? {
            text.extend_from_slice(&piece);
            if text.len() > bytes_max {
                let message = format!("'{name}' is longer than {bytes_max} bytes.");
                return Err(ApiError::invalid(name, message));
            }
        }
        String::from_utf8(text)
            .map_err(|_| ApiError::invalid(name, format!("'{name}' is not UTF-8.")))
    }

    /// One more piece of the body.
    async fn more(&mut self) -> Result<(), ApiError> {
        let piece = timeout_at(self.end, self.upload.piece(UPLOAD_SILENCE_MAX)).await;
        match piece.unwrap_or_else(|_| Err(ApiError::slow_body()))? {
            Some(piece) => self.buffer.extend_from_slice(&piece),
            None => return Err(malformed("it ends before its last boundary")),
        }
        Ok(())
    }

    async fn at_least(&mut self, bytes: usize) -> Result<(), ApiError> {
        while self.buffer.len() < bytes {
            self.more().await?;
        }
        Ok(())
    }

    /// What stands before `mark`, which is taken too.
    async fn until(&mut self, mark: &[u8]) -> Result<BytesMut, ApiError> {
        loop {
            if let Some(at) = find(&self.buffer, mark).filter(|at| *at <= FORM_HEAD_BYTES_MAX) {
                let before = self.buffer.split_to(at);
                let _ = self.buffer.split_to(mark.len());
                return Ok(before);
            }
            if self.buffer.len() > FORM_HEAD_BYTES_MAX {
                let message = format!("a field's head is larger than {FORM_HEAD_BYTES_MAX} bytes");
                return Err(malformed(&message));
            }
            self.more().await?;
        }
    }
}

/// The boundary that a content type names.
fn boundary(kind: &[u8]) -> Result<Vec<u8>, ApiError> {
    let wrong = |what: &str| {
        let message = format!("The request body must be multipart/form-data: {what}.");
        ApiError::bad_request(message)
    };
    let kind = std::str::from_utf8(kind).map_err(|_| wrong("its Content-Type is no text"))?;
    let (essence, rest) = kind.split_once(';').unwrap_or((kind, ""));
    if !essence.trim().eq_ignore_ascii_case("multipart/form-data") {
        return Err(wrong("its Content-Type says something else"));
    }
    let boundary = parameters(rest).into_iter().find(|(name, _)| name == "boundary");
    let boundary = boundary.ok_or_else(|| wrong("its Content-Type has no boundary"))?.1;
    let right = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    let length = boundary.len();
    if !(1..=BOUNDARY_BYTES_MAX).contains(&length) || !boundary.bytes().all(right) {
        let what = format!("right would be a boundary of 1 to {BOUNDARY_BYTES_MAX} characters");
        return Err(wrong(&what));
    }
    Ok(boundary.into_bytes())
}

/// The name of a field, and of its file.
fn read_head(head: &[u8]) -> Result<Field, ApiError> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let whole = [head, b"\r\n\r\n"].concat();
    let Ok(httparse::Status::Complete((_, headers))) =
        httparse::parse_headers(&whole, &mut headers)
    else {
        return Err(malformed("a field's head cannot be read"));
    };
    let disposition =
        headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-disposition"));
    let disposition =
        disposition.ok_or_else(|| malformed("a field has no Content-Disposition"))?.value;
    let disposition = std::str::from_utf8(disposition)
        .map_err(|_| malformed("a field's Content-Disposition is not UTF-8"))?;
    let (kind, rest) = disposition.split_once(';').unwrap_or((disposition, ""));
    if !kind.trim().eq_ignore_ascii_case("form-data") {
        return Err(malformed("a field's Content-Disposition is not form-data"));
    }
    let mut parameters = parameters(rest);
    let mut take = |wanted: &str| {
        let at = parameters.iter().position(|(name, _)| name == wanted)?;
        Some(parameters.swap_remove(at).1)
    };
    let name = take("name").ok_or_else(|| malformed("a field has no name"))?;
    let extended = take("filename*").map(|text| decoded(&text));
    let filename = match extended {
        Some(decoded) => Some(decoded.ok_or_else(|| malformed("a filename* cannot be read"))?),
        None => take("filename"),
    };
    Ok(Field { name, filename })
}

/// `; name="value"; other=value`. In quotes a backslash escapes quotes and itself alone: some
/// clients send folders of Windows.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text.trim_start_matches([' ', '\t', ';']);
    while let Some((name, value)) = rest.split_once('=') {
        let name = name.trim().to_ascii_lowercase();
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => unquoted(quoted),
            None => {
                let (value, after) = value.split_once(';').unwrap_or((value, ""));
                (value.trim().to_owned(), after)
            }
        };
        found.push((name, value));
        rest = after.trim_start_matches([' ', '\t', ';']);
    }
    found
}

/// The value up to its closing quote, and what follows.
fn unquoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        match (character, characters.peek()) {
            ('"', _) => return (value, &text[at + 1..]),
            ('\\', Some((_, next @ ('"' | '\\')))) => {
                value.push(*next);
                characters.next();
            }
            _ => value.push(character),
        }
    }
    (value, "")
}

/// `UTF-8''Gr%C3%BC%C3%9Fe.txt` (RFC 8187).
fn decoded(text: &str) -> Option<String> {
    let mut parts = text.splitn(3, '\'');
    let charset = parts.next()?;
    let encoded = parts.nth(1)?.as_bytes();
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut at = 0;
    while let Some(byte) = encoded.get(at) {
        if *byte == b'%' {
            let digits = std::str::from_utf8(encoded.get(at + 1..at + 3)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            at += 3;
        } else {
            bytes.push(*byte);
            at += 1;
        }
    }
    String::from_utf8(bytes).ok().filter(|_| charset.eq_ignore_ascii_case("utf-8"))
}

/// Where `mark` stands. Marks begin with a line break and have no other, so this takes one pass.
fn find(bytes: &[u8], mark: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + bytes.get(from..)?.iter().position(|byte| *byte == b'\r')?;
        if bytes[at..].starts_with(mark) {
            return Some(at);
        }
        from = at + 1;
    }
}

/// Where the longest end of `bytes` begins that may be the beginning of `mark`.
fn tail(bytes: &[u8], mark: &[u8]) -> usize {
    let first = bytes.len().saturating_sub(mark.len() - 1);
    (first..bytes.len()).find(|at| mark.starts_with(&bytes[*at..])).unwrap_or(bytes.len())
}

fn malformed(what: &str) -> ApiError {
    ApiError::bad_request(format!(
        "The request body is not well-formed multipart/form-data: {what}."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::extract::Request;
    use futures_util::{StreamExt, stream};
    use std::convert::Infallible;
    use std::time::Duration;

    const TYPE: &str = "multipart/form-data; boundary=\"x y\"";

    fn form(body: &[u8], piece: usize) -> Form {
        let pieces: Vec<_> =
            body.chunks(piece).map(|piece| Ok::<_, Infallible>(piece.to_vec())).collect();
        let mut request = Request::new(Body::from_stream(stream::iter(pieces)));
        request.headers_mut().insert(header::CONTENT_TYPE, TYPE.parse().unwrap());
        let headers = request.headers().clone();
        Form::of(Upload::take(&mut request, Duration::from_secs(9)), &headers).unwrap()
    }

    async fn read(body: &[u8], piece: usize) -> Result<Vec<(Field, Vec<u8>)>, ApiError> {
        let mut form = form(body, piece);
        let mut fields = Vec::new();
        while let Some(field) = form.field().await? {
            let mut content = Vec::new();
            while let Some(piece) = form.piece().await? {
                content.extend_from_slice(&piece);
            }
            fields.push((field, content));
        }
        Ok(fields)
    }

    #[tokio::test]
    async fn fields_are_the_same_in_pieces_of_any_size() {
        let nearly = b"\r\n--x \r\n--x\r\r\n-\r\n--x z\r\n";
        let body = [
            b"before\r\n--x y \t\r\nContent-Disposition: form-data; name=purpose\r\n\r\nbatch",
            &b"\r\n--x y\r\ncontent-disposition: Form-Data; "[..],
            b"filename=\"a \\\"b\\c;.txt\"; name=\"f\"",
            b"\r\nContent-Type: text/plain\r\n\r\n",
            nearly,
            b"\r\n--x y\r\nContent-Disposition: form-data; name=e; filename*=UTF-8''%C3%BC",
            b"\r\n\r\n\r\n--x y--\r\nafter",
        ]
        .concat();
        for piece in 1..body.len() {
            let fields = read(&body, piece).await.unwrap();
            let shown: Vec<_> = fields
                .iter()
                .map(|(field, content)| {
                    (field.name.as_str(), field.filename.as_deref(), content.as_slice())
                })
                .collect();
            let right: [(&str, Option<&str>, &[u8]); 3] = [
                ("purpose", None, b"batch"),
                ("f", Some("a \"b\\c;.txt"), nearly),
                ("e", Some("ü"), b""),
            ];
            assert_eq!(shown, right, "in pieces of {piece}");
        }
        let mut skipped = form(&body, 7);
        for _ in 0..3 {
            assert!(skipped.field().await.unwrap().is_some(), "contents may be left unread");
        }
        assert_eq!(skipped.field().await.unwrap(), None);
        assert_eq!(skipped.field().await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_is_no_form_is_refused() {
        let disposition = "Content-Disposition: form-data; name=a";
        let long = "a".repeat(FORM_HEAD_BYTES_MAX);
        let many = format!("--x y\r\n{disposition}\r\n\r\n1\r\n").repeat(FORM_FIELDS_MAX + 1);
        for body in [
            String::new(),
            "no boundary at all".into(),
            "--x y".into(),
            "--x yz\r\n".into(),
            "--x y\r\n\r\nno head\r\n--x y--".into(),
            format!("--x y\r\n{disposition}\r\n\r\nit breaks off"),
            format!("--x y\r\n{disposition}\r\n\r\nit breaks off\r\n--x y"),
            format!("--x y\r\n{disposition}{long}\r\n\r\n1\r\n--x y--"),
            "--x y\r\nContent-Disposition: attachment; name=a\r\n\r\n1\r\n--x y--".into(),
            "--x y\r\nContent-Disposition: form-data\r\n\r\n1\r\n--x y--".into(),
            "--x y\r\nContent-Type: text/plain\r\n\r\n1\r\n--x y--".into(),
            "--x y\r\n: :\0\r\n\r\n1\r\n--x y--".into(),
            format!("--x y\r\n{disposition}; filename*=latin''%ff\r\n\r\n1\r\n--x y--"),
            many,
        ] {
            let error = read(body.as_bytes(), 11).await.unwrap_err();
            assert_eq!(error.status.as_u16(), 400, "{body}");
        }
    }

    /// A form whose first piece is there; the others come one byte at a time after each `pause`.
    fn slow(pause: Duration) -> Form {
        let first = b"--x y\r\nContent-Disposition: form-data; name=file\r\n\r\n".to_vec();
        let bytes = stream::repeat(()).then(move |()| async move {
            tokio::time::sleep(pause).await;
            b"a".to_vec()
        });
        let pieces = stream::iter([first]).chain(bytes).map(Ok::<_, Infallible>);
        let mut request = Request::new(Body::from_stream(pieces));
        request.headers_mut().insert(header::CONTENT_TYPE, TYPE.parse().unwrap());
        let headers = request.headers().clone();
        Form::of(Upload::take(&mut request, Duration::from_secs(9)), &headers).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn forms_that_come_too_slowly_are_given_up() {
        let second = Duration::from_secs(1);
        for (pause, most) in [
            (UPLOAD_SILENCE_MAX + second, UPLOAD_SILENCE_MAX),
            (UPLOAD_SILENCE_MAX - second, UPLOAD_TIME_MAX),
        ] {
            let started = Instant::now();
            let mut form = slow(pause);
            assert_eq!(form.field().await.unwrap().unwrap().name, "file");
            let error = loop {
                if let Err(error) = form.piece().await {
                    break error;
                }
            };
            assert_eq!(error.status.as_u16(), 408);
            let elapsed = started.elapsed();
            assert!((most..most + second).contains(&elapsed), "{elapsed:?}");
        }
    }

    #[test]
    fn content_types_without_a_boundary_are_refused() {
        for (kind, right) in [
            ("multipart/form-data; boundary=abc", Some("abc")),
            ("Multipart/Form-Data;charset=utf-8; Boundary=\"a;b\"", Some("a;b")),
            ("multipart/form-data", None),
            ("multipart/form-data; boundary=", None),
            ("multipart/form-data; boundary=\"a\nb\"", None),
            ("multipart/mixed; boundary=abc", None),
            ("application/json", None),
            ("", None),
        ] {
            let found = boundary(kind.as_bytes()).ok();
            assert_eq!(found.as_deref(), right.map(str::as_bytes), "{kind}");
        }
        let long = format!("multipart/form-data; boundary={}", "a".repeat(71));
        assert!(boundary(long.as_bytes()).is_err() && boundary(b"\xff").is_err());
    }
}
