//! Turns the query of an address into parameters that are taken one by one, with named errors.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::errors::ApiError;

/// How many objects a page may have.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Where nothing is said.
    pub usual: usize,
    /// At most.
    pub max: usize,
}

/// Of most lists, as OpenAI's.
pub const SIZES: Sizes = Sizes { usual: 20, max: 100 };

/// Parameters whose names are taken; what is left at the end was unknown.
#[derive(Clone, Debug, Default)]
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// All of them, in order.
    pub fn new(pairs: Vec<(String, String)>) -> Parameters {
        Parameters(pairs)
    }

    /// The last value of this name.
    pub fn text(&mut self, name: &str) -> Option<String> {
        self.texts(name).pop()
    }

    /// All values of this name, which lists write as `name[]`.
    pub fn texts(&mut self, name: &str) -> Vec<String> {
        let right = |found: &str| found.strip_suffix("[]").unwrap_or(found) == name;
        let taken = self.0.extract_if(.., |(found, _)| right(found));
        taken.map(|(_, value)| value).collect()
    }

    /// The pairs that stand as `name[key]=value`.
    pub fn pairs(&mut self, name: &str) -> Vec<(String, String)> {
        let key = |found: &str| {
            let inner = found.strip_prefix(name)?.strip_prefix('[')?.strip_suffix(']')?;
            Some(inner.to_owned())
        };
        let taken = self.0.extract_if(.., |(found, _)| key(found).is_some());
        taken.filter_map(|(found, value)| Some((key(&found)?, value))).collect()
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// 400 naming the parameter.
    pub fn boolean(&mut self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.text(name).as_deref() {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(wrong(name, other, "true or false")),
        }
    }

    /// A whole number within a range.
    ///
    /// # Errors
    /// 400 naming the parameter.
    pub fn integer(
        &mut self,
        name: &str,
        range: RangeInclusive<i64>,
    ) -> Result<Option<i64>, ApiError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match text.parse().ok().filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None if *range.end() == i64::MAX => {
                Err(wrong(name, &text, &format!("a number, {} at least", range.start())))
            }
            None => {
                let right = format!("a number between {} and {}", range.start(), range.end());
                Err(wrong(name, &text, &right))
            }
        }
    }

    /// 400 for the first parameter that nobody took.
    ///
    /// # Errors
    /// That one.
    pub fn none_left(self) -> Result<(), ApiError> {
        match self.0.first() {
            Some((name, _)) => Err(ApiError::unknown_parameter(name)),
            None => Ok(()),
        }
    }
}

fn wrong(name: &str, found: &str, right: &str) -> ApiError {
    let shown: String = found.chars().take(32).collect();
    let message = format!("Invalid value for '{name}': '{shown}'. Right would be {right}.");
    ApiError::invalid(name, message)
}

/// Which page of a list is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paging {
    /// The object before the page.
    pub after: Option<String>,
    /// Most objects of the page.
    pub limit: usize,
    /// Whether the latest come first.
    pub descending: bool,
}

impl Paging {
    /// Takes `after`, `limit` and `order`; `descending` where no order is asked for.
    ///
    /// # Errors
    /// 400 naming the parameter that is wrong.
    pub fn take(
        parameters: &mut Parameters,
        sizes: Sizes,
        descending: bool,
    ) -> Result<Paging, ApiError> {
        let paging = Paging::latest(parameters, sizes)?;
        let descending = match parameters.text("order").as_deref() {
            None => descending,
            Some("asc") => false,
            Some("desc") => true,
            Some(other) => return Err(wrong("order", other, "'asc' or 'desc'")),
        };
        Ok(Paging { descending, ..paging })
    }

    /// Takes `after` and `limit`, for lists that have no other order than the latest first.
    ///
    /// # Errors
    /// As [`Paging::take`].
    pub fn latest(parameters: &mut Parameters, sizes: Sizes) -> Result<Paging, ApiError> {
        let limit = parameters.integer("limit", 1..=sizes.max as i64)?;
        let limit = limit.map_or(sizes.usual, |limit| limit as usize);
        // An empty cursor is how some clients spell none.
        let after = parameters.text("after").filter(|after| !after.is_empty());
        Ok(Paging { after, limit, descending: true })
    }

    /// The page of a list that is in memory, the oldest first; `id` names its objects.
    ///
    /// # Errors
    /// 404 where `after` names none of them.
    pub fn of<T: Clone>(
        &self,
        all: &[T],
        id: impl Fn(&T) -> &str,
    ) -> Result<(Vec<T>, bool), ApiError> {
        let mut ordered: Vec<&T> = all.iter().collect();
        if self.descending {
            ordered.reverse();
        }
        let from = match &self.after {
            None => 0,
            Some(after) => {
                let found = ordered.iter().position(|object| id(object) == after);
                found.ok_or_else(|| no_cursor(after))? + 1
            }
        };
        let more = ordered.len() - from > self.limit;
        let page = ordered.into_iter().skip(from).take(self.limit);
        Ok((page.cloned().collect(), more))
    }
}

/// 404: `after` names nothing in the list.
pub fn no_cursor(after: &str) -> ApiError {
    let error = ApiError::not_found("object of this list", after);
    ApiError { param: Some("after".to_owned()), ..error }
}

/// A page as OpenAI writes it; each object has its `id`. `nothing` is the id of the first and the
/// last of an empty one: null for files and batches, an empty text for all else.
pub fn list(data: Vec<Value>, more: bool, nothing: Value) -> Value {
    let id = |object: Option<&Value>| object.map_or(&nothing, |it| &it["id"]).clone();
    let (first, last) = (id(data.first()), id(data.last()));
    let mut list = Map::new();
    list.insert("object".to_owned(), "list".into());
    list.insert("data".to_owned(), data.into());
    list.insert("first_id".to_owned(), first);
    list.insert("last_id".to_owned(), last);
    list.insert("has_more".to_owned(), more.into());
    list.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(pairs: &[(&str, &str)]) -> Parameters {
        let owned = pairs.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        Parameters::new(owned.collect())
    }

    #[test]
    fn pages_are_cut_where_they_are_asked_for() {
        let all = ["a", "b", "c"];
        let page = |pairs: &[(&str, &str)]| {
            let paging = Paging::take(&mut parameters(pairs), SIZES, false).unwrap();
            paging.of(&all, |id| id)
        };
        assert_eq!(page(&[]).unwrap(), (vec!["a", "b", "c"], false));
        assert_eq!(page(&[("limit", "2")]).unwrap(), (vec!["a", "b"], true));
        assert_eq!(page(&[("order", "desc"), ("after", "c")]).unwrap(), (vec!["b", "a"], false));
        assert_eq!(page(&[("after", "c")]).unwrap(), (vec![], false));
        assert_eq!(page(&[("after", "d")]).unwrap_err().status, 404);
    }

    #[test]
    fn odd_parameters_are_refused_by_name() {
        for (name, value) in [("limit", "0"), ("limit", "101"), ("limit", "x"), ("order", "up")] {
            let error = Paging::take(&mut parameters(&[(name, value)]), SIZES, true).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(name));
        }
        let mut others = parameters(&[("metadata[a]", "1"), ("include[]", "x"), ("include", "y")]);
        assert_eq!(others.pairs("metadata"), [("a".to_owned(), "1".to_owned())]);
        assert_eq!(others.texts("include"), ["x", "y"]);
        others.none_left().unwrap();
        assert!(parameters(&[("odd", "")]).none_left().is_err());
        let mut ordered = parameters(&[("after", "a"), ("order", "asc"), ("purpose", "batch")]);
        let paging = Paging::latest(&mut ordered, SIZES).unwrap();
        assert_eq!((paging.limit, paging.descending), (20, true));
        assert_eq!(ordered.none_left().unwrap_err().param.as_deref(), Some("order"));
    }
}
