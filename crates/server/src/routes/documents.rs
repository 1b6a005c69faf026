//! Turns ids and cursors that strangers sent into documents of theirs, and pages of them.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequestParts, Path, Query as UrlQuery};
use axum::http::request::Parts;
use myriad_store::{Document, Kind, Query};
use serde::de::DeserializeOwned;

use crate::errors::ApiError;
use crate::limits::ID_BYTES_MAX;
use crate::storage::{Owner, Storage};
use crate::wire::query::{Paging, Parameters, no_cursor};

/// What stands in a path, with errors in our own shape.
pub struct Ids<T>(pub T);

impl<S, T> FromRequestParts<S> for Ids<T>
where
    S: Send + Sync,
    Path<T>: FromRequestParts<S, Rejection = PathRejection>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(ids)) => Ok(Ids(ids)),
            Err(_) => Err(ApiError::bad_request("The path is not UTF-8 behind its escapes.")),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let query: Result<UrlQuery<Vec<(String, String)>>, QueryRejection> =
            UrlQuery::from_request_parts(parts, state).await;
        match query {
            Ok(UrlQuery(pairs)) => Ok(Parameters::new(pairs)),
            Err(_) => Err(ApiError::bad_request("The query of the address cannot be read.")),
        }
    }
}

/// The document of this name.
///
/// # Errors
/// 404 saying `what` there is none of.
pub async fn find(
    storage: &Storage,
    kind: Kind,
    owner: &Owner,
    id: &str,
    what: &str,
) -> Result<Document, ApiError> {
    let none = || ApiError::not_found(what, id);
    if !is_id(id) {
        return Err(none());
    }
    storage.store.document(kind, owner.as_str(), id).await?.ok_or_else(none)
}

/// A page of documents, and whether more follow; `after` is a document's id.
///
/// # Errors
/// 404 where `after` names none of the list.
pub async fn page(
    storage: &Storage,
    query: Query<'_>,
    paging: &Paging,
) -> Result<(Vec<Document>, bool), ApiError> {
    let after = paging.after.as_deref();
    let none = || no_cursor(after.unwrap_or_default());
    if !after.is_none_or(is_id) {
        return Err(none());
    }
    let (limit, descending) = (paging.limit, paging.descending);
    let query = Query { after, limit, descending, ..query };
    let page = storage.store.list(&query).await?.ok_or_else(none)?;
    Ok((page.documents, page.more))
}

/// Whether a text can be the id of a document at all: what cannot never reaches the database.
pub fn is_id(text: &str) -> bool {
    let right = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    (1..=ID_BYTES_MAX).contains(&text.len()) && text.bytes().all(right)
}

/// What a document's body says.
///
/// # Errors
/// 500 where it is none that this program writes.
pub fn body<T: DeserializeOwned>(document: &Document) -> Result<T, ApiError> {
    serde_json::from_str(&document.body).map_err(|error| {
        tracing::error!(%error, kind = document.kind.name(), "a body cannot be read");
        ApiError::internal()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_ids_are_none() {
        assert!(is_id("chatcmpl-0a_b.c"));
        for odd in ["", "a b", "a/b", "é", "a\0", "'", &"a".repeat(ID_BYTES_MAX + 1)] {
            assert!(!is_id(odd), "{odd}");
        }
    }
}
