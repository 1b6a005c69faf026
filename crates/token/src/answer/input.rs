//! A stream of pieces into text that is looked at from the front, marker by marker.
//!
//! Every state of a parser consumes all it has seen but the beginning of a marker, so that no text
//! is looked at again by later pieces, and what is held back is shorter than the longest marker.

use super::output::Output;

/// What is not consumed yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Input {
    text: String,
    at: usize,
}

/// Whether the text begins with one of some markers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// With the one of this index.
    Is(usize),
    /// So far it may: it is a beginning of one, or empty.
    Maybe,
    Not,
}

/// Whether a parser can go on with the text it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Again,
    /// All is consumed but what may be the beginning of a marker.
    Wait,
}

/// How far a part of a call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// More text is needed.
    Wait,
    Done,
    /// It does not go on as a call does; what broke it is not consumed.
    Broken,
}

/// White space between the parts of a format.
pub(super) fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

impl Input {
    pub(super) fn push(&mut self, text: &str) {
        self.text.drain(..self.at);
        self.at = 0;
        self.text.push_str(text);
    }

    pub(super) fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    /// Consumes some bytes, which end between two characters.
    pub(super) fn take(&mut self, bytes: usize) -> &str {
        let from = self.at;
        self.at += bytes;
        &self.text[from..self.at]
    }

    /// Consumes white space.
    pub(super) fn take_space(&mut self) -> &str {
        let rest = self.rest();
        self.take(rest.len() - rest.trim_start_matches(is_space).len())
    }

    pub(super) fn starts(&self, markers: &[&str]) -> Start {
        let rest = self.rest();
        match markers.iter().position(|marker| rest.starts_with(marker)) {
            Some(index) => Start::Is(index),
            None if markers.iter().any(|marker| marker.starts_with(rest)) => Start::Maybe,
            None => Start::Not,
        }
    }

    /// Bytes before the first marker, and which one it is; without one, the bytes that are certain
    /// to be no part of a marker. No marker may be the beginning of another.
    pub(super) fn scan(&self, markers: &[&str]) -> (usize, Option<usize>) {
        scan(self.rest(), markers)
    }

    /// Consumes text up to a marker and the marker into the held text of `out`, the former also
    /// into `text`. It is broken where that would become longer than `bytes_max`; then just so much
    /// is consumed.
    pub(super) fn collect(
        &mut self,
        marker: &str,
        text: &mut String,
        bytes_max: usize,
        out: &mut Output,
    ) -> Part {
        let rest = self.rest();
        let room = bytes_max - text.len();
        // What lies beyond must not be looked at, for it may be looked at again.
        let ends = |at: &usize| *at >= rest.len() || rest.is_char_boundary(*at);
        let seen = (room + marker.len()..).find(ends).map_or(rest.len(), |at| at.min(rest.len()));
        let (before, found) = scan(&rest[..seen], &[marker]);
        if before > room {
            let fits = (0..=room).rev().find(|at| rest.is_char_boundary(*at));
            out.hold(self.take(fits.unwrap_or(0)));
            return Part::Broken;
        }
        let taken = self.take(before);
        text.push_str(taken);
        out.hold(taken);
        if found.is_none() {
            return Part::Wait;
        }
        out.hold(self.take(marker.len()));
        Part::Done
    }
}

fn scan(text: &str, markers: &[&str]) -> (usize, Option<usize>) {
    // Never beyond the first marker: a text of many markers would be looked at many times.
    let mut from = 0;
    let first = |byte: &u8| markers.iter().any(|marker| marker.as_bytes()[0] == *byte);
    while let Some(found) = text.as_bytes()[from..].iter().position(first) {
        let at = from + found;
        let here = &text[at..];
        if let Some(index) = markers.iter().position(|marker| here.starts_with(marker)) {
            return (at, Some(index));
        }
        if markers.iter().any(|marker| marker.starts_with(here)) {
            return (at, None);
        }
        from = at + 1;
    }
    (text.len(), None)
}
