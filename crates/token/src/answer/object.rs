//! A call written as `{"name": …, "arguments": {…}}` into the start of a call and fragments.

use super::input::{Input, Part, is_space};
use super::json::{JsonScanner, Progress};
use super::output::Output;
use crate::limits::TOOL_NAME_BYTES_MAX;

/// Reads one such object. Its keys may come in any order; `parameters` is another word for
/// `arguments`, and other keys are left out.
///
/// The call starts when its name is known and its arguments begin: until then all can still become
/// text again. It ends with its arguments, so that it is complete even if a brace is forgotten.
#[derive(Clone, Debug)]
pub(super) struct CallObject {
    place: Place,
    /// The key or name that is being read, with its quotes.
    literal: String,
    name: Option<String>,
    /// Arguments that came before the name.
    early: Option<String>,
    started: bool,
    /// Whether a marker says that this is a call. Without one, only an object with the keys of a
    /// call and the name of a known tool is one.
    marked: bool,
}

#[derive(Clone, Debug)]
enum Place {
    Open,
    Key { first: bool },
    KeyText(JsonScanner),
    Colon(Field),
    Value(Field),
    InValue(Field, JsonScanner),
    Next,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Name,
    Arguments,
    Other,
}

impl CallObject {
    /// A reader before the opening brace.
    pub(super) fn new(marked: bool) -> CallObject {
        CallObject {
            place: Place::Open,
            literal: String::new(),
            name: None,
            early: None,
            started: false,
            marked,
        }
    }

    pub(super) fn step(&mut self, input: &mut Input, out: &mut Output) -> Part {
        let rest = input.rest();
        let mut stop = (rest.len(), Part::Wait);
        for (at, c) in rest.char_indices() {
            match self.push(c, out) {
                Part::Wait => {}
                Part::Done => stop = (at + c.len_utf8(), Part::Done),
                Part::Broken => stop = (at, Part::Broken),
            }
            if stop.1 != Part::Wait {
                break;
            }
        }
        input.take(stop.0);
        stop.1
    }

    fn push(&mut self, c: char, out: &mut Output) -> Part {
        let part = self.advance(c, out);
        if part != Part::Broken && !self.started {
            out.hold(c.encode_utf8(&mut [0; 4]));
        }
        part
    }

    fn advance(&mut self, c: char, out: &mut Output) -> Part {
        match (&mut self.place, c) {
            (Place::Open, '{') => self.go(Place::Key { first: true }),
            (Place::Key { .. } | Place::Colon(_) | Place::Value(_) | Place::Next, c)
                if is_space(c) =>
            {
                Part::Wait
            }
            (Place::Key { first: true }, '}') | (Place::Next, '}') => self.close(out),
            (Place::Key { .. }, '"') => {
                self.literal.clear();
                self.place = Place::KeyText(JsonScanner::new());
                self.key(c)
            }
            (Place::KeyText(_), c) => self.key(c),
            (Place::Colon(field), ':') => {
                let field = *field;
                self.go(Place::Value(field))
            }
            (Place::Value(field), c) => {
                let field = *field;
                self.place = Place::InValue(field, JsonScanner::new());
                self.begin_value(field, c, out)
            }
            (Place::InValue(field, _), c) => {
                let field = *field;
                self.value(field, c, out)
            }
            (Place::Next, ',') => self.go(Place::Key { first: false }),
            _ => Part::Broken,
        }
    }

    fn go(&mut self, place: Place) -> Part {
        self.place = place;
        Part::Wait
    }

    /// A further character of a key.
    fn key(&mut self, c: char) -> Part {
        let Place::KeyText(scanner) = &mut self.place else { return Part::Broken };
        match scanner.push(c) {
            Progress::More => self.grow(c),
            Progress::Done => {
                self.literal.push(c);
                let Ok(key) = serde_json::from_str::<String>(&self.literal) else {
                    return Part::Broken;
                };
                let field = match key.as_str() {
                    "name" if self.name.is_none() => Field::Name,
                    "arguments" | "parameters" if !self.started && self.early.is_none() => {
                        Field::Arguments
                    }
                    "name" | "arguments" | "parameters" => return Part::Broken,
                    "type" => Field::Other,
                    _ if self.marked => Field::Other,
                    _ => return Part::Broken,
                };
                self.go(Place::Colon(field))
            }
            Progress::Before | Progress::Bad => Part::Broken,
        }
    }

    /// A further character of a key or name, which are bounded: with two quotes.
    fn grow(&mut self, c: char) -> Part {
        self.literal.push(c);
        if self.literal.len() > TOOL_NAME_BYTES_MAX + 2 { Part::Broken } else { Part::Wait }
    }

    fn begin_value(&mut self, field: Field, c: char, out: &mut Output) -> Part {
        match field {
            Field::Name if c == '"' => self.literal.clear(),
            Field::Arguments if c == '{' => match self.name.take() {
                Some(name) => {
                    if !out.start_call(&name) {
                        return Part::Broken;
                    }
                    (self.started, self.name) = (true, Some(name));
                }
                None => self.early = Some(String::new()),
            },
            Field::Other => {}
            _ => return Part::Broken,
        }
        self.value(field, c, out)
    }

    /// A further character of a value.
    fn value(&mut self, field: Field, c: char, out: &mut Output) -> Part {
        let Place::InValue(_, scanner) = &mut self.place else { return Part::Broken };
        let progress = scanner.push(c);
        match progress {
            Progress::Bad => return Part::Broken,
            Progress::Before => {
                self.place = Place::Next;
                return self.advance(c, out);
            }
            Progress::More | Progress::Done => {}
        }
        match field {
            Field::Name if self.grow(c) == Part::Broken => return Part::Broken,
            Field::Arguments => match &mut self.early {
                Some(early) => early.push(c),
                None => out.arguments(c.encode_utf8(&mut [0; 4])),
            },
            Field::Name | Field::Other => {}
        }
        if progress == Progress::More {
            return Part::Wait;
        }
        self.place = Place::Next;
        match field {
            Field::Name => return self.named(out),
            Field::Arguments if self.started => out.end_call(true),
            Field::Arguments | Field::Other => {}
        }
        Part::Wait
    }

    /// The name is complete.
    fn named(&mut self, out: &mut Output) -> Part {
        let Ok(name) = serde_json::from_str::<String>(&self.literal) else { return Part::Broken };
        if !self.marked && out.tool(&name).is_none() {
            return Part::Broken;
        }
        if let Some(early) = &self.early {
            if !out.start_call(&name) {
                return Part::Broken;
            }
            out.arguments(early);
            out.end_call(true);
            self.started = true;
        }
        self.name = Some(name);
        Part::Wait
    }

    /// The closing brace. Where there are no arguments, none are meant, if this is sure to be a
    /// call.
    fn close(&mut self, out: &mut Output) -> Part {
        if !self.started {
            let name = self.name.take().filter(|_| self.marked);
            if !name.is_some_and(|name| out.start_call(&name)) {
                return Part::Broken;
            }
            self.started = true;
            out.arguments("{}");
            out.end_call(true);
        }
        Part::Done
    }
}
