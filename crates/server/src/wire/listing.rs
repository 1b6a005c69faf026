//! Turns the query of a list (`?after=…&limit=…&order=…`) into which page is asked for.

use axum::extract::Query;
use axum::http::Uri;
use serde::Serialize;

use crate::errors::ApiError;
use crate::limits::SMALL_TEXT_BYTES_MAX;

/// Which page of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Listing {
    /// The object before the page.
    pub after: Option<String>,
    /// Most objects.
    pub limit: usize,
    /// Whether the latest come first.
    pub descending: bool,
    /// Only objects of this purpose.
    pub purpose: Option<String>,
}

/// What a list may be asked for.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Objects of a page where nothing is said.
    pub usual: usize,
    /// Most objects of a page.
    pub max: usize,
    /// Whether it has `order` and `purpose`.
    pub files: bool,
}

impl Listing {
    /// Reads a request's query.
    ///
    /// # Errors
    /// 400 naming the parameter that is wrong or unknown.
    pub fn parse(uri: &Uri, rules: Rules) -> Result<Listing, ApiError> {
        let pairs: Query<Vec<(String, String)>> = Query::try_from_uri(uri)
            .map_err(|_| ApiError::bad_request("The request's query cannot be read."))?;
        let mut listing =
            Listing { after: None, limit: rules.usual, descending: true, purpose: None };
        for (name, value) in pairs.0 {
            if value.len() > SMALL_TEXT_BYTES_MAX {
                return Err(wrong(&name, &format!("at most {SMALL_TEXT_BYTES_MAX} bytes")));
            }
            match name.as_str() {
                "after" => listing.after = Some(value).filter(|id| !id.is_empty()),
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=rules.max).contains(limit));
                    let right = || format!("a number between 1 and {}", rules.max);
                    listing.limit = limit.ok_or_else(|| wrong(&name, &right()))?;
                }
                "order" if rules.files => {
                    listing.descending = match value.as_str() {
                        "asc" => false,
                        "desc" => true,
                        _ => return Err(wrong(&name, "'asc' or 'desc'")),
                    }
                }
                "purpose" if rules.files => listing.purpose = Some(value),
                _ => return Err(ApiError::unknown_parameter(&name)),
            }
        }
        Ok(listing)
    }
}

fn wrong(name: &str, right: &str) -> ApiError {
    ApiError::invalid(name, format!("Invalid value for '{name}'. Right would be {right}."))
}

/// A page of a list.
#[derive(Clone, Debug, Serialize)]
pub struct ListPage<T> {
    /// Always `list`.
    pub object: &'static str,
    /// The objects.
    pub data: Vec<T>,
    /// The name of the first.
    pub first_id: Option<String>,
    /// The name of the last.
    pub last_id: Option<String>,
    /// Whether more follow.
    pub has_more: bool,
}

impl<T> ListPage<T> {
    /// A page of objects, each with its name.
    pub fn of(objects: Vec<(String, T)>, has_more: bool) -> ListPage<T> {
        let first_id = objects.first().map(|(id, _)| id.clone());
        let last_id = objects.last().map(|(id, _)| id.clone());
        let data = objects.into_iter().map(|(_, object)| object).collect();
        ListPage { object: "list", data, first_id, last_id, has_more }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read_and_wrong_ones_refused_by_name() {
        let rules = Rules { usual: 20, max: 100, files: true };
        let parse =
            |query: &str| Listing::parse(&format!("/v1/files{query}").parse().unwrap(), rules);
        let all = parse("?after=file-1&limit=7&order=asc&purpose=fine-tune").unwrap();
        let right = Listing {
            after: Some("file-1".into()),
            limit: 7,
            descending: false,
            purpose: Some("fine-tune".into()),
        };
        assert_eq!(all, right);
        assert_eq!(parse("").unwrap().limit, 20);
        for (query, param) in [
            ("?limit=0", "limit"),
            ("?limit=101", "limit"),
            ("?limit=x", "limit"),
            ("?order=up", "order"),
            ("?color=red", "color"),
        ] {
            assert_eq!(parse(query).unwrap_err().param.as_deref(), Some(param), "{query}");
        }
        let batches = Rules { files: false, ..rules };
        let uri = "/v1/batches?purpose=batch".parse().unwrap();
        assert_eq!(Listing::parse(&uri, batches).unwrap_err().param.as_deref(), Some("purpose"));
    }
}
