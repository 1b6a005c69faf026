//! Tools into the rules of calls that are `call:NAME{key:value}`, with marks around strings.
//!
//! Strings between marks stand as they are, so what a schema says of them is said of bare text
//! (`text`); all other values are JSON there, which the reader takes, too.

use super::calls::{Block, Judgement, bare_name, json_rule};
use super::error::GrammarError;
use super::lark::{ANY, Writer};
use super::schema::{Judged, join};
use super::text::Texts;
use super::xml::{Described, described};
use crate::answer::gemma::{CALL, Marks};

/// A call of one of the tools.
pub(super) fn block(
    writer: &mut Writer,
    marks: &'static Marks,
    tools: &[Judgement<'_>],
) -> Result<Block, GrammarError> {
    let mut ways = Vec::new();
    for tool in tools {
        let open = writer.literal(&format!("{CALL}{}{{", bare_name(tool)?));
        let parameters = parameters(writer, marks, tool).map_err(|error| tool.error(error))?;
        ways.push(format!("{open} {parameters}"));
    }
    let close = writer.literal(&format!("}}{}", marks.close));
    Ok(Block::new(marks.open, format!("({}) {close}", ways.join(" | "))))
}

/// The parameters in the order of the schema, with commas between those that are there.
fn parameters(
    writer: &mut Writer,
    marks: &'static Marks,
    tool: &Judgement<'_>,
) -> Result<String, GrammarError> {
    let bare = |name: &str| !name.contains([':', '{', '}', '[', ']', ',', '"', '<', '>']);
    let parameters = described(tool, bare)?;
    let at = |which: char, place: usize| format!("{which}{}_{place}", tool.index);
    // What follows the last one: nothing.
    for which in ['f', 'm'] {
        writer.rule(&at(which, parameters.len()), "\"\"");
    }
    for (place, parameter) in parameters.iter().enumerate().rev() {
        let value = value(writer, marks, tool, parameter)?;
        let rule = at('p', place);
        writer.rule(&rule, &format!("{} {value}", writer.literal(&format!("{}:", parameter.name))));
        let more = at('m', place + 1);
        for (which, comma) in [('f', ""), ('m', "\",\" ")] {
            let without = match parameter.must {
                true => String::new(),
                false => format!(" | {}", at(which, place + 1)),
            };
            writer.rule(&at(which, place), &format!("{comma}{rule} {more}{without}"));
        }
    }
    Ok(at('f', 0))
}

fn value(
    writer: &mut Writer,
    marks: &'static Marks,
    tool: &Judgement<'_>,
    parameter: &Described<'_>,
) -> Result<String, GrammarError> {
    let definitions = &tool.parameters.definitions;
    let pointer = join("/properties", parameter.name);
    let Some(texts) = Texts::of(parameter.schema, definitions, &pointer)? else {
        let rule = format!("v{}_{}", tool.index, writer.count());
        writer.rule(&rule, &json_rule(Judged::whole(parameter.schema.clone(), definitions)));
        return Ok(rule);
    };
    let inside = texts.terminal().unwrap_or(ANY);
    let quote = marks.quote;
    // Of a text that ended the call, nobody would know that it goes on.
    let text = writer.until(inside, &[quote], quote);
    let null = if texts.null { " | \"null\"" } else { "" };
    Ok(format!("({} {text}{null})", writer.literal(quote)))
}
