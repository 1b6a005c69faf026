//! Turns `/app/usage` into what was used in the last days: by day, account, API key and model.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use myriad_store::{By, Span};

use crate::app::{App, timestamp_of};
use crate::errors::ApiError;
use crate::ledger::today;
use crate::limits::USAGE_DAYS_MAX;
use crate::people::Caller;
use crate::storage::Storage;
use crate::wire::app_data::{UsageObject, UsageSum};
use crate::wire::query::Parameters;

/// Days where nothing is said.
const DAYS: i64 = 30;

/// One's own; with `all=true` an administrator sees everyone's.
pub async fn show(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    parameters: Parameters,
) -> Result<Json<UsageObject>, ApiError> {
    let asked = Asked::take(&caller, parameters)?;
    let (storage, span) = (app.storage("usage")?, asked.span(&caller));
    // What was used a moment ago is among it.
    app.ledger.flush(storage).await?;
    let names = Names::of(storage, &caller, asked.all).await?;
    let sums = async |by| storage.store.usage(span, by).await;
    let days = sums(By::Day).await?.into_iter();
    let date_of = |name: &str| name.parse().map_or_else(|_| name.to_owned(), date);
    let (owners, keys) = (sums(By::Owner).await?.into_iter(), sums(By::Key).await?.into_iter());
    let models = sums(By::Model).await?.into_iter();
    Ok(Json(UsageObject {
        object: "usage",
        from: date(span.from),
        to: date(span.to),
        days: days.map(|(name, used)| UsageSum::new(date_of(&name), None, used)).collect(),
        owners: owners
            .map(|(name, used)| UsageSum::new(name.clone(), names.owner(&name), used))
            .collect(),
        keys: keys
            .map(|(name, used)| UsageSum::new(name.clone(), names.key(&name), used))
            .collect(),
        models: models.map(|(name, used)| UsageSum::new(name, None, used)).collect(),
    }))
}

/// The same as rows for a spreadsheet: one for each day, account, key and model.
pub async fn export(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let asked = Asked::take(&caller, parameters)?;
    let storage = app.storage("usage")?;
    app.ledger.flush(storage).await?;
    let names = Names::of(storage, &caller, asked.all).await?;
    let rows = storage.store.usage_rows(asked.span(&caller)).await?;
    let head = "day,owner,account,key,key_name,model,requests,prompt_tokens,cached_tokens,\
                generated_tokens\r\n";
    let mut text = head.to_owned();
    for (by, used) in rows {
        let (account, key) = (names.owner(&by.owner), names.key(&by.key));
        let cells = [
            date(by.day),
            cell(&by.owner),
            cell(account.as_deref().unwrap_or_default()),
            cell(&by.key),
            cell(key.as_deref().unwrap_or_default()),
            cell(&by.model),
            used.requests.to_string(),
            used.prompt_tokens.to_string(),
            used.cached_tokens.to_string(),
            used.generated_tokens.to_string(),
        ];
        text += &cells.join(",");
        text += "\r\n";
    }
    let csv = HeaderValue::from_static("text/csv; charset=utf-8");
    let saved = HeaderValue::from_static("attachment; filename=\"myriad-usage.csv\"");
    let headers = [(header::CONTENT_TYPE, csv), (header::CONTENT_DISPOSITION, saved)];
    Ok((headers, text).into_response())
}

/// What a request wants to see.
struct Asked {
    all: bool,
    days: i64,
}

impl Asked {
    fn take(caller: &Caller, mut parameters: Parameters) -> Result<Asked, ApiError> {
        let all = parameters.boolean("all")?.unwrap_or(false);
        let days = parameters.integer("days", 1..=USAGE_DAYS_MAX)?.unwrap_or(DAYS);
        parameters.none_left()?;
        if all {
            caller.check_admin()?;
        }
        Ok(Asked { all, days })
    }

    fn span<'a>(&self, caller: &'a Caller) -> Span<'a> {
        let owner = (!self.all).then_some(caller.owner.as_str());
        Span { owner, from: today() - self.days + 1, to: today() }
    }
}

/// What people call owners and keys.
struct Names {
    owners: Vec<(String, String)>,
    keys: Vec<(String, String)>,
}

impl Names {
    async fn of(storage: &Storage, caller: &Caller, all: bool) -> Result<Names, ApiError> {
        let (users, keys) = match all {
            true => (storage.users.list().await?, storage.keys.list().await?),
            false => {
                let users = caller.user.clone().into_iter().collect();
                (users, storage.keys.list_of(caller.owner.as_str()).await?)
            }
        };
        Ok(Names {
            owners: users.into_iter().map(|user| (user.id, user.name)).collect(),
            keys: keys.into_iter().map(|key| (key.id, key.name)).collect(),
        })
    }

    fn owner(&self, id: &str) -> Option<String> {
        named(&self.owners, id)
    }

    fn key(&self, id: &str) -> Option<String> {
        named(&self.keys, id)
    }
}

fn named(names: &[(String, String)], id: &str) -> Option<String> {
    names.iter().find(|(known, _)| known == id).map(|(_, name)| name.clone())
}

/// `2026-11-27`
fn date(day: i64) -> String {
    let seconds = u64::try_from(day).unwrap_or(0) * 24 * 3600;
    timestamp_of(seconds).split('T').next().unwrap_or_default().to_owned()
}

/// A text that a spreadsheet reads as a text, whatever a stranger called it (RFC 4180). What could
/// be a formula begins with an apostrophe.
fn cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if formula { format!("'{text}") } else { text.to_owned() };
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_texts() {
        for (text, right) in [
            ("gpt-4o", "gpt-4o"),
            ("a,b", "\"a,b\""),
            ("say \"x\"", "\"say \"\"x\"\"\""),
            ("=1+1", "'=1+1"),
            ("@cmd\n", "\"'@cmd\n\""),
        ] {
            assert_eq!(cell(text), right);
        }
        assert_eq!((date(0), date(20_784)), ("1970-01-01".into(), "2026-11-27".into()));
    }
}
