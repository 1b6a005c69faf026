//! Calls inside tags, `<tool_call>…</tool_call>`, as JSON or as further tags, into events: Hermes,
//! Qwen, Seed-OSS, and DeepSeek from V3.2 on.

use super::input::{Input, Part, Start, Step};
use super::object::CallObject;
use super::output::Output;
use super::xml::{XmlCall, XmlTags};

/// The tags of a family.
#[derive(Debug)]
pub(crate) struct Tags {
    /// What begins a block of calls. The tag of a call itself may be one of them: a model at times
    /// forgets the block around it.
    pub(crate) open: &'static [&'static str],
    pub(crate) close: &'static [&'static str],
    pub(crate) xml: XmlTags,
    /// Whether calls may be JSON.
    json: bool,
}

const FUNCTION: XmlTags = XmlTags {
    call: "<function=",
    call_end: "</function>",
    parameter: "<parameter=",
    parameter_end: "</parameter>",
    name_end: ">",
    lines: true,
    string: None,
};

/// Hermes, Qwen2.5, Qwen3 and many others. Which of both ways a model writes is seen in its calls.
pub(crate) const HERMES: Tags =
    Tags { open: &["<tool_call>"], close: &["</tool_call>"], xml: FUNCTION, json: true };

/// Qwen3-Coder, Qwen3.5.
pub(crate) const QWEN3_CODER: Tags = Tags {
    open: &["<tool_call>", FUNCTION.call],
    close: &["</tool_call>"],
    xml: FUNCTION,
    json: true,
};

pub(crate) const SEED_OSS: Tags = Tags {
    open: &["<seed:tool_call>"],
    close: &["</seed:tool_call>"],
    xml: XmlTags { lines: false, ..FUNCTION },
    json: false,
};

/// DeepSeek-V3.2, and V4, which has another word for the block.
pub(crate) const DSML: Tags = Tags {
    open: &["<｜DSML｜function_calls>", "<｜DSML｜tool_calls>"],
    close: &["</｜DSML｜function_calls>", "</｜DSML｜tool_calls>"],
    xml: XmlTags {
        call: "<｜DSML｜invoke name=\"",
        call_end: "</｜DSML｜invoke>",
        parameter: "<｜DSML｜parameter name=\"",
        parameter_end: "</｜DSML｜parameter>",
        name_end: "\">",
        lines: false,
        string: Some("\" string=\""),
    },
    json: false,
};

/// The place in an answer.
#[derive(Clone, Debug)]
pub(super) struct Tagged {
    tags: &'static Tags,
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    Text,
    /// Before a call of a block: behind its opening tag, or behind another call.
    Block,
    Json(CallObject),
    Xml(XmlCall),
}

impl Tagged {
    pub(super) fn new(tags: &'static Tags) -> Tagged {
        Tagged { tags, place: Place::Text }
    }

    pub(super) fn step(&mut self, input: &mut Input, out: &mut Output) -> Step {
        let part = match &mut self.place {
            Place::Text => return self.text(input, out),
            Place::Block => return self.block(input, out),
            Place::Json(call) => call.step(input, out),
            Place::Xml(call) => call.step(input, out),
        };
        match part {
            Part::Wait => return Step::Wait,
            Part::Broken if out.gives_back() => {
                out.give_back();
                self.place = Place::Text;
            }
            Part::Done | Part::Broken => self.place = Place::Block,
        }
        Step::Again
    }

    fn text(&mut self, input: &mut Input, out: &mut Output) -> Step {
        let (before, found) = input.scan(self.tags.open);
        out.text(input.take(before));
        let Some(found) = found else { return Step::Wait };
        let tag = self.tags.open[found];
        out.hold(input.take(tag.len()));
        self.place = if tag == self.tags.xml.call { self.xml() } else { Place::Block };
        Step::Again
    }

    fn block(&mut self, input: &mut Input, out: &mut Output) -> Step {
        let opened = out.holds();
        let space = input.take_space();
        if opened {
            out.hold(space);
        }
        let call = self.tags.xml.call;
        if input.starts(&[call]) == Start::Is(0) {
            out.hold(input.take(call.len()));
            self.place = self.xml();
        } else if self.tags.json && input.rest().starts_with('{') {
            self.place = Place::Json(CallObject::new(true));
        } else {
            let close = if opened { &[] } else { self.tags.close };
            match input.starts(close) {
                Start::Is(found) => {
                    input.take(close[found].len());
                }
                Start::Maybe => return Step::Wait,
                Start::Not if input.starts(&[call]) == Start::Maybe => return Step::Wait,
                Start::Not => out.give_back(),
            }
            self.place = Place::Text;
        }
        Step::Again
    }

    fn xml(&self) -> Place {
        Place::Xml(XmlCall::new(&self.tags.xml))
    }
}
