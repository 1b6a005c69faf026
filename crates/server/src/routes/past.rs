//! Turns what a response continues (a response, a conversation, items by their names) into items.

use std::sync::Arc;

use myriad_store::{Kind, Query};

use super::documents::{body, is_id};
use crate::answers::run::End;
use crate::app::App;
use crate::errors::ApiError;
use crate::limits::{BODY_BYTES_MAX, CHAIN_MAX, MESSAGES_MAX};
use crate::storage::Owner;
use crate::wire::responses::items::{Item, Sent};
use crate::wire::responses::object::Kept;
use crate::wire::responses::{Keep, Past, ResponsesRequest};

/// What stands before a response.
#[derive(Default)]
pub struct Before {
    /// All items, the oldest first.
    pub items: Vec<Item>,
    /// Those that the response is kept with, as nothing else keeps them for as long.
    pub earlier: Vec<Item>,
    /// The response before those.
    pub base: Option<String>,
}

/// A response that is found again.
struct Link {
    id: String,
    kept: Kept,
    stored: bool,
    /// Of its JSON.
    bytes: usize,
}

/// Finds what a request continues.
///
/// # Errors
/// 404 naming what is not there, or not the owner's.
pub async fn load(
    app: &Arc<App>,
    owner: &Owner,
    request: &ResponsesRequest,
) -> Result<Before, ApiError> {
    match &request.past {
        Past::None => Ok(Before::default()),
        Past::Response(id) => chain(app, owner, id, request.keep).await,
        Past::Conversation(id) => {
            Ok(Before { items: conversation(app, owner, id).await?, ..Before::default() })
        }
    }
}

async fn chain(app: &Arc<App>, owner: &Owner, id: &str, keep: Keep) -> Result<Before, ApiError> {
    const PARAM: &str = "previous_response_id";
    let mut links: Vec<Link> = Vec::new();
    let (mut count, mut bytes) = (0, 0);
    let mut next = Some(id.to_owned());
    while let Some(id) = next.take() {
        let link = recall(app, owner, &id, PARAM).await?;
        count += link.kept.earlier.len() + link.kept.input.len() + link.kept.response.output.len();
        bytes += link.bytes;
        next = link.kept.base.clone();
        links.push(link);
        if links.len() > CHAIN_MAX {
            let message = format!("'{PARAM}' goes back over more than {CHAIN_MAX} responses.");
            return Err(ApiError::invalid(PARAM, message));
        }
        check_size(PARAM, count, bytes)?;
    }
    // What is in memory alone goes with a response that is to stay for longer.
    let fleeting = match keep {
        Keep::Stored => links.iter().take_while(|link| !link.stored).count(),
        Keep::Recent | Keep::Nowhere => 0,
    };
    let base = links.get(fleeting).map(|link| link.id.clone());
    let mut before = Before { base, ..Before::default() };
    for (at, link) in links.into_iter().enumerate().rev() {
        let Kept { response, input, earlier, .. } = link.kept;
        let items = earlier.into_iter().chain(input).chain(response.output);
        let from = before.items.len();
        before.items.extend(items);
        if at < fleeting {
            before.earlier.extend_from_slice(&before.items[from..]);
        }
    }
    Ok(before)
}

/// A dialogue has to be of a size that a request could have.
fn check_size(param: &str, items: usize, bytes: usize) -> Result<(), ApiError> {
    if items <= MESSAGES_MAX && bytes <= BODY_BYTES_MAX {
        return Ok(());
    }
    let message = format!(
        "What '{param}' continues has {items} items of {bytes} bytes so far. Right would be at \
         most {MESSAGES_MAX} of {BODY_BYTES_MAX}."
    );
    Err(ApiError::invalid(param, message))
}

/// A response of this owner's that has ended; `param` is what named it.
async fn recall(app: &App, owner: &Owner, id: &str, param: &str) -> Result<Link, ApiError> {
    let shown: String = id.chars().take(128).collect();
    let none = || {
        let error = ApiError::not_found("response", id);
        let message = format!("Response with id '{shown}' not found: '{param}' is of none here.");
        let code = Some("previous_response_not_found");
        ApiError { param: Some(param.to_owned()), code, message, ..error }
    };
    if let Some(run) = app.recent.find(owner, id) {
        match run.ended() {
            None => {
                let message = format!("The response '{shown}' of '{param}' has not ended yet.");
                return Err(ApiError::invalid(param, message));
            }
            Some(End::Here(text) | End::Failed(_, Some(text))) => {
                let kept = serde_json::from_str(&text).map_err(|_| ApiError::internal())?;
                let bytes = text.len();
                return Ok(Link { id: id.to_owned(), kept, stored: false, bytes });
            }
            Some(End::Gone | End::Failed(_, None)) => {}
        }
    }
    let storage = app.config.storage.as_ref().filter(|storage| storage.content && is_id(id));
    let Some(storage) = storage else { return Err(none()) };
    let found = storage.store.document(Kind::Response, owner.as_str(), id).await?;
    let document = found.ok_or_else(none)?;
    let (kept, bytes) = (body(&document)?, document.body.len());
    Ok(Link { id: id.to_owned(), kept, stored: true, bytes })
}

async fn conversation(app: &App, owner: &Owner, id: &str) -> Result<Vec<Item>, ApiError> {
    const PARAM: &str = "conversation";
    let storage = app.storage(PARAM)?;
    let none = || ApiError { param: Some(PARAM.to_owned()), ..ApiError::not_found(PARAM, id) };
    if !is_id(id) {
        return Err(none());
    }
    let found = storage.store.document(Kind::Conversation, owner.as_str(), id).await?;
    found.ok_or_else(none)?;
    let mut items: Vec<Item> = Vec::new();
    let mut bytes = 0;
    let mut after: Option<String> = None;
    loop {
        let query = Query::parts(Kind::Item, owner.as_str(), id);
        let query = Query { after: after.as_deref(), ..query };
        // Deleted in between.
        let Some(page) = storage.store.list(&query).await? else { return Err(none()) };
        for document in &page.documents {
            items.push(body(document)?);
            bytes += document.body.len();
        }
        check_size(PARAM, items.len(), bytes)?;
        after = page.documents.last().map(|last| last.id.clone());
        if !page.more {
            return Ok(items);
        }
    }
}

/// The items that were sent, with those that were only named put in their places.
///
/// # Errors
/// 404 naming the reference whose item is not there.
pub async fn resolve(
    app: &App,
    owner: &Owner,
    sent: Vec<Sent>,
    before: &[Item],
) -> Result<Vec<Item>, ApiError> {
    let mut items: Vec<Item> = Vec::with_capacity(sent.len());
    // Neighbours are mostly of the same response.
    let mut latest: Option<Link> = None;
    for sent in sent {
        let (id, place) = match sent {
            Sent::Item(item) => {
                items.push(item);
                continue;
            }
            Sent::Reference { id, place } => (id, place),
        };
        let known = before.iter().chain(&items).find(|item| item.id() == id);
        if let Some(item) = known.cloned() {
            items.push(item);
            continue;
        }
        let none = || {
            let error = ApiError::not_found("item", &id);
            ApiError { param: Some(place.clone()), ..error }
        };
        let response = response_of(&id).ok_or_else(none)?;
        if latest.as_ref().is_none_or(|link| link.id != response) {
            latest = Some(recall(app, owner, &response, &place).await?);
        }
        let output = latest.iter().flat_map(|link| &link.kept.response.output);
        let item = output.into_iter().find(|item| item.id() == id).cloned();
        items.push(item.ok_or_else(none)?);
    }
    Ok(items)
}

/// The response whose output has an item of this id: `msg_`, 32 digits of it, and a number.
fn response_of(id: &str) -> Option<String> {
    const DIGITS: usize = 32;
    let (_, digits) = id.split_once('_')?;
    let digits = digits.get(..DIGITS)?;
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| format!("resp_{digits}"))
}
