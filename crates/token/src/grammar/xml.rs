//! Tools into the rules of calls that are tags, one for each parameter.
//!
//! Values that are no strings are JSON there, and strings stand as they are. So what a schema says
//! of a string has to be said of its bare text (`text`), and nothing of what ends a value may be
//! in it.

use serde_json::{Map, Value};

use super::calls::{Block, Judgement, bare_name, json_rule};
use super::error::GrammarError;
use super::lark::{ANY, Writer, quoted};
use super::schema::{Judged, join, refuse};
use super::text::{self, Texts};
use crate::answer::schema::Types;
use crate::answer::tagged::Tags;
use crate::answer::xml::XmlTags;
use crate::limits::TOOL_NAME_BYTES_MAX;

/// One block for each word that the family has for it; with `many`, several calls in it.
pub(super) fn blocks(
    writer: &mut Writer,
    tags: &'static Tags,
    tools: &[Judgement<'_>],
    many: bool,
) -> Result<Vec<Block>, GrammarError> {
    let mut ways = Vec::new();
    for tool in tools {
        let name = bare_name(tool)?;
        let XmlTags { call, call_end, name_end, .. } = &tags.xml;
        let parameters = parameters(writer, &tags.xml, tool).map_err(|error| tool.error(error))?;
        let open = writer.literal(&format!("{call}{name}{name_end}\n"));
        ways.push(format!("{open} {parameters} {}", writer.literal(call_end)));
    }
    writer.rule("call", &ways.join(" | "));
    // Each new line belongs to what is before it: taken together with what follows, it would have
    // to be known which of two tags that is.
    let more = if many { "(call \"\\n\")+" } else { "call \"\\n\"" };
    // A tag of the call itself opens a block only where a model has forgotten one.
    let words = tags.open.iter().filter(|open| **open != tags.xml.call).zip(tags.close);
    let block = |(open, close): (&&'static str, &&str)| {
        Block::new(open, format!("\"\\n\" {more} {}", writer.literal(close)))
    };
    Ok(words.map(block).collect())
}

/// Keywords of an object's schema that calls of this kind keep to.
const KEPT: &[&str] =
    &["type", "properties", "required", "additionalProperties", "minProperties", "maxProperties"];

/// A parameter that a schema describes.
pub(super) struct Described<'a> {
    pub(super) name: &'a str,
    /// As it was judged.
    pub(super) schema: &'a Value,
    pub(super) must: bool,
}

/// The parameters of a tool, in the order of its schema. Those that it does not describe cannot be
/// written: nothing would say of what type they are. `bare`: names that can stand without quotes.
pub(super) fn described<'a>(
    tool: &'a Judgement<'_>,
    bare: impl Fn(&str) -> bool,
) -> Result<Vec<Described<'a>>, GrammarError> {
    static EMPTY: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    let Judged { root, definitions, .. } = &tool.parameters;
    // `allOf` of an object and the schema itself.
    let schema = text::followed(&root["allOf"][1], definitions);
    // As the schema of no tool that could be called is `false`, what is no object allows all.
    let schema = schema.as_object().unwrap_or(&EMPTY);
    if let Some(keyword) = schema.keys().find(|keyword| !KEPT.contains(&keyword.as_str())) {
        return Err(refuse("", keyword, "cannot be enforced for parameters in tags"));
    }
    let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&EMPTY);
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .map_or_else(Vec::new, |names| names.iter().filter_map(Value::as_str).collect());
    let count = |keyword: &str| schema.get(keyword).and_then(Value::as_u64);
    if count("minProperties").is_some_and(|least| least > required.len() as u64) {
        let reason = "can be no more than there are 'required' parameters in tags";
        return Err(refuse("", "minProperties", reason));
    }
    if count("maxProperties").is_some_and(|most| most < properties.len() as u64) {
        let reason = "can be no less than there are 'properties' for parameters in tags";
        return Err(refuse("", "maxProperties", reason));
    }
    if let Some(name) = required.iter().find(|name| !properties.contains_key(**name)) {
        let reason = format!("'{name}' is not among the 'properties', as parameters in tags are");
        return Err(refuse("", "required", reason));
    }
    let mut described = Vec::new();
    for (name, schema) in properties {
        let must = required.contains(&name.as_str());
        let trimmed = name.trim() == name && !name.is_empty() && name.len() <= TOOL_NAME_BYTES_MAX;
        if !trimmed || name.contains('\n') || !bare(name) {
            match must {
                true => return Err(refuse("/properties", name, "cannot be the name of a tag")),
                false => continue,
            }
        }
        if *schema != Value::Bool(false) || must {
            described.push(Described { name, schema, must });
        }
    }
    Ok(described)
}

fn parameters(
    writer: &mut Writer,
    tags: &'static XmlTags,
    tool: &Judgement<'_>,
) -> Result<String, GrammarError> {
    let mut written = Vec::new();
    let described = described(tool, |name| !name.contains(['<', '>', '"']))?;
    for (at, Described { name, schema, must }) in described.into_iter().enumerate() {
        let rule = format!("p{}_{at}", tool.index);
        let value = Parameter { tags, tool, name, schema }.value(writer)?;
        writer.rule(&rule, &value);
        written.push(if must { rule } else { format!("{rule}?") });
    }
    Ok(written.join(" "))
}

/// A parameter of a tool.
struct Parameter<'a> {
    tags: &'static XmlTags,
    tool: &'a Judgement<'a>,
    name: &'a str,
    /// As it was judged.
    schema: &'a Value,
}

impl Parameter<'_> {
    /// The parameter with its tags and the end of its line.
    fn value(&self, writer: &mut Writer) -> Result<String, GrammarError> {
        let tool = self.tool.tool;
        let types = Types::of(tool.parameter(self.name), tool.parameters.as_ref());
        // Where a word says what a value is, all that can be is a string.
        if let Some(between) = self.tags.string {
            return match self.texts()? {
                Some(texts) => Ok(self.bare(writer, &texts, &format!("{between}true"))),
                None => Ok(self.json(writer, &format!("{between}false"))),
            };
        }
        if !types.reads_text() {
            return Ok(self.json(writer, ""));
        }
        match self.texts()? {
            Some(texts) if types.reads_null() => Ok(self.bare(writer, &texts.without_null(), "")),
            Some(texts) => Ok(self.bare(writer, &texts, "")),
            None => {
                let pointer = join("/properties", self.name);
                Err(refuse(&pointer, "type", "allows no string, which it is read as in tags"))
            }
        }
    }

    fn texts(&self) -> Result<Option<Texts>, GrammarError> {
        let pointer = join("/properties", self.name);
        Texts::of(self.schema, &self.tool.parameters.definitions, &pointer)
    }

    fn open(&self, attribute: &str) -> String {
        let XmlTags { parameter, name_end, lines, .. } = self.tags;
        let line = if *lines { "\n" } else { "" };
        format!("{parameter}{}{attribute}{name_end}{line}", self.name)
    }

    fn bare(&self, writer: &mut Writer, texts: &Texts, attribute: &str) -> String {
        let end = self.tags.parameter_end;
        let line = if self.tags.lines { "\n" } else { "" };
        let inside = texts.terminal().unwrap_or(ANY);
        let value = writer.until(inside, &[end], &format!("{line}{end}"));
        let mut ways = value;
        if texts.null {
            ways = format!(
                "({ways} | {} {})",
                quoted("null"),
                writer.literal(&format!("{line}{end}"))
            );
        }
        format!("{} {ways} \"\\n\"", writer.literal(&self.open(attribute)))
    }

    fn json(&self, writer: &mut Writer, attribute: &str) -> String {
        let end = self.tags.parameter_end;
        let line = if self.tags.lines { "\n" } else { "" };
        let whole = Judged::whole(self.schema.clone(), &self.tool.parameters.definitions);
        let open = writer.literal(&self.open(attribute));
        let close = writer.literal(&format!("{line}{end}"));
        let index = self.tool.index;
        let rule = format!("v{index}_{}", writer.count());
        writer.rule(&rule, &json_rule(whole));
        format!("{open} {rule} {close} \"\\n\"")
    }
}
