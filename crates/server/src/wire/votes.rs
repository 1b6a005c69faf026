//! Turns the JSON of votes between answers into outcomes, and standings into JSON.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::fields::{Fields, wrong_type};
use crate::errors::ApiError;
use crate::limits::{COMPARED_MAX, SMALL_TEXT_BYTES_MAX, VOTES_MAX};
use crate::rating::{FEW, Outcome, Standing};

/// Bytes of a comparison's name.
const NAME_BYTES_MAX: usize = 64;

/// What a person thought of the answers of several models to one question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Vote {
    /// The comparison's own name: a second vote on it takes the place of the first.
    pub comparison: String,
    /// The models, two to four.
    pub models: Vec<String>,
    /// `better`, `tie` or `bad`: one is better than the others, all are equal, none is of use.
    pub outcome: String,
    /// Which is better, where one is.
    pub best: Option<String>,
}

impl Vote {
    /// Reads a request's body.
    ///
    /// # Errors
    /// 400 naming the field that is wrong.
    pub fn parse(body: &[u8]) -> Result<Vote, ApiError> {
        Vote::take(Fields::of_body(body)?)
    }

    fn take(mut fields: Fields<'_>) -> Result<Vote, ApiError> {
        let (name, place) = (fields.name("comparison"), fields.name("models"));
        let (outcome_name, best_name) = (fields.name("outcome"), fields.name("best"));
        let comparison = fields.string("comparison", NAME_BYTES_MAX)?;
        let comparison = comparison.ok_or_else(|| ApiError::missing(&name))?;
        if comparison.is_empty() || !comparison.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            let message = format!("Invalid value for '{name}'. Right would be letters and digits.");
            return Err(ApiError::invalid(name, message));
        }
        let values = fields.list("models", COMPARED_MAX)?;
        let values = values.ok_or_else(|| ApiError::missing(&place))?;
        let models = values.into_iter().map(|value| model(value, &place));
        let models = models.collect::<Result<Vec<String>, _>>()?;
        let twice = models.iter().enumerate().any(|(at, model)| models[..at].contains(model));
        if models.len() < 2 || twice {
            let message = format!("'{place}' should be two to {COMPARED_MAX} different models.");
            return Err(ApiError::invalid(place, message));
        }
        let outcome = fields.string("outcome", SMALL_TEXT_BYTES_MAX)?;
        let outcome = outcome.ok_or_else(|| ApiError::missing(&outcome_name))?;
        if !["better", "tie", "bad"].contains(&outcome.as_str()) {
            let message =
                format!("Invalid value for '{outcome_name}'. Right would be better, tie or bad.");
            return Err(ApiError::invalid(outcome_name, message));
        }
        let best = fields.string("best", SMALL_TEXT_BYTES_MAX)?;
        let right = match &best {
            Some(best) => outcome == "better" && models.contains(best),
            None => outcome != "better",
        };
        if !right {
            let message =
                format!("'{best_name}' should be one of '{place}' where one is better, else null.");
            return Err(ApiError::invalid(best_name, message));
        }
        fields.none_left()?;
        Ok(Vote { comparison, models, outcome, best })
    }

    /// As ratings count it.
    pub fn outcome(&self) -> Outcome {
        let best = self.models.iter().position(|model| Some(model) == self.best.as_ref());
        match (best, self.outcome.as_str()) {
            (Some(at), _) => Outcome::Better(at),
            (None, "tie") => Outcome::Tie,
            (None, _) => Outcome::Bad,
        }
    }
}

fn model(value: &RawValue, place: &str) -> Result<String, ApiError> {
    let model: Option<String> = serde_json::from_str(value.get()).ok();
    let right = |model: &String| (1..=SMALL_TEXT_BYTES_MAX).contains(&model.len());
    model.filter(right).ok_or_else(|| wrong_type(place, "names of models", value))
}

/// Reads votes that are only counted: `{"votes": […]}`.
///
/// # Errors
/// 400 naming the field that is wrong.
pub fn take_votes(body: &[u8]) -> Result<Vec<Vote>, ApiError> {
    let mut fields = Fields::of_body(body)?;
    let values = fields.list("votes", VOTES_MAX)?.ok_or_else(|| ApiError::missing("votes"))?;
    fields.none_left()?;
    let votes = values.into_iter().enumerate();
    votes.map(|(at, value)| Vote::take(Fields::of_value(value, format!("votes[{at}]"))?)).collect()
}

/// All models that were compared, the best first.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Leaderboard {
    /// Votes that were counted.
    pub votes: usize,
    /// The models.
    pub models: Vec<RatedModel>,
}

/// Where a model stands.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RatedModel {
    /// Its name.
    pub model: String,
    /// How often it was compared.
    pub comparisons: u64,
    /// How often it was the best.
    pub wins: u64,
    /// How often all were equal.
    pub ties: u64,
    /// How often another was the best.
    pub losses: u64,
    /// How often none was of use: these are not rated.
    pub bad: u64,
    /// Bradley and Terry's, on Elo's scale around 1000.
    pub rating: f64,
    /// The 95 % interval is the rating, this much less and this much more.
    pub error: f64,
    /// Whether there are too few comparisons for the rating to say much.
    pub few: bool,
}

impl From<Standing> for RatedModel {
    fn from(standing: Standing) -> RatedModel {
        let Standing { model, comparisons, wins, ties, losses, bad, rating, error } = standing;
        let few = comparisons < FEW;
        RatedModel { model, comparisons, wins, ties, losses, bad, rating, error, few }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn votes_say_which_field_is_wrong() {
        let right = json!({ "comparison": "a1", "models": ["x", "y"], "outcome": "better",
                            "best": "y" });
        let parse = |value: &Value| Vote::parse(value.to_string().as_bytes());
        assert_eq!(parse(&right).unwrap().outcome(), Outcome::Better(1));
        for (field, value) in [
            ("comparison", json!(null)),
            ("comparison", json!("")),
            ("comparison", json!("a/b")),
            ("models", json!(["x"])),
            ("models", json!(["x", "x"])),
            ("models", json!(["x", ""])),
            ("models", json!(["a", "b", "c", "d", "e"])),
            ("outcome", json!("worse")),
            ("outcome", json!(null)),
            ("best", json!(null)),
            ("best", json!("z")),
            ("more", json!(1)),
        ] {
            let mut wrong = right.clone();
            wrong[field] = value;
            assert_eq!(parse(&wrong).unwrap_err().param.as_deref(), Some(field), "{wrong}");
        }
        let mut tie = right.clone();
        tie["outcome"] = json!("tie");
        assert_eq!(parse(&tie).unwrap_err().param.as_deref(), Some("best"));
        tie["best"] = Value::Null;
        assert_eq!(parse(&tie).unwrap().outcome(), Outcome::Tie);
    }
}
