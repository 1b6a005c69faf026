//! Messages on channels, `<|channel|>final<|message|>…<|end|>`, into events: gpt-oss.
//!
//! The channel says what a message is: `analysis` is reasoning, a message to `functions.NAME` is a
//! call, and all else is text (`final`, and a `commentary` to nobody, which is a preamble).

use super::Opening;
use super::input::{Input, Part, Start, Step};
use super::json::{JsonScanner, scan_arguments};
use super::output::{Kind, Output};
use crate::limits::MESSAGE_HEADER_BYTES_MAX;

pub(crate) const START: &str = "<|start|>";
pub(crate) const CHANNEL: &str = "<|channel|>";
pub(crate) const CONSTRAIN: &str = "<|constrain|>";
pub(crate) const MESSAGE: &str = "<|message|>";
pub(crate) const END: &str = "<|end|>";
pub(crate) const CALL: &str = "<|call|>";
pub(crate) const RETURN: &str = "<|return|>";

/// What may come first in a message whose role is known.
const HEADS: &[&str] = &[START, CHANNEL, CONSTRAIN, MESSAGE, "to="];
/// What may come behind a message. The last two begin another one.
pub(crate) const ENDS: &[&str] = &[END, CALL, RETURN, START, CHANNEL];

/// The place in an answer.
#[derive(Clone, Debug)]
pub(super) struct Harmony {
    place: Place,
    header: String,
}

#[derive(Clone, Debug)]
enum Place {
    /// Behind the role, which the prompt ends with.
    Begin,
    Header,
    Body(Kind),
    /// Before the arguments for this tool.
    Call(String),
    Arguments(JsonScanner),
    /// Behind a message; true behind a call that has no marker at its end yet.
    Between {
        open: bool,
    },
}

impl Harmony {
    /// `prompt` may end within a message that is to be continued.
    pub(super) fn new(prompt: &str) -> Harmony {
        let tail = prompt.rsplit_once(START).map_or("", |(_, tail)| tail);
        let place = match tail.split_once(MESSAGE) {
            Some((header, _)) => Place::Body(parse(header).map_or(Kind::Text, |m| m.kind)),
            None => Place::Begin,
        };
        Harmony { place, header: String::new() }
    }

    /// Where the text that comes next belongs.
    pub(super) fn kind(&self) -> Kind {
        if let Place::Body(kind) = self.place { kind } else { Kind::Text }
    }

    /// Where the text that comes next belongs, before any has come.
    pub(super) fn opening(&self) -> Opening {
        match self.place {
            Place::Begin => Opening::Free,
            _ if self.kind() == Kind::Reasoning => Opening::Reasoning,
            _ => Opening::Text,
        }
    }

    pub(super) fn step(&mut self, input: &mut Input, out: &mut Output) -> Step {
        match &mut self.place {
            Place::Begin => return self.begin(input, out),
            Place::Header => {
                match input.collect(MESSAGE, &mut self.header, MESSAGE_HEADER_BYTES_MAX, out) {
                    Part::Wait => return Step::Wait,
                    Part::Done => self.message(out),
                    Part::Broken => self.is_text(out),
                }
            }
            Place::Body(kind) => {
                let (before, found) = input.scan(ENDS);
                out.verbatim(*kind, input.take(before));
                let Some(found) = found else { return Step::Wait };
                self.end(ENDS[found], input, out);
            }
            Place::Call(_) => return self.call(input, out),
            Place::Arguments(scanner) => match scan_arguments(scanner, input, out) {
                Part::Wait => return Step::Wait,
                Part::Done => self.place = Place::Between { open: true },
                Part::Broken => self.is_text(out),
            },
            Place::Between { open } => {
                let open = *open;
                input.take_space();
                match input.starts(if open { ENDS } else { &[START] }) {
                    Start::Is(found) => {
                        let marker = if open { ENDS[found] } else { START };
                        self.end(marker, input, out);
                    }
                    Start::Maybe => return Step::Wait,
                    Start::Not => self.is_text(out),
                }
            }
        }
        Step::Again
    }

    fn begin(&mut self, input: &mut Input, out: &mut Output) -> Step {
        out.hold(input.take_space());
        match input.starts(HEADS) {
            Start::Is(0) => self.end(START, input, out),
            Start::Is(_) => {
                self.header.clear();
                self.place = Place::Header;
            }
            Start::Maybe => return Step::Wait,
            Start::Not => self.is_text(out),
        }
        Step::Again
    }

    /// Behind a message, at a marker.
    fn end(&mut self, marker: &str, input: &mut Input, out: &mut Output) {
        let marker_text = input.take(marker.len());
        self.header.clear();
        self.place = match marker {
            START | CHANNEL => {
                out.hold(marker_text);
                if marker == CHANNEL {
                    self.header.push_str(CHANNEL);
                }
                Place::Header
            }
            _ => Place::Between { open: false },
        };
    }

    /// A header is complete.
    fn message(&mut self, out: &mut Output) {
        let Some(message) = parse(&self.header) else { return self.is_text(out) };
        let name = message.recipient.map(|to| to.strip_prefix("functions.").unwrap_or(to));
        self.place = match name {
            Some(name)
                if out.has_tools() && (message.is_function() || out.tool(name).is_some()) =>
            {
                Place::Call(name.to_owned())
            }
            _ => {
                out.begin_message();
                Place::Body(message.kind)
            }
        };
    }

    /// The call starts where its arguments begin. Where there are none, none are meant.
    fn call(&mut self, input: &mut Input, out: &mut Output) -> Step {
        let Place::Call(name) = &self.place else { return Step::Again };
        let space = input.take_space().to_owned();
        let start = input.starts(&["{", END, CALL, RETURN]);
        match start {
            Start::Maybe => {
                out.hold(&space);
                return Step::Wait;
            }
            Start::Is(found) if out.start_call(name) => {
                self.place = match found {
                    0 => Place::Arguments(JsonScanner::new()),
                    _ => {
                        out.arguments("{}");
                        out.end_call(true);
                        Place::Between { open: true }
                    }
                };
            }
            Start::Is(_) | Start::Not => {
                out.hold(&space);
                self.is_text(out);
            }
        }
        Step::Again
    }

    fn is_text(&mut self, out: &mut Output) {
        out.give_back();
        self.place = Place::Body(Kind::Text);
    }
}

/// What a header says.
struct Message<'a> {
    kind: Kind,
    recipient: Option<&'a str>,
}

impl Message<'_> {
    fn is_function(&self) -> bool {
        self.recipient.is_some_and(|to| to.starts_with("functions."))
    }
}

/// Reads what stands between `<|start|>` and `<|message|>`; the role may be missing. `None` for a
/// message that is not the assistant's.
fn parse(header: &str) -> Option<Message<'_>> {
    let (head, channel) = header.split_once(CHANNEL).unwrap_or((header, ""));
    let channel = channel.split(CONSTRAIN).next().unwrap_or_default();
    let head = head.split(CONSTRAIN).next().unwrap_or_default();
    let role = head.split_whitespace().find(|word| !word.starts_with("to="));
    if !matches!(role, None | Some("assistant")) {
        return None;
    }
    let is_analysis = channel.split_whitespace().next() == Some("analysis");
    let kind = if is_analysis { Kind::Reasoning } else { Kind::Text };
    Some(Message { kind, recipient: recipient(channel).or_else(|| recipient(head)) })
}

fn recipient(part: &str) -> Option<&str> {
    part.split_whitespace().find_map(|word| word.strip_prefix("to="))
}
