//! Calls written as `call:NAME{key:value}` between two markers into calls with JSON arguments:
//! FunctionGemma, Gemma 4.
//!
//! Keys stand bare, strings between two equal marks, everything else as in JSON. Strings and keys
//! of JSON are read too. A call is held until it is complete.

use hashbrown::HashSet;
use serde_json::Value;

use super::input::{Input, Part, Start, Step, is_space};
use super::output::Output;
use super::schema;
use crate::limits::{JSON_DEPTH_MAX, TOOL_NAME_BYTES_MAX};

/// The marks of a family.
#[derive(Debug)]
pub(crate) struct Marks {
    pub(crate) open: &'static str,
    pub(crate) close: &'static str,
    /// Around strings.
    pub(crate) quote: &'static str,
}

pub(crate) const FUNCTION_GEMMA: Marks =
    Marks { open: "<start_function_call>", close: "<end_function_call>", quote: "<escape>" };

pub(crate) const GEMMA4: Marks =
    Marks { open: "<|tool_call>", close: "<tool_call|>", quote: "<|\"|>" };

/// Before the name of a tool.
pub(crate) const CALL: &str = "call:";

/// The place in an answer.
#[derive(Clone, Debug)]
pub(super) struct Gemma {
    marks: &'static Marks,
    place: Place,
    name: String,
    /// The arguments as they are written, from their first brace on.
    body: String,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Text,
    /// Behind the opening marker.
    Opened,
    Name,
    /// Within the arguments, so many brackets deep.
    Value(usize),
    Quoted(usize),
    /// In a string of JSON; true behind a backslash.
    Json(usize, bool),
    /// Behind the arguments.
    Tail,
}

impl Gemma {
    pub(super) fn new(marks: &'static Marks) -> Gemma {
        Gemma { marks, place: Place::Text, name: String::new(), body: String::new() }
    }

    pub(super) fn step(&mut self, input: &mut Input, out: &mut Output) -> Step {
        let part = match self.place {
            Place::Text => return self.text(input, out),
            Place::Tail => return self.tail(input),
            Place::Opened => self.opened(input, out),
            Place::Name => match input.collect("{", &mut self.name, TOOL_NAME_BYTES_MAX, out) {
                Part::Done => {
                    self.body.push('{');
                    self.place = Place::Value(1);
                    return Step::Again;
                }
                part => part,
            },
            Place::Value(depth) => self.value(depth, input, out),
            Place::Quoted(depth) => {
                let quote = self.marks.quote;
                match self.take_until(&[quote], input, out) {
                    None => Part::Wait,
                    Some(_) => {
                        self.place = Place::Value(depth);
                        return Step::Again;
                    }
                }
            }
            Place::Json(depth, escaped) => self.json(depth, escaped, input, out),
        };
        match part {
            Part::Wait => return Step::Wait,
            Part::Done => {}
            Part::Broken => {
                out.give_back();
                self.place = Place::Text;
            }
        }
        Step::Again
    }

    fn text(&mut self, input: &mut Input, out: &mut Output) -> Step {
        let open = self.marks.open;
        let (before, found) = input.scan(&[open]);
        out.text(input.take(before));
        if found.is_none() {
            return Step::Wait;
        }
        out.hold(input.take(open.len()));
        self.name.clear();
        self.body.clear();
        self.place = Place::Opened;
        Step::Again
    }

    fn opened(&mut self, input: &mut Input, out: &mut Output) -> Part {
        out.hold(input.take_space());
        match input.starts(&[CALL]) {
            Start::Is(_) => {
                out.hold(input.take(CALL.len()));
                self.place = Place::Name;
                Part::Done
            }
            Start::Maybe => Part::Wait,
            Start::Not => Part::Broken,
        }
    }

    fn value(&mut self, depth: usize, input: &mut Input, out: &mut Output) -> Part {
        let quote = self.marks.quote;
        self.place = match self.take_until(&[quote, "\"", "{", "[", "}", "]"], input, out) {
            None => return Part::Wait,
            Some(0) => Place::Quoted(depth),
            Some(1) => Place::Json(depth, false),
            Some(2 | 3) if depth == JSON_DEPTH_MAX => return Part::Broken,
            Some(2 | 3) => Place::Value(depth + 1),
            Some(_) if depth > 1 => Place::Value(depth - 1),
            Some(_) => return self.complete(out),
        };
        Part::Done
    }

    fn json(&mut self, depth: usize, escaped: bool, input: &mut Input, out: &mut Output) -> Part {
        if escaped {
            let Some(letter) = input.rest().chars().next() else { return Part::Wait };
            let letter = input.take(letter.len_utf8());
            self.body.push_str(letter);
            out.hold(letter);
            self.place = Place::Json(depth, false);
            return Part::Done;
        }
        self.place = match self.take_until(&["\"", "\\"], input, out) {
            None => return Part::Wait,
            Some(0) => Place::Value(depth),
            Some(_) => Place::Json(depth, true),
        };
        Part::Done
    }

    /// Takes text up to one of the markers and that; says which.
    fn take_until(
        &mut self,
        markers: &[&str],
        input: &mut Input,
        out: &mut Output,
    ) -> Option<usize> {
        let (before, found) = input.scan(markers);
        let length = before + found.map_or(0, |found| markers[found].len());
        let text = input.take(length);
        self.body.push_str(text);
        out.hold(text);
        found
    }

    fn complete(&mut self, out: &mut Output) -> Part {
        let Some(json) = to_json(&self.body, self.marks.quote) else { return Part::Broken };
        if !out.start_call(self.name.trim_matches(is_space)) {
            return Part::Broken;
        }
        out.arguments(&json);
        out.end_call(true);
        self.place = Place::Tail;
        Part::Done
    }

    fn tail(&mut self, input: &mut Input) -> Step {
        input.take_space();
        match input.starts(&[self.marks.close]) {
            Start::Is(_) => {
                input.take(self.marks.close.len());
            }
            Start::Maybe => return Step::Wait,
            // A model at times forgets it.
            Start::Not => {}
        }
        self.place = Place::Text;
        Step::Again
    }
}

/// JSON for arguments as they are written; `None` where they are not.
fn to_json(body: &str, quote: &str) -> Option<String> {
    let mut reader = Reader { rest: body, quote, json: String::with_capacity(body.len()) };
    reader.value(0)?;
    reader.rest.trim_start().is_empty().then_some(reader.json)
}

struct Reader<'a> {
    rest: &'a str,
    quote: &'a str,
    json: String,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Option<()> {
        // Brackets were counted where the end was looked for.
        if depth > JSON_DEPTH_MAX {
            return None;
        }
        self.rest = self.rest.trim_start();
        match self.rest.chars().next()? {
            '{' => self.object(depth),
            '[' => self.list(depth),
            _ => match self.string()? {
                Some(text) => self.push(&schema::string(&text)),
                None => {
                    let end = self.rest.find([',', '}', ']']).unwrap_or(self.rest.len());
                    let (word, rest) = self.rest.split_at(end);
                    self.rest = rest;
                    // A string that was left bare, where it is nothing else.
                    self.push(&schema::untyped(word.trim()))
                }
            },
        }
    }

    /// A string of either kind; `Some(None)` where something else stands.
    fn string(&mut self) -> Option<Option<String>> {
        if let Some(inside) = self.rest.strip_prefix(self.quote) {
            let (text, rest) = inside.split_once(self.quote)?;
            self.rest = rest;
            return Some(Some(text.to_owned()));
        }
        if !self.rest.starts_with('"') {
            return Some(None);
        }
        let mut values = serde_json::Deserializer::from_str(self.rest).into_iter::<String>();
        let text = values.next()?.ok()?;
        let end = values.byte_offset();
        self.rest = self.rest.get(end..)?;
        Some(Some(text))
    }

    fn object(&mut self, depth: usize) -> Option<()> {
        let mut keys = HashSet::new();
        self.sequence('{', '}', |reader| {
            let key = match reader.string()? {
                Some(key) => key,
                None => {
                    let (key, _) = reader.rest.split_once(':')?;
                    reader.rest = &reader.rest[key.len()..];
                    key.trim().to_owned()
                }
            };
            if key.is_empty() || !keys.insert(key.clone()) {
                return None;
            }
            reader.push(&Value::from(key).to_string())?;
            reader.rest = reader.rest.trim_start().strip_prefix(':')?;
            reader.push(": ")?;
            reader.value(depth + 1)
        })
    }

    fn list(&mut self, depth: usize) -> Option<()> {
        self.sequence('[', ']', |reader| reader.value(depth + 1))
    }

    /// Items with commas between them.
    fn sequence(
        &mut self,
        open: char,
        close: char,
        mut item: impl FnMut(&mut Self) -> Option<()>,
    ) -> Option<()> {
        self.rest = self.rest.strip_prefix(open)?;
        self.json.push(open);
        self.rest = self.rest.trim_start();
        let mut first = true;
        while !self.rest.starts_with(close) {
            if !first {
                self.rest = self.rest.strip_prefix(',')?.trim_start();
                self.push(", ")?;
            }
            first = false;
            item(self)?;
            self.rest = self.rest.trim_start();
        }
        self.rest = &self.rest[close.len_utf8()..];
        self.json.push(close);
        Some(())
    }

    fn push(&mut self, json: &str) -> Option<()> {
        self.json.push_str(json);
        Some(())
    }
}
