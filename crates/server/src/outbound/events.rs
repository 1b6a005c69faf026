//! Turns the pieces of an event stream into the data of its events.

use futures_util::StreamExt;

use super::{OutboundError, Pieces};

/// Bytes of one event: arguments of a tool call may come in one.
const EVENT_BYTES_MAX: usize = 4 << 20;

/// Events as they come. Dropping them ends the connection.
pub struct Events {
    pieces: Pieces,
    lines: Lines,
}

impl Events {
    /// Those of a body.
    pub fn new(pieces: Pieces) -> Events {
        Events { pieces, lines: Lines::default() }
    }

    /// The data of the next event; `None` at the end. An event that was not whole by then is none.
    /// May be dropped while it waits: nothing is lost.
    ///
    /// # Errors
    /// Those of [`Pieces`]; [`OutboundError::EventTooLarge`], [`OutboundError::EventText`].
    pub async fn next(&mut self) -> Result<Option<String>, OutboundError> {
        loop {
            if let Some(data) = self.lines.event()? {
                return Ok(Some(data));
            }
            match self.pieces.next().await {
                Some(piece) => self.lines.buffer.extend_from_slice(&piece?),
                None => return Ok(None),
            }
        }
    }
}

#[derive(Default)]
struct Lines {
    buffer: Vec<u8>,
    /// How much of the buffer has been read.
    at: usize,
    /// How much of it holds no further line's end.
    scanned: usize,
    /// Data of the event that is not whole.
    data: Option<String>,
}

impl Lines {
    /// The next event that is whole.
    fn event(&mut self) -> Result<Option<String>, OutboundError> {
        while let Some(line) = self.line()? {
            if line.is_empty() {
                if let Some(data) = self.data.take() {
                    return Ok(Some(data));
                }
            } else if let Some(rest) = line.strip_prefix("data:") {
                let rest = rest.strip_prefix(' ').unwrap_or(rest);
                match &mut self.data {
                    Some(data) => {
                        data.push('\n');
                        data.push_str(rest);
                    }
                    None => self.data = Some(rest.to_owned()),
                }
            }
            // Names of events stand in their data too; comments and ids mean nothing here.
        }
        let waiting = self.buffer.len() - self.at + self.data.as_ref().map_or(0, String::len);
        match waiting > EVENT_BYTES_MAX {
            true => Err(OutboundError::EventTooLarge(EVENT_BYTES_MAX)),
            false => Ok(None),
        }
    }

    fn line(&mut self) -> Result<Option<String>, OutboundError> {
        let from = self.scanned.max(self.at);
        let Some(end) = self.buffer[from..].iter().position(|byte| *byte == b'\n') else {
            self.buffer.drain(..self.at);
            (self.at, self.scanned) = (0, self.buffer.len());
            return Ok(None);
        };
        let end = from + end;
        let line = &self.buffer[self.at..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let text = std::str::from_utf8(line).map(str::to_owned);
        (self.at, self.scanned) = (end + 1, end + 1);
        text.map(Some).map_err(|_| OutboundError::EventText)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(pieces: &[&[u8]]) -> Result<Vec<String>, OutboundError> {
        let (mut lines, mut events) = (Lines::default(), Vec::new());
        for piece in pieces {
            lines.buffer.extend_from_slice(piece);
            while let Some(event) = lines.event()? {
                events.push(event);
            }
        }
        Ok(events)
    }

    #[test]
    fn events_are_the_same_however_they_are_cut() {
        let text = "\n: comment\nevent: a\nid: 1\ndata: eins\r\ndata:zwei\r\n\r\n\n\
                    data:  ü\n\ndata: half"
            .as_bytes();
        let whole = events(&[text]).unwrap();
        assert_eq!(whole, ["eins\nzwei", " ü"]);
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(events(&bytes).unwrap(), whole);
    }

    #[test]
    fn endless_lines_endless_events_and_odd_bytes_are_refused() {
        let line = vec![b'a'; EVENT_BYTES_MAX + 1];
        assert!(matches!(events(&[b"data: ", &line]), Err(OutboundError::EventTooLarge(_))));
        let lines = b"data: 0123456789\n".repeat(EVENT_BYTES_MAX / 8);
        assert!(matches!(events(&[&lines]), Err(OutboundError::EventTooLarge(_))));
        assert!(matches!(events(&[b"data: \xff\n"]), Err(OutboundError::EventText)));
    }
}
