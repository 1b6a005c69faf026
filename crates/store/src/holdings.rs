//! Turns all that an owner has into counts and bytes by kind, and into pages of everything.

use sqlx::Row;
use sqlx::any::AnyRow;

use crate::database::Store;
use crate::documents::{Document, Kind};
use crate::errors::StoreError;
use crate::limits::PAGE_MAX;

/// What an owner keeps of a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// Whose.
    pub owner: String,
    /// Of what.
    pub kind: Kind,
    /// How many, parts too.
    pub count: u64,
    /// Bytes of their contents; of those without one, of their bodies.
    pub bytes: u64,
}

impl Store {
    /// What one owner keeps, or each: those of one owner come together.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn holdings(&self, owner: Option<&str>) -> Result<Vec<Holding>, StoreError> {
        let sql = "SELECT owner, kind, COUNT(*) AS count, CAST(SUM(CASE WHEN blob IS NULL \
                   THEN octet_length(body) ELSE bytes END) AS BIGINT) AS bytes FROM documents \
                   WHERE CAST($1 AS TEXT) IS NULL OR owner = $1 GROUP BY owner, kind \
                   ORDER BY owner, kind";
        let rows = sqlx::query(sql).bind(owner).fetch_all(&self.readers).await?;
        let read = |row: &AnyRow| {
            let (kind, count, bytes): (String, i64, i64) =
                (row.try_get("kind")?, row.try_get("count")?, row.try_get("bytes")?);
            let kind = Kind::named(&kind)?;
            let owner = row.try_get("owner")?;
            Ok(Holding { owner, kind, count: count.unsigned_abs(), bytes: bytes.unsigned_abs() })
        };
        Ok(rows.iter().map(read).collect::<Result<_, sqlx::Error>>()?)
    }

    /// Documents of an owner, of all kinds, by their ids: those behind `after`.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn documents_of(
        &self,
        owner: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError> {
        let sql = "SELECT * FROM documents WHERE owner = $1 AND id > $2 ORDER BY id LIMIT $3";
        let query = sqlx::query_as(sql).bind(owner).bind(after);
        let limit = limit.clamp(1, PAGE_MAX) as i64;
        Ok(query.bind(limit).fetch_all(&self.readers).await?)
    }
}
