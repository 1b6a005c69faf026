//! A call written as tags, `<function=…><parameter=…>…`, into one call with JSON arguments.

use hashbrown::HashSet;
use serde_json::Value;

use super::input::{Input, Part, Start, is_space};
use super::output::Output;
use super::schema;
use crate::limits::TOOL_NAME_BYTES_MAX;

/// How a family writes such calls.
#[derive(Debug)]
pub(crate) struct XmlTags {
    /// Before the name of a function.
    pub(crate) call: &'static str,
    pub(crate) call_end: &'static str,
    /// Before the name of a parameter.
    pub(crate) parameter: &'static str,
    pub(crate) parameter_end: &'static str,
    /// Behind either name.
    pub(crate) name_end: &'static str,
    /// Whether a value stands on lines of its own.
    pub(crate) lines: bool,
    /// What stands between a parameter's name and `true` or `false`: whether its value is a string.
    pub(crate) string: Option<&'static str>,
}

/// Reads one call, behind the tag before its name. All of it is held until it is complete.
#[derive(Clone, Debug)]
pub(super) struct XmlCall {
    tags: &'static XmlTags,
    place: Place,
    name: String,
    key: String,
    value: String,
    keys: HashSet<String>,
    /// The JSON so far, without the braces around it.
    arguments: String,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Name,
    Between,
    Key,
    Value,
}

impl XmlCall {
    pub(super) fn new(tags: &'static XmlTags) -> XmlCall {
        XmlCall {
            tags,
            place: Place::Name,
            name: String::new(),
            key: String::new(),
            value: String::new(),
            keys: HashSet::new(),
            arguments: String::new(),
        }
    }

    /// Up to the end of the call, all of which comes out at once.
    pub(super) fn step(&mut self, input: &mut Input, out: &mut Output) -> Part {
        let XmlTags { name_end, parameter, parameter_end, call_end, .. } = self.tags;
        loop {
            match self.place {
                Place::Name => {
                    match input.collect(name_end, &mut self.name, TOOL_NAME_BYTES_MAX, out) {
                        Part::Done => self.place = Place::Between,
                        part => return part,
                    }
                }
                Place::Between => {
                    out.hold(input.take_space());
                    match input.starts(&[parameter, call_end]) {
                        Start::Is(0) => {
                            out.hold(input.take(parameter.len()));
                            self.key.clear();
                            self.place = Place::Key;
                        }
                        Start::Is(_) => {
                            out.hold(input.take(call_end.len()));
                            return self.complete(out);
                        }
                        Start::Maybe => return Part::Wait,
                        Start::Not => return Part::Broken,
                    }
                }
                Place::Key => {
                    match input.collect(name_end, &mut self.key, TOOL_NAME_BYTES_MAX, out) {
                        Part::Done => self.place = Place::Value,
                        part => return part,
                    }
                }
                Place::Value => {
                    let (before, found) = input.scan(&[parameter_end]);
                    let text = input.take(before);
                    self.value.push_str(text);
                    out.hold(text);
                    if found.is_none() {
                        return Part::Wait;
                    }
                    out.hold(input.take(parameter_end.len()));
                    self.place = Place::Between;
                    if !self.add(out) {
                        return Part::Broken;
                    }
                }
            }
        }
    }

    /// Adds a parameter whose value is complete; false if it is there twice, or has no name.
    fn add(&mut self, out: &Output) -> bool {
        let value = std::mem::take(&mut self.value);
        let mut value = value.as_str();
        if self.tags.lines {
            value = value.strip_prefix('\n').unwrap_or(value);
            value = value.strip_suffix('\n').unwrap_or(value);
        }
        let (key, is_string) = match self.tags.string {
            None => (self.key.trim_matches(is_space), None),
            Some(between) => match self.key.rsplit_once(between) {
                Some((key, "true")) => (key, Some(true)),
                Some((key, "false")) => (key, Some(false)),
                _ => return false,
            },
        };
        if key.is_empty() || !self.keys.insert(key.to_owned()) {
            return false;
        }
        let tool = out.tool(self.name.trim_matches(is_space));
        let schema = tool.and_then(|tool| tool.parameter(key));
        let root = tool.and_then(|tool| tool.parameters.as_ref());
        let json = match is_string {
            Some(true) => schema::string(value),
            Some(false) => schema::untyped(value),
            None => schema::typed(value, schema, root),
        };
        let comma = if self.arguments.is_empty() { "" } else { ", " };
        self.arguments.push_str(&format!("{comma}{}: {json}", Value::from(key)));
        true
    }

    fn complete(&self, out: &mut Output) -> Part {
        if !out.start_call(self.name.trim_matches(is_space)) {
            return Part::Broken;
        }
        out.arguments(&format!("{{{}}}", self.arguments));
        out.end_call(true);
        Part::Done
    }
}
