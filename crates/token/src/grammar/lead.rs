//! What an answer has before what a grammar holds it to, reasoning for one, into rules.

use super::lark::{ANY, Writer, without};
use crate::answer::harmony::{CHANNEL, CONSTRAIN, END, ENDS, MESSAGE, START};
use crate::{AnswerFormat, CallFormat, Opening};

/// White space that the format has around reasoning.
const BLANK: &str = r"/[ \t\r\n]{1,8}/";

/// The rules for what comes before an answer's own text or calls; empty where nothing does.
pub(super) fn reasoning(writer: &mut Writer, format: AnswerFormat, opening: Opening) -> String {
    if opening == Opening::Text {
        return String::new();
    }
    if format.calls == CallFormat::Harmony {
        let thought = writer.until(ANY, ENDS, END);
        let next = writer.literal(&format!("{START}assistant"));
        let open = writer.literal(&format!("{CHANNEL}analysis{MESSAGE}"));
        return match opening {
            Opening::Reasoning => format!("{thought} {next}"),
            _ => format!("({open} {thought} {next})?"),
        };
    }
    let Some((open, close)) = format.reasoning_tags() else { return String::new() };
    let (blank, thought) = (writer.terminal(BLANK), writer.until(ANY, &[close], close));
    match opening {
        Opening::Reasoning => format!("{thought} {blank}?"),
        _ => format!("({blank}? {} {thought} {blank}?)?", writer.literal(open)),
    }
}

/// The rules for what comes between that and the answer's text.
pub(super) fn text(writer: &Writer, format: AnswerFormat, opening: Opening) -> String {
    if format.calls != CallFormat::Harmony || opening == Opening::Text {
        return String::new();
    }
    let constrain = writer.literal(&format!(" {CONSTRAIN}json"));
    format!(
        "{} ({constrain})? {}",
        writer.literal(&format!("{CHANNEL}final")),
        writer.literal(MESSAGE)
    )
}

/// A last message in harmony, of any text.
pub(super) fn harmony_text(writer: &mut Writer) -> String {
    let head = writer.literal(&format!("{CHANNEL}final{MESSAGE}"));
    let inside = without(ANY, ENDS);
    format!("{head} {}", writer.terminal(&inside))
}

/// The header of a call in harmony.
pub(super) fn harmony_call(name: &str) -> String {
    format!("{CHANNEL}commentary to=functions.{name} {CONSTRAIN}json{MESSAGE}")
}
