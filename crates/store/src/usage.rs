//! Turns what requests used into sums of a day, and those into sums by what they are for.

use sqlx::any::AnyRow;
use sqlx::{FromRow, Row};

use crate::database::Store;
use crate::errors::StoreError;
use crate::limits::{USAGE_DAYS_MAX, USAGE_ROWS_MAX};
use crate::writer::{Change, Step, Value};

/// Requests and their tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Requests that a model computed for.
    pub requests: i64,
    /// Tokens of prompts.
    pub prompt_tokens: i64,
    /// Those of them that were found in the cache.
    pub cached_tokens: i64,
    /// Tokens of answers.
    pub generated_tokens: i64,
}

impl Used {
    /// Adds another sum.
    pub fn add(&mut self, other: Used) {
        self.requests += other.requests;
        self.prompt_tokens += other.prompt_tokens;
        self.cached_tokens += other.cached_tokens;
        self.generated_tokens += other.generated_tokens;
    }
}

/// What a sum is of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UsedBy {
    /// Days since 1970, in UTC.
    pub day: i64,
    /// Whose requests.
    pub owner: String,
    /// The API key's id; empty for sessions, and for what the server does by itself.
    pub key: String,
    /// The model's name.
    pub model: String,
}

/// What sums are put together by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Days, the first one first.
    Day,
    /// Owners, whoever used most tokens first.
    Owner,
    /// API keys, in the same order.
    Key,
    /// Models, in the same order.
    Model,
}

/// Days that are asked for, of one owner or of all.
#[derive(Clone, Copy, Debug)]
pub struct Span<'a> {
    /// None for all owners.
    pub owner: Option<&'a str>,
    /// The first day.
    pub from: i64,
    /// The last day.
    pub to: i64,
}

const ADD: &str = "INSERT INTO usage_sums \
     (day, owner, key_id, model, requests, prompt_tokens, cached_tokens, generated_tokens) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (day, owner, key_id, model) DO UPDATE SET \
     requests = usage_sums.requests + excluded.requests, \
     prompt_tokens = usage_sums.prompt_tokens + excluded.prompt_tokens, \
     cached_tokens = usage_sums.cached_tokens + excluded.cached_tokens, \
     generated_tokens = usage_sums.generated_tokens + excluded.generated_tokens";

/// Sums of the rows of a span by a column. `CAST`, as PostgreSQL's sums are of another type.
macro_rules! sums {
    ($column:literal, $order:literal) => {
        concat!(
            "SELECT CAST(",
            $column,
            " AS TEXT) AS name, CAST(SUM(requests) AS BIGINT) AS requests, ",
            "CAST(SUM(prompt_tokens) AS BIGINT) AS prompt_tokens, ",
            "CAST(SUM(cached_tokens) AS BIGINT) AS cached_tokens, ",
            "CAST(SUM(generated_tokens) AS BIGINT) AS generated_tokens FROM usage_sums ",
            "WHERE day >= $1 AND day <= $2 AND (CAST($3 AS TEXT) IS NULL OR owner = $3) GROUP BY ",
            $column,
            " ORDER BY ",
            $order,
            " LIMIT $4"
        )
    };
}

impl By {
    fn sql(self) -> &'static str {
        match self {
            By::Day => sums!("day", "usage_sums.day"),
            By::Owner => sums!("owner", "SUM(prompt_tokens + generated_tokens) DESC, owner"),
            By::Key => sums!("key_id", "SUM(prompt_tokens + generated_tokens) DESC, key_id"),
            By::Model => sums!("model", "SUM(prompt_tokens + generated_tokens) DESC, model"),
        }
    }
}

impl Change {
    /// Adds to a sum, which is made where it is missing.
    pub fn add_usage(self, by: UsedBy, used: Used) -> Change {
        let values = vec![
            Value::Number(by.day),
            Value::Text(by.owner),
            Value::Text(by.key),
            Value::Text(by.model),
            Value::Number(used.requests),
            Value::Number(used.prompt_tokens),
            Value::Number(used.cached_tokens),
            Value::Number(used.generated_tokens),
        ];
        self.step(Step { sql: ADD, values, one_row: None, deletes: false })
    }

    /// Deletes the sums of an owner before a day.
    pub fn delete_usage(self, owner: &str, before: i64) -> Change {
        let sql = "DELETE FROM usage_sums WHERE owner = $1 AND day < $2";
        let values = vec![Value::Text(owner.to_owned()), Value::Number(before)];
        self.step(Step { sql, values, one_row: None, deletes: true })
    }
}

impl Store {
    /// Sums of a span by what they are for; those of models that few used are left out at the end.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn usage(&self, span: Span<'_>, by: By) -> Result<Vec<(String, Used)>, StoreError> {
        let query = sqlx::query(by.sql()).bind(span.from).bind(span.to).bind(span.owner);
        let rows = query.bind(USAGE_DAYS_MAX).fetch_all(&self.readers).await?;
        let read = |row: &AnyRow| Ok((row.try_get("name")?, used(row)?));
        Ok(rows.iter().map(read).collect::<Result<_, sqlx::Error>>()?)
    }

    /// All sums of a span, as they are kept, the first day first.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn usage_rows(&self, span: Span<'_>) -> Result<Vec<(UsedBy, Used)>, StoreError> {
        let sql = "SELECT * FROM usage_sums WHERE day >= $1 AND day <= $2 \
                   AND (CAST($3 AS TEXT) IS NULL OR owner = $3) \
                   ORDER BY day, owner, key_id, model LIMIT $4";
        let query = sqlx::query(sql).bind(span.from).bind(span.to).bind(span.owner);
        let rows = query.bind(USAGE_ROWS_MAX).fetch_all(&self.readers).await?;
        let read = |row: &AnyRow| Ok((UsedBy::from_row(row)?, used(row)?));
        Ok(rows.iter().map(read).collect::<Result<_, sqlx::Error>>()?)
    }
}

fn used(row: &AnyRow) -> Result<Used, sqlx::Error> {
    Ok(Used {
        requests: row.try_get("requests")?,
        prompt_tokens: row.try_get("prompt_tokens")?,
        cached_tokens: row.try_get("cached_tokens")?,
        generated_tokens: row.try_get("generated_tokens")?,
    })
}

impl<'r> FromRow<'r, AnyRow> for UsedBy {
    fn from_row(row: &'r AnyRow) -> Result<UsedBy, sqlx::Error> {
        Ok(UsedBy {
            day: row.try_get("day")?,
            owner: row.try_get("owner")?,
            key: row.try_get("key_id")?,
            model: row.try_get("model")?,
        })
    }
}
