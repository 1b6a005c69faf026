//! Turns the ways to ask for more or less reasoning into one wish, and a wish into what a template
//! knows and a bound that holds.

use serde_json::{Map, Value};

use super::fields::Fields;
use crate::errors::ApiError;
use crate::limits::SMALL_TEXT_BYTES_MAX;
use crate::runtime::Manners;

/// How much a model should think before it answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Thinking {
    /// `reasoning_effort`, OpenAI's.
    pub effort: Option<String>,
    /// `enable_thinking`, as Model Studio and vLLM have it.
    pub enabled: Option<bool>,
    /// `thinking_budget`, in tokens.
    pub budget: Option<i64>,
    /// Whether effort and budget are no error where the model does not reason.
    pub hints: bool,
    /// The field that errors name instead of `enable_thinking`, where it was another one.
    pub asked_as: &'static str,
    /// The field that errors name instead of `reasoning_effort`, where it was another one.
    pub effort_asked_as: &'static str,
}

const EFFORT: &str = "reasoning_effort";
const ENABLED: &str = "enable_thinking";
const BUDGET: &str = "thinking_budget";
const EFFORTS: [&str; 7] = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];

/// Tokens that stand for an effort where the template knows none. Seed-OSS was trained on multiples
/// of 512.
pub(crate) fn budget_of(effort: &str) -> i64 {
    match effort {
        "none" => 0,
        "minimal" => 512,
        "low" => 1024,
        "medium" => 4096,
        "high" => 8192,
        _ => 16384,
    }
}

impl Thinking {
    /// Takes what is said of reasoning out of a request.
    ///
    /// # Errors
    /// 400 naming the field that is wrong.
    pub fn take(fields: &mut Fields<'_>) -> Result<Thinking, ApiError> {
        Ok(Thinking {
            effort: take_effort(fields, EFFORT)?,
            enabled: fields.boolean(ENABLED)?,
            budget: fields.integer(BUDGET, 0..=i64::from(i32::MAX))?,
            ..Thinking::default()
        })
    }

    /// The wish in the template's own variables.
    ///
    /// # Errors
    /// 400 naming the field that the template has nothing for.
    pub fn variables(&self, manners: &Manners) -> Result<Map<String, Value>, ApiError> {
        let mut variables = Map::new();
        if let Some(effort) = &self.effort {
            let mut known = manners.effort || manners.switch.is_some() || manners.reasons();
            // Nothing to turn off.
            known |= effort == "none";
            let message = "this model does not reason";
            let place = if self.effort_asked_as.is_empty() { EFFORT } else { self.effort_asked_as };
            check(known || self.hints, place, message)?;
            if manners.effort {
                let word = match effort.as_str() {
                    "none" | "minimal" => "low",
                    "xhigh" => "high",
                    other => other,
                };
                variables.insert(EFFORT.to_owned(), word.into());
            }
            if manners.budget && !manners.effort {
                variables.insert(BUDGET.to_owned(), budget_of(effort).into());
            }
            if let Some(switch) = manners.switch {
                variables.insert(switch.to_owned(), (effort != "none").into());
            }
        }
        if let Some(enabled) = self.enabled {
            // A budget of nothing is as good as a switch; what is so anyway needs none.
            let off_by_budget = manners.budget && !enabled;
            let known = manners.switch.is_some() || !enabled || manners.reasons();
            let message = "this model does not reason";
            let place = if self.asked_as.is_empty() { ENABLED } else { self.asked_as };
            check(known, place, message)?;
            match manners.switch {
                Some(switch) => variables.insert(switch.to_owned(), enabled.into()),
                None if off_by_budget => variables.insert(BUDGET.to_owned(), 0.into()),
                None => None,
            };
        }
        if let Some(budget) = self.budget {
            check(manners.reasons() || self.hints, BUDGET, "this model does not reason")?;
            if manners.budget {
                variables.insert(BUDGET.to_owned(), budget.into());
            }
        }
        Ok(variables)
    }

    /// Tokens of reasoning after which it is ended, whatever the model would do; none for as many
    /// as it takes.
    pub fn bound(&self, manners: &Manners) -> Option<usize> {
        if self.enabled == Some(false) {
            return Some(0);
        }
        let budget = self.budget.or_else(|| {
            // Efforts without a bound: those say that time does not matter.
            let effort = self.effort.as_deref().filter(|it| !["xhigh", "max"].contains(it));
            effort.filter(|effort| !manners.effort || *effort == "none").map(budget_of)
        });
        budget.and_then(|budget| usize::try_from(budget).ok())
    }
}

/// An effort, by the field that it has.
///
/// # Errors
/// 400 naming the field where it is none.
pub fn take_effort(fields: &mut Fields<'_>, field: &str) -> Result<Option<String>, ApiError> {
    let effort = fields.string(field, SMALL_TEXT_BYTES_MAX)?;
    if let Some(effort) = effort.as_deref().filter(|effort| !EFFORTS.contains(effort)) {
        let (name, right) = (fields.name(field), EFFORTS.join(", "));
        let shown: String = effort.chars().take(32).collect();
        let message =
            format!("Invalid value for '{name}': '{shown}'. Right would be one of: {right}.");
        return Err(ApiError::invalid(name, message));
    }
    Ok(effort)
}

fn check(known: bool, place: &str, why: &str) -> Result<(), ApiError> {
    let message = || format!("'{place}' cannot be honoured: {why}.");
    if known { Ok(()) } else { Err(ApiError::unsupported(place, message())) }
}
