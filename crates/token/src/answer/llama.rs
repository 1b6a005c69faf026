//! Calls that are the whole answer, `{"name": …, "parameters": {…}}`, into events: Llama 3.

use super::input::{Input, Part, Start, Step};
use super::object::CallObject;
use super::output::Output;

/// Before a call, or before code for one of the tools that Llama brings with it; the latter is
/// text here.
pub(crate) const PYTHON: &str = "<|python_tag|>";

/// The place in an answer.
#[derive(Clone, Debug)]
pub(super) struct Llama {
    place: Place,
    /// Whether the tag was there, so that what follows is a call for sure.
    marked: bool,
}

#[derive(Clone, Debug)]
enum Place {
    Text,
    /// Where a call may begin: at the beginning, behind the tag, behind another call.
    Before,
    Call(CallObject),
}

impl Llama {
    pub(super) fn new() -> Llama {
        Llama { place: Place::Before, marked: false }
    }

    pub(super) fn step(&mut self, input: &mut Input, out: &mut Output) -> Step {
        match &mut self.place {
            Place::Text => {
                let (before, found) = input.scan(&[PYTHON]);
                out.text(input.take(before));
                if found.is_none() {
                    return Step::Wait;
                }
                self.tag(input, out);
            }
            Place::Before => return self.before(input, out),
            Place::Call(call) => match call.step(input, out) {
                Part::Wait => return Step::Wait,
                Part::Broken if out.gives_back() => self.is_text(out),
                Part::Done | Part::Broken => (self.place, self.marked) = (Place::Before, false),
            },
        }
        Step::Again
    }

    fn before(&mut self, input: &mut Input, out: &mut Output) -> Step {
        out.hold(input.take_space());
        match input.starts(&["{", PYTHON, ";"]) {
            Start::Is(0) => self.place = Place::Call(CallObject::new(self.marked)),
            Start::Is(1) if !self.marked => self.tag(input, out),
            // Between two calls.
            Start::Is(2) if !self.marked => out.hold(input.take(1)),
            Start::Maybe => return Step::Wait,
            Start::Is(_) | Start::Not => self.is_text(out),
        }
        Step::Again
    }

    fn tag(&mut self, input: &mut Input, out: &mut Output) {
        out.hold(input.take(PYTHON.len()));
        (self.place, self.marked) = (Place::Before, true);
    }

    fn is_text(&mut self, out: &mut Output) {
        out.give_back();
        (self.place, self.marked) = (Place::Text, false);
    }
}
