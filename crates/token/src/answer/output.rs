//! What a parser has found into events, and what may still become a call into text again.

use super::input::is_space;
use super::{AnswerEvent, AnswerTool};
use crate::limits::{TOOL_CALLS_MAX, TOOL_NAME_BYTES_MAX};

/// Which kind of text an answer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Reasoning,
    Text,
}

/// Events to be handed out, and what is held back.
#[derive(Clone, Debug, Default)]
pub(super) struct Output {
    events: Vec<AnswerEvent>,
    tools: Vec<AnswerTool>,
    /// Calls that were started.
    calls: usize,
    /// Whether the last one has not ended.
    open: bool,
    /// The beginning of what may become a call, word for word.
    held: String,
    /// White space that is part of the text only if text follows.
    space: String,
    /// Whether white space before calls is the format's and not the text's.
    holds_space: bool,
    /// Whether white space that comes next is the format's.
    trims: bool,
    /// Whether a message begins, and of which kinds there were messages.
    begins: bool,
    said: [bool; 2],
}

impl Output {
    pub(super) fn new(tools: Vec<AnswerTool>, holds_space: bool) -> Output {
        Output { tools, holds_space, ..Output::default() }
    }

    /// All events since the last time.
    pub(super) fn take_events(&mut self) -> Vec<AnswerEvent> {
        std::mem::take(&mut self.events)
    }

    /// Bytes that are held back.
    pub(super) fn undecided(&self) -> usize {
        self.held.len() + self.space.len()
    }

    /// The definition of a tool.
    pub(super) fn tool(&self, name: &str) -> Option<&AnswerTool> {
        self.tools.iter().find(|tool| tool.name == name)
    }

    pub(super) fn has_tools(&self) -> bool {
        !self.tools.is_empty()
    }

    pub(super) fn text(&mut self, text: &str) {
        self.say(Kind::Text, text, self.holds_space);
    }

    pub(super) fn reasoning(&mut self, text: &str) {
        self.say(Kind::Reasoning, text, true);
    }

    /// Text as it is, with nothing held back.
    pub(super) fn verbatim(&mut self, kind: Kind, text: &str) {
        self.say(kind, text, false);
    }

    /// Reasoning begins or ends: white space around it belongs to the format.
    pub(super) fn frame(&mut self) {
        self.space.clear();
        self.held.clear();
        self.trims = true;
    }

    /// A message begins: there is a blank line between it and an earlier one of its kind.
    pub(super) fn begin_message(&mut self) {
        self.held.clear();
        self.begins = true;
    }

    /// Keeps text that may be part of a call.
    pub(super) fn hold(&mut self, text: &str) {
        self.held.push_str(text);
    }

    pub(super) fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// Starts a call, whose text is no longer held. False, with nothing done, for a name that is
    /// empty, too long or spread over lines, and where there were too many calls already.
    pub(super) fn start_call(&mut self, name: &str) -> bool {
        let named = !name.is_empty() && !name.contains(char::is_control);
        if !named || name.len() > TOOL_NAME_BYTES_MAX || self.calls == TOOL_CALLS_MAX {
            return false;
        }
        self.held.clear();
        self.space.clear();
        self.open = true;
        self.events.push(AnswerEvent::ToolCallStart { index: self.calls, name: name.to_owned() });
        self.calls += 1;
        true
    }

    /// A fragment of the arguments of the call that was started last.
    pub(super) fn arguments(&mut self, fragment: &str) {
        if fragment.is_empty() {
            return;
        }
        if let Some(AnswerEvent::ToolCallArguments { json, .. }) = self.events.last_mut() {
            json.push_str(fragment);
            return;
        }
        let (index, json) = (self.calls - 1, fragment.to_owned());
        self.events.push(AnswerEvent::ToolCallArguments { index, json });
    }

    pub(super) fn end_call(&mut self, complete: bool) {
        self.open = false;
        self.trims = self.holds_space;
        self.events.push(AnswerEvent::ToolCallEnd { index: self.calls - 1, complete });
    }

    /// Whether a call that does not go on would leave something behind: it is open, or held.
    pub(super) fn gives_back(&self) -> bool {
        self.open || self.holds()
    }

    /// What may have been a call is none: a started one ends, what was held is text.
    pub(super) fn give_back(&mut self) {
        if self.open {
            self.end_call(false);
            self.trims = false;
        }
        let held = std::mem::take(&mut self.held);
        self.text(&held);
    }

    /// The end of the answer: `rest` follows, and all white space turns out to be its own.
    pub(super) fn finish(&mut self, kind: Kind, rest: &str) {
        self.give_back();
        self.say(kind, rest, false);
        self.flush_space(kind);
    }

    fn say(&mut self, kind: Kind, text: &str, holds_space: bool) {
        let text = if self.trims { text.trim_start_matches(is_space) } else { text };
        if text.is_empty() {
            return;
        }
        self.trims = false;
        let body = if holds_space { text.trim_end_matches(is_space) } else { text };
        if !body.is_empty() {
            self.flush_space(kind);
            self.emit(kind, body);
        }
        self.space.push_str(&text[body.len()..]);
    }

    fn flush_space(&mut self, kind: Kind) {
        let space = std::mem::take(&mut self.space);
        if !space.is_empty() {
            self.emit(kind, &space);
        }
    }

    fn emit(&mut self, kind: Kind, text: &str) {
        let said = std::mem::replace(&mut self.said[kind as usize], true);
        let blank = if std::mem::take(&mut self.begins) && said { "\n\n" } else { "" };
        match (kind, self.events.last_mut()) {
            (Kind::Reasoning, Some(AnswerEvent::Reasoning(last)))
            | (Kind::Text, Some(AnswerEvent::Text(last))) => {
                last.push_str(blank);
                last.push_str(text);
            }
            (Kind::Reasoning, _) => {
                self.events.push(AnswerEvent::Reasoning(format!("{blank}{text}")))
            }
            (Kind::Text, _) => self.events.push(AnswerEvent::Text(format!("{blank}{text}"))),
        }
    }
}
