//! Calls between DeepSeek's special tokens into events: V3, R1 and V3.1.

use super::input::{Input, Part, Start, Step, is_space};
use super::json::{JsonScanner, scan_arguments};
use super::output::Output;
use crate::limits::TOOL_NAME_BYTES_MAX;

pub(crate) const CALLS: &str = "<｜tool▁calls▁begin｜>";
pub(crate) const CALLS_END: &str = "<｜tool▁calls▁end｜>";
pub(crate) const CALL: &str = "<｜tool▁call▁begin｜>";
pub(crate) const CALL_END: &str = "<｜tool▁call▁end｜>";
pub(crate) const SEPARATOR: &str = "<｜tool▁sep｜>";
const FENCE: &str = "```";

/// The place in an answer.
#[derive(Clone, Debug)]
pub(super) struct DeepSeek {
    place: Place,
    /// What stands before the separator: the name (V3.1), or a type (V3, R1).
    head: String,
    /// What stands between the separator and the arguments: nothing (V3.1), or the name and the
    /// beginning of a fenced block of JSON.
    fence: String,
}

#[derive(Clone, Debug)]
enum Place {
    Text,
    /// Before a call of a block.
    Block,
    Head,
    Fence,
    Arguments(JsonScanner),
    /// Behind the arguments.
    Tail,
}

impl DeepSeek {
    pub(super) fn new() -> DeepSeek {
        DeepSeek { place: Place::Text, head: String::new(), fence: String::new() }
    }

    pub(super) fn step(&mut self, input: &mut Input, out: &mut Output) -> Step {
        let part = match &mut self.place {
            Place::Text => return self.text(input, out),
            Place::Block => return self.block(input, out),
            Place::Tail => return self.tail(input),
            Place::Head => {
                match input.collect(SEPARATOR, &mut self.head, TOOL_NAME_BYTES_MAX, out) {
                    Part::Done => {
                        self.place = Place::Fence;
                        return Step::Again;
                    }
                    part => part,
                }
            }
            Place::Fence => match self.fence(input, out) {
                Part::Done => return Step::Again,
                part => part,
            },
            Place::Arguments(scanner) => scan_arguments(scanner, input, out),
        };
        match part {
            Part::Wait => return Step::Wait,
            Part::Done => self.place = Place::Tail,
            Part::Broken => {
                out.give_back();
                self.place = Place::Text;
            }
        }
        Step::Again
    }

    fn text(&mut self, input: &mut Input, out: &mut Output) -> Step {
        let (before, found) = input.scan(&[CALLS, CALL]);
        out.text(input.take(before));
        match found {
            None => return Step::Wait,
            Some(0) => {
                out.hold(input.take(CALLS.len()));
                self.place = Place::Block;
            }
            Some(_) => self.open(input, out),
        }
        Step::Again
    }

    fn block(&mut self, input: &mut Input, out: &mut Output) -> Step {
        let opened = out.holds();
        let space = input.take_space();
        if opened {
            out.hold(space);
        }
        match input.starts(&[CALL, CALLS_END]) {
            Start::Is(0) => self.open(input, out),
            Start::Maybe => return Step::Wait,
            Start::Is(_) if !opened => {
                input.take(CALLS_END.len());
                self.place = Place::Text;
            }
            Start::Is(_) | Start::Not => {
                out.give_back();
                self.place = Place::Text;
            }
        }
        Step::Again
    }

    fn open(&mut self, input: &mut Input, out: &mut Output) {
        out.hold(input.take(CALL.len()));
        self.head.clear();
        self.fence.clear();
        self.place = Place::Head;
    }

    /// Starts the call where its arguments begin.
    fn fence(&mut self, input: &mut Input, out: &mut Output) -> Part {
        match input.collect("{", &mut self.fence, TOOL_NAME_BYTES_MAX + 2 * FENCE.len(), out) {
            Part::Done => {}
            part => return part,
        }
        let fence = self.fence.trim_matches(is_space);
        let name = if fence.is_empty() {
            self.head.trim_matches(is_space)
        } else {
            let fence = fence.strip_suffix("json").unwrap_or(fence);
            fence.strip_suffix(FENCE).unwrap_or_default().trim_end_matches(is_space)
        };
        if !out.start_call(name) {
            return Part::Broken;
        }
        let mut scanner = JsonScanner::new();
        scanner.push('{');
        out.arguments("{");
        self.place = Place::Arguments(scanner);
        Part::Done
    }

    fn tail(&mut self, input: &mut Input) -> Step {
        input.take_space();
        match input.starts(&[CALL_END, FENCE]) {
            Start::Is(0) => {
                input.take(CALL_END.len());
                self.place = Place::Block;
            }
            Start::Is(_) => {
                input.take(FENCE.len());
            }
            Start::Maybe => return Step::Wait,
            Start::Not => self.place = Place::Text,
        }
        Step::Again
    }
}
