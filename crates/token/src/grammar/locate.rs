//! A schema that the compiler refuses into the place and the keyword that it refuses.
//!
//! The compiler says what is wrong, but not where. A part that fails by itself is nearer to the
//! fault than what is around it, and a keyword without which it does not fail is the fault.

use std::collections::{HashMap, HashSet};

use llguidance::api::ParserLimits;
use llguidance::{GrammarBuilder, JsonCompileOptions};
use serde_json::{Map, Value};

use super::error::GrammarError;
use super::schema::{Judged, join};
use crate::limits::GRAMMAR_SEARCH_MAX;

/// The error of a schema that does not compile for the reason `message`.
pub(super) fn locate(judged: &Judged, options: &JsonCompileOptions, message: &str) -> GrammarError {
    let mut search = Search {
        definitions: &judged.definitions,
        origins: &judged.origins,
        options,
        visited: HashSet::new(),
        attempts: 0,
    };
    let (pointer, part, message) = search.descend(&judged.root, String::new(), message.to_owned());
    let keyword = search.keyword(part).unwrap_or("schema").to_owned();
    let reason = format!("cannot be enforced: {}", first_line(&message));
    match message.contains(UNSATISFIABLE) {
        true => GrammarError::Unsatisfiable(format!("{pointer}/{keyword}")),
        false => GrammarError::Keyword { pointer, keyword, reason },
    }
}

/// Keywords that are looked at last.
const GENERAL: &[&str] = &["type", "properties", "required", "items", "additionalProperties"];

const UNSATISFIABLE: &str = "nsatisfiable";

fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().chars().take(300).collect()
}

struct Search<'a> {
    definitions: &'a Map<String, Value>,
    origins: &'a HashMap<String, String>,
    options: &'a JsonCompileOptions,
    /// Definitions that were looked into: they may refer to themselves.
    visited: HashSet<String>,
    attempts: usize,
}

impl<'a> Search<'a> {
    /// The innermost part that fails by itself, its pointer and why it fails.
    fn descend(
        &mut self,
        part: &'a Value,
        pointer: String,
        message: String,
    ) -> (String, &'a Value, String) {
        for (pointer, part) in self.parts(part, &pointer) {
            // That one of several parts can have no value may be all right.
            if let Some(message) = self.fails(part)
                && !message.contains(UNSATISFIABLE)
            {
                return self.descend(part, pointer, message);
            }
        }
        (pointer, part, message)
    }

    /// The schemas directly within a schema, and those that it refers to.
    fn parts(&mut self, part: &'a Value, pointer: &str) -> Vec<(String, &'a Value)> {
        let mut parts = Vec::new();
        for (keyword, value) in part.as_object().into_iter().flatten() {
            let pointer = join(pointer, keyword);
            match (keyword.as_str(), value) {
                ("$ref", Value::String(target)) => {
                    let name = target.trim_start_matches("#/$defs/");
                    if self.visited.insert(name.to_owned())
                        && let Some(definition) = self.definitions.get(name)
                    {
                        let origin = self.origins.get(name).cloned().unwrap_or_default();
                        parts.push((origin, definition));
                    }
                }
                ("properties" | "patternProperties", Value::Object(members)) => {
                    parts.extend(members.iter().map(|(name, it)| (join(&pointer, name), it)));
                }
                ("allOf" | "anyOf" | "oneOf" | "prefixItems" | "items", Value::Array(list)) => {
                    let list = list.iter().enumerate();
                    parts.extend(list.map(|(at, it)| (format!("{pointer}/{at}"), it)));
                }
                ("items" | "additionalItems" | "additionalProperties", _) => {
                    parts.push((pointer, value));
                }
                _ => {}
            }
        }
        parts
    }

    /// Why a part fails by itself, if it does.
    fn fails(&mut self, part: &Value) -> Option<String> {
        self.attempts += 1;
        if self.attempts > GRAMMAR_SEARCH_MAX {
            return None;
        }
        let whole = Judged::whole(part.clone(), self.definitions);
        let builder = GrammarBuilder::new(None, ParserLimits::default());
        let result = self.options.json_to_llg_no_validate(builder, whole);
        result.err().map(|error| error.to_string())
    }

    /// The keyword without which a part does not fail.
    fn keyword(&mut self, part: &'a Value) -> Option<&'a str> {
        let fields = part.as_object()?;
        let innocent = |search: &mut Self, keyword: &str| {
            let mut without = fields.clone();
            without.shift_remove(keyword);
            search.fails(&Value::Object(without)).is_some()
        };
        // A schema may do without any of these, but they are seldom at fault.
        let general = |keyword: &&str| GENERAL.contains(keyword);
        let mut keywords: Vec<&str> = fields.keys().map(String::as_str).collect();
        keywords.sort_by_key(general);
        let guilty = keywords.iter().find(|keyword| !innocent(self, keyword));
        guilty.or(keywords.first()).copied()
    }
}
